"""confluent-kafka (librdkafka) as services use it: idempotent producer, cooperative and static groups, offsets for
times, administration (issue 5, "Proof")."""

import threading
import time

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka import ConsumerGroupTopicPartitions as GroupOffsets
from confluent_kafka.admin import (AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions,
                                   NewTopic, OffsetSpec, ResourceType)

from harness import wait_until
from kafkaclients import address, committed, create, ends

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]


def settings(broker, **others):
    return {"bootstrap.servers": address(broker), "broker.address.family": "v4",
            **{key.replace("_", "."): value for key, value in others.items()}}


def producer_of(broker, **others):
    return Producer(settings(broker, **{"enable_idempotence": True, "linger_ms": 5, **others}))


def send(producer, topic, numbers, faults=None):
    """Produces numbers with themselves as keys and waits for every report."""

    def report(error, message):
        if error is not None:
            (faults if faults is not None else refused).append(error)

    refused = []
    for number in numbers:
        while True:
            try:
                producer.produce(topic, key=str(number), value=str(number), on_delivery=report)
                break
            except BufferError:
                producer.poll(0.1)
    assert producer.flush(30) == 0 and not refused, refused


class Member(threading.Thread):
    """A consumer of a group on a thread of its own; remembers each assignment and revocation."""

    def __init__(self, broker, group, topic, **others):
        super().__init__(daemon=True)
        self.consumer = Consumer(settings(broker, **{
            "group_id": group, "auto_offset_reset": "earliest", "enable_auto_commit": False,
            "heartbeat_interval_ms": 200, "session_timeout_ms": 10_000, **others}))
        self.rows, self.held, self.history, self.fault = [], set(), [], None
        self.leaving = threading.Event()
        self.consumer.subscribe([topic], on_assign=self.on_assign, on_revoke=self.on_revoke, on_lost=self.on_revoke)
        self.start()

    def on_assign(self, consumer, parts):
        new = {part.partition for part in parts}
        self.history.append(("+", new))
        self.held |= new

    def on_revoke(self, consumer, parts):
        gone = {part.partition for part in parts}
        self.history.append(("-", gone))
        self.held -= gone

    def run(self):
        try:
            while not self.leaving.is_set():
                message = self.consumer.poll(0.1)
                if message is None:
                    continue
                if message.error():
                    raise KafkaException(message.error())
                self.rows.append((message.partition(), message.offset(), message.value().decode()))
                if len(self.rows) % 20 == 0:
                    self.consumer.commit(asynchronous=False)
            if self.rows:
                self.consumer.commit(asynchronous=False)
        except KafkaException as fault:
            # Nothing new since the last commit.
            if fault.args[0].code() != KafkaError._NO_OFFSET:
                self.fault = fault
        finally:
            self.consumer.close()

    def leave(self):
        self.leaving.set()
        self.join(30)
        assert not self.is_alive() and self.fault is None, self.fault


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_an_idempotent_producer(shared, unique, codec):
    create(shared, unique, 3)
    producer = producer_of(shared, compression_type=codec)
    send(producer, unique, range(2000))
    assert sum(ends(shared, unique).values()) == 2000


def test_an_idempotent_producer_begins_the_moment_its_topic_is_made(shared, unique):
    admin = AdminClient(settings(shared))
    admin.create_topics([NewTopic(unique, 2, 1)])[unique].result(20)
    send(producer_of(shared), unique, range(100))
    assert sum(ends(shared, unique).values()) == 100


def members_share(shared, unique, **others):
    """Two members, then one; each record once, offsets committed to the end. Returns the first's history."""
    create(shared, unique, 4)
    group, producer = f"g-{unique}", producer_of(shared)
    send(producer, unique, range(200))
    members = [Member(shared, group, unique, **others)]
    wait_until(lambda: len(members[0].rows) == 200, "the first reads everything", 40)
    members.append(Member(shared, group, unique, **others))
    wait_until(lambda: all(len(member.held) == 2 for member in members), "each has two partitions", 40)
    assert members[0].held | members[1].held == {0, 1, 2, 3}
    send(producer, unique, range(200, 400))
    wait_until(lambda: {row[2] for member in members for row in member.rows} == set(map(str, range(400))),
               "both read on", 40)
    members[1].leave()
    wait_until(lambda: members[0].held == {0, 1, 2, 3}, "the one that is left has all of them", 40)
    send(producer, unique, range(400, 410))
    wait_until(lambda: {row[2] for member in members for row in member.rows} == set(map(str, range(410))),
               "the one that is left reads on", 40)
    members[0].leave()
    assert committed(shared, group, unique) == ends(shared, unique)
    return members[0].history


def test_an_eager_group(shared, unique):
    history = members_share(shared, unique, partition_assignment_strategy="range")
    assert ("-", {0, 1, 2, 3}) in history, "everything is given up before it is shared anew"


def test_a_cooperative_group(shared, unique):
    """KIP-429: nobody gives up what it keeps."""
    history = members_share(shared, unique, partition_assignment_strategy="cooperative-sticky")
    revoked = [parts for sign, parts in history if sign == "-"]
    assert revoked and len(revoked[0]) == 2, history


def test_static_members(shared, unique):
    """KIP-345: one that restarts within its session takes its place back, and a double of it is fenced."""
    create(shared, unique, 2)
    group = f"g-{unique}"
    first = Member(shared, group, unique, group_instance_id="one")
    second = Member(shared, group, unique, group_instance_id="two")
    wait_until(lambda: len(first.held) == len(second.held) == 1, "each has one partition", 40)
    held, rounds = second.held.copy(), len(first.history)
    # A static member that ends does not leave.
    second.leave()
    back = Member(shared, group, unique, group_instance_id="two")
    wait_until(lambda: back.held, "it is back", 40)
    assert back.held == held and len(first.history) == rounds, "the other is not disturbed"
    double = Member(shared, group, unique, group_instance_id="two")
    wait_until(lambda: back.fault is not None, "the one that was there is fenced", 40)
    assert back.fault.args[0].code() == KafkaError._FATAL or "fenced" in str(back.fault).lower(), back.fault
    for member in (first, double):
        member.leave()


