"""The AMQP parties of the crash smoke: publishers with confirms, consumers with acks, declarations.

    am-a ── crash.topic ──┬─ "#" ──────► crash.all    drained now and then
                          └─ "*.even" ─► crash.some   consumed all the time
    am-b ── amq.topic ────┬─ "crash.#" ► crash.tree   drained now and then; MQTT's crash/# comes here as well,
                          └─ the MQTT tree            and am-b's messages go to MQTT's sessions and the log

All queues are durable, all messages persistent. Promises, over any number of kill -9:

- a confirmed message is in every queue it was routed to, whole; each publisher's messages come in their order, to one
  consumer alone all of them, to a connection among several what is delivered for the first time;
- what was acknowledged may come again only while its ack was not durable, and then says that it is redelivered; once
  something later was answered, it never comes again;
- what one publish put into several places is in all of them or in none;
- a queue whose declare-ok came is there, one whose delete-ok came is not.
"""

import contextlib

from rawamqp import Closed, Connection, Refused, Timeout

PERSISTENT = {"delivery_mode": 2}
EXCHANGE = "crash.topic"
QUEUES = {"crash.all": (EXCHANGE, "#"), "crash.some": (EXCHANGE, "*.even"), "crash.tree": ("amq.topic", "crash.#")}
WAIT = 30.0
# How often a consumer leaves its connection behind, and gives a message back, by deliveries.
RESTLESS, UNWILLING = 1 / 400, 1 / 100


class Fault(AssertionError):
    """A promise was broken."""


def check(condition, text):
    if not condition:
        raise Fault(text)


def even(number):
    return number % 2 == 0


def connect(port):
    """A connection and its one channel."""
    connection = Connection(port, timeout=WAIT).open()
    return connection, connection.channel()


def declare(port):
    connection, channel = connect(port)
    channel.call("exchange.declare", exchange=EXCHANGE, type="topic", durable=True)
    for queue, (exchange, key) in QUEUES.items():
        channel.call("queue.declare", queue=queue, durable=True)
        channel.call("queue.bind", queue=queue, exchange=exchange, routing_key=key)
    connection.close()


def counts(port):
    connection, channel = connect(port)
    found = {queue: channel.call("queue.declare", queue=queue, passive=True).message_count for queue in QUEUES}
    connection.close()
    return found


def mark(port, text):
    """A message behind everything that am-a published."""
    connection, channel = connect(port)
    channel.select().confirmed(EXCHANGE, "mark.even", text, PERSISTENT)
    connection.close()


def barrier(port):
    """Has something durable answered: what was sent to the broker before is on disk then."""
    connection, channel = connect(port)
    channel.call("queue.declare", queue="crash.barrier", durable=True)
    channel.call("queue.delete", queue="crash.barrier")
    connection.close()


class Party:
    """Someone with connections that the broker's end cuts; `step` is one round of what it does."""

    def run(self, port, stop, *dice):
        left = []
        self.connection = None
        try:
            self.connect(port)
            while not stop.is_set():
                with contextlib.suppress(Timeout):
                    if self.step(*dice) == "leave":
                        left.append(self.connection)
                        self.connect(port)
        except (Closed, OSError):
            pass
        except Refused as refused:
            # The goodbye of a broker that was asked to stop.
            check(refused.code == 320, f"{self.name}: {refused}")
        finally:
            for connection in [*left, *filter(None, [self.connection])]:
                connection.cut()


