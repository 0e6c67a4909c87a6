"""Corners of both versions: QoS 2 cut at each step, order and DUP after a resume, subscription options, farewells."""

import struct

import pytest

from harness import wait_until
from rawmqtt import PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, Client, Timeout, binary, packet, publish_bytes


def lasting(connect, broker, name, version=5, **options):
    if version == 5:
        options["properties"] = {"session_expiry": 1000, **options.get("properties", {})}
    return connect(broker, name, version=version, clean=False, **options)


class Receiver:
    """A QoS 2 receiver that keeps its state as [MQTT5-4.3.3-8] and following ask, and counts what it was given."""

    def __init__(self):
        self.open, self.given = set(), []

    def take(self, got):
        if got.mid not in self.open:
            assert not got.dup or got.payload not in self.given, "a duplicate under another identifier"
            self.open.add(got.mid)
            self.given.append(got.payload)


LEAVING = {"cut": lambda client: client.cut(), "taken over": lambda client: None}


@pytest.mark.parametrize("leaving", LEAVING)
@pytest.mark.parametrize("step", ["before PUBREC", "PUBREC sent", "PUBREL read", "PUBCOMP sent"])
def test_a_qos2_delivery_cut_at_any_step_arrives_once(shared, connect, unique, version, step, leaving):
    """[MQTT-4.3.3-1] [MQTT-4.4.0-1], [MQTT5-4.3.3-1] to [MQTT5-4.3.3-6], [MQTT5-4.4.0-1]: the same identifier, DUP on
    PUBLISH, PUBREL once PUBREC came."""
    sub, pub = lasting(connect, shared, unique + "s", version), connect(shared, unique + "p")
    sub.subscribe((unique, 2))
    receiver = Receiver()
    for number in range(3):
        pub.publish(unique, str(number), qos=2)
    for number in range(3):
        receiver.take(sub.expect(PUBLISH))
    mids = sorted(receiver.open)
    if step != "before PUBREC":
        for mid in mids:
            sub.ack(PUBREC, mid)
    if step in ("PUBREL read", "PUBCOMP sent"):
        assert [sub.expect(PUBREL).mid for _ in mids] == mids
    if step == "PUBCOMP sent":
        for mid in mids:
            sub.ack(PUBCOMP, mid)
        sub.ping()
        receiver.open.clear()
    LEAVING[leaving](sub)
    again = lasting(connect, shared, unique + "s", version)
    assert again.connack.session_present
    pub.publish(unique, "end", qos=2)
    while b"end" not in receiver.given:
        got = again.receive()
        if got.kind == PUBREL:
            receiver.open.discard(got.mid)
            again.ack(PUBCOMP, got.mid)
            continue
        assert got.kind == PUBLISH and got.dup == (got.payload != b"end")
        receiver.take(got)
        again.ack(PUBREC, got.mid)
    while receiver.open:
        got = again.expect(PUBREL)
        receiver.open.discard(got.mid)
        again.ack(PUBCOMP, got.mid)
    again.nothing_comes()
    assert receiver.given == [b"0", b"1", b"2", b"end"]
    again.disconnect()


@pytest.mark.parametrize("step", ["PUBLISH sent", "PUBREC read", "PUBREL sent", "PUBCOMP read"])
@pytest.mark.parametrize("rounds", [1, 3])
def test_a_qos2_publish_repeated_over_many_reconnects_arrives_once(shared, connect, unique, version, step, rounds):
    """[MQTT-4.3.3-2], [MQTT5-4.3.3-8], [MQTT5-4.3.3-10] to [MQTT5-4.3.3-12]: the broker keeps the identifier until PUBREL,
    however often the step is repeated."""
    sub = connect(shared, unique + "s")
    sub.subscribe((unique, 2))
    pub = lasting(connect, shared, unique + "p", version)
    for number in range(rounds):
        dup = number > 0
        if step in ("PUBLISH sent", "PUBREC read"):
            pub.send(publish_bytes(unique, "x", 2, 9, dup=dup, version=version))
            if step == "PUBREC read":
                pub.expect(PUBREC)
        else:
            if not dup:
                pub.send(publish_bytes(unique, "x", 2, 9, version=version))
                pub.expect(PUBREC)
            pub.ack(PUBREL, 9)
            if step == "PUBCOMP read":
                pub.expect(PUBCOMP)
        # What was sent is read by the broker even though the connection is taken over at once.
        again = lasting(connect, shared, unique + "p", version)
        assert again.connack.session_present
        pub.cut()
        pub = again
    if step in ("PUBLISH sent", "PUBREC read"):
        pub.send(publish_bytes(unique, "x", 2, 9, dup=True, version=version))
        assert pub.expect(PUBREC).mid == 9
    pub.ack(PUBREL, 9)
    assert pub.expect(PUBCOMP).mid == 9
    pub.publish(unique, "end", qos=2, mid=9)
    assert [got.payload for got in sub.messages(2)] == [b"x", b"end"]
    sub.nothing_comes()


