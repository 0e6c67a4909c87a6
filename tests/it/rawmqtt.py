"""A small MQTT 3.1.1 and 5.0 codec and blocking client that hides nothing.

Real clients mend what a broker does wrong; this one shows every packet as it came, sends what it is told to
(malformed bytes as well), and acknowledges only when asked. All waiting has a deadline.
"""

import socket
import ssl
import struct
import time
from dataclasses import dataclass, field

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 1, 2, 3, 4, 5, 6, 7
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT, AUTH = 8, 9, 10, 11, 12, 13, 14, 15
NAMES = {value: name for name, value in list(globals().items()) if name.isupper() and isinstance(value, int)}

# MQTT5-2.2.2.2: identifier -> (name, kind)
PROPERTIES = {
    0x01: ("payload_format", "byte"), 0x02: ("message_expiry", "u32"), 0x03: ("content_type", "text"),
    0x08: ("response_topic", "text"), 0x09: ("correlation_data", "binary"), 0x0B: ("subscription_id", "varint"),
    0x11: ("session_expiry", "u32"), 0x12: ("assigned_client_id", "text"), 0x13: ("server_keep_alive", "u16"),
    0x15: ("auth_method", "text"), 0x16: ("auth_data", "binary"), 0x17: ("request_problem_info", "byte"),
    0x18: ("will_delay", "u32"), 0x19: ("request_response_info", "byte"), 0x1A: ("response_info", "text"),
    0x1C: ("server_reference", "text"), 0x1F: ("reason_string", "text"), 0x21: ("receive_maximum", "u16"),
    0x22: ("topic_alias_maximum", "u16"), 0x23: ("topic_alias", "u16"), 0x24: ("maximum_qos", "byte"),
    0x25: ("retain_available", "byte"), 0x26: ("user", "pair"), 0x27: ("maximum_packet_size", "u32"),
    0x28: ("wildcard_available", "byte"), 0x29: ("subscription_id_available", "byte"),
    0x2A: ("shared_available", "byte"),
}
PROPERTY_IDS = {name: identifier for identifier, (name, _) in PROPERTIES.items()}
REPEATED = {"user", "subscription_id"}


class Closed(Exception):
    """The broker closed the connection."""


class Timeout(Exception):
    """Nothing came before the deadline."""


def varint(value):
    out = bytearray()
    while True:
        value, low = divmod(value, 128)
        out.append(low | (0x80 if value else 0))
        if not value:
            return bytes(out)


def binary(value):
    value = value.encode() if isinstance(value, str) else bytes(value)
    return struct.pack("!H", len(value)) + value


def encode_properties(properties):
    """A property section with its length; `properties` maps names of PROPERTIES to values (or lists of them)."""
    out = bytearray()
    for name, values in (properties or {}).items():
        identifier = PROPERTY_IDS[name]
        kind = PROPERTIES[identifier][1]
        for value in values if name in REPEATED and isinstance(values, list) else [values]:
            out.append(identifier)
            if kind == "byte":
                out.append(value)
            elif kind == "u16":
                out += struct.pack("!H", value)
            elif kind == "u32":
                out += struct.pack("!I", value)
            elif kind == "varint":
                out += varint(value)
            elif kind == "pair":
                out += binary(value[0]) + binary(value[1])
            else:
                out += binary(value)
    return varint(len(out)) + bytes(out)


class Reader:
    """Takes fields from the front of a body; running over the end is an error of the broker's."""

    def __init__(self, body):
        self.body, self.at = body, 0

    def take(self, count):
        assert self.at + count <= len(self.body), f"packet too short: {self.body.hex()}"
        self.at += count
        return self.body[self.at - count:self.at]

    def left(self):
        return len(self.body) - self.at

    def number(self, size):
        return int.from_bytes(self.take(size), "big")

    def varint(self):
        value = shift = 0
        while True:
            byte = self.number(1)
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value
            assert shift < 28, "variable byte integer too long"

    def binary(self):
        return self.take(self.number(2))

    def text(self):
        return self.binary().decode()

    def properties(self):
        inner, found = Reader(self.take(self.varint())), {}
        while inner.left():
            name, kind = PROPERTIES[inner.varint()]
            value = {
                "byte": lambda: inner.number(1), "u16": lambda: inner.number(2), "u32": lambda: inner.number(4),
                "varint": inner.varint, "text": inner.text, "binary": inner.binary,
                "pair": lambda: (inner.text(), inner.text()),
            }[kind]()
            if name in REPEATED:
                found.setdefault(name, []).append(value)
            else:
                assert name not in found, f"property {name} twice"
                found[name] = value
        return found


