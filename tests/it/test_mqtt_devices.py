"""What real devices do: nothing is wrong with it, but it is not what tests of clients do."""

import contextlib
import socket
import struct
import time

import pytest

from harness import wait_until
from rawmqtt import (CONNACK, DISCONNECT, PINGREQ, PINGRESP, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, Client,
                     Closed, Timeout, ack_bytes, binary, connect_bytes, encode_properties, packet, publish_bytes)

pytestmark = pytest.mark.timeout(180)


def subscribe_bytes(mid, name, qos, version):
    body = struct.pack("!H", mid) + (encode_properties(None) if version == 5 else b"")
    return packet(8, 2, body + binary(name) + bytes([qos]))


@pytest.mark.rialto
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_connect_subscribe_and_publish_in_one_packet_of_tcp(shared, unique, version, qos):
    """MQTT-3.1.4 (non normative), MQTT5-3.1.4: a client need not wait for CONNACK."""
    with Client(shared.mqtt, unique, version=version) as client:
        client.send(connect_bytes(unique, version) + subscribe_bytes(1, unique, qos, version)
                    + publish_bytes(unique, "x", qos, 7, version=version))
        assert client.expect(CONNACK).reason == 0
        assert client.expect(SUBACK).reasons == [qos]
        expected = [PUBLISH] + {0: [], 1: [PUBACK], 2: [PUBREC]}[qos]
        assert sorted(client.receive().kind for _ in expected) == expected


@pytest.mark.rialto
def test_a_whole_life_in_one_packet_of_tcp(shared, connect, unique, version):
    """A sensor that wakes, says CONNECT, PUBLISH, DISCONNECT at once, closes and sleeps: it is heard, its will is not."""
    watcher = connect(shared, unique + "w")
    watcher.subscribe((f"{unique}/#", 1))
    for number in range(20):
        client = Client(shared.mqtt, unique, version=version)
        will = {"topic": f"{unique}/will", "payload": "gone"}
        client.send(connect_bytes(unique, version, will=will)
                    + publish_bytes(f"{unique}/t", str(number), 1, 1, version=version) + packet(DISCONNECT, 0, b""))
        got = watcher.message()
        assert (got.topic, got.payload) == (f"{unique}/t", str(number).encode())
        client.cut()
    watcher.nothing_comes()


def test_bytes_that_come_one_by_one(shared, unique, version):
    """A modem that sends a byte at a time."""
    with Client(shared.mqtt, unique, version=version) as client:
        for byte in connect_bytes(unique, version) + subscribe_bytes(1, unique, 1, version) + publish_bytes(
                unique, "slow", 1, 2, version=version):
            client.send(bytes([byte]))
        assert client.expect(CONNACK).reason == 0 and client.expect(SUBACK).reasons == [1]
        assert {client.receive().kind for _ in range(2)} == {PUBACK, PUBLISH}


@pytest.mark.parametrize("seconds", [0, 65535])
def test_no_keep_alive_and_the_longest(shared, connect, unique, version, seconds):
    """MQTT-3.1.2-24, MQTT5-3.1.2-22: 0 turns it off; 65,535 is eighteen hours."""
    client = connect(shared, unique, version=version, keepalive=seconds)
    client.subscribe(unique)
    with pytest.raises(Timeout):
        client.receive(timeout=2)
    client.ping()


@pytest.mark.rialto
def test_a_silent_client_is_ended_after_one_and_a_half(shared, connect, unique, version):
    """MQTT-3.1.2-24: half-open connections end by their keep alive, and then their will comes."""
    watcher = connect(shared, unique + "w")
    watcher.subscribe((unique, 1))
    # Before CONNECT is sent, for the broker's time runs from there.
    began = time.monotonic()
    client = connect(shared, unique, version=version, keepalive=1, will={"topic": unique, "payload": "gone"})
    assert watcher.message().payload == b"gone"
    assert 1.4 <= time.monotonic() - began < 8
    last = client.expect_closed()
    assert (last is not None and last.reason == 0x8D) if version == 5 else last is None


@pytest.mark.rialto
def test_a_connection_that_never_says_connect_is_ended(make_broker):
    broker = make_broker(config="[mqtt]\nconnect_timeout_ms = 300\n").start()
    silent = [socket.create_connection(("127.0.0.1", broker.mqtt), 5) for _ in range(20)]
    for one in silent:
        one.settimeout(10)
        assert one.recv(1) == b""
        one.close()


def test_disconnect_of_length_0_and_with_a_code(shared, connect, unique):
    """MQTT5-3.14.2.1: no code is 0; neither lets the will out."""
    watcher = connect(shared, unique + "w")
    watcher.subscribe((unique, 1))
    for body in (b"", b"\x00", b"\x00\x00"):
        client = connect(shared, unique, version=5, will={"topic": unique, "payload": "gone"})
        client.send(packet(DISCONNECT, 0, body))
        assert client.expect_closed() is None
    watcher.nothing_comes()


def test_empty_payloads(shared, connect, unique, version):
    sub, pub = connect(shared, unique + "s", version=version), connect(shared, unique + "p", version=version)
    sub.subscribe((unique, 2))
    for qos in (0, 1, 2):
        pub.publish(unique, b"", qos=qos)
        assert sub.message().payload == b""


def test_a_client_that_never_acknowledges_harms_nobody(shared, connect, unique, version):
    """It holds its own window and queue; the publisher and the others go on, and it gets all of it again."""
    options = {"version": version, "clean": False, "properties": {"session_expiry": 1000} if version == 5 else None}
    lazy = connect(shared, unique + "lazy", **options)
    good, pub = connect(shared, unique + "good"), connect(shared, unique + "p")
    for client in (lazy, good):
        client.subscribe((unique, 1))
    count = 3000
    for first in range(0, count, 500):
        pub.send(b"".join(publish_bytes(unique, str(n), 1, n + 1) for n in range(first, first + 500)))
        for number in range(first, first + 500):
            assert good.message().payload == str(number).encode()
        for _ in range(500):
            pub.expect(PUBACK)
    lazy.cut()
    back = connect(shared, unique + "lazy", **options)
    assert [int(message.payload) for message in back.messages(count)] == list(range(count))


