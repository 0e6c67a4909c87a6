"""What ends by itself: sessions, messages, delayed wills (MQTT5-3.1.2.11.2, MQTT5-3.3.2.3.3, MQTT5-3.1.3.2.2)."""

import time

import pytest

from harness import wait_until
from rawmqtt import PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, Client, publish_bytes

NEVER = 0xFFFFFFFF


def five(connect, broker, name, expiry=None, clean=False, **options):
    properties = {**({} if expiry is None else {"session_expiry": expiry}), **options.pop("properties", {})}
    return connect(broker, name, version=5, clean=clean, properties=properties, **options)


def wait_out(seconds):
    """Waits out a span that the protocol counts in whole seconds: there is no condition to look at."""
    end = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= end, "a span in whole seconds", pause=0.05)


# -- sessions -----------------------------------------------------------------------------------------------

def test_a_session_begun_clean_is_kept_when_its_expiry_says_so(shared, connect, unique):
    """[MQTT5-3.1.2-23] [MQTT5-3.1.2-4]: clean start is about the past, the expiry about what comes after."""
    first = five(connect, shared, unique, 100, clean=True)
    assert not first.connack.session_present
    first.subscribe((unique, 1))
    first.cut()
    connect(shared, unique + "p").publish(unique, "x", qos=1)
    second = five(connect, shared, unique, 100)
    assert second.connack.session_present and second.message().payload == b"x"
    second.disconnect()


def test_a_session_of_expiry_0_is_not_resumed_even_by_who_takes_it_over(shared, connect, unique):
    """MQTT5-3.1.2.11.2: it ends with its network connection, and a takeover ends that [MQTT5-3.1.4-3]."""
    first = five(connect, shared, unique, 100)
    first.subscribe((unique, 1))
    first.disconnect()
    second = five(connect, shared, unique)
    assert second.connack.session_present
    third = five(connect, shared, unique, 100)
    assert second.expect_closed().reason == 0x8E
    assert not third.connack.session_present
    connect(shared, unique + "p").publish(unique, "x", qos=1)
    third.nothing_comes()
    third.disconnect()
    assert five(connect, shared, unique).connack.session_present


def test_disconnect_sets_the_expiry_that_counts(shared, connect, unique):
    """MQTT5-3.14.2.2.2: n to 0 ends the session, at once; n to m keeps it for m."""
    first = five(connect, shared, unique, 100)
    first.disconnect(0, {"session_expiry": 0})
    second = five(connect, shared, unique, 1)
    assert not second.connack.session_present
    second.disconnect(0, {"session_expiry": 100})
    wait_out(1.5)
    assert five(connect, shared, unique).connack.session_present


@pytest.mark.rialto
def test_what_disconnect_says_holds_before_the_socket_is_gone(shared, connect, unique):
    """MQTT5-3.14.2.2.2: a client that comes back at once finds no session, whatever the old connection's task does."""
    client = five(connect, shared, unique, 100)
    for _ in range(100):
        client.send(b"\xe0\x07\x00\x05\x11\x00\x00\x00\x00")
        after = five(connect, shared, unique, 100)
        assert not after.connack.session_present
        client.cut()
        client = after


@pytest.mark.rialto
def test_an_expiry_of_0_cannot_be_raised_and_the_will_comes(shared, connect, unique):
    """MQTT5-3.14.2.2.2: 0x82."""
    watcher = five(connect, shared, unique + "w")
    watcher.subscribe(f"{unique}/will")
    for expiry in (None, 0):
        client = five(connect, shared, unique, expiry, will={"topic": f"{unique}/will", "payload": "gone"})
        client.send(b"\xe0\x07\x00\x05\x11\x00\x00\x00\x05")
        assert client.expect_closed().reason == 0x82
        assert watcher.message().payload == b"gone"
    same = five(connect, shared, unique)
    same.disconnect(0, {"session_expiry": 0})


