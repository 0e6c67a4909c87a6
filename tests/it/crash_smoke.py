"""Kills the broker at random moments under load and accounts for every acknowledged message.

Publishers (QoS 1 and QoS 2, pipelined windows) feed a durable session that stays away, one that stays online,
retained topics and, by a route, a log; AMQP publishers with confirms feed durable queues, and the same session and
log by way of amq.topic, whose queue gets what MQTT publishes (crash_amqp.py); idempotent Kafka producers feed another
log, which a group reads and a route carries into a session (crash_kafka.py). Now and then a client comes back on a new
connection while the broker still has the old one. After each kill -9 and restart, before any publisher is back:

- retained: each topic holds its last acknowledged value or one sent later;
- log: offsets contiguous, what was read before is unchanged, every acknowledged message is there;
- all or none: at a drain, the absent session, the log and the queue at amq.topic hold the same messages;
- AMQP: every confirmed message is in each of its queues, every declaration that was answered holds;
- Kafka: every acknowledged record is at its offset, once, and no answered commit is taken back;
- exactly once: no QoS 2 message twice in a session (by the receiver's own state) or in the log;
- order: first appearances of each publisher's messages are in the order they were sent.

Run alone: `crash_smoke.py --cycles 200 --seed 7`; `--signal TERM --against mosquitto` and `--against rabbitmq` try
the accounting itself on other brokers.
"""

import argparse
import functools
import random
import signal
import sys
import tempfile
import threading
import time
from collections import defaultdict

import crash_amqp
import crash_kafka
from clients import kcat, log_exists
from crash_amqp import Amqp, Fault, check, even
from crash_kafka import Kafka
from harness import Broker
from rawmqtt import (PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, Client, Closed, Timeout, ack_bytes,
                     publish_bytes)

ROUTE = """\
[[route]]
name = "crash"
from = { mqtt = "crash/+/data" }
to   = { log = "crash", key = "{1}", partitions = 3 }

""" + crash_kafka.ROUTE
# Small segments and eager checkpoints, so that kills fall into rolls, trims and checkpoints too; and a group's first
# member does not wait for others longer than a cycle lasts.
CONFIG = """
[journal]
segment_bytes = "1MiB"
batch_bytes_max = "64KiB"

[checkpoint]
interval_s = 1
journal_bytes = "1MiB"

[logs]
segment_bytes = "1MiB"

[groups]
initial_rebalance_delay_ms = 0
"""
ENDLESS = {"session_expiry": 0xFFFFFFFF}
RETAINED_TOPICS = 20
NOT_FOUND = 0x92
WAIT = 30.0
PARTS = ("mqtt", "log", "amqp", "kafka", "strict")
# How often a client takes its own session over, by packets received.
RESTLESS = 1 / 300


def session(port, name, version, **options):
    properties = {**ENDLESS, **options.pop("properties", {})} if version == 5 else None
    return Client(port, name, version=version, clean=False, properties=properties, timeout=WAIT, **options)


@functools.cache
def padding(number):
    """What fills a message up to a size of its own, the same whenever it is asked for."""
    return "x" * random.Random(number).randrange(0, 600)


