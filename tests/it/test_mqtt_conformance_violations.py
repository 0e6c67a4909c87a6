"""What breaks the protocol on a live connection: exact answers, the will, and everybody else unaffected."""

import pytest

from mqttforms import PING, ack_form, cases, filters_form, rest
from rawmqtt import (DISCONNECT, PUBACK, PUBCOMP, PUBREC, PUBREL, SUBSCRIBE, UNSUBSCRIBE, Client, binary, connect_bytes,
                     packet, publish_bytes, varint)

BAD, SURROGATE, OVERLONG = binary(b"\xc3\x28"), binary(b"\xed\xa0\x80"), binary(b"\xc0\xaf")


def both(three, five=None):
    return three, three if five is None else five


def publishing(topic, qos=0, mid=0):
    return publish_bytes(topic, "x", qos, mid), publish_bytes(topic, "x", qos, mid, version=5)


def subscribing(filters, mid=9, flags=2):
    return tuple(filters_form(SUBSCRIBE, mid, filters, version, flags=flags) for version in (4, 5))


def unsubscribing(filters, mid=9, flags=2):
    return tuple(filters_form(UNSUBSCRIBE, mid, filters, version, flags=flags) for version in (4, 5))


def topic_bytes(topic):
    return packet(3, 0, topic + b"x"), packet(3, 0, topic + b"\x00x")


def property_of_publish(section, topic="a"):
    return None, packet(3, 0, binary(topic) + varint(len(section)) + section + b"x")


def property_of_subscribe(section):
    return None, filters_form(SUBSCRIBE, 9, binary("a") + b"\x00", 5, section)


