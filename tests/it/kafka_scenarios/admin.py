"""Topics made, looked at, changed and deleted."""

import time

from harness import wait_until
from kafka_scenarios import scenario
from rawkafka import batch

TOPIC, BROKER = 2, 4
SET, DELETE, APPEND, SUBTRACT = 0, 1, 2, 3
NOBODY = "11111111-2222-3333-4444-555555555555"


def create(stage, name, version=7, partitions=1, replicas=1, configs=(), validate=False, assignments=()):
    said = stage.call("CreateTopics", version, timeoutMs=5000, validateOnly=validate, topics=[{
        "name": name, "numPartitions": partitions, "replicationFactor": replicas, "assignments": list(assignments),
        "configs": [{"name": key, "value": value} for key, value in configs]}])
    for topic in said["topics"]:
        # Which settings there are is compared elsewhere, one by one.
        topic.pop("configs", None)
    return said["topics"]


def metadata(stage, names, version=9, **others):
    topics = None if names is None else [{"name": name} for name in names]
    return stage.call("Metadata", version, topics=topics, **others)


def exists(stage, name):
    return name in {topic["name"] for topic in metadata(stage, None)["topics"]}


def configs(stage, name, *keys, kind=TOPIC, version=4, **others):
    said = stage.call("DescribeConfigs", version, resources=[
        {"resourceType": kind, "resourceName": name, "configurationKeys": list(keys) or None}], **others)
    return said["results"][0]


def alter(stage, name, *changes, kind=TOPIC, validate=False):
    """What a change is answered with. Apache Kafka carries it out a moment later, so that moment passes here."""
    said = stage.call("IncrementalAlterConfigs", 1, validateOnly=validate, resources=[{
        "resourceType": kind, "resourceName": name,
        "configs": [{"name": key, "configOperation": operation, "value": value} for key, operation, value in changes]}])
    time.sleep(0.2)
    return said["responses"]


@scenario
def topics_are_created(stage):
    for version in range(2, 8):
        stage.note(f"v{version}", create(stage, stage.name(f"v{version}"), version))
        stage.note(f"v{version} again", create(stage, stage.name(f"v{version}"), version))
    stage.note("three partitions", create(stage, stage.name("three"), partitions=3))
    for version in (2, 3, 4, 7):
        stage.note(f"defaults, v{version}",
                   create(stage, stage.name(f"defaults{version}"), version, partitions=-1, replicas=-1))
    stage.note("validated only", create(stage, stage.name("validated"), validate=True))
    stage.note("it is not there", exists(stage, stage.name("validated")))


@scenario
def topics_that_cannot_be(stage):
    names = {"empty": "", "a dot": ".", "two dots": "..", "a slash": "a/b", "a space": "a b", "249": "x" * 249,
             "250": "x" * 250, "an umlaut": "ä"}
    for label, name in names.items():
        stage.note(label, create(stage, name, validate=True))
    for label, values in {"no partitions": {"partitions": 0}, "-2 partitions": {"partitions": -2},
                          "three replicas": {"replicas": 3}, "no replicas": {"replicas": 0}}.items():
        stage.note(label, create(stage, stage.name("t"), **values))
    stage.note("none was made", exists(stage, stage.name("t")))


@scenario
def topics_with_assignments(stage):
    def given(*numbers, brokers=(0,)):
        return [{"partitionIndex": number, "brokerIds": list(brokers)} for number in numbers]

    stage.note("two partitions", create(stage, stage.name("two"), partitions=-1, replicas=-1, assignments=given(0, 1)))
    stage.note("with a number as well", create(stage, stage.name("both"), partitions=2, replicas=1,
                                               assignments=given(0, 1)))
    stage.note("a gap", create(stage, stage.name("gap"), partitions=-1, replicas=-1, assignments=given(0, 2)))
    stage.note("no brokers", create(stage, stage.name("none"), partitions=-1, replicas=-1,
                                    assignments=given(0, brokers=())))
    stage.note("an unknown broker", create(stage, stage.name("unknown"), partitions=-1, replicas=-1,
                                           assignments=given(0, brokers=(77,))))


@scenario
def topics_with_settings(stage):
    cases = {"good ones": [("retention.ms", "1000"), ("segment.bytes", "1048576"), ("cleanup.policy", "delete")],
             "an unknown name": [("no.such.setting", "1")], "a word for a number": [("retention.ms", "soon")],
             "a null": [("retention.ms", None)], "an unknown policy": [("cleanup.policy", "shred")],
             "too small": [("segment.bytes", "1")], "a negative size": [("max.message.bytes", "-1")],
             "twice the same": [("retention.ms", "1"), ("retention.ms", "2")],
             "an unknown compression": [("compression.type", "rar")]}
    for label, settings in cases.items():
        stage.note(label, create(stage, stage.name(label.replace(" ", "-")), configs=settings))


