"""Retained messages for a subscriber that is slow, comes back, changes its mind, or loses its broker half-way."""

import struct
import threading

import pytest

from rawmqtt import (PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, SUBSCRIBE, UNSUBACK, UNSUBSCRIBE, Timeout, binary,
                     packet, publish_bytes)

COUNT = 3000


def retain(connect, broker, count=COUNT, qos=1, payload=b"", topic="r"):
    pub = connect(broker, "author")
    for first in range(0, count, 500):
        chunk = range(first, min(first + 500, count))
        pub.send(b"".join(publish_bytes(f"{topic}/{n}", str(n).encode() + payload, qos, n + 1 if qos else 0, True)
                          for n in chunk))
        for n in chunk if qos else ():
            assert pub.expect(PUBACK).mid == n + 1
    pub.ping()
    pub.disconnect()


def resume(connect, broker, name="s", **options):
    return connect(broker, name, clean=False, **options)


def subscribe_bytes(filter_, qos, mid=1):
    return packet(SUBSCRIBE, 2, struct.pack("!H", mid) + binary(filter_) + bytes([qos]))


@pytest.mark.rialto
@pytest.mark.parametrize("clean", [True, False], ids=["clean", "durable"])
def test_a_replay_longer_than_a_queue_is_complete(make_broker, connect, clean):
    """However many retained messages match: none is dropped for a limit that is meant for what is published."""
    broker = make_broker(config="[mqtt]\nqueued_messages_max = 700\ninflight_max = 20\n").start()
    retain(connect, broker)
    sub = connect(broker, "s", clean=clean)
    sub.subscribe(("r/#", 1))
    got = [int(message.payload) for message in sub.messages(COUNT)]
    assert sorted(got) == list(range(COUNT))
    sub.nothing_comes()


@pytest.mark.parametrize("clean", [True, False], ids=["clean", "durable"])
def test_a_reader_that_pauses_gets_every_retained_message(broker, connect, clean):
    """60 MB at QoS 0, far more than a connection's buffer: read only after the SUBACK has long been sent."""
    retain(connect, broker, count=600, qos=1, payload=b" " + b"x" * 100_000)
    sub = connect(broker, "s", clean=clean)
    sub.send(subscribe_bytes("r/#", 0))
    connect(broker, "other").ping()
    assert sub.expect(SUBACK).reasons == [0]
    got = {int(sub.expect(PUBLISH).payload.split()[0]) for _ in range(600)}
    assert got == set(range(600))


@pytest.mark.rialto
@pytest.mark.parametrize("end", ["kill", "stop", "cut", "takeover"])
def test_an_interrupted_replay_goes_on(broker, connect, end):
    retain(connect, broker)
    sub = resume(connect, broker)
    sub.subscribe(("r/#", 1))
    got = [int(message.payload) for message in sub.messages(300)]
    if end == "kill":
        broker.restart(hard=True)
    elif end == "stop":
        broker.restart()
    elif end == "cut":
        sub.cut()
    again = resume(connect, broker)
    assert again.connack.session_present
    try:
        while len(set(got)) < COUNT:
            got.append(int(again.message().payload))
    except Timeout:
        raise AssertionError(f"{COUNT - len(set(got))} retained messages never came") from None
    again.nothing_comes()
    if end != "kill":
        # What was on its way when the first connection ended may come twice: its window, not the whole replay.
        assert len(got) - COUNT <= 1024
    again.disconnect()
    resume(connect, broker).nothing_comes()


def test_nothing_follows_the_unsuback(broker, connect):
    """MQTT-3.10.4-2: what was not sent by then does not come any more."""
    retain(connect, broker, count=2000)
    sub = resume(connect, broker)
    sub.send(subscribe_bytes("r/#", 1)
             + packet(UNSUBSCRIBE, 2, struct.pack("!H", 2) + binary("r/#")))
    assert sub.expect(SUBACK).mid == 1
    late, seen = 0, False
    while True:
        try:
            got = sub.receive(2 if seen else None)
        except Timeout:
            break
        if got.kind == UNSUBACK:
            seen = True
        elif got.kind == PUBLISH:
            late += seen
            sub.ack(PUBACK, got.mid)
    assert seen and late <= 256, f"{late} after UNSUBACK"


@pytest.mark.rialto
@pytest.mark.parametrize("clean", [True, False], ids=["clean", "durable"])
@pytest.mark.parametrize("granted", [0, 1, 2])
def test_values_of_every_qos_come_in_order_and_none_is_missed(shared, connect, unique, clean, granted):
    """Design §2, Retained, with a publisher that mixes QoS 0, 1 and 2 and a subscriber that does not wait for it."""
    pub = connect(shared, unique + "p")
    pub.publish(unique, "0", qos=1, retain=True)
    stop, last = threading.Event(), [0]

    def publish():
        while not stop.is_set():
            number = last[0] + 1
            pub.publish(unique, str(number), qos=(number * 7 // 3) % 3, retain=True)
            if number % 5 == 0:
                # Handshakes pace it; without one the reader might be shed.
                pub.ping()
            last[0] = number

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        for attempt in range(15):
            sub = connect(shared, f"{unique}s{attempt}", clean=clean)
            before = last[0]
            sub.subscribe((unique, granted), wait=False)
            seen = []
            while len(seen) < 12:
                got = sub.receive()
                if got.kind == PUBLISH:
                    seen.append(int(got.payload))
                    if got.qos:
                        sub.ack(PUBREC if got.qos == 2 else PUBACK, got.mid)
                elif got.kind == PUBREL:
                    sub.ack(PUBCOMP, got.mid)
                else:
                    assert got.kind == SUBACK
            # One QoS 0 message may still lie unread in the publisher's socket.
            assert seen[0] >= before - 5, f"{seen[0]} after {before} was published"
            assert seen == list(range(seen[0], seen[0] + 12)), seen
            sub.disconnect() if clean else sub.cut()
    finally:
        stop.set()
        thread.join()