@pytest.mark.rialto
def test_a_capped_expiry_is_reported_and_holds(make_broker, connect):
    """MQTT5-3.2.2.3.2: CONNACK carries the expiry that counts if it is another than asked for, DISCONNECT cannot exceed
    it."""
    broker = make_broker(config="[mqtt]\nsession_expiry_s_max = 2\n").start()
    assert five(connect, broker, "a", NEVER).connack.properties["session_expiry"] == 2
    assert five(connect, broker, "b", 100).connack.properties["session_expiry"] == 2
    assert five(connect, broker, "c", 1).connack.properties.get("session_expiry", 1) == 1
    five(connect, broker, "d", 1).disconnect(0, {"session_expiry": NEVER})

    def is_gone():
        return broker.metric("rialto_sessions") <= 3

    wait_out(2.2)
    assert not five(connect, broker, "d", 1).connack.session_present


@pytest.mark.rialto
def test_an_expiry_capped_to_0_is_reported(make_broker, connect):
    broker = make_broker(config="[mqtt]\nsession_expiry_s_max = 0\n").start()
    client = five(connect, broker, "a", 100)
    assert client.connack.properties["session_expiry"] == 0
    client.disconnect(0, {"session_expiry": 50})
    assert not five(connect, broker, "a", 100).connack.session_present


@pytest.mark.parametrize("first,second,present", [
    ((4, False), (4, False), True), ((4, True), (4, False), False), ((4, False), (4, True), False),
    ((4, False), (5, None), True), ((5, 100), (4, False), True), ((5, 0), (4, False), False), ((5, None), (5, 9), False),
    ((5, NEVER), (5, None), True), ((4, True), (5, 9), False)])
@pytest.mark.parametrize("leaving", ["disconnect", "cut", "taken over"])
def test_session_present_is_right_in_every_case(shared, connect, unique, first, second, present, leaving):
    """[MQTT5-3.2.2-2] [MQTT5-3.2.2-3]; MQTT 3.1.1 [MQTT-3.1.2-4] [MQTT-3.1.2-6]: however the one before went."""
    def come(kind):
        version, how = kind
        if version == 4:
            return connect(shared, unique, clean=how)
        return five(connect, shared, unique, how)
    one = come(first)
    if leaving == "disconnect":
        one.disconnect()
    elif leaving == "cut":
        one.cut()
    two = come(second)
    assert two.connack.session_present == present
    if leaving == "taken over":
        one.expect_closed()
    two.disconnect(*(() if two.version == 4 else (0, {"session_expiry": 0} if second[1] else None)))
    connect(shared, unique).disconnect()


# -- messages -----------------------------------------------------------------------------------------------

def test_the_expiry_that_is_left_is_forwarded(shared, connect, unique):
    """[MQTT5-3.3.2-5] [MQTT5-3.3.2-6]: live, from the queue and from retained alike; without one there is none."""
    sub, pub = five(connect, shared, unique + "s", 100), five(connect, shared, unique + "p")
    sub.subscribe((f"{unique}/#", 1))
    pub.publish(f"{unique}/a", "live", qos=1, properties={"message_expiry": 100})
    pub.publish(f"{unique}/a", "live0", qos=0, properties={"message_expiry": 100})
    assert [sub.message().properties["message_expiry"] for _ in range(2)] == [100, 100]
    sub.disconnect()
    pub.publish(f"{unique}/a", "queued", qos=1, properties={"message_expiry": 100})
    pub.publish(f"{unique}/r", "kept", qos=1, retain=True, properties={"message_expiry": 100})
    pub.publish(f"{unique}/a", "endless", qos=1)
    wait_out(1.2)
    sub = five(connect, shared, unique + "s", 100)
    got = {one.payload: one.properties.get("message_expiry") for one in sub.messages(3)}
    late = five(connect, shared, unique + "l")
    late.subscribe((f"{unique}/r", 1))
    got[b"retained"] = late.message().properties["message_expiry"]
    assert got[b"endless"] is None
    assert all(97 <= got[name] <= 99 for name in (b"queued", b"kept", b"retained")), got
    pub.publish(f"{unique}/r", "", qos=1, retain=True)


