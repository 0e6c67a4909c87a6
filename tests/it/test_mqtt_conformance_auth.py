"""Enhanced authentication, statement by statement (MQTT5-3.15, MQTT5-4.12), with SCRAM-SHA-256 (RFC 5802, RFC 7677)."""

import base64
import hashlib
import hmac
import os

import pytest

from clients import run
from harness import Broker, binary
from mqttforms import rest
from rawmqtt import AUTH, CONNACK, DISCONNECT, Client, connect_bytes, encode_properties, packet, publish_bytes

pytestmark = pytest.mark.rialto
METHOD = "SCRAM-SHA-256"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scram")
    passwords = folder / "passwords"
    for user in ("ada", "bob"):
        run([binary(), "passwd", str(passwords), user, "--password-stdin", "--scram"], input="secret\n")
    broker = Broker(folder, config=f'[auth]\npassword_file = "{passwords}"\n').start()
    yield broker
    broker.close()


class Scram:
    """The client's side of one exchange."""

    def __init__(self, user, password):
        self.password = password.encode()
        self.bare = f"n={user},r={base64.b64encode(os.urandom(18)).decode()}"

    def first(self):
        return b"n,," + self.bare.encode()

    def final(self, challenge):
        text = challenge.decode()
        fields = dict(field.split("=", 1) for field in text.split(","))
        assert fields["r"].startswith(self.bare.split("r=")[1]) and int(fields["i"]) >= 4096
        salted = hashlib.pbkdf2_hmac("sha256", self.password, base64.b64decode(fields["s"]), int(fields["i"]))
        without_proof = f"c=biws,r={fields['r']}"
        message = f"{self.bare},{text},{without_proof}".encode()
        key = hmac.digest(salted, b"Client Key", "sha256")
        signature = hmac.digest(hashlib.sha256(key).digest(), message, "sha256")
        proof = bytes(a ^ b for a, b in zip(key, signature))
        server = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), message, "sha256")
        self.expected = b"v=" + base64.b64encode(server)
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()


def auth(reason, data=None, method=METHOD):
    properties = {"auth_method": method} | ({"auth_data": data} if data is not None else {})
    return packet(AUTH, 0, bytes([reason]) + encode_properties(properties))


def challenged(broker, name, user="ada", password="secret", **options):
    """(client that was asked for its proof, its exchange, the proof)"""
    scram = Scram(user, password)
    client = Client(broker.mqtt, name, version=5)
    client.send(connect_bytes(name, 5, properties={"auth_method": METHOD, "auth_data": scram.first()}, **options))
    asked = client.expect(AUTH)
    assert (asked.reason, asked.properties["auth_method"]) == (0x18, METHOD)
    return client, scram, scram.final(asked.properties["auth_data"])


def authenticated(broker, name, **options):
    client, _, proof = challenged(broker, name, **options)
    client.send(auth(0x18, proof))
    assert client.expect(CONNACK).reason == 0
    return client


def test_an_exchange_opens_the_connection(guarded, unique):
    """MQTT5-4.12.0-2, MQTT5-4.12.0-3, MQTT5-4.12.0-5, MQTT5-3.15.2-1: AUTH 0x18 both ways, the method in every packet,
    and the broker's own proof in CONNACK."""
    client, scram, proof = challenged(guarded, unique)
    client.send(auth(0x18, proof))
    answer = client.expect(CONNACK)
    assert answer.reason == 0
    assert answer.properties["auth_method"] == METHOD and answer.properties["auth_data"] == scram.expected
    client.ping()
    client.cut()


def test_a_wrong_proof_is_refused(guarded, unique):
    """MQTT5-4.12.0-4, MQTT5-3.2.2-7, MQTT5-4.13.2-1: CONNACK of 0x80 and above, then the end; nobody unknown is told
    apart."""
    for user, password in (("ada", "wrong"), ("nobody", "secret")):
        client, _, proof = challenged(guarded, unique, user, password)
        client.send(auth(0x18, proof) + b"\xc0\x00")
        got = rest(client)
        assert [p.kind for p in got] == [CONNACK] and got[0].reason in (0x86, 0x87)
        client.cut()


