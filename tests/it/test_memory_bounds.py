"""Memory is bounded by the configuration: small budgets, and peers that ask for much more than there is.

Each test says what the broker may take: the budgets in play, and `SPARE_KB` for everything else. What was acknowledged
is there afterwards, and everybody is served again once there is room.
"""

import contextlib
import socket
import struct
import threading

import pytest

from harness import wait_until
from rawamqp import Connection, Refused
from rawkafka import Peer, batch, batches
from rawmqtt import PUBACK, Client, Timeout, publish_bytes

pytestmark = pytest.mark.rialto

# Buffers of connections, the journal's batches, what the allocator keeps.
SPARE_KB = 48_000
MIB = 1 << 20


class Watch:
    """The most memory that a broker takes while something happens, beyond what it took before."""

    def __init__(self, broker):
        self.broker, self.before, self.most = broker, broker.memory_kb(), 0
        self.over = threading.Event()

    def __enter__(self):
        self.thread = threading.Thread(target=self._look)
        self.thread.start()
        return self

    def _look(self):
        while not self.over.wait(0.01):
            self.most = max(self.most, self.broker.memory_kb())

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    @property
    def grown_kb(self):
        return self.most - self.before


def produce(peer, topic, records):
    answer = peer.call("Produce", 8, acks=-1, timeoutMs=30_000, topicData=[
        {"name": topic, "partitionData": [{"index": 0, "records": records}]}])
    return answer["responses"][0]["partitionResponses"][0]["errorCode"]


def fetch(topic, offset=0, bytes_max=2 * MIB):
    return {"replicaId": -1, "maxWaitMs": 30_000, "minBytes": 1, "maxBytes": bytes_max, "topics": [
        {"topic": topic, "partitions": [{"partition": 0, "fetchOffset": offset, "partitionMaxBytes": bytes_max}]}]}


def make_log(broker, topic):
    with Peer(broker.kafka) as peer:
        peer.call("Metadata", 4, topics=[{"name": topic}], allowAutoTopicCreation=True)


