"""MQTT and AMQP in one broker: amq.topic is the topic tree, both ways, without a line of configuration; routes for
everything else; metadata under the names that the other side expects (issue 4, "Routes"; design §4).
"""

import json

import pika
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from harness import wait_until
from rawamqp import Connection, Refused
from rawmqtt import publish_bytes
from test_paho import Paho

pytestmark = pytest.mark.rialto


@pytest.fixture
def open_amqp():
    """open_amqp(broker, …) is a channel of its own connection, cut after the test."""
    opened = []

    def opening(broker, **options):
        opened.append(Connection(broker.amqp).open(**options))
        return opened[-1].channel()

    yield opening
    for connection in opened:
        connection.cut()


def bound(channel, key, exchange="amq.topic", **options):
    """An exclusive queue that gets what an exchange routes by a key; its messages come to the channel."""
    queue = channel.call("queue.declare", queue="", exclusive=True, **options).queue
    channel.call("queue.bind", queue=queue, exchange=exchange, routing_key=key)
    channel.call("basic.consume", queue=queue, no_ack=True)
    return queue


def user_properties(message):
    return message.properties.get("user", [])


# -- as applications do it ----------------------------------------------------------------------------------------


def test_a_device_on_paho_reaches_a_service_on_pika(broker):
    connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", broker.amqp))
    channel = connection.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind(queue, "amq.topic", "plant.*.temperature")
    device = Paho(broker.mqtt, "device", 5)
    try:
        properties = Properties(PacketTypes.PUBLISH)
        properties.ContentType = "application/json"
        properties.CorrelationData = b"reading 7"
        properties.ResponseTopic = "plant/7/answers"
        properties.MessageExpiryInterval = 60
        properties.UserProperty = [("unit", "K"), ("site", "Venice")]
        device.publish("plant/7/temperature", json.dumps({"t": 293}), 1, properties=properties)
        device.publish("plant/7/pressure", "not this", 1)
        method, header, body = next(channel.consume(queue, inactivity_timeout=10))
        assert (method.exchange, method.routing_key) == ("amq.topic", "plant.7.temperature")
        assert json.loads(body) == {"t": 293} and header.content_type == "application/json"
        assert (header.correlation_id, header.delivery_mode) == ("reading 7", 2)
        assert 50_000 < int(header.expiration) <= 60_000
        assert header.headers == {"unit": "K", "site": "Venice", "x-reply-to-topic": "plant.7.answers"}
        channel.cancel()
        assert channel.queue_declare(queue, passive=True).method.message_count == 0
    finally:
        device.close()
        connection.close()


def test_a_service_on_pika_reaches_a_device_on_paho(broker):
    device = Paho(broker.mqtt, "device", 5)
    connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", broker.amqp))
    try:
        device.subscribe("plant/+/set/#", 1)
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish("amq.topic", "plant.7.set.valve.left", "open", pika.BasicProperties(
            content_type="text/plain", correlation_id="order 1", delivery_mode=2, message_id="m1", app_id="planner",
            priority=5, type="command", reply_to="answers",
            headers={"why": "pressure", "tries": 3, "x-deep": {"a": [1]}}), mandatory=True)
        wait_until(lambda: device.got, "the order arrives")
        order, = device.got
        assert (order.topic, order.payload, order.qos, order.retain) == ("plant/7/set/valve/left", b"open", 1, False)
        assert (order.properties.ContentType, order.properties.CorrelationData) == ("text/plain", b"order 1")
        found = dict(order.properties.UserProperty)
        assert json.loads(found.pop("x-deep")) == {"a": [1]}
        assert found == {"why": "pressure", "tries": "3", "amqp-message-id": "m1", "amqp-app-id": "planner",
                         "amqp-priority": "5", "amqp-type": "command", "amqp-reply-to": "answers"}
    finally:
        device.close()
        connection.close()


# -- addresses ----------------------------------------------------------------------------------------------------

# topic, routing key: the law of design §4
ADDRESSES = [("a/b/c", "a.b.c"), ("a", "a"), ("plant.1/temp", "plant/1.temp"), ("/a//b/", ".a..b."), ("*/a", "%2A.a"),
             ("100%/a", "100%25.a"), ("a*/b", "a*.b"), ("ü/é", "ü.é"), ("x" * 255, "x" * 255)]


@pytest.mark.parametrize("topic,key", ADDRESSES, ids=[topic[:20] for topic, _ in ADDRESSES])
def test_topics_and_routing_keys_are_each_others_image(shared, connect, open_amqp, unique, topic, key):
    channel, client = open_amqp(shared), connect(shared, unique)
    bound(channel, key.replace("*", "%2A") if topic.startswith("*") else key)
    client.subscribe((topic, 1))
    client.publish(topic, unique, qos=1)
    event = channel.next("basic.deliver")
    assert (event.exchange, event.routing_key, event.body.decode()) == ("amq.topic", key, unique)
    assert client.message().topic == topic
    channel.publish("amq.topic", key, unique + "back")
    back = client.message()
    assert (back.topic, back.payload.decode()) == (topic, unique + "back")
    assert channel.next("basic.deliver").routing_key == key


