"""What only MQTT 5.0 has: properties, limits both ways, reason codes, subscription options."""

import time

import pytest

from harness import wait_until
from rawmqtt import (CONNACK, DISCONNECT, PUBACK, PUBLISH, PUBREC, Client, Timeout, connect_bytes, publish_bytes)


def five(connect, broker, name, **options):
    return connect(broker, name, version=5, **options)


def test_properties_travel_from_publisher_to_subscriber(shared, connect, unique):
    """MQTT5-3.3.2-4, MQTT5-3.3.2-15 to MQTT5-3.3.2-18, MQTT5-3.3.2-20: forwarded unaltered, user properties in order with
    duplicates."""
    sub, pub = five(connect, shared, unique + "s"), five(connect, shared, unique + "p")
    sub.subscribe((unique, 1))
    sent = {"payload_format": 1, "content_type": "text/plain", "response_topic": "r/1", "correlation_data": b"\x00\x01",
            "user": [("b", "1"), ("a", "2"), ("b", "1"), ("", "")]}
    pub.publish(unique, "x", qos=1, properties=sent)
    assert sub.message().properties == sent


def test_a_v3_subscriber_gets_the_message_without_properties(shared, connect, unique):
    sub, pub = connect(shared, unique + "s"), five(connect, shared, unique + "p")
    sub.subscribe(unique)
    pub.publish(unique, "x", properties={"user": [("a", "b")]})
    assert sub.message().payload == b"x"


def test_subscription_identifiers_come_back(shared, connect, unique):
    """MQTT5-3.3.4-3 to MQTT5-3.3.4-4"""
    sub, pub = five(connect, shared, unique + "s"), five(connect, shared, unique + "p")
    sub.subscribe((f"{unique}/#", 0), properties={"subscription_id": 7})
    sub.subscribe((f"{unique}/a", 0), properties={"subscription_id": 268435455})
    pub.publish(f"{unique}/a", "x")
    pub.publish(f"{unique}/end", "end")
    seen, got = [], sub.message()
    while got.payload != b"end":
        seen += got.properties["subscription_id"]
        got = sub.message()
    assert sorted(seen) == [7, 268435455] and got.properties["subscription_id"] == [7]


def test_no_local_keeps_a_clients_own_messages_away(shared, connect, unique):
    """MQTT5-3.8.3-3"""
    client, other = five(connect, shared, unique + "s"), five(connect, shared, unique + "p")
    client.subscribe((unique, 4))
    client.publish(unique, "own", qos=1)
    other.publish(unique, "other", qos=1)
    assert client.message().payload == b"other"


def test_topic_aliases_stand_for_their_topic(shared, connect, unique):
    """MQTT5-3.3.2.3.4"""
    sub, pub = five(connect, shared, unique + "s"), five(connect, shared, unique + "p")
    if not pub.connack.properties.get("topic_alias_maximum"):
        pytest.skip("this broker offers no aliases")
    sub.subscribe(f"{unique}/#")
    pub.publish(f"{unique}/a", "1", properties={"topic_alias": 1})
    pub.publish("", "2", properties={"topic_alias": 1})
    pub.publish(f"{unique}/b", "3", properties={"topic_alias": 1})
    pub.publish("", "4", properties={"topic_alias": 1})
    got = sub.messages(4)
    assert [(message.topic[-1], message.payload) for message in got] == [
        ("a", b"1"), ("a", b"2"), ("b", b"3"), ("b", b"4")]
    assert all("topic_alias" not in message.properties for message in got)


@pytest.mark.parametrize("alias", [0, 65535])
def test_an_alias_out_of_range_ends_the_connection(shared, connect, unique, alias):
    """MQTT5-3.3.2-8, MQTT5-3.3.2-9: 0x94"""
    pub = five(connect, shared, unique)
    if alias and pub.connack.properties.get("topic_alias_maximum") == 65535:
        pytest.skip("every alias is in range")
    pub.publish(unique, "x", properties={"topic_alias": alias})
    assert pub.expect_closed().reason == 0x94


def test_an_alias_never_introduced_is_a_protocol_error(shared, connect, unique):
    """MQTT5-3.3.4: 0x82 (or 0x94)"""
    pub = five(connect, shared, unique)
    pub.publish("", "x", properties={"topic_alias": 3})
    assert pub.expect_closed().reason in (0x82, 0x94)


