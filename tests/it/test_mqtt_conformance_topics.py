"""Topics, their aliases and what is retained at them, statement by statement."""

import pytest

from mqttforms import PING, keep, rest
from rawmqtt import DISCONNECT, PUBLISH


def test_every_announced_topic_alias_is_taken(shared, connect, unique):
    """MQTT5-3.3.2-12"""
    sub, pub = connect(shared, unique + "s"), connect(shared, unique + "p", version=5)
    most = pub.connack.properties.get("topic_alias_maximum", 0)
    sub.subscribe((f"{unique}/#", 1))
    for alias in range(1, most + 1):
        pub.publish(f"{unique}/{alias}", "", properties={"topic_alias": alias})
    for alias in range(1, most + 1):
        pub.publish("", str(alias), properties={"topic_alias": alias})
    got = sub.messages(2 * most)[most:]
    assert [(message.topic, message.payload) for message in got] == [
        (f"{unique}/{alias}", str(alias).encode()) for alias in range(1, most + 1)]


def test_topic_aliases_end_with_their_connection(shared, connect, unique):
    """MQTT5-3.3.2-7: also where the session goes on; 0x82."""
    first = connect(shared, unique, **keep(5))
    first.publish(unique, "x", properties={"topic_alias": 1})
    first.ping()
    first.cut()
    again = connect(shared, unique, **keep(5))
    assert again.connack.session_present
    again.publish("", "x", properties={"topic_alias": 1})
    got = rest(again)
    assert [(p.kind, p.reason) for p in got] == [(DISCONNECT, 0x82)]


@pytest.mark.parametrize("most", [None, 0, 1, 3])
def test_aliases_of_the_broker_keep_to_the_clients_maximum(shared, connect, unique, most):
    """MQTT5-3.1.2-26 to MQTT5-3.1.2-27, MQTT5-3.3.2-8, MQTT5-3.3.2-11: none if it is 0 or absent; those that come stand
    for the right topic, and no message before its first has an empty one."""
    sub = connect(shared, unique + "s", version=5, properties=None if most is None else {"topic_alias_maximum": most})
    pub = connect(shared, unique + "p")
    sub.subscribe((f"{unique}/#", 1))
    sent = [(f"{unique}/{'long' * 10}/{number % 5}", str(number)) for number in range(60)]
    for number, (topic, text) in enumerate(sent):
        pub.publish(topic, text, qos=number % 2)
    known = {}
    for topic, text in sent:
        got = sub.message()
        alias = got.properties.get("topic_alias")
        if alias is not None:
            assert 1 <= alias <= (most or 0)
            known[alias] = got.topic or known[alias]
        assert (got.topic or known[alias], got.payload.decode()) == (topic, text)


def test_retain_0_leaves_what_is_retained(shared, connect, unique):
    """MQTT5-3.3.1-8, and MQTT5-3.3.1-5 to MQTT5-3.3.1-7: replaced by RETAIN 1, gone with an empty one, not kept
    then."""
    pub = connect(shared, unique + "p", version=5)

    def retained(name):
        sub = connect(shared, unique + name, version=5)
        sub.subscribe((unique, 1))
        sub.send(PING)
        got = sub.receive()
        return got.payload if got.kind == PUBLISH else None

    pub.publish(unique, "passing", qos=1)
    assert retained("a") is None
    pub.publish(unique, "kept", qos=1, retain=True)
    pub.publish(unique, "passing", qos=1)
    assert retained("b") == b"kept"
    pub.publish(unique, "newer", qos=2, retain=True)
    assert retained("c") == b"newer"
    pub.publish(unique, "", qos=1)
    assert retained("d") == b"newer"
    pub.publish(unique, "", qos=1, retain=True)
    assert retained("e") is None


@pytest.mark.parametrize("one,other", [("\ufeffx", "x"), ("é", "e\u0301"), ("ß", "ss"), ("K", "\u212a"), ("x ", "x")])
def test_topics_are_compared_as_they_are(shared, connect, unique, version, one, other):
    """MQTT-1.5.3-3, MQTT-4.7.3-4, MQTT5-1.5.4-3, MQTT5-4.7.3-4: U+FEFF counts, nothing is normalized."""
    sub, pub = connect(shared, unique + "s", version=version), connect(shared, unique + "p", version=version)
    sub.subscribe((f"{one}{unique}", 1))
    pub.publish(f"{other}{unique}", "no", qos=1)
    pub.publish(f"{one}{unique}", "yes", qos=1)
    got = sub.message()
    assert (got.topic, got.payload) == (f"{one}{unique}", b"yes")
    sub.nothing_comes()


def test_the_longest_topic_arrives_whole(shared, connect, unique, version):
    """MQTT-4.7.3-3, MQTT5-4.7.3-3, MQTT-3.3.2-3, MQTT5-3.3.2-3: 65,535 bytes, through a filter as long and a short
    one."""
    topic = unique + "/" + "x" * (65534 - len(unique))
    sub, pub = connect(shared, unique + "s", version=version), connect(shared, unique + "p", version=version)
    sub.subscribe((topic, 1))
    pub.publish(topic, "x", qos=1)
    assert sub.message().topic == topic
    wide = connect(shared, unique + "w", version=version)
    wide.subscribe((f"{unique}/+", 1))
    pub.publish(topic, "x", qos=1)
    assert wide.message().topic == topic
