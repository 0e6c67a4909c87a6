"""Malformed and hostile bytes: that connection ends with the right code, the broker stays as it was (issue 3)."""

import os
import random
import socket
import struct
import time

import pytest

from amqpcodec import conversation
from harness import DEADLINE, wait_until
from rawmqtt import (CONNACK, DISCONNECT, Client, Closed, binary, connect_bytes, packet, publish_bytes, varint)

# name -> (bytes for v3.1.1, bytes for v5, reasons that v5's DISCONNECT may carry); None: not for that version.
AFTER_CONNECT = {
    "second CONNECT [MQTT-3.1.0-2]": (connect_bytes("x"), connect_bytes("x", 5), {0x82}),
    "reserved type 0": (b"\x00\x00", b"\x00\x00", {0x81, 0x82}),
    "CONNACK from a client": (b"\x20\x02\x00\x00", b"\x20\x03\x00\x00\x00", {0x81, 0x82}),
    "remaining length of five bytes [MQTT5-1.5.5-1]": (b"\x30\x80\x80\x80\x80\x01",) * 2 + ({0x81},),
    "QoS 3 [MQTT-3.3.1-4]": (b"\x36\x05\x00\x01a\x00\x01",) * 2 + ({0x81},),
    "DUP with QoS 0 [MQTT-3.3.1-2]": (b"\x38\x03\x00\x01a", b"\x38\x04\x00\x01a\x00", {0x81, 0x82}),
    "wildcard in a topic name [MQTT-3.3.2-2]": (
        publish_bytes("a/+", "x"), publish_bytes("a/#", "x", version=5), {0x81, 0x82, 0x90}),
    "NUL in a topic name [MQTT-1.5.3-2]": (
        publish_bytes("a\0b", "x"), publish_bytes("a\0b", "x", version=5), {0x81, 0x82, 0x90}),
    "broken UTF-8 in a topic name [MQTT-1.5.3-1]": (
        publish_bytes(b"\xc3\x28", "x"), publish_bytes(b"\xed\xa0\x80", "x", version=5), {0x81, 0x82, 0x90}),
    "empty topic name [MQTT-4.7.3-1]": (publish_bytes("", "x"), publish_bytes("", "x", version=5), {0x81, 0x82, 0x90}),
    "topic longer than the packet": (b"\x30\x04\xff\xffab",) * 2 + ({0x81},),
    "packet id 0 [MQTT-2.3.1-1]": (publish_bytes("a", "x", 1, 0), publish_bytes("a", "x", 1, 0, version=5),
                                   {0x81, 0x82}),
    "SUBSCRIBE with flags 0 [MQTT-3.8.1-1]": (
        b"\x80\x06\x00\x01\x00\x01a\x00", b"\x80\x07\x00\x01\x00\x00\x01a\x00", {0x81}),
    "SUBSCRIBE without a filter [MQTT-3.8.3-3]": (b"\x82\x02\x00\x01", b"\x82\x03\x00\x01\x00", {0x82, 0x81}),
    "SUBSCRIBE with QoS 3 [MQTT-3.8.3-4]": (
        b"\x82\x06\x00\x01\x00\x01a\x03", b"\x82\x07\x00\x01\x00\x00\x01a\x03", {0x81, 0x82}),
    "SUBSCRIBE with reserved bits": (b"\x82\x06\x00\x01\x00\x01a\x80", b"\x82\x07\x00\x01\x00\x00\x01a\xc0", {0x81, 0x82}),
    "UNSUBSCRIBE without a filter [MQTT-3.10.3-2]": (b"\xa2\x02\x00\x01", b"\xa2\x03\x00\x01\x00", {0x82, 0x81}),
    "UNSUBSCRIBE with flags 0": (b"\xa0\x05\x00\x01\x00\x01a", b"\xa0\x06\x00\x01\x00\x00\x01a", {0x81}),
    "PUBREL with flags 0 [MQTT-3.6.1-1]": (b"\x60\x02\x00\x01",) * 2 + ({0x81},),
    "PUBACK too short": (b"\x40\x01\x00",) * 2 + ({0x81},),
    "PINGREQ with a body": (b"\xc0\x01\x00",) * 2 + ({0x81},),
    "bytes after SUBSCRIBE's last filter": (b"\x82\x07\x00\x01\x00\x01a\x00\x05", b"\x82\x08\x00\x01\x00\x00\x01a\x00\x05",
                                            {0x81}),
    "unknown property": (None, b"\x30\x06\x00\x01a\x02\x7f\x00", {0x81, 0x82}),
    "property twice [MQTT5-2.2.2.2]": (
        None, packet(3, 0, binary("a") + varint(10) + b"\x02\x00\x00\x00\x01" * 2), {0x82, 0x81}),
    "property that does not belong [MQTT5-2.2.2.2]": (
        None, packet(3, 0, binary("a") + b"\x03\x21\x00\x01"), {0x82, 0x81}),
    "properties past the packet's end": (None, b"\x30\x05\x00\x01a\x7f\x00", {0x81}),
    "subscription id from a client [MQTT5-3.3.4-6]": (None, packet(3, 0, binary("a") + b"\x02\x0b\x01"), {0x82}),
    "subscription id 0 [MQTT5-3.8.2.1.2]": (None, b"\x82\x09\x00\x01\x02\x0b\x00\x00\x01a\x00", {0x82, 0x81}),
    "payload format 2": (None, packet(3, 0, binary("a") + b"\x02\x01\x02"), {0x81, 0x82, 0x99}),
    "AUTH out of turn": (None, b"\xf0\x00", {0x82, 0x81}),
}


