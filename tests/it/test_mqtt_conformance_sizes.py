"""MQTT 5: packets never exceed what the client takes, and say no more than it asked for."""

import pytest

from harness import Broker
from mqttforms import ack_form, filters_form
from rawmqtt import (CONNACK, DISCONNECT, PUBACK, PUBCOMP, PUBREC, PUBREL, SUBACK, SUBSCRIBE, UNSUBACK, UNSUBSCRIBE,
                     Client, Closed, binary, connect_bytes, publish_bytes)

pytestmark = pytest.mark.rialto
# Nothing may be published or subscribed to but what is below free/: everything else is refused, with a reason.
CONFIG = """
[[acl]]
allow = "*"
filter = "free/#"
"""
EXPLAINED = {
    "CONNACK [MQTT5-3.2.2-19]": CONNACK, "PUBACK [MQTT5-3.4.2-2]": PUBACK, "PUBREC [MQTT5-3.5.2-2]": PUBREC,
    "PUBREL [MQTT5-3.6.2-2]": PUBREL, "PUBCOMP [MQTT5-3.7.2-2]": PUBCOMP, "SUBACK [MQTT5-3.9.2-1]": SUBACK,
    "UNSUBACK [MQTT5-3.11.2-1]": UNSUBACK, "DISCONNECT [MQTT5-3.14.2-3]": DISCONNECT,
}


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    broker = Broker(tmp_path_factory.mktemp("strict"), config=CONFIG).start()
    yield broker
    broker.close()


def provoke(client, kind):
    """Makes the broker refuse something in a packet of this kind."""
    client.send({
        PUBACK: lambda: publish_bytes("closed", "x", 1, 1, version=5),
        PUBREC: lambda: publish_bytes("closed", "x", 2, 1, version=5),
        PUBREL: lambda: ack_form(PUBREC, 999),
        PUBCOMP: lambda: ack_form(PUBREL, 999),
        SUBACK: lambda: filters_form(SUBSCRIBE, 1, binary("closed") + b"\x00", 5),
        UNSUBACK: lambda: filters_form(UNSUBSCRIBE, 1, binary("a#"), 5),
        DISCONNECT: lambda: publish_bytes("free/+", "x", version=5),
    }[kind]())


def next_packet(client):
    """(length in bytes, packet) of what comes next."""
    while True:
        size = len(client.buffer)
        if found := client._parse():
            return size - len(client.buffer), found
        data = client.socket.recv(4096)
        if not data:
            raise Closed("end of stream")
        client.buffer += data


@pytest.mark.parametrize("name", EXPLAINED)
def test_a_reason_string_never_makes_a_packet_too_large(strict, unique, name):
    """MQTT5-3.1.2-24: whatever the client's maximum, the answer fits and has its code; with room it may have a
    reason."""
    kind = EXPLAINED[name]
    for most in (*range(28, 80), 100, 200, 1000):
        options = {"properties": {"maximum_packet_size": most}}
        with Client(strict.mqtt, unique, version=5) as client:
            if kind == CONNACK:
                client.send(connect_bytes(unique, 5, will={"topic": "closed", "payload": "x"}, **options))
            else:
                client.send(connect_bytes(unique, 5, **options))
                client.expect(CONNACK)
                provoke(client, kind)
            size, got = next_packet(client)
            assert got.kind == kind and size <= most
            assert all(code >= 0x80 for code in got.reasons or [got.reason])


@pytest.mark.parametrize("wanted", [0, 1, None])
def test_a_client_that_wants_no_reasons_gets_none(strict, unique, wanted):
    """MQTT5-3.1.2-29: with request problem information 0 only PUBLISH, CONNACK and DISCONNECT may have reason strings
    and user properties. What a publisher says comes whatever was asked for."""
    properties = None if wanted is None else {"request_problem_info": wanted}
    with Client(strict.mqtt, unique, version=5, properties=properties) as client:
        client.connect()
        for kind in (PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK):
            provoke(client, kind)
            got = client.expect(kind)
            assert wanted != 0 or not got.properties, str(got)
        client.subscribe(("free/#", 2))
        client.publish("free/a", "x", qos=2, properties={"user": [("k", "v")]})
        assert client.message().properties == {"user": [("k", "v")]}


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_the_clients_maximum_is_kept_to_the_byte(shared, connect, unique, qos):
    """MQTT5-3.1.2-24 to MQTT5-3.1.2-25: a packet of just that size comes, one byte more is dropped as if it had been
    sent, and its place in the window is free."""
    most = 100
    room = most - 2 - len(binary(unique)) - (2 if qos else 0) - 1
    sub = connect(shared, unique + "s", version=5, properties={"maximum_packet_size": most, "receive_maximum": 1})
    pub = connect(shared, unique + "p")
    sub.subscribe((unique, qos))
    for payload in (b"x" * (room + 1), b"y" * room, b"z" * (room + 1), b"end"):
        pub.publish(unique, payload, qos=qos)
    assert [message.payload for message in sub.messages(2)] == [b"y" * room, b"end"]
    sub.nothing_comes()


@pytest.mark.parametrize("qos", [1, 2])
def test_what_is_too_large_for_a_session_is_done_with(shared, connect, unique, qos):
    """MQTT5-3.1.2-25: it waited for an absent client that takes only small packets now, and does not come later to one
    that takes large ones."""
    options = {"version": 5, "clean": False}
    first = connect(shared, unique, properties={"session_expiry": 600}, **options)
    first.subscribe((unique, 2))
    first.disconnect()
    pub = connect(shared, unique + "p")
    pub.publish(unique, b"x" * 500, qos=qos)
    pub.publish(unique, b"small", qos=qos)
    small = connect(shared, unique, properties={"session_expiry": 600, "maximum_packet_size": 100}, **options)
    assert small.message().payload == b"small"
    small.disconnect()
    large = connect(shared, unique, properties={"session_expiry": 600}, **options)
    large.nothing_comes()


def test_even_connack_fits(shared, unique):
    """MQTT5-3.1.2-24, MQTT5-3.2.2-19: a client whose maximum is below any CONNACK of ours gets nothing that is
    larger."""
    for most in range(1, 70):
        with Client(shared.mqtt, unique, version=5) as client:
            client.send(connect_bytes("", 5, properties={"maximum_packet_size": most}))
            try:
                assert next_packet(client)[0] <= most
            except Closed:
                pass
