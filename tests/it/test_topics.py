"""Topics of every length, depth and character, from SUBSCRIBE to a restart."""

import time

import pytest

from rawmqtt import PINGREQ, PINGRESP, PUBACK, PUBLISH, Client, connect_bytes, packet

LONGEST = 65_535
DEEP = "[mqtt]\ntopic_levels_max = 65536\n"


def meet(connect, broker, unique, topic, filter_, version, qos=1):
    """Whether what is published to `topic` comes to a subscriber of `filter_`, live and retained."""
    sub = connect(broker, unique + "s", version=version)
    assert sub.subscribe((filter_, qos)).reasons == [qos]
    pub = connect(broker, unique + "p", version=version)
    pub.publish(topic, b"x", qos, retain=True)
    late = connect(broker, unique + "l", version=version)
    late.subscribe((filter_, qos))
    seen = []
    for client in (sub, late):
        client.send(packet(PINGREQ, 0, b""))
        got = client.receive()
        while got.kind != PINGRESP:
            if got.kind == PUBLISH:
                assert got.topic == topic
                client.ack(PUBACK, got.mid)
                seen.append(got.retain)
            got = client.receive()
        client.unsubscribe(filter_)
    pub.publish(topic, b"", qos, retain=True)
    assert seen in ([], [False, True]), seen
    return bool(seen)


@pytest.mark.parametrize("topic,filter_,expected", [
    ("/", "/", True), ("/", "+/+", True), ("/", "+", False), ("//", "+/+/+", True), ("//", "/+/", True),
    ("a//b", "a/+/b", True), ("a//b", "a/b", False), ("a/", "a/+", True), ("a/", "a", False), ("a", "a/#", True),
    ("/a", "#", True), ("/a", "+/a", True), ("é/x", "é/#", True), ("é/x", "+/x", True), ("日本/東京", "日本/+", True),
    ("\U0001F600", "+", True), ("a b", "a b", True), ("A", "a", False), ("$x/y", "#", False), ("$x/y", "+/y", False),
    ("$x/y", "$x/#", True), ("$x", "$x/#", True), ("a/$x", "a/+", True), ("a*b", "+", True),
])
def test_levels_may_be_empty_and_letters_any(shared, connect, unique, version, topic, filter_, expected):
    if not topic.startswith(("$", "/")) and filter_[0] not in "+#":
        topic, filter_ = f"{unique}/{topic}", f"{unique}/{filter_}"
    assert meet(connect, shared, unique, topic, filter_, version) is expected


@pytest.mark.parametrize("text", [
    "\ufeffmark", "a\ufeff", "\x01\x1f\x7f\x9f", "tab\tand\nline", "\ufffe\uffff", "\U0001FFFE", "\U0010FFFF", "\ud7ff"],
    ids=lambda text: ascii(text))
def test_every_character_but_nul_is_kept_as_it_is(make_broker, connect, unique, version, text):
    """[MQTT-1.5.3-3] [MQTT5-1.5.4-3]; controls and non-characters MQTT5-1.5.4 leaves to the receiver: they are taken."""
    broker = make_broker().start()
    assert meet(connect, broker, unique, text, text, version)
    client = connect(broker, text, version=version, username=text, password=b"")
    client.subscribe("#")
    client.publish("t", b"x")
    assert client.message().topic == "t"


@pytest.mark.rialto
@pytest.mark.parametrize("what", ["topic", "filter", "client id", "user name"])
def test_nul_is_malformed(shared, unique, version, what):
    """[MQTT-1.5.3-2] [MQTT-4.7.3-2] [MQTT5-1.5.4-2] [MQTT5-4.7.3-2]"""
    names = {"client id": {"client_id": "a\0b"}, "user name": {"username": "a\0b"}}.get(what, {})
    client = Client(shared.mqtt, **{"client_id": unique, "version": version, **names})
    if names:
        client.send(connect_bytes(client.client_id, version, **client.connect_options))
    else:
        client.connect()
        if what == "topic":
            client.publish("a\0b", b"x")
        else:
            client.subscribe("a\0b", wait=False)
    last = client.expect_closed()
    # MQTT 3.1.1 has no packet to say it with.
    assert (last and last.reason) == (0x81 if version == 5 else None)
    client.cut()


