"""AMQP 0-9-1's methods, frames, tables and properties as bytes, in both directions and without mercy.

`rawamqp` is the client that speaks them. What is encoded may be as wrong as a test wants; what a broker sends must
be right to the last byte.
"""

import struct

METHOD, HEADER, BODY, HEARTBEAT, END = 1, 2, 3, 8, 0xCE
PROTOCOL = b"AMQP\x00\x00\x09\x01"

# "class.method" -> ids and arguments in their order on the wire; consecutive bits share octets.
METHODS = {}
for _line in """
10 10 connection.start octet:version_major octet:version_minor table:server_properties longstr:mechanisms longstr:locales
10 11 connection.start-ok table:client_properties shortstr:mechanism longstr:response shortstr:locale
10 20 connection.secure longstr:challenge
10 21 connection.secure-ok longstr:response
10 30 connection.tune short:channel_max long:frame_max short:heartbeat
10 31 connection.tune-ok short:channel_max long:frame_max short:heartbeat
10 40 connection.open shortstr:vhost shortstr:reserved1 bit:reserved2
10 41 connection.open-ok shortstr:reserved1
10 50 connection.close short:code shortstr:text short:class_id short:method_id
10 51 connection.close-ok
10 60 connection.blocked shortstr:reason
10 61 connection.unblocked
10 70 connection.update-secret longstr:secret shortstr:reason
10 71 connection.update-secret-ok
20 10 channel.open shortstr:reserved1
20 11 channel.open-ok longstr:reserved1
20 20 channel.flow bit:active
20 21 channel.flow-ok bit:active
20 40 channel.close short:code shortstr:text short:class_id short:method_id
20 41 channel.close-ok
30 10 access.request shortstr:realm bit:exclusive bit:passive bit:active bit:write bit:read
30 11 access.request-ok short:ticket
40 10 exchange.declare short:ticket shortstr:exchange shortstr:type bit:passive bit:durable bit:auto_delete bit:internal bit:nowait table:arguments
40 11 exchange.declare-ok
40 20 exchange.delete short:ticket shortstr:exchange bit:if_unused bit:nowait
40 21 exchange.delete-ok
40 30 exchange.bind short:ticket shortstr:destination shortstr:source shortstr:routing_key bit:nowait table:arguments
40 31 exchange.bind-ok
40 40 exchange.unbind short:ticket shortstr:destination shortstr:source shortstr:routing_key bit:nowait table:arguments
40 51 exchange.unbind-ok
50 10 queue.declare short:ticket shortstr:queue bit:passive bit:durable bit:exclusive bit:auto_delete bit:nowait table:arguments
50 11 queue.declare-ok shortstr:queue long:message_count long:consumer_count
50 20 queue.bind short:ticket shortstr:queue shortstr:exchange shortstr:routing_key bit:nowait table:arguments
50 21 queue.bind-ok
50 30 queue.purge short:ticket shortstr:queue bit:nowait
50 31 queue.purge-ok long:message_count
50 40 queue.delete short:ticket shortstr:queue bit:if_unused bit:if_empty bit:nowait
50 41 queue.delete-ok long:message_count
50 50 queue.unbind short:ticket shortstr:queue shortstr:exchange shortstr:routing_key table:arguments
50 51 queue.unbind-ok
60 10 basic.qos long:prefetch_size short:prefetch_count bit:global
60 11 basic.qos-ok
60 20 basic.consume short:ticket shortstr:queue shortstr:consumer_tag bit:no_local bit:no_ack bit:exclusive bit:nowait table:arguments
60 21 basic.consume-ok shortstr:consumer_tag
60 30 basic.cancel shortstr:consumer_tag bit:nowait
60 31 basic.cancel-ok shortstr:consumer_tag
60 40 basic.publish short:ticket shortstr:exchange shortstr:routing_key bit:mandatory bit:immediate
60 50 basic.return short:code shortstr:text shortstr:exchange shortstr:routing_key
60 60 basic.deliver shortstr:consumer_tag longlong:delivery_tag bit:redelivered shortstr:exchange shortstr:routing_key
60 70 basic.get short:ticket shortstr:queue bit:no_ack
60 71 basic.get-ok longlong:delivery_tag bit:redelivered shortstr:exchange shortstr:routing_key long:message_count
60 72 basic.get-empty shortstr:reserved1
60 80 basic.ack longlong:delivery_tag bit:multiple
60 90 basic.reject longlong:delivery_tag bit:requeue
60 100 basic.recover-async bit:requeue
60 110 basic.recover bit:requeue
60 111 basic.recover-ok
60 120 basic.nack longlong:delivery_tag bit:multiple bit:requeue
85 10 confirm.select bit:nowait
85 11 confirm.select-ok
90 10 tx.select
90 11 tx.select-ok
90 20 tx.commit
90 21 tx.commit-ok
90 30 tx.rollback
90 31 tx.rollback-ok
""".strip().splitlines():
    _class, _method, _name, *_arguments = _line.split()
    METHODS[_name] = (int(_class), int(_method), [tuple(argument.split(":")) for argument in _arguments])
