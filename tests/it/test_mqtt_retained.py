"""Retained messages: set, replaced, cleared, replayed (MQTT-3.3.1-5 to -9, MQTT5-3.3.1.3, MQTT5-3.8.3.1)."""

import threading

import pytest

from clients import MosquittoSub, mosquitto_pub
from rawmqtt import PUBLISH, SUBACK, publish_bytes


def test_mosquitto_gets_what_was_retained_before(shared, unique, version):
    mosquitto_pub(shared.mqtt, f"{unique}/a", "kept", qos=1, version=version, retain=True)
    with MosquittoSub(shared.mqtt, f"{unique}/#", qos=1, version=version) as sub:
        assert sub.wait(1) == [(f"{unique}/a", 1, True, "kept")]
        mosquitto_pub(shared.mqtt, f"{unique}/a", "live", qos=1, version=version, retain=True)
        assert sub.wait(2)[1] == (f"{unique}/a", 1, False, "live")


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_the_last_value_is_replayed_at_the_lower_qos(shared, connect, unique, version, qos):
    """MQTT-3.3.1-5 to MQTT-3.3.1-8, MQTT5-3.3.1-5, MQTT5-3.3.1-9"""
    pub = connect(shared, unique + "p", version=version)
    pub.publish(unique, "old", qos=1, retain=True)
    pub.publish(unique, "new", qos=qos, retain=True)
    pub.ping()  # QoS 0 has no answer: what follows it says that it was taken
    sub = connect(shared, unique + "s", version=version)
    sub.subscribe((unique, 1))
    got = sub.message()
    assert (got.payload, got.retain, got.qos) == (b"new", True, min(qos, 1))
    sub.nothing_comes()


def test_an_empty_payload_clears_and_is_itself_delivered_live(shared, connect, unique, version):
    """MQTT-3.3.1-9 to MQTT-3.3.1-11, MQTT5-3.3.1-6 to MQTT5-3.3.1-7"""
    pub, live = connect(shared, unique + "p", version=version), connect(shared, unique + "l", version=version)
    pub.publish(unique, "x", qos=1, retain=True)
    live.subscribe((unique, 1))
    assert live.message().retain
    pub.publish(unique, b"", qos=1, retain=True)
    got = live.message()
    assert got.payload == b"" and not got.retain
    late = connect(shared, unique + "s", version=version)
    late.subscribe((unique, 1))
    late.nothing_comes()


def test_a_plain_publish_leaves_the_retained_value_alone(shared, connect, unique):
    """MQTT-3.3.1-12"""
    pub = connect(shared, unique + "p")
    pub.publish(unique, "kept", qos=1, retain=True)
    pub.publish(unique, "passing", qos=1)
    sub = connect(shared, unique + "s")
    sub.subscribe(unique)
    assert sub.message().payload == b"kept"


def test_wildcards_replay_every_match_and_no_dollar_topic(broker, connect):
    pub = connect(broker, "p")
    topics = ["a", "a/b", "a/b/c", "a//d", "b/b", "$app/b"]
    for topic in topics:
        pub.publish(topic, topic, qos=1, retain=True)
    expected = {"a/#": {"a", "a/b", "a/b/c", "a//d"}, "+/b": {"a/b", "b/b"}, "a/+/d": {"a//d"}, "$app/+": {"$app/b"},
                "#": {"a", "a/b", "a/b/c", "a//d", "b/b"}}
    for number, (pattern, matches) in enumerate(expected.items()):
        sub = connect(broker, f"s{number}")
        sub.subscribe((pattern, 1))
        assert {message.topic for message in sub.messages(len(matches))} == matches, pattern
        sub.nothing_comes()


def test_every_filter_of_one_subscribe_is_replayed(shared, connect, unique):
    pub = connect(shared, unique + "p")
    for name in "ab":
        pub.publish(f"{unique}/{name}", name, qos=1, retain=True)
    sub = connect(shared, unique + "s")
    sub.subscribe(f"{unique}/a", f"{unique}/b")
    assert {message.payload for message in sub.messages(2)} == {b"a", b"b"}


def test_subscribing_again_replays_again(shared, connect, unique, version):
    """MQTT-3.8.4-3, MQTT5-3.8.4-4"""
    pub, sub = connect(shared, unique + "p"), connect(shared, unique + "s", version=version)
    pub.publish(unique, "kept", qos=1, retain=True)
    for _ in range(2):
        sub.subscribe(unique)
        assert sub.message().payload == b"kept"


@pytest.mark.parametrize("handling,first,again", [(0, 1, 1), (1, 1, 0), (2, 0, 0)])
def test_retain_handling(shared, connect, unique, handling, first, again):
    """MQTT5-3.3.1-9 to MQTT5-3.3.1-11"""
    pub, sub = connect(shared, unique + "p"), connect(shared, unique + "s", version=5)
    pub.publish(unique, "kept", qos=1, retain=True)
    for count in (first, again):
        sub.subscribe((unique, handling << 4))
        sub.messages(count)
        sub.nothing_comes()


def test_retain_as_published(shared, connect, unique):
    """MQTT5-3.3.1-12, MQTT5-3.3.1-13"""
    pub = connect(shared, unique + "p")
    keeps, drops = (connect(shared, unique + name, version=5) for name in "kd")
    keeps.subscribe((unique, 8))
    drops.subscribe((unique, 0))
    pub.publish(unique, "x", retain=True)
    pub.publish(unique, "y")
    assert [message.retain for message in keeps.messages(2)] == [True, False]
    assert [message.retain for message in drops.messages(2)] == [False, False]


def test_retained_properties_come_back(shared, connect, unique):
    pub, sub = connect(shared, unique + "p", version=5), connect(shared, unique + "s", version=5)
    sent = {"content_type": "a/b", "user": [("k", "1"), ("k", "2")]}
    pub.publish(unique, "x", qos=1, retain=True, properties=sent)
    sub.subscribe((unique, 1))
    assert sub.message().properties == sent


def test_a_subscriber_never_misses_or_steps_back(shared, connect, unique):
    """Design §2, Retained: the newest value comes, live or retained; never none, never the older after the newer."""
    pub = connect(shared, unique + "p")
    pub.publish(unique, "0", qos=1, retain=True)
    stop = threading.Event()
    last = [0]

    def publish():
        while not stop.is_set():
            last[0] += 1
            pub.publish(unique, str(last[0]), qos=1, retain=True)

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        for attempt in range(60):
            acknowledged = last[0] - 1
            sub = connect(shared, f"{unique}s{attempt}")
            sub.subscribe((unique, 0), wait=False)
            seen = []
            while len(seen) < 4:
                got = sub.receive()
                if got.kind == PUBLISH:
                    seen.append(int(got.payload))
                else:
                    assert got.kind == SUBACK
            assert seen[0] >= acknowledged and seen == sorted(set(seen)), seen
            assert seen == list(range(seen[0], seen[0] + 4)), f"a gap: {seen}"
            sub.cut()
    finally:
        stop.set()
        thread.join()


def test_many_retained_messages_replay_completely(broker, connect):
    pub, count = connect(broker, "p"), 20000
    pub.send(b"".join(publish_bytes(f"many/{n}", str(n), retain=True) for n in range(count)))
    pub.ping()
    sub = connect(broker, "s")
    sub.subscribe(("many/#", 0))
    assert {int(message.payload) for message in sub.messages(count)} == set(range(count))
