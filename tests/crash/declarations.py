"""Durable queues, exchanges, bindings and subscriptions come and go; what was answered is so after a restart.

Each is a register: there or not. Nothing of it carries messages but the probes that ask whether a binding holds.
"""

from crash.amqp import AmqpParty, connect
from crash.mqtt import session
from crash.party import WAIT
from rawamqp import Closed as AmqpClosed
from rawamqp import Refused
from rawmqtt import Client, Closed, Timeout

MOST = 12


class Declarer(AmqpParty):
    """Declares an exchange, a queue and a binding between them, and takes away one of these now and then."""

    ends = (AmqpClosed,)

    def __init__(self, history, name="declarer"):
        super().__init__(history, name)
        # Number of a set of three -> which of them are believed to be there; what is to be looked up.
        self.sets, self.number, self.asked = {}, 0, set()

    def connect(self, port):
        self.open(port)

    def change(self, name, there, *call, **values):
        self.asked.add(name)
        self.history.note(name, "asked", "declared", there)
        self.channel.call(*call, **values)
        self.history.note(name, "answered", "declared", there)

    def step(self, rng, on_ack):
        with self.goodbye():
            if len(self.sets) < MOST and rng.random() < 0.6 or not self.sets:
                self.declare()
            else:
                self.take_away(rng, rng.choice(sorted(self.sets)))

    def declare(self):
        self.number += 1
        exchange, queue, binding = names(self.number)
        self.sets[self.number] = {exchange, queue, binding}
        self.change(exchange, True, "exchange.declare", exchange=exchange, type="direct", durable=True)
        self.change(queue, True, "queue.declare", queue=queue, durable=True)
        self.change(binding, True, "queue.bind", queue=queue, exchange=exchange, routing_key="probe")

    def take_away(self, rng, number):
        exchange, queue, binding = names(number)
        there = self.sets[number]
        choice = rng.choice(sorted(there))
        there.discard(choice)
        if choice == binding:
            self.change(binding, None, "queue.unbind", queue=queue, exchange=exchange, routing_key="probe")
            return
        # A binding goes with either of its ends.
        self.history.note(binding, "asked", "declared", None)
        if choice == queue:
            self.change(queue, None, "queue.delete", queue=queue)
        else:
            self.change(exchange, None, "exchange.delete", exchange=exchange)
        self.history.note(binding, "answered", "declared", None)
        there.discard(binding)
        if not there:
            del self.sets[number]

    def verify(self, port):
        """After a restart, before anybody is back: what was asked for lately and what is there, one by one."""
        numbers = {int(name.rsplit(".", 1)[1]) for name in self.asked} | set(self.sets)
        self.asked.clear()
        for number in sorted(numbers):
            self.look_up(port, number)

    def look_up(self, port, number):
        exchange, queue, binding = names(number)
        found = {exchange: self.passive(port, "exchange.declare", exchange=exchange),
                 queue: self.passive(port, "queue.declare", queue=queue)}
        if not all(found.values()):
            found[binding] = None
        else:
            connection, channel = connect(port)
            channel.select().confirmed(exchange, "probe", "bound?", mandatory=True)
            found[binding] = None if channel.kept else True
            channel.call("queue.purge", queue=queue)
            connection.close()
        for name, there in found.items():
            self.history.note(name, "found", "declared", there)
        there = {name for name, value in found.items() if value}
        if there:
            self.sets[number] = there
        else:
            self.sets.pop(number, None)

    def passive(self, port, method, **values):
        connection, channel = connect(port)
        try:
            channel.call(method, passive=True, **values)
            return True
        except Refused as refused:
            self.history.check(refused.code == 404, self.name, str(refused))
            return None
        finally:
            connection.close()


def names(number):
    return f"declared.exchange.{number}", f"declared.queue.{number}", f"declared.binding.{number}"


class Subscriber:
    """A durable session that subscribes and unsubscribes; after a restart each filter is tried by a message."""

    TOPICS, LAST = 10, "declared/last"

    def __init__(self, history, name="subscriber"):
        self.history, self.name = history, name
        self.there, self.client, self.probe = set(), None, 0

    def set_up(self, port):
        with session(port, self.name, 5) as client:
            client.connect()
            client.subscribe((self.LAST, 1))
            client.disconnect()

    def run(self, port, stop, rng, on_ack=lambda: None):
        try:
            self.client = session(port, self.name, 5)
            present = self.client.connect().session_present
            self.history.check(present, self.name, "the session is gone")
            while not stop.is_set():
                self.change(rng.randrange(self.TOPICS))
        except (Closed, Timeout, OSError):
            pass
        finally:
            if self.client:
                self.client.cut()

    def change(self, number):
        topic = f"declared/{number}"
        wanted = None if topic in self.there else True
        self.history.note(topic, "asked", "declared", wanted)
        if wanted:
            ack = self.client.subscribe((topic, 1))
            self.there.add(topic)
        else:
            ack = self.client.unsubscribe(topic)
            self.there.discard(topic)
        self.history.check(all(reason < 0x80 for reason in ack.reasons), self.name, f"{ack}")
        self.history.note(topic, "answered", "declared", wanted)

    def verify(self, port):
        """A message to each topic, one to the topic that is always subscribed to; the session tells what came."""
        topics = [f"declared/{number}" for number in range(self.TOPICS)]
        self.probe += 1
        text = str(self.probe)
        with Client(port, "prober", timeout=WAIT) as prober:
            prober.connect()
            for topic in [*topics, self.LAST]:
                prober.publish(topic, text, qos=1)
            prober.disconnect()
        got = set()
        with session(port, self.name, 5) as client:
            client.connect()
            while (self.LAST, text) not in got:
                came = client.message()
                got.add((came.topic, came.payload.decode()))
            client.disconnect()
        self.there = {topic for topic in topics if (topic, text) in got}
        for topic in topics:
            self.history.note(topic, "found", "declared", True if topic in self.there else None)
