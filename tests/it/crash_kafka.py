"""The Kafka parties of the crash smoke: idempotent producers, a group's static member, a route out of the log.

    kp-a, kp-b ── crash.kafka (3 partitions) ──┬─ group crash.readers: one static member reads, commits, rests
                                               └─ route ──► fromlog/<key>: a durable session that stays away

Promises, over any number of kill -9:

- every acknowledged record is at the offset its producer was told; what was sent again is there once; each producer's
  records of a partition are in their order, with nothing between that nobody sent;
- a commit that was answered is never taken back, and none is there that was not sent;
- a static member comes back into its generation, with its share, without a rebalance;
- the route has put each record of the log into the session once, in order.
"""

import contextlib
from collections import defaultdict

import kafkaschema
from crash_amqp import check
from harness import wait_until
from rawkafka import Closed, Peer, Timeout, batch, batches

LOG, GROUP, PARTITIONS = "crash.kafka", "crash.readers", 3
ROUTE = f"""\
[[route]]
name = "fromlog"
from = {{ log = "{LOG}", from = "earliest" }}
to   = {{ mqtt = "fromlog/{{key}}", qos = 1 }}
"""
WAIT = 30.0
# Batches of one partition under way, as many as the broker remembers of a producer.
WINDOW = 5
# How often a producer leaves its connection behind, or takes a new epoch, by answers.
RESTLESS, REBORN = 1 / 200, 1 / 150
COORDINATING = {14, 15, 16}


def create(port):
    with Peer(port, WAIT) as peer:
        made = peer.call("CreateTopics", 5, timeoutMs=10_000, topics=[
            {"name": LOG, "numPartitions": PARTITIONS, "replicationFactor": 1}])
        check(made["topics"][0]["errorCode"] == 0, f"{LOG}: {made}")


class Party:
    """Someone with connections that the broker's end cuts; `step` is one round of what it does."""

    def run(self, port, stop, *dice):
        left = []
        self.peer = None
        try:
            self.connect(port)
            while not stop.is_set():
                with contextlib.suppress(Timeout):
                    if self.step(*dice) == "leave":
                        left.append(self.peer)
                        self.connect(port)
        except (Closed, OSError):
            pass
        finally:
            for peer in [*left, *filter(None, [self.peer])]:
                peer.close()


class IdempotentProducer(Party):
    """Batches of one to four records, five of a partition under way; after a cut the same batches again, in order."""

    def __init__(self, name, padding):
        self.name, self.padding = name, padding
        self.producer, self.epoch = -1, -1
        self.flight = {part: [] for part in range(PARTITIONS)}
        self.sequence, self.sent = defaultdict(int), defaultdict(int)
        self.acked, self.again, self.ids = {}, 0, 0
        self.asked, self.peer = [], None

    def text(self, part, number):
        return f"{self.name}.{part}:{number}:{self.padding(number)}"

    def connect(self, port):
        self.peer, self.asked = Peer(port, WAIT), []
        if self.producer < 0:
            self.renew()
        for part, waiting in self.flight.items():
            self.again += len(waiting)
            for entry in waiting:
                self.send(part, entry)

    def renew(self):
        """Another producer id or the next epoch of the one there is, as the broker likes; sequences begin anew."""
        said = self.peer.call("InitProducerId", 4, transactionalId=None, transactionTimeoutMs=60_000,
                              producerId=self.producer, producerEpoch=self.epoch)
        if said["errorCode"] in COORDINATING:
            raise Timeout("the coordinator is not there yet")
        check(said["errorCode"] == 0, f"{self.name}: InitProducerId: {said}")
        self.producer, self.epoch = said["producerId"], said["producerEpoch"]
        self.sequence.clear()
        self.ids += 1

    def send(self, part, entry):
        first, numbers = entry
        key = f"{self.name}.{part}".encode()
        data = batch([(key, self.text(part, number).encode()) for number in numbers],
                     producer=(self.producer, self.epoch, first))
        asked = self.peer.ask("Produce", 9, acks=-1, timeoutMs=10_000, topicData=[
            {"name": LOG, "partitionData": [{"index": part, "records": data}]}])
        self.asked.append((asked, part, entry))

    def fill(self, rng):
        for part, waiting in self.flight.items():
            while len(waiting) < WINDOW:
                numbers = list(range(self.sent[part], self.sent[part] + rng.randrange(1, 5)))
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
        check(said["errorCode"] == 0, f"{self.name}: partition {part}, {entry}: {said}")
        check(self.flight[part][0] == entry, f"{self.name}: answered out of order: {entry}")
        self.flight[part].pop(0)
        for place, number in enumerate(entry[1]):
            self.acked[part, number] = said["baseOffset"] + place

    def step(self, rng, on_ack):
        if self.asked and rng.random() < REBORN:
            while self.asked:
                self.settle(WAIT)
            self.renew()
        self.fill(rng)
        self.settle(0.2)
        on_ack()
        return "leave" if rng.random() < RESTLESS else None

    def finish(self, port):
        """Connects and waits for the answers that are missing, sending nothing new."""
        self.connect(port)
        while self.asked:
            self.settle(WAIT)
        self.peer.close()