@dataclass
class Packet:
    """One packet as it came; fields that its kind does not have keep their defaults."""

    kind: int
    flags: int = 0
    mid: int = 0
    topic: str = ""
    payload: bytes = b""
    reason: int = 0
    reasons: list = field(default_factory=list)
    session_present: bool = False
    properties: dict = field(default_factory=dict)

    @property
    def qos(self):
        return self.flags >> 1 & 3

    @property
    def dup(self):
        return bool(self.flags & 8)

    @property
    def retain(self):
        return bool(self.flags & 1)

    def __str__(self):
        return f"{NAMES[self.kind]}({self.__dict__})"


def decode(kind, flags, body, version):
    packet, reader, five = Packet(kind, flags), Reader(body), version == 5
    if kind == CONNACK:
        packet.session_present = bool(reader.number(1))
        packet.reason = reader.number(1)
        if five and reader.left():
            packet.properties = reader.properties()
    elif kind == PUBLISH:
        packet.topic = reader.text()
        packet.mid = reader.number(2) if packet.qos else 0
        packet.properties = reader.properties() if five else {}
        packet.payload = reader.take(reader.left())
    elif kind in (PUBACK, PUBREC, PUBREL, PUBCOMP):
        packet.mid = reader.number(2)
        if five and reader.left():
            packet.reason = reader.number(1)
            packet.properties = reader.properties() if reader.left() else {}
    elif kind in (SUBACK, UNSUBACK):
        packet.mid = reader.number(2)
        packet.properties = reader.properties() if five else {}
        packet.reasons = list(reader.take(reader.left()))
    elif kind in (DISCONNECT, AUTH) and five and reader.left():
        packet.reason = reader.number(1)
        packet.properties = reader.properties() if reader.left() else {}
    assert not reader.left(), f"{NAMES[kind]}: bytes left over in {body.hex()}"
    return packet


def packet(kind, flags, body):
    return bytes([kind << 4 | flags]) + varint(len(body)) + body


def connect_bytes(client_id, version=4, clean=True, keepalive=60, will=None, username=None, password=None,
                  properties=None):
    """`will` is a dict with topic, payload and optionally qos, retain, properties."""
    flags = 2 if clean else 0
    body = binary(client_id)
    if will:
        flags |= 4 | will.get("qos", 0) << 3 | (0x20 if will.get("retain") else 0)
        body += encode_properties(will.get("properties")) if version == 5 else b""
        body += binary(will["topic"]) + binary(will["payload"])
    if username is not None:
        flags |= 0x80
        body += binary(username)
    if password is not None:
        flags |= 0x40
        body += binary(password)
    head = binary("MQTT") + bytes([version, flags]) + struct.pack("!H", keepalive)
    return packet(CONNECT, 0, head + (encode_properties(properties) if version == 5 else b"") + body)


def publish_bytes(topic, payload=b"", qos=0, mid=0, retain=False, dup=False, version=4, properties=None):
    payload = payload.encode() if isinstance(payload, str) else payload
    body = binary(topic) + (struct.pack("!H", mid) if qos else b"")
    body += encode_properties(properties) if version == 5 else b""
    return packet(PUBLISH, (8 if dup else 0) | qos << 1 | (1 if retain else 0), body + payload)


def ack_bytes(kind, mid):
    return packet(kind, 2 if kind == PUBREL else 0, struct.pack("!H", mid))