@pytest.mark.parametrize("name", AFTER_CONNECT)
def test_a_malformed_packet_ends_the_connection_with_its_code(shared, connect, unique, version, name):
    """MQTT-4.8.0-1, MQTT5-4.13: v5 says why in a DISCONNECT, v3.1.1 just closes."""
    three, five, reasons = AFTER_CONNECT[name]
    data = three if version == 4 else five
    if data is None:
        pytest.skip("only in the other version")
    client = connect(shared, unique, version=version)
    client.send(data)
    last = client.expect_closed()
    if version == 5:
        assert last is not None and last.kind == DISCONNECT and last.reason in reasons, str(last)
    else:
        assert last is None
    connect(shared, unique + "after").ping()


BEFORE_CONNECT = {
    "PUBLISH first [MQTT-3.1.0-1]": publish_bytes("a", "x"),
    "PINGREQ first": b"\xc0\x00",
    "zeros": b"\x00" * 64,
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "wrong protocol name": packet(1, 0, binary("MQQT") + b"\x04\x02\x00\x3c" + binary("c")),
    "reserved connect flag [MQTT-3.1.2-3]": packet(1, 0, binary("MQTT") + b"\x04\x03\x00\x3c" + binary("c")),
    "will QoS 3 [MQTT-3.1.2-14]": packet(
        1, 0, binary("MQTT") + b"\x04\x1e\x00\x3c" + binary("c") + binary("w") + binary("p")),
    "will QoS without will [MQTT-3.1.2-13]": packet(1, 0, binary("MQTT") + b"\x04\x0a\x00\x3c" + binary("c")),
    "password without user in v3 [MQTT-3.1.2-22]": packet(
        1, 0, binary("MQTT") + b"\x04\x42\x00\x3c" + binary("c") + binary("p")),
    "CONNECT with header flags": b"\x11" + connect_bytes("c")[1:],
    "CONNECT cut short": packet(1, 0, binary("MQTT") + b"\x04\x02"),
    "bytes after the client id": packet(1, 0, binary("MQTT") + b"\x04\x02\x00\x3c" + binary("c") + b"xyz"),
    "properties past the end": packet(1, 0, binary("MQTT") + b"\x05\x02\x00\x3c\x7f"),
    "receive maximum 0 [MQTT5-3.1.2.11.3]": connect_bytes("c", 5, properties={"receive_maximum": 0}),
    "maximum packet size 0 [MQTT5-3.1.2.11.4]": connect_bytes("c", 5, properties={"maximum_packet_size": 0}),
    "session expiry twice": packet(
        1, 0, binary("MQTT") + b"\x05\x02\x00\x3c" + varint(10) + b"\x11\x00\x00\x00\x01" * 2 + binary("c")),
    "empty id without clean session in v3 [MQTT-3.1.3-8]": connect_bytes("", clean=False),
}


@pytest.mark.parametrize("name", BEFORE_CONNECT)
def test_a_bad_beginning_ends_the_connection(shared, connect, unique, name):
    client = Client(shared.mqtt, unique)
    client.version = 5 if "MQTT5" in name else 4
    try:
        client.send(BEFORE_CONNECT[name])
        while True:
            data = client.socket.recv(4096)
            if not data:
                break
            assert data[0] in (CONNACK << 4, DISCONNECT << 4), data
            assert data[0] != CONNACK << 4 or data[3] != 0, "accepted"
    except (Closed, ConnectionResetError):
        pass
    finally:
        client.cut()
    connect(shared, unique + "after").ping()


