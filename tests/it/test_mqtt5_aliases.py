"""Topic aliases both ways (MQTT5-3.3.2.3.4)."""

import pytest

from rawmqtt import PUBACK, PUBLISH


def five(connect, broker, name, **options):
    return connect(broker, name, version=5, **options)


class Resolver:
    """Finds the topics of PUBLISH packets, as a client with aliases does; counts the bytes of topics it was sent."""

    def __init__(self, maximum):
        self.maximum, self.topics, self.bytes, self.used = maximum, {}, 0, 0

    def topic(self, got):
        self.bytes += len(got.topic)
        alias = got.properties.get("topic_alias")
        if alias is None:
            assert got.topic
            return got.topic
        assert 1 <= alias <= self.maximum, alias
        if got.topic:
            self.topics[alias] = got.topic
        else:
            self.used += 1
        return self.topics[alias]


def test_a_client_that_takes_none_gets_none(shared, connect, unique):
    """[MQTT5-3.1.2-26] [MQTT5-3.1.2-27]: no alias for a Topic Alias Maximum of 0 or an absent one."""
    for properties in (None, {"topic_alias_maximum": 0}):
        sub, pub = five(connect, shared, unique + "s", properties=properties), five(connect, shared, unique + "p")
        sub.subscribe((f"{unique}/#", 1))
        for number in range(5):
            pub.publish(f"{unique}/topic", str(number), qos=number % 2)
        assert all(got.topic == f"{unique}/topic" and "topic_alias" not in got.properties for got in sub.messages(5))


@pytest.mark.rialto
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_topics_that_come_again_are_sent_by_their_alias(shared, connect, unique, qos):
    """[MQTT5-3.3.2-12]: introduced with the topic, then alone; each topic is the one that was meant."""
    sub = five(connect, shared, unique + "s", properties={"topic_alias_maximum": 4})
    pub = five(connect, shared, unique + "p")
    sub.subscribe((f"{unique}/#", qos))
    resolver, sent = Resolver(4), []
    for number in range(40):
        sent.append((f"{unique}/topic/{number % 3}", str(number).encode()))
        pub.publish(*sent[-1], qos=qos)
    got = sub.messages(40)
    assert [(resolver.topic(one), one.payload) for one in got] == sent
    assert resolver.used == 37, "three introductions, the rest by alias"


@pytest.mark.rialto
def test_no_alias_exceeds_the_clients_maximum_however_many_topics(shared, connect, unique):
    """[MQTT5-3.1.2-26]: a few aliases, many topics, some of them often: the bytes of topics shrink."""
    sub = five(connect, shared, unique + "s", properties={"topic_alias_maximum": 3})
    pub = five(connect, shared, unique + "p")
    sub.subscribe((f"{unique}/#", 1))
    resolver, sent = Resolver(3), []
    for number in range(300):
        sent.append(f"{unique}/" + ("hot" if number % 2 else f"cold/{number}"))
        pub.publish(sent[-1], str(number), qos=1)
    assert [resolver.topic(one) for one in sub.messages(300)] == sent
    assert resolver.used > 100


@pytest.mark.rialto
def test_aliases_begin_anew_with_each_connection(shared, connect, unique):
    """[MQTT5-3.3.2-7]: what is sent again after a reconnect has its topic in full first."""
    options = {"clean": False, "properties": {"session_expiry": 60, "topic_alias_maximum": 2}}
    sub, pub = five(connect, shared, unique + "s", **options), five(connect, shared, unique + "p")
    sub.subscribe((f"{unique}/#", 1))
    for number in range(3):
        pub.publish(f"{unique}/topic", str(number), qos=1)
    assert [sub.expect(PUBLISH).topic for _ in range(3)] == [f"{unique}/topic", "", ""]
    sub.cut()
    again = five(connect, shared, unique + "s", **options)
    resolver = Resolver(2)
    for number in range(3):
        got = again.expect(PUBLISH)
        assert got.dup and resolver.topic(got) == f"{unique}/topic" and got.payload == str(number).encode()
        again.ack(PUBACK, got.mid)
    again.disconnect()


@pytest.mark.rialto
def test_a_message_that_only_fits_by_its_alias_is_sent(shared, connect, unique):
    """[MQTT5-3.1.2-24]: the packet counts as it is sent. One that an introduction would make too long goes without."""
    topic = f"{unique}/" + "x" * 40
    full = 2 + 2 + len(topic) + 1
    sub = five(connect, shared, unique + "s", properties={"topic_alias_maximum": 2, "maximum_packet_size": full + 10})
    pub = five(connect, shared, unique + "p")
    sub.subscribe(f"{unique}/#")
    pub.publish(topic, b"p" * 9)
    first = sub.expect(PUBLISH)
    assert first.topic == topic and "topic_alias" not in first.properties
    pub.publish(topic, b"short")
    assert sub.expect(PUBLISH).properties["topic_alias"] == 1
    pub.publish(topic, b"p" * 40)
    got = sub.expect(PUBLISH)
    assert got.topic == "" and got.payload == b"p" * 40


@pytest.mark.rialto
def test_the_configuration_lowers_or_forbids_them(make_broker, connect):
    for maximum in (0, 1):
        broker = make_broker(config=f"[mqtt]\ntopic_alias_max_out = {maximum}\n").start()
        sub, pub = five(connect, broker, "s", properties={"topic_alias_maximum": 10}), five(connect, broker, "p")
        sub.subscribe("#")
        for topic in ("first", "other", "first", "other"):
            pub.publish(topic, "x")
        got = sub.messages(4)
        assert {one.properties.get("topic_alias") for one in got} == ({None} if maximum == 0 else {None, 1})


def test_aliases_of_clients_are_their_connections_own(shared, connect, unique):
    """[MQTT5-3.3.2-7]: a new connection knows none of the aliases of the one before; nor does another client."""
    options = {"clean": False, "properties": {"session_expiry": 60}}
    first = five(connect, shared, unique, **options)
    first.publish(f"{unique}/a", "1", qos=1, properties={"topic_alias": 1})
    again = five(connect, shared, unique, **options)
    again.publish("", "2", properties={"topic_alias": 1})
    assert again.expect_closed().reason in (0x82, 0x94)
    other = five(connect, shared, unique + "o")
    other.publish("", "2", properties={"topic_alias": 1})
    assert other.expect_closed().reason in (0x82, 0x94)


@pytest.mark.rialto
def test_every_announced_alias_can_be_used(shared, connect, unique):
    """[MQTT5-3.3.2-10] [MQTT5-3.2.2-18]: all values from 1 to the maximum of CONNACK."""
    sub, pub = five(connect, shared, unique + "s"), five(connect, shared, unique + "p")
    sub.subscribe((f"{unique}/#", 1))
    maximum = pub.connack.properties["topic_alias_maximum"]
    for alias in range(1, maximum + 1):
        pub.publish(f"{unique}/{alias}", "x", qos=1, properties={"topic_alias": alias})
    for alias in range(1, maximum + 1):
        pub.publish("", str(alias), qos=1, properties={"topic_alias": alias})
    got = sub.messages(2 * maximum)[maximum:]
    assert [(one.topic, one.payload) for one in got] == [
        (f"{unique}/{alias}", str(alias).encode()) for alias in range(1, maximum + 1)]