@scenario
def several_topics_at_once(stage):
    def wish(name, partitions=1):
        return {"name": name, "numPartitions": partitions, "replicationFactor": 1}

    good, bad = stage.name("good"), stage.name("bad")
    said = stage.call("CreateTopics", 5, timeoutMs=5000, topics=[wish(good), wish(bad, 0), wish("a/b")])
    stage.note("one good of three", sorted([topic["name"], topic["errorCode"]] for topic in said["topics"]))
    said = stage.call("CreateTopics", 5, timeoutMs=5000, topics=[wish(stage.name("twin")), wish(stage.name("twin"))])
    stage.note("twins", [[topic["name"], topic["errorCode"]] for topic in said["topics"]])
    stage.ask("none", "CreateTopics", 5, timeoutMs=5000, topics=[])


@scenario
def topics_are_deleted(stage):
    for version in range(1, 6):
        topic = stage.topic(f"v{version}")
        stage.ask(f"v{version}", "DeleteTopics", version, topicNames=[topic], timeoutMs=5000)
        wait_until(lambda: not exists(stage, topic), f"{topic} is gone")
        stage.ask(f"v{version} again", "DeleteTopics", version, topicNames=[topic], timeoutMs=5000)
    topic = stage.topic("t")
    stage.put(topic, b"old")
    stage.call("DeleteTopics", 5, topicNames=[topic], timeoutMs=5000)
    wait_until(lambda: not exists(stage, topic), f"{topic} is gone")
    stage.note("fetch", stage.fetch(topic, 0))
    stage.note("offset", stage.offset(topic, -1))
    stage.topic("t")
    stage.note("created anew", stage.records(topic))
    stage.ask("an empty name", "DeleteTopics", 5, topicNames=[""], timeoutMs=5000)
    stage.ask("none", "DeleteTopics", 5, topicNames=[], timeoutMs=5000)


@scenario
def topics_are_deleted_by_id(stage):
    topic = stage.topic("t")
    stage.ask("an unknown id", "DeleteTopics", 6, timeoutMs=5000, topics=[{"name": None, "topicId": NOBODY}])
    said = stage.ask("by id", "DeleteTopics", 6, timeoutMs=5000, topics=[{"name": None, "topicId": stage.topics["t"]}])
    stage.note("its name is told", said["responses"][0]["name"] == topic)
    other = stage.topic("other")
    stage.ask("by both", "DeleteTopics", 6, timeoutMs=5000, topics=[{"name": other, "topicId": stage.topics["other"]}])
    stage.ask("by neither", "DeleteTopics", 6, timeoutMs=5000, topics=[{"name": None}])
    stage.ask("by name", "DeleteTopics", 6, timeoutMs=5000, topics=[{"name": other}])
    stage.ask("an unknown name", "DeleteTopics", 6, timeoutMs=5000, topics=[{"name": stage.name("absent")}])


@scenario
def partitions_are_added(stage):
    topic = stage.topic("t", partitions=2)

    def grow(count, name=topic, version=3, assignments=None, validate=False):
        return stage.call("CreatePartitions", version, timeoutMs=5000, validateOnly=validate, topics=[
            {"name": name, "count": count, "assignments": assignments}])

    def count():
        return len(metadata(stage, [topic])["topics"][0]["partitions"])

    stage.note("validated only", grow(5, validate=True))
    stage.note("still two", count())
    for version in range(4):
        stage.note(f"v{version}", grow(3 + version, version=version))
    wait_until(lambda: count() == 6, "six partitions")
    wait_until(lambda: stage.offset(topic, -1, 5)["errorCode"] == 0, "the last one is ready")
    stage.note("the new one takes records", stage.produce(topic, batch([b"x"]), partition=5))
    stage.note("the same", grow(6))
    stage.note("fewer", grow(2))
    stage.note("none", grow(0))
    stage.note("negative", grow(-1))
    stage.note("an unknown topic", grow(3, name=stage.name("absent")))
    stage.note("with assignments", grow(7, assignments=[{"brokerIds": [0]}]))
    stage.note("with too few assignments", grow(9, assignments=[{"brokerIds": [0]}]))
    stage.note("to an unknown broker", grow(8, assignments=[{"brokerIds": [77]}]))


