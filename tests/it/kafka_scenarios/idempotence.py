"""InitProducerId, sequences and epochs."""

from kafka_scenarios import scenario
from rawkafka import batch


def sequence(stage, topic, producer, epoch, first, *values, partition=0, codec="none"):
    """What a batch of this producer, beginning with this sequence, is answered with."""
    values = values or (b"s%d" % first,)
    data = batch(list(values), producer=(producer, epoch, first), codec=codec)
    return stage.produce(topic, data, partition)


@scenario
def producer_ids(stage):
    first, second = stage.init(), stage.init()
    stage.note("epochs", [first[1], second[1]])
    stage.note("different", first[0] != second[0])
    for version in range(5):
        stage.ask(f"v{version}", "InitProducerId", version, transactionalId=None, transactionTimeoutMs=1000)
    stage.ask("an empty transactional id", "InitProducerId", 4, transactionalId="", transactionTimeoutMs=1000)
    stage.ask("bumped", "InitProducerId", 4, transactionalId=None, transactionTimeoutMs=1000, producerId=first[0],
              producerEpoch=first[1])
    stage.ask("an id without an epoch", "InitProducerId", 4, transactionalId=None, transactionTimeoutMs=1000,
              producerId=first[0], producerEpoch=-1)
    stage.ask("an epoch without an id", "InitProducerId", 4, transactionalId=None, transactionTimeoutMs=1000,
              producerId=-1, producerEpoch=3)
    stage.ask("no time at all", "InitProducerId", 4, transactionalId=None, transactionTimeoutMs=0)


@scenario
def sequences_in_order(stage):
    topic = stage.topic("t")
    producer, epoch = stage.init()
    stage.note("0", sequence(stage, topic, producer, epoch, 0, b"0", b"1", b"2"))
    stage.note("3", sequence(stage, topic, producer, epoch, 3))
    stage.note("4, compressed", sequence(stage, topic, producer, epoch, 4, codec="gzip"))
    stage.note("kept", stage.fetch(topic, 0))


@scenario
def duplicates(stage):
    """The last five batches are known; a duplicate is answered as the original was."""
    topic = stage.topic("t")
    producer, epoch = stage.init()
    for number in range(0, 14, 2):
        sequence(stage, topic, producer, epoch, number, b"a", b"b")
    for number in (12, 10, 8, 6, 4):
        stage.note(f"{number} again", sequence(stage, topic, producer, epoch, number, b"a", b"b"))
    for number in (2, 0):
        stage.note(f"{number} again, long past", sequence(stage, topic, producer, epoch, number, b"a", b"b"))
    stage.note("the same start, shorter", sequence(stage, topic, producer, epoch, 12, b"a"))
    stage.note("the same start, longer", sequence(stage, topic, producer, epoch, 12, b"a", b"b", b"c"))
    stage.note("the same end", sequence(stage, topic, producer, epoch, 13, b"b"))
    stage.note("the next", sequence(stage, topic, producer, epoch, 14))
    stage.note("end", stage.offset(topic, -1))


@scenario
def gaps(stage):
    topic = stage.topic("t")
    producer, epoch = stage.init()
    sequence(stage, topic, producer, epoch, 0)
    stage.note("one left out", sequence(stage, topic, producer, epoch, 2))
    stage.note("far ahead", sequence(stage, topic, producer, epoch, 1_000_000))
    stage.note("negative", sequence(stage, topic, producer, epoch, -2))
    stage.note("none (-1)", sequence(stage, topic, producer, epoch, -1))
    stage.note("the right one", sequence(stage, topic, producer, epoch, 1))
    stage.note("end", stage.offset(topic, -1))


