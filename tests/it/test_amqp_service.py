"""The AMQP listener as operators meet it: the goodbye at SIGTERM, metrics, heartbeats, back-pressure, what a restart
keeps (issue 4).
"""

import threading

import pytest

from amqpcodec import HEARTBEAT, frame, method_frame, publish_frames
from harness import DEADLINE, wait_until
from rawamqp import Connection, Refused, Timeout

pytestmark = pytest.mark.rialto

PERSISTENT = {"delivery_mode": 2}


@pytest.fixture
def amqp():
    """amqp(broker) is a channel of a new connection that is cut after the test."""
    opened = []

    def opening(broker, **options):
        opened.append(Connection(broker.amqp).open(**options))
        return opened[-1].channel()

    yield opening
    for connection in opened:
        connection.cut()


def bodies(channel, queue):
    """Everything that is ready, as (body, redelivered)."""
    found = []
    while (event := channel.get(queue, no_ack=True)).name == "basic.get-ok":
        found.append((event.body.decode(), event.redelivered))
    return found


def missing(broker, kind, name):
    with Connection(broker.amqp) as connection:
        try:
            connection.channel().call(f"{kind}.declare", passive=True, **{kind: name})
        except Refused as refused:
            assert refused.code == 404, refused
            return True
    return False


# -- stopping and metrics -----------------------------------------------------------------------------------------


def test_sigterm_says_goodbye_with_320(broker, amqp):
    channels = [amqp(broker) for _ in range(5)]
    channels[0].call("queue.declare", queue="q")
    channels[0].call("basic.consume", queue="q")
    broker.stop()
    for channel in channels:
        with pytest.raises(Refused) as refused:
            channel.next()
        assert (refused.value.scope, refused.value.code) == ("connection", 320)
        assert refused.value.text.startswith("CONNECTION_FORCED - ")


def test_metrics_know_the_protocol(broker, amqp):
    channel = amqp(broker).select()
    channel.call("queue.declare", queue="q")
    channel.call("basic.consume", queue="q", no_ack=True)
    for number in range(10):
        channel.publish("", "q", str(number), PERSISTENT if number % 2 else {})
    channel.confirms()
    channel.take(10)

    def counted():
        return (broker.metric("rialto_connections", protocol="amqp") == 1
                and broker.metric("rialto_connections_opened_total", protocol="amqp") == 1
                and broker.metric("rialto_messages_received_total", protocol="amqp") == 10
                and broker.metric("rialto_messages_delivered_total", protocol="amqp") == 10
                and broker.metric("rialto_received_bytes_total", protocol="amqp") > 0
                and broker.metric("rialto_sent_bytes_total", protocol="amqp") > 0)

    wait_until(counted, "ten in, ten out, one connection")
    channel.connection.cut()
    wait_until(lambda: broker.metric("rialto_connections", protocol="amqp") == 0, "it is gone")
    with pytest.raises(Refused):
        Connection(broker.amqp).open(password="wrong")
    wait_until(lambda: broker.metric("rialto_auth_failures_total", protocol="amqp") == 1, "the refusal is counted")


def test_protocol_errors_are_counted(broker, amqp):
    connection = amqp(broker).connection
    connection.send(frame(HEARTBEAT, 1, b""))
    with pytest.raises(Refused):
        connection.receive(0)
    wait_until(lambda: broker.metric("rialto_protocol_errors_total", protocol="amqp") == 1, "it is counted")


def test_the_offer_follows_the_configuration(make_broker):
    broker = make_broker(config='[amqp]\nproduct = "RabbitMQ"\nversion = "3.13.7"\nframe_bytes_max = "64KiB"\n'
                                'channels_max = 5\nheartbeat_s = 7\n').start()
    connection = Connection(broker.amqp).open()
    assert (connection.start.server_properties["product"], connection.start.server_properties["version"]) == \
        ("RabbitMQ", "3.13.7")
    assert (connection.tune.frame_max, connection.tune.channel_max, connection.tune.heartbeat) == (65536, 5, 7)
    connection.close()


def test_a_message_too_large_is_refused_and_the_rest_of_it_thrown_away(make_broker, amqp):
    broker = make_broker(config='[amqp]\nmessage_bytes_max = "64KiB"\n').start()
    channel = amqp(broker).select()
    channel.call("queue.declare", queue="q")
    channel.confirmed("", "q", b"x" * 65536)
    channel.publish("", "q", b"x" * 300_000)
    with pytest.raises(Refused) as refused:
        channel.confirms()
    assert (refused.value.scope, refused.value.code) == ("channel", 406)
    other = channel.connection.channel()
    assert other.call("queue.declare", queue="q", passive=True).message_count == 1


