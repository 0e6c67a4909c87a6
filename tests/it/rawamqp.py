"""A small blocking AMQP 0-9-1 client that hides nothing.

Real clients mend, reorder or hide what a broker does; this one shows every method as it came, sends what it is
told to (malformed frames as well), and acknowledges only when asked. All waiting has a deadline.

    with Connection(port) as connection:
        channel = connection.channel()
        channel.call("queue.declare", queue="q")
        channel.publish("", "q", b"body")
        channel.next("basic.deliver")
"""

import contextlib
import socket
import ssl as tls_module
import struct
import time
from collections import deque

from amqpcodec import (BODY, CAPABILITIES, CONTENT, END, HEADER, HEARTBEAT, METHOD, NAMES, PROTOCOL, decode_method,
                       decode_properties, method_frame, publish_frames, raw, table)


class Closed(Exception):
    """The socket was closed by the broker."""


class Timeout(Exception):
    """Nothing came before the deadline."""


class Refused(Exception):
    """The broker closed the channel or the connection, with a code."""

    def __init__(self, scope, method):
        self.scope, self.code, self.text = scope, method.code, method.text
        self.method = NAMES.get((method.class_id, method.method_id), f"{method.class_id}.{method.method_id}")
        super().__init__(f"{scope} closed: {self.code} {self.text} ({self.method})")


