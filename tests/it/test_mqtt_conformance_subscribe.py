"""SUBSCRIBE, UNSUBSCRIBE and PINGREQ, statement by statement."""

import pytest

from mqttforms import PING, filters_form, keep
from rawmqtt import (PINGRESP, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, SUBSCRIBE, UNSUBACK, UNSUBSCRIBE,
                     binary, publish_bytes)

DOLLAR = "$conformance"


def unsubscribe(client, mid, *filters):
    client.send(filters_form(UNSUBSCRIBE, mid, b"".join(map(binary, filters)), client.version))
    return client.expect(UNSUBACK)


def drained(client, publisher, topic):
    """What came to the client until a message to `topic`, which it is subscribed to."""
    publisher.publish(topic, "end", qos=1)
    got = []
    while not got or got[-1].topic != topic:
        got.append(client.message())
    return [message.payload.decode() for message in got[:-1]]


@pytest.mark.rialto
def test_suback_answers_each_filter_in_its_place(shared, connect, unique, version):
    """MQTT-3.8.4-1 to MQTT-3.8.4-2, MQTT-3.8.4-4 to MQTT-3.8.4-5, MQTT-3.9.3-1 to MQTT-3.9.3-2, MQTT-2.3.1-7;
    MQTT5-3.8.4-1 to MQTT5-3.8.4-2, MQTT5-3.8.4-5 to MQTT5-3.8.4-7, MQTT5-3.9.3-1 to MQTT5-3.9.3-2, MQTT5-2.2.1-6: one
    that is refused takes none of the others with it."""
    client = connect(shared, unique, version=version)
    wanted = [("a", 2), ("b/#/c", 1), ("b", 0), ("c+", 2), ("c/+/#", 1), ("c/+/#", 2)]
    for mid in (65535, 1, 4660):
        filters = b"".join(binary(f"{unique}/{name}") + bytes([qos]) for name, qos in wanted)
        client.send(filters_form(SUBSCRIBE, mid, filters, version))
        ack = client.expect(SUBACK)
        refused = 0x80 if version == 4 else 0x8F
        assert (ack.mid, ack.reasons) == (mid, [2, refused, 0, refused, 1, 2])
    client.publish(f"{unique}/c/x/y", "served", qos=2)
    got = client.message()
    assert (got.payload, got.qos) == (b"served", 2)


MISPLACED = ["a#", "#a", "a/#/b", "#/", "##", "a+", "+a", "a/b+/c", "++", "a/+b", ""]


@pytest.mark.rialto
@pytest.mark.parametrize("name", MISPLACED)
def test_a_filter_that_is_none_is_refused(shared, connect, unique, version, name):
    """MQTT-4.7.1-2 to MQTT-4.7.1-3, MQTT-4.7.3-1; MQTT5-4.7.1-1 to MQTT5-4.7.1-2, MQTT5-4.7.3-1: 0x80 or 0x8F, in
    UNSUBACK too."""
    client = connect(shared, unique, version=version)
    assert client.subscribe((name, 1)).reasons == [0x80 if version == 4 else 0x8F]
    assert client.unsubscribe(name).reasons == ([] if version == 4 else [0x8F])
    client.ping()


@pytest.mark.rialto
@pytest.mark.parametrize("name", ["$share//t", "$share/g", "$share/g/", "$share/", "$share/+/t", "$share/g#/t",
                                  "$share/g+/t", "$share/g/a#"])
def test_a_shared_filter_that_is_none_is_refused(shared, connect, unique, version, name):
    """MQTT5-4.8.2-1 to MQTT5-4.8.2-2; v3.1.1 clients may share here, and are refused alike."""
    client = connect(shared, unique, version=version)
    assert client.subscribe((name, 1)).reasons == [0x80 if version == 4 else 0x8F]
    client.ping()