class Reader(Party):
    """A group's only member, static: reads every partition, commits behind what it read, and beats."""

    def __init__(self):
        self.name, self.member, self.generation = "reader", "", -1
        # Whether an assignment was answered: the group is stable then, and that is on disk.
        self.stable, self.rejoined = False, 0
        self.position, self.peer = {}, None
        self.acked, self.sent = defaultdict(int), defaultdict(int)
        self.rows = defaultdict(dict)

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
        check(said["errorCode"] == 0, f"{self.name}: {said}")
        if self.stable:
            check(said["generationId"] == self.generation,
                  f"{self.name}: a rebalance: generation {said['generationId']} after {self.generation}")
            self.rejoined += 1
        self.stable = False
        self.member, self.generation = said["memberId"], said["generationId"]
        leads = said["leader"] == self.member and not said["skipAssignment"]
        share = [{"memberId": self.member, "assignment": b"everything"}] if leads else []
        said = self.ask("SyncGroup", 5, generationId=self.generation, memberId=self.member, groupInstanceId="reader",
                        protocolType="consumer", protocolName="range", assignments=share)
        check((said["errorCode"], said["assignment"]) == (0, b"everything"), f"{self.name}: {said}")
        self.stable = True

    def committed(self):
        """What the group's offsets are; they are never behind a commit that was answered, nor ahead of any sent."""
        said = self.ask("OffsetFetch", 5, topics=[{"name": LOG, "partitionIndexes": list(range(PARTITIONS))}])
        check(said["errorCode"] == 0, f"{self.name}: {said}")
        found = {}
        for entry in said["topics"][0]["partitions"]:
            part, offset = entry["partitionIndex"], max(entry["committedOffset"], 0)
            check(self.acked[part] <= offset <= self.sent[part],
                  f"{self.name}: partition {part}: {offset} is committed, {self.acked[part]} was acknowledged, "
                  f"{self.sent[part]} sent")
            found[part] = offset
        self.acked.update(found)
        return found

    def connect(self, port):
        self.peer = Peer(port, WAIT)
        self.join()
        self.position = self.committed()

    def step(self, rng):
        for part, offset, value in fetch(self.peer, self.position, each=1 << 14):
            known = self.rows[part].setdefault(offset, value)
            check(known == value, f"{self.name}: offset {offset} of partition {part} has changed")
            self.position[part] = offset + 1
        if rng.random() < 0.3:
            self.commit()
        if rng.random() < 0.2:
            beat = self.ask("Heartbeat", 3, generationId=self.generation, memberId=self.member,
                            groupInstanceId="reader")
            check(beat["errorCode"] == 0, f"{self.name}: {beat}")
        return "leave" if rng.random() < 1 / 60 else None

    def commit(self):
        offsets = dict(self.position)
        self.sent.update(offsets)
        said = self.ask("OffsetCommit", 7, generationIdOrMemberEpoch=self.generation, memberId=self.member,
                        groupInstanceId="reader", topics=[{"name": LOG, "partitions": [
                            {"partitionIndex": part, "committedOffset": offset} for part, offset in offsets.items()]}])
        check(all(entry["errorCode"] == 0 for entry in said["topics"][0]["partitions"]), f"{self.name}: {said}")
        self.acked.update(offsets)

    def verify(self, port):
        """After a restart, before anybody is back."""
        with Peer(port, WAIT) as self.peer:
            self.committed()