@pytest.mark.parametrize("mqtt_filter,binding", [("{}/#", "{}.#"), ("{}/+", "{}.*"), ("{}/+/b", "{}.*.b"),
                                                 ("+/a/#", "*.a.#"), ("{}/+/+/#", "{}.*.*.#"), ("{}", "{}")])
def test_wildcards_mean_the_same_on_both_sides(shared, connect, open_amqp, unique, mqtt_filter, binding):
    mqtt_filter, binding, end = mqtt_filter.format(unique), binding.format(unique), unique + "end"
    channel, client = open_amqp(shared), connect(shared, unique)
    queue = bound(channel, binding)
    channel.call("queue.bind", queue=queue, exchange="amq.topic", routing_key=end)
    client.subscribe(mqtt_filter, end)
    for rest in ("", "/a", "/a/b", "/a/b/c", "/", "/a/", "//b"):
        client.publish(unique + rest, "x", qos=1)
    client.publish(end, "x", qos=1)
    mqtt, amqp = [], []
    while end not in mqtt:
        mqtt.append(client.message().topic)
    while end not in amqp:
        amqp.append(channel.next("basic.deliver").routing_key)
    assert [topic.replace("/", ".") for topic in mqtt] == amqp and len(amqp) > 1


def test_keys_that_are_no_topics_stay_in_amqp(shared, connect, open_amqp, unique):
    channel, client = open_amqp(shared), connect(shared, unique)
    bound(channel, "#")
    client.subscribe("#", "+/#")
    channel.call("confirm.select")
    for key in ("$SYS.fake", "a.%", "a.*", "a.+", "a.#", "a.b\0c", ""):
        channel.publish("amq.topic", key, key)
        assert channel.answer("basic.ack") and channel.next("basic.deliver").routing_key == key
    channel.publish("amq.topic", f"{unique}.end", "end")
    assert client.message().topic == f"{unique}/end"


def test_dollar_topics_do_not_cross_by_a_wildcard(shared, connect, open_amqp, unique):
    channel, client = open_amqp(shared), connect(shared, unique)
    bound(channel, "#")
    client.publish(f"$own/{unique}", "not for services", qos=1)
    client.publish(unique, "end", qos=1)
    while (event := channel.next("basic.deliver")).routing_key != unique:
        assert not event.routing_key.startswith("$"), event


def test_between_mqtt_clients_nothing_is_altered(shared, connect, open_amqp, unique):
    bound(open_amqp(shared), "#")
    client = connect(shared, unique)
    client.subscribe(("#", 1))
    for topic in ("a.b/c", "*", "%", "x" * 300, "/"):
        client.publish(f"{unique}{topic}", "x", qos=1)
        assert client.message().topic == f"{unique}{topic}"


def test_a_topic_too_long_for_a_key_is_counted_not_cut(broker, connect, open_amqp):
    channel, client = open_amqp(broker), connect(broker, "c")
    bound(channel, "#")
    before = broker.metric("rialto_messages_dropped_total")
    client.publish("t" * 256, "too long", qos=1)
    client.publish("end", "end", qos=1)
    assert channel.next("basic.deliver").routing_key == "end"
    wait_until(lambda: broker.metric("rialto_messages_dropped_total") == before + 1, "the loss is counted")


def test_amq_topic_is_free_of_duplicates_and_circles(shared, connect, open_amqp, unique):
    """A message that is in the tree and in amq.topic is delivered once to each, whoever published it."""
    channel, client = open_amqp(shared), connect(shared, unique)
    queue = bound(channel, f"{unique}.#")
    channel.call("queue.bind", queue=queue, exchange="amq.topic", routing_key=f"#.{unique}")
    client.subscribe(f"{unique}/#")
    for body in (b"1", b"2", b"3"):
        if body == b"2":
            channel.publish("amq.topic", unique, body)
        else:
            client.publish(unique, body, qos=1)
        assert channel.next("basic.deliver").body == body
        assert client.message().payload == body
    assert channel.settled(queue) == []
    client.nothing_comes()


