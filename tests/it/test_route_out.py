"""Routes out of logs: what kcat produces arrives at mosquitto_sub and at pika, from a position that is committed with
each delivery (issue 5, "Routes"; docs/bridges.md)."""

import threading

import pika
import pytest

from clients import MosquittoSub, kcat, kcat_read, kcat_write, run
from harness import binary, wait_until

pytestmark = pytest.mark.rialto

COMMANDS = """\
[[route]]
name = "commands"
from = { log = "commands", from = "earliest" }
to   = { mqtt = "devices/{key}/cmd", qos = 1 }
"""

# Makes the log, with its partitions, before anybody produces.
SEED = """\
[[route]]
name = "seed"
from = { mqtt = "seed" }
to   = { log = "commands", partitions = %d }
"""


@pytest.fixture
def commands(make_broker):
    return make_broker(routes={"commands.toml": COMMANDS, "seed.toml": SEED % 1}).start()


def produce(broker, lines, *args):
    """Lines of `key:value`."""
    kcat_write(broker.kafka, "commands", lines, "-K", ":", *args)


def carried(broker, route="commands"):
    return broker.metric("rialto_route_messages_total", route=route)


def test_a_command_from_kcat_arrives_at_mosquitto_sub(commands):
    with MosquittoSub(commands.mqtt, "devices/+/cmd", qos=1) as sub:
        produce(commands, ["7:open", "8:close"])
        assert sub.wait(2) == [("devices/7/cmd", 1, False, "open"), ("devices/8/cmd", 1, False, "close")]
        produce(commands, ["7:stop"])
        assert sub.payloads(3)[2] == "stop"


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_compressed_batches_are_carried(commands, codec):
    lines = [f"7:{'x' * 40}{number}" for number in range(2000)]
    with MosquittoSub(commands.mqtt, "devices/7/cmd", qos=1) as sub:
        produce(commands, lines, "-z", codec)
        assert sub.payloads(2000) == [line[2:] for line in lines]
    assert commands.metric("rialto_route_failures_total", route="commands") == 0


def test_metadata_travels_as_properties(commands, connect):
    sub = connect(commands, "s", version=5)
    sub.subscribe(("devices/#", 1))
    produce(commands, ["7:open"], "-H", "unit=K", "-H", "content-type=text/plain")
    message = sub.message()
    assert message.properties["content_type"] == "text/plain"
    user = message.properties["user"]
    assert ("unit", "K") in user and ("kafka-key", "7") in user
    assert ("kafka-topic", "commands") in user and ("kafka-offset", "0") in user


def test_a_restart_goes_on_where_it_was(commands, connect):
    sub = connect(commands, "keeps", clean=False)
    sub.subscribe(("devices/#", 1))
    sub.disconnect()
    produce(commands, [f"7:{number}" for number in range(100)])
    wait_until(lambda: carried(commands) == 100, "everything is carried")
    commands.restart()
    produce(commands, [f"7:{number}" for number in range(100, 200)])
    wait_until(lambda: carried(commands) == 100, "the rest is carried")
    sub = connect(commands, "keeps", clean=False)
    assert [int(message.payload) for message in sub.messages(200)] == list(range(200))
    sub.nothing_comes()


def test_kill_9_in_the_middle_loses_nothing_and_repeats_nothing(commands, connect):
    """Producers, the route and a durable queue and session go on while the broker is killed again and again."""
    sub = connect(commands, "keeps", clean=False)
    sub.subscribe(("devices/#", 1))
    sub.disconnect()
    pika_channel(commands, lambda channel: (
        channel.queue_declare("orders", durable=True), channel.queue_bind("orders", "amq.topic", "devices.#")))
    produced = []
    for life in range(4):
        stop = threading.Event()

        def flood(life=life, stop=stop):
            number = 0
            while not stop.is_set():
                values = [f"7:{life}-{number + at}" for at in range(50)]
                done = kcat(commands.kafka, "-P", "-t", "commands", "-K", ":", "-X", "retries=0",
                            "-X", "message.timeout.ms=2000", data="\n".join(values) + "\n", check=False)
                if done.returncode == 0:
                    produced.extend(value[2:] for value in values)
                number += 50

        thread = threading.Thread(target=flood)
        before = carried(commands)
        thread.start()
        wait_until(lambda: carried(commands) > before + 200, "the route carries")
        commands.kill9()
        stop.set()
        thread.join()
        commands.start()
    held = [row["value"] for row in kcat_read(commands.kafka, "commands")]
    assert set(produced) <= set(held)
    wait_until(lambda: orders_ready(commands) == len(held), "the queue has what the log has")
    taken = []
    pika_channel(commands, lambda channel: taken.extend(drain(channel, "orders", len(held))))
    assert taken == held
    sub = connect(commands, "keeps", clean=False)
    assert [message.payload.decode() for message in sub.messages(len(held))] == held
    sub.nothing_comes()


def pika_channel(broker, action):
    connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", broker.amqp))
    try:
        return action(connection.channel())
    finally:
        connection.close()


def orders_ready(broker):
    declared = pika_channel(broker, lambda channel: channel.queue_declare("orders", passive=True))
    return declared.method.message_count


def drain(channel, queue, count):
    for method, _, body in channel.consume(queue, auto_ack=True, inactivity_timeout=20):
        assert method is not None, "no more messages"
        yield body.decode()
        count -= 1
        if count == 0:
            return


