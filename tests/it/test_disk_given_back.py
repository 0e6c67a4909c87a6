"""Disk is given back while messages are stuck (issue 6): one message a round waits for ever in an offline session, one in
a queue that nobody consumes, and traffic passes through other ones, file after file of message bodies. With --long
ten times as much.
"""

import pytest

from harness import wait_until
from rawamqp import Connection
from rawmqtt import PUBACK

pytestmark = pytest.mark.rialto

MIB = 1 << 20
PERSISTENT = {"delivery_mode": 2}
CONFIG = """
[journal]
segment_bytes = "1MiB"

[checkpoint]
interval_s = 1
journal_bytes = "4MiB"
memory_bytes = "1MiB"
body_segment_bytes = "1MiB"
"""
#: Bytes of a message that passes, and how many pass in a round.
LENGTH, COUNT = 16 << 10, 200
#: Two files of bodies that are written to, the journal with its spare files, and the database.
CONSTANT = 2 * MIB + 16 * MIB + 4 * MIB


def on_disk(broker):
    total = 0
    for path in broker.data.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            pass
    return total


def checkpoints(broker, count=1):
    before = broker.metric("rialto_checkpoints_total")
    wait_until(lambda: broker.metric("rialto_checkpoints_total") >= before + count, f"{count} checkpoints")


def subscribed(connect, broker, name, topic):
    client = connect(broker, name, clean=False)
    client.subscribe((topic, 1))
    client.disconnect()


def test_stuck_messages_pin_no_disk(make_broker, connect, long):
    broker = make_broker(config=CONFIG).start()
    subscribed(connect, broker, "stuck", "stuck")
    subscribed(connect, broker, "flow", "flow")
    rounds = 100 if long else 30
    live = passed = 0
    with Connection(broker.amqp) as connection:
        channel = connection.channel().select()
        for queue in ("held", "passing"):
            channel.call("queue.declare", queue=queue, durable=True)
        publisher = connect(broker, "p")
        for number in range(rounds):
            text = f"{number:04}".ljust(256, ".")
            publisher.publish("stuck", text, qos=1)
            channel.publish("", "held", text, PERSISTENT)
            live += 2 * len(text)
            mids = []
            for _ in range(COUNT):
                # Together: a slow disk would take minutes to sync one after the other.
                mids.append(publisher.publish("flow", b"f" * LENGTH, qos=1, wait=False))
                channel.publish("", "passing", b"q" * (LENGTH // 4), PERSISTENT)
                passed += LENGTH + LENGTH // 4
            for mid in mids:
                publisher.expect_ack(PUBACK, mid)
            channel.confirms()
            # What waits is written down, and only then taken.
            checkpoints(broker)
            reader = connect(broker, "flow", clean=False)
            assert len(reader.messages(COUNT)) == COUNT
            reader.disconnect()
            for _ in range(COUNT):
                tag = channel.get("passing").delivery_tag
            channel.send("basic.ack", delivery_tag=tag, multiple=True)
        channel.call("queue.declare", queue="behind", durable=True)
        # Counted by one, emptied by the next, given up by the one after that; and one was under way.
        checkpoints(broker, 4)
        size = on_disk(broker)
        print(f"{passed / MIB:.0f} MiB passed, {size / MIB:.1f} MiB on disk, {live / MIB:.2f} MiB live")
        assert passed > 3 * size
        assert size <= 2 * live + CONSTANT
        assert broker.metric("rialto_body_bytes") <= 2 * live + 3 * MIB
        assert broker.metric("rialto_compacted_bytes_total") > 0
    broker.restart(hard=True)
    stuck = connect(broker, "stuck", clean=False)
    assert [int(message.payload[:4]) for message in stuck.messages(rounds)] == list(range(rounds))
    with Connection(broker.amqp) as connection:
        channel = connection.channel()
        held = [int(channel.get("held", no_ack=True).body[:4]) for _ in range(rounds)]
        assert held == list(range(rounds))