def test_an_identifier_is_new_again_after_pubrel(shared, connect, unique, version):
    """[MQTT-4.3.3-2] [MQTT5-4.3.3-12]: PUBLISH with the identifier after PUBCOMP is a new message, DUP or not."""
    sub, pub = connect(shared, unique + "s"), lasting(connect, shared, unique + "p", version)
    sub.subscribe((unique, 2))
    for number in range(3):
        pub.publish(unique, str(number), qos=2, mid=5, dup=number > 0)
    assert [got.payload for got in sub.messages(3)] == [b"0", b"1", b"2"]


def test_the_publishers_dup_is_not_passed_on(shared, connect, unique, version):
    """[MQTT-3.3.1-3] [MQTT5-3.3.1-3]: DUP of the outgoing packet is set for redelivery alone."""
    sub, pub = connect(shared, unique + "s", version=version), connect(shared, unique + "p", version=version)
    sub.subscribe((unique, 2))
    pub.publish(unique, "1", qos=1, dup=True)
    pub.publish(unique, "2", qos=2, dup=True)
    assert not any(got.dup for got in sub.messages(2))


def test_order_per_topic_holds_through_resumes(shared, connect, unique, version):
    """[MQTT-4.6.0-1] [MQTT-4.6.0-5] [MQTT-4.6.0-6] [MQTT5-4.6.0-5] [MQTT5-4.6.0-6]: sent again in the original
    order, before anything newer."""
    sub, pub = lasting(connect, shared, unique + "s", version), connect(shared, unique + "p")
    sub.subscribe((f"{unique}/#", 1))
    seen, number = {}, 0
    for _ in range(5):
        for _ in range(20):
            pub.publish(f"{unique}/{number % 3}", str(number), qos=1)
            number += 1
        for index in range(13):
            got = sub.expect(PUBLISH)
            if index % 2 == 0:
                seen.setdefault(got.topic, []).append(int(got.payload))
                sub.ack(PUBACK, got.mid)
        sub.cut()
        sub = lasting(connect, shared, unique + "s", version)
        last = {}
        held = []
        try:
            while True:
                got = sub.receive(timeout=0.3)
                assert int(got.payload) > last.get(got.topic, -1), "order within a topic"
                last[got.topic] = int(got.payload)
                held.append(got)
        except Timeout:
            pass
        assert [got.dup for got in held] == sorted((got.dup for got in held), reverse=True), "first what was sent before"
        for got in held:
            sub.ack(PUBACK, got.mid)
        sub.ping()
    sub.disconnect()


def test_nothing_is_sent_again_while_the_connection_lasts(shared, connect, unique, version):
    """[MQTT-4.4.0-1] [MQTT5-4.4.0-1]: only after a reconnect, however long the acknowledgement takes."""
    sub, pub = lasting(connect, shared, unique + "s", version), connect(shared, unique + "p")
    sub.subscribe((unique, 2))
    pub.publish(unique, "1", qos=1)
    pub.publish(unique, "2", qos=2)
    first, second = sub.expect(PUBLISH), sub.expect(PUBLISH)
    sub.ack(PUBREC, second.mid)
    sub.expect(PUBREL)
    with pytest.raises(Timeout):
        sub.receive(timeout=2)
    sub.ack(PUBACK, first.mid)
    sub.ack(PUBCOMP, second.mid)
    sub.ping()