NAMES = {(row[0], row[1]): name for name, row in METHODS.items()}
CONTENT = {"basic.publish", "basic.return", "basic.deliver", "basic.get-ok"}

# Flag bit of each basic property -> name and kind (AMQP §1.1 of the reference: flag order).
PROPERTIES = [
    (15, "content_type", "shortstr"), (14, "content_encoding", "shortstr"), (13, "headers", "table"),
    (12, "delivery_mode", "octet"), (11, "priority", "octet"), (10, "correlation_id", "shortstr"),
    (9, "reply_to", "shortstr"), (8, "expiration", "shortstr"), (7, "message_id", "shortstr"),
    (6, "timestamp", "longlong"), (5, "type", "shortstr"), (4, "user_id", "shortstr"), (3, "app_id", "shortstr"),
    (2, "cluster_id", "shortstr"),
]
CAPABILITIES = {"publisher_confirms": True, "exchange_exchange_bindings": True, "basic.nack": True,
                "consumer_cancel_notify": True, "connection.blocked": True, "authentication_failure_close": True}
NUMBERS = {"octet": "!B", "short": "!H", "long": "!I", "longlong": "!Q"}
FIELDS = {b"t": "!?", b"b": "!b", b"B": "!B", b"s": "!h", b"u": "!H", b"I": "!i", b"i": "!I", b"l": "!q", b"L": "!q",
          b"f": "!f", b"d": "!d", b"T": "!Q"}


class Typed:
    """A field-table value with its type letter, where the one that a Python value gets by itself will not do."""

    def __init__(self, letter, value):
        self.letter, self.value = letter.encode(), value


def raw(text):
    return text.encode() if isinstance(text, str) else bytes(text)


def shortstr(text):
    text = raw(text)
    return bytes([len(text)]) + text


def longstr(text):
    text = raw(text)
    return struct.pack("!I", len(text)) + text


def field(value):
    """One typed value of a table or an array."""
    if isinstance(value, Typed):
        letter, value = value.letter, value.value
        if letter in FIELDS:
            return letter + struct.pack(FIELDS[letter], value)
        if letter == b"D":
            return letter + struct.pack("!Bi", *value)
        return letter + {b"S": longstr, b"x": longstr, b"F": table, b"A": array, b"V": lambda _: b""}[letter](value)
    if value is None:
        return b"V"
    if isinstance(value, bool):
        return b"t" + struct.pack("!?", value)
    if isinstance(value, int):
        return b"I" + struct.pack("!i", value) if -2**31 <= value < 2**31 else b"l" + struct.pack("!q", value)
    if isinstance(value, float):
        return b"d" + struct.pack("!d", value)
    if isinstance(value, dict):
        return b"F" + table(value)
    if isinstance(value, (list, tuple)):
        return b"A" + array(value)
    return (b"x" if isinstance(value, bytes) else b"S") + longstr(value)


def array(values):
    return longstr(b"".join(field(value) for value in values))


def table(entries):
    """A field table: a dict, a list of pairs (for repeated keys) or the finished bytes without their length."""
    if isinstance(entries, (bytes, bytearray)):
        return longstr(entries)
    pairs = entries.items() if isinstance(entries, dict) else entries
    return longstr(b"".join(shortstr(key) + field(value) for key, value in pairs))


