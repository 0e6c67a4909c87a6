"""Publishing and subscribing with real clients and with exact packets: QoS 0, 1 and 2, filters, options."""

import pytest

from clients import MosquittoSub, mosquitto_pub
from rawmqtt import (PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, publish_bytes)


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_mosquitto_clients_exchange_a_message(shared, unique, version, qos):
    with MosquittoSub(shared.mqtt, f"{unique}/+/c", qos=qos, version=version) as sub:
        mosquitto_pub(shared.mqtt, f"{unique}/b/c", "grüße", qos=qos, version=version)
        assert sub.wait(1) == [(f"{unique}/b/c", qos, False, "grüße")]


@pytest.mark.parametrize("published,granted", [(0, 2), (1, 0), (2, 1), (2, 2), (1, 2)])
def test_delivery_is_at_the_lower_of_both_qos(shared, connect, unique, version, published, granted):
    """MQTT-3.8.4-6, MQTT-3.8.4-5, MQTT5-3.8.4-7 to MQTT5-3.8.4-8"""
    sub, pub = connect(shared, unique + "s", version=version), connect(shared, unique + "p")
    assert sub.subscribe((unique, granted)).reasons == [granted]
    pub.publish(unique, "x", qos=published)
    assert sub.message().qos == min(published, granted)


@pytest.mark.parametrize("filters,topic,reaches", [
    ("a/+/c", "a/b/c", True), ("a/+/c", "a/b/c/d", False), ("a/#", "a", True), ("a/#", "a/b/c", True),
    ("a/+", "a", False), ("a/+", "a/", True), ("+", "a", True), ("+/+", "/b", True), ("+", "/b", False),
    ("#", "a/b", True), ("a//c", "a//c", True), ("a/+/c", "a//c", True), ("A", "a", False),
])
def test_wildcards_match_whole_levels(shared, connect, unique, filters, topic, reaches):
    """MQTT-4.7.1-1 to MQTT-4.7.1-3, MQTT-3.3.2-3, MQTT-4.7.3-4: under a prefix of its own, so that tests
    do not meet."""
    sub, pub = connect(shared, unique + "s"), connect(shared, unique + "p")
    sub.subscribe((f"{unique}/{filters}", 1), (f"{unique}-end", 1))
    pub.publish(f"{unique}/{topic}", "x", qos=1)
    pub.publish(f"{unique}-end", "end", qos=1)
    got = [message.payload for message in sub.messages(2 if reaches else 1)]
    assert got == ([b"x", b"end"] if reaches else [b"end"])


def test_a_leading_wildcard_does_not_match_dollar_topics(broker, connect):
    """MQTT-4.7.2-1"""
    sub, exact, pub = connect(broker, "s"), connect(broker, "e"), connect(broker, "p")
    sub.subscribe("#", "+/x", "+/+")
    exact.subscribe("$app/#")
    pub.publish("$app/x", "hidden")
    pub.publish("seen", "seen")
    assert exact.message().payload == b"hidden"
    assert sub.message().topic == "seen"
    sub.nothing_comes()


def test_a_topic_that_begins_with_a_wide_character_is_ordinary(shared, connect, unique):
    sub, pub = connect(shared, unique + "s"), connect(shared, unique + "p")
    sub.subscribe(f"é{unique}/#")
    pub.publish(f"é{unique}/x", "x")
    assert sub.message().topic == f"é{unique}/x"


def test_overlapping_subscriptions_deliver_at_the_highest_qos(shared, connect, unique, version):
    """MQTT-3.3.5-1, MQTT5-3.3.4-2: one copy or one per subscription, the highest granted QoS among them."""
    sub, pub = connect(shared, unique + "s", version=version), connect(shared, unique + "p")
    sub.subscribe((f"{unique}/#", 0), (f"{unique}/+", 2), (f"{unique}/a", 1))
    pub.publish(f"{unique}/a", "x", qos=2)
    pub.publish(f"{unique}/end/er", "end", qos=2)
    got = []
    while not got or got[-1].payload != b"end":
        got.append(sub.message())
    assert max(message.qos for message in got[:-1]) == 2 and 1 <= len(got) - 1 <= 3


def test_unsubscribe_stops_the_delivery(shared, connect, unique, version):
    """MQTT-3.10.4-2, MQTT5-3.10.4-2"""
    sub, pub = connect(shared, unique + "s", version=version), connect(shared, unique + "p")
    sub.subscribe((f"{unique}/a", 1), (f"{unique}/b", 1))
    ack = sub.unsubscribe(f"{unique}/a", f"{unique}/never")
    if version == 5:
        assert ack.reasons == [0, 0x11]
    pub.publish(f"{unique}/a", "no", qos=1)
    pub.publish(f"{unique}/b", "yes", qos=1)
    assert sub.message().payload == b"yes"
    sub.nothing_comes()


