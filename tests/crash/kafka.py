"""Idempotent Kafka producers that try again, a group's static member that commits, and readers of whole logs."""

from collections import defaultdict

import kafkaschema
from crash.party import WAIT, Party, read_text, text_of
from harness import wait_until
from rawkafka import Closed, Peer, Timeout, batch, batches

LOG, GROUP, PARTITIONS = "crash.kafka", "crash.readers", 3
# Batches of one partition under way, as many as the broker remembers of a producer.
WINDOW = 5
# How often a producer leaves its connection behind, or takes a new epoch, by answers; how often a reader leaves.
RESTLESS, REBORN, RESTLESS_READER = 1 / 200, 1 / 150, 1 / 60
COORDINATING = {14, 15, 16}
BATCH_HEAD = 61


def create(history, port, log, partitions):
    with Peer(port, WAIT) as peer:
        made = peer.call("CreateTopics", 5, timeoutMs=10_000, topics=[
            {"name": log, "numPartitions": partitions, "replicationFactor": 1}])
        history.check(made["topics"][0]["errorCode"] == 0, log, f"{made}")


class KafkaParty(Party):
    """One connection."""

    timeouts, ends = (Timeout,), (Closed,)

    def __init__(self, history, name):
        self.history, self.name, self.peer, self.rng = history, name, None, None

    def open(self, port):
        self.peer = Peer(port, WAIT)
        self.history.remark(self.name, "connected")

    def hang_up(self):
        peer, self.peer = self.peer, None
        return peer


class IdempotentProducer(KafkaParty):
    """Batches of one to four records, five of a partition under way; after a cut the same batches again, in order."""

    def __init__(self, history, name):
        super().__init__(history, name)
        self.producer, self.epoch = -1, -1
        self.flight = {part: [] for part in range(PARTITIONS)}
        self.sequence, self.sent = defaultdict(int), defaultdict(int)
        self.asked = []

    def who(self, part):
        return f"{self.name}.{part}"

    def connect(self, port):
        self.open(port)
        self.asked = []
        if self.producer < 0:
            self.renew()
        for part, waiting in self.flight.items():
            self.history.meet("batches sent again", len(waiting))
            for entry in waiting:
                self.history.remark(self.who(part), "again", entry[1][0], entry[1][-1])
                self.send(part, entry)

    def renew(self):
        """Another producer id or the next epoch of the one there is, as the broker likes; sequences begin anew."""
        said = self.peer.call("InitProducerId", 4, transactionalId=None, transactionTimeoutMs=60_000,
                              producerId=self.producer, producerEpoch=self.epoch)
        if said["errorCode"] in COORDINATING:
            raise Timeout("the coordinator is not there yet")
        self.history.check(said["errorCode"] == 0, self.name, f"InitProducerId: {said}")
        self.producer, self.epoch = said["producerId"], said["producerEpoch"]
        self.sequence.clear()
        self.history.meet("producer ids and epochs")

    def send(self, part, entry):
        first, numbers = entry
        key = self.who(part)
        data = batch([(key.encode(), text_of(key, number).encode()) for number in numbers],
                     producer=(self.producer, self.epoch, first))
        asked = self.peer.ask("Produce", 9, acks=-1, timeoutMs=10_000, topicData=[
            {"name": LOG, "partitionData": [{"index": part, "records": data}]}])
        self.asked.append((asked, part, entry))

    def fill(self, rng):
        for part, waiting in self.flight.items():
            while len(waiting) < WINDOW:
                numbers = list(range(self.sent[part], self.sent[part] + rng.randrange(1, 5)))
                for number in numbers:
                    self.history.note(self.who(part), "sent", number)
                entry = (self.sequence[part], numbers)
                self.sent[part] += len(numbers)
                self.sequence[part] += len(numbers)
                waiting.append(entry)
                self.send(part, entry)

    def settle(self, timeout):
        """Takes the oldest answer."""
        asked, part, entry = self.asked[0]
        said = self.peer.take("Produce", 9, asked, timeout)["responses"][0]["partitionResponses"][0]
        self.asked.pop(0)
        self.history.check(said["errorCode"] == 0, self.name, f"partition {part}, {entry}: {said}")
        self.history.check(self.flight[part][0] == entry, self.name, f"answered out of order: {entry}")
        self.flight[part].pop(0)
        for place, number in enumerate(entry[1]):
            self.history.note(self.who(part), "acked", number)
            self.history.note(LOG, "told", part, said["baseOffset"] + place, self.who(part), number)

    def step(self, rng, on_ack):
        if self.asked and rng.random() < REBORN:
            while self.asked:
                self.settle(WAIT)
            self.renew()
        self.fill(rng)
        self.settle(0.1)
        on_ack()
        return "leave" if rng.random() < RESTLESS else None

    def finish(self, port):
        """Connects and waits for the answers that are missing, sending nothing new."""
        self.connect(port)
        while self.asked:
            self.settle(WAIT)
        self.peer.close()