class Reader:
    """Takes fields from the front of a payload; running over the end is an error of the broker's."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        assert self.at + count <= len(self.data), f"frame too short: {self.data.hex()}"
        self.at += count
        return self.data[self.at - count:self.at]

    def left(self):
        return len(self.data) - self.at

    def number(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def value(self, kind):
        if kind in NUMBERS:
            return self.number(NUMBERS[kind])
        if kind == "shortstr":
            return self.take(self.number("!B")).decode(errors="surrogateescape")
        data = self.take(self.number("!I"))
        return Reader(data).table() if kind == "table" else data.decode(errors="surrogateescape")

    def table(self):
        found = {}
        while self.left():
            key = self.value("shortstr")
            found[key] = self.field()
        return found

    def field(self):
        letter = self.take(1)
        if letter in FIELDS:
            return self.number(FIELDS[letter])
        if letter == b"D":
            return (self.number("!B"), self.number("!i"))
        if letter == b"V":
            return None
        data = self.take(self.number("!I"))
        if letter == b"S":
            return data.decode(errors="surrogateescape")
        if letter == b"x":
            return bytes(data)
        assert letter in b"FA", f"field type {letter}"
        inner = Reader(data)
        if letter == b"F":
            return inner.table()
        values = []
        while inner.left():
            values.append(inner.field())
        return values


def encode_arguments(fields, values):
    """Method arguments: what is not given is zero, empty or false."""
    out, bits = bytearray(), 0
    unknown = set(values) - {name for _, name in fields}
    assert not unknown, f"no such arguments: {unknown}"
    for kind, name in fields:
        if kind == "bit":
            if bits % 8 == 0:
                out.append(0)
            out[-1] |= bool(values.get(name)) << bits % 8
            bits += 1
            continue
        bits = 0
        if kind in NUMBERS:
            out += struct.pack(NUMBERS[kind], values.get(name, 0))
        elif kind == "table":
            out += table(values.get(name, {}))
        else:
            out += (shortstr if kind == "shortstr" else longstr)(values.get(name, ""))
    return bytes(out)


def method_payload(name, **values):
    class_id, method_id, fields = METHODS[name]
    return struct.pack("!HH", class_id, method_id) + encode_arguments(fields, values)


def frame(kind, channel, payload, end=END):
    return struct.pack("!BHI", kind, channel, len(payload)) + payload + bytes([end])


def method_frame(channel, name, **values):
    return frame(METHOD, channel, method_payload(name, **values))


def property_block(properties):
    """Flag word and fields, or the bytes as they are given."""
    if isinstance(properties, (bytes, bytearray)):
        return bytes(properties)
    flags, out = 0, b""
    for bit, name, kind in PROPERTIES:
        value = (properties or {}).get(name)
        if value is None:
            continue
        flags |= 1 << bit
        if kind in NUMBERS:
            out += struct.pack(NUMBERS[kind], value)
        else:
            out += (shortstr if kind == "shortstr" else table)(value)
    return struct.pack("!H", flags) + out


def header_frame(channel, size, properties=None, class_id=60, weight=0):
    return frame(HEADER, channel, struct.pack("!HHQ", class_id, weight, size) + property_block(properties))


def content_frames(channel, body, properties=None, frame_max=131072):
    body = raw(body)
    room = frame_max - 8
    out = [header_frame(channel, len(body), properties)]
    out += [frame(BODY, channel, body[at:at + room]) for at in range(0, len(body), room)]
    return b"".join(out)


def publish_frames(channel, exchange, routing_key, body, properties=None, frame_max=131072, **flags):
    return method_frame(channel, "basic.publish", exchange=exchange, routing_key=routing_key, **flags) + \
        content_frames(channel, body, properties, frame_max)


class Method:
    """A method that came, its arguments as attributes; with content: `properties`, `raw_properties`, `body`."""

    def __init__(self, name, arguments):
        self.name, self.arguments = name, arguments
        self.properties, self.raw_properties, self.body, self.frames = None, None, None, []

    def __getattr__(self, name):
        try:
            return self.__dict__["arguments"][name]
        except KeyError:
            raise AttributeError(f"{self.name} has no {name}") from None

    def __repr__(self):
        content = "" if self.body is None else f" {self.properties} {self.body[:60]!r}"
        return f"<{self.name} {self.arguments}{content}>"


def decode_method(payload):
    reader = Reader(payload)
    ids = reader.number("!H"), reader.number("!H")
    assert ids in NAMES, f"unknown method {ids}"
    arguments, octet, bits = {}, 0, 0
    for kind, name in METHODS[NAMES[ids]][2]:
        if kind == "bit":
            if bits % 8 == 0:
                octet = reader.number("!B")
            arguments[name] = bool(octet >> bits % 8 & 1)
            bits += 1
        else:
            bits = 0
            arguments[name] = reader.value(kind)
    assert not reader.left(), f"{NAMES[ids]}: {reader.left()} bytes too many"
    return Method(NAMES[ids], arguments)


def decode_properties(block):
    reader, found = Reader(block), {}
    flags = reader.number("!H")
    for bit, name, kind in PROPERTIES:
        if flags >> bit & 1:
            found[name] = reader.value(kind)
    assert not reader.left(), f"properties: {reader.left()} bytes too many"
    return found


def login_frames(frame_max=131072, channel_max=2047):
    """Everything a client says until a vhost is open, without waiting for the answers."""
    return PROTOCOL + method_frame(0, "connection.start-ok", mechanism="PLAIN", response=b"\0guest\0guest",
                                   locale="en_US", client_properties={"capabilities": CAPABILITIES}) + \
        method_frame(0, "connection.tune-ok", channel_max=channel_max, frame_max=frame_max, heartbeat=0) + \
        method_frame(0, "connection.open", vhost="/")


def conversation(rng):
    """A login and some of what clients do behind it, by chance: where noise tests begin."""
    steps = [
        lambda: method_frame(1, "queue.declare", queue="noise", auto_delete=True, arguments={"x-max-length": 5}),
        lambda: method_frame(1, "queue.bind", queue="noise", exchange="amq.topic", routing_key="noise.#"),
        lambda: publish_frames(1, "amq.topic", "noise.a", b"x" * rng.randrange(300),
                               {"headers": {"a": [1, {"b": None}]}}),
        lambda: method_frame(1, "basic.consume", queue="noise", consumer_tag="t", arguments={"x-priority": 1}),
        lambda: method_frame(1, "basic.get", queue="noise"),
        lambda: method_frame(1, "basic.ack", delivery_tag=0, multiple=True),
        lambda: method_frame(1, "confirm.select"),
        lambda: method_frame(1, "exchange.declare", exchange="noise", type="headers", auto_delete=True),
        lambda: method_frame(rng.randrange(4), "channel.open"),
        lambda: frame(HEARTBEAT, 0, b""),
    ]
    return login_frames() + method_frame(1, "channel.open") + b"".join(rng.choice(steps)() for _ in range(8))
