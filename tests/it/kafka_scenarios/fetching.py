"""Fetch: which offset gives what."""

import time

from kafka_scenarios import scenario
from rawkafka import CODECS, batch


@scenario
def fetch_at_every_version(stage):
    topic = stage.topic("t")
    stage.put(topic, b"a", b"b")
    for version in range(4, 19):
        where = stage.topics["t"] if version >= 13 else topic
        stage.note(f"v{version}", stage.fetch(where, 0, version=version))


@scenario
def fetch_from_the_middle_of_a_batch(stage):
    """Whole batches only: the client skips what it has."""
    topic = stage.topic("t")
    stage.put(topic, b"0", b"1", b"2")
    stage.put(topic, b"3", b"4")
    for offset in range(7):
        stage.note(str(offset), stage.fetch(topic, offset))
    stage.note("-1", stage.fetch(topic, -1))
    stage.note("-5", stage.fetch(topic, -5))
    stage.note("far", stage.fetch(topic, 2**62))


@scenario
def fetch_of_an_empty_log(stage):
    topic = stage.topic("t")
    for offset in (0, 1, -1):
        stage.note(str(offset), stage.fetch(topic, offset))


@scenario
def fetch_in_small_pieces(stage):
    """The first batch comes whole whatever the limits are (KIP-74); later ones only if they fit."""
    topic = stage.topic("t")
    for _ in range(4):
        stage.put(topic, b"x" * 500)
    for each in (0, 1, 100, 571, 1142, 1200, 5000):
        stage.note(f"partition {each}", len(stage.fetch(topic, 0, each=each)["records"]))
        stage.note(f"all {each}", len(stage.fetch(topic, 0, most=each)["records"]))


@scenario
def fetch_of_several_partitions_in_small_pieces(stage):
    """Only the first partition with records may break the limit."""
    topic = stage.topic("t", partitions=3)
    for partition in range(3):
        stage.produce(topic, batch([b"x" * 500]), partition)
    asked = [{"partition": number, "fetchOffset": 0, "partitionMaxBytes": 10_000} for number in range(3)]
    for most in (1, 600, 1300, 10_000):
        said = stage.call("Fetch", 11, replicaId=-1, maxWaitMs=0, minBytes=1, maxBytes=most,
                          topics=[{"topic": topic, "partitions": asked}])
        stage.note(str(most), [len(entry["records"] or b"") for entry in said["responses"][0]["partitions"]])


@scenario
def fetch_from_nowhere(stage):
    topic = stage.topic("t")
    stage.note("an unknown partition", stage.fetch(topic, 0, partition=5))
    stage.note("a negative partition", stage.fetch(topic, 0, partition=-1))
    stage.note("an unknown topic", stage.fetch(stage.name("absent"), 0))
    stage.note("an unknown id", stage.fetch("11111111-2222-3333-4444-555555555555", 0, version=13))
    stage.note("no id", stage.fetch(bytes(16), 0, version=13))
    stage.note("a name outside the alphabet", stage.fetch("a/b", 0))
    stage.ask("no topics", "Fetch", 11, replicaId=-1, maxWaitMs=0, minBytes=1, maxBytes=1000, topics=[])


@scenario
def fetch_waits(stage):
    """At the end of the log: for min_bytes, for max_wait, and not when an error is known already."""
    topic, other = stage.topic("t"), stage.topic("other")

    def took(work):
        began = time.monotonic()
        found = work()
        seconds = time.monotonic() - began
        count = len(found["records"]) if "records" in found else None
        return [count, "at once" if seconds < 0.25 else "waited"]

    stage.note("for nothing", took(lambda: stage.fetch(topic, 0, wait=500)))
    stage.note("not for zero bytes", took(lambda: stage.fetch(topic, 0, wait=500, least=0)))
    stage.put(topic, b"x")
    stage.note("something is there", took(lambda: stage.fetch(topic, 0, wait=500)))
    stage.note("not enough is there", took(lambda: stage.fetch(topic, 0, wait=500, least=10_000)))
    stage.note("not with an error", took(lambda: stage.fetch(topic, 99, wait=500)))
    peer = stage.connect()
    number = peer.ask("Fetch", 11, replicaId=-1, maxWaitMs=10_000, minBytes=1, maxBytes=1000, topics=[
        {"topic": other, "partitions": [{"partition": 0, "fetchOffset": 0, "partitionMaxBytes": 1000}]}])
    stage.put(other, b"y")
    stage.note("woken by an append", took(lambda: peer.take("Fetch", 11, number)["responses"][0]["partitions"][0]))


@scenario
def fetch_sessions(stage):
    """KIP-227: a broker may have none (session id 0); one that nobody opened is unknown."""
    topic = stage.topic("t")
    stage.put(topic, b"x")
    stage.note("an unknown session", stage.fetch(topic, 0, sessionId=12345, sessionEpoch=1))
    stage.note("a wish to close none", stage.fetch(topic, 0, sessionId=0, sessionEpoch=-1))


@scenario
def fetch_with_leader_epochs(stage):
    topic = stage.topic("t")
    stage.put(topic, b"x")
    for epoch in (0, 1, 50):
        stage.note(f"epoch {epoch}", stage.fetch(topic, 0, epoch=epoch))


@scenario
def fetch_below_the_start(stage):
    topic = stage.topic("t")
    for number in range(5):
        stage.put(topic, b"%d" % number)
    stage.call("DeleteRecords", 2, timeoutMs=5000,
               topics=[{"name": topic, "partitions": [{"partitionIndex": 0, "offset": 3}]}])
    for offset in (0, 2, 3, 5, 6):
        stage.note(str(offset), stage.fetch(topic, offset))


@scenario
def fetch_read_committed(stage):
    topic = stage.topic("t")
    stage.put(topic, b"x")
    stage.note("answer", stage.fetch(topic, 0, isolationLevel=1))


@scenario
def fetch_one_partition_twice(stage):
    topic = stage.topic("t")
    stage.put(topic, b"x")
    asked = {"partition": 0, "fetchOffset": 0, "partitionMaxBytes": 1000}
    said = stage.call("Fetch", 11, replicaId=-1, maxWaitMs=0, minBytes=1, maxBytes=1000,
                      topics=[{"topic": topic, "partitions": [asked, asked]}])
    stage.note("parts", [entry["errorCode"] for entry in said["responses"][0]["partitions"]])


@scenario
def old_compression(stage):
    """Zstandard to those who cannot know it (Fetch below v10) is refused; gzip is not."""
    topic = stage.topic("t")
    stage.produce(topic, batch([b"x"], codec="zstd"))
    stage.note("v9", stage.fetch(topic, 0, version=9))
    stage.note("v10", stage.fetch(topic, 0, version=10))
    other = stage.topic("other")
    stage.note("zstd by Produce v6", stage.produce(other, batch([b"x"], codec="zstd"), version=6))
    stage.note("gzip by Produce v3", stage.produce(other, batch([b"x"], codec="gzip"), version=3))
    assert "zstd" in CODECS
