"""A broker filled by all three protocols, and `rialto store` run on what it leaves."""

import hashlib
import json
import subprocess

from clients import kcat_read, kcat_write
from harness import binary
from rawamqp import Connection
from rawkafka import Peer
from rawmqtt import Client

FOREVER = {"session_expiry": 0xFFFFFFFF}
BYTES = b"\x00\xff\xfe"


def filled_and_killed(make_broker):
    """A broker that nobody serves any more: forty of everything in a checkpoint, another forty in the journal alone."""
    broker = make_broker().start()
    fill(broker)
    broker.restart()
    fill(broker, 40)
    broker.kill9()
    return broker


def store(*args, timeout=60, env=None):
    """`rialto store …`; nothing is checked."""
    return subprocess.run([binary(), "store", *map(str, args)], capture_output=True, text=True, timeout=timeout)


def verify(folder, expect=0):
    """Everything that `rialto store verify` says about a data directory."""
    done = store("verify", "--data-dir", folder)
    said = done.stdout + done.stderr
    assert done.returncode == expect, f"exit code {done.returncode}\n{said}"
    assert "panicked" not in said, said
    return said


def export(folder, *what):
    """The lines of `rialto store export`, as objects."""
    args = ["--what", ",".join(what)] if what else []
    done = store("export", "--data-dir", folder, *args)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def of(lines, kind, **fields):
    return [line for line in lines if line["type"] == kind and all(line[name] == want for name, want in fields.items())]


def tree(folder):
    """Every file below a folder: name, digest, and when it was last changed."""
    return {str(path.relative_to(folder)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
            for path in sorted(folder.rglob("*")) if path.is_file()}


def session(port, name):
    client = Client(port, name, version=5, clean=False, properties=FOREVER)
    client.connect()
    return client


def fill(broker, first=0, count=40):
    """A session `s`, a queue `q` bound twice, retained messages, a log `own` with a group `g`: `count` more of each."""
    numbers = range(first, first + count)
    if first == 0:
        sub = session(broker.mqtt, "s")
        sub.subscribe(("t/#", 2))
        sub.disconnect()
    with Client(broker.mqtt, "p", version=5) as pub:
        pub.connect()
        for number in numbers:
            pub.publish(f"t/{number % 3}", f"{number}", qos=1 + number % 2,
                        properties={"content_type": "n", "user": [("a", "b"), ("a", "c")]})
        for number in range(5):
            pub.publish(f"r/{number}", f"{first + number}", qos=1, retain=True)
    fill_queue(broker, numbers)
    kcat_write(broker.kafka, "own", [f"k{number}:v{number}" for number in numbers], "-K", ":", "-H", "h=x", "-z", "lz4")
    with Peer(broker.kafka) as peer:
        done = peer.call("OffsetCommit", 5, groupId="g", generationIdOrMemberEpoch=-1, memberId="", topics=[{
            "name": "own", "partitions": [
                {"partitionIndex": 0, "committedOffset": first + 7, "committedMetadata": "here"}]}])
        assert done["topics"][0]["partitions"][0]["errorCode"] == 0, done


def fill_queue(broker, numbers):
    connection = Connection(broker.amqp).open()
    channel = connection.channel()
    channel.call("exchange.declare", exchange="x", type="topic", durable=True)
    channel.call("queue.declare", queue="q", durable=True, arguments={"x-max-length": 100_000})
    channel.call("queue.bind", queue="q", exchange="x", routing_key="a.*")
    channel.call("queue.bind", queue="q", exchange="amq.fanout", routing_key="")
    channel.select()
    for number in numbers:
        channel.publish("x", "a.b", b"%d" % number + BYTES, {"delivery_mode": 2, "headers": {"n": number}})
    assert not channel.confirms()
    connection.close()


def check(broker, count=40):
    """Everything of `fill` is there, in order and once."""
    back = session(broker.mqtt, "s")
    assert back.connack.session_present
    got = back.messages(count)
    assert [int(message.payload) for message in got] == list(range(count))
    back.nothing_comes()
    back.disconnect()
    connection = Connection(broker.amqp).open()
    channel = connection.channel()
    bodies = [channel.get("q", no_ack=True).body for _ in range(count)]
    assert bodies == [b"%d" % number + BYTES for number in range(count)]
    assert channel.get("q", no_ack=True).name == "basic.get-empty"
    connection.close()
    rows = kcat_read(broker.kafka, "own")
    assert [(row["offset"], row["value"]) for row in rows] == [(number, f"v{number}") for number in range(count)]
