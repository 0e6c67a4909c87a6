"""PUBLISH and its acknowledgements, statement by statement, as a publisher and a subscriber see them."""

import pytest

from mqttforms import PING, ack_form, filters_form, keep, wait_out
from rawmqtt import (PINGRESP, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, SUBSCRIBE, Closed, ack_bytes,
                     binary, packet, publish_bytes)

NOBODY_OR_NOTHING = (0, 0x10)
# Everybody may listen to everything and publish below free/ alone.
FREE_ALONE = """
[[acl]]
allow = "*"
action = "subscribe"
filter = "#"

[[acl]]
allow = "*"
action = "publish"
filter = "free/#"
"""


def first_packet(client):
    """The bytes of the next packet, as they came."""
    while len(client.buffer) < 2 or len(client.buffer) < 2 + client.buffer[1]:
        data = client.socket.recv(4096)
        if not data:
            raise Closed("end of stream")
        client.buffer += data
    assert client.buffer[1] < 128
    return bytes(client.buffer[:2 + client.buffer[1]])


def test_each_qos_gets_its_answer(shared, connect, unique, version):
    """MQTT-3.3.4-1, MQTT-2.3.1-6, MQTT-4.3.2-2, MQTT-4.3.3-2; MQTT5-3.3.4-1, MQTT5-2.2.1-5, MQTT5-4.3.2-4,
    MQTT5-4.3.3-8, MQTT5-4.3.3-11, MQTT5-3.4.2-1, MQTT5-3.5.2-1, MQTT5-3.7.2-1: with its identifier and a code of its
    table."""
    client = connect(shared, unique, version=version)
    client.send(publish_bytes(unique, "0", version=version) + PING)
    assert client.receive().kind == PINGRESP
    for mid in (1, 65535, 258):
        client.send(publish_bytes(unique, "1", 1, mid, version=version))
        ack = client.expect(PUBACK)
        assert ack.mid == mid and ack.reason in NOBODY_OR_NOTHING
        client.send(publish_bytes(unique, "2", 2, mid, version=version))
        received = client.expect(PUBREC)
        assert received.mid == mid and received.reason in NOBODY_OR_NOTHING
        client.ack(PUBREL, mid)
        done = client.expect(PUBCOMP)
        assert done.mid == mid and done.reason == 0


def test_qos_0_has_neither_identifier_nor_dup(shared, connect, unique, version):
    """MQTT-2.3.1-5, MQTT-4.3.1-1, MQTT-3.3.1-2; MQTT5-2.2.1-2, MQTT5-4.3.1-1, MQTT5-3.3.1-2; MQTT5-2.2.2-1: byte by
    byte, with a property length of 0."""
    sub = connect(shared, unique + "s", version=version)
    sub.subscribe((unique, 2))
    connect(shared, unique + "p").publish(unique, "xyz")
    body = binary(unique) + (b"\x00" if version == 5 else b"") + b"xyz"
    assert first_packet(sub) == packet(PUBLISH, 0, body)


@pytest.mark.parametrize("qos", [1, 2])
def test_a_publishers_dup_is_not_passed_on(shared, connect, unique, version, qos):
    """MQTT-3.3.1-3, MQTT5-3.3.1-3, MQTT5-4.3.2-2, MQTT5-4.3.3-2"""
    sub, pub = connect(shared, unique + "s", version=version), connect(shared, unique + "p", version=version)
    sub.subscribe((unique, 2))
    pub.publish(unique, "x", qos=qos, dup=True)
    assert not sub.message().dup


def test_behind_puback_an_identifier_means_a_new_message(shared, connect, unique, version):
    """MQTT-4.3.2-2, MQTT5-4.3.2-5: whatever DUP says."""
    sub, pub = connect(shared, unique + "s"), connect(shared, unique + "p", version=version)
    sub.subscribe((unique, 1))
    for dup in (False, True, True):
        pub.publish(unique, str(dup), qos=1, mid=7, dup=dup)
    assert [message.payload for message in sub.messages(3)] == [b"False", b"True", b"True"]


def test_identifiers_of_the_broker_are_free_ones(shared, connect, unique, version):
    """MQTT-2.3.1-4, MQTT-4.3.2-1; MQTT5-2.2.1-4, MQTT5-4.3.2-1, MQTT5-4.3.3-1: never 0, never one that is in use."""
    sub, pub = connect(shared, unique + "s", version=version), connect(shared, unique + "p")
    sub.subscribe((unique, 2))
    held = {}
    for turn in range(6):
        for number in range(50):
            pub.publish(unique, f"{turn}/{number}", qos=1 + number % 2)
        for message in [sub.expect(PUBLISH) for _ in range(50)]:
            assert message.mid and message.mid not in held
            held[message.mid] = message.qos
        for mid in list(held)[::3]:
            if held.pop(mid) == 1:
                sub.ack(PUBACK, mid)
            else:
                sub.ack(PUBREC, mid)
                assert sub.expect_ack(PUBREL, mid).mid == mid
                sub.ack(PUBCOMP, mid)