class Reader(KafkaParty):
    """A group's only member, static: reads every partition, commits behind what it read, and beats."""

    def __init__(self, history, name="reader"):
        super().__init__(history, name)
        self.member, self.generation = "", -1
        # Whether an assignment was answered: the group is stable then, and that is on disk.
        self.stable, self.position = False, {}

    def ask(self, api, version, **values):
        """A call of the group's, again while the coordinator is not ready, as clients do."""
        answers = []

        def settled():
            answers.append(self.peer.call(api, version, groupId=GROUP, **values))
            return answers[-1].get("errorCode") not in COORDINATING

        wait_until(settled, f"{api} is answered", WAIT)
        return answers[-1]

    def join(self):
        values = {"sessionTimeoutMs": 60_000, "rebalanceTimeoutMs": 10_000, "memberId": "",
                  "groupInstanceId": "reader", "protocolType": "consumer"}
        metadata = kafkaschema.data("ConsumerProtocolSubscription", 1, {"topics": [LOG]})
        said = self.ask("JoinGroup", 9, protocols=[{"name": "range", "metadata": metadata}], **values)
        self.history.check(said["errorCode"] == 0, self.name, f"{said}")
        if self.stable:
            self.history.check(said["generationId"] == self.generation, self.name,
                               f"a rebalance: generation {said['generationId']} after {self.generation}")
            self.history.meet("static returns")
        self.stable = False
        self.member, self.generation = said["memberId"], said["generationId"]
        leads = said["leader"] == self.member and not said["skipAssignment"]
        share = [{"memberId": self.member, "assignment": b"everything"}] if leads else []
        said = self.ask("SyncGroup", 5, generationId=self.generation, memberId=self.member, groupInstanceId="reader",
                        protocolType="consumer", protocolName="range", assignments=share)
        self.history.check((said["errorCode"], said["assignment"]) == (0, b"everything"), self.name, f"{said}")
        self.stable = True

    def committed(self):
        """What the group's offsets are: never behind a commit that was answered, nor one that nobody sent."""
        said = self.ask("OffsetFetch", 5, topics=[{"name": LOG, "partitionIndexes": list(range(PARTITIONS))}])
        self.history.check(said["errorCode"] == 0, self.name, f"{said}")
        found = {}
        for entry in said["topics"][0]["partitions"]:
            found[entry["partitionIndex"]] = offset = max(entry["committedOffset"], 0)
            self.history.note(self.register(entry["partitionIndex"]), "found", "offset", offset)
        return found

    @staticmethod
    def register(part):
        return f"{GROUP}/{part}"

    def connect(self, port):
        self.open(port)
        self.join()
        self.position = self.committed()

    def step(self, rng, on_ack):
        for part, offset, _, value in fetch(self.history, self.peer, LOG, self.position, each=1 << 14):
            self.history.note(LOG, "told", part, offset, *read_text(self.history, self.name, value))
            self.position[part] = offset + 1
        if rng.random() < 0.3:
            self.commit()
        if rng.random() < 0.2:
            beat = self.ask("Heartbeat", 3, generationId=self.generation, memberId=self.member,
                            groupInstanceId="reader")
            self.history.check(beat["errorCode"] == 0, self.name, f"{beat}")
        return "leave" if rng.random() < RESTLESS_READER else None

    def commit(self):
        offsets = dict(self.position)
        for part, offset in offsets.items():
            self.history.note(self.register(part), "asked", "offset", offset)
        said = self.ask("OffsetCommit", 7, generationIdOrMemberEpoch=self.generation, memberId=self.member,
                        groupInstanceId="reader", topics=[{"name": LOG, "partitions": [
                            {"partitionIndex": part, "committedOffset": offset} for part, offset in offsets.items()]}])
        answered = said["topics"][0]["partitions"]
        self.history.check(all(entry["errorCode"] == 0 for entry in answered), self.name, f"{said}")
        for part, offset in offsets.items():
            self.history.note(self.register(part), "answered", "offset", offset)

    def verify(self, port):
        """After a restart, before anybody is back."""
        with Peer(port, WAIT) as self.peer:
            self.committed()


def fetch(history, peer, log, positions, wait=100, each=1 << 20, known=lambda part, offset: True):
    """(partition, offset, key, value) of what lies behind these positions, a piece of it. The check sums of batches
    that are not `known` are looked at."""
    said = peer.call("Fetch", 11, replicaId=-1, maxWaitMs=wait, minBytes=1, maxBytes=1 << 22, topics=[
        {"topic": log, "partitions": [{"partition": part, "fetchOffset": offset, "partitionMaxBytes": each}
                                      for part, offset in positions.items()]}])
    rows = []
    for entry in said["responses"][0]["partitions"] if said["responses"] else ():
        part = entry["partitionIndex"]
        history.check(entry["errorCode"] == 0, log, f"fetch of partition {part} at {positions[part]}: {entry}")
        for found in batches(entry["records"] or b"", not known(part, positions[part])):
            if not found["whole"]:
                history.note(log, "wrong", "damaged", f"the batch at {part}/{found['base']}")
            rows += [(part, found["base"] + place, key.decode(), value.decode())
                     for place, (key, value) in enumerate(found["records"])
                     if found["base"] + place >= positions[part]]
    return rows


def read_log(history, port, log, partitions, whole):
    """Reads a log to its end: all of it, or what lies behind what was read before and a little of that."""
    rows = history.books.logs[log].rows
    positions = {part: 0 if whole else max(len(rows[part]) - 50, 0) for part in range(partitions)}
    with Peer(port, WAIT) as peer:
        while found := fetch(history, peer, log, positions, 0, known=lambda part, offset: offset < len(rows[part])):
            for part, offset, _, value in found:
                history.note(log, "row", part, offset, *read_text(history, log, value))
                positions[part] = offset + 1
    for part, position in positions.items():
        if position < len(rows[part]):
            history.note(log, "wrong", "lost", f"partition {part} ends at {position}, it was read up to {len(rows[part])}")


def exists(port, log):
    with Peer(port, WAIT) as peer:
        return any(topic["name"] == log for topic in peer.call("Metadata", 5, topics=None)["topics"])
