"""Backlogs that are longer than memory: bounded memory, a start that does not grow with them, everything in order."""

import pytest

from harness import wait_until
from rawamqp import Connection
from rawmqtt import PUBACK, PUBLISH, ack_bytes, publish_bytes

pytestmark = pytest.mark.rialto

CONFIG = """
[mqtt]
queued_messages_max = 100_000_000
queued_bytes_max = "64GiB"
inflight_max = 65535

[memory]
queue_index_bytes_max = "2MiB"

[checkpoint]
interval_s = 1
memory_bytes = "4MiB"
"""
# Beside what an idle broker takes: what waits for a checkpoint, redb's cache, the allocator, buffers.
BEYOND_KB = 220_000
READY_MS = 2_000
WINDOW = 1_000
NEVER = {"session_expiry": 0xFFFFFFFF}


@pytest.fixture
def count(long):
    return 2_000_000 if long else 200_000


def fill_session(connect, broker, count):
    """Publishes numbers to an offline session; all are acknowledged."""
    sub = connect(broker, "slow", version=5, clean=False, properties=NEVER)
    sub.subscribe(("backlog", 1))
    sub.disconnect()
    pub = connect(broker, "fast")
    for first in range(0, count, WINDOW):
        mids = range(1, WINDOW + 1)
        pub.send(b"".join(publish_bytes("backlog", str(first + mid - 1), 1, mid) for mid in mids))
        for mid in mids:
            assert pub.expect(PUBACK).mid == mid
    pub.disconnect()


def drain_session(connect, broker, count):
    """Reads everything in order; duplicates and gaps fail."""
    sub = connect(broker, "slow", version=5, clean=False, properties={**NEVER, "receive_maximum": WINDOW})
    assert sub.connack.session_present
    acks = bytearray()
    for number in range(count):
        got = sub.expect(PUBLISH)
        assert int(got.payload) == number and not got.dup
        acks += ack_bytes(PUBACK, got.mid)
        if len(acks) >= 4 * (WINDOW // 4) or number == count - 1:
            sub.send(bytes(acks))
            acks.clear()
    sub.nothing_comes()
    sub.disconnect()


def fill_queue(broker, count):
    with Connection(broker.amqp, timeout=60) as connection:
        channel = connection.channel().select()
        channel.call("queue.declare", queue="backlog", durable=True)
        for first in range(0, count, WINDOW):
            for number in range(first, first + WINDOW):
                channel.publish("", "backlog", b"%d" % number, {"delivery_mode": 2})
            confirmed = first
            while confirmed < first + WINDOW:
                event = channel.answer("basic.ack", "basic.nack")
                assert event.name == "basic.ack"
                confirmed = confirmed + 1 if not event.multiple else event.delivery_tag
        connection.close()


def drain_queue(broker, count):
    with Connection(broker.amqp, timeout=60) as connection:
        channel = connection.channel()
        channel.call("basic.qos", prefetch_count=WINDOW)
        channel.call("basic.consume", queue="backlog", consumer_tag="c")
        for number in range(count):
            got = channel.next("basic.deliver")
            assert int(got.body) == number
            if number % (WINDOW // 4) == 0 or number == count - 1:
                channel.send("basic.ack", delivery_tag=got.delivery_tag, multiple=True)
        assert channel.call("queue.declare", queue="backlog", passive=True).message_count == 0
        connection.close()


def is_written(broker):
    """Everything has left the journal's way: a checkpoint after the last message."""
    taken = broker.metric("rialto_checkpoints_total")
    wait_until(lambda: broker.metric("rialto_checkpoints_total") > taken + 1, "two checkpoints")


def grown_kb(broker, idle_kb, what):
    grown = broker.memory_kb() - idle_kb
    print(f"{what}: {grown} kB beyond {idle_kb} kB")
    assert grown < BEYOND_KB, f"{grown} kB more than an idle broker: {what}"


def test_a_long_backlog_is_on_disk_and_comes_back_in_order(make_broker, connect, count):
    broker = make_broker(config=CONFIG).start()
    idle_kb = broker.memory_kb()
    queued = count // 2
    fill_session(connect, broker, count)
    grown_kb(broker, idle_kb, f"{count} messages in a session")
    fill_queue(broker, queued)
    grown_kb(broker, idle_kb, f"{queued} more in a queue")
    is_written(broker)
    for hard in (False, True):
        # The quickest of three: a busy machine may hold one up, a start that grows with the backlog is always late.
        starts = []
        while not starts or starts[-1] >= READY_MS and len(starts) < 3:
            broker.restart(hard)
            starts.append(broker.ready_ms)
        assert starts[-1] < READY_MS, f"{starts} ms to ready"
        print(f"ready after {broker.ready_ms} ms")
        grown_kb(broker, idle_kb, "after a restart")
    drain_session(connect, broker, count)
    drain_queue(broker, queued)
    grown_kb(broker, idle_kb, "when all was read")
    broker.restart(hard=True)
    sub = connect(broker, "slow", version=5, clean=False, properties=NEVER)
    sub.nothing_comes()
