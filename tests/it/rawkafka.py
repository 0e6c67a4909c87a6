"""A small blocking client of the Kafka protocol that hides nothing: every answer as it came, any bytes sent.

    with Peer(port) as peer:
        peer.call("Metadata", 4, topics=[{"name": "t"}])
"""

import gzip
import itertools
import socket
import struct
import time

import kafkaschema


class Closed(Exception):
    """The broker closed the connection."""


class Timeout(Exception):
    """Nothing came before the deadline."""


class Peer:
    """One connection; all waiting has a deadline."""

    def __init__(self, port, timeout=20.0, client="it"):
        self.timeout, self.client = timeout, client
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.data = bytearray()
        self.numbers = itertools.count(1)

    def call(self, api, version, **values):
        """Sends a request and gives its answer's body."""
        return self.take(api, version, self.ask(api, version, **values))

    def ask(self, api, version, **values):
        """Sends a request; returns its correlation id."""
        number = next(self.numbers)
        self.send(kafkaschema.request(api, version, number, values, self.client))
        return number

    def take(self, api, version, number, timeout=None):
        """The next answer, which must be that of this request."""
        correlation, body = kafkaschema.answer(api, version, self.frame(timeout))
        assert correlation == number, f"the answer to {correlation}, not to {number}"
        return body

    def send(self, frame, length=None):
        """Sends a frame under its length, or under another one."""
        self.raw(struct.pack("!i", len(frame) if length is None else length) + frame)

    def raw(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            # What the broker said before it closed is still to be read.
            pass

    def frame(self, timeout=None):
        """The next answer without its length."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            if len(self.data) >= 4:
                size = struct.unpack_from("!i", self.data)[0]
                if len(self.data) >= 4 + size:
                    frame = bytes(self.data[4:4 + size])
                    del self.data[:4 + size]
                    return frame
            left = deadline - time.monotonic()
            if left <= 0:
                raise Timeout("no answer")
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(1 << 16)
            except TimeoutError:
                raise Timeout("no answer") from None
            except (ConnectionResetError, BrokenPipeError):
                data = b""
            if not data:
                raise Closed("closed by the broker")
            self.data += data

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


# -- record batches ------------------------------------------------------------------------------------------------

def _crc_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_TABLE = _crc_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def varint(value):
    """Zigzag, as records are framed."""
    value = value << 1 ^ value >> 63
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _sized(data):
    return varint(-1) if data is None else varint(len(data)) + data


def record(delta, key, value, headers=(), ts=0, attributes=0):
    body = struct.pack("!b", attributes) + varint(ts) + varint(delta) + _sized(key) + _sized(value)
    body += varint(len(headers)) + b"".join(_sized(name) + _sized(data) for name, data in headers)
    return varint(len(body)) + body


def lz4_frame(data):
    """An LZ4 frame of stored blocks; the header's check byte is that of xxHash over its two bytes (0x60, 0x40)."""
    blocks = b"".join(struct.pack("<I", len(part) | 0x80000000) + part
                      for part in (data[at:at + 65536] for at in range(0, len(data), 65536)))
    return b"\x04\x22\x4d\x18\x60\x40\x82" + blocks + struct.pack("<I", 0)


def snappy_block(data):
    """A raw Snappy block of literals."""
    size, head = len(data), bytearray()
    while size > 0x7F:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    head.append(size)
    parts = (data[at:at + 65536] for at in range(0, len(data), 65536))
    return bytes(head) + b"".join(b"\xf4" + struct.pack("<H", len(part) - 1) + part for part in parts)


def snappy_java(data):
    """What the Java client makes of it: blocks of raw Snappy under a header of its own."""
    block = snappy_block(data)
    return b"\x82SNAPPY\0" + struct.pack("!iii", 1, 1, len(block)) + block


def zstd_frame(data):
    """A Zstandard frame of stored blocks, its content size not told."""
    parts = [data[at:at + 65536] for at in range(0, len(data), 65536)] or [b""]
    blocks = b"".join(struct.pack("<I", len(part) << 3 | (number == len(parts) - 1))[:3] + part
                      for number, part in enumerate(parts))
    return b"\x28\xb5\x2f\xfd\x00\x58" + blocks


CODECS = {"none": (0, bytes), "gzip": (1, gzip.compress), "snappy": (2, snappy_block), "snappy-java": (2, snappy_java),
          "lz4": (3, lz4_frame), "zstd": (4, zstd_frame)}


def batch(values, codec="none", ts=1_000, stamps=None, producer=(-1, -1, -1), attributes=0, count=None, delta=None,
          magic=2, crc=None, base=0, payload=None, max_ts=None, epoch=-1):
    """A record batch. `values` are (key, value) pairs, (key, value, headers) or bare values; `stamps` a timestamp a
    record; `producer` its id, epoch and first sequence; `payload` bytes instead of records."""
    stamps = stamps or [ts] * len(values)
    rows = [value if isinstance(value, tuple) else (None, value) for value in values]
    records = b"".join(record(number, *row, ts=stamp - stamps[0])
                       for number, (row, stamp) in enumerate(zip(rows, stamps)))
    number, compress = CODECS[codec]
    body = struct.pack("!hiqqqhii", attributes | number, len(rows) - 1 if delta is None else delta,
                       stamps[0] if stamps else ts, max(stamps, default=ts) if max_ts is None else max_ts,
                       *producer, len(rows) if count is None else count)
    body += compress(records if payload is None else payload)
    check = crc32c(body) if crc is None else crc
    return struct.pack("!qiibI", base, len(body) + 9, epoch, magic, check) + body


def batches(data, checked=True):
    """The batches of a fetch answer as dicts of their headers; records of uncompressed ones as (key, value) pairs.
    Whether each is `whole` takes most of the time and may be left out."""
    at, found = 0, []
    while len(data) - at >= 61:
        base, size, epoch, magic, crc = struct.unpack_from("!qiibI", data, at)
        if len(data) - at < 12 + size:
            break
        body = data[at + 21:at + 12 + size]
        attributes, delta, first, last, pid, pepoch, sequence, count = struct.unpack_from("!hiqqqhii", body)
        found.append({"base": base, "epoch": epoch, "magic": magic, "whole": not checked or crc == crc32c(body),
                      "attributes": attributes, "delta": delta, "first_ts": first, "max_ts": last,
                      "producer": [pid, pepoch, sequence], "count": count, "size": size,
                      "records": None if attributes & 7 else _records(body[40:], count)})
        at += 12 + size
    return found


def _records(data, count):
    at, rows = 0, []

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value >> 1 ^ -(value & 1)

    def sized():
        nonlocal at
        size = number()
        if size < 0:
            return None
        at += size
        return bytes(data[at - size:at])

    for _ in range(count):
        end = number() + at
        at += 1
        number(), number()
        rows.append((sized(), sized()))
        at = end
    return rows
