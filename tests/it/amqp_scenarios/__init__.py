"""Small AMQP scenarios that any 0-9-1 server can play: each does something and notes plain observations.

A scenario is a function of a `Stage`: it opens connections, uses names that begin with its own, and notes what it
saw under labels: codes and texts, counts, orders, flags. `play` runs one against a port and returns its notes, so
that two servers can be compared (test_amqp_side_by_side.py). Nothing here judges.
"""

import importlib
import re

from amqpcodec import Method
from harness import wait_until
from rawamqp import Closed, Connection, Refused, Timeout

SCENARIOS = {}
# What a server makes up: replaced before anything is compared.
MADE_UP = [
    (re.compile(r"amq\.gen-[\w.-]+"), "amq.gen-*"),
    (re.compile(r"amq\.ctag-[\w.-]+"), "amq.ctag-*"),
    (re.compile(r"amq\.rabbitmq\.reply-to\.[\w.+/=-]+"), "amq.rabbitmq.reply-to.*"),
]


def scenario(function):
    """Registers a scenario under its function's name."""
    assert function.__name__ not in SCENARIOS, function.__name__
    SCENARIOS[function.__name__] = function
    return function


def plain(value):
    """Observations as JSON knows them, without what a server makes up."""
    if isinstance(value, str):
        for pattern, word in MADE_UP:
            value = pattern.sub(word, value)
        return value
    if isinstance(value, (bytes, bytearray)):
        return plain(bytes(value).decode(errors="backslashreplace"))
    if isinstance(value, dict):
        return {plain(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(plain(inner) for inner in value)
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if isinstance(value, Method):
        return [value.name, plain(value.arguments)]
    return value


def outcome(work):
    """What `work` returns, or how the server refused it: [scope, code, text, method]."""
    try:
        value = work()
    except Refused as refused:
        return [refused.scope, refused.code, refused.text, refused.method]
    except Closed:
        return "socket closed"
    except Timeout:
        return "silence"
    return "ok" if value is None else value


def ending(connection):
    """How a connection ends that should be ended by now: the code, or a socket closed without a word."""

    def read():
        while True:
            connection.receive(0)

    return outcome(read)


class Stage:
    """What a scenario works with."""

    def __init__(self, port, name):
        self.port, self.scenario, self.notes = port, name, {}
        self.opened, self.main, self.leftovers = [], None, []

    def note(self, label, value):
        assert label not in self.notes, f"{label} twice"
        self.notes[label] = plain(value)

    def name(self, word):
        return f"{self.scenario}.{word}"

    def raw(self, **options):
        """A socket without a handshake."""
        self.opened.append(Connection(self.port, **options))
        return self.opened[-1]

    def connect(self, **options):
        return self.raw().open(**options)

    def channel(self):
        """A new channel on the scenario's main connection, which is opened anew when it was closed."""
        if self.main is None or self.main.dead:
            self.main = self.connect()
        return self.main.channel()

    def try_(self, label, work):
        """Notes what `work` returns, or the refusal."""
        self.note(label, outcome(work))

    def ask(self, label, method, answer=None, channel=None, **arguments):
        """Notes what one method is answered with: "ok" for an empty answer, else its arguments."""
        channel = channel or self.channel()
        said = outcome(lambda: channel.call(method, answer=answer, **arguments))
        if isinstance(said, Method):
            said = said.arguments or "ok"
        self.note(label, said)
        return said

    def after(self, label, channel, send):
        """Notes what becomes of something that has no answer: "ok" if the channel still lives after it."""

        def work():
            send(channel)
            channel.call("channel.flow", active=True)

        self.try_(label, work)

    def queue(self, word, channel=None, **options):
        """Declares a queue that goes when the scenario ends."""
        name = self.name(word)
        (channel or self.channel()).call("queue.declare", queue=name, **options)
        self.leftovers.append(("queue.delete", {"queue": name}))
        return name

    def exchange(self, word, kind="topic", channel=None, **options):
        name = self.name(word)
        (channel or self.channel()).call("exchange.declare", exchange=name, type=kind, **options)
        self.leftovers.append(("exchange.delete", {"exchange": name}))
        return name

    def exists(self, kind, name):
        """Whether a queue or an exchange is there."""
        asked = outcome(lambda: self.channel().call(f"{kind}.declare", passive=True, **{kind: name}))
        return isinstance(asked, Method)

    def count(self, queue):
        """(messages, consumers) of a queue."""
        declared = self.channel().call("queue.declare", queue=queue, passive=True)
        return [declared.message_count, declared.consumer_count]

    def bodies(self, queue):
        """Takes everything that is ready in a queue, in order, for good."""
        channel, found = self.channel(), []
        while (got := channel.get(queue, no_ack=True)).name == "basic.get-ok":
            found.append(got.body.decode())
        channel.close()
        return found

    def fill(self, queue, *bodies, **properties):
        """Puts messages into a queue and waits until they are there."""
        channel = self.channel().select()
        for body in bodies:
            channel.publish("", queue, body, properties)
        channel.confirms()
        channel.close()

    def until(self, condition, what):
        return wait_until(condition, f"{self.scenario}: {what}")

    def close(self):
        for connection in self.opened:
            if connection is not self.main:
                connection.cut()
        for method, arguments in reversed(self.leftovers):
            outcome(lambda: self.channel().call(method, **arguments))  # noqa: B023 – called at once
        if self.main:
            self.main.cut()


def play(name, port):
    """Runs one scenario; returns its notes in their order."""
    stage = Stage(port, name)
    try:
        SCENARIOS[name](stage)
    except (Refused, Closed, Timeout) as error:
        stage.note("and then it ended", f"{type(error).__name__}: {error}")
    finally:
        stage.close()
    return stage.notes


for _part in ("connection", "exchanges", "queues", "limits", "consumers", "publishing"):
    importlib.import_module(f"amqp_scenarios.{_part}")
