"""Small Kafka scenarios that any broker of the protocol can play: each does something and notes plain observations.

A scenario is a function of a `Stage`: it sends raw requests, uses topics and groups whose names begin with its own,
and notes answers under labels, field by field. `play` runs one against a port and returns its notes, so that two
brokers can be compared (test_kafka_side_by_side.py). Nothing here judges.
"""

import importlib
import re

from harness import wait_until
from rawkafka import Closed, Peer, Timeout, batch, batches

SCENARIOS = {}
# Fields whose value is the broker's own affair: only whether there is one counts.
OWN = {"host", "port", "rack", "clusterId", "clientHost", "authorizedOperations", "topicAuthorizedOperations",
       "clusterAuthorizedOperations"}
# Left out altogether: throttling is nobody's here, words are not compared, and what a tag holds must be asked for.
DROPPED = {"throttleTimeMs", "nodeEndpoints", "currentLeader", "documentation", "errorMessage",
           "batchIndexErrorMessage"}
# Parts of an answer come in no particular order.
SORTED = ("partitionIndex", "index", "name", "topic", "groupId", "group")
MADE_UP = [(re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "uuid"),
           (re.compile(r"^it-uuid$"), "member"), (re.compile(r"^[\w.-]+-uuid$"), "member")]
SILENCE = 0.7


def scenario(function):
    """Registers a scenario under its function's name."""
    assert function.__name__ not in SCENARIOS, function.__name__
    SCENARIOS[function.__name__] = function
    return function