def test_nothing_is_sent_again_on_one_connection(shared, connect, unique, version):
    """MQTT5-4.4.0-1, and as users of MQTT-4.4.0-1 expect: only a reconnect brings it again."""
    sub, pub = connect(shared, unique + "s", **keep(version)), connect(shared, unique + "p")
    sub.subscribe((unique, 2))
    pub.publish(unique, "1", qos=1)
    pub.publish(unique, "2", qos=2)
    got = [sub.expect(PUBLISH) for _ in range(2)]
    sub.ack(PUBREC, got[1].mid)
    sub.expect(PUBREL)
    wait_out(2)
    sub.nothing_comes()


@pytest.mark.parametrize("kind,qos,reason", [(PUBACK, 1, 0x80), (PUBACK, 1, 0x97), (PUBREC, 2, 0x80), (PUBREC, 2, 0x99)])
def test_a_refusal_by_the_receiver_ends_the_delivery(shared, connect, unique, kind, qos, reason):
    """MQTT5-4.3.3-4, MQTT5-4.4.0-2: no PUBREL, the window is free again, and nothing comes after a reconnect."""
    options = keep(5)
    options["properties"]["receive_maximum"] = 1
    sub, pub = connect(shared, unique + "s", **options), connect(shared, unique + "p")
    sub.subscribe((unique, 2))
    for word in ("refused", "next"):
        pub.publish(unique, word, qos=qos)
    sub.send(ack_form(kind, sub.expect(PUBLISH).mid, reason))
    assert sub.message().payload == b"next"
    sub.cut()
    again = connect(shared, unique + "s", **options)
    assert again.connack.session_present
    again.nothing_comes()


@pytest.mark.rialto
def test_a_refused_qos_2_publish_leaves_its_identifier_free(make_broker, connect):
    """MQTT5-4.3.3-9: behind PUBREC 0x87 the same identifier is a new message, without any PUBREL."""
    broker = make_broker(config=FREE_ALONE).start()
    sub, pub = connect(broker, "s"), connect(broker, "p", version=5)
    sub.subscribe(("#", 2))
    pub.send(publish_bytes("closed/a", "no", 2, 9, version=5))
    assert pub.expect(PUBREC).reason == 0x87
    pub.send(publish_bytes("free/a", "yes", 2, 9, version=5))
    assert pub.expect(PUBREC).reason in NOBODY_OR_NOTHING
    pub.ack(PUBREL, 9)
    assert pub.expect(PUBCOMP).reason == 0
    assert sub.message().payload == b"yes"


def test_identifiers_of_both_sides_are_apart(shared, connect, unique, version):
    """MQTT-2.3.1-6, MQTT5-2.2.1-5: the broker's message and the client's may have one identifier at one time, and a
    SUBSCRIBE that of a delivery."""
    client, pub = connect(shared, unique, version=version), connect(shared, unique + "p")
    client.subscribe((f"{unique}/in", 2))
    pub.publish(f"{unique}/in", "in", qos=2)
    got = client.expect(PUBLISH)
    client.send(publish_bytes(f"{unique}/out", "out", 2, got.mid, version=version))
    assert client.expect(PUBREC).mid == got.mid
    client.send(filters_form(SUBSCRIBE, got.mid, binary(f"{unique}/more") + b"\x01", version))
    ack = client.expect(SUBACK)
    assert (ack.mid, ack.reasons) == (got.mid, [1])
    client.ack(PUBREC, got.mid)
    assert client.expect(PUBREL).mid == got.mid
    client.ack(PUBREL, got.mid)
    done = client.expect(PUBCOMP)
    assert (done.mid, done.reason) == (got.mid, 0)
    client.ack(PUBCOMP, got.mid)
    client.nothing_comes()