class Connection:
    """One TCP connection; `open()` does the handshake, so that tests may do their own instead."""

    def __init__(self, port, timeout=20.0, tls=None, host="127.0.0.1"):
        self.timeout = timeout
        self.socket = socket.create_connection((host, port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        # `dead` once the broker has closed it, with a code or without.
        self.data, self.dead = bytearray(), False
        self.events = {}
        self.partial = {}
        self.heartbeats = 0
        self.frame_max = 131072
        self.channels = 0
        self.start = self.tune = None

    # -- frames -----------------------------------------------------------------------------------------------

    def send(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            # What the broker said before it closed is still to be read.
            pass

    def method(self, channel, name, **values):
        self.send(method_frame(channel, name, **values))

    def frame(self, timeout=None):
        """The next frame: (type, channel, payload)."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            if len(self.data) >= 7:
                kind, channel, size = struct.unpack_from("!BHI", self.data)
                if len(self.data) >= size + 8:
                    payload, end = bytes(self.data[7:7 + size]), self.data[7 + size]
                    assert end == END, f"frame end {end:#x}"
                    del self.data[:size + 8]
                    return kind, channel, payload
            self._read(deadline)

    def _read(self, deadline):
        left = deadline - time.monotonic()
        if left <= 0:
            raise Timeout(f"nothing within {self.timeout} s")
        self.socket.settimeout(left)
        try:
            data = self.socket.recv(1 << 16)
        except (TimeoutError, tls_module.SSLWantReadError):
            raise Timeout(f"nothing within {self.timeout} s") from None
        except (ConnectionResetError, BrokenPipeError, tls_module.SSLError):
            data = b""
        if not data:
            self.dead = True
            raise Closed("closed by the broker")
        self.data += data

    def receive(self, channel, timeout=None):
        """The next method of a channel (with its content); those of other channels are kept for them."""
        waiting = self.events.setdefault(channel, deque())
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while not waiting:
            self._take(*self.frame(max(deadline - time.monotonic(), 0)))
        event = waiting.popleft()
        if event.name == "channel.close":
            self.method(channel, "channel.close-ok")
            raise Refused("channel", event)
        return event

    def _take(self, kind, channel, payload):
        if kind == HEARTBEAT:
            assert channel == 0 and payload == b"", "a heartbeat belongs to channel 0 and is empty"
            self.heartbeats += 1
            return
        if kind == METHOD:
            event = decode_method(payload)
            if event.name == "connection.close":
                self.method(0, "connection.close-ok")
                self.dead = True
                raise Refused("connection", event)
            assert channel not in self.partial, f"{event.name} amid content"
            if event.name in CONTENT:
                self.partial[channel] = (event, None)
                return
        else:
            event = self._content(kind, channel, payload)
            if event is None:
                return
        self.events.setdefault(channel, deque()).append(event)

    def _content(self, kind, channel, payload):
        assert len(payload) + 8 <= self.frame_max, f"a frame of {len(payload) + 8} bytes"
        event, left = self.partial[channel]
        if kind == HEADER:
            class_id, weight, left = struct.unpack_from("!HHQ", payload)
            assert (class_id, weight) == (60, 0) and event.body is None
            event.raw_properties, event.body = payload[12:], b""
            event.properties = decode_properties(payload[12:])
        else:
            assert kind == BODY and event.body is not None and 0 < len(payload) <= left, (kind, left, len(payload))
            event.body += payload
            event.frames.append(len(payload))
            left -= len(payload)
        self.partial[channel] = (event, left)
        if left:
            return None
        del self.partial[channel]
        return event

    # -- life -------------------------------------------------------------------------------------------------

    def hello(self):
        """Sends the protocol header and returns connection.start."""
        self.send(PROTOCOL)
        self.start = self.receive(0)
        assert self.start.name == "connection.start", self.start
        return self.start

    def start_ok(self, user="guest", password="guest", mechanism="PLAIN", response=None, capabilities=None,
                 client_properties=None):
        if response is None and mechanism == "AMQPLAIN":
            response = table({"LOGIN": user, "PASSWORD": password})[4:]
        elif response is None:
            response = b"\0" + raw(user) + b"\0" + raw(password)
        properties = {"product": "rawamqp", "capabilities": CAPABILITIES if capabilities is None else capabilities,
                      **(client_properties or {})}
        self.method(0, "connection.start-ok", client_properties=properties, mechanism=mechanism, response=response,
                    locale="en_US")

    def open(self, vhost="/", channel_max=None, frame_max=None, heartbeat=0, **login):
        self.hello()
        self.start_ok(**login)
        self.tune = self.receive(0)
        assert self.tune.name == "connection.tune", self.tune
        self.frame_max = self.tune.frame_max if frame_max is None else frame_max
        self.method(0, "connection.tune-ok", frame_max=self.frame_max, heartbeat=heartbeat,
                    channel_max=self.tune.channel_max if channel_max is None else channel_max)
        self.method(0, "connection.open", vhost=vhost)
        answer = self.receive(0)
        assert answer.name == "connection.open-ok", answer
        return self

    def channel(self, number=None):
        self.channels += 1
        return Channel(self, self.channels if number is None else number).open()

    def close(self):
        """The polite end: connection.close, and everything else until its answer is thrown away."""
        self.method(0, "connection.close", code=200, text="bye")
        with contextlib.suppress(Refused):
            while self.receive(0).name != "connection.close-ok":
                pass
        self.cut()

    def cut(self):
        self.socket.close()

    def wait_closed(self):
        """Reads until the broker closes the socket; frames before that are dropped."""
        with contextlib.suppress(Closed):
            while True:
                self.data.clear()
                self._read(time.monotonic() + self.timeout)

    def __enter__(self):
        return self.open()

    def __exit__(self, *_):
        self.cut()


class Channel:
    """One channel; methods that are not the answer waited for are kept for `next`."""

    def __init__(self, connection, number):
        self.connection, self.number = connection, number
        self.kept = deque()
        self.published, self.done = 0, set()

    def open(self):
        self.call("channel.open")
        return self

    def send(self, name, **values):
        self.connection.method(self.number, name, **values)

    def call(self, name, answer=None, **values):
        """Sends a method and returns its answer (`name`-ok, unless told otherwise)."""
        self.send(name, **values)
        return self.answer(*(answer or (name + "-ok",)))

    def answer(self, *names):
        while True:
            event = self.connection.receive(self.number)
            if event.name in names:
                return event
            self.kept.append(event)

    def next(self, name=None, timeout=None):
        """The next method that nobody waited for: a delivery, a return, a confirm, the server's cancel."""
        event = self.kept.popleft() if self.kept else self.connection.receive(self.number, timeout)
        assert name is None or event.name == name, f"{event} instead of {name}"
        return event

    def take(self, count, name="basic.deliver"):
        return [self.next(name) for _ in range(count)]

    def settled(self, queue):
        """Everything that has come once the queue has been asked twice: after the first answer it has sent what it
        had to send, the second comes behind that."""
        for _ in range(2):
            self.call("queue.declare", queue=queue, passive=True)
        events = list(self.kept)
        self.kept.clear()
        return events

    def get(self, queue, no_ack=False):
        return self.call("basic.get", answer=("basic.get-ok", "basic.get-empty"), queue=queue, no_ack=no_ack)

    def publish(self, exchange, routing_key, body=b"", properties=None, **flags):
        self.published += 1
        self.connection.send(publish_frames(self.number, exchange, routing_key, body, properties,
                                            self.connection.frame_max, **flags))

    def confirmed(self, exchange, routing_key, body=b"", properties=None, **flags):
        """Publishes on a channel in confirm mode and waits for the confirm of this very message."""
        self.publish(exchange, routing_key, body, properties, **flags)
        self.confirms()

    def confirms(self):
        """Waits until everything published so far is confirmed; returns the tags that were refused."""
        refused = set()
        open_ = set(range(1, self.published + 1)) - self.done
        while open_:
            event = self.answer("basic.ack", "basic.nack")
            tags = {tag for tag in open_ if tag == event.delivery_tag or event.multiple and tag <= event.delivery_tag}
            assert tags, f"{event} confirms nothing"
            open_ -= tags
            self.done |= tags
            if event.name == "basic.nack":
                refused |= tags
        return refused

    def select(self):
        self.call("confirm.select")
        self.published, self.done = 0, set()
        return self

    def close(self):
        self.call("channel.close", code=200, text="bye")