def test_forty_kafka_connections_with_large_requests(make_broker):
    """Forty that announce 100 MB and send little keep nobody out, and forty that send megabytes share the budget."""
    budgets = "[kafka]\nrequests_bytes_max = \"4MiB\"\n[journal]\nsubmit_bytes_max = \"4MiB\"\n"
    broker = make_broker(config=budgets).start()
    make_log(broker, "large")
    records = batch([b"v" * 100_000] * 9)
    with Watch(broker) as watch, contextlib.ExitStack() as stack:
        for _ in range(40):
            peer = stack.enter_context(Peer(broker.kafka))
            peer.call("ApiVersions", 0)
            peer.raw(struct.pack("!ihh", 100_000_000, 0, 8) + bytes(50_000))
        faults = []

        def send(times):
            try:
                with Peer(broker.kafka, timeout=40.0) as peer:
                    peer.call("ApiVersions", 0)
                    faults.extend(code for code in (produce(peer, "large", records) for _ in range(times)) if code)
            except Exception as fault:  # noqa: BLE001 – carried to the test's thread
                faults.append(fault)

        senders = [threading.Thread(target=send, args=(3,)) for _ in range(40)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join(50)
    assert faults == []
    wait_until(lambda: broker.metric("rialto_log_appends_total") == 120, "log_appends_total is counted")
    # The budget and one request beyond it, twice over while a buffer grows; the journal's; 64 KiB a connection.
    bound_kb = 2 * (4 + 1) * 1024 + 2 * 4 * 1024 + 80 * 64
    assert watch.grown_kb < bound_kb + SPARE_KB, f"{watch.grown_kb} KB, {bound_kb} KB are granted"


def test_kafka_readers_that_do_not_read(make_broker):
    """They hold the budget of answers and no more; who reads is served when they are given up."""
    broker = make_broker(config="[kafka]\nfetches_bytes_max = \"4MiB\"\n").start()
    make_log(broker, "read")
    with Peer(broker.kafka) as peer:
        for _ in range(4):
            assert produce(peer, "read", batch([b"v" * 100_000] * 9)) == 0
    with Watch(broker) as watch, contextlib.ExitStack() as stack:
        for _ in range(40):
            slow = stack.enter_context(Peer(broker.kafka))
            slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.ask("Fetch", 11, **fetch("read"))
        reader = stack.enter_context(Peer(broker.kafka, timeout=50.0))
        answer = reader.call("Fetch", 11, **fetch("read"))
        assert batches(answer["responses"][0]["partitions"][0]["records"])[0]["count"] == 9
    assert watch.grown_kb < 2 * 4 * 1024 + SPARE_KB, f"{watch.grown_kb} KB"


def test_a_flood_into_an_offline_session(make_broker):
    """What waits for it is on disk; it gets every message that was acknowledged, and in order."""
    budgets = ("[checkpoint]\nmemory_bytes = \"2MiB\"\n[journal]\nsubmit_bytes_max = \"2MiB\"\n"
               "[mqtt]\nqueued_bytes_max = \"1GiB\"\nqueued_messages_max = 1_000_000\nreceive_max = 1024\n")
    broker = make_broker(config=budgets).start()
    away = Client(broker.mqtt, "away", clean=False)
    away.connect()
    away.subscribe(("flood", 1))
    away.disconnect()
    count, size = 60_000, 4_000
    with Watch(broker) as watch, Client(broker.mqtt, "flood", timeout=50.0) as publisher:
        publisher.connect()

        def send():
            for number in range(count):
                payload = number.to_bytes(4, "big") + bytes(size)
                publisher.socket.sendall(publish_bytes("flood", payload, 1, number + 1))

        sender = threading.Thread(target=send)
        publisher.socket.settimeout(50.0)
        sender.start()
        for number in range(count):
            got = publisher.receive(timeout=50.0)
            assert (got.kind, got.mid) == (PUBACK, number + 1)
        sender.join()
    # Index entries and ids; bodies in memory up to twice their budget; the journal's. The allocator keeps the more the
    # slower the disk is: twice the measure, of half of what went through.
    bound_kb = count * 200 // 1024 + 2 * 2 * 1024 + 2 * 2 * 1024
    assert watch.grown_kb < bound_kb + 2 * SPARE_KB, f"{watch.grown_kb} KB for {count * size >> 10} KB"
    with Client(broker.mqtt, "away", clean=False, timeout=50.0) as back:
        back.connect()
        for number in range(count):
            got = back.message(timeout=50.0)
            assert int.from_bytes(got.payload[:4], "big") == number
            assert len(got.payload) == size + 4
    wait_until(lambda: broker.metric("rialto_queued_bytes") == 0, "nothing waits", timeout=20)


def test_a_flood_into_a_queue_without_consumer(make_broker):
    """Publishers are slowed and told, then refused; room comes back with what is consumed, and with it everybody."""
    bound = 8 * MIB
    broker = make_broker(config=f"[queues]\nbytes_max = {bound}\n[checkpoint]\nmemory_bytes = \"2MiB\"\n").start()
    publisher = Connection(broker.amqp, timeout=40.0).open(capabilities={"connection.blocked": True}).channel().select()
    publisher.call("queue.declare", queue="q", durable=True)
    body = b"x" * 10_000
    with Watch(broker) as watch:
        sent, refused = 0, set()
        while not refused:
            for _ in range(50):
                publisher.publish("", "q", sent.to_bytes(4, "big") + body, {"delivery_mode": 2})
                sent += 1
            refused = publisher.confirms()
            assert sent < 3 * bound // len(body), "nothing is refused"
    assert publisher.connection.receive(0).name == "connection.blocked"
    assert watch.grown_kb < 2 * 2 * 1024 + SPARE_KB, f"{watch.grown_kb} KB"
    waiting = broker.metric("rialto_queued_bytes")
    assert 0.9 * bound < waiting < 1.2 * bound
    assert broker.metric("rialto_queued_bytes_max") == bound
    wait_until(lambda: broker.metric("rialto_messages_dropped_total", reason="queues_full") == len(refused),
               "messages_dropped_total is counted")

    # MQTT 5 has a word for it, MQTT 3.1.1 waits; what no queue keeps passes.
    away = Client(broker.mqtt, "away", clean=False)
    away.connect()
    away.subscribe(("t", 1))
    away.disconnect()
    five = Client(broker.mqtt, "five", version=5)
    five.connect()
    five.send(publish_bytes("t", b"x", 1, 1, version=5))
    assert five.receive().reason == 0x97
    five.send(publish_bytes("nobody", b"x", 1, 2, version=5))
    assert five.receive().reason in (0, 0x10)
    three = Client(broker.mqtt, "three")
    three.connect()
    three.send(publish_bytes("t", b"x", 1, 1))
    assert three.receive().kind == PUBACK, "what was on its way gets in"
    three.send(publish_bytes("t", b"x", 1, 2))
    with pytest.raises(Timeout):
        three.receive(timeout=1.0)

    consumer = Connection(broker.amqp, timeout=40.0).open().channel()
    consumer.call("basic.consume", queue="q", no_ack=True)
    kept = [tag for tag in range(sent) if tag + 1 not in refused]
    got = [int.from_bytes(consumer.next("basic.deliver").body[:4], "big") for _ in kept]
    assert got == kept
    assert three.receive(timeout=10.0).kind == PUBACK
    assert publisher.connection.receive(0).name == "connection.unblocked"
    publisher.publish("", "q", body, {"delivery_mode": 2})
    assert publisher.confirms() == set()
    for connection in (publisher.connection, consumer.connection):
        connection.close()


def test_what_a_channel_may_have_open_is_bounded(make_broker):
    """Gets without acknowledgements end the channel; nothing of it is lost."""
    broker = make_broker(config="[amqp]\nunacked_per_channel_max = 10\n").start()
    connection = Connection(broker.amqp).open()
    channel = connection.channel().select()
    channel.call("queue.declare", queue="q", durable=True)
    for number in range(12):
        channel.confirmed("", "q", str(number).encode(), {"delivery_mode": 2})
    taker = connection.channel()
    for number in range(10):
        assert taker.get("q").body.decode() == str(number)
    with pytest.raises(Refused) as refusal:
        taker.get("q")
    assert "unacknowledged" in str(refusal.value)
    other = connection.channel()
    assert [other.get("q", no_ack=True).body.decode() for _ in range(12)] == [str(number) for number in range(12)]
    connection.close()