@pytest.mark.rialto
def test_protocol_errors_are_counted(shared, connect, unique):
    before = shared.metric("rialto_protocol_errors_total", protocol="mqtt")
    client = connect(shared, unique)
    client.send(b"\x00\x00")
    client.expect_closed()
    wait_until(lambda: shared.metric("rialto_protocol_errors_total", protocol="mqtt") > before, "the counter moved")


@pytest.mark.rialto
def test_a_client_that_says_nothing_is_ended(make_broker):
    broker = make_broker(config="[mqtt]\nconnect_timeout_ms = 300\n").start()
    with socket.create_connection(("127.0.0.1", broker.mqtt), DEADLINE) as stream:
        stream.settimeout(DEADLINE)
        assert stream.recv(1) == b""


def seeds(long):
    base = int(os.environ.get("RIALTO_SEED", time.time_ns() % 1_000_000))
    return range(base, base + (400 if long else 60))


def noise(rng, name):
    """Bytes for a listener: pure noise, a good beginning gone wrong, or good packets with flipped bits."""
    good = {
        "mqtt": connect_bytes("h", rng.choice([4, 5])) + b"".join(
            rng.choice([publish_bytes("h/t", "x", 1, 1), b"\x82\x06\x00\x01\x00\x01a\x00", b"\xc0\x00",
                        publish_bytes("h/t", b"y" * 50, 2, 2), b"\xa2\x05\x00\x01\x00\x01a"]) for _ in range(5)),
        "amqp": conversation(rng),
        "kafka": b"".join(struct.pack("!i", len(frame)) + frame for frame in (
            struct.pack("!hhih", 18, 0, 1, 1) + b"c", struct.pack("!hhihi", 3, 1, 2, 0, -1),
            struct.pack("!hhih", 1, 4, 3, 0) + bytes(40))),
        "admin": b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
        "amqps": b"\x16\x03\x03\x00\x40\x01\x00\x00\x3c" + bytes(60),
        "mqtts": b"\x16\x03\x01\x00\x80\x01\x00\x00\x7c\x03\x03" + bytes(120),
    }[name]
    choice = rng.randrange(3)
    if choice == 0:
        return rng.randbytes(rng.randrange(1, 3000))
    if choice == 1:
        return good[:rng.randrange(1, len(good))] + rng.randbytes(rng.randrange(200))
    data = bytearray(good)
    for _ in range(rng.randrange(1, 6)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


@pytest.mark.rialto
@pytest.mark.parametrize("name", ["mqtt", "mqtts", "amqp", "amqps", "kafka", "admin"])
def test_noise_on_a_listener_harms_nobody(make_broker, connect, long, name):
    broker = make_broker().start()
    sub, pub = connect(broker, "s"), connect(broker, "p")
    sub.subscribe(("t", 1))
    chosen = seeds(long)
    print(f"seeds {chosen.start}..{chosen.stop}")

    def volley():
        for seed in chosen:
            data = noise(random.Random(seed), name)
            with socket.create_connection(("127.0.0.1", broker.ports[name]), DEADLINE) as stream:
                try:
                    stream.sendall(data)
                    stream.shutdown(socket.SHUT_WR)
                    stream.settimeout(DEADLINE)
                    while stream.recv(65536):
                        pass
                except TimeoutError:
                    raise
                except OSError:
                    # The broker had enough: reset, broken pipe, or not connected any more.
                    pass
            assert broker.alive, f"seed {seed} ended the broker"

    volley()
    # What each volley leaves behind shows again and again, what an allocator keeps does not.
    for _ in range(3):
        before = broker.memory_kb()
        volley()
        grown = broker.memory_kb() - before
        if grown < 8192:
            break
    assert grown < 8192, "memory grew"
    pub.publish("t", "still here", qos=1)
    assert sub.message().payload == b"still here"
    assert broker.http("/healthz")[0] == 200
    wait_until(lambda: broker.metric("rialto_connections", protocol="mqtt") <= 2, "no connection is left behind")


@pytest.mark.rialto
def test_a_reader_that_stops_reading_is_bounded(broker, connect):
    """Design §3: a slow consumer is shed or slowed; it never grows memory, never stalls a neighbour."""
    slow, good, pub = connect(broker, "slow"), connect(broker, "good"), connect(broker, "p")
    slow.subscribe("t")
    good.subscribe(("g", 1))
    before = broker.memory_kb()
    payload = b"x" * 10_000
    for _ in range(100):
        pub.send(b"".join(publish_bytes("t", payload) for _ in range(100)))
    pub.publish("g", "alive", qos=1)
    assert good.message().payload == b"alive"
    assert broker.memory_kb() < before + 60_000
    assert broker.metric("rialto_messages_dropped_total") > 0