def test_positions(shared, unique):
    create(shared, unique)
    producer = producer_of(shared)
    for number in range(10):
        producer.produce(unique, value=str(number), timestamp=1000 * (number + 1))
    assert producer.flush(20) == 0
    consumer = Consumer(settings(shared, group_id=f"g-{unique}", enable_auto_commit=False))
    assert consumer.get_watermark_offsets(TopicPartition(unique, 0), timeout=20) == (0, 10)
    found = consumer.offsets_for_times([TopicPartition(unique, 0, 4500), ], timeout=20)
    assert found[0].offset == 4
    consumer.commit(offsets=[TopicPartition(unique, 0, 6, metadata="words")], asynchronous=False)
    kept = consumer.committed([TopicPartition(unique, 0)], timeout=20)[0]
    assert (kept.offset, kept.metadata) == (6, "words")
    consumer.assign([TopicPartition(unique, 0)])
    rows, deadline = [], time.monotonic() + 20
    while len(rows) < 4 and time.monotonic() < deadline:
        message = consumer.poll(0.5)
        rows += [message.value()] if message is not None and not message.error() else []
    assert rows == [b"6", b"7", b"8", b"9"]
    consumer.close()


def test_headers_and_tombstones(shared, unique):
    create(shared, unique)
    producer = producer_of(shared)
    producer.produce(unique, key="k", value=None, headers=[("a", b"1"), ("a", None), ("b", b"")], timestamp=5)
    assert producer.flush(20) == 0
    consumer = Consumer(settings(shared, group_id=f"g-{unique}"))
    consumer.assign([TopicPartition(unique, 0, 0)])
    # A message without a value counts as false.
    message = wait_until(lambda: [found for found in [consumer.poll(0.5)] if found is not None], "the record")[0]
    assert message.error() is None and (message.key(), message.value(), message.timestamp()) == (b"k", None, (1, 5))
    assert message.headers() == [("a", b"1"), ("a", None), ("b", b"")]
    consumer.close()


def test_administration(shared, unique):
    admin = AdminClient(settings(shared))
    admin.create_topics([NewTopic(unique, 2, 1, config={"retention.ms": "3600000"})])[unique].result(20)
    resource = ConfigResource(ResourceType.TOPIC, unique)

    def setting(name):
        return admin.describe_configs([resource])[resource].result(20)[name].value

    assert setting("retention.ms") == "3600000"
    change = ConfigEntry("retention.ms", "7200000", incremental_operation=AlterConfigOpType.SET)
    altered = ConfigResource(ResourceType.TOPIC, unique, incremental_configs=[change])
    admin.incremental_alter_configs([altered])[altered].result(20)
    wait_until(lambda: setting("retention.ms") == "7200000", "it is changed")
    admin.create_partitions([NewPartitions(unique, 4)])[unique].result(20)
    wait_until(lambda: len(admin.list_topics(unique, 10).topics[unique].partitions) == 4, "four partitions")
    wait_until(lambda: len(ends(shared, unique)) == 4, "all of them are ready")
    send(producer_of(shared), unique, range(50))
    latest = {TopicPartition(unique, number): OffsetSpec.latest() for number in range(4)}
    found = {part.partition: future.result(20).offset for part, future in admin.list_offsets(latest).items()}
    assert found == ends(shared, unique) and sum(found.values()) == 50
    victim = max(found, key=found.get)
    deleted = admin.delete_records([TopicPartition(unique, victim, 2)])
    assert [future.result(20).low_watermark for future in deleted.values()] == [2]
    admin.delete_topics([unique])[unique].result(20)
    wait_until(lambda: unique not in admin.list_topics(timeout=10).topics, "it is gone")


def test_groups_are_administered(shared, unique):
    create(shared, unique, 2)
    group, admin = f"g-{unique}", AdminClient(settings(shared))
    send(producer_of(shared), unique, range(40))
    member = Member(shared, group, unique)
    wait_until(lambda: len(member.rows) == 40, "it reads everything", 40)
    assert group in {entry.group_id for entry in admin.list_consumer_groups().result(20).valid}
    told = admin.describe_consumer_groups([group])[group].result(20)
    assert told.state.name == "STABLE" and len(told.members) == 1
    assert {part.partition for part in told.members[0].assignment.topic_partitions} == {0, 1}
    member.leave()

    def offsets():
        kept = admin.list_consumer_group_offsets([GroupOffsets(group)])[group].result(20)
        return {part.partition: part.offset for part in kept.topic_partitions}

    assert offsets() == ends(shared, unique)
    moved = GroupOffsets(group, [TopicPartition(unique, 0, 1)])
    admin.alter_consumer_group_offsets([moved])[group].result(20)
    assert offsets()[0] == 1
    admin.delete_consumer_groups([group])[group].result(20)
    assert group not in {entry.group_id for entry in admin.list_consumer_groups().result(20).valid}


def test_a_record_larger_than_the_topic_takes(shared, unique):
    create(shared, unique, max_message_bytes=2000)
    faults = []
    producer = producer_of(shared)
    producer.produce(unique, value="x" * 5000, on_delivery=lambda error, message: faults.append(error))
    assert producer.flush(20) == 0 and [fault.code() for fault in faults] == [KafkaError.MSG_SIZE_TOO_LARGE]
