"""AMQP publishers with confirms and consumers with acknowledgements, of durable queues and persistent messages."""

import contextlib

from crash.party import WAIT, Party, read_text, text_of
from rawamqp import Closed, Connection, Refused, Timeout

PERSISTENT = {"delivery_mode": 2}
SHUTTING_DOWN = 320
# How often a client leaves its connection behind, and gives a message back, by deliveries.
RESTLESS, UNWILLING = 1 / 400, 1 / 100


class Goodbye(Closed):
    """The broker was asked to stop, and says so."""


def connect(port):
    """A connection and its one channel."""
    connection = Connection(port, timeout=WAIT).open()
    return connection, connection.channel()


class AmqpParty(Party):
    """One connection with one channel."""

    timeouts, ends = (Timeout,), (Closed,)

    def __init__(self, history, name):
        self.history, self.name = history, name
        self.connection = self.channel = self.rng = None

    def open(self, port):
        self.connection, self.channel = connect(port)
        self.history.remark(self.name, "connected")

    def hang_up(self):
        connection, self.connection, self.channel = self.connection, None, None
        return connection

    @contextlib.contextmanager
    def goodbye(self):
        """Takes the broker's own end for a closed connection."""
        try:
            yield
        except Refused as refused:
            self.history.check(refused.code == SHUTTING_DOWN, self.name, str(refused))
            raise Goodbye(str(refused)) from refused


class AmqpPublisher(AmqpParty):
    """A window of unconfirmed messages; after a cut those that were not confirmed are published again, in order."""

    def __init__(self, history, name, exchange, key, window):
        super().__init__(history, name)
        self.exchange, self.key, self.window = exchange, key, window
        self.sent, self.flight, self.tags, self.tag = 0, [], {}, 0

    def publish(self, number):
        self.tag += 1
        self.tags[self.tag] = number
        self.channel.publish(self.exchange, self.key(number), text_of(self.name, number), PERSISTENT)

    def connect(self, port):
        self.open(port)
        self.channel.select()
        self.tags, self.tag = {}, 0
        for number in self.flight:
            self.history.note(self.name, "again", number)
            self.publish(number)

    def fill(self):
        while len(self.flight) < self.window:
            self.flight.append(self.sent)
            self.history.note(self.name, "sent", self.sent)
            self.sent += 1
            self.publish(self.flight[-1])

    def handle(self, event):
        """How many messages this confirms."""
        self.history.check(event.name == "basic.ack", self.name, f"{event}")
        self.history.check(event.delivery_tag in self.tags, self.name, f"confirmed twice or never sent: {event}")
        done = [tag for tag in self.tags if tag == event.delivery_tag or event.multiple and tag < event.delivery_tag]
        for tag in done:
            number = self.tags.pop(tag)
            self.flight.remove(number)
            self.history.note(self.name, "acked", number)
        return len(done)

    def step(self, rng, on_ack):
        with self.goodbye():
            self.fill()
            for _ in range(self.handle(self.channel.next(timeout=0.1))):
                on_ack()
        return "leave" if rng.random() < RESTLESS else None

    def finish(self, port):
        """Connects and waits for the confirms that are missing, sending nothing new."""
        self.connect(port)
        while self.flight:
            self.handle(self.channel.next())
        self.connection.close()


class AmqpConsumer(AmqpParty):
    """Takes a queue's messages, acknowledges them some at a time, gives a few back, now and then just leaves.

    Its name is its queue's. Now and then it has something durable answered: what it acknowledged before is on disk
    then.
    """

    def __init__(self, history, name):
        super().__init__(history, name)
        self.held, self.mark = [], 0

    def connect(self, port):
        self.open(port)
        self.history.note(self.name, "opened")
        self.channel.call("basic.qos", prefetch_count=100)
        self.channel.call("basic.consume", queue=self.name, consumer_tag=self.name)
        self.held = []

    def take(self, event):
        self.history.check(event.name == "basic.deliver", self.name, f"{event}")
        who, number = read_text(self.history, self.name, event.body.decode())
        if who == "mark":
            self.mark = max(self.mark, number)
        else:
            self.history.note(self.name, "got", who, number, event.redelivered)
        self.held.append((event.delivery_tag, who, number))

    def acknowledge(self):
        """Acknowledges everything held."""
        if self.held:
            self.channel.send("basic.ack", delivery_tag=self.held[-1][0], multiple=True)
            for _, who, number in self.held:
                if who != "mark":
                    self.history.note(self.name, "settled", who, number)
            self.held = []

    def barrier(self):
        """Has something durable answered on this channel."""
        queue = f"barrier.{self.name}"
        self.channel.call("queue.declare", queue=queue, durable=True)
        self.channel.call("queue.delete", queue=queue)
        self.history.note(self.name, "barrier")

    def step(self, rng, on_ack):
        with self.goodbye():
            try:
                self.take(self.channel.next(timeout=0.1))
            except Timeout:
                self.acknowledge()
                return None
            dice = rng.random()
            if dice < UNWILLING:
                self.give_back(self.held.pop(rng.randrange(len(self.held))))
            elif len(self.held) >= 20 or dice > 0.9:
                self.acknowledge()
            if rng.random() < 1 / 200:
                self.barrier()
        return "leave" if rng.random() < RESTLESS else None

    def give_back(self, held):
        tag, who, number = held
        if who != "mark":
            self.history.note(self.name, "gave_back", who, number)
        self.channel.send("basic.nack", delivery_tag=tag, requeue=True)

    def drain(self, port, enough):
        """Takes everything until `enough()`; leaves an empty queue, its acknowledgements on disk."""
        self.connect(port)
        try:
            while not enough():
                self.take(self.channel.next())
                if len(self.held) >= 50:
                    self.acknowledge()
        except Timeout:
            self.history.note(self.name, "wrong", "lost", "not everything that was sent before is in the queue")
        self.acknowledge()
        declared = self.channel.call("queue.declare", queue=self.name, passive=True)
        left = (declared.message_count, declared.consumer_count)
        if left != (0, 1):
            self.history.note(self.name, "wrong", "unknown", f"{left[0]} messages, {left[1]} consumers behind the mark")
        self.barrier()
        self.connection.close()


def counts(port, queues):
    """How many messages each queue holds."""
    connection, channel = connect(port)
    found = {queue: channel.call("queue.declare", queue=queue, passive=True).message_count for queue in queues}
    connection.close()
    return found
