"""What Kafka clients rely on over restarts, soft and hard, and over checkpoints: sequences, groups, offsets, deleted
records, settings; and what leaves by itself: old records, old offsets (issue 5, "What must work")."""

import time

import pytest

from harness import wait_until
from kafka_scenarios.groups import Member
from kafkaclients import committed, create, ends
from rawkafka import Peer, batch, batches

pytestmark = [pytest.mark.rialto, pytest.mark.timeout(120)]

QUICK = """
[checkpoint]
interval_s = 1
journal_bytes = "1MiB"

[logs]
retention_check_ms = 1000

[groups]
initial_rebalance_delay_ms = 0
offsets_check_ms = 100
"""
HOWS = pytest.mark.parametrize("how", ["asked to stop", "killed", "killed behind a checkpoint"])


@pytest.fixture
def quick(make_broker):
    return make_broker(config=QUICK).start()


def restart(broker, how):
    if how == "killed behind a checkpoint":
        before = broker.metric("rialto_checkpoints_total")
        wait_until(lambda: broker.metric("rialto_checkpoints_total") > before, "a checkpoint")
    broker.restart(hard=how != "asked to stop")


def produce(peer, topic, data, partition=0):
    """(error, base offset)"""
    said = peer.call("Produce", 9, acks=-1, timeoutMs=5000, topicData=[
        {"name": topic, "partitionData": [{"index": partition, "records": data}]}])
    answer = said["responses"][0]["partitionResponses"][0]
    return answer["errorCode"], answer["baseOffset"]


def earliest(broker, topic):
    with Peer(broker.kafka) as peer:
        found = peer.call("ListOffsets", 5, replicaId=-1, topics=[
            {"name": topic, "partitions": [{"partitionIndex": 0, "timestamp": -2}]}])
        return found["topics"][0]["partitions"][0]["offset"]


class Stage:
    """What `Member` needs of a stage."""

    def __init__(self, broker):
        self.broker = broker

    def connect(self):
        return Peer(self.broker.kafka)


@HOWS
def test_sequences_go_on(quick, how):
    """The last five batches of a producer are known after a restart, and so is its epoch."""
    create(quick, "t")
    with Peer(quick.kafka) as peer:
        given = peer.call("InitProducerId", 4, transactionalId=None, transactionTimeoutMs=1000)
        producer, epoch = given["producerId"], given["producerEpoch"]
        for number in range(8):
            assert produce(peer, "t", batch([b"%d" % number], producer=(producer, epoch, number))) == (0, number)
    restart(quick, how)
    with Peer(quick.kafka) as peer:
        for number in range(3, 8):
            assert produce(peer, "t", batch([b"%d" % number], producer=(producer, epoch, number))) == (0, number)
        assert produce(peer, "t", batch([b"9"], producer=(producer, epoch, 9)))[0] == 45
        assert produce(peer, "t", batch([b"8"], producer=(producer, epoch, 8))) == (0, 8)
        again = peer.call("InitProducerId", 4, transactionalId=None, transactionTimeoutMs=1000)
        assert again["producerId"] != producer, "an id is given twice"
    assert ends(quick, "t") == {0: 9}


@HOWS
def test_a_group_goes_on(quick, how):
    """A dynamic member keeps its membership, a static one its place; offsets keep their words."""
    create(quick, "t")
    stage = Stage(quick)
    dynamic, static = Member(stage, "dynamic"), Member(stage, "static", instance="one")
    for member in (dynamic, static):
        assert member.join()["errorCode"] == 0
        assert member.sync([(member.id, b"share")])["errorCode"] == 0
        assert member.commit("t", 7) == 0
    restart(quick, how)
    for member in (dynamic, static):
        member.peer = Peer(quick.kafka)
        assert member.beat() == 0 and member.commit("t", 8) == 0
        assert committed(quick, member.group, "t") == {0: 8}
    back = Member(stage, "static", instance="one")
    said = back.join()
    assert (said["errorCode"], said["generationId"]) == (0, static.generation), "a rebalance"
    assert back.sync()["assignment"] == b"share" and static.beat() == 82


@HOWS
def test_offsets_stay_with_the_log(quick, how):
    for name in ("kept", "gone"):
        create(quick, name)
        with Peer(quick.kafka) as peer:
            said = peer.call("OffsetCommit", 7, groupId="g", generationIdOrMemberEpoch=-1, memberId="", topics=[
                {"name": name, "partitions": [{"partitionIndex": 0, "committedOffset": 3,
                                               "committedMetadata": "words"}]}])
            assert said["topics"][0]["partitions"][0]["errorCode"] == 0
    with Peer(quick.kafka) as peer:
        peer.call("DeleteTopics", 5, topicNames=["gone"], timeoutMs=5000)
    create(quick, "gone")
    restart(quick, how)
    assert committed(quick, "g", "gone") == {} and committed(quick, "g", "kept") == {0: 3}
    with Peer(quick.kafka) as peer:
        found = peer.call("OffsetFetch", 5, groupId="g", topics=[{"name": "kept", "partitionIndexes": [0]}])
        assert found["topics"][0]["partitions"][0]["metadata"] == "words"