def test_other_exchanges_bound_to_amq_topic_and_back(shared, connect, open_amqp, unique):
    channel, client = open_amqp(shared), connect(shared, unique)
    fan, source = unique + "fan", unique + "source"
    for name in (fan, source):
        channel.call("exchange.declare", exchange=name, type="fanout")
    channel.call("exchange.bind", destination=fan, source="amq.topic", routing_key=f"{unique}.#")
    channel.call("exchange.bind", destination="amq.topic", source=source)
    queue = bound(channel, "", exchange=fan)
    client.subscribe(f"{unique}/#")
    client.publish(f"{unique}/up", "from the tree", qos=1)
    assert client.message().payload == channel.next("basic.deliver").body == b"from the tree"
    channel.publish(source, f"{unique}.down", "into the tree")
    assert client.message().topic == f"{unique}/down"
    assert channel.next("basic.deliver").body == b"into the tree"
    assert channel.settled(queue) == []
    for name in (fan, source):
        channel.call("exchange.delete", exchange=name)


# -- metadata -----------------------------------------------------------------------------------------------------


def test_quality_of_service_and_delivery_mode(shared, connect, open_amqp, unique):
    channel, client = open_amqp(shared), connect(shared, unique)
    bound(channel, unique)
    for qos in (0, 1, 2):
        client.publish(unique, str(qos), qos=qos)
    assert [event.properties.get("delivery_mode") for event in channel.take(3)] == [1, 2, 2]
    client.subscribe((unique, 2))
    for mode in (None, 1, 2):
        channel.publish("amq.topic", unique, "x", {"delivery_mode": mode})
    assert [client.message().qos for _ in range(3)] == [0, 0, 1]


def test_user_properties_keep_order_and_duplicates_across_both_worlds(shared, connect, open_amqp, unique):
    pairs = [("b", "1"), ("a", "2"), ("b", "3"), ("", "empty name"), ("c", "")]
    channel = open_amqp(shared)
    client = connect(shared, unique, version=5)
    bound(channel, unique)
    client.publish(unique, "x", qos=1, properties={"user": pairs})
    event = channel.next("basic.deliver")
    headers = event.properties["headers"]
    assert {name: headers[name] for name in "abc"} == {"a": "2", "b": "1", "c": ""}
    client.subscribe((unique + "/again", 1))
    channel.publish("amq.topic", unique + ".again", event.body, event.raw_properties)
    assert user_properties(client.message()) == pairs


def test_binary_correlation_and_response_topics_survive(shared, connect, open_amqp, unique):
    channel, client = open_amqp(shared), connect(shared, unique, version=5)
    bound(channel, unique)
    client.subscribe((unique + "/again", 1))
    for correlation, response in ((b"\0\xff\xfe", "a/b"), (b"c" * 300, "r" * 300), (b"text", "x.y/z")):
        client.publish(unique, "x", qos=1, properties={"correlation_data": correlation, "response_topic": response})
        event = channel.next("basic.deliver")
        channel.publish("amq.topic", unique + ".again", event.body, event.raw_properties)
        back = client.message()
        assert back.properties["correlation_data"] == correlation
        assert back.properties["response_topic"] == response


def test_expiry_is_what_remains(shared, connect, open_amqp, unique):
    channel, client = open_amqp(shared), connect(shared, unique, version=5)
    bound(channel, unique)
    client.subscribe((unique, 1))
    client.publish(unique, "x", qos=1, properties={"message_expiry": 100})
    assert 90_000 < int(channel.next("basic.deliver").properties["expiration"]) <= 100_000
    client.message()
    channel.publish("amq.topic", unique, "x", {"expiration": "60500"})
    assert client.message().properties["message_expiry"] in range(40, 62)


def test_what_amqp_publishes_is_not_retained(shared, connect, open_amqp, unique):
    """docs/limits.md; the header that tells AMQP consumers of a retained message asks for nothing."""
    channel, here = open_amqp(shared), connect(shared, f"{unique}-here")
    here.subscribe((unique, 1))
    channel.select().confirmed("amq.topic", unique, "passing", {"headers": {"mqtt-retain": True}, "delivery_mode": 2})
    message = here.message()
    assert (message.payload, message.retain) == (b"passing", False)
    late = connect(shared, f"{unique}-late")
    late.subscribe((unique, 1))
    late.nothing_comes()


def test_version_3_subscribers_get_amqp_messages_too(shared, connect, open_amqp, unique, version):
    channel, client = open_amqp(shared), connect(shared, unique, version=version)
    client.subscribe((unique, 1))
    channel.publish("amq.topic", unique, "x" * 100_000, {"headers": {"a": 1}, "delivery_mode": 2})
    assert client.message().payload == b"x" * 100_000


# -- routes -------------------------------------------------------------------------------------------------------

ROUTES = """\
[[route]]
name = "alarms"
from = { mqtt = "factory/+/alarm/#" }
to = { exchange = "alarms", routing_key = "{1}.{#}" }

[[route]]
name = "mirror"
from = { mqtt = "mirror/#" }
to = { exchange = "mirror" }

[[route]]
name = "commands"
from = { exchange = "commands", binding = "factory.*.set.#" }
to = { mqtt = "factory/{1}/set/{#}" }

[[route]]
name = "archive"
from = { mqtt = "factory/+/alarm/#" }
to = { log = "alarms", key = "{1}" }
"""