class Publisher:
    """One client with a window of unacknowledged messages; knows after each cut what was acknowledged."""

    def __init__(self, name, qos, version, window, kind):
        self.name, self.qos, self.version, self.window, self.kind = name, qos, version, window, kind
        self.sent = 0
        self.acked = set()
        self.flight, self.resumed, self.resent = {}, set(), set()
        self.accepted = False
        self.mid = 0
        self.client = None
        self.retained_acked, self.retained_sent = {}, {}

    def topic(self, number):
        if self.kind == "retained":
            return f"keep/{self.name}/{number % RETAINED_TOPICS}"
        return f"crash/{self.name}/data"

    def text(self, number):
        return f"{self.name}:{number}:{padding(number)}"

    def frame(self, number, mid, dup):
        return publish_bytes(self.topic(number), self.text(number), self.qos, mid, self.kind == "retained", dup,
                             self.version)

    def connect(self, port):
        """Resumes the session; sends again what was not acknowledged, in its order, with its ids [MQTT-4.4.0-1]."""
        self.client = session(port, self.name, self.version)
        connack = self.client.connect()
        check(connack.session_present == self.accepted or not self.accepted,
              f"{self.name}: the session of an accepted client is gone")
        if not connack.session_present:
            self.flight = {mid: (number, False) for mid, (number, _) in self.flight.items()}
        self.accepted = True
        self.resumed = {mid for mid, (_, released) in self.flight.items() if released}
        self.resent.update(number for number, released in self.flight.values() if not released)
        for mid, (number, released) in self.flight.items():
            self.client.send(ack_bytes(PUBREL, mid) if released else self.frame(number, mid, dup=True))

    def fill(self):
        data = b""
        while len(self.flight) < self.window:
            self.mid = self.mid % 60000 + 1
            while self.mid in self.flight:
                self.mid = self.mid % 60000 + 1
            self.flight[self.mid] = (self.sent, False)
            if self.kind == "retained":
                self.retained_sent[self.topic(self.sent)] = self.sent
            data += self.frame(self.sent, self.mid, dup=False)
            self.sent += 1
        if data:
            self.client.send(data)

    def handle(self, packet):
        # A PUBREL sent again may find its identifier released already: no error during recovery [MQTT5-3.7.2.1].
        recovered = packet.kind == PUBCOMP and packet.reason == NOT_FOUND and packet.mid in self.resumed
        check(packet.kind in (PUBACK, PUBREC, PUBCOMP) and (packet.reason < 0x80 or recovered),
              f"{self.name}: {packet}")
        check(packet.mid in self.flight or packet.kind == PUBCOMP, f"{self.name}: unknown id in {packet}")
        if packet.kind == PUBREC:
            number, _ = self.flight[packet.mid]
            self.flight[packet.mid] = (number, True)
            self.client.send(ack_bytes(PUBREL, packet.mid))
        elif packet.mid in self.flight:
            number, _ = self.flight.pop(packet.mid)
            self.resumed.discard(packet.mid)
            self.acked.add(number)
            if self.kind == "retained":
                topic = self.topic(number)
                self.retained_acked[topic] = max(number, self.retained_acked.get(topic, -1))

    def run(self, port, stop, rng, on_ack):
        """Publishes until the connection breaks or `stop` is set."""
        left = []
        try:
            self.connect(port)
            while not stop.is_set():
                self.fill()
                try:
                    self.handle(self.client.receive(0.2))
                    on_ack()
                except Timeout:
                    continue
                if rng.random() < RESTLESS:
                    self.fill()
                    left.append(self.client)
                    self.connect(port)
        except (Closed, OSError):
            pass
        finally:
            for client in [*left, *filter(None, [self.client])]:
                client.cut()

    def finish(self, port):
        """Connects and completes what is in flight, sending nothing new."""
        self.connect(port)
        deadline = time.monotonic() + WAIT
        while self.flight:
            check(time.monotonic() < deadline, f"{self.name}: {len(self.flight)} messages are never acknowledged")
            self.handle(self.client.receive(WAIT))
        self.client.disconnect()


class Receiver:
    """A durable session's client: acknowledges everything and keeps QoS 2's exactly-once state over restarts."""

    def __init__(self, name, version, topics="crash/#"):
        self.name, self.version, self.topics = name, version, topics
        self.unreleased = set()
        self.got, self.from_topics = [], []
        self.accepted = False
        self.client = None

    def connect(self, port):
        self.client = session(port, self.name, self.version)
        connack = self.client.connect()
        check(not self.accepted or connack.session_present, f"{self.name}: the session is gone")
        self.accepted = True

    def subscribe(self):
        self.client.subscribe((self.topics, 2))

    def handle(self, packet):
        if packet.kind == PUBLISH:
            if packet.qos != 2 or packet.mid not in self.unreleased:
                self.got.append((packet.payload.decode(), packet.qos, packet.dup))
                self.from_topics.append(packet.topic)
            if packet.qos == 2:
                self.unreleased.add(packet.mid)
                self.client.send(ack_bytes(PUBREC, packet.mid))
            elif packet.qos == 1:
                self.client.send(ack_bytes(PUBACK, packet.mid))
        elif packet.kind == PUBREL:
            self.unreleased.discard(packet.mid)
            self.client.send(ack_bytes(PUBCOMP, packet.mid))
        else:
            check(packet.kind == SUBACK, f"{self.name}: unexpected {packet}")

    def run(self, port, stop, rng):
        left = []
        try:
            self.connect(port)
            while not stop.is_set():
                try:
                    self.handle(self.client.receive(0.2))
                except Timeout:
                    continue
                if rng.random() < RESTLESS:
                    left.append(self.client)
                    self.connect(port)
        except (Closed, OSError):
            pass
        finally:
            for client in [*left, *filter(None, [self.client])]:
                client.cut()

    def drain(self, port, mark):
        """Receives until the payload `mark`, which was published last, and every handshake is complete."""
        self.receive_until(port, lambda: any(text == mark for text, _, _ in self.got[-200:]))

    def receive_until(self, port, enough):
        self.connect(port)
        while not enough() or self.unreleased:
            self.handle(self.client.receive(WAIT))
        self.client.ping()
        self.client.disconnect()