@pytest.mark.rialto
@pytest.mark.parametrize("qos", [1, 2])
def test_a_message_that_was_sent_goes_on_although_it_expires(shared, connect, unique, qos):
    """[MQTT5-3.3.2-5] deletes what onward delivery has not begun; [MQTT5-4.4.0-1] has the rest sent again: at every step."""
    sub, pub = five(connect, shared, unique + "s", 100, properties={"receive_maximum": 1}), five(connect, shared, unique + "p")
    sub.subscribe((unique, 2))
    pub.publish(unique, "begun", qos=qos, properties={"message_expiry": 1})
    pub.publish(unique, "not begun", qos=qos, properties={"message_expiry": 1})
    pub.publish(unique, "endless", qos=qos)
    got = sub.expect(PUBLISH)
    assert got.payload == b"begun"
    wait_out(1.3)
    sub.cut()
    sub = five(connect, shared, unique + "s", 100, properties={"receive_maximum": 1})
    again = sub.expect(PUBLISH)
    assert (again.mid, again.payload, again.dup) == (got.mid, b"begun", True)
    if qos == 1:
        sub.ack(PUBACK, again.mid)
    else:
        sub.ack(PUBREC, again.mid)
        assert sub.expect(PUBREL).mid == got.mid
        sub.cut()
        sub = five(connect, shared, unique + "s", 100, properties={"receive_maximum": 1})
        assert sub.expect(PUBREL).mid == got.mid
        sub.ack(PUBCOMP, got.mid)
    assert sub.message().payload == b"endless"
    sub.nothing_comes()
    sub.disconnect()


@pytest.mark.rialto
def test_an_inbound_exchange_completes_although_its_message_expires(shared, connect, unique):
    """[MQTT5-4.3.3-10]: between PUBLISH and PUBREL the message's life is over; PUBCOMP comes all the same, no second copy."""
    pub = five(connect, shared, unique + "p", 100)
    pub.send(publish_bytes(unique, "brief", 2, 7, version=5, properties={"message_expiry": 1}))
    pub.expect(PUBREC)
    wait_out(1.2)
    pub.cut()
    pub = five(connect, shared, unique + "p", 100)
    pub.send(publish_bytes(unique, "brief", 2, 7, dup=True, version=5, properties={"message_expiry": 1}))
    assert pub.expect(PUBREC).reason < 0x80
    pub.ack(PUBREL, 7)
    got = pub.expect(PUBCOMP)
    assert (got.mid, got.reason) == (7, 0)
    pub.disconnect()


# -- wills --------------------------------------------------------------------------------------------------

WILL = {"payload": "gone", "qos": 1}


def leaving(connect, broker, unique, delay, expiry, name="w", **will):
    return five(connect, broker, unique + name, expiry, will={
        **WILL, "topic": f"{unique}/will", "properties": {"will_delay": delay, **will}})


@pytest.fixture
def watcher(shared, connect, unique):
    client = five(connect, shared, unique + "watch")
    client.subscribe((f"{unique}/#", 1))
    return client


def test_a_will_comes_at_the_end_of_its_session_at_the_latest(shared, connect, unique, watcher):
    """[MQTT5-3.1.3-9] [MQTT5-3.1.2-8]: an expiry of 1 s before a delay of 1000 s."""
    began = time.monotonic()
    leaving(connect, shared, unique, 1000, 1).cut()
    assert watcher.message(timeout=8).payload == b"gone"
    assert time.monotonic() - began > 0.8


def test_disconnect_may_end_the_session_and_so_bring_the_will(shared, connect, unique, watcher):
    """MQTT5-3.14.2.1 reason 0x04 and MQTT5-3.1.3.2.2: the expiry becomes 0, so a delayed will comes now."""
    leaving(connect, shared, unique, 1000, 1000).disconnect(4, {"session_expiry": 0})
    assert watcher.message().payload == b"gone"