def test_routes_carry_wildcards_into_exchanges_and_back(make_broker, connect, open_amqp):
    broker = make_broker(routes={"exchanges.toml": ROUTES}).start()
    channel, client = open_amqp(broker), connect(broker, "c")
    alarms, mirror = open_amqp(broker), open_amqp(broker)
    bound(alarms, "7.#", exchange="alarms")
    bound(mirror, "#", exchange="mirror")
    client.publish("factory/7/alarm/oven/left", "hot", qos=1)
    client.publish("factory/8/alarm/oven", "another factory", qos=1)
    client.publish("factory/7/alarm", "parent level", qos=0)
    got = [(event.exchange, event.routing_key, event.body) for event in alarms.take(2)]
    assert got[0] == ("alarms", "7.oven.left", b"hot")
    assert got[1][0] == "alarms" and got[1][2] == b"parent level"
    client.publish("mirror/a.b/c", "x", qos=2)
    event = mirror.next("basic.deliver")
    assert (event.exchange, event.routing_key, event.properties["delivery_mode"]) == ("mirror", "mirror.a/b.c", 2)
    client.subscribe(("factory/#", 1))
    channel.publish("commands", "factory.7.set.valve.left", "open", {"delivery_mode": 2})
    channel.publish("commands", "factory.7.get", "not carried")
    channel.publish("commands", "factory.8.set", "closed", {"delivery_mode": 1})
    first, second = client.messages(2)
    assert (first.topic, first.payload, first.qos) == ("factory/7/set/valve/left", b"open", 1)
    assert second.topic.rstrip("/") == "factory/8/set" and second.qos == 0
    client.nothing_comes()
    wait_until(lambda: broker.metric("rialto_route_messages_total", route="alarms") == 3,
               "route_messages_total is counted")
    wait_until(lambda: broker.metric("rialto_route_messages_total", route="commands") == 2,
               "route_messages_total is counted")


def test_a_routes_exchange_is_there_from_the_start_and_durable(make_broker, open_amqp):
    broker = make_broker(routes={"exchanges.toml": ROUTES}).start()
    for hard in (False, True):
        channel = open_amqp(broker)
        for exchange in ("alarms", "mirror", "commands"):
            channel.call("exchange.declare", exchange=exchange, type="topic", durable=True)
        broker.restart(hard=hard)


def test_a_binding_without_a_counterpart_is_refused_at_load(make_broker):
    for binding in ("a.#.b", "#.b", "a.+"):
        route = f'[[route]]\nname = "r"\nfrom = {{ exchange = "x", binding = "{binding}" }}\nto = {{ mqtt = "t" }}\n'
        code, said = make_broker(routes={"r.toml": route}).launch().wait_exit()
        assert code not in (0, 101) and "binding" in said, said


def test_one_publish_reaches_session_queues_and_log(make_broker, connect, open_amqp):
    from clients import kcat_read
    broker = make_broker(routes={"exchanges.toml": ROUTES}).start()
    channel = open_amqp(broker)
    session = connect(broker, "away", clean=False)
    session.subscribe(("factory/#", 1))
    session.disconnect()
    channel.call("queue.declare", queue="by-route", durable=True)
    channel.call("queue.bind", queue="by-route", exchange="alarms", routing_key="#")
    channel.call("queue.declare", queue="by-tree", durable=True)
    channel.call("queue.bind", queue="by-tree", exchange="amq.topic", routing_key="factory.#")
    connect(broker, "p").send(b"".join(publish_bytes("factory/7/alarm/x", str(n), 1, n + 1) for n in range(100)))
    wait_until(lambda: channel.call("queue.declare", queue="by-tree", passive=True).message_count == 100, "all arrive")
    broker.restart(hard=True)
    channel = open_amqp(broker)
    expected = [str(number).encode() for number in range(100)]
    for queue in ("by-route", "by-tree"):
        got = [channel.get(queue, no_ack=True) for _ in range(100)]
        assert [event.body for event in got] == expected
        assert all(event.redelivered for event in got)
    session = connect(broker, "away", clean=False)
    assert [message.payload for message in session.messages(100)] == expected
    assert [row["value"].encode() for row in kcat_read(broker.kafka, "alarms")] == expected


def test_a_refused_channel_does_not_disturb_the_tree(shared, connect, open_amqp, unique):
    channel, client = open_amqp(shared), connect(shared, unique)
    client.subscribe((unique, 1))
    with pytest.raises(Refused):
        channel.call("queue.declare", queue=unique + "missing", passive=True)
    client.publish(unique, "x", qos=1)
    assert client.message().payload == b"x"