@pytest.mark.parametrize("name,topic,reaches", [
    ("a/+/c", "a/b/c", True), ("a/+/c", "a/b/c/d", False), ("a/#", "a", True), ("a/#", "a/b/c", True),
    ("a/#", "ab", False), ("a/+", "a", False), ("a/+", "a/", True), ("+", "a", True), ("+/+", "/b", True),
    ("+", "/b", False), ("/+", "/b", True),
    ("#", "a/b", True), ("a//c", "a//c", True), ("a//c", "a/c", False), ("a/+/c", "a//c", True), ("A", "a", False),
    ("+/b/#", "a/b/c/d", True), ("a b", "a b", True),
])
def test_filters_match_level_by_level(shared, connect, unique, version, name, topic, reaches):
    """MQTT-4.7.1-2 to MQTT-4.7.1-3, MQTT-3.3.2-3, MQTT-4.7.3-4; MQTT5-4.7.1-1 to MQTT5-4.7.1-2, MQTT5-3.3.2-3,
    MQTT5-4.7.3-4"""
    client = connect(shared, unique, version=version)
    client.subscribe((f"{unique}/{name}", 1), (f"{unique}-end", 1))
    client.publish(f"{unique}/{topic}", "x", qos=1)
    assert drained(client, client, f"{unique}-end") == (["x"] if reaches else [])


@pytest.mark.parametrize("name,topic,reaches", [
    ("#", f"{DOLLAR}/UNIQUE", False), ("+/UNIQUE", f"{DOLLAR}/UNIQUE", False), ("+/+", f"{DOLLAR}/UNIQUE", False),
    (f"{DOLLAR}/#", f"{DOLLAR}/UNIQUE", True), (f"{DOLLAR}/+", f"{DOLLAR}/UNIQUE", True), ("UNIQUE/#", "UNIQUE/$a", True),
    ("UNIQUE/+", "UNIQUE/$a", True),
])
def test_wildcards_in_front_pass_dollar_topics_by(broker, connect, version, name, topic, reaches):
    """MQTT-4.7.2-1, MQTT5-4.7.2-1: live and retained; a $ in a later level is a character like others."""
    name, topic = name.replace("UNIQUE", "u"), topic.replace("UNIQUE", "u")
    client = connect(broker, "c", version=version)
    client.publish(topic, "retained", qos=1, retain=True)
    client.subscribe((name, 1), (f"{DOLLAR}-end", 1))
    client.publish(topic, "live", qos=1)
    assert drained(client, client, f"{DOLLAR}-end") == (["retained", "live"] if reaches else [])


def test_the_same_filter_again_replaces_the_subscription(shared, connect, unique):
    """MQTT5-3.8.4-3, MQTT5-3.8.4-4: QoS, no local, identifier; one copy comes, and what is retained comes again."""
    client, other = connect(shared, unique, version=5), connect(shared, unique + "o")
    other.publish(unique, "kept", qos=1, retain=True)
    for qos, local, identifier in ((2, 4, 5), (0, 0, 6), (1, 4, None), (2, 0, 7)):
        properties = {"subscription_id": identifier} if identifier else None
        client.subscribe((unique, qos | local), properties=properties)
        replayed = client.message()
        assert (replayed.retain, replayed.qos) == (True, min(qos, 1))
        other.publish(unique, "live", qos=2)
        client.publish(unique, "own", qos=1, wait=False)
        expected = [b"live"] if local else [b"live", b"own"]
        got = [client.receive() for _ in range(len(expected) + 1)]
        messages = [p for p in got if p.kind == PUBLISH]
        assert [message.payload for message in messages] == expected
        assert messages[0].qos == qos
        assert messages[0].properties.get("subscription_id", [None]) == [identifier]
        for message in messages:
            if message.qos:
                client.ack(PUBACK if message.qos == 1 else PUBREC, message.mid)
            if message.qos == 2:
                client.expect(PUBREL)
                client.ack(PUBCOMP, message.mid)
        client.nothing_comes()