@scenario
def records_are_deleted(stage):
    topic = stage.topic("t", partitions=2)
    for number in range(6):
        stage.put(topic, b"%d" % number)

    def delete(offset, partition=0, name=topic, version=2):
        said = stage.call("DeleteRecords", version, timeoutMs=5000, topics=[
            {"name": name, "partitions": [{"partitionIndex": partition, "offset": offset}]}])
        return said["topics"]

    stage.note("v0 to 2", delete(2, version=0))
    stage.note("v1 back to 1", delete(1, version=1))
    stage.note("to 2 again", delete(2))
    stage.note("earliest", stage.offset(topic, -2))
    stage.note("beyond the end", delete(7))
    stage.note("to the end", delete(6))
    stage.note("nothing is left", stage.offset(topic, -2))
    stage.note("and one more", stage.put(topic, b"6"))
    stage.note("to the end by -1", delete(-1))
    stage.note("-2", delete(-2))
    stage.note("of an empty one", delete(-1, partition=1))
    stage.note("an unknown partition", delete(0, partition=9))
    stage.note("an unknown topic", delete(0, name=stage.name("absent")))
    stage.ask("no topics", "DeleteRecords", 2, timeoutMs=5000, topics=[])


@scenario
def metadata_of_topics(stage):
    topic = stage.topic("t", partitions=2)
    for version in range(14):
        said = stage.call("Metadata", version, topics=[{"name": topic}])
        stage.note(f"v{version}", said["topics"])
    stage.note("unknown, not to be made", metadata(stage, [stage.name("absent")],
                                                   allowAutoTopicCreation=False)["topics"])
    stage.note("it is not made", exists(stage, stage.name("absent")))
    stage.note("a bad name", metadata(stage, ["a/b"], allowAutoTopicCreation=False)["topics"])
    stage.note("an empty name", metadata(stage, [""], allowAutoTopicCreation=False)["topics"])
    stage.note("twice", len(metadata(stage, [topic, topic])["topics"]))
    stage.note("none", len(metadata(stage, [])["topics"]))
    stage.note("all", exists(stage, topic))
    brokers = metadata(stage, [])["brokers"]
    stage.note("brokers", len(brokers))


@scenario
def metadata_by_id(stage):
    topic = stage.topic("t")
    for version in (12, 13):
        said = stage.call("Metadata", version, topics=[{"topicId": stage.topics["t"], "name": None}])
        stage.note(f"v{version}", said["topics"])
        stage.note(f"v{version} its name", said["topics"][0]["name"] == topic)
    said = stage.call("Metadata", 12, topics=[{"topicId": NOBODY, "name": None}])
    stage.note("unknown", said["topics"])
    stage.note("both", stage.call("Metadata", 12, topics=[{"topicId": stage.topics["t"], "name": topic}])["topics"])
    stage.ask("neither", "Metadata", 12, topics=[{"name": None}])


@scenario
def topics_made_by_asking(stage):
    """Metadata makes topics where it may; which names, and with what."""
    name = stage.name("new")
    stage.note("first answer", metadata(stage, [name], allowAutoTopicCreation=True)["topics"][0]["errorCode"] in (0, 3, 5))
    wait_until(lambda: metadata(stage, [name])["topics"][0]["errorCode"] == 0, "it is there")
    stage.note("partitions", len(metadata(stage, [name])["topics"][0]["partitions"]))
    stage.note("a bad name", metadata(stage, ["a b"], allowAutoTopicCreation=True)["topics"])


NAMES = ["cleanup.policy", "compression.type", "delete.retention.ms", "max.message.bytes",
         "message.timestamp.type", "min.cleanable.dirty.ratio", "min.compaction.lag.ms", "max.compaction.lag.ms",
         "min.insync.replicas", "retention.bytes", "retention.ms", "segment.bytes", "segment.ms",
         "unclean.leader.election.enable", "message.timestamp.before.max.ms", "message.timestamp.after.max.ms",
         "flush.messages", "flush.ms", "file.delete.delay.ms", "segment.index.bytes", "preallocate",
         "index.interval.bytes", "segment.jitter.ms"]


