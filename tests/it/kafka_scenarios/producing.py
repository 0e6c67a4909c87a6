"""Produce: what is taken, what is refused and how."""

import time

from kafka_scenarios import scenario
from kafka_scenarios.admin import create
from rawkafka import CODECS, batch, record


def hour(number):
    return int((time.time() + number * 3600) * 1000)


@scenario
def produce_at_every_version(stage):
    topic = stage.topic("t")
    for version in range(3, 13):
        stage.note(f"v{version}", stage.produce(topic, batch([b"v%d" % version]), version=version))
    stage.note("v13", stage.produce(stage.topics["t"], batch([b"v13"]), version=13))
    stage.note("records", stage.records(topic))


@scenario
def produce_in_every_compression(stage):
    topic = stage.topic("t")
    for codec in CODECS:
        stage.note(codec, stage.produce(topic, batch([b"a" * 300, b"b"], codec=codec)))
        stage.note(f"{codec} comes back", stage.fetch(topic, 2 * list(CODECS).index(codec)))


@scenario
def produce_to_nowhere(stage):
    topic = stage.topic("t", partitions=2)
    stage.note("an unknown partition", stage.produce(topic, batch([b"x"]), partition=2))
    stage.note("a negative partition", stage.produce(topic, batch([b"x"]), partition=-1))
    stage.note("an unknown topic", stage.produce(stage.name("absent"), batch([b"x"])))
    stage.note("a name outside the alphabet", stage.produce("a/b c", batch([b"x"])))
    stage.note("an empty name", stage.produce("", batch([b"x"])))
    stage.note("an unknown id", stage.produce("11111111-2222-3333-4444-555555555555", batch([b"x"]), version=13))
    stage.note("no id", stage.produce(bytes(16), batch([b"x"]), version=13))


@scenario
def produce_with_other_acks(stage):
    topic = stage.topic("t")
    for acks in (1, -1, 2, -2, 5):
        stage.note(f"acks {acks}", stage.produce(topic, batch([b"x"]), acks=acks))
    stage.note("records", len(stage.records(topic)))


@scenario
def produce_without_acks(stage):
    """No answer, and an error closes the connection, which is all that acks 0 leaves."""
    topic, peer = stage.topic("t"), stage.connect()
    stage.produce(topic, batch([b"x"]), acks=0, peer=peer)
    stage.note("what follows is answered", len(peer.call("Metadata", 5, topics=[])["topics"]))
    stage.produce(topic, batch([b"bad"], crc=5), acks=0, peer=peer)
    stage.note("after a bad batch", stage.outcome(lambda: len(peer.call("Metadata", 5, topics=[])["topics"])))
    stage.note("records", stage.records(topic))


@scenario
def batches_that_are_damaged(stage):
    topic = stage.topic("t")
    good = batch([b"a", b"b"])
    stage.note("another crc", stage.produce(topic, batch([b"a"], crc=0xDEADBEEF)))
    for magic in (0, 1, 3, 9, -1):
        stage.note(f"magic {magic}", stage.produce(topic, batch([b"a"], magic=magic)))
    stage.note("one byte short", stage.produce(topic, good[:-1]))
    stage.note("one byte more", stage.produce(topic, good + b"\0"))
    stage.note("61 zeros", stage.produce(topic, bytes(61)))
    stage.note("200 ones", stage.produce(topic, b"\xff" * 200))
    stage.note("ten bytes", stage.produce(topic, b"\0" * 10))
    stage.note("no bytes", stage.produce(topic, b""))
    stage.note("null", stage.produce(topic, None, timeout=3))
    stage.note("records", stage.records(topic))


@scenario
def batches_whose_numbers_do_not_fit(stage):
    """The CRC is right, the header's counts are not."""
    topic = stage.topic("t")
    cases = {"count too high": {"count": 3}, "count too low": {"count": 1}, "count 0": {"count": 0},
             "count negative": {"count": -1}, "delta too high": {"delta": 5}, "delta too low": {"delta": 0},
             "delta negative": {"delta": -1}, "delta and count agree on three": {"delta": 2, "count": 3},
             "two billion": {"count": 0x7FFFFFFF, "delta": 0x7FFFFFFE}}
    for label, options in cases.items():
        stage.note(label, stage.produce(topic, batch([b"a", b"b"], **options)))
    stage.note("no records at all", stage.produce(topic, batch([])))
    stage.note("a base offset of its own", stage.produce(topic, batch([b"a"], base=77)))
    stage.note("an epoch of its own", stage.produce(topic, batch([b"a"], epoch=5)))
    stage.note("records", stage.records(topic))