def fetch(peer, positions, wait=100, each=1 << 20, known=lambda part, offset: True):
    """(partition, offset, value) of what lies behind these positions, a piece of it. The check sums of batches that
    are not `known` are looked at."""
    said = peer.call("Fetch", 11, replicaId=-1, maxWaitMs=wait, minBytes=1, maxBytes=1 << 22, topics=[
        {"topic": LOG, "partitions": [{"partition": part, "fetchOffset": offset, "partitionMaxBytes": each}
                                      for part, offset in positions.items()]}])
    rows = []
    for entry in said["responses"][0]["partitions"] if said["responses"] else ():
        part = entry["partitionIndex"]
        check(entry["errorCode"] == 0, f"fetch of partition {part} at {positions[part]}: {entry['errorCode']}")
        for found in batches(entry["records"] or b"", not known(part, positions[part])):
            check(found["whole"], f"partition {part}: the batch at {found['base']} is damaged")
            rows += [(part, found["base"] + place, value.decode())
                     for place, (_, value) in enumerate(found["records"]) if found["base"] + place >= positions[part]]
    return rows


class Kafka:
    """All of them, for the smoke."""

    def __init__(self, padding):
        self.producers = [IdempotentProducer(name, padding) for name in ("kp-a", "kp-b")]
        self.reader = Reader()
        self.rows = [[] for _ in range(PARTITIONS)]

    def read(self, port):
        """The whole log; what was read before must be there unchanged."""
        now = [[] for _ in range(PARTITIONS)]
        with Peer(port, WAIT) as peer:
            while found := fetch(peer, {part: len(rows) for part, rows in enumerate(now)}, 0,
                                 known=lambda part, offset: offset < len(self.rows[part])):
                for part, offset, value in found:
                    check(offset == len(now[part]), f"partition {part}: {offset} follows {len(now[part]) - 1}")
                    now[part].append(value)
        for part, rows in enumerate(self.rows):
            check(now[part][:len(rows)] == rows, f"partition {part} of {LOG}: what was read before changed")
        self.rows = now

    def verify(self, port):
        self.read(port)
        self.reader.verify(port)
        for producer in self.producers:
            for part in range(PARTITIONS):
                self.check_producer(producer, part)
        for part, rows in enumerate(self.rows):
            for offset, value in self.reader.rows[part].items():
                check(offset < len(rows) and rows[offset] == value,
                      f"partition {part}: the reader saw another record at {offset}")

    def check_producer(self, producer, part):
        name = f"{producer.name}.{part}:"
        got = [value for value in self.rows[part] if value.startswith(name)]
        wanted = [producer.text(part, number) for number in range(len(got))]
        wrong = next((number for number, pair in enumerate(zip(got, wanted)) if pair[0] != pair[1]), None)
        check(wrong is None, f"{name} doubled, out of order, damaged or missing: number {wrong} of {len(got)} is "
              f"{[text[:16] for text in got[wrong or 0:][:3]]}")
        check(len(got) <= producer.sent[part], f"{name} {len(got)} records of {producer.sent[part]}")
        for (where, number), offset in producer.acked.items():
            if where == part:
                check(offset < len(self.rows[part]) and self.rows[part][offset] == producer.text(part, number),
                      f"{name} {number} was acknowledged at {offset} and is not there")

    def check_routed(self, got):
        """`got`: (topic, text) as the route's session has them."""
        by_topic = defaultdict(list)
        for topic, text in got:
            by_topic[topic].append(text)
        wanted = defaultdict(list)
        for rows in self.rows:
            for text in rows:
                wanted["fromlog/" + text.split(":", 1)[0]].append(text)
        for topic in {*wanted, *by_topic}:
            have, want = by_topic[topic], wanted[topic]
            check(have == want, f"{topic}: the route delivered {len(have)} of {len(want)} records, "
                  f"{len(have) - len(set(have))} of them twice; the first that is not as in the log is number "
                  f"{next((n for n, pair in enumerate(zip(have, want)) if pair[0] != pair[1]), min(len(have), len(want)))}")

    def count(self):
        return sum(map(len, self.rows))

    def summary(self):
        return (f"Kafka: {self.count()} records, {sum(producer.again for producer in self.producers)} batches sent "
                f"again, {sum(self.reader.acked.values())} committed, {self.reader.rejoined} static returns, "
                f"{sum(producer.ids for producer in self.producers)} producer ids")
