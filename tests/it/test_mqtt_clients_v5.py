"""Real client libraries, what only 5.0 has: each feature once with each client whose users can have it."""

import json

import pytest

from clients import mosquitto_pub, run
from mqttpeers import clients
from programs import Program
from rawmqtt import PUBLISH, encode_properties

pytestmark = pytest.mark.timeout(180)

# User properties with a name twice; MQTT.js keeps them by name, so only the values of one name have an order there.
GROUPED = [("a", "1"), ("a", "2"), ("b", "1"), ("b", "1")]
MIXED = [("b", "1"), ("a", "2"), ("b", "1"), ("c", "ü")]


def five(connect, broker, name, **options):
    return connect(broker, name, version=5, **options)


@clients(version=5)
def test_properties_pass_both_ways(shared, connect, peer, unique, client):
    """MQTT5-3.3.2.3: unaltered, user properties in order and repeated."""
    raw, one = five(connect, shared, unique + "raw"), peer(client, shared, unique)
    raw.subscribe((f"{unique}/up", 1))
    one.subscribe(f"{unique}/down", 1)
    user = GROUPED if client[0] == "mqttjs" else MIXED
    sent = {"payload_format": 1, "content_type": "text/plain", "response_topic": f"{unique}/r",
            "correlation_data": b"no 1", "user": user}
    one.publish(f"{unique}/up", "x", 1, properties=sent)
    assert raw.message().properties == sent
    raw.publish(f"{unique}/down", "x", qos=1, properties=sent)
    assert one.messages(1)[0].properties == sent


@clients(version=5)
def test_message_expiry_is_passed_on(shared, connect, peer, unique, client):
    """MQTT5-3.3.2-6: what is left of it."""
    raw, one = five(connect, shared, unique + "raw"), peer(client, shared, unique)
    raw.subscribe((f"{unique}/up", 1))
    one.subscribe(f"{unique}/down", 1)
    one.publish(f"{unique}/up", "x", 1, properties={"message_expiry": 100})
    assert 90 <= raw.message().properties["message_expiry"] <= 100
    raw.publish(f"{unique}/down", "x", qos=1, properties={"message_expiry": 2_000_000_000})
    assert 1_999_999_980 <= one.messages(1)[0].properties["message_expiry"] <= 2_000_000_000


@clients("alias", version=5)
def test_topic_aliases_of_the_client_stand_for_their_topic(shared, connect, peer, unique, client):
    """MQTT5-3.3.2.3.4"""
    raw, one = five(connect, shared, unique + "raw"), peer(client, shared, unique)
    raw.subscribe((f"{unique}/#", 1))
    for topic, alias in [("a", 1), ("", 1), ("b", 2), ("", 1), ("c", 1), ("", 1), ("", 2)]:
        one.publish(f"{unique}/{topic}" if topic else "", topic, 1, properties={"topic_alias": alias})
    assert [message.topic[-1] for message in raw.messages(7)] == ["a", "a", "b", "a", "c", "c", "b"]


def test_mosquitto_pub_repeats_by_alias(shared, connect, unique):
    raw = five(connect, shared, unique)
    raw.subscribe((unique, 1))
    mosquitto_pub(shared.mqtt, unique, "x", qos=1, version=5,
                  args=["-D", "publish", "topic-alias", "1", "--repeat", "3", "--repeat-delay", "0"])
    assert [message.topic for message in raw.messages(3)] == [unique] * 3


@clients("resolves", version=5)
def test_a_client_that_takes_aliases_sees_topics(shared, connect, peer, unique, client):
    """MQTT5-3.1.2-26, -27: whether the broker uses them or not, the application sees each topic."""
    raw, one = five(connect, shared, unique + "raw"), peer(client, shared, unique, alias_maximum=2)
    one.subscribe(f"{unique}/#", 1)
    topics = [f"{unique}/{word}" for word in "aaabbaccbaddd"]
    for topic in topics:
        raw.publish(topic, topic, qos=1)
    got = one.messages(len(topics))
    assert [message.topic for message in got] == topics == [message.payload.decode() for message in got]


