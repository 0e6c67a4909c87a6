"""Who sends what to where: the routes and settings of the broker, its clients, and the places they fill.

    one-a one-b two-a two-b ── MQTT crash/<name>/data ─┬─ sessions offline (away), online
                                                       │  share group team, of the sessions team-a and team-b
    am-b ── amq.topic ──── crash.am-b.data ────────────┤  log crash, by a route
                                                       │  queue crash.tree, by amq.topic
                                                       └─ queue crash.mirrored, by a route to an exchange
    am-a ── crash.topic ──┬─ queue crash.all
                          ├─ queue crash.some (consumed all the time, even numbers only)
                          └─ session carried, by a route from the exchange
    kp-a kp-b ── log crash.kafka ──┬─ group crash.readers
                                   ├─ session follower, by a route out of the log
                                   └─ queue crash.records, by another one
"""

import tomllib

from crash import retained
from crash.accounting import Books, Place, Source
from crash.amqp import PERSISTENT, AmqpConsumer, AmqpPublisher, connect, counts
from crash.declarations import Declarer, Subscriber
from crash.history import History
from crash.kafka import LOG, PARTITIONS, IdempotentProducer, Reader, create, exists, read_log
from crash.members import Member, drain
from crash.mortals import Mortals, Watcher
from crash.mqtt import Publisher, Receiver
from crash.party import WAIT
from crash.topics import Administrator
from harness import ROOT
from rawmqtt import Client

ROUTES = """\
[[route]]
name = "crash"
from = { mqtt = "crash/+/data" }
to   = { log = "crash", key = "{1}", partitions = 3 }

[[route]]
name = "mirror"
from = { mqtt = "crash/+/data" }
to   = { exchange = "crash.mirror", routing_key = "{1}" }

[[route]]
name = "carry"
from = { exchange = "crash.topic", binding = "#" }
to   = { mqtt = "fromex/{#}" }

[[route]]
name = "fromlog"
from = { log = "crash.kafka", from = "earliest" }
to   = { mqtt = "fromlog/{key}", qos = 1 }

[[route]]
name = "records"
from = { log = "crash.kafka", from = "earliest" }
to   = { exchange = "crash.records", routing_key = "{key}" }
"""
# Small segments, budgets and eager checkpoints, so that kills fall into rolls, trims, checkpoints and whatever is
# paged. Records are kept, though they say that they are from 1970. A group's first member does not wait for others for
# longer than a cycle lasts. No session is ever full: what it would go without is no loss, and a long run gets there.
SETTINGS = {
    "journal": {"segment_bytes": "1MiB", "batch_bytes_max": "64KiB"},
    "checkpoint": {"interval_s": 1, "journal_bytes": "1MiB", "memory_bytes": "1MiB", "body_segment_bytes": "1MiB"},
    "memory": {"queue_index_bytes_max": "1MiB"},
    "logs": {"segment_bytes": "1MiB", "retention_ms": -1},
    "groups": {"initial_rebalance_delay_ms": 0},
    "mqtt": {"queued_messages_max": 100_000_000, "queued_bytes_max": "64GiB"},
}
PARTS = frozenset(("mqtt", "log", "amqp", "kafka", "routes", "strict"))
EXCHANGE, MIRROR, RECORDS = "crash.topic", "crash.mirror", "crash.records"


def settings(**sections):
    """The broker's configuration; `sections` override or add keys: journal={"durability": "os"}.

    What this broker's own example file does not have is left out: an older one can be crashed too.
    """
    known = tomllib.loads((ROOT / "rialto.toml").read_text())
    lines = []
    for section in sorted({*SETTINGS, *sections} & set(known)):
        lines.append(f"[{section}]")
        values = {**SETTINGS.get(section, {}), **sections.get(section, {})}
        lines += [f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {str(value).lower()}"
                  for key, value in values.items() if key in known[section]]
    return "\n".join(lines) + "\n"