@HOWS
def test_administration_stays(quick, how):
    """Which Apache Kafka forgets of deleted records when it is killed."""
    create(quick, "t", retention_ms=5_000_000)
    create(quick, "gone")
    with Peer(quick.kafka) as peer:
        for number in range(5):
            assert produce(peer, "t", batch([b"%d" % number], ts=int(time.time() * 1000))) == (0, number)
        peer.call("DeleteRecords", 2, timeoutMs=5000, topics=[
            {"name": "t", "partitions": [{"partitionIndex": 0, "offset": 3}]}])
        peer.call("CreatePartitions", 3, timeoutMs=5000, topics=[{"name": "t", "count": 4, "assignments": None}])
        peer.call("IncrementalAlterConfigs", 1, resources=[{"resourceType": 2, "resourceName": "t", "configs": [
            {"name": "max.message.bytes", "configOperation": 0, "value": "1500"}]}])
        peer.call("DeleteTopics", 5, topicNames=["gone"], timeoutMs=5000)
    restart(quick, how)
    assert earliest(quick, "t") == 3 and len(ends(quick, "t")) == 4
    with Peer(quick.kafka) as peer:
        assert produce(peer, "t", batch([b"x" * 2000]))[0] == 10
        found = peer.call("DescribeConfigs", 4, resources=[
            {"resourceType": 2, "resourceName": "t", "configurationKeys": ["retention.ms", "max.message.bytes"]}])
        assert {entry["name"]: entry["value"] for entry in found["results"][0]["configs"]} == {
            "retention.ms": "5000000", "max.message.bytes": "1500"}
        listed = peer.call("Metadata", 5, topics=None)["topics"]
        assert {topic["name"] for topic in listed} == {"t"}


@pytest.mark.parametrize("setting, value", [("retention_bytes", 2 << 20), ("retention_ms", 60_000)])
def test_old_records_leave(quick, setting, value):
    """By size and by the records' own times; what is gone is out of range, what stays is whole, and stays gone."""
    create(quick, "t", segment_bytes=1 << 20, max_message_bytes=600_000, message_timestamp_after_max_ms=10**15,
           **{setting: value})
    stamp = 1_000_000 if setting == "retention_ms" else 10**13
    with Peer(quick.kafka) as peer:
        for number in range(12):
            # The last ones are young for any clock.
            when = 10**13 if number >= 9 else stamp
            assert produce(peer, "t", batch([b"x" * 500_000], ts=when)) == (0, number)
        wait_until(lambda: earliest(quick, "t") > 0, "the oldest records are gone")
        start = wait_until(lambda: settled(quick), "no more of them go")
        assert 1 <= start <= 9
        for offset, error in ((0, 1), (start - 1, 1), (start, 0), (11, 0), (13, 1)):
            said = peer.call("Fetch", 11, replicaId=-1, maxWaitMs=0, minBytes=0, maxBytes=1 << 20, topics=[
                {"topic": "t", "partitions": [{"partition": 0, "fetchOffset": offset, "partitionMaxBytes": 1 << 20}]}])
            found = said["responses"][0]["partitions"][0]
            assert (found["errorCode"], found["logStartOffset"] if error == 0 else start) == (error, start), offset
            if error == 0:
                assert batches(found["records"])[0]["base"] == offset
    quick.restart(hard=True)
    assert earliest(quick, "t") >= start and ends(quick, "t") == {0: 12}


def settled(broker):
    """The start of the log once it has stayed the same over two of the broker's own looks, a second apart."""
    start, until = earliest(broker, "t"), time.monotonic() + 2.5
    while time.monotonic() < until:
        if earliest(broker, "t") != start:
            return None
    return start


def test_old_offsets_leave(make_broker):
    """Of groups without members, after their time."""
    broker = make_broker(config=QUICK + "offsets_retention_ms = 1500\n").start()
    create(broker, "t")
    member = Member(Stage(broker), "busy")
    member.join()
    member.sync([(member.id, b"x")])
    assert member.commit("t", 1) == 0
    with Peer(broker.kafka) as peer:
        said = peer.call("OffsetCommit", 7, groupId="idle", generationIdOrMemberEpoch=-1, memberId="", topics=[
            {"name": "t", "partitions": [{"partitionIndex": 0, "committedOffset": 1}]}])
        assert said["topics"][0]["partitions"][0]["errorCode"] == 0
    assert committed(broker, "idle", "t") == {0: 1}

    def gone():
        assert member.beat() == 0
        return committed(broker, "idle", "t") == {}

    wait_until(gone, "the idle group's offset is gone", pause=0.1)
    assert committed(broker, "busy", "t") == {0: 1}


def test_lag_is_told(quick):
    create(quick, "t")
    with Peer(quick.kafka) as peer:
        for number in range(5):
            produce(peer, "t", batch([b"%d" % number]))
        peer.call("OffsetCommit", 7, groupId="g", generationIdOrMemberEpoch=-1, memberId="", topics=[
            {"name": "t", "partitions": [{"partitionIndex": 0, "committedOffset": 2}]}])
    wait_until(lambda: quick.metric("rialto_group_lag", group="g", log="t") == 3, "the lag is 3")


def test_groups_ask_the_rules(make_broker):
    """`group` is an object of the access rules like `log`: GROUP_AUTHORIZATION_FAILED (30)."""
    rules = """
[[acl]]
allow = "*"
log = "*"
[[acl]]
allow = "*"
group = "open*"
"""
    broker = make_broker(config=QUICK + rules).start()
    create(broker, "t")
    stage = Stage(broker)
    allowed = Member(stage, "open-group")
    assert allowed.join()["errorCode"] == 0
    allowed.sync([(allowed.id, b"x")])
    assert allowed.commit("t", 1) == 0
    refused = Member(stage, "closed-group")
    refused.send()
    assert refused.joined()["errorCode"] == 30
    with Peer(broker.kafka) as peer:
        found = peer.call("OffsetFetch", 5, groupId="closed-group", topics=None)
        assert found["errorCode"] == 30
        said = peer.call("DeleteGroups", 2, groupsNames=["closed-group", "open-group"])
        assert sorted(entry["errorCode"] for entry in said["results"]) == [30, 68]
        listed = peer.call("ListGroups", 4, statesFilter=[])
        assert {entry["groupId"] for entry in listed["groups"]} == {"open-group"}