def test_the_same_id_twice_in_a_storm(shared, connect, unique, version):
    """Two devices flashed with one id, each reconnecting at once when the other takes over: the broker keeps one, and
    what is published in the meantime is not lost to the session."""
    options = {"version": version, "clean": False, "properties": {"session_expiry": 1000} if version == 5 else None}
    first = connect(shared, unique, **options)
    first.subscribe((f"{unique}/t", 1))
    pub = connect(shared, unique + "p")
    for number in range(100):
        # No waiting for CONNACK: both knock at once.
        knocking = []
        for _ in range(2):
            client = Client(shared.mqtt, unique, version=version)
            client.send(connect_bytes(unique, version, clean=False, properties=options["properties"]))
            knocking.append(client)
        pub.publish(f"{unique}/t", str(number), qos=1)
        for client in knocking:
            client.cut()
    got = []
    for _ in range(5):
        # One that knocked before and waits for its turn may still come in after it, and leaves at once.
        last = connect(shared, unique, **options)
        assert last.connack.session_present
        with contextlib.suppress(Closed):
            while len(set(got)) < 100:
                came = last.receive()
                if came.kind == DISCONNECT:
                    assert came.reason == 0x8E, came
                    break
                last.ack(PUBACK, came.mid)
                got.append(int(came.payload))
        if len(set(got)) == 100:
            break
    assert list(dict.fromkeys(got)) == list(range(100))
    first.expect_closed()


def test_a_polite_client_that_comes_back_at_once_leaves_no_will(shared, connect, unique, version):
    """DISCONNECT, close, CONNECT in one breath: the old connection's last words count, though the new one takes over."""
    watcher = connect(shared, unique + "w")
    watcher.subscribe((unique, 1))
    for _ in range(200):
        client = Client(shared.mqtt, unique, version=version, will={"topic": unique, "payload": "gone"})
        client.connect()
        client.send(packet(DISCONNECT, 0, b""))
        client.cut()
    with Client(shared.mqtt, unique, version=version) as client:
        client.connect()
        client.disconnect()
    watcher.nothing_comes()


@pytest.mark.rialto
def test_half_open_connections_cost_a_takeover_nothing(shared, connect, unique, version):
    """A device loses its network without a word and comes back by another way: the old connection still stands, nothing
    read from it for long, its window full; the new one gets the session at once, with all that was in flight."""
    options = {"version": version, "clean": False, "properties": {"session_expiry": 1000} if version == 5 else None}
    old = Client(shared.mqtt, unique, keepalive=3600, **options)
    old.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    old.connect()
    old.subscribe((unique, 1))
    pub = connect(shared, unique + "p")
    for number in range(300):
        pub.publish(unique, f"{number} ".ljust(20_000, "x"), qos=1)
    began = time.monotonic()
    new = connect(shared, unique, **options)
    assert time.monotonic() - began < 5 and new.connack.session_present
    got = [int(new.message().payload.split()[0]) for _ in range(300)]
    assert got == list(range(300))
    old.cut()


def test_acknowledgements_all_at_once_and_late(shared, connect, unique, version):
    """A device that gathers its PUBACKs and PUBRECs and sends them when its radio is on."""
    sub, pub = connect(shared, unique + "s", version=version), connect(shared, unique + "p")
    sub.subscribe((unique, 2))
    for number in range(60):
        pub.publish(unique, str(number), qos=1 + number % 2)
    got = [sub.expect(PUBLISH) for _ in range(60)]
    assert [int(message.payload) for message in got] == list(range(60))
    sub.send(b"".join(ack_bytes(PUBACK if message.qos == 1 else PUBREC, message.mid) for message in got))
    released = [sub.expect(PUBREL).mid for _ in range(30)]
    assert released == [message.mid for message in got if message.qos == 2]
    sub.send(b"".join(ack_bytes(PUBCOMP, mid) for mid in released) + packet(PINGREQ, 0, b""))
    sub.expect(PINGRESP)
    pub.publish(unique, "more", qos=2)
    assert sub.message().payload == b"more"


@pytest.mark.rialto
def test_a_reconnect_storm_ends_with_everybody_back(make_broker, connect):
    """Two hundred devices with sessions lose the broker and knock again all at once, some of them twice."""
    broker = make_broker().start()
    options = {"version": 5, "clean": False, "properties": {"session_expiry": 1000}}
    for number in range(200):
        client = Client(broker.mqtt, f"d{number}", **options)
        client.connect()
        client.subscribe((f"d/{number}", 1))
        client.cut()
    broker.restart(hard=True)
    storm = []
    for number in [*range(200), *range(0, 200, 5)]:
        client = Client(broker.mqtt, f"d{number}", **options)
        client.send(connect_bytes(f"d{number}", 5, clean=False, properties=options["properties"]))
        storm.append(client)
    pub = connect(broker, "p")
    for number in range(200):
        pub.publish(f"d/{number}", "hello", qos=1)
    there = {}
    for client in storm:
        try:
            if client.expect(CONNACK).session_present:
                there[client.client_id] = client
        except (Closed, AssertionError):
            continue
    wait_until(lambda: broker.metric("rialto_connections", protocol="mqtt") == 201, "one connection each")
    for number in range(200):
        assert there[f"d{number}"].message().payload == b"hello"
    for client in storm:
        client.cut()
