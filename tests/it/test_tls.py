"""MQTT over TLS with the certificates of the first start, and bytes on that port that are no TLS."""

import socket
import ssl

import pytest

from clients import MosquittoSub, mosquitto_pub
from harness import DEADLINE, wait_until
from rawmqtt import Client, publish_bytes

pytestmark = pytest.mark.rialto


def trust(broker, client_certificate=False):
    context = ssl.create_default_context(cafile=broker.certs / "ca.crt")
    if client_certificate:
        context.load_cert_chain(broker.certs / "client.crt", broker.certs / "client.key")
    return context


@pytest.mark.parametrize("own", [False, True], ids=["server only", "with client certificate"])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_mosquitto_clients_talk_tls(shared, unique, own, qos):
    """MQTT-7.1.1-1, MQTT-7.0.0-2, MQTT5-4.2.0-1: TCP and TLS, and clients of others are served as they are."""
    args = ["--cafile", str(shared.certs / "ca.crt")]
    if own:
        args += ["--cert", str(shared.certs / "client.crt"), "--key", str(shared.certs / "client.key")]
    with MosquittoSub(shared.ports["mqtts"], unique, qos=qos, args=args) as sub:
        mosquitto_pub(shared.ports["mqtts"], unique, "over tls", qos=qos, args=args)
        assert sub.payloads(1) == ["over tls"]


def test_plain_and_tls_clients_meet(shared, connect, unique):
    plain = connect(shared, unique + "plain")
    plain.subscribe((unique, 1))
    mosquitto_pub(shared.ports["mqtts"], unique, "x", qos=1, args=["--cafile", str(shared.certs / "ca.crt")])
    assert plain.message().payload == b"x"


def test_a_client_that_trusts_another_authority_fails(make_broker, shared):
    other = make_broker().start()
    done = mosquitto_pub(shared.ports["mqtts"], "t", "x", args=["--cafile", str(other.certs / "ca.crt")], check=False)
    assert done.returncode != 0


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_the_certificate_names_the_loopback(shared, name):
    with socket.create_connection(("127.0.0.1", shared.ports["mqtts"]), DEADLINE) as plain:
        with trust(shared).wrap_socket(plain, server_hostname=name) as stream:
            assert stream.version() in ("TLSv1.2", "TLSv1.3")


@pytest.mark.parametrize("version,expected", [(ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")])
def test_both_tls_versions_are_spoken(shared, version, expected):
    context = trust(shared)
    context.minimum_version = context.maximum_version = version
    with socket.create_connection(("127.0.0.1", shared.ports["mqtts"]), DEADLINE) as plain:
        with context.wrap_socket(plain, server_hostname="localhost") as stream:
            assert stream.version() == expected


def test_large_messages_cross_tls_whole(shared, connect, unique):
    pub = Client(shared.ports["mqtts"], unique + "p", tls=trust(shared))
    sub = Client(shared.ports["mqtts"], unique + "s", tls=trust(shared))
    with pub, sub:
        pub.connect()
        sub.connect()
        sub.subscribe((unique, 1))
        for size in (1, 16 * 1024, 16 * 1024 + 1, 500_000):
            payload = bytes(size % 251 for _ in range(size))
            pub.publish(unique, payload, qos=1)
            assert sub.message().payload == payload
        pub.send(b"".join(publish_bytes(unique, str(number)) for number in range(2000)))
        assert [int(message.payload) for message in sub.messages(2000)] == list(range(2000))


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00",
                                  b"\x16\x03\x01\xff\xff" + b"\x00" * 100, b"\x00" * 5000],
                         ids=["http", "plain mqtt", "broken hello", "zeros"])
def test_bytes_that_are_no_tls_end_the_connection(shared, connect, unique, data):
    with socket.create_connection(("127.0.0.1", shared.ports["mqtts"]), DEADLINE) as stream:
        stream.sendall(data)
        stream.settimeout(DEADLINE)
        try:
            while stream.recv(4096):
                pass
        except ConnectionResetError:
            pass
    connect(shared, unique).ping()


def test_an_abandoned_handshake_is_ended_by_the_broker(make_broker):
    broker = make_broker(config="[mqtt]\nconnect_timeout_ms = 500\n").start()
    with socket.create_connection(("127.0.0.1", broker.ports["mqtts"]), DEADLINE) as stream:
        stream.settimeout(DEADLINE)
        assert stream.recv(1) == b""
    wait_until(lambda: broker.metric("rialto_connections") == 0, "the connection is counted out")


def test_missing_key_file_is_one_clear_line(make_broker):
    broker = make_broker().start()
    broker.stop()
    (broker.certs / "server.key").unlink()
    code, said = broker.launch().wait_exit()
    assert code not in (0, 101) and "server.key" in said, said


def test_required_client_certificates_are_required(make_broker):
    broker = make_broker(config='[tls]\nclient_certificate = "required"\n').start()
    args = ["--cafile", str(broker.certs / "ca.crt")]
    own = ["--cert", str(broker.certs / "client.crt"), "--key", str(broker.certs / "client.key")]
    assert mosquitto_pub(broker.ports["mqtts"], "t", "x", qos=1, args=args, check=False).returncode != 0
    mosquitto_pub(broker.ports["mqtts"], "t", "x", qos=1, args=args + own)