class Scene:
    """All clients and the history that they write, for the parts of the broker that take part."""

    def __init__(self, parts=PARTS):
        self.parts = frozenset(parts)
        self.marks = 0
        mqtt, amqp = "mqtt" in parts, "amqp" in parts
        devices = [("one-a", 1, 4, 20), ("one-b", 1, 5, 60), ("two-a", 2, 4, 20), ("two-b", 2, 5, 60)]
        data = ([name for name, *_ in devices] if mqtt else []) + (["am-b"] if amqp else [])
        records = [f"{name}.{part}" for name in ("kp-a", "kp-b") for part in range(PARTITIONS)]
        self.history = History(self.books(data, records))
        history = self.history
        self.publishers = [Publisher(history, *device) for device in devices if mqtt]
        self.keepers = [retained.Keeper(history, name, version, 8) for name, version in (("keep-a", 4), ("keep-b", 5))
                        if mqtt]
        self.online = Receiver(history, "online", 5)
        self.away = [Receiver(history, "offline", 4)] * mqtt
        self.away += [Receiver(history, "carried", 5, "fromex/#")] * ("routes" in parts)
        self.follower, self.watcher = Receiver(history, "follower", 5, "fromlog/#"), Watcher(history)
        self.members = [Member(history, "team-a", 4), Member(history, "team-b", 5)] * ({"mqtt", "strict"} <= self.parts)
        self.mortals, self.subscriber = Mortals(history), Subscriber(history)
        self.confirmed = [AmqpPublisher(history, "am-a", EXCHANGE, key_of, 50),
                          AmqpPublisher(history, "am-b", "amq.topic", lambda number: "crash.am-b.data", 20)] * amqp
        self.some = AmqpConsumer(history, "crash.some")
        self.queues = [AmqpConsumer(history, name) for name in ("crash.all", "crash.tree")] if amqp else []
        self.queues += [AmqpConsumer(history, "crash.mirrored")] * ("routes" in parts)
        self.records = AmqpConsumer(history, "crash.records")
        self.declarer = Declarer(history)
        self.producers = [IdempotentProducer(history, name) for name in ("kp-a", "kp-b")]
        self.reader, self.administrator = Reader(history), Administrator(history)

    def books(self, data, records):
        sources = [Source(name, exact=name.startswith("two")) for name in (*data, "am-a")]
        sources += [Source(name, exact=True) for name in records]
        every, kafka = dict.fromkeys(data, 1), dict.fromkeys(records, 1)
        places = [
            Place("offline", every, repeats="flagged"), Place("online", every, repeats="instant"),
            Place("team", every), *(Place(name, every, None, "silent", "team") for name in ("team-a", "team-b")),
            Place("crash", every), Place("crash.tree", every, repeats="flagged"),
            Place("crash.mirrored", every, repeats="flagged"),
            Place("crash.all", {"am-a": 1}, repeats="flagged"),
            Place("crash.some", {"am-a": 2}, order="connection", repeats="flagged"),
            Place("carried", {"am-a": 1}, repeats="flagged"),
            Place(LOG, kafka), Place("follower", kafka, repeats="flagged"),
            Place("crash.records", kafka, repeats="flagged"), Place("wills", {}),
        ]
        pairs = [("offline", other) for other in ("team", "crash", "crash.tree", "crash.mirrored")]
        pairs += [("crash.all", "crash.some"), ("crash.all", "carried"), (LOG, "follower"), (LOG, "crash.records")]
        return Books(sources, places, ("crash", LOG), pairs)

    # -- before ---------------------------------------------------------------------------------------------------

    def set_up(self, broker):
        """Everything durable that the clients count on."""
        if "kafka" in self.parts:
            create(self.history, broker.kafka, LOG, PARTITIONS)
            self.administrator.set_up(broker.kafka)
        if "amqp" in self.parts:
            self.declare(broker.amqp)
        if "mqtt" in self.parts:
            for receiver in [*self.away, self.online, *self.members, self.follower, self.watcher]:
                receiver.connect(broker.mqtt)
                receiver.subscribe()
                receiver.client.disconnect()
            self.subscriber.set_up(broker.mqtt)

    def declare(self, port):
        connection, channel = connect(port)
        bindings = [("crash.all", EXCHANGE, "#"), ("crash.some", EXCHANGE, "*.even"),
                    ("crash.tree", "amq.topic", "crash.#")]
        if "routes" in self.parts:
            bindings += [("crash.mirrored", MIRROR, "#"), ("crash.records", RECORDS, "#")]
        for queue, exchange, key in bindings:
            if exchange != "amq.topic":
                channel.call("exchange.declare", exchange=exchange, type="topic", durable=True)
            channel.call("queue.declare", queue=queue, durable=True)
            channel.call("queue.bind", queue=queue, exchange=exchange, routing_key=key)
        connection.close()

    # -- meanwhile ------------------------------------------------------------------------------------------------

    def parties(self, broker):
        """(who takes part, the port of its protocol)."""
        found = []
        if "mqtt" in self.parts:
            found += [(party, broker.mqtt) for party in [*self.publishers, *self.keepers, self.online]]
        if "strict" in self.parts and "mqtt" in self.parts:
            found += [(party, broker.mqtt) for party in [*self.members, self.subscriber, self.mortals]]
        if "amqp" in self.parts:
            found += [(party, broker.amqp) for party in [*self.confirmed, self.some]]
        if "amqp" in self.parts and "strict" in self.parts:
            found.append((self.declarer, broker.amqp))
        if "kafka" in self.parts:
            found += [(party, broker.kafka) for party in [*self.producers, self.reader]]
        if "kafka" in self.parts and "strict" in self.parts:
            found.append((self.administrator, broker.kafka))
        return found

    # -- after a restart, before anybody is back ------------------------------------------------------------------

    def verify(self, broker, whole=False):
        """What can be seen without taking it away. `whole`: logs are read from their beginnings."""
        if "mqtt" in self.parts:
            retained.check(self.history, broker.mqtt, self.keepers)
        if "strict" in self.parts and "mqtt" in self.parts:
            self.subscriber.verify(broker.mqtt)
        if "strict" in self.parts and "amqp" in self.parts:
            self.declarer.verify(broker.amqp)
        if "log" in self.parts and exists(broker.kafka, "crash"):
            self.read_log(broker, "crash", whole)
        if "kafka" in self.parts:
            self.read_log(broker, LOG, whole)
            self.reader.verify(broker.kafka)
            if "strict" in self.parts:
                self.administrator.verify(broker.kafka)

    def read_log(self, broker, log, whole):
        read_log(self.history, broker.kafka, log, 3, whole)
        self.history.books.settle(log)
        self.history.books.settle_log(log)

    def drain(self, broker):
        """Takes what waits in every place but the session that is online, and compares."""
        books, read = self.history.books, set()
        self.marks += 1
        mark = self.mark(broker)
        for receiver in self.away:
            receiver.drain(broker.mqtt, lambda receiver=receiver: mark in receiver.marks)
            read.add(receiver.name)
        for consumer in [*self.queues, *([self.some] * bool(self.queues))]:
            consumer.drain(broker.amqp, lambda consumer=consumer: consumer.mark == mark)
            read.add(consumer.name)
        if "mqtt" in self.parts and "strict" in self.parts:
            drain(self.members, broker.mqtt)
            read.add("team")
            self.watcher.drain(broker.mqtt, lambda: mark in self.watcher.marks)
        if "log" in self.parts:
            # Read again: the mark of this drain may have created the log.
            self.read_log(broker, "crash", False)
            read.add("crash")
        if "kafka" in self.parts:
            read |= self.drain_records(broker)
        for name in read - {"crash", LOG}:
            books.settle(name)
        books.settle_pairs(read)

    def mark(self, broker):
        """A message behind everything that was published, into every place."""
        text = f"mark:{self.marks}:"
        if "mqtt" in self.parts:
            with Client(broker.mqtt, "marker", timeout=WAIT) as client:
                client.connect()
                client.publish("crash/mark/data", text, qos=1)
                client.publish("wills/mark", text, qos=1)
                client.disconnect()
        if "amqp" in self.parts:
            connection, channel = connect(broker.amqp)
            channel.select().confirmed(EXCHANGE, "mark.even", text, PERSISTENT)
            if "mqtt" not in self.parts:
                channel.confirmed("amq.topic", "crash.mark.data", text, PERSISTENT)
            connection.close()
        return self.marks

    def drain_records(self, broker):
        """What routes carry out of the log comes behind it, but it comes."""
        places = self.history.books.places
        read, wanted = {LOG}, places[LOG].seen

        def everything(name):
            seen = places[name].seen
            return lambda: all(len(seen.get(who, ())) >= len(numbers) for who, numbers in wanted.items())

        if "mqtt" in self.parts:
            self.follower.drain(broker.mqtt, everything("follower"))
            read.add("follower")
        if "routes" in self.parts:
            self.records.drain(broker.amqp, everything("crash.records"))
            read.add("crash.records")
        return read

    # -- at the end -----------------------------------------------------------------------------------------------

    def finish(self, broker):
        """Everything in flight completes; then each place holds exactly what was sent."""
        for publisher in [*self.publishers, *self.keepers]:
            publisher.finish(broker.mqtt)
        for publisher in self.confirmed:
            publisher.finish(broker.amqp)
        for producer in self.producers if "kafka" in self.parts else []:
            producer.finish(broker.kafka)
        books = self.history.books
        for source in books.sources.values():
            if len(source.acked) != source.sent:
                books.wrong("lost", source.name, "not everything that was sent is acknowledged at the end")
        if "mqtt" in self.parts and "strict" in self.parts:
            self.mortals.wait_for_wills()
        self.verify(broker, whole=True)
        self.drain(broker)
        if "mqtt" in self.parts:
            self.online.drain(broker.mqtt, lambda: self.marks in self.online.marks)
            books.settle("online")
        books.settle_wills()
        if "amqp" in self.parts:
            # Acknowledged and stopped in peace: nothing of it comes back.
            broker.restart()
            queues = [consumer.name for consumer in self.queues] + ["crash.some"]
            left = {queue: count for queue, count in counts(broker.amqp, queues).items() if count}
            for queue, count in left.items():
                books.wrong("doubled", queue, f"{count} acknowledged messages are back after a clean stop")


def key_of(number):
    return "am-a.odd" if number % 2 else "am-a.even"