@pytest.mark.parametrize("topic", ["x" * LONGEST, "é" * (LONGEST // 2) + "x", "a/" * 99 + "b" * (LONGEST - 198)],
                         ids=["one level", "two bytes a letter", "a hundred levels"])
def test_a_topic_may_have_65_535_bytes(shared, connect, unique, version, topic):
    assert len(topic.encode()) == LONGEST
    assert meet(connect, shared, unique, topic, topic, version)


@pytest.mark.rialto
def test_the_longest_topic_survives_a_restart(make_broker, connect):
    broker = make_broker().start()
    topic = "a/" * 99 + "b" * (LONGEST - 198)
    sub = connect(broker, "s", clean=False)
    sub.subscribe((topic, 1), ("a/+/" + "a/" * 10 + "#", 1))
    sub.disconnect()
    connect(broker, "p").publish(topic, b"x", 1, retain=True)
    for hard in (True, False):
        broker.restart(hard=hard)
    sub = connect(broker, "s", clean=False)
    assert sub.connack.session_present
    assert sub.message().topic == topic
    late = connect(broker, "late")
    late.subscribe("a/a/#")
    assert late.message().topic == topic


def test_two_hundred_levels_are_served(shared, connect, unique, version):
    levels = [unique] + [str(n) for n in range(199)]
    topic = "/".join(levels)
    for filter_ in (topic, unique + "/+" * 199, unique + "/#", "/".join(levels[:150]) + "/#"):
        assert meet(connect, shared, unique, topic, filter_, version), filter_


@pytest.mark.rialto
def test_levels_beyond_the_limit_are_refused(shared, connect, unique):
    client = connect(shared, unique, version=5)
    assert client.subscribe("/".join("a" * 256)).reasons == [0]
    assert client.subscribe("/".join("a" * 257)).reasons[0] >= 0x80
    assert client.publish("/".join("a" * 256), b"x", 1, retain=False).reason in (0, 0x10)
    assert client.publish("/".join("b" * 257), b"x", 1).reason >= 0x80


@pytest.mark.rialto
@pytest.mark.parametrize("shape", ["a/" * 32_767 + "a", "/" * LONGEST], ids=["letters", "empty"])
def test_the_deepest_topics_cost_no_more_than_their_length(make_broker, connect, shape):
    """Nothing recurses and nothing is quadratic: 65,536 levels are handled in well under a second each time."""
    broker = make_broker(config=DEEP).start()
    wild = "+/" * 20_000 + "#"
    client = connect(broker, "c", version=5, clean=False, properties={"session_expiry": 600})
    began = time.monotonic()
    assert client.subscribe((shape, 1), (wild, 1), ("#", 1)).reasons == [1, 1, 1]
    assert client.publish(shape, b"x", 1, retain=True).reason == 0
    assert client.message().topic == shape
    assert time.monotonic() - began < 5
    client.disconnect()
    broker.restart(hard=True)
    client = connect(broker, "c", version=5, clean=False, properties={"session_expiry": 600})
    assert client.connack.session_present
    late = connect(broker, "l")
    late.subscribe(wild)
    assert late.message().topic == shape
    assert client.publish(shape, b"y", 1).reason == 0
    got = client.message()
    # What was acknowledged just before the kill may come again.
    assert (got if not got.dup else client.message()).payload == b"y"
    for filter_ in (shape, wild, "#"):
        assert client.unsubscribe(filter_).reasons == [0]
    client.publish(shape, b"z", 1)
    client.nothing_comes()