class Smoke:
    """The whole run: the broker, its clients, and what has been seen so far."""

    def __init__(self, broker, seed, parts=PARTS, signal_=signal.SIGKILL, say=lambda text: None):
        self.broker, self.seed, self.signal, self.say = broker, seed, signal_, say
        self.mqtt, self.log, amqp = (part in parts for part in ("mqtt", "log", "amqp"))
        self.rng = random.Random(seed)
        kinds = [("one-a", 1, 4, 20, "data"), ("one-b", 1, 5, 60, "data"), ("two-a", 2, 4, 20, "data"),
                 ("two-b", 2, 5, 60, "data"), ("keep-a", 1, 4, 8, "retained"), ("keep-b", 2, 5, 8, "retained")]
        self.publishers = [Publisher(*kind) for kind in kinds if self.mqtt]
        self.online, self.offline = Receiver("online", 5), Receiver("offline", 4)
        self.amqp = Amqp(padding, self.publishers, "strict" in parts) if amqp else None
        self.kafka = Kafka(padding) if "kafka" in parts else None
        # Its session is away whenever the broker dies: what comes to it comes once.
        self.follower = Receiver("follower", 5, "fromlog/#")
        self.log_seen = defaultdict(list)
        self.history, self.marks, self.errors = [], 0, []

    # -- one cycle --------------------------------------------------------------------------------------------

    def cycle(self, number, last):
        stop, acks, enough = threading.Event(), [0], threading.Event()
        target = self.rng.randrange(1, 1500)
        patience = self.rng.uniform(0.02, 1.2)
        lock = threading.Lock()

        def on_ack():
            with lock:
                acks[0] += 1
                if acks[0] >= target:
                    enough.set()

        def guarded(work, *arguments):
            try:
                work(*arguments)
            except Exception as error:  # noqa: BLE001 – carried to the main thread
                self.errors.append(error)
                enough.set()

        def dice(party):
            return random.Random(f"{self.seed} {number} {party.name}")

        def thread_of(party, port, *arguments):
            return threading.Thread(target=guarded, args=(party.run, port, stop, dice(party), *arguments))

        threads = []
        if self.mqtt:
            threads += [thread_of(publisher, self.broker.mqtt, on_ack) for publisher in self.publishers]
            threads.append(thread_of(self.online, self.broker.mqtt))
        if self.amqp:
            threads += [thread_of(publisher, self.broker.amqp, on_ack) for publisher in self.amqp.publishers]
            threads += [thread_of(party, self.broker.amqp) for party in self.amqp.online]
        if self.kafka:
            threads += [thread_of(producer, self.broker.kafka, on_ack) for producer in self.kafka.producers]
            threads.append(thread_of(self.kafka.reader, self.broker.kafka))
        for thread in threads:
            thread.start()
        enough.wait(patience)
        self.end_broker()
        stop.set()
        for thread in threads:
            thread.join(WAIT)
            check(not thread.is_alive(), "a client hangs")
        if self.errors:
            raise self.errors[0]
        began = time.monotonic()
        self.broker.start()
        self.history.append(f"cycle {number}: {acks[0]} acks, restart {time.monotonic() - began:.2f} s")
        self.say(self.history[-1])
        self.account(drain=last or number % 4 == 3)

    def end_broker(self):
        if self.signal == signal.SIGKILL:
            self.broker.kill9()
        else:
            self.broker.process.send_signal(self.signal)
            self.broker.wait_exit()

    # -- accounting -------------------------------------------------------------------------------------------

    def account(self, drain):
        if self.mqtt:
            self.check_retained()
        if self.log:
            self.check_log()
        if self.amqp:
            self.amqp.declarer.verify(self.broker.amqp)
        if self.kafka:
            self.kafka.verify(self.broker.kafka)
        if drain:
            # Read again below: marks of earlier drains are in the log as well.
            self.drain()

    def check_retained(self):
        publishers = [publisher for publisher in self.publishers if publisher.kind == "retained"]
        expected = {topic: number for publisher in publishers for topic, number in publisher.retained_acked.items()}
        sent = {topic: number for publisher in publishers for topic, number in publisher.retained_sent.items()}
        client = Client(self.broker.mqtt, "retained-check", timeout=WAIT)
        client.connect()
        client.subscribe(("keep/#", 0))
        found = {}
        while not set(expected) <= set(found):
            try:
                packet = client.expect(PUBLISH, 10)
            except Timeout:
                raise Fault(f"retained topics missing: {sorted(set(expected) - set(found))}") from None
            check(packet.topic not in found, f"{packet.topic} replayed twice")
            found[packet.topic] = int(packet.payload.split(b":")[1])
        client.disconnect()
        for topic, number in found.items():
            check(expected.get(topic, -1) <= number <= sent[topic],
                  f"{topic}: holds {number}, acknowledged {expected.get(topic)}, sent {sent[topic]}")

    def read_log(self):
        if not log_exists(self.broker.kafka, "crash"):
            return {}
        done = kcat(self.broker.kafka, "-C", "-t", "crash", "-o", "beginning", "-e", "-f", "%p\t%o\t%k\t%s\n",
                    timeout=WAIT)
        partitions = defaultdict(list)
        for line in done.stdout.splitlines():
            partition, offset, key, text = line.split("\t")
            rows = partitions[int(partition)]
            check(int(offset) == len(rows), f"partition {partition}: offset {offset} follows {len(rows) - 1}")
            rows.append((key, text))
        return partitions

    def check_log(self):
        now = self.read_log()
        for partition, rows in self.log_seen.items():
            check(now.get(partition, [])[:len(rows)] == rows, f"partition {partition}: what was read before changed")
        self.log_seen = now
        keys = defaultdict(set)
        for partition, rows in now.items():
            for key, _ in rows:
                keys[key].add(partition)
        check(all(len(found) == 1 for found in keys.values()), f"a key in two partitions: {dict(keys)}")
        texts = [text for rows in now.values() for _, text in rows]
        self.check_complete("log", texts)

    def drain(self):
        self.marks += 1
        mark = f"mark:{self.marks}:"
        if self.mqtt:
            client = Client(self.broker.mqtt, "marker", timeout=WAIT)
            client.connect()
            client.publish("crash/mark/data", mark, qos=1)
            client.disconnect()
            self.offline.drain(self.broker.mqtt, mark)
            self.check_complete("offline", self.queued())
        if self.amqp:
            self.amqp.drain(self.broker.amqp, mark, self.mqtt)
            self.check_complete("crash.all", self.amqp.all.got, [self.amqp.first])
            self.check_complete("crash.some", self.amqp.some.got, [self.amqp.first], even, ordered=False)
            self.check_complete("crash.tree", self.amqp.tree.got, once=False)
        if self.log:
            self.check_log()
            self.check_same("log", {text for rows in self.log_seen.values() for _, text in rows})
        if self.mqtt and self.amqp:
            self.check_same("crash.tree", set(self.amqp.tree.got))
        if self.kafka and self.mqtt:
            self.follower.receive_until(self.broker.mqtt, lambda: len(self.follower.got) >= self.kafka.count())
            self.kafka.check_routed(list(zip(self.follower.from_topics, (text for text, _, _ in self.follower.got))))

    def queued(self):
        return [text for text, _, _ in self.offline.got]

    def check_same(self, place, found):
        """All or none: what one publish put into the absent session and into another place is in both."""
        queued = set(self.queued())
        check(found == queued, f"not all or none: only in {place} {sorted(brief(found - queued))}, "
              f"only in the session {sorted(brief(queued - found))}")

    def check_complete(self, place, texts, publishers=None, wanted=lambda number: True, once=True,
                       ordered=True):
        """Every acknowledged message that is wanted there, whole, in first-appearance order, QoS 2 once."""
        numbers = defaultdict(list)
        for text in texts:
            name, number, _ = text.split(":", 2)
            numbers[name].append(int(number))
        if publishers is None:
            everybody = self.publishers + (self.amqp.publishers if self.amqp else [])
            publishers = [publisher for publisher in everybody if publisher.kind == "data"]
        for publisher in publishers:
            got = numbers.pop(publisher.name, [])
            lost = set(filter(wanted, publisher.acked)) - set(got)
            check(not lost, f"{place}: {len(lost)} acknowledged messages of {publisher.name} lost: {sorted(lost)[:10]}")
            check(not got or max(got) < publisher.sent, f"{place}: {publisher.name} never sent {max(got, default=0)}")
            check(all(map(wanted, got)), f"{place}: {publisher.name} has messages that belong elsewhere")
            if publisher.qos == 2 and once:
                check(len(got) == len(set(got)), f"{place}: QoS 2 of {publisher.name} twice: {repeated(got)[:10]}")
            first = list(dict.fromkeys(got))
            check(not ordered or first == sorted(first),
                  f"{place}: {publisher.name} out of order near {disorder(first)}")
        check(set(numbers) <= {"mark"}, f"{place}: messages of nobody: {set(numbers)}")
        for text in texts:
            name, number, rest = text.split(":", 2)
            if name != "mark":
                check(rest == padding(int(number)), f"{place}: {name}:{number} is damaged")

    # -- the run ----------------------------------------------------------------------------------------------

    def run(self, cycles):
        self.broker.start()
        if self.mqtt:
            for receiver in (self.offline, self.online, self.follower):
                receiver.connect(self.broker.mqtt)
                receiver.subscribe()
                receiver.client.disconnect()
        if self.amqp:
            crash_amqp.declare(self.broker.amqp)
        if self.kafka:
            crash_kafka.create(self.broker.kafka)
        try:
            for number in range(cycles):
                self.cycle(number, last=number == cycles - 1)
            self.finish()
        except Exception as error:
            told = "\n".join(self.history)
            raise Fault(f"seed {self.seed}: {type(error).__name__}: {error}\n{told}") from error
        publishers = self.publishers + (self.amqp.publishers if self.amqp else [])
        return (f"seed {self.seed}: {cycles} cycles, {sum(len(p.acked) for p in publishers)} acknowledged, "
                f"{len(self.offline.got)} in the absent session, {len(self.online.got)} online, "
                f"{sum(map(len, self.log_seen.values()))} in the log"
                + (f"; {self.amqp.summary()}" if self.amqp else "")
                + (f"; {self.kafka.summary()}" if self.kafka else ""))

    def finish(self):
        """Everything in flight completes; then each place holds exactly what was sent."""
        for publisher in self.publishers:
            publisher.finish(self.broker.mqtt)
        for publisher in self.amqp.publishers if self.amqp else []:
            publisher.finish(self.broker.amqp)
        for producer in self.kafka.producers if self.kafka else []:
            producer.finish(self.broker.kafka)
        for publisher in self.publishers + (self.amqp.publishers if self.amqp else []):
            check(publisher.acked == set(range(publisher.sent)), f"{publisher.name}: gaps in what was acknowledged")
        self.account(drain=True)
        if self.mqtt:
            self.online.drain(self.broker.mqtt, f"mark:{self.marks}:")
            self.check_complete("online", [text for text, _, _ in self.online.got])
        if self.amqp:
            # Acknowledged and stopped in peace: nothing of it comes back.
            self.broker.restart()
            left = crash_amqp.counts(self.broker.amqp)
            check(not any(left.values()), f"acknowledged messages are back after a clean stop: {left}")