def test_subscribing_again_replaces_the_qos(shared, connect, unique):
    """MQTT-3.8.4-3"""
    sub, pub = connect(shared, unique + "s"), connect(shared, unique + "p")
    sub.subscribe((unique, 2))
    sub.subscribe((unique, 0))
    pub.publish(unique, "x", qos=2)
    assert sub.message().qos == 0
    sub.nothing_comes()


def test_one_publisher_stays_in_order(shared, connect, unique):
    """MQTT-4.6.0-5 to MQTT-4.6.0-6, MQTT-4.6.0-2"""
    sub, pub = connect(shared, unique + "s"), connect(shared, unique + "p")
    sub.subscribe((unique, 1))
    pub.send(b"".join(publish_bytes(unique, str(n), 1, n) for n in range(1, 201)))
    assert [pub.expect(PUBACK).mid for _ in range(200)] == list(range(1, 201))
    assert [int(message.payload) for message in sub.messages(200)] == list(range(1, 201))


def test_qos2_handshake_in_both_directions(shared, connect, unique, version):
    """MQTT-4.3.3-1 to MQTT-4.3.3-2, MQTT-2.3.1-6, MQTT5-4.3.3-2, MQTT5-4.3.3-4, MQTT5-4.3.3-8, MQTT5-4.3.3-11,
    MQTT5-2.2.1-5: each packet of it, in order."""
    sub, pub = connect(shared, unique + "s", version=version), connect(shared, unique + "p", version=version)
    sub.subscribe((unique, 2))
    pub.send(publish_bytes(unique, "x", 2, 77, version=version))
    assert pub.expect(PUBREC).mid == 77
    pub.ack(PUBREL, 77)
    assert pub.expect(PUBCOMP).mid == 77
    got = sub.expect(PUBLISH)
    assert got.qos == 2 and got.mid and not got.dup
    sub.ack(PUBREC, got.mid)
    release = sub.expect(PUBREL)
    assert release.mid == got.mid and release.flags == 2
    sub.ack(PUBCOMP, got.mid)
    sub.nothing_comes()


def test_qos2_sent_twice_before_its_release_is_delivered_once(shared, connect, unique, version):
    """MQTT-4.3.3-2, MQTT5-4.3.3-10, MQTT5-4.3.3-12"""
    sub, pub = connect(shared, unique + "s"), connect(shared, unique + "p", version=version)
    sub.subscribe((unique, 2))
    pub.send(publish_bytes(unique, "x", 2, 5, version=version))
    pub.expect(PUBREC)
    pub.send(publish_bytes(unique, "x", 2, 5, dup=True, version=version))
    assert pub.expect(PUBREC).mid == 5
    pub.ack(PUBREL, 5)
    pub.expect(PUBCOMP)
    assert pub.publish(unique, "end", qos=2, mid=5).mid == 5
    assert [message.payload for message in sub.messages(2)] == [b"x", b"end"]


def test_a_release_nobody_knows_is_completed(shared, connect, unique, version):
    """MQTT5-4.13 / 3.7.2.1: PUBCOMP, with 0x92 in v5."""
    pub = connect(shared, unique, version=version)
    pub.ack(PUBREL, 999)
    ack = pub.expect(PUBCOMP)
    assert ack.mid == 999 and (version == 4 or ack.reason in (0, 0x92))


def test_empty_and_large_payloads_arrive_whole(shared, connect, unique):
    sub, pub = connect(shared, unique + "s"), connect(shared, unique + "p")
    sub.subscribe((unique, 1))
    for payload in (b"", bytes(range(256)) * 1000, b"\x00"):
        pub.publish(unique, payload, qos=1)
        assert sub.message().payload == payload


def test_a_publisher_that_subscribes_gets_its_own_message(shared, connect, unique, version):
    client = connect(shared, unique, version=version)
    client.subscribe(unique)
    client.publish(unique, "x")
    assert client.message().payload == b"x"


def test_messages_in_one_write_are_all_served(shared, connect, unique):
    sub, pub = connect(shared, unique + "s"), connect(shared, unique + "p")
    sub.subscribe(unique)
    pub.send(b"".join(publish_bytes(unique, str(n)) for n in range(5000)))
    assert [int(message.payload) for message in sub.messages(5000)] == list(range(5000))


def test_bytes_that_dribble_in_make_one_packet(shared, connect, unique):
    sub, pub = connect(shared, unique + "s"), connect(shared, unique + "p")
    sub.subscribe((unique, 1))
    for byte in publish_bytes(unique, "slow", 1, 3):
        pub.send(bytes([byte]))
    assert pub.expect(PUBACK).mid == 3
    assert sub.message().payload == b"slow"