class AmqpPublisher(Party):
    """A window of unconfirmed messages; after a cut those that were not confirmed are published again, in order."""

    qos = 1

    def __init__(self, name, exchange, key, window, kind, padding):
        self.name, self.exchange, self.key, self.window, self.kind = name, exchange, key, window, kind
        self.padding = padding
        self.sent, self.acked, self.resent = 0, set(), set()
        self.flight, self.tags, self.tag = [], {}, 0
        self.connection = self.channel = None

    def publish(self, number):
        self.tag += 1
        self.tags[self.tag] = number
        self.channel.publish(self.exchange, self.key(number), f"{self.name}:{number}:{self.padding(number)}",
                             PERSISTENT)

    def connect(self, port):
        self.connection, self.channel = connect(port)
        self.channel.select()
        self.tags, self.tag = {}, 0
        self.resent.update(self.flight)
        for number in self.flight:
            self.publish(number)

    def fill(self):
        while len(self.flight) < self.window:
            self.flight.append(self.sent)
            self.sent += 1
            self.publish(self.flight[-1])

    def handle(self, event):
        check(event.name == "basic.ack", f"{self.name}: {event}")
        check(event.delivery_tag in self.tags, f"{self.name}: confirmed twice or never sent: {event}")
        done = [tag for tag in self.tags if tag == event.delivery_tag or event.multiple and tag < event.delivery_tag]
        for tag in done:
            number = self.tags.pop(tag)
            self.flight.remove(number)
            self.acked.add(number)
        return len(done)

    def step(self, rng, on_ack):
        self.fill()
        for _ in range(self.handle(self.channel.next(timeout=0.2))):
            on_ack()
        return "leave" if rng.random() < RESTLESS else None

    def finish(self, port):
        """Connects and waits for the confirms that are missing, sending nothing new."""
        self.connect(port)
        while self.flight:
            self.handle(self.channel.next())
        self.connection.close()


class AmqpConsumer(Party):
    """Takes a queue's messages, acknowledges them some at a time, gives a few back, now and then just leaves."""

    def __init__(self, name, queue, publishers):
        self.name, self.queue = name, queue
        # Who may have put a message in twice: by publisher's name.
        self.publishers = {publisher.name: publisher for publisher in publishers}
        self.got, self.seen, self.settled, self.done = [], set(), set(), set()
        self.again = 0
        self.connection = self.channel = None
        self.held = []

    def connect(self, port):
        self.connection, self.channel = connect(port)
        self.latest = {}
        self.channel.call("basic.qos", prefetch_count=100)
        self.channel.call("basic.consume", queue=self.queue, consumer_tag=self.name)
        self.held = []

    def take(self, event):
        check(event.name == "basic.deliver", f"{self.name}: {event}")
        text = event.body.decode()
        name, number, _ = text.split(":", 2)
        place = (name, int(number))
        publisher = self.publishers.get(name)
        doubled = publisher is not None and publisher.qos == 1 and place[1] in publisher.resent
        if not event.redelivered and not doubled:
            check(place not in self.seen, f"{self.name}: {place} comes again and does not say that it is redelivered")
            before = self.latest.get(name, -1)
            check(before < place[1], f"{self.name}: {name} out of order: {place[1]} after {before}")
            self.latest[name] = place[1]
        check(place not in self.done or doubled, f"{self.name}: {place} comes again, long after its ack")
        self.again += place in self.settled and not doubled
        self.seen.add(place)
        self.got.append(text)
        self.held.append((event.delivery_tag, place))
        return text

    def settle(self):
        """Acknowledges everything held."""
        if self.held:
            self.channel.send("basic.ack", delivery_tag=self.held[-1][0], multiple=True)
            self.settled.update(place for _, place in self.held)
            self.held = []

    def step(self, rng):
        try:
            self.take(self.channel.next(timeout=0.2))
        except Timeout:
            self.settle()
            return None
        dice = rng.random()
        if dice < UNWILLING:
            tag, place = self.held.pop(rng.randrange(len(self.held)))
            self.channel.send("basic.nack", delivery_tag=tag, requeue=True)
        elif len(self.held) >= 20 or dice > 0.9:
            self.settle()
        return "leave" if rng.random() < RESTLESS else None

    def drain(self, port, text):
        """Takes everything up to the message `text`, which was published last, and leaves an empty queue."""
        self.connect(port)
        while self.take(self.channel.next()) != text:
            if len(self.held) >= 50:
                self.settle()
        self.settle()
        declared = self.channel.call("queue.declare", queue=self.queue, passive=True)
        check((declared.message_count, declared.consumer_count) == (0, 1), f"{self.queue}: {declared} behind {text}")
        self.connection.close()