def test_a_repeated_pubrec_is_answered_again(shared, connect, unique, version):
    """[MQTT-4.3.3-1] [MQTT5-4.3.3-4]: each PUBREC gets its PUBREL."""
    sub, pub = lasting(connect, shared, unique + "s", version), connect(shared, unique + "p")
    sub.subscribe((unique, 2))
    pub.publish(unique, "x", qos=2)
    got = sub.expect(PUBLISH)
    for _ in range(3):
        sub.ack(PUBREC, got.mid)
        assert sub.expect(PUBREL).mid == got.mid
    sub.ack(PUBCOMP, got.mid)
    sub.nothing_comes()
    sub.disconnect()


# -- farewells ----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("clean", [True, False])
def test_a_farewell_counts_however_soon_the_client_is_back(shared, connect, unique, version, clean):
    """[MQTT-3.14.4-3] [MQTT5-3.14.4-3]: DISCONNECT and the end of the connection may lie unread when the next CONNECT comes."""
    watcher = connect(shared, unique + "watch")
    watcher.subscribe((f"{unique}/will", 1))
    options = {"version": version, "clean": clean, "will": {"topic": f"{unique}/will", "payload": "gone", "qos": 1}}
    if version == 5 and not clean:
        options["properties"] = {"session_expiry": 100}
    for _ in range(300):
        client = Client(shared.mqtt, unique, **options)
        client.connect()
        client.send(b"\xe0\x00")
        client.cut()
    watcher.nothing_comes()


def test_the_end_without_a_farewell_counts_too(shared, connect, unique, version):
    """[MQTT-3.1.2-8] [MQTT5-3.1.2-8] and MQTT5-3.1.4: one will for each connection that was cut or taken over."""
    watcher = connect(shared, unique + "watch")
    watcher.subscribe((f"{unique}/will", 1))
    will = {"topic": f"{unique}/will", "payload": "gone", "qos": 1}
    for number in range(40):
        client = Client(shared.mqtt, unique, version=version, will=will)
        client.connect()
        if number % 2 == 0:
            client.cut()
    client.disconnect()
    assert len(watcher.messages(39)) == 39
    watcher.nothing_comes()


# -- subscriptions ------------------------------------------------------------------------------------------

def test_filters_refused_in_v3_get_0x80_and_the_rest_holds(shared, connect, unique):
    """[MQTT-3.8.4-5] [MQTT-3.9.3-2]"""
    sub, pub = connect(shared, unique + "s"), connect(shared, unique + "p")
    assert sub.subscribe((f"{unique}/a", 1), (f"{unique}/#/b", 1), (f"{unique}/+x", 2)).reasons == [1, 0x80, 0x80]
    pub.publish(f"{unique}/a", "x", qos=1)
    assert sub.message().payload == b"x"


def test_subscription_identifiers_stay_with_what_waits_and_comes_again(shared, connect, unique):
    """[MQTT5-3.3.4-3] [MQTT5-3.3.4-4]: all that match, queued, redelivered and retained alike."""
    sub, pub = lasting(connect, shared, unique + "s"), connect(shared, unique + "p")
    sub.subscribe((f"{unique}/+", 1), properties={"subscription_id": 3})
    sub.subscribe((f"{unique}/a", 1), properties={"subscription_id": 200})
    sub.subscribe((f"{unique}/#", 0))
    sub.disconnect()
    pub.publish(f"{unique}/a", "x", qos=1)
    for _ in range(2):
        sub = lasting(connect, shared, unique + "s")
        seen = []
        while sorted(seen) != [3, 200]:
            got = sub.expect(PUBLISH)
            assert got.payload == b"x"
            seen += got.properties["subscription_id"]
        sub.nothing_comes()
        sub.cut()
    sub = lasting(connect, shared, unique + "s")
    sub.message()
    pub.publish(f"{unique}/r", "kept", retain=True, qos=1)
    sub.disconnect(0, {"session_expiry": 0})
    late = connect(shared, unique + "l", version=5)
    late.subscribe((f"{unique}/r", 1), properties={"subscription_id": 77})
    got = late.message()
    assert got.retain and got.properties["subscription_id"] == [77]
    pub.publish(f"{unique}/r", "", retain=True, qos=1)


