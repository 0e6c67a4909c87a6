"""kafka-python as services use it: producer, a group of two, administration (issue 5, "Proof")."""

import threading
import time

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, NewPartitions, NewTopic
from kafka.errors import KafkaError, TopicAlreadyExistsError, UnknownTopicOrPartitionError

from harness import wait_until
from kafkaclients import address, committed, create, ends

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]


class Member(threading.Thread):
    """A consumer of a group on a thread of its own."""

    def __init__(self, broker, group, topic, **settings):
        super().__init__(daemon=True)
        self.consumer = KafkaConsumer(topic, bootstrap_servers=address(broker), group_id=group, heartbeat_interval_ms=200,
                                      auto_offset_reset="earliest", enable_auto_commit=False, **settings)
        self.rows, self.fault, self.leaving = [], None, threading.Event()
        self.assigned = set()
        self.start()

    def run(self):
        try:
            while not self.leaving.is_set():
                found = self.consumer.poll(timeout_ms=100)
                self.assigned = {part.partition for part in self.consumer.assignment()}
                for rows in found.values():
                    self.rows += [(row.partition, row.offset, row.value) for row in rows]
                if found:
                    self.consumer.commit()
            self.consumer.close()
        except KafkaError as fault:
            self.fault = fault

    def leave(self):
        self.leaving.set()
        self.join(30)
        assert not self.is_alive() and self.fault is None, self.fault


@pytest.fixture
def producer(shared):
    made = KafkaProducer(bootstrap_servers=address(shared))
    yield made
    made.close(timeout=10)


def test_records_come_back_as_they_went(shared, unique, producer):
    create(shared, unique, 2)
    sent = [producer.send(unique, key=b"k%d" % n, value=b"v%d" % n, headers=[("h", b"%d" % n)], timestamp_ms=1000 + n)
            .get(20) for n in range(50)]
    assert sorted(ends(shared, unique).values()) == sorted(
        [sum(row.partition == part for row in sent) for part in range(2)])
    consumer = KafkaConsumer(unique, bootstrap_servers=address(shared), auto_offset_reset="earliest",
                             consumer_timeout_ms=30_000)
    rows = []
    for row in consumer:
        rows.append(row)
        if len(rows) == 50:
            break
    consumer.close()
    assert {(row.key, row.value, row.headers[0][1], row.timestamp) for row in rows} == {
        (b"k%d" % n, b"v%d" % n, b"%d" % n, 1000 + n) for n in range(50)}
    assert {(row.partition, row.offset) for row in rows} == {(row.partition, row.offset) for row in sent}


@pytest.mark.parametrize("codec", ["gzip"])
def test_compression(shared, unique, codec):
    create(shared, unique)
    producer = KafkaProducer(bootstrap_servers=address(shared), compression_type=codec, linger_ms=50)
    for number in range(200):
        producer.send(unique, b"%d" % number * 20)
    producer.flush(20)
    producer.close(timeout=10)
    assert ends(shared, unique) == {0: 200}


def test_two_members_share_and_one_leaves(shared, unique, producer):
    create(shared, unique, 4)
    group = f"g-{unique}"
    for number in range(100):
        producer.send(unique, key=b"%d" % number, value=b"%d" % number)
    producer.flush(20)
    members = [Member(shared, group, unique)]
    wait_until(lambda: len(members[0].rows) == 100, "the first reads everything", 40)
    members.append(Member(shared, group, unique))
    wait_until(lambda: all(len(member.assigned) == 2 for member in members), "each has two partitions", 40)
    assert members[0].assigned | members[1].assigned == {0, 1, 2, 3}
    for number in range(100, 200):
        producer.send(unique, key=b"%d" % number, value=b"%d" % number)
    producer.flush(20)
    wait_until(lambda: sum(len(member.rows) for member in members) >= 200, "both read on", 40)
    members[1].leave()
    wait_until(lambda: members[0].assigned == {0, 1, 2, 3}, "the one that is left has all of them", 40)
    members[0].leave()
    values = [row[2] for member in members for row in member.rows]
    assert sorted(values, key=int) == [b"%d" % number for number in range(200)], "each exactly once"
    assert committed(shared, group, unique) == ends(shared, unique)


def test_positions(shared, unique, producer):
    """Beginning, end, a time, a committed place, all through the client's own calls."""
    create(shared, unique)
    for number in range(10):
        producer.send(unique, b"%d" % number, timestamp_ms=1000 * (number + 1))
    producer.flush(20)
    consumer = KafkaConsumer(bootstrap_servers=address(shared), group_id=f"g-{unique}", enable_auto_commit=False)
    part = TopicPartition(unique, 0)
    consumer.assign([part])
    assert consumer.beginning_offsets([part]) == {part: 0} and consumer.end_offsets([part]) == {part: 10}
    found = consumer.offsets_for_times({part: 4500})[part]
    assert (found.offset, found.timestamp) == (4, 5000)
    consumer.seek(part, 7)
    rows = []
    deadline = time.monotonic() + 20
    while len(rows) < 3 and time.monotonic() < deadline:
        rows += [row.value for part_rows in consumer.poll(timeout_ms=500).values() for row in part_rows]
    assert rows == [b"7", b"8", b"9"]
    consumer.commit()
    assert consumer.committed(part) == 10
    consumer.close()


def test_administration(shared, unique):
    admin = KafkaAdminClient(bootstrap_servers=address(shared))
    try:
        admin.create_topics([NewTopic(unique, 2, 1, topic_configs={"retention.ms": "3600000"})])
        with pytest.raises(TopicAlreadyExistsError):
            admin.create_topics([NewTopic(unique, 2, 1)])
        wait_until(lambda: unique in admin.list_topics(), "it is listed")
        resource = ConfigResource(ConfigResourceType.TOPIC, unique)
        assert setting(admin, resource, "retention.ms") == "3600000"
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, unique, configs={"retention.ms": "7200000"})])
        wait_until(lambda: setting(admin, resource, "retention.ms") == "7200000", "it is changed")
        admin.create_partitions({unique: NewPartitions(5)})
        wait_until(lambda: len(admin.describe_topics([unique])[0]["partitions"]) == 5, "five partitions")
        admin.delete_topics([unique])
        wait_until(lambda: unique not in admin.list_topics(), "it is gone")
        with pytest.raises(UnknownTopicOrPartitionError):
            admin.delete_topics([unique])
    finally:
        admin.close()


def setting(admin, resource, name):
    """A setting's value, in whichever shape the client tells it."""
    found = admin.describe_configs([resource])
    found = found[0] if isinstance(found, list) else found
    found = found.get("topic", found)
    found = next(iter(found.values())) if not hasattr(found, "resources") else found
    value = found[name]
    return value["value"] if isinstance(value, dict) else value


def test_groups_are_listed_described_and_deleted(shared, unique, producer):
    create(shared, unique, 2)
    group = f"g-{unique}"
    producer.send(unique, b"x").get(20)
    member = Member(shared, group, unique)
    wait_until(lambda: member.rows, "it reads", 40)
    admin = KafkaAdminClient(bootstrap_servers=address(shared))
    try:
        assert group in str(admin.list_groups())
        assert "Stable" in str(admin.describe_groups([group]))
        member.leave()
        wait_until(lambda: "Empty" in str(admin.describe_groups([group])), "it is empty")
        kept = admin.list_group_offsets([group]) if hasattr(admin, "list_group_offsets") else None
        assert kept is None or unique in str(kept)
        admin.delete_groups([group])
        wait_until(lambda: group not in str(admin.list_groups()), "it is gone")
        assert committed(shared, group, unique) == {}
    finally:
        admin.close()
