"""ListOffsets and OffsetForLeaderEpoch."""

from kafka_scenarios import scenario
from rawkafka import CODECS, batch

EARLIEST, LATEST, MAX_TIMESTAMP = -2, -1, -3


@scenario
def list_offsets_at_every_version(stage):
    topic = stage.topic("t")
    stage.put(topic, b"a", b"b")
    for version in range(1, 12):
        for timestamp in (LATEST, EARLIEST):
            stage.note(f"v{version} {timestamp}", stage.offset(topic, timestamp, version=version))


@scenario
def offsets_for_times(stage):
    """The first record whose time is not before the one asked for, also inside of batches, compressed or not."""
    for codec in CODECS:
        topic = stage.topic(codec)
        for first in (1000, 2000, 3000):
            stage.produce(topic, batch([b"a", b"b", b"c"], stamps=[first, first + 100, first + 200], codec=codec))
        for timestamp in (0, 999, 1000, 1001, 1100, 1150, 1200, 1201, 2000, 2150, 3199, 3200, 3201, 10**13):
            stage.note(f"{codec} {timestamp}", stage.offset(topic, timestamp))
        stage.note(f"{codec} largest", stage.offset(topic, MAX_TIMESTAMP, version=7))


@scenario
def offsets_for_times_out_of_order(stage):
    topic = stage.topic("t")
    stage.produce(topic, batch([b"a", b"b", b"c"], stamps=[5000, 1000, 3000]))
    stage.produce(topic, batch([b"d", b"e"], stamps=[2000, 9000]))
    stage.produce(topic, batch([b"f"], stamps=[4000]))
    for timestamp in (500, 1000, 2500, 3000, 4000, 5000, 5001, 9000, 9001):
        stage.note(str(timestamp), stage.offset(topic, timestamp))
    stage.note("largest", stage.offset(topic, MAX_TIMESTAMP, version=7))


@scenario
def offsets_of_an_empty_log(stage):
    topic = stage.topic("t")
    for timestamp in (LATEST, EARLIEST, MAX_TIMESTAMP, 0, 1000):
        stage.note(str(timestamp), stage.offset(topic, timestamp, version=7))


@scenario
def offsets_from_nowhere(stage):
    topic = stage.topic("t")
    stage.note("an unknown partition", stage.offset(topic, LATEST, 5))
    stage.note("a negative partition", stage.offset(topic, LATEST, -1))
    stage.note("an unknown topic", stage.offset(stage.name("absent"), LATEST))
    stage.note("an unknown special time", stage.offset(topic, -99))
    stage.note("largest, at v6", stage.offset(topic, MAX_TIMESTAMP, version=6))
    stage.note("local, v8", stage.offset(topic, -4, version=8))
    stage.note("tiered, v9", stage.offset(topic, -5, version=9))
    asked = {"partitionIndex": 0, "timestamp": -1}
    said = stage.call("ListOffsets", 5, replicaId=-1, topics=[{"name": topic, "partitions": [asked, asked]}])
    stage.note("twice", [entry["errorCode"] for entry in said["topics"][0]["partitions"]])


@scenario
def offsets_with_leader_epochs(stage):
    topic = stage.topic("t")
    stage.put(topic, b"a")
    for epoch in (-1, 0, 1, 50):
        said = stage.call("ListOffsets", 5, replicaId=-1, topics=[{"name": topic, "partitions": [
            {"partitionIndex": 0, "currentLeaderEpoch": epoch, "timestamp": -1}]}])
        stage.note(str(epoch), said["topics"][0]["partitions"])


@scenario
def offsets_after_records_are_deleted(stage):
    topic = stage.topic("t")
    for number in range(4):
        stage.put(topic, b"x", ts=1000 * (number + 1))
    stage.call("DeleteRecords", 2, timeoutMs=5000,
               topics=[{"name": topic, "partitions": [{"partitionIndex": 0, "offset": 2}]}])
    for timestamp in (EARLIEST, LATEST, 0, 1000, 2500, 3000, 4001):
        stage.note(str(timestamp), stage.offset(topic, timestamp))


@scenario
def the_end_of_an_epoch(stage):
    topic = stage.topic("t")
    stage.put(topic, b"a", b"b")
    for current, epoch in ((-1, 0), (0, 0), (-1, 1), (-1, -1), (5, 0), (-1, 50)):
        said = stage.call("OffsetForLeaderEpoch", 3, replicaId=-2, topics=[{"topic": topic, "partitions": [
            {"partition": 0, "currentLeaderEpoch": current, "leaderEpoch": epoch}]}])
        stage.note(f"{current} {epoch}", said["topics"])
    said = stage.call("OffsetForLeaderEpoch", 3, replicaId=-2, topics=[
        {"topic": topic, "partitions": [{"partition": 7, "currentLeaderEpoch": -1, "leaderEpoch": 0}]},
        {"topic": stage.name("absent"), "partitions": [{"partition": 0, "currentLeaderEpoch": -1, "leaderEpoch": 0}]}])
    stage.note("nowhere", sorted(said["topics"], key=lambda topic: topic["topic"]))