@scenario
def garbage_under_a_right_crc(stage):
    topic = stage.topic("t")
    rows = [record(0, None, b"a"), record(1, None, b"b")]
    cases = {"ones": b"\xff" * 40, "zeros": bytes(40), "text": b"no records here, none at all",
             "nothing": b"", "half a record": rows[0] + rows[1][:3], "a byte behind": rows[0] + rows[1] + b"\0",
             "deltas 0 and 2": rows[0] + record(2, None, b"b"), "deltas 1 and 0": record(1, None, b"a") + record(0, None, b"b"),
             "a length too long": b"\x7f" + rows[0][1:] + rows[1], "a length too short": b"\x04" + rows[0][1:] + rows[1],
             "a negative length": b"\x01" + rows[0][1:] + rows[1],
             "a key past its record": b"\x0e\0\0\0\x40\x02ab\0" + rows[1]}
    for label, payload in cases.items():
        stage.note(label, stage.produce(topic, batch([b"a", b"b"], payload=payload)))
    stage.note("records", stage.records(topic))


@scenario
def garbage_under_every_compression(stage):
    topic = stage.topic("t")
    for codec, (number, _) in CODECS.items():
        if codec != "none":
            for label, payload in (("ones", b"\xff" * 40), ("nothing", b""), ("plain records", record(0, None, b"a"))):
                stage.note(f"{codec}: {label}", stage.produce(topic, batch([b"a"], payload=payload, attributes=number)))
            stage.note(f"{codec}: of garbage", stage.produce(topic, batch([b"a"], payload=b"\xff" * 60, codec=codec)))
    for number in (5, 6, 7):
        stage.note(f"codec {number}", stage.produce(topic, batch([b"a"], attributes=number)))
    stage.note("records", stage.records(topic))


@scenario
def batches_with_odd_attributes(stage):
    topic = stage.topic("t")
    stage.note("a control batch", stage.produce(topic, batch([(b"\0\0\0\1", b"\0\0\0\0\0\0")], attributes=0x20)))
    stage.note("transactional", stage.produce(topic, batch([b"a"], attributes=0x10)))
    stage.note("append time", stage.produce(topic, batch([b"a"], attributes=0x08)))
    stage.note("a delete horizon", stage.produce(topic, batch([b"a"], attributes=0x40)))
    stage.note("unused bits", stage.produce(topic, batch([b"a"], attributes=0x0100)))
    stage.note("records", len(stage.records(topic)))


@scenario
def two_batches_in_one(stage):
    topic = stage.topic("t")
    stage.note("answer", stage.produce(topic, batch([b"a"]) + batch([b"b"])))
    stage.note("records", stage.records(topic))


@scenario
def one_good_and_one_bad_partition(stage):
    topic = stage.topic("t", partitions=2)
    stage.ask("answer", "Produce", 9, acks=-1, timeoutMs=5000, topicData=[{"name": topic, "partitionData": [
        {"index": 0, "records": batch([b"good"])}, {"index": 1, "records": batch([b"bad"], crc=1)}]}])
    stage.note("the good one", stage.records(topic))
    stage.note("the bad one", stage.records(topic, 1))


@scenario
def a_topic_named_twice(stage):
    topic = stage.topic("t", partitions=2)
    said = stage.call("Produce", 9, acks=-1, timeoutMs=5000, topicData=[
        {"name": topic, "partitionData": [{"index": 0, "records": batch([b"one"])}]},
        {"name": topic, "partitionData": [{"index": 1, "records": batch([b"two"])}]}])
    # Apache Kafka tells of both under one name.
    stage.note("answer", [part for named in said["responses"] for part in named["partitionResponses"]])
    stage.note("first", stage.records(topic))
    stage.note("second", stage.records(topic, 1))