@clients("identifier", version=5)
def test_subscription_identifiers_come_back(shared, connect, peer, unique, client):
    """MQTT5-3.3.4-3"""
    raw, one = five(connect, shared, unique + "raw"), peer(client, shared, unique)
    one.subscribe(f"{unique}/#", 1, identifier=200)
    raw.publish(f"{unique}/a", "x", qos=1)
    assert one.messages(1)[0].properties["subscription_id"] == [200]


@clients("options", version=5)
def test_no_local(shared, connect, peer, unique, client):
    """MQTT5-3.8.3-3"""
    raw, one = five(connect, shared, unique + "raw"), peer(client, shared, unique)
    one.subscribe(unique, 1, no_local=True)
    one.publish(unique, "own", 1)
    raw.publish(unique, "other's", qos=1)
    assert one.payloads(1) == ["other's"]


@clients("options", version=5)
def test_retain_as_published(shared, connect, peer, unique, client):
    """MQTT5-3.3.1-12, -13"""
    raw, one = five(connect, shared, unique + "raw"), peer(client, shared, unique)
    one.subscribe(f"{unique}/kept", 1, as_published=True)
    one.subscribe(f"{unique}/plain", 1)
    raw.publish(f"{unique}/kept", "1", qos=1, retain=True)
    raw.publish(f"{unique}/plain", "2", qos=1, retain=True)
    raw.publish(f"{unique}/kept", "3", qos=1)
    assert [(message.payload, message.retain) for message in one.messages(3)] == [
        (b"1", True), (b"2", False), (b"3", False)]


@clients("options", version=5)
def test_retain_handling(shared, connect, peer, unique, client):
    """MQTT5-3.3.1-9 to -11: 0 each time, 1 for a new subscription only, 2 never."""
    raw, one = five(connect, shared, unique + "raw"), peer(client, shared, unique)
    for word in "012":
        raw.publish(f"{unique}/{word}", word, qos=1, retain=True)
    for _ in range(2):
        for handling in (2, 1, 0):
            one.subscribe(f"{unique}/{handling}", 1, handling=handling)
    raw.publish(f"{unique}/0", "end", qos=1)
    # MQTT.js does not send a subscription that it has already.
    expected = ["1", "0", "end"] if client[0] == "mqttjs" else ["1", "0", "0", "end"]
    assert one.payloads(len(expected)) == expected


@pytest.mark.rialto
@clients(version=5)
def test_receive_maximum_paces_the_broker(shared, connect, peer, unique, client):
    """MQTT5-3.3.4-9; the exact count is a raw client's test: here the library lives with it."""
    raw, one = five(connect, shared, unique + "raw"), peer(client, shared, unique, receive_maximum=2)
    one.subscribe(unique, 2)
    for number in range(40):
        raw.publish(unique, str(number), qos=1 + number % 2)
    got = one.messages(40)
    for qos in (1, 2):
        assert [int(message.payload) for message in got if message.qos == qos] == list(range(qos - 1, 40, 2))
    assert not one.closes


@clients("codes", version=5)
def test_the_reason_of_an_acknowledgement_is_told(shared, peer, unique, client):
    """MQTT5-3.4.2.1: success, or nobody to hear it."""
    assert peer(client, shared, unique).publish(unique, "x", 1) in (0, 0x10)


@clients("assigned", version=5)
def test_an_assigned_client_id_is_told(shared, peer, unique, client):
    """MQTT5-3.1.3-6, -7"""
    if client[0] == "mqttjs":
        pytest.skip("MQTT.js makes an id of its own for an empty one")
    one, other = peer(client, shared, ""), peer(client, shared, "")
    assert one.assigned and other.assigned and one.assigned != other.assigned


@clients("delay", version=5)
def test_a_will_waits_and_is_called_off(shared, connect, peer, unique, client):
    """MQTT5-3.1.3-9"""
    watcher = five(connect, shared, unique + "w")
    watcher.subscribe((f"{unique}/will", 1))
    will = {"topic": f"{unique}/will", "payload": "gone", "delay": 3, "properties": {"user": [("a", "b")]}}
    options = {"will": will, "clean": False, "expiry": 60}
    peer(client, shared, unique, **options).cut()
    back = peer(client, shared, unique, **options)
    back.publish(f"{unique}/will", "back", 1)
    assert watcher.message().payload == b"back"
    back.cut()
    got = watcher.message()
    assert (got.payload, got.properties) == (b"gone", {"user": [("a", "b")]})