def test_no_message_is_lost_while_a_subscription_is_replaced(shared, connect, unique, version):
    """MQTT-3.8.4-3, MQTT5-3.8.4-4: a stream goes on while its subscriber subscribes again and again."""
    sub, pub = connect(shared, unique + "s", **keep(version)), connect(shared, unique + "p")
    sub.subscribe((unique, 1))
    count, seen, acks = 2000, [], 0
    for first in range(0, count, 20):
        pub.send(b"".join(publish_bytes(unique, str(n), 1, n % 65535 + 1) for n in range(first, first + 20)))
        sub.subscribe((unique, 1), wait=False)
        while True:
            got = sub.receive()
            if got.kind == SUBACK:
                acks += 1
                break
            seen.append(int(got.payload))
            sub.ack(PUBACK, got.mid)
    while len(seen) < count:
        got = sub.expect(PUBLISH)
        seen.append(int(got.payload))
        sub.ack(PUBACK, got.mid)
    assert seen == list(range(count)) and acks == count // 20


def test_unsubscribe_takes_what_is_equal_and_nothing_else(shared, connect, unique, version):
    """MQTT-3.10.4-1 to MQTT-3.10.4-2, MQTT-3.10.4-4 to MQTT-3.10.4-6, MQTT-2.3.1-7; MQTT5-3.10.4-1 to MQTT5-3.10.4-2,
    MQTT5-3.10.4-4 to MQTT5-3.10.4-6, MQTT5-3.11.3-1 to MQTT5-3.11.3-2, MQTT5-2.2.1-6"""
    client, pub = connect(shared, unique, version=version), connect(shared, unique + "p")
    client.subscribe((f"{unique}/a/+", 1), (f"{unique}/b", 1), (f"{unique}/B", 1), (f"{unique}/end", 1))
    ack = unsubscribe(client, 65535, f"{unique}/#", f"{unique}/a/b", f"{unique}/b/", f"{unique}/b")
    assert ack.mid == 65535 and ack.reasons == ([] if version == 4 else [0x11, 0x11, 0x11, 0])
    for topic in ("a/b", "b", "B"):
        pub.publish(f"{unique}/{topic}", topic, qos=1)
    assert drained(client, pub, f"{unique}/end") == ["a/b", "B"]
    # Nothing is left to give up; it is answered all the same.
    ack = unsubscribe(client, 7, f"{unique}/b")
    assert ack.mid == 7 and ack.reasons == ([] if version == 4 else [0x11])
    ack = unsubscribe(client, 8, f"{unique}/B", f"{unique}/never", f"{unique}/a/+")
    assert ack.mid == 8 and ack.reasons == ([] if version == 4 else [0, 0x11, 0])
    pub.publish(f"{unique}/a/b", "no", qos=1)
    assert drained(client, pub, f"{unique}/end") == []


def test_a_delivery_that_began_goes_on_after_unsubscribe(shared, connect, unique, version):
    """MQTT-3.10.4-3, MQTT5-3.10.4-3: QoS 1 and 2, on this connection and on the next."""
    client, pub = connect(shared, unique, **keep(version)), connect(shared, unique + "p")
    client.subscribe((unique, 2))
    for qos in (1, 2, 2):
        pub.publish(unique, str(qos), qos=qos)
    one, two, three = [client.expect(PUBLISH) for _ in range(3)]
    unsubscribe(client, 1, unique)
    client.ack(PUBREC, two.mid)
    assert client.expect(PUBREL).mid == two.mid
    client.cut()
    again = connect(shared, unique, **keep(version))
    assert again.connack.session_present
    got = [again.receive() for _ in range(3)]
    assert {(p.kind, p.mid) for p in got} == {(PUBLISH, one.mid), (PUBREL, two.mid), (PUBLISH, three.mid)}
    again.ack(PUBACK, one.mid)
    again.ack(PUBCOMP, two.mid)
    again.ack(PUBREC, three.mid)
    assert again.expect(PUBREL).mid == three.mid
    again.ack(PUBCOMP, three.mid)
    again.nothing_comes()


def test_each_ping_is_answered(shared, connect, unique, version):
    """MQTT-3.12.4-1, MQTT5-3.12.4-1"""
    client = connect(shared, unique, version=version)
    client.send(PING * 100)
    assert [client.receive().kind for _ in range(100)] == [PINGRESP] * 100
    client.send(publish_bytes(unique, "x", 1, 1, version=version) + PING)
    assert sorted(client.receive().kind for _ in range(2)) == [PUBACK, PINGRESP]