def test_an_empty_client_id_gets_one_assigned(shared, connect):
    """MQTT5-3.1.3-6 to MQTT5-3.1.3-7, MQTT5-3.2.2-16"""
    first, second = five(connect, shared, ""), five(connect, shared, "")
    names = {client.connack.properties["assigned_client_id"] for client in (first, second)}
    assert len(names) == 2 and all(names)


def test_connack_announces_nothing_that_is_not_so(shared, connect, unique):
    """MQTT5-3.2.2.3: what is left out of CONNACK is there."""
    client = five(connect, shared, unique)
    assert client.connack.properties.get("wildcard_available", 1) == 1
    assert client.connack.properties.get("subscription_id_available", 1) == 1
    assert client.connack.properties.get("retain_available", 1) == 1
    assert client.connack.properties.get("maximum_qos", 2) == 2
    filters = [f"{unique}/+/#", f"$share/g/{unique}"]
    assert client.subscribe(*filters, properties={"subscription_id": 1}).reasons == [0, 0]


def test_receive_maximum_bounds_what_is_in_flight(shared, connect, unique):
    """MQTT5-3.3.4-9 to MQTT5-3.3.4-10, MQTT5-4.9.0-1 to MQTT5-4.9.0-3: no more than the client's receive maximum
    unacknowledged; each PUBACK lets one more out."""
    sub = five(connect, shared, unique + "s", properties={"receive_maximum": 3})
    pub = five(connect, shared, unique + "p")
    sub.subscribe((unique, 1))
    for number in range(10):
        pub.publish(unique, str(number), qos=1)
    held = [sub.expect(PUBLISH) for _ in range(3)]
    sub.nothing_comes()
    got = [message.payload for message in held]
    while len(got) < 10:
        sub.ack(PUBACK, held.pop(0).mid)
        held.append(sub.expect(PUBLISH))
        got.append(held[-1].payload)
        sub.nothing_comes()
    assert got == [str(number).encode() for number in range(10)]


def test_qos0_is_not_held_back_by_a_full_window(shared, connect, unique):
    """MQTT5-3.3.4: receive maximum does not limit QoS 0."""
    sub = five(connect, shared, unique + "s", properties={"receive_maximum": 1})
    pub = five(connect, shared, unique + "p")
    sub.subscribe((f"{unique}/#", 1))
    pub.publish(f"{unique}/1", "one", qos=1)
    pub.publish(f"{unique}/1", "two", qos=1)
    sub.expect(PUBLISH)
    pub.publish(f"{unique}/0", "zero", qos=0)
    assert sub.expect(PUBLISH).payload == b"zero"


@pytest.mark.rialto
def test_more_in_flight_than_announced_ends_the_connection(shared, connect, unique):
    """MQTT5-3.3.4-7: 0x93. QoS 2 without PUBREL keeps each message in flight."""
    pub = five(connect, shared, unique)
    allowed = pub.connack.properties["receive_maximum"]
    pub.send(b"".join(publish_bytes(unique, b"", 2, mid, version=5) for mid in range(1, allowed + 1)))
    for _ in range(allowed):
        pub.expect(PUBREC)
    pub.send(publish_bytes(unique, b"", 2, allowed + 1, version=5))
    last = pub.expect_closed()
    assert last.kind == DISCONNECT and last.reason == 0x93


@pytest.mark.rialto
def test_a_packet_over_the_announced_size_ends_the_connection(shared, connect, unique):
    """MQTT5-3.2.2-15: 0x95"""
    pub = five(connect, shared, unique)
    size = pub.connack.properties["maximum_packet_size"]
    data = publish_bytes(unique, b"x" * (size + 1), version=5)
    pub.send(data[:1000])
    assert pub.expect_closed().reason == 0x95


def test_a_client_gets_nothing_over_its_own_maximum(shared, connect, unique):
    """MQTT5-3.1.2-24, MQTT5-3.1.2-25: dropped as if sent; the next message comes."""
    sub = five(connect, shared, unique + "s", properties={"maximum_packet_size": 100})
    pub = five(connect, shared, unique + "p")
    sub.subscribe((unique, 1))
    pub.publish(unique, b"x" * 200, qos=1)
    pub.publish(unique, b"small", qos=1)
    assert sub.message().payload == b"small"