def test_an_exchange_gets_records_with_their_keys_and_headers(make_broker):
    route = """\
[[route]]
name = "orders"
from = { log = "orders", from = "earliest" }
to   = { exchange = "orders", routing_key = "order.{key}" }
"""
    broker = make_broker(routes={"orders.toml": route}).start()
    connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", broker.amqp))
    channel = connection.channel()
    channel.queue_declare("invoices", durable=True)
    channel.queue_bind("invoices", "orders", "order.*")
    kcat_write(broker.kafka, "orders", ["a:1", "b:2"], "-K", ":", "-H", "unit=K", "-H", "content-type=text/plain")
    got = []
    for method, properties, body in channel.consume("invoices", auto_ack=True, inactivity_timeout=20):
        assert method is not None, "no message came"
        got.append((method.exchange, method.routing_key, properties, body))
        if len(got) == 2:
            break
    assert [(exchange, key, body) for exchange, key, _, body in got] == [
        ("orders", "order.a", b"1"), ("orders", "order.b", b"2")]
    properties = got[0][2]
    assert (properties.delivery_mode, properties.content_type) == (2, "text/plain")
    assert properties.headers["unit"] == "K"
    connection.close()


def test_a_route_that_is_new_leaves_what_came_before(make_broker, connect):
    broker = make_broker(routes={"seed.toml": SEED % 1}).start()
    produce(broker, ["7:old"])
    (broker.bridges / "commands.toml").write_text(COMMANDS.replace(', from = "earliest"', ""))
    broker.restart()
    sub = connect(broker, "s")
    sub.subscribe(("devices/#", 1))
    produce(broker, ["7:new"])
    assert sub.message().payload == b"new"


def test_what_cannot_be_carried_is_counted(commands, connect):
    sub = connect(commands, "s")
    sub.subscribe(("#", 1))
    kcat_write(commands.kafka, "commands", ["without a key"])
    produce(commands, ["a+b:wildcard", "7:good"])
    assert sub.message().payload == b"good"
    wait_until(lambda: commands.metric("rialto_route_failures_total", route="commands") == 2, "both are counted")
    wait_until(lambda: commands.metric("rialto_route_failures_total", route="commands", reason="missing_value") == 1,
               "route_failures_total is counted")
    wait_until(lambda: commands.metric("rialto_route_failures_total", route="commands", reason="unmapped") == 1,
               "route_failures_total is counted")


def test_two_routes_in_a_circle_end(make_broker, connect):
    both = """\
[[route]]
name = "in"
from = { mqtt = "ring/#" }
to   = { log = "ring", key = "{#}", partitions = 1 }

[[route]]
name = "out"
from = { log = "ring", from = "earliest" }
to   = { mqtt = "ring/{key}" }
"""
    broker = make_broker(routes={"ring.toml": both}).start()
    broker.wait_log("route `out` brings what is in the log `ring`")
    sub, pub = connect(broker, "s"), connect(broker, "p")
    sub.subscribe(("ring/#", 1))
    pub.publish("ring/a", "once", qos=1)
    assert [message.payload for message in sub.messages(2)] == [b"once"] * 2, "the publish, and the route's"
    wait_until(lambda: broker.metric("rialto_route_failures_total", reason="circle") == 1, "the circle ends")
    assert [row["value"] for row in kcat_read(broker.kafka, "ring")] == ["once"]
    sub.nothing_comes()


def test_a_queue_that_refuses_holds_the_route_up(commands):
    arguments = {"x-max-length": 3, "x-overflow": "reject-publish"}
    pika_channel(commands, lambda channel: (
        channel.queue_declare("orders", durable=True, arguments=arguments),
        channel.queue_bind("orders", "amq.topic", "devices.#")))
    produce(commands, [f"7:{number}" for number in range(50)])
    wait_until(lambda: orders_ready(commands) == 3, "the queue is full")
    taken = []
    pika_channel(commands, lambda channel: taken.extend(drain(channel, "orders", 50)))
    assert taken == [str(number) for number in range(50)]


def test_a_fault_in_a_route_is_told_with_its_place(tmp_path):
    faults = {
        'from = { log = "c", from = "newest" }\nto = { mqtt = "a" }': "from.from",
        'from = { log = "c" }\nto = { mqtt = "a/{1}" }': "to.mqtt",
        'from = { log = "c" }\nto = { mqtt = "a/+/{key}" }': "to.mqtt",
        'from = { log = "c" }\nto = { mqtt = "a", qos = 3 }': "to.qos",
        'from = { log = "c" }\nto = { log = "d" }': "to.log",
        'from = { log = "c/d" }\nto = { mqtt = "a" }': "from.log",
        'from = { log = "c", mqtt = "a" }\nto = { mqtt = "a" }': "from",
        'from = { log = "c" }\nto = { exchange = "e", retain = true }': "to.retain",
        'from = { mqtt = "a", from = "latest" }\nto = { log = "c" }': "from.from",
        'from = { mqtt = "a" }\nto = { log = "c", qos = 1 }': "to.qos",
    }
    routes = tmp_path / "bridge-config"
    routes.mkdir()
    config = tmp_path / "rialto.toml"
    config.write_text("")
    for text, key in faults.items():
        (routes / "r.toml").write_text(f'[[route]]\nname = "r"\n{text}\n')
        done = run([binary(), "check", str(config), "--bridge-config", str(routes)], check=False)
        assert done.returncode != 0, text
        assert f"route[0].{key}" in done.stdout + done.stderr, (text, done.stdout, done.stderr)
