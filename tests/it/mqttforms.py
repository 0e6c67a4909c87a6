"""Packets that no client library sends, and what came back: shared by the tests of the specification's statements."""

import struct
import time

import pytest

from harness import wait_until
from rawmqtt import CONNECT, PUBREL, Closed, binary, encode_properties, packet, varint

PING = b"\xc0\x00"


def connect_form(payload=binary("c"), flags=2, level=4, name="MQTT", keepalive=60, properties=b""):
    """A CONNECT of any shape; `properties` is the section without its length, for level 5 alone."""
    head = binary(name) + bytes([level, flags]) + struct.pack("!H", keepalive)
    return packet(CONNECT, 0, head + (varint(len(properties)) + properties if level == 5 else b"") + payload)


def ack_form(kind, mid, reason=None, properties=None):
    """An acknowledgement; without `reason` the short form."""
    body = struct.pack("!H", mid) + (b"" if reason is None else bytes([reason]))
    return packet(kind, 2 if kind == PUBREL else 0, body + (encode_properties(properties) if properties else b""))


def filters_form(kind, mid, filters, version, properties=b"", flags=2):
    """SUBSCRIBE or UNSUBSCRIBE; `filters` are the payload's bytes."""
    section = varint(len(properties)) + properties if version == 5 else b""
    return packet(kind, flags, struct.pack("!H", mid) + section + filters)


def rest(client):
    """Every packet until the broker closes the connection."""
    got = []
    while True:
        try:
            got.append(client.receive())
        except Closed:
            return got


def cases(table):
    """(name, version) for each row (bytes of v3.1.1, bytes of v5, ...) of a table; None: not for that version."""
    return [pytest.param(name, version, id=f"{name}-v{3 if version == 4 else 5}")
            for name, row in table.items() for version, data in zip((4, 5), row) if data is not None]


def keep(version, expiry=600):
    """Options of a session that outlives its connection; `expiry` in seconds, where there is one."""
    return {"version": version, "clean": False, "properties": {"session_expiry": expiry} if version == 5 else None}


def wait_out(seconds):
    """Waits out a span that the protocol counts in whole seconds: there is no condition to look at."""
    end = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= end, "a span of time", pause=0.1)