def test_a_delayed_will_is_void_when_its_client_comes_back_by_takeover(shared, connect, unique, watcher):
    """[MQTT5-3.1.3-9]: the session goes on, so the will must not be sent."""
    first = leaving(connect, shared, unique, 1, 100)
    back = five(connect, shared, unique + "w", 100)
    assert back.connack.session_present and first.expect_closed().reason == 0x8E
    wait_out(1.5)
    watcher.nothing_comes()
    back.disconnect(0, {"session_expiry": 0})


def test_a_takeover_that_begins_anew_publishes_the_delayed_will(shared, connect, unique, watcher):
    """MQTT5-3.1.4 with [MQTT5-3.1.2-8]: the session ends."""
    leaving(connect, shared, unique, 1000, 100)
    five(connect, shared, unique + "w", 100, clean=True).disconnect(0, {"session_expiry": 0})
    assert watcher.message().payload == b"gone"


@pytest.mark.rialto
def test_a_session_of_expiry_0_leaves_its_delayed_will_to_who_takes_it_over(shared, connect, unique, watcher):
    """MQTT5-3.1.3.2.2: it ends with the takeover, and the will with it is due; of a resumed durable session too."""
    five(connect, shared, unique + "w", 100).disconnect()
    leaving(connect, shared, unique, 1000, 0)
    five(connect, shared, unique + "w").disconnect()
    assert watcher.message().payload == b"gone"


@pytest.mark.rialto
def test_a_normal_goodbye_voids_a_delayed_will_for_good(shared, connect, unique, watcher):
    """[MQTT5-3.14.4-3]: nothing comes when the session ends either."""
    leaving(connect, shared, unique, 0, 1).disconnect()
    leaving(connect, shared, unique, 1000, 1, name="v").disconnect()
    wait_out(2.2)
    watcher.nothing_comes()


def test_a_wills_expiry_begins_when_it_is_published(shared, connect, unique, watcher):
    """MQTT5-3.1.3.2.4: a delay of 2 s does not use up an expiry of 1 s."""
    leaving(connect, shared, unique, 2, 100, message_expiry=1).cut()
    got = watcher.message(timeout=8)
    assert got.payload == b"gone" and got.properties["message_expiry"] == 1


def test_a_will_carries_all_its_properties_in_order(shared, connect, unique, watcher):
    """MQTT5-3.1.3.2: user properties with order and repetition [MQTT5-3.3.2-17]."""
    properties = {"payload_format": 1, "content_type": "a/b", "response_topic": "r/t", "correlation_data": b"\x00\x01",
                  "user": [("z", "1"), ("a", "2"), ("z", "1"), ("", "")]}
    five(connect, shared, unique + "w", will={
        "topic": f"{unique}/will", "payload": "gone", "qos": 2, "properties": {"will_delay": 0, **properties}}).cut()
    got = watcher.message()
    assert got.properties == properties and got.payload == b"gone"


@pytest.mark.rialto
def test_a_delayed_will_survives_a_restart(make_broker, connect):
    """[MQTT5-3.1.2-8]: its time goes on while the broker is down, and it comes once."""
    broker = make_broker().start()
    watcher = five(connect, broker, "watch", 1000)
    watcher.subscribe(("will", 2))
    leave = Client(broker.mqtt, "w", version=5, clean=False, properties={"session_expiry": 1000},
                   will={"topic": "will", "payload": "gone", "qos": 2, "properties": {"will_delay": 2}})
    leave.connect()
    leave.cut()
    wait_until(lambda: broker.metric("rialto_connections", protocol="mqtt") == 1, "it left")
    broker.restart(hard=True)
    watcher = five(connect, broker, "watch", 1000)
    assert watcher.message(timeout=10).payload == b"gone"
    watcher.nothing_comes()