@pytest.mark.parametrize("data", [b"", b"x", b"n,,n=ada", b"p=tls-unique,,n=ada,r=abc", b"\xff\xff"])
def test_a_broken_beginning_is_refused(guarded, unique, data):
    """MQTT5-4.12.0-4"""
    client = Client(guarded.mqtt, unique, version=5)
    client.send(connect_bytes(unique, 5, properties={"auth_method": METHOD, "auth_data": data}) + b"\xc0\x00")
    got = rest(client)
    assert [p.kind for p in got] == [CONNACK] and got[0].reason >= 0x80
    client.cut()


TOO_EARLY = {
    "PUBLISH [MQTT5-3.1.2-30]": publish_bytes("a", "x", version=5), "PINGREQ [MQTT5-3.1.2-30]": b"\xc0\x00",
    "SUBSCRIBE [MQTT5-3.1.2-30]": b"\x82\x07\x00\x01\x00\x00\x01a\x00",
    "AUTH that succeeds [MQTT5-3.15.2-1]": auth(0, b""), "AUTH that begins again [MQTT5-3.15.2-1]": auth(0x19, b""),
    "AUTH of no such code [MQTT5-3.15.2-1]": auth(0x20, b""),
    "AUTH of another method [MQTT5-4.12.0-5]": auth(0x18, b"", "SCRAM-SHA-1"),
    "AUTH with flags [MQTT5-3.15.1-1]": b"\xf1\x00",
}


@pytest.mark.parametrize("name", TOO_EARLY)
def test_nothing_else_may_come_in_between(guarded, unique, name):
    """MQTT5-3.14.0-1: CONNACK says so, not DISCONNECT."""
    client, _, _ = challenged(guarded, unique)
    client.send(TOO_EARLY[name])
    got = rest(client)
    expected = 0x81 if "flags" in name else 0x82
    assert [(p.kind, p.reason) for p in got] == [(CONNACK, expected)]
    client.cut()


def test_a_client_authenticates_again_while_messages_flow(guarded, unique):
    """MQTT5-4.12.1-1, MQTT5-3.15.2-1: AUTH 0x19, 0x18, 0x18, 0x00, each with the method."""
    client = authenticated(guarded, unique)
    client.subscribe((unique, 1))
    for _ in range(2):
        scram = Scram("ada", "secret")
        client.send(auth(0x19, scram.first()))
        asked = client.expect(AUTH)
        assert (asked.reason, asked.properties["auth_method"]) == (0x18, METHOD)
        client.publish(unique, "meanwhile", qos=1)
        assert client.message().payload == b"meanwhile"
        client.send(auth(0x18, scram.final(asked.properties["auth_data"])))
        done = client.expect(AUTH)
        assert (done.reason, done.properties["auth_method"], done.properties["auth_data"]) == (0, METHOD, scram.expected)
    client.ping()
    client.cut()


def again(user="ada", password="secret", method=METHOD):
    """What a client does to fail at its re-authentication."""
    def doing(client):
        scram = Scram(user, password)
        client.send(auth(0x19, scram.first(), method))
        got = client.receive()
        if got.kind != AUTH:
            return [got, *rest(client)]
        client.send(auth(0x18, scram.final(got.properties["auth_data"])))
        return rest(client)
    return doing


@pytest.mark.parametrize("doing,reason", [(again(password="wrong"), 0x87), (again("bob"), 0x87), (again("nobody"), 0x87),
                                          (again(method="SCRAM-SHA-1"), 0x82)],
                         ids=["wrong password", "another user", "nobody", "another method"])
def test_a_re_authentication_that_fails_ends_the_connection(guarded, unique, doing, reason):
    """MQTT5-4.12.1-1 to MQTT5-4.12.1-2, MQTT5-4.13.2-1: with DISCONNECT, and the will is published."""
    watcher = authenticated(guarded, unique + "w")
    watcher.subscribe((f"{unique}/will", 1))
    client = authenticated(guarded, unique, will={"topic": f"{unique}/will", "payload": "gone", "qos": 1})
    assert [(p.kind, p.reason) for p in doing(client)] == [(DISCONNECT, reason)]
    client.cut()
    assert watcher.message().payload == b"gone"
    watcher.cut()


def test_auth_after_the_exchange_is_a_protocol_error(guarded, unique):
    """MQTT5-3.15.2-1: 0x18 that continues nothing."""
    client = authenticated(guarded, unique)
    client.send(auth(0x18, b"x"))
    assert [(p.kind, p.reason) for p in rest(client)] == [(DISCONNECT, 0x82)]
    client.cut()