@pytest.mark.rialto
@clients("closing", version=5)
def test_the_broker_says_why_it_closes(make_broker, connect, peer, client):
    """MQTT5-3.14.2.1: taken over (0x8E), shutting down (0x8B)."""
    broker = make_broker().start()
    first = peer(client, broker, "same")
    connect(broker, "same", version=5)
    first.until(lambda: first.closes, "the first goes")
    assert first.closes[0] == 0x8E
    first.cut()
    other = peer(client, broker, "other")
    broker.stop()
    other.until(lambda: other.closes, "the other goes")
    assert other.closes[0] == 0x8B


@clients(version=5)
def test_a_library_answers_a_request(shared, connect, peer, unique, client):
    """MQTT5-4.10: response topic and correlation data come as they were asked with."""
    asker, one = five(connect, shared, unique + "asker"), peer(client, shared, unique)
    asker.subscribe((f"{unique}/answers", 1))
    one.subscribe(f"{unique}/questions", 1)
    asker.publish(f"{unique}/questions", "6 × 7", qos=1,
                  properties={"response_topic": f"{unique}/answers", "correlation_data": b"q1"})
    question = one.messages(1)[0]
    one.publish(question.properties["response_topic"], "42", 1,
                properties={"correlation_data": question.properties["correlation_data"]})
    answer = asker.message()
    assert (answer.payload, answer.properties) == (b"42", {"correlation_data": b"q1"})


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_mosquitto_rr_gets_its_answer(shared, connect, unique, qos):
    """mosquitto_rr subscribes to its response topic, asks, prints the answer and leaves."""
    server = five(connect, shared, unique + "server")
    server.subscribe((f"{unique}/ask", qos))
    asking = Program(["mosquitto_rr", "-h", "localhost", "-p", str(shared.mqtt), "-V", "mqttv5", "-t", f"{unique}/ask",
                      "-e", f"{unique}/answer", "-m", "ping", "-q", str(qos), "-W", "15"])
    try:
        question = server.message()
        assert (question.payload, question.qos) == (b"ping", qos)
        server.publish(question.properties["response_topic"], "pong", qos=qos)
        assert asking.finish() == ["pong"]
    finally:
        asking.kill()


@pytest.mark.parametrize("qos", [0, 1, 2])
@clients(version=5)
def test_a_shared_subscription_gives_each_message_to_one(shared, connect, peer, unique, client, qos):
    """MQTT5-4.8.2"""
    raw = five(connect, shared, unique + "raw")
    members = [peer(client, shared, f"{unique}{number}") for number in range(2)]
    for member in members:
        assert member.subscribe(f"$share/g/{unique}", qos) == [qos]
    for number in range(40):
        raw.publish(unique, str(number), qos=qos)
    members[0].until(lambda: sum(len(member.got) for member in members) >= 40, "forty messages")
    got = [int(message.payload) for member in members for message in member.got]
    assert sorted(got) == list(range(40)) and all(member.got for member in members)


@pytest.mark.rialto
def test_a_property_twice_in_a_packet_ends_the_connection(shared, connect, unique):
    """MQTT5-3.3.2.3.3: what no library sends; here so that the raw client's way of doing it is shown to work."""
    raw = five(connect, shared, unique)
    twice = encode_properties({"content_type": "a"})[1:]
    body = b"\x00\x01t\x00\x01" + bytes([2 * len(twice)]) + twice * 2 + b"x"
    raw.send(bytes([PUBLISH << 4 | 2, len(body)]) + body)
    assert raw.expect_closed().reason == 0x82


def test_mosquitto_sub_shows_properties_as_json(shared, connect, unique):
    """The form that scripts read."""
    sub = Program(["stdbuf", "-oL", "mosquitto_sub", "-h", "localhost", "-p", str(shared.mqtt), "-V", "mqttv5", "-t",
                   unique, "-F", "%j", "-d", "-C", "1"])
    try:
        sub.line("^Subscribed")
        run(["mosquitto_pub", "-h", "localhost", "-p", str(shared.mqtt), "-V", "mqttv5", "-t", unique, "-m", "x",
             "-D", "publish", "content-type", "text/plain"])
        assert json.loads(sub.line("^{"))["properties"] == {"content-type": "text/plain"}
    finally:
        sub.kill()