class Stage:
    """What a scenario works with."""

    def __init__(self, port, name):
        self.port, self.scenario, self.notes = port, name.replace("_", "-"), {}
        self.opened, self.main, self.numbers, self.topics = [], None, {}, {}

    # -- what is noted ------------------------------------------------------------------------------------------

    def note(self, label, value):
        assert label not in self.notes, f"{label} twice"
        self.notes[label] = self.plain(value)

    def plain(self, value, field=""):
        """Observations as JSON knows them, without what a broker makes up."""
        if field in OWN:
            return None if value in (None, "", -1) else "its own"
        if field in ("producerId", "memberId", "leader", "members by id") and value not in (-1, "", None):
            return self.numbered(field, value) if isinstance(value, (int, str)) else value
        if isinstance(value, str):
            for pattern, word in MADE_UP:
                value = pattern.sub(word, value)
            return value.replace("00000000-0000-0000-0000-000000000000", "no id")
        if isinstance(value, (bytes, bytearray)):
            return bytes(value).decode("latin-1")
        if isinstance(value, dict):
            if value.get("errorCode") and "baseOffset" in value:
                # Apache Kafka tells where the log begins with some errors and not with others.
                value = {**value, "logStartOffset": -1}
            return {name: self.plain(inner, name) for name, inner in value.items() if name not in DROPPED}
        if isinstance(value, (list, tuple)):
            for key in SORTED:
                if value and all(isinstance(inner, dict) and inner.get(key) is not None for inner in value):
                    value = sorted(value, key=lambda inner: inner[key])
                    break
            listed = [self.plain(inner, field) for inner in value]
            members = all(isinstance(inner, dict) and "memberId" in inner for inner in listed)
            return sorted(listed, key=lambda inner: inner["memberId"]) if members else listed
        return value

    def numbered(self, kind, value):
        """Ids as they came: the first is 1, whatever it is."""
        kind = "memberId" if kind == "leader" and isinstance(value, str) else kind
        known = self.numbers.setdefault(kind, {})
        return f"{kind} {known.setdefault(value, len(known) + 1)}"

    def outcome(self, work):
        try:
            return work()
        except Closed:
            return "closed"
        except Timeout:
            return "silence"

    def ask(self, label, api, version, peer=None, timeout=None, **values):
        """Notes what one request is answered with; returns the answer, or how there was none."""
        peer = peer or self.peer()
        number = peer.ask(api, version, **values)
        said = self.outcome(lambda: peer.take(api, version, number, timeout))
        if said in ("closed", "silence") and peer is self.main:
            self.main = None
        self.note(label, said)
        return said

    # -- who does it --------------------------------------------------------------------------------------------

    def connect(self, **options):
        self.opened.append(Peer(self.port, **options))
        return self.opened[-1]

    def peer(self):
        """The scenario's main connection, opened anew when it was closed."""
        if self.main is None:
            self.main = self.connect()
        return self.main

    def call(self, api, version, **values):
        return self.peer().call(api, version, **values)

    def name(self, word):
        return f"{self.scenario}.{word}"

    def topic(self, word, partitions=1, **configs):
        """Creates a topic and waits until it takes records; the name is `name(word)`."""
        name = self.name(word)
        made = self.call("CreateTopics", 7, topics=[{
            "name": name, "numPartitions": partitions, "replicationFactor": 1,
            "configs": [{"name": key.replace("_", "."), "value": str(value)} for key, value in configs.items()]}],
            timeoutMs=10_000)["topics"][0]
        assert made["errorCode"] == 0, made
        self.topics[word] = made["topicId"]

        def ready():
            asked = [{"partitionIndex": number, "timestamp": -1} for number in range(partitions)]
            found = self.call("ListOffsets", 5, replicaId=-1, topics=[{"name": name, "partitions": asked}])
            return all(partition["errorCode"] == 0 for partition in found["topics"][0]["partitions"])

        wait_until(ready, f"{name} is ready")
        return name

    # -- requests that many scenarios make ----------------------------------------------------------------------

    def produce(self, topic, data, partition=0, version=9, acks=-1, peer=None, timeout=None):
        """What one partition's part of a Produce answer says, or how there was no answer."""
        peer = peer or self.peer()
        where = {"topicId": topic} if version >= 13 else {"name": topic}
        number = peer.ask("Produce", version, acks=acks, timeoutMs=5000, topicData=[
            {**where, "partitionData": [{"index": partition, "records": data}]}])
        if acks == 0:
            return None
        said = self.outcome(lambda: peer.take("Produce", version, number, timeout))
        if isinstance(said, str):
            if peer is self.main:
                self.main = None
            return said
        return said["responses"][0]["partitionResponses"][0]

    def put(self, topic, *values, **options):
        """Produces one batch that must be taken; its base offset."""
        said = self.produce(topic, batch(list(values), **options))
        assert not isinstance(said, str) and said["errorCode"] == 0, said
        return said["baseOffset"]

    def fetch(self, topic, offset, partition=0, version=11, wait=0, least=1, most=1 << 20, each=1 << 20, peer=None,
              epoch=-1, **others):
        """One partition's part of a Fetch answer, its records as batches."""
        peer = peer or self.peer()
        where = {"topicId": topic} if version >= 13 else {"topic": topic}
        asked = {"partition": partition, "fetchOffset": offset, "partitionMaxBytes": each}
        if epoch != -1:
            asked["currentLeaderEpoch"] = epoch
        replica = {} if version >= 15 else {"replicaId": -1}
        said = self.outcome(lambda: peer.call("Fetch", version, **replica, maxWaitMs=wait, minBytes=least,
                                              maxBytes=most, topics=[{**where, "partitions": [asked]}], **others))
        if isinstance(said, str) or not said["responses"]:
            return said
        found = dict(said["responses"][0]["partitions"][0])
        found["records"] = batches(found["records"] or b"")
        # Apache Kafka says null for none, unless it is asked to read what is committed.
        found["abortedTransactions"] = found["abortedTransactions"] or []
        for entry in found["records"]:
            entry.pop("epoch")
            if entry["producer"][0] != -1:
                entry["producer"][0] = self.numbered("producerId", entry["producer"][0])
        return found

    def records(self, topic, partition=0):
        """What a partition holds, as bare values."""
        rows, offset = [], 0
        while True:
            found = self.fetch(topic, offset, partition)
            if not found["records"]:
                return rows
            for entry in found["records"]:
                rows += [value for _, value in entry["records"] or [("", f"compressed {entry['count']}")]]
                offset = entry["base"] + entry["delta"] + 1

    def offset(self, topic, timestamp, partition=0, version=5):
        found = self.call("ListOffsets", version, replicaId=-1, topics=[
            {"name": topic, "partitions": [{"partitionIndex": partition, "timestamp": timestamp}]}])
        return found["topics"][0]["partitions"][0]

    def init(self, **values):
        """(producer id, epoch) of a new idempotent producer."""
        said = self.call("InitProducerId", 4, transactionalId=None, transactionTimeoutMs=60_000, **values)
        assert said["errorCode"] == 0, said
        return said["producerId"], said["producerEpoch"]

    def close(self):
        for peer in self.opened:
            peer.close()


def play(name, port):
    """Runs a scenario against the broker at `port`; its notes."""
    stage = Stage(port, name)
    try:
        SCENARIOS[name](stage)
    finally:
        stage.close()
    return stage.notes


for module in ("admin", "commits", "fetching", "groups", "idempotence", "offsets", "producing", "refused", "versions"):
    importlib.import_module(f"{__name__}.{module}")