@scenario
def settings_of_a_topic(stage):
    """Each by its name: value, kind, where from."""
    topic = stage.topic("t", retention_ms=1000)
    for name in NAMES:
        found = configs(stage, topic, name)["configs"]
        stage.note(name, [{key: entry[key] for key in ("value", "configType", "isSensitive", "readOnly")}
                          for entry in found])
    for name in ("retention.ms", "segment.bytes"):
        stage.note(f"{name} comes from", [entry["configSource"] for entry in configs(stage, topic, name)["configs"]])
    every = {entry["name"] for entry in configs(stage, topic)["configs"]}
    stage.note("all are listed", sorted(set(NAMES) - every))


@scenario
def settings_at_every_version(stage):
    topic = stage.topic("t", retention_ms=1000)
    for version in range(1, 5):
        stage.note(f"v{version}", configs(stage, topic, "retention.ms", version=version))


@scenario
def settings_that_are_not_there(stage):
    topic = stage.topic("t")
    stage.note("an unknown name", configs(stage, topic, "no.such.setting"))
    stage.note("an unknown topic", configs(stage, stage.name("absent"), "retention.ms"))
    stage.note("a bad name", configs(stage, "a/b", "retention.ms"))
    stage.note("an empty name", configs(stage, "", "retention.ms"))
    stage.note("an unknown kind", configs(stage, topic, "retention.ms", kind=99))
    stage.note("an unknown broker", configs(stage, "77", "log.retention.ms", kind=BROKER))
    stage.note("a broker that is no number", configs(stage, "one", "log.retention.ms", kind=BROKER))
    stage.ask("none", "DescribeConfigs", 4, resources=[])


@scenario
def settings_are_changed(stage):
    topic = stage.topic("t")

    def now(*names):
        return [[entry["name"], entry["value"], entry["configSource"]]
                for name in names for entry in configs(stage, topic, name)["configs"]]

    stage.note("set", alter(stage, topic, ("retention.ms", SET, "5000"), ("max.message.bytes", SET, "2000")))
    stage.note("are set", now("retention.ms", "max.message.bytes"))
    stage.note("is enforced", stage.produce(topic, batch([b"x" * 3000])))
    stage.note("one back", alter(stage, topic, ("max.message.bytes", DELETE, None)))
    stage.note("it is", now("max.message.bytes", "retention.ms")[1])
    stage.note("is taken then", stage.produce(topic, batch([b"x" * 3000])))
    stage.note("what was not set", alter(stage, topic, ("segment.ms", DELETE, None)))
    stage.note("appended", alter(stage, topic, ("cleanup.policy", APPEND, "compact")))
    stage.note("is appended", now("cleanup.policy"))
    stage.note("appended again", alter(stage, topic, ("cleanup.policy", APPEND, "compact")))
    stage.note("taken away", alter(stage, topic, ("cleanup.policy", SUBTRACT, "delete")))
    stage.note("is left", now("cleanup.policy"))
    stage.note("validated only", alter(stage, topic, ("retention.ms", SET, "7"), validate=True))
    stage.note("still", now("retention.ms"))


@scenario
def settings_that_cannot_be(stage):
    topic = stage.topic("t")
    cases = {"an unknown name": ("no.such.setting", SET, "1"), "a word": ("retention.ms", SET, "soon"),
             "a null": ("retention.ms", SET, None), "below the least": ("retention.ms", SET, "-5"),
             "append to a number": ("retention.ms", APPEND, "1"), "an unknown operation": ("retention.ms", 9, "1"),
             "an unknown policy": ("cleanup.policy", SET, "shred"), "a size of 0": ("segment.bytes", SET, "0"),
             "an unknown clock": ("message.timestamp.type", SET, "Sundial"), "an empty name": ("", SET, "1")}
    for label, change in cases.items():
        stage.note(label, alter(stage, topic, change))
    stage.note("twice the same", alter(stage, topic, ("retention.ms", SET, "1"), ("retention.ms", SET, "2")))
    stage.note("one of two bad", alter(stage, topic, ("retention.ms", SET, "1234"), ("segment.ms", SET, "x")))
    stage.note("neither is set", configs(stage, topic, "retention.ms")["configs"][0]["value"])
    stage.note("an unknown topic", alter(stage, stage.name("absent"), ("retention.ms", SET, "1")))
    stage.note("an empty topic", alter(stage, "", ("retention.ms", SET, "1")))
    stage.note("nothing to change", alter(stage, topic))
    stage.note("an unknown kind", alter(stage, topic, ("retention.ms", SET, "1"), kind=99))


@scenario
def the_cluster(stage):
    for version in (0, 1):
        said = stage.call("DescribeCluster", version)
        stage.note(f"v{version}", {**said, "brokers": len(said["brokers"])})