class Declarer(Party):
    """Declares and deletes durable queues, and knows which of them must be there."""

    def __init__(self, name):
        self.name = name
        self.there, self.gone, self.doubt = set(), set(), set()
        self.number = 0
        self.connection = self.channel = None

    def connect(self, port):
        self.connection, self.channel = connect(port)

    def step(self, rng):
        if len(self.there) > 5 and rng.random() < 0.5:
            name = rng.choice(sorted(self.there))
            self.doubt.add(name)
            self.there.discard(name)
            self.channel.call("queue.delete", queue=name)
            self.gone.add(name)
        else:
            self.number += 1
            name = f"crash.declared.{self.number}"
            self.doubt.add(name)
            self.channel.call("queue.declare", queue=name, durable=True)
            # Both are answered in order, so the binding's answer speaks for the queue too.
            self.channel.call("queue.bind", queue=name, exchange="amq.direct", routing_key=name)
            self.there.add(name)
        self.doubt.discard(name)

    def verify(self, port):
        """After a restart: what was answered is so; what was in doubt is looked up."""
        for name in sorted(self.there | self.gone | self.doubt):
            connection, channel = connect(port)
            try:
                channel.call("queue.declare", queue=name, passive=True)
                present = True
            except Refused as refused:
                check(refused.code == 404, f"{name}: {refused}")
                present = False
            if name in self.there:
                check(present, f"{name} was declared and is gone")
                channel.select().confirmed("amq.direct", name, "bound?", mandatory=True)
                check(not channel.kept, f"{name} lost its binding")
                channel.call("queue.purge", queue=name)
            check(not (present and name in self.gone), f"{name} was deleted and is back")
            if name in self.doubt and present:
                channel.call("queue.delete", queue=name)
            connection.close()
        self.gone.update(self.doubt)
        self.doubt.clear()
        # Long gone is gone: what must not come back is looked up a few times only.
        self.gone = set(sorted(self.gone)[-10:])


class Amqp:
    """All of them, for the smoke."""

    def __init__(self, padding, mqtt_publishers, strict):
        """`strict`: answers to declarations, and acks behind a confirm, are on disk; not so with RabbitMQ."""
        self.first = AmqpPublisher("am-a", EXCHANGE, lambda number: f"am-a.{'even' if even(number) else 'odd'}", 50,
                                   "exchange", padding)
        self.second = AmqpPublisher("am-b", "amq.topic", lambda number: "crash.am-b.data", 20, "data", padding)
        self.publishers = [self.first, self.second]
        everybody = [*self.publishers, *mqtt_publishers]
        self.strict = strict
        self.all, self.some, self.tree = (AmqpConsumer(name, f"crash.{name}", everybody)
                                          for name in ("all", "some", "tree"))
        self.declarer = Declarer("declarer")
        self.online = [self.some] + [self.declarer] * strict

    def drain(self, port, text, tree):
        """Empties all queues up to their marks; `tree` says whether the mark came over MQTT already."""
        mark(port, text)
        if not tree:
            connection, channel = connect(port)
            channel.select().confirmed("amq.topic", "crash.mark.data", text, PERSISTENT)
            connection.close()
        consumers = (self.all, self.some, self.tree)
        for consumer in consumers:
            consumer.drain(port, text)
        barrier(port)
        for consumer in consumers if self.strict else ():
            consumer.done |= consumer.settled
        evens = {text for text in self.all.got if even(int(text.split(":")[1])) or text.startswith("mark:")}
        check(evens == set(self.some.got), "not all or none: in crash.all only "
              f"{sorted(evens - set(self.some.got))[:3]}, in crash.some only {sorted(set(self.some.got) - evens)[:3]}")

    def summary(self):
        held = ", ".join(f"{len(consumer.got)} in {consumer.queue}" for consumer in (self.all, self.some, self.tree))
        again = self.all.again + self.some.again + self.tree.again
        return f"AMQP: {held}, {again} came again after their ack, {self.declarer.number} queues declared"