@scenario
def a_batch_larger_than_the_topic_takes(stage):
    topic = stage.topic("t", max_message_bytes=2000)
    stage.note("too large", stage.produce(topic, batch([b"a" * 3000])))
    stage.note("just below", stage.produce(topic, batch([b"a" * 1900])))
    # The limit is on what arrives, compressed or not.
    stage.note("compressed below", stage.produce(topic, batch([b"a" * 3000], codec="gzip")))
    stage.note("at the limit", stage.produce(topic, batch([b"a" * (2000 - 71)])))
    stage.note("behind the limit", stage.produce(topic, batch([b"a" * (2000 - 70)])))


@scenario
def timestamps_far_away(stage):
    topic = stage.topic("t")
    strict = stage.topic("strict", message_timestamp_before_max_ms=7_200_000, message_timestamp_after_max_ms=7_200_000)
    for name, where in (("t", topic), ("strict", strict)):
        for hours in (-30, -1, 0.5, 1.5, 30):
            said = stage.produce(where, batch([b"a", b"b"], stamps=[hour(0), hour(hours)]))
            stage.note(f"{name} {hours} h", said)
        stage.note(f"{name}: zero", stage.produce(where, batch([b"a"], ts=0)))
        stage.note(f"{name}: none (-1)", stage.produce(where, batch([b"a"], ts=-1)))
        stage.note(f"{name}: a wrong maximum", stage.produce(where, batch([b"a"], ts=hour(0), max_ts=hour(0) + 5)))


@scenario
def append_time(stage):
    """The broker's clock replaces the producer's."""
    topic = stage.topic("t", message_timestamp_type="LogAppendTime")
    before = int(time.time() * 1000)
    said = stage.produce(topic, batch([b"a", b"b"], ts=5))
    now = said.pop("logAppendTimeMs")
    stage.note("answer", said)
    stage.note("its time is now", before - 1000 <= now <= int(time.time() * 1000) + 1000)
    kept = stage.fetch(topic, 0)["records"][0]
    stage.note("kept", [kept["whole"], kept["attributes"], kept["max_ts"] == now, kept["first_ts"]])


@scenario
def a_compacted_topic_wants_keys(stage):
    made = create(stage, stage.name("t"), configs=[("cleanup.policy", "compact")])
    stage.note("it is made", made)
    if made[0]["errorCode"]:
        return
    topic = stage.topic("u", cleanup_policy="compact")
    stage.note("with a key", stage.produce(topic, batch([(b"k", b"v")])))
    stage.note("without", stage.produce(topic, batch([b"v"])))
    stage.note("one of three without", stage.produce(topic, batch([(b"k", b"v"), b"v", (b"l", b"v")])))
    stage.note("compressed without", stage.produce(topic, batch([b"v"], codec="gzip")))
    stage.note("a tombstone", stage.produce(topic, batch([(b"k", None)])))
    stage.note("records", stage.records(topic))


@scenario
def nulls_and_headers(stage):
    topic = stage.topic("t")
    stage.note("null key and value", stage.produce(topic, batch([(None, None), (b"", b"")])))
    stage.note("headers", stage.produce(topic, batch([(b"k", b"v", [(b"a", b"1"), (b"a", None), (b"", b"")])])))
    stage.note("a header without a name", stage.produce(topic, batch([(b"k", b"v", [(None, b"1")])])))
    stage.note("a header's name is no UTF-8", stage.produce(topic, batch([(b"k", b"v", [(b"\xff\xfe", b"1")])])))
    stage.note("first", stage.fetch(topic, 0))


@scenario
def produce_with_no_topics(stage):
    stage.ask("no topics", "Produce", 9, acks=-1, timeoutMs=1000, topicData=[])
    stage.ask("no partitions", "Produce", 9, acks=-1, timeoutMs=1000,
              topicData=[{"name": stage.topic("t"), "partitionData": []}])


@scenario
def produce_in_a_transaction_nobody_began(stage):
    topic = stage.topic("t")
    peer = stage.peer()
    stage.ask("answer", "Produce", 9, peer, transactionalId="tx", acks=-1, timeoutMs=1000, topicData=[
        {"name": topic, "partitionData": [{"index": 0, "records": batch([b"a"], producer=(1, 0, 0), attributes=0x10)}]}])