@scenario
def an_unknown_producer(stage):
    """A producer that a partition has not seen may begin anywhere."""
    topic = stage.topic("t", partitions=3)
    producer, epoch = stage.init()
    stage.note("at 7", sequence(stage, topic, producer, epoch, 7))
    stage.note("then 8", sequence(stage, topic, producer, epoch, 8))
    stage.note("an id nobody was given", sequence(stage, topic, 987_654_321, 0, 0, partition=1))
    stage.note("with an epoch", sequence(stage, topic, 987_654_322, 9, 0, partition=1))
    stage.note("with an epoch and a sequence", sequence(stage, topic, 987_654_323, 9, 5, partition=1))
    stage.note("with no epoch", sequence(stage, topic, 987_654_324, -1, 0, partition=2))
    stage.note("without an id, with an epoch", sequence(stage, topic, -1, 3, -1, partition=2))
    stage.note("without an id, with a sequence", sequence(stage, topic, -1, -1, 3, partition=2))
    stage.note("a negative id", sequence(stage, topic, -5, 0, 0, partition=2))


@scenario
def epochs_fence(stage):
    topic = stage.topic("t")
    producer, _ = stage.init()
    sequence(stage, topic, producer, 1, 0)
    stage.note("an older epoch", sequence(stage, topic, producer, 0, 1))
    stage.note("an older epoch at 0", sequence(stage, topic, producer, 0, 0))
    stage.note("a newer epoch, not at 0", sequence(stage, topic, producer, 2, 1))
    stage.note("a newer epoch at 0", sequence(stage, topic, producer, 2, 0))
    stage.note("the old one again", sequence(stage, topic, producer, 1, 1))
    stage.note("the old one's duplicate", sequence(stage, topic, producer, 1, 0))
    stage.note("the newer goes on", sequence(stage, topic, producer, 2, 1))
    stage.note("end", stage.offset(topic, -1))


@scenario
def sequences_wrap(stage):
    """After 2^31-1 comes 0."""
    topic = stage.topic("t")
    producer, epoch = stage.init()
    stage.note("to the end", sequence(stage, topic, producer, epoch, 2**31 - 3, b"a", b"b"))
    stage.note("over the end", sequence(stage, topic, producer, epoch, 2**31 - 1, b"c", b"d", b"e"))
    stage.note("after it", sequence(stage, topic, producer, epoch, 2))
    stage.note("over the end again", sequence(stage, topic, producer, epoch, 2**31 - 1, b"c", b"d", b"e"))


@scenario
def partitions_count_for_themselves(stage):
    topic = stage.topic("t", partitions=2)
    producer, epoch = stage.init()
    for partition in (0, 1, 0, 1):
        number = len(stage.notes) // 2
        stage.note(f"{partition}: {number}", sequence(stage, topic, producer, epoch, number, partition=partition))


@scenario
def an_idempotent_producer_at_once(stage):
    """A producer may start the moment CreateTopics was answered."""
    name = stage.name("t")
    producer, epoch = stage.init()
    stage.call("CreateTopics", 5, timeoutMs=5000,
               topics=[{"name": name, "numPartitions": 1, "replicationFactor": 1}])
    said = stage.call("Metadata", 5, topics=[{"name": name}])
    stage.note("metadata", [topic["errorCode"] for topic in said["topics"]])


@scenario
def a_bad_batch_leaves_the_sequence(stage):
    topic = stage.topic("t", max_message_bytes=1000)
    producer, epoch = stage.init()
    sequence(stage, topic, producer, epoch, 0)
    stage.note("too large", sequence(stage, topic, producer, epoch, 1, b"x" * 2000))
    bad = batch([b"x"], producer=(producer, epoch, 1), crc=1)
    stage.note("damaged", stage.produce(topic, bad))
    stage.note("the right one", sequence(stage, topic, producer, epoch, 1))


@scenario
def sequences_after_records_are_deleted(stage):
    topic = stage.topic("t")
    producer, epoch = stage.init()
    for number in range(4):
        sequence(stage, topic, producer, epoch, number)
    stage.call("DeleteRecords", 2, timeoutMs=5000,
               topics=[{"name": topic, "partitions": [{"partitionIndex": 0, "offset": 4}]}])
    stage.note("a duplicate", sequence(stage, topic, producer, epoch, 3))
    stage.note("the next", sequence(stage, topic, producer, epoch, 4))
    stage.note("a gap", sequence(stage, topic, producer, epoch, 9))
