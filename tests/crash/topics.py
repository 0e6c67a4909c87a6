"""Logs that Kafka clients create, widen, trim and delete: what was answered is so after a restart.

A log is a register of its number of partitions; the trimmed log has one for its first offset and one for its end.
"""

from crash.kafka import KafkaParty, create
from crash.party import WAIT
from rawkafka import Peer, batch

POOL, TRIMMED = 6, "crash.trimmed"
TIMEOUT = {"timeoutMs": 10_000}


class Administrator(KafkaParty):
    """Creates, widens and deletes logs out of a small pool of names; appends to one more, and trims it."""

    def __init__(self, history, name="administrator"):
        super().__init__(history, name)
        self.there, self.first, self.end = {}, 0, 0

    def set_up(self, port):
        create(self.history, port, TRIMMED, 1)

    def connect(self, port):
        self.open(port)

    def done(self, said, key="topics"):
        code = said[key][0]["errorCode"] if key in said else None
        self.history.check(code == 0, self.name, f"{said}")

    def step(self, rng, on_ack):
        dice = rng.random()
        if dice < 0.5:
            self.change(rng, f"crash.pool.{rng.randrange(POOL)}")
        elif dice < 0.8 or self.first == self.end:
            self.append(rng.randrange(1, 6))
        else:
            self.trim(rng.randrange(self.first, self.end) + 1)

    def change(self, rng, log):
        count = self.there.get(log)
        wanted = rng.randrange(1, 4) if count is None else count + 1 if count < 5 and rng.random() < 0.5 else None
        self.history.note(log, "asked", "declared", wanted)
        if count is None:
            self.done(self.peer.call("CreateTopics", 5, **TIMEOUT, topics=[
                {"name": log, "numPartitions": wanted, "replicationFactor": 1}]))
        elif wanted is None:
            self.done(self.peer.call("DeleteTopics", 5, **TIMEOUT, topicNames=[log]), "responses")
        else:
            self.done(self.peer.call("CreatePartitions", 3, **TIMEOUT, topics=[
                {"name": log, "count": wanted, "assignments": None}]), "results")
        self.there[log] = wanted
        self.history.note(log, "answered", "declared", wanted)

    def append(self, count):
        wanted = self.end + count
        self.history.note(TRIMMED + "/end", "asked", "trim", wanted)
        data = batch([(b"k", b"x" * 200) for _ in range(count)])
        said = self.peer.call("Produce", 9, acks=-1, **TIMEOUT, topicData=[
            {"name": TRIMMED, "partitionData": [{"index": 0, "records": data}]}])
        found = said["responses"][0]["partitionResponses"][0]
        self.history.check((found["errorCode"], found["baseOffset"]) == (0, self.end), self.name, f"{said}")
        self.end = wanted
        self.history.note(TRIMMED + "/end", "answered", "trim", wanted)

    def trim(self, offset):
        self.history.note(TRIMMED + "/first", "asked", "trim", offset)
        said = self.peer.call("DeleteRecords", 2, **TIMEOUT, topics=[
            {"name": TRIMMED, "partitions": [{"partitionIndex": 0, "offset": offset}]}])
        found = said["topics"][0]["partitions"][0]
        self.history.check((found["errorCode"], found["lowWatermark"]) == (0, offset), self.name, f"{said}")
        self.first = offset
        self.history.note(TRIMMED + "/first", "answered", "trim", offset)

    def verify(self, port):
        """After a restart, before anybody is back."""
        with Peer(port, WAIT) as peer:
            listed = peer.call("Metadata", 5, topics=None)["topics"]
            self.first, self.end = (self.offset(peer, stamp) for stamp in (-2, -1))
        self.there = {topic["name"]: len(topic["partitions"]) for topic in listed
                      if topic["name"].startswith("crash.pool.")}
        for number in range(POOL):
            log = f"crash.pool.{number}"
            self.history.note(log, "found", "declared", self.there.get(log))
        self.history.note(TRIMMED + "/first", "found", "trim", self.first)
        self.history.note(TRIMMED + "/end", "found", "trim", self.end)

    def offset(self, peer, stamp):
        said = peer.call("ListOffsets", 5, replicaId=-1, topics=[
            {"name": TRIMMED, "partitions": [{"partitionIndex": 0, "timestamp": stamp}]}])
        found = said["topics"][0]["partitions"][0]
        self.history.check(found["errorCode"] == 0, self.name, f"{said}")
        return found["offset"]
