"""MQTT 3.1 (`MQIsdp`, level 3) and the bridge bit of the protocol level, as mosquitto's bridges set it."""

import struct

import paho.mqtt.client as paho
import pytest

from clients import MosquittoSub, mosquitto_pub
from harness import wait_until
from rawmqtt import (CONNACK, CONNECT, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, SUBSCRIBE, Client, Closed, binary,
                     packet)
from test_auth import CONFIG, passwd

pytestmark = pytest.mark.rialto

CLEAN, USER, PASSWORD = 0x02, 0x80, 0x40


def connect_packet(client_id, level=3, flags=CLEAN, name="MQIsdp", rest=b"", keepalive=60):
    head = binary(name) + bytes([level, flags]) + struct.pack("!H", keepalive)
    return packet(CONNECT, 0, head + binary(client_id) + rest)


@pytest.fixture
def connect(shared):
    made = []

    def make(client_id, expect=0, broker=None, **options):
        client = Client((broker or shared).mqtt, client_id)
        made.append(client)
        client.send(connect_packet(client_id, **options))
        if expect is not None:
            got = client.expect(CONNACK)
            assert (got.reason, got.session_present) == (expect, False)
        return client

    yield make
    for client in made:
        client.cut()


def test_messages_of_every_qos_pass(connect, unique):
    client = connect(unique)
    assert client.subscribe((unique, 0), (unique + "/1", 1), (unique + "/2", 2)).reasons == [0, 1, 2]
    for qos, topic in enumerate((unique, unique + "/1", unique + "/2")):
        client.publish(topic, "x", qos=qos)
        assert client.message().qos == qos


@pytest.mark.parametrize("client_id,reason", [("a", 0), ("x" * 23, 0), ("x" * 24, 0), ("x" * 1024, 0), ("x" * 1025, 2),
                                              ("", 2)])
def test_client_identifiers(connect, client_id, reason):
    """MQTT 3.1 asks for 1 to 23 characters; longer ones are common in the field and taken, as mosquitto does. An empty
    one is refused, clean session or not."""
    client = connect(client_id, expect=reason)
    if reason:
        client.expect_closed()
    if not client_id:
        connect("", expect=2, flags=0).expect_closed()


def test_a_session_is_kept_and_nothing_is_said_of_it(connect, unique):
    """The byte of the session present flag is reserved in MQTT 3.1."""
    first = connect(unique, flags=0)
    first.subscribe((unique, 1))
    first.disconnect()
    connect(unique + "p").publish(unique, "kept", qos=1)
    assert connect(unique, flags=0).message().payload == b"kept"


def test_repeated_packets_may_carry_dup(connect, unique):
    client = connect(unique)
    body = struct.pack("!H", 7) + binary(unique) + b"\2"
    client.send(packet(SUBSCRIBE, 0xA, body))
    assert client.expect(SUBACK).reasons == [2]
    client.publish(unique, "x", qos=2, mid=9, wait=False)
    assert client.expect_ack(PUBREC, 9)
    for _ in range(2):
        client.send(packet(PUBREL, 0xA, struct.pack("!H", 9)))
        assert client.expect_ack(PUBCOMP, 9)


def test_flags_may_promise_a_login_that_is_not_there(connect, unique):
    connect(unique, flags=CLEAN | USER | PASSWORD)


@pytest.mark.parametrize("level,name,code", [(2, "MQIsdp", 1), (4, "MQIsdp", 1), (3, "MQTT", 1), (0x82, "MQTT", 1)])
def test_levels_that_are_not_spoken(connect, unique, level, name, code):
    """MQTT-3.1.2-2: return code 1, then the end."""
    connect(unique, expect=code, level=level, name=name).expect_closed()


def test_another_protocol_is_closed_without_a_word(connect, unique):
    """MQTT-3.1.2-1"""
    with pytest.raises(Closed):
        connect(unique, expect=None, name="MQIsdq").receive()


def test_a_second_connect_closes_and_publishes_the_will(connect, unique):
    """MQTT-3.1.0-2"""
    watcher = connect(unique + "w")
    watcher.subscribe(unique)
    client = connect(unique, flags=CLEAN | 4, rest=binary(unique) + binary("gone"))
    client.send(connect_packet(unique))
    client.expect_closed()
    assert watcher.message().payload == b"gone"


def test_refusals_look_as_in_3_1_1(make_broker, tmp_path, connect):
    """SUBACK 0x80, which MQTT 3.1 does not have: a granted QoS would be a lie. A forbidden publish is acknowledged."""
    passwords = tmp_path / "passwords"
    passwd(passwords, "bob", "secret")
    broker = make_broker(config=CONFIG.format(passwords=passwords)).start()
    login = {"broker": broker, "flags": CLEAN | USER | PASSWORD, "rest": binary("bob") + binary("secret")}
    client = connect("c", **login)
    assert client.subscribe("plant/secret/#", "plant/public/#").reasons == [0x80, 0]
    assert client.publish("plant/public/x", "no", qos=1).kind == PUBACK
    client.nothing_comes()
    wrong = {**login, "rest": binary("bob") + binary("wrong")}
    connect("c", expect=4, **wrong).expect_closed()
    connect("c", expect=5, broker=broker).expect_closed()


@pytest.mark.parametrize("level,name", [(0x83, "MQIsdp"), (0x84, "MQTT")])
def test_a_bridge_gets_retain_as_published_and_not_its_own(connect, shared, unique, level, name):
    bridge = connect(unique + "b", level=level, name=name)
    bridge.subscribe((f"{unique}/#", 1))
    bridge.publish(f"{unique}/own", "own", qos=1)
    other = connect(unique + "o")
    other.publish(f"{unique}/r", "kept", qos=1, retain=True)
    other.publish(f"{unique}/n", "not kept", qos=1)
    got = bridge.messages(2)
    assert [(message.payload, message.retain) for message in got] == [(b"kept", True), (b"not kept", False)]
    plain = connect(unique + "p")
    plain.subscribe((f"{unique}/x", 1))
    other.publish(f"{unique}/x", "kept", qos=1, retain=True)
    assert not plain.message().retain


def test_paho_and_mosquitto_speak_it(shared, unique):
    got = []
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=unique, protocol=paho.MQTTv31)
    client.on_connect = lambda client, *_: client.subscribe(unique, 1)
    client.on_subscribe = lambda *_: got.append("subscribed")
    client.on_message = lambda _, __, message: got.append(message.payload)
    client.connect("127.0.0.1", shared.mqtt)
    client.loop_start()
    try:
        wait_until(lambda: got, "SUBACK")
        mosquitto_pub(shared.mqtt, unique, "hello", qos=2, args=["-V", "mqttv31", "-i", unique + "m"])
        wait_until(lambda: b"hello" in got, "the message")
    finally:
        client.disconnect()
        client.loop_stop()
    with MosquittoSub(shared.mqtt, unique, qos=1, args=["-V", "mqttv31", "-i", unique + "s"]) as sub:
        mosquitto_pub(shared.mqtt, unique, "again", qos=1)
        assert sub.payloads(1) == ["again"]