def brief(texts):
    return [text[:24] for text in list(texts)[:5]]


def repeated(numbers):
    seen, twice = set(), []
    for number in numbers:
        (twice.append if number in seen else seen.add)(number)
    return twice


def disorder(numbers):
    return next((pair for pair in zip(numbers, numbers[1:]) if pair[0] > pair[1]), None)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cycles", type=int, default=20)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--signal", choices=["KILL", "TERM"], default="KILL")
    parser.add_argument("--no-log", action="store_true")
    parser.add_argument("--no-amqp", action="store_true")
    parser.add_argument("--no-kafka", action="store_true")
    parser.add_argument("--against", choices=["rialto", "mosquitto", "rabbitmq", "kafka"], default="rialto")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rialto-crash-") as folder:
        if options.against == "mosquitto":
            from mosquitto import Mosquitto
            broker, parts = Mosquitto(folder), {"mqtt"}
        elif options.against == "rabbitmq":
            from rabbit import Rabbit
            # Its declarations and acks are not on disk when it answers: a deleted queue may be back after kill -9.
            broker, parts = Rabbit(folder), {"amqp"}
        elif options.against == "kafka":
            from apache_kafka import ApacheKafka
            # It does not sync what it acknowledges; killed alone, without the machine, it loses nothing by that.
            broker, parts = ApacheKafka(folder), {"kafka"}
            # And it stores a batch twice that comes by an old and by a new connection at once.
            crash_kafka.RESTLESS = 0
        else:
            broker, parts = Broker(folder, routes={"crash.toml": ROUTE}, config=CONFIG), set(PARTS)
        parts -= {part for part in ("log", "amqp", "kafka") if getattr(options, f"no_{part}")}
        try:
            smoke = Smoke(broker, options.seed, parts, getattr(signal, "SIG" + options.signal), print)
            print(smoke.run(options.cycles))
        finally:
            broker.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