class Client:
    """One connection. Methods named after packets send them; `expect` returns the next packet and checks its kind."""

    def __init__(self, port, client_id="", version=4, host="127.0.0.1", timeout=10.0, tls=None, **connect):
        self.version, self.client_id, self.timeout = version, client_id, timeout
        self.connect_options, self.mid = connect, 0
        self.buffer, self.held = bytearray(), []
        self.socket = socket.create_connection((host, port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        self.connack = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.cut()

    # -- bytes ----------------------------------------------------------------------------------------------

    def send(self, data):
        try:
            self.socket.settimeout(self.timeout)
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError) as error:
            raise Closed(str(error)) from error

    def receive(self, timeout=None):
        """The next packet; raises Closed or Timeout."""
        return self.held.pop(0) if self.held else self._receive(timeout)

    def expect_ack(self, kind, mid, timeout=None):
        """The acknowledgement of this kind and id; packets before it are held back for later `receive`s."""
        passed = []
        while True:
            got = self._receive(timeout) if not self.held else self.held.pop(0)
            if got.kind == kind and got.mid == mid:
                self.held[:0] = passed
                return got
            assert got.kind == PUBLISH or got.mid != mid, f"expected {NAMES[kind]} {mid}, got {got}"
            passed.append(got)

    def _receive(self, timeout):
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            found = self._parse()
            if found:
                return found
            left = deadline - time.monotonic()
            if left <= 0:
                raise Timeout(f"{self.client_id}: nothing came")
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(65536)
            except TimeoutError:
                continue
            except (ConnectionResetError, BrokenPipeError, OSError) as error:
                raise Closed(str(error)) from error
            if not data:
                raise Closed("end of stream")
            self.buffer += data

    def _parse(self):
        if len(self.buffer) < 2:
            return None
        length = shift = 0
        at = 1
        while True:
            if at >= len(self.buffer):
                return None
            byte = self.buffer[at]
            length |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if byte < 0x80:
                break
            assert shift < 28, "remaining length too long"
        if len(self.buffer) < at + length:
            return None
        head, body = self.buffer[0], bytes(self.buffer[at:at + length])
        del self.buffer[:at + length]
        return decode(head >> 4, head & 15, body, self.version)

    def expect(self, kind, timeout=None):
        got = self.receive(timeout)
        assert got.kind == kind, f"expected {NAMES[kind]}, got {got}"
        return got

    def expect_closed(self, timeout=None):
        """Waits for the end of the connection; returns the DISCONNECT or CONNACK that came before it, if any."""
        last = None
        while True:
            try:
                last = self.receive(timeout)
            except Closed:
                return last

    def cut(self):
        """Ends the connection without a word: the abnormal close that publishes a will."""
        try:
            self.socket.close()
        except OSError:
            pass

    def nothing_comes(self):
        """Passes if the broker has nothing more to say: a PINGREQ is answered by PINGRESP first."""
        self.ping()

    # -- packets --------------------------------------------------------------------------------------------

    def next_mid(self):
        self.mid = self.mid % 65535 + 1
        return self.mid

    def connect(self, expect=0):
        self.send(connect_bytes(self.client_id, self.version, **self.connect_options))
        self.connack = self.expect(CONNACK)
        if expect is not None:
            assert self.connack.reason == expect, f"CONNACK {self.connack.reason:#x}"
        return self.connack

    def publish(self, topic, payload=b"", qos=0, retain=False, dup=False, mid=None, properties=None, wait=True):
        """Sends a PUBLISH; with `wait` completes its handshake and returns the last acknowledgement."""
        mid = (mid or self.next_mid()) if qos else 0
        self.send(publish_bytes(topic, payload, qos, mid, retain, dup, self.version, properties))
        if not wait or not qos:
            return mid
        if qos == 1:
            return self.expect_ack(PUBACK, mid)
        received = self.expect_ack(PUBREC, mid)
        if received.reason >= 0x80:
            return received
        self.ack(PUBREL, mid)
        return self.expect_ack(PUBCOMP, mid)

    def ack(self, kind, mid):
        self.send(ack_bytes(kind, mid))

    def subscribe(self, *filters, properties=None, wait=True):
        """`filters`: strings (QoS 0) or (filter, options byte)."""
        mid = self.next_mid()
        body = struct.pack("!H", mid) + (encode_properties(properties) if self.version == 5 else b"")
        for entry in filters:
            name, options = entry if isinstance(entry, tuple) else (entry, 0)
            body += binary(name) + bytes([options])
        self.send(packet(SUBSCRIBE, 2, body))
        if not wait:
            return mid
        ack = self.expect(SUBACK)
        assert ack.mid == mid and len(ack.reasons) == len(filters), str(ack)
        return ack

    def unsubscribe(self, *filters):
        mid = self.next_mid()
        body = struct.pack("!H", mid) + (encode_properties(None) if self.version == 5 else b"")
        self.send(packet(UNSUBSCRIBE, 2, body + b"".join(binary(name) for name in filters)))
        ack = self.expect(UNSUBACK)
        assert ack.mid == mid
        return ack

    def message(self, timeout=None):
        """The next application message, acknowledged to the end of its handshake."""
        got = self.expect(PUBLISH, timeout)
        if got.qos == 1:
            self.ack(PUBACK, got.mid)
        elif got.qos == 2:
            self.ack(PUBREC, got.mid)
            assert self.expect_ack(PUBREL, got.mid).flags == 2
            self.ack(PUBCOMP, got.mid)
        return got

    def messages(self, count, timeout=None):
        return [self.message(timeout) for _ in range(count)]

    def ping(self):
        self.send(packet(PINGREQ, 0, b""))
        self.expect(PINGRESP)

    def disconnect(self, reason=None, properties=None):
        body = b""
        if self.version == 5 and (reason is not None or properties):
            body = bytes([reason or 0]) + (encode_properties(properties) if properties else b"")
        self.send(packet(DISCONNECT, 0, body))
        self.expect_closed()
        self.cut()
