"""MQTT 5: which property may stand in which packet, how often, and how it is spelt (MQTT5-2.2.2.2, table 2-4)."""

import pytest

from mqttforms import PING, connect_form, rest
from rawmqtt import (CONNACK, DISCONNECT, PROPERTIES, PROPERTY_IDS, PUBACK, PUBCOMP, PUBREC, PUBREL, SUBACK, SUBSCRIBE,
                     UNSUBACK, UNSUBSCRIBE, Client, binary, packet, varint)

ID = binary("c")
# A value that each property may have, for the packets that may carry it.
VALUES = {"byte": b"\x01", "u16": b"\x00\x01", "u32": b"\x00\x00\x10\x00", "varint": b"\x01", "text": binary("t"),
          "binary": binary(b"\x00b"), "pair": binary("k") + binary("v")}
ACK = {"reason_string", "user"}
MESSAGE = {"payload_format", "message_expiry", "content_type", "response_topic", "correlation_data", "user"}
# packet -> (the properties that a client may send in it, how a packet with a property section looks)
CARRIERS = {
    "CONNECT": ({"session_expiry", "receive_maximum", "maximum_packet_size", "topic_alias_maximum",
                 "request_response_info", "request_problem_info", "user"},
                lambda section: connect_form(ID, 2, 5, properties=section)),
    "will": (MESSAGE | {"will_delay"},
             lambda section: connect_form(ID + length(section) + binary("w") + binary("x"), 6, 5)),
    "PUBLISH": (MESSAGE | {"topic_alias"}, lambda section: packet(3, 0, binary("a") + length(section) + b"x")),
    "PUBACK": (ACK, lambda section: packet(PUBACK, 0, b"\x00\x01\x00" + length(section))),
    "PUBREC": (ACK, lambda section: packet(PUBREC, 0, b"\x00\x01\x00" + length(section))),
    "PUBREL": (ACK, lambda section: packet(PUBREL, 2, b"\x00\x01\x00" + length(section))),
    "PUBCOMP": (ACK, lambda section: packet(PUBCOMP, 0, b"\x00\x01\x00" + length(section))),
    "SUBSCRIBE": ({"subscription_id", "user"},
                  lambda section: packet(SUBSCRIBE, 2, b"\x00\x01" + length(section) + binary("a") + b"\x00")),
    "UNSUBSCRIBE": ({"user"}, lambda section: packet(UNSUBSCRIBE, 2, b"\x00\x01" + length(section) + binary("a"))),
    "DISCONNECT": ({"session_expiry", "reason_string", "user"},
                   lambda section: packet(DISCONNECT, 0, b"\x00" + length(section))),
}


def length(section):
    return varint(len(section)) + section


def spelt(name):
    return bytes([PROPERTY_IDS[name]]) + VALUES[PROPERTIES[PROPERTY_IDS[name]][1]]


def answers(shared, unique, carrier, section):
    """What comes for a packet with this property section and a PINGREQ behind it, until the end or PINGRESP."""
    form = CARRIERS[carrier][1](section)
    # Only a session with an expiry may change it by DISCONNECT.
    expiry = {"session_expiry": 60} if carrier == "DISCONNECT" else None
    client = Client(shared.mqtt, unique, version=5, properties=expiry)
    try:
        if carrier in ("CONNECT", "will"):
            client.send(form)
            first = client.expect(CONNACK)
            return [(CONNACK, first.reason)] + [(p.kind, p.reason) for p in (rest(client) if first.reason else [])]
        client.connect()
        if carrier == "DISCONNECT":
            client.send(form)
            return [(p.kind, p.reason) for p in rest(client)]
        client.send(form + PING + b"\xe0\x00")
        return [(p.kind, p.reason) for p in rest(client)]
    finally:
        client.cut()


@pytest.mark.parametrize("carrier", CARRIERS)
def test_every_property_is_taken_where_it_belongs(shared, connect, unique, carrier):
    """MQTT5-2.2.2-1: no property, each alone, and all of them together; user properties any number of times."""
    allowed = sorted(CARRIERS[carrier][0])
    sections = [b"", *(spelt(name) for name in allowed), b"".join(spelt(name) for name in allowed), spelt("user") * 3]
    for number, section in enumerate(sections):
        got = answers(shared, f"{unique}n{number}", carrier, section)
        assert not any(kind == DISCONNECT or (kind == CONNACK and reason) for kind, reason in got), (section, got)
        if carrier in ("SUBSCRIBE", "UNSUBSCRIBE"):
            assert any(kind in (SUBACK, UNSUBACK) for kind, _ in got)


@pytest.mark.rialto
@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_property_elsewhere_is_malformed(shared, connect, unique, carrier):
    """MQTT5-4.13.1-1: an identifier that is not valid for its packet is a malformed packet, 0x81. A subscription
    identifier in a client's PUBLISH is a protocol error of its own [MQTT5-3.3.4-6]."""
    found = {}
    for number, name in enumerate(sorted(set(PROPERTY_IDS) - CARRIERS[carrier][0])):
        if carrier == "CONNECT" and name in ("auth_method", "auth_data"):
            continue
        expected = 0x82 if (carrier, name) == ("PUBLISH", "subscription_id") else 0x81
        got = answers(shared, f"{unique}n{number}", carrier, spelt(name))
        if got != [(CONNACK if carrier in ("CONNECT", "will") else DISCONNECT, expected)]:
            found[name] = got
    assert not found
    connect(shared, unique + "after").ping()


@pytest.mark.rialto
@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_property_that_comes_twice_is_a_protocol_error(shared, connect, unique, carrier):
    """MQTT5-4.13.1-1: 0x82, whether the values differ or not; user properties alone may be repeated."""
    found = {}
    for number, name in enumerate(sorted(CARRIERS[carrier][0] - {"user"})):
        got = answers(shared, f"{unique}n{number}", carrier, spelt(name) + spelt("user") + spelt(name))
        if got != [(CONNACK if carrier in ("CONNECT", "will") else DISCONNECT, 0x82)]:
            found[name] = got
    assert not found


@pytest.mark.rialto
@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_property_cut_short_is_malformed(shared, connect, unique, carrier):
    """MQTT5-4.13.1-1: each property without its last byte, the property length being right about that: 0x81."""
    found = {}
    for number, name in enumerate(sorted(CARRIERS[carrier][0])):
        got = answers(shared, f"{unique}n{number}", carrier, spelt(name)[:-1])
        if got != [(CONNACK if carrier in ("CONNECT", "will") else DISCONNECT, 0x81)]:
            found[name] = got
    assert not found


@pytest.mark.rialto
@pytest.mark.parametrize("carrier,name", [
    (carrier, name) for carrier, (allowed, _) in CARRIERS.items() for name in sorted(allowed)
    if PROPERTIES[PROPERTY_IDS[name]][1] in ("text", "pair")])
def test_strings_of_properties_are_utf8(shared, connect, unique, carrier, name):
    """MQTT5-1.5.4-1 to MQTT5-1.5.4-2, MQTT5-1.5.7-1: broken UTF-8, a surrogate, U+0000: 0x81."""
    identifier = bytes([PROPERTY_IDS[name]])
    for number, bad in enumerate((b"\xc3\x28", b"\xed\xa0\x80", b"a\x00b", b"\xff")):
        texts = [binary(bad)]
        if name == "user":
            texts = [binary(bad) + binary("v"), binary("k") + binary(bad)]
        for text in texts:
            got = answers(shared, f"{unique}n{number}", carrier, identifier + text)
            assert got == [(CONNACK if carrier in ("CONNECT", "will") else DISCONNECT, 0x81)], (bad, got)