def test_message_expiry_counts_down_and_ends(broker, connect):
    """MQTT5-3.3.2-5, MQTT5-3.3.2-6"""
    options = {"clean": False, "properties": {"session_expiry": 1000}}
    sub = five(connect, broker, "s", **options)
    sub.subscribe(("t", 1))
    sub.disconnect()
    pub = five(connect, broker, "p")
    pub.publish("t", "brief", qos=1, properties={"message_expiry": 1})
    pub.publish("t", "long", qos=1, properties={"message_expiry": 1000})
    pub.publish("t", "forever", qos=1)
    witness = five(connect, broker, "w")
    pub.publish("r", "brief", qos=1, retain=True, properties={"message_expiry": 1})

    def retained_is_gone():
        witness.subscribe("r")
        try:
            witness.expect(PUBLISH, timeout=1.0)
            return False
        except Timeout:
            return True

    wait_until(retained_is_gone, "a message of one second's expiry is gone")
    sub = five(connect, broker, "s", **options)
    got = sub.messages(2)
    assert [message.payload for message in got] == [b"long", b"forever"]
    assert 990 <= got[0].properties["message_expiry"] <= 999
    assert "message_expiry" not in got[1].properties


def test_session_expiry_ends_a_session(broker, connect):
    """MQTT5-3.1.2-23, MQTT5-4.1.0-2"""
    brief = {"clean": False, "properties": {"session_expiry": 1}}
    five(connect, broker, "brief", **brief).disconnect()
    five(connect, broker, "long", clean=False, properties={"session_expiry": 1000}).disconnect()

    def is_gone():
        again = five(connect, broker, "brief", **brief)
        present = again.connack.session_present
        if present:
            again.disconnect()
            # Looking resumed the session: its second begins anew.
            wait_out(1.5)
        return not present

    wait_until(is_gone, "the session of one second is gone")
    assert five(connect, broker, "long", clean=False).connack.session_present


def wait_out(seconds):
    """Waits out a span that the protocol counts in whole seconds: there is no condition to look at."""
    end = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= end, "an expiry of one second", pause=0.1)


def test_disconnect_can_change_the_expiry_but_not_from_zero(shared, connect, unique):
    """MQTT5-3.14.2.2.2"""
    client = five(connect, shared, unique, clean=False, properties={"session_expiry": 1000})
    client.disconnect(0, {"session_expiry": 0})
    again = five(connect, shared, unique, clean=False)
    assert not again.connack.session_present
    again.send(b"\xe0\x07\x00\x05\x11\x00\x00\x00\x05")
    last = again.expect_closed()
    assert last is None or last.reason == 0x82


def test_no_expiry_means_no_session(shared, connect, unique):
    """MQTT5-3.1.2.11.2: absent is 0; the session ends with the connection even without clean start."""
    five(connect, shared, unique, clean=False).disconnect()
    assert not five(connect, shared, unique, clean=False, properties={"session_expiry": 9}).connack.session_present


@pytest.mark.rialto
def test_publishing_to_nobody_says_so_or_succeeds(shared, connect, unique):
    """MQTT5-3.4.2.1: 0x10 is allowed, an error is not."""
    assert five(connect, shared, unique).publish(unique, "x", qos=1).reason in (0, 0x10)


def test_enhanced_authentication_is_refused(shared, unique):
    """MQTT5-4.12.0-1: 0x8C"""
    client = Client(shared.mqtt, unique, version=5, properties={"auth_method": "SCRAM-SHA-1"})
    client.connect(expect=0x8C)
    client.expect_closed()


@pytest.mark.parametrize("level", [3, 6, 0, 255])
def test_an_unknown_protocol_level_is_refused(shared, unique, level):
    """MQTT-3.1.2-2, MQTT5-3.1.2-2: return code 1 or reason 0x84, then the end. Levels to come are answered as 5 is."""
    client = Client(shared.mqtt, unique)
    client.version = 5 if level > 5 else 4
    client.send(connect_bytes(unique, version=level))
    last = client.expect_closed()
    assert last is None or (last.kind == CONNACK and last.reason in (1, 0x84))