def test_subscribing_again_replaces_identifier_and_options(shared, connect, unique):
    """[MQTT5-3.8.4-3]: also away from an identifier; nothing is lost or doubled."""
    sub, pub = connect(shared, unique + "s", version=5), connect(shared, unique + "p")
    sub.subscribe((unique, 1), properties={"subscription_id": 9})
    pub.publish(unique, "1", qos=1)
    assert sub.message().properties == {"subscription_id": [9]}
    sub.subscribe((unique, 0))
    pub.publish(unique, "2", qos=1)
    got = sub.message()
    assert (got.properties, got.qos) == ({}, 0)
    sub.nothing_comes()


@pytest.mark.rialto
def test_retain_handling_1_remembers_across_restarts(make_broker, connect):
    """[MQTT5-3.3.1-10]: sent only if the subscription did not exist, and a durable one exists after a restart."""
    broker = make_broker().start()
    connect(broker, "p").publish("t", "kept", qos=1, retain=True)
    sub = lasting(connect, broker, "s")
    sub.subscribe(("t", 1 | 0x10))
    assert sub.message().payload == b"kept"
    sub.subscribe(("t", 1 | 0x10))
    sub.nothing_comes()
    sub.disconnect()
    broker.restart(hard=True)
    sub = lasting(connect, broker, "s")
    assert sub.connack.session_present
    sub.subscribe(("t", 1 | 0x10))
    sub.nothing_comes()
    sub.subscribe(("t", 1 | 0x20))
    sub.nothing_comes()
    sub.subscribe(("t", 1))
    assert sub.message().payload == b"kept"
    sub.unsubscribe("t")
    sub.subscribe(("t", 1 | 0x20))
    sub.nothing_comes()
    sub.unsubscribe("t")
    sub.subscribe(("t", 1 | 0x10))
    assert sub.message().payload == b"kept"


def test_retain_as_published_keeps_the_flag(shared, connect, unique):
    """[MQTT5-3.3.1-12] [MQTT5-3.3.1-13]"""
    keeps, clears = connect(shared, unique + "k", version=5), connect(shared, unique + "c", version=5)
    keeps.subscribe((unique, 1 | 0x08))
    clears.subscribe((unique, 1))
    pub = connect(shared, unique + "p")
    pub.publish(unique, "r", qos=1, retain=True)
    pub.publish(unique, "n", qos=1)
    assert [got.retain for got in keeps.messages(2)] == [True, False]
    assert [got.retain for got in clears.messages(2)] == [False, False]
    late = connect(shared, unique + "l", version=5)
    late.subscribe((unique, 1))
    assert late.message().retain
    pub.publish(unique, "", qos=1, retain=True)


@pytest.mark.rialto
def test_no_local_holds_for_queued_and_retained_alike(shared, connect, unique):
    """[MQTT5-3.8.3-3]: also after a resume; the client's own retained message comes when it subscribes."""
    client, other = lasting(connect, shared, unique), connect(shared, unique + "o")
    client.subscribe((f"{unique}/#", 1 | 0x04))
    client.publish(f"{unique}/own", "own", qos=1)
    other.publish(f"{unique}/other", "other", qos=1)
    assert client.message().payload == b"other"
    client.disconnect()
    client = lasting(connect, shared, unique)
    client.publish(f"{unique}/own", "own", qos=1)
    client.nothing_comes()
    client.disconnect(0, {"session_expiry": 0})


def test_user_properties_keep_order_and_repetition_through_queue_and_retained(shared, connect, unique):
    """[MQTT5-3.3.2-17] [MQTT5-3.3.2-18] [MQTT5-3.3.2-20]: whole blocks of properties unaltered, at every QoS."""
    sent = {"payload_format": 1, "content_type": "text/plain; x", "response_topic": "r/1", "correlation_data": bytes(range(256)),
            "user": [("b", "1"), ("a", "2"), ("b", "1"), ("", ""), ("é", "ü")]}
    sub, pub = lasting(connect, shared, unique + "s"), connect(shared, unique + "p", version=5)
    sub.subscribe((f"{unique}/#", 2))
    for qos in range(3):
        pub.publish(f"{unique}/t", "live", qos=qos, properties=sent)
    assert [got.properties for got in sub.messages(3)] == [sent] * 3
    sub.disconnect()
    for qos in (1, 2):
        pub.publish(f"{unique}/t", "queued", qos=qos, properties=sent)
    pub.publish(f"{unique}/r", "kept", qos=1, retain=True, properties=sent)
    sub = lasting(connect, shared, unique + "s")
    assert [got.properties for got in sub.messages(3)] == [sent] * 3
    late = connect(shared, unique + "l", version=5)
    late.subscribe((f"{unique}/r", 1))
    assert late.message().properties == sent
    pub.publish(f"{unique}/r", "", qos=1, retain=True)
    sub.disconnect(0, {"session_expiry": 0})