# name -> (bytes of v3.1.1, bytes of v5, the reason of v5's DISCONNECT); None: not for that version.
VIOLATIONS = {
    "second CONNECT [MQTT-3.1.0-2] [MQTT5-3.1.0-2]": (connect_bytes("x"), connect_bytes("x", 5), 0x82),
    "CONNACK from a client": (*both(b"\x20\x02\x00\x00", b"\x20\x03\x00\x00\x00"), 0x82),
    "SUBACK from a client": (*both(b"\x90\x03\x00\x01\x00", b"\x90\x04\x00\x01\x00\x00"), 0x82),
    "UNSUBACK from a client": (*both(b"\xb0\x02\x00\x01", b"\xb0\x04\x00\x01\x00\x00"), 0x82),
    "PINGRESP from a client": (*both(b"\xd0\x00"), 0x82),
    "packet type 0": (*both(b"\x00\x00"), 0x81),
    "packet type 15 in v3.1.1": (b"\xf0\x00", None, None),
    "AUTH without a method in CONNECT [MQTT5-4.12.0-7]": (None, b"\xf0\x02\x18\x00", 0x82),
    "remaining length of five bytes": (*both(b"\x30\x80\x80\x80\x80\x01"), 0x81),
    "remaining length in more bytes than needed [MQTT5-1.5.5-1]": (None, b"\xc0\x80\x00", 0x81),
    "property length in more bytes than needed [MQTT5-1.5.5-1]": (None, b"\x30\x06\x00\x01a\x80\x00x", 0x81),

    "PUBLISH of QoS 3 [MQTT-3.3.1-4] [MQTT5-3.3.1-4]": (
        *both(b"\x36\x05\x00\x01a\x00\x01", b"\x36\x06\x00\x01a\x00\x01\x00"), 0x81),
    "DUP with QoS 0 [MQTT-3.3.1-2] [MQTT5-3.3.1-2]": (*both(b"\x38\x03\x00\x01a", b"\x38\x04\x00\x01a\x00"), 0x81),
    "# in a topic name [MQTT-3.3.2-2] [MQTT-4.7.1-1] [MQTT5-3.3.2-2] [MQTT5-4.7.0-1]": (*publishing("a/#"), 0x90),
    "+ in a topic name [MQTT-3.3.2-2] [MQTT-4.7.1-1] [MQTT5-3.3.2-2] [MQTT5-4.7.0-1]": (*publishing("+/a", 1, 1), 0x90),
    "U+0000 in a topic name [MQTT-1.5.3-2] [MQTT-4.7.3-2] [MQTT5-1.5.4-2] [MQTT5-4.7.3-2]": (*publishing("a\0b"), 0x81),
    "topic name that is no UTF-8 [MQTT-1.5.3-1] [MQTT-3.3.2-1] [MQTT5-1.5.4-1] [MQTT5-3.3.2-1]": (*topic_bytes(BAD), 0x81),
    "surrogate in a topic name [MQTT-1.5.3-1] [MQTT5-1.5.4-1]": (*topic_bytes(SURROGATE), 0x81),
    "overlong / in a topic name [MQTT-1.5.3-1] [MQTT5-1.5.4-1]": (*topic_bytes(OVERLONG), 0x81),
    "empty topic name [MQTT-4.7.3-1] [MQTT5-4.7.3-1]": (*publishing(""), 0x82),
    "topic longer than the packet [MQTT-3.3.2-1] [MQTT5-3.3.2-1]": (*both(b"\x30\x04\xff\xffab"), 0x81),
    "PUBLISH without a topic [MQTT-3.3.2-1] [MQTT5-3.3.2-1]": (*both(b"\x30\x00"), 0x81),
    "PUBLISH of QoS 1 with identifier 0 [MQTT-2.3.1-1] [MQTT5-2.2.1-3]": (*publishing("a", 1, 0), 0x82),
    "PUBLISH of QoS 2 with identifier 0 [MQTT-2.3.1-1] [MQTT5-2.2.1-3]": (*publishing("a", 2, 0), 0x82),
    "PUBLISH of QoS 1 cut before its identifier": (*both(b"\x32\x04\x00\x01a\x00"), 0x81),

    "SUBSCRIBE with identifier 0 [MQTT-2.3.1-1] [MQTT5-2.2.1-3]": (*subscribing(binary("a") + b"\x00", 0), 0x82),
    "SUBSCRIBE without a filter [MQTT-3.8.3-3] [MQTT5-3.8.3-2]": (*subscribing(b""), 0x82),
    "SUBSCRIBE without options": (*subscribing(binary("a")), 0x81),
    "SUBSCRIBE with reserved bits [MQTT-3.8.3-4] [MQTT5-3.8.3-5]": (*subscribing(binary("a") + b"\xc0"), 0x81),
    "SUBSCRIBE with QoS 3 [MQTT-3.8.3-4]": (*subscribing(binary("a") + b"\x03"), 0x82),
    "SUBSCRIBE with v5's options in v3.1.1 [MQTT-3.8.3-4]": (subscribing(binary("a") + b"\x04")[0], None, None),
    "SUBSCRIBE with a filter that is no UTF-8 [MQTT-3.8.3-1] [MQTT5-3.8.3-1]": (*subscribing(BAD + b"\x00"), 0x81),
    "SUBSCRIBE with U+0000 in its filter [MQTT-4.7.3-2] [MQTT5-4.7.3-2]": (*subscribing(binary("a\0") + b"\x00"), 0x81),
    "SUBSCRIBE with retain handling 3": (None, subscribing(binary("a") + b"\x30")[1], 0x82),
    "SUBSCRIBE with no local on a shared filter [MQTT5-3.8.3-4]": (
        None, subscribing(binary("$share/g/a") + b"\x05")[1], 0x82),
    "bytes behind SUBSCRIBE's last filter": (*subscribing(binary("a") + b"\x00\x05"), 0x81),
    "UNSUBSCRIBE with identifier 0 [MQTT-2.3.1-1] [MQTT5-2.2.1-3]": (*unsubscribing(binary("a"), 0), 0x82),
    "UNSUBSCRIBE without a filter [MQTT-3.10.3-2] [MQTT5-3.10.3-2]": (*unsubscribing(b""), 0x82),
    "UNSUBSCRIBE with a filter that is no UTF-8 [MQTT-3.10.3-1] [MQTT5-3.10.3-1]": (*unsubscribing(BAD), 0x81),

    "SUBSCRIBE with flags 0 [MQTT-3.8.1-1] [MQTT5-3.8.1-1]": (*subscribing(binary("a") + b"\x00", flags=0), 0x81),
    "SUBSCRIBE with flags 3 [MQTT-3.8.1-1] [MQTT5-3.8.1-1]": (*subscribing(binary("a") + b"\x00", flags=3), 0x81),
    "UNSUBSCRIBE with flags 0 [MQTT-3.10.1-1] [MQTT5-3.10.1-1]": (*unsubscribing(binary("a"), flags=0), 0x81),
    "PUBREL with flags 0 [MQTT-3.6.1-1] [MQTT5-3.6.1-1]": (*both(b"\x60\x02\x00\x01"), 0x81),
    "PUBACK with flags [MQTT-2.2.2-1] [MQTT-2.2.2-2] [MQTT5-2.1.3-1]": (*both(b"\x42\x02\x00\x01"), 0x81),
    "PUBREC with flags [MQTT-2.2.2-1] [MQTT-2.2.2-2] [MQTT5-2.1.3-1]": (*both(b"\x52\x02\x00\x01"), 0x81),
    "PUBCOMP with flags [MQTT-2.2.2-1] [MQTT-2.2.2-2] [MQTT5-2.1.3-1]": (*both(b"\x78\x02\x00\x01"), 0x81),
    "PINGREQ with flags [MQTT-2.2.2-1] [MQTT-2.2.2-2] [MQTT5-2.1.3-1]": (*both(b"\xc1\x00"), 0x81),
    "DISCONNECT with flags [MQTT-3.14.1-1] [MQTT5-3.14.1-1]": (*both(b"\xe1\x00"), 0x81),
    "AUTH with flags [MQTT5-3.15.1-1]": (None, b"\xf1\x02\x18\x00", 0x81),

    "PUBACK of one byte": (*both(b"\x40\x01\x00"), 0x81),
    "PUBACK with identifier 0": (*both(ack_form(PUBACK, 0)), 0x82),
    "PUBACK with a reason in v3.1.1": (ack_form(PUBACK, 1, 0), None, None),
    "PUBACK with another packet's code [MQTT5-3.4.2-1]": (None, ack_form(PUBACK, 1, 0x92), 0x82),
    "PUBREC with another packet's code [MQTT5-3.5.2-1]": (None, ack_form(PUBREC, 1, 0x11), 0x82),
    "PUBREL with another packet's code [MQTT5-3.6.2-1]": (None, ack_form(PUBREL, 1, 0x91), 0x82),
    "PUBCOMP with another packet's code [MQTT5-3.7.2-1]": (None, ack_form(PUBCOMP, 1, 0x80), 0x82),
    "PUBACK with a code that does not exist [MQTT5-3.4.2-1]": (None, ack_form(PUBACK, 1, 0x7F), 0x82),
    "DISCONNECT with a code that does not exist [MQTT5-3.14.2-1]": (None, b"\xe0\x01\x03", 0x82),
    "DISCONNECT with a server's code [MQTT5-3.14.2-1]": (None, b"\xe0\x01\x8e", 0x82),
    "DISCONNECT with a body in v3.1.1": (b"\xe0\x01\x00", None, None),
    "DISCONNECT that raises an expiry of 0": (None, b"\xe0\x07\x00\x05\x11\x00\x00\x00\x05", 0x82),
    "PINGREQ with a body": (*both(b"\xc0\x01\x00"), 0x81),

    "unknown property": (*property_of_publish(b"\x7f\x00"), 0x81),
    "property list longer than the packet": (None, b"\x30\x05\x00\x01a\x7f\x00", 0x81),
    "property cut short": (*property_of_publish(b"\x02\x00\x00"), 0x81),
    "subscription identifier from a client [MQTT5-3.3.4-6]": (*property_of_publish(b"\x0b\x01"), 0x82),
    "subscription identifier 0": (*property_of_subscribe(b"\x0b\x00"), 0x82),
    "subscription identifier twice": (*property_of_subscribe(b"\x0b\x01\x0b\x02"), 0x82),
    "topic alias 0 [MQTT5-3.3.2-8]": (*property_of_publish(b"\x23\x00\x00"), 0x94),
    "topic alias above the maximum [MQTT5-3.3.2-9] [MQTT5-3.2.2-17]": (*property_of_publish(b"\x23\xff\xff"), 0x94),
    "topic alias that nobody introduced": (*property_of_publish(b"\x23\x00\x01", ""), 0x82),
    "response topic with a wildcard [MQTT5-3.3.2-14]": (*property_of_publish(b"\x08" + binary("r/+")), 0x82),
    "response topic that is no UTF-8 [MQTT5-3.3.2-13]": (*property_of_publish(b"\x08" + BAD), 0x81),
    "content type that is no UTF-8 [MQTT5-3.3.2-19]": (*property_of_publish(b"\x03" + BAD), 0x81),
    "user property that is no UTF-8 [MQTT5-1.5.7-1]": (*property_of_publish(b"\x26" + BAD + binary("v")), 0x81),
    "user property with U+0000 [MQTT5-1.5.7-1]": (*property_of_publish(b"\x26" + binary("k") + binary("\0")), 0x81),
}