def test_acknowledgements_of_nothing_open_no_window(shared, connect, unique):
    """MQTT5-4.9.0-1 to MQTT5-4.9.0-2, MQTT5-3.3.4-9: a quota does not grow beyond the receive maximum, whatever is
    acknowledged. MQTT5-3.6.2-1: a PUBREC that nobody waits for gets PUBREL 0x92."""
    sub = connect(shared, unique + "s", version=5, properties={"receive_maximum": 2})
    pub = connect(shared, unique + "p")
    sub.subscribe((unique, 2))
    for mid in range(30000, 30010):
        sub.send(ack_bytes(PUBACK, mid) + ack_bytes(PUBCOMP, mid) + ack_bytes(PUBREC, mid))
        released = sub.expect(PUBREL)
        assert (released.mid, released.reason) == (mid, 0x92)
    for number in range(6):
        pub.publish(unique, str(number), qos=1 + number % 2)
    held = [sub.expect(PUBLISH) for _ in range(2)]
    sub.nothing_comes()
    assert [message.payload for message in held] == [b"0", b"1"]
    sub.ack(PUBACK, held[0].mid)
    sub.ack(PUBACK, held[0].mid)
    assert sub.expect(PUBLISH).payload == b"2"
    sub.nothing_comes()


def test_acknowledgements_keep_the_order(shared, connect, unique, version):
    """MQTT-4.6.0-2 to MQTT-4.6.0-4: PUBACKs and PUBRECs in the order of the PUBLISHes, PUBRELs in that of the PUBRECs;
    what is durable and what is not alike."""
    kept = connect(shared, unique + "k", **keep(version))
    kept.subscribe((f"{unique}/kept", 2))
    client = connect(shared, unique, version=version)
    ids = list(range(1, 201))
    for qos, kind in ((1, PUBACK), (2, PUBREC)):
        client.send(b"".join(publish_bytes(f"{unique}/{'kept' if mid % 3 else 'free'}", "x", qos, mid, version=version)
                             for mid in ids))
        assert [client.expect(kind).mid for _ in ids] == ids
    client.send(b"".join(ack_bytes(PUBREL, mid) for mid in ids))
    assert [client.expect(PUBCOMP).mid for _ in ids] == ids
    got = [kept.expect(PUBLISH) for mid in ids * 2 if mid % 3]
    second = [message.mid for message in got if message.qos == 2]
    kept.send(b"".join(ack_bytes(PUBREC, mid) for mid in reversed(second)))
    assert [kept.expect(PUBREL).mid for _ in second] == second[::-1]


def test_one_clients_messages_stay_in_order(shared, connect, unique, version):
    """MQTT-4.6.0-5 to MQTT-4.6.0-6, MQTT5-4.6.0-5 to MQTT5-4.6.0-6: per topic and QoS, for a durable and a clean
    session."""
    pub = connect(shared, unique + "p", version=version)
    subs = [connect(shared, unique + "c", version=version), connect(shared, unique + "d", **keep(version))]
    for sub in subs:
        sub.subscribe((f"{unique}/#", 2))
    count = 600
    sent = [(f"{unique}/{number % 2}", number % 3, str(number)) for number in range(count)]
    # QoS 2 is released as one goes: a broker may wait for PUBREL before it passes a message on.
    for number, (topic, qos, text) in enumerate(sent, 1):
        pub.send(publish_bytes(topic, text, qos, number if qos else 0, version=version)
                 + (ack_bytes(PUBREL, number) if qos == 2 else b""))
    for sub in subs:
        got = sub.messages(count)
        for topic in {topic for topic, _, _ in sent}:
            for qos in range(3):
                texts = [message.payload.decode() for message in got if (message.topic, message.qos) == (topic, qos)]
                assert texts == [text for where, level, text in sent if (where, level) == (topic, qos)]


def test_what_was_sent_does_not_expire(shared, connect, unique):
    """MQTT5-4.3.3-7, MQTT5-3.3.2-5: a QoS 2 message that went out before its expiry comes again after it."""
    sub, pub = connect(shared, unique + "s", **keep(5)), connect(shared, unique + "p", version=5)
    sub.subscribe((unique, 2))
    pub.publish(unique, "sent", qos=2, properties={"message_expiry": 1})
    first = sub.expect(PUBLISH)
    sub.cut()
    wait_out(2.1)
    again = connect(shared, unique + "s", **keep(5))
    got = again.message()
    assert (got.mid, got.payload, got.dup) == (first.mid, b"sent", True)


def test_an_exchange_outlives_its_messages_expiry(shared, connect, unique):
    """MQTT5-4.3.3-13: PUBREL still gets PUBCOMP, and the identifier is free only then."""
    pub = connect(shared, unique, **keep(5))
    pub.send(publish_bytes(unique, "x", 2, 4, version=5, properties={"message_expiry": 1}))
    pub.expect(PUBREC)
    wait_out(2.1)
    pub.send(publish_bytes(unique, "x", 2, 4, dup=True, version=5, properties={"message_expiry": 1}))
    assert pub.expect(PUBREC).reason == 0
    pub.ack(PUBREL, 4)
    done = pub.expect(PUBCOMP)
    assert (done.mid, done.reason) == (4, 0)