def test_capabilities_are_what_connack_says(shared, connect, unique):
    """MQTT5-3.2.2.3: what CONNACK does not take back works: QoS 2, retained messages,
    wildcards, subscription identifiers."""
    client = connect(shared, unique, version=5)
    said = client.connack.properties
    assert said.get("maximum_qos", 2) == 2
    assert client.publish(f"{unique}/q", "x", qos=2).kind == PUBCOMP
    assert all(said.get(name, 1) == 1 for name in ("retain_available", "wildcard_available", "subscription_id_available"))
    client.publish(f"{unique}/r", "x", qos=1, retain=True)
    assert client.subscribe((f"{unique}/+", 2), properties={"subscription_id": 1}).reasons == [2]
    got = client.message()
    assert got.retain and got.properties["subscription_id"] == [1]
    client.publish(f"{unique}/r", "", qos=1, retain=True)


# -- a disk that refuses ------------------------------------------------------------------------------------

@pytest.mark.rialto
def test_giving_a_subscription_up_while_the_disk_refuses_is_answered(make_broker, connect, tmp_path):
    """[MQTT-3.10.4-4] [MQTT-3.10.4-5] [MQTT5-3.10.4-4] and MQTT5-3.11.3: v5 UNSUBACK 0x83 and the subscription
    stays; v3.1.1 has no code for
    it and is closed, with its subscription."""
    faults = tmp_path / "faults"
    faults.write_text("# well\n")
    broker = make_broker(env={"RIALTO_TEST_DISK": str(faults)}).start()
    five, three = lasting(connect, broker, "five"), lasting(connect, broker, "three", 4)
    for client in (five, three):
        client.subscribe(("t", 1))
    faults.write_text("* journal EIO\n")
    pub = connect(broker, "p", version=5)
    # Whatever finds the disk out is in doubt, and answered only when it is well.
    pub.publish("t", "x", qos=1, wait=False)
    wait_until(lambda: broker.http("/readyz")[0] != 200, "the disk refuses")
    got = five.unsubscribe("t")
    assert got.reasons == [0x83] and got.properties["reason_string"]
    three.send(packet(10, 2, struct.pack("!H", 3) + binary("t")))
    assert three.expect_closed() is None
    faults.write_text("# well again\n")
    wait_until(lambda: broker.http("/readyz")[0] == 200, "the disk is well")
    assert pub.publish("t", "end", qos=1).reason < 0x80

    def last_of(client):
        while client.message().payload != b"end":
            pass
        return True

    assert last_of(five)
    again = lasting(connect, broker, "three", 4)
    assert again.connack.session_present and last_of(again)
    assert five.unsubscribe("t").reasons == [0]


@pytest.mark.rialto
def test_a_will_that_the_disk_refuses_comes_when_it_is_well(make_broker, connect, tmp_path):
    """[MQTT-3.1.2-8]: the will of a durable session is not lost because its connection went at a bad time; and comes once."""
    faults = tmp_path / "faults"
    faults.write_text("# well\n")
    broker = make_broker(env={"RIALTO_TEST_DISK": str(faults)}).start()
    watcher, pub = lasting(connect, broker, "watcher"), connect(broker, "p", version=5)
    watcher.subscribe(("will", 2))
    client = lasting(connect, broker, "c", will={"topic": "will", "payload": "gone", "qos": 2})
    faults.write_text("* journal EIO\n")
    pub.publish("will", "x", qos=1, wait=False)
    wait_until(lambda: broker.http("/readyz")[0] != 200, "the disk refuses")
    client.cut()
    broker.wait_log("a will could not be published")
    faults.write_text("# well again\n")
    seen = []
    while b"gone" not in seen:
        seen.append(watcher.message().payload)
    watcher.nothing_comes()