@pytest.mark.rialto
@pytest.mark.parametrize("name,version", cases(VIOLATIONS))
def test_a_violation_ends_its_connection_alone(shared, connect, unique, name, version):
    """MQTT-4.8.0-1, MQTT5-4.13.1-1, MQTT5-4.13.2-1, MQTT5-3.14.2-1: v3.1.1 is closed without a word, v5 is told why.
    MQTT5-3.14.2-2: that DISCONNECT has no session expiry. MQTT5-3.14.4-1 to MQTT5-3.14.4-2: it is the last packet.
    MQTT-3.1.2-8, MQTT5-3.1.2-8: the will is published."""
    data, reason = VIOLATIONS[name][version - 4], VIOLATIONS[name][2]
    watcher = connect(shared, unique + "w")
    watcher.subscribe((f"{unique}/#", 1))
    client = Client(shared.mqtt, unique, version=version, will={"topic": f"{unique}/will", "payload": "gone", "qos": 1})
    client.connect()
    # Nothing behind the violation is processed: PINGREQ gets no answer.
    client.send(data + PING)
    got = rest(client)
    client.cut()
    if version == 4:
        assert got == []
    else:
        assert [(p.kind, p.reason) for p in got] == [(DISCONNECT, reason)]
        assert "session_expiry" not in got[0].properties
    assert watcher.message().payload == b"gone"
    watcher.publish(f"{unique}/end", "end", qos=1)
    assert watcher.message().payload == b"end"