# -- slow and fast ------------------------------------------------------------------------------------------------


def test_a_flood_without_a_consumer_is_bounded_in_memory_and_all_there(make_broker, amqp):
    broker = make_broker(config='[amqp]\nmemory_bytes_max = "8MiB"\n').start()
    before, channel = broker.memory_kb(), amqp(broker).select()
    channel.call("queue.declare", queue="q")
    body, total = b"x" * 8192, 12_000
    data = publish_frames(1, "", "q", body) * 100
    for _ in range(total // 100):
        channel.connection.send(data)
        channel.published += 100
    channel.confirms()
    assert channel.call("queue.declare", queue="q", passive=True).message_count == total
    assert broker.memory_kb() < before + 60_000, "bodies of 96 MB are on disk"
    consumer = amqp(broker)
    consumer.call("basic.qos", prefetch_count=500)
    consumer.call("basic.consume", queue="q")
    for number in range(total):
        event = consumer.next("basic.deliver")
        assert event.delivery_tag == number + 1 and event.body == body
        if number % 100 == 99:
            consumer.send("basic.ack", delivery_tag=number + 1, multiple=True)


def test_a_consumer_that_does_not_read_disturbs_nobody(broker, amqp):
    stuck, fine, publisher = amqp(broker), amqp(broker), amqp(broker).select()
    for channel, queue in ((stuck, "stuck"), (fine, "fine")):
        channel.call("queue.declare", queue=queue)
        channel.call("basic.consume", queue=queue, no_ack=True)
    before = broker.memory_kb()
    for _ in range(40):
        for _ in range(25):
            publisher.publish("", "stuck", b"x" * 100_000)
        publisher.confirms()
    publisher.publish("", "fine", "through")
    assert fine.next("basic.deliver").body == b"through"
    assert broker.memory_kb() < before + 150_000
    for _ in range(1000):
        assert len(stuck.next("basic.deliver").body) == 100_000


def test_heartbeats_flow_while_a_publisher_is_busy(broker, amqp):
    channel = amqp(broker, heartbeat=1)
    channel.call("queue.declare", queue="q", durable=True)
    connection, stop = channel.connection, threading.Event()
    # Of its own, so that the short waits of the reader are not the writer's.
    writer = connection.socket.dup()
    writer.settimeout(DEADLINE)

    def publish():
        data = publish_frames(1, "", "q", b"x" * 1000, PERSISTENT) * 50
        while not stop.is_set():
            writer.sendall(data)

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        wait_until(lambda: heard(connection) >= 3, "three heartbeats of the broker's")
    finally:
        stop.set()
        thread.join()
        writer.close()
    channel.call("queue.purge", queue="q")


def heard(connection):
    """Heartbeats so far; reads what is there."""
    try:
        connection.receive(0, timeout=0.1)
    except Timeout:
        pass
    return connection.heartbeats


# -- what a publisher sees of its own messages --------------------------------------------------------------------


def behind_a_publish(channel, method, *answers, **values):
    """Publishes something persistent and sends a method in the same segment; its answer."""
    publish = publish_frames(channel.number, "", "q", "new", PERSISTENT)
    channel.connection.send(publish + method_frame(channel.number, method, queue="q", **values))
    return channel.answer(*(answers or (method + "-ok",)))


def test_a_get_finds_what_its_connection_published_before(broker, amqp):
    channel = amqp(broker)
    channel.call("queue.declare", queue="q", durable=True)
    for _ in range(30):
        assert behind_a_publish(channel, "basic.get", "basic.get-ok", "basic.get-empty", no_ack=True).body == b"new"
    # Transient messages wait behind persistent ones; another channel of the connection waits, too.
    other = channel.connection.channel()
    for _ in range(30):
        channel.publish("", "q", "first", PERSISTENT)
        channel.publish("", "q", "second")
        assert [other.get("q", no_ack=True).body for _ in range(2)] == [b"first", b"second"]


def test_counts_and_ends_of_a_queue_include_what_its_connection_published_before(broker, amqp):
    channel = amqp(broker)
    for count in range(1, 20):
        channel.call("queue.declare", queue="q", durable=True)
        assert behind_a_publish(channel, "queue.declare", passive=True).message_count == 1
        assert behind_a_publish(channel, "queue.purge").message_count == 2
        assert channel.get("q").name == "basic.get-empty"
        with pytest.raises(Refused) as refused:
            behind_a_publish(channel, "queue.delete", if_empty=True)
        assert refused.value.code == 406
        channel = channel.connection.channel(count + 1)
        assert behind_a_publish(channel, "queue.delete").message_count == 2


def test_a_confirm_is_negative_when_one_of_the_queues_refuses(broker, amqp):
    channel = amqp(broker).select()
    channel.call("queue.declare", queue="q", durable=True)
    channel.call("queue.declare", queue="full", arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    for queue in ("q", "full"):
        channel.call("queue.bind", queue=queue, exchange="amq.fanout")
    for _ in range(3):
        channel.publish("amq.fanout", "", "x", PERSISTENT)
    assert channel.confirms() == {2, 3}
    assert channel.call("queue.declare", queue="q", passive=True, durable=True).message_count == 3


# -- restarts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hard", [False, True], ids=["stop", "kill"])
def test_a_restart_keeps_what_is_durable(make_broker, amqp, hard):
    broker = make_broker().start()
    channel = amqp(broker).select()
    for word, durable in (("kept", True), ("lost", False)):
        channel.call("exchange.declare", exchange=word, type="topic", durable=durable)
        channel.call("queue.declare", queue=word, durable=durable, arguments={"x-whatever": "kept too"})
        channel.call("queue.bind", queue=word, exchange=word, routing_key="a.#")
    channel.call("queue.declare", queue="bound-and-freed", durable=True)
    channel.call("queue.bind", queue="bound-and-freed", exchange="kept", routing_key="#")
    channel.call("queue.unbind", queue="bound-and-freed", exchange="kept", routing_key="#")
    channel.call("queue.declare", queue="deleted", durable=True)
    channel.call("queue.delete", queue="deleted")
    channel.call("queue.declare", queue="exclusive", durable=True, exclusive=True)
    for number in range(6):
        channel.publish("kept", "a.b", str(number), PERSISTENT if number % 2 else {})
        channel.publish("lost", "a.b", str(number), PERSISTENT)
    channel.confirms()
    broker.restart(hard=hard)
    for kind, name in (("queue", "lost"), ("exchange", "lost"), ("queue", "deleted"), ("queue", "exclusive")):
        assert missing(broker, kind, name), f"{kind} {name} is back"
    channel = amqp(broker).select()
    channel.call("queue.declare", queue="kept", durable=True, arguments={"x-whatever": "kept too"})
    assert bodies(channel, "kept") == [("1", True), ("3", True), ("5", True)]
    channel.confirmed("kept", "a.c", "new", PERSISTENT)
    assert bodies(channel, "kept") == [("new", False)]
    assert bodies(channel, "bound-and-freed") == []


@pytest.mark.parametrize("hard", [False, True], ids=["stop", "kill"])
def test_a_restart_gives_back_what_was_not_acknowledged(make_broker, amqp, hard):
    broker = make_broker().start()
    channel = amqp(broker).select()
    channel.call("queue.declare", queue="q", durable=True)
    for number in range(10):
        channel.publish("", "q", str(number), PERSISTENT)
    channel.confirms()
    channel.call("basic.consume", queue="q")
    channel.take(10)
    channel.send("basic.ack", delivery_tag=3, multiple=True)
    channel.send("basic.reject", delivery_tag=5)
    # Something later that is answered from the disk: so are the acks.
    channel.call("queue.declare", queue="behind", durable=True)
    broker.restart(hard=hard)
    assert bodies(amqp(broker), "q") == [(str(number), True) for number in (3, 5, 6, 7, 8, 9)]


def test_messages_outlive_several_restarts_and_checkpoints(make_broker, amqp):
    broker = make_broker(config="[checkpoint]\ninterval_s = 1\n").start()
    expected = []
    for round_ in range(4):
        channel = amqp(broker).select()
        channel.call("queue.declare", queue="q", durable=True)
        for number in range(50):
            expected.append(f"{round_}:{number}")
            channel.publish("", "q", expected[-1], PERSISTENT)
        channel.confirms()
        taken = [channel.get("q").body.decode() for _ in range(20)]
        assert taken == expected[:20]
        del expected[:20]
        channel.send("basic.ack", delivery_tag=20, multiple=True)
        channel.call("queue.declare", queue="behind", durable=True)
        count = broker.metric("rialto_checkpoints_total")
        if round_ % 2:
            wait_until(lambda: broker.metric("rialto_checkpoints_total") > count, "a checkpoint")  # noqa: B023
        broker.restart(hard=round_ != 2)
    assert [body for body, _ in bodies(amqp(broker), "q")] == expected


def test_a_closed_socket_frees_everything(broker, amqp):
    channel = amqp(broker)
    channel.call("queue.declare", queue="mine", exclusive=True)
    channel.call("queue.declare", queue="auto", auto_delete=True)
    channel.call("basic.consume", queue="auto")
    channel.connection.cut()
    wait_until(lambda: missing(broker, "queue", "mine") and missing(broker, "queue", "auto"), "both queues go")
