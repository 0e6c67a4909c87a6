"""Scenarios about queues: declaring, counting, exclusivity, deleting, purging."""

from amqp_scenarios import scenario
from amqpcodec import Typed


@scenario
def queue_missing(stage):
    name = stage.name("q")
    stage.ask("passive", "queue.declare", queue=name, passive=True)
    stage.ask("consume", "basic.consume", queue=name)
    stage.ask("get", "basic.get", queue=name)
    stage.ask("purge", "queue.purge", queue=name)
    stage.ask("delete", "queue.delete", queue=name)


@scenario
def queue_reserved_names(stage):
    stage.ask("declare", "queue.declare", queue="amq.mine")
    stage.ask("passive", "queue.declare", queue="amq.mine", passive=True)
    stage.ask("delete", "queue.delete", queue="amq.mine")


@scenario
def queue_counts(stage):
    queue = stage.queue("q")
    stage.note("new", stage.count(queue))
    stage.fill(queue, "a", "b", "c")
    stage.note("filled", stage.count(queue))
    consumer = stage.channel()
    consumer.call("basic.qos", prefetch_count=2)
    consumer.call("basic.consume", queue=queue)
    consumer.take(2)
    stage.note("two are out", stage.count(queue))
    consumer.call("basic.consume", queue=queue, consumer_tag="second")
    consumer.next("basic.deliver")
    stage.note("a second consumer", stage.count(queue))
    redeclared = stage.channel().call("queue.declare", queue=queue)
    stage.note("declared again", [redeclared.queue, redeclared.message_count, redeclared.consumer_count])


@scenario
def queue_inequivalent(stage):
    stage.queue("plain")
    stage.queue("durable", durable=True)
    stage.queue("auto", auto_delete=True)
    for label, word, options in [
        ("the same", "plain", {}), ("durable", "plain", {"durable": True}),
        ("auto_delete", "plain", {"auto_delete": True}),
        ("exclusive", "plain", {"exclusive": True}), ("not durable", "durable", {}), ("not auto_delete", "auto", {}),
        ("passive with everything wrong", "plain", {"passive": True, "durable": True, "exclusive": True}),
        ("an argument nobody knows", "plain", {"arguments": {"x-whatever": 1}}),
        ("two at once", "plain", {"durable": True, "auto_delete": True}),
    ]:
        stage.ask(label, "queue.declare", queue=stage.name(word), **options)


@scenario
def queue_inequivalent_arguments(stage):
    stage.queue("q", arguments={"x-max-length": 10, "x-message-ttl": 60_000, "x-overflow": "drop-head"})
    same = {"x-max-length": 10, "x-message-ttl": 60_000, "x-overflow": "drop-head"}
    for label, arguments in [
        ("the same", same), ("another order", dict(reversed(same.items()))),
        ("another width", {**same, "x-max-length": Typed("l", 10), "x-message-ttl": Typed("u", 60_000)}),
        ("none", {}), ("one less", {"x-max-length": 10, "x-message-ttl": 60_000}),
        ("another length", {**same, "x-max-length": 11}),
        ("another overflow", {**same, "x-overflow": "reject-publish"}),
        ("one more", {**same, "x-expires": 1000}), ("classic", {**same, "x-queue-type": "classic"}),
    ]:
        stage.ask(label, "queue.declare", queue=stage.name("q"), arguments=arguments)


@scenario
def queue_arguments_refused(stage):
    for key, value in [
        ("x-message-ttl", -1), ("x-message-ttl", "1000"), ("x-message-ttl", 1.5), ("x-message-ttl", 0),
        ("x-expires", 0), ("x-expires", -1), ("x-expires", "a"), ("x-max-length", -1), ("x-max-length", "a"),
        ("x-max-length-bytes", -1), ("x-overflow", "nope"), ("x-overflow", 1), ("x-max-priority", 256),
        ("x-max-priority", -1), ("x-max-priority", "a"), ("x-dead-letter-exchange", 5),
        ("x-dead-letter-routing-key", "k"), ("x-queue-type", "nope"), ("x-queue-type", 5), ("x-queue-mode", "nope"),
        ("x-single-active-consumer", "yes"), ("x-queue-master-locator", "nope"), ("x-whatever", {"any": [1]}),
    ]:
        word = f"{key}={value}"
        stage.ask(word, "queue.declare", queue=stage.name(word), auto_delete=True, arguments={key: value})
        stage.leftovers.append(("queue.delete", {"queue": stage.name(word)}))


@scenario
def queue_named_by_the_server(stage):
    channel = stage.channel()
    name = channel.call("queue.declare", queue="", exclusive=True).queue
    stage.note("name", name)
    stage.note("long enough", len(name) >= 20)
    stage.note("another", channel.call("queue.declare", queue="", exclusive=True).queue != name)
    name = channel.call("queue.declare", queue="", exclusive=True).queue
    channel.call("queue.bind", queue="", exchange="amq.direct", routing_key="")
    channel.select()
    channel.confirmed("amq.direct", name, "bound by its own name")
    channel.confirmed("amq.direct", "", "bound by nothing")
    got = channel.get("")
    stage.note("get", got.body)
    stage.note("count", channel.call("queue.declare", queue=name, passive=True).message_count)
    channel.publish("", name, "purged")
    channel.confirms()
    stage.ask("purge", "queue.purge", channel=channel, queue="")
    stage.ask("consume", "basic.consume", channel=channel, queue="", consumer_tag="t")
    stage.ask("declare passively without a name", "queue.declare", channel=channel, queue="", passive=True)


@scenario
def queue_shortcut_without_a_queue(stage):
    for method in ("queue.bind", "basic.consume", "basic.get", "queue.purge", "queue.delete", "queue.unbind"):
        stage.ask(method, method, queue="", **({"exchange": "amq.topic"} if method.endswith("bind") else {}))
    stage.ask("passive", "queue.declare", queue="", passive=True)
    channel = stage.channel()
    stage.queue("q", channel)
    channel.call("queue.delete", queue=stage.name("q"))
    stage.ask("the last one was deleted", "basic.get", channel=channel, queue="")


@scenario
def queue_exclusive(stage):
    owner, name = stage.connect(), stage.name("q")
    mine = owner.channel()
    mine.call("queue.declare", queue=name, exclusive=True)
    stage.ask("another channel of the owner", "queue.declare", answer=None, channel=owner.channel(), queue=name,
              exclusive=True)
    stage.ask("not exclusive, by the owner", "queue.declare", channel=owner.channel(), queue=name)
    for label, method, options in [
        ("declare", "queue.declare", {"exclusive": True}), ("declare, not exclusive", "queue.declare", {}),
        ("passive", "queue.declare", {"passive": True}), ("consume", "basic.consume", {}), ("get", "basic.get", {}),
        ("purge", "queue.purge", {}), ("delete", "queue.delete", {}), ("bind", "queue.bind", {"exchange": "amq.topic"}),
        ("unbind", "queue.unbind", {"exchange": "amq.topic"}),
    ]:
        stage.ask(label, method, queue=name, **options)
    channel = stage.channel().select()
    channel.confirmed("", name, "by another")
    stage.note("anybody may publish", mine.get(name, no_ack=True).body)
    owner.cut()
    stage.until(lambda: not stage.exists("queue", name), "the queue goes with its connection")
    stage.note("afterwards", stage.exists("queue", name))
    owner = stage.connect()
    owner.channel().call("queue.declare", queue=name, exclusive=True, durable=True)
    stage.ask("durable and exclusive", "queue.declare", queue=name, passive=True)
    owner.close()
    stage.until(lambda: not stage.exists("queue", name), "the queue goes with its connection")
    stage.note("durable, afterwards", stage.exists("queue", name))


@scenario
def queue_auto_delete(stage):
    name, channel = stage.queue("q", auto_delete=True), stage.channel()
    stage.note("never consumed", stage.exists("queue", name))
    channel.get(name)
    stage.note("after a get", stage.exists("queue", name))
    for tag in ("a", "b"):
        channel.call("basic.consume", queue=name, consumer_tag=tag)
    channel.call("basic.cancel", consumer_tag="a")
    stage.note("one consumer left", stage.exists("queue", name))
    channel.call("basic.cancel", consumer_tag="b")
    stage.until(lambda: not stage.exists("queue", name), "the queue goes with its last consumer")
    for label, ending in [("channel closed", lambda c: c.close()), ("connection cut", lambda c: c.connection.cut())]:
        stage.channel().call("queue.declare", queue=name, auto_delete=True)
        connection = stage.connect()
        channel = connection.channel()
        channel.call("basic.consume", queue=name)
        ending(channel)
        stage.until(lambda: not stage.exists("queue", name), "the queue goes with its last consumer")
        stage.note(label, stage.exists("queue", name))


@scenario
def queue_delete(stage):
    name = stage.queue("q")
    stage.fill(name, "a", "b")
    stage.ask("if empty, not empty", "queue.delete", queue=name, if_empty=True)
    channel = stage.channel()
    channel.call("basic.qos", prefetch_count=1)
    channel.call("basic.consume", queue=name)
    channel.next("basic.deliver")
    stage.ask("if unused, used", "queue.delete", queue=name, if_unused=True)
    stage.ask("if both", "queue.delete", queue=name, if_unused=True, if_empty=True)
    stage.ask("with one out and one ready", "queue.delete", queue=name)
    stage.ask("again", "queue.delete", queue=name)
    stage.queue("q")
    stage.ask("if both, and both are", "queue.delete", queue=name, if_unused=True, if_empty=True)
    # A message that is out does not count as there.
    stage.queue("q")
    stage.fill(name, "a")
    channel = stage.channel()
    channel.get(name)
    stage.ask("if empty, one out", "queue.delete", queue=name, if_empty=True)
    stage.after("its ack", channel, lambda c: c.send("basic.ack", delivery_tag=1))


@scenario
def queue_delete_unbinds(stage):
    name = stage.queue("q")
    stage.channel().call("queue.bind", queue=name, exchange="amq.direct", routing_key=name)
    stage.channel().call("queue.delete", queue=name)
    stage.queue("q")
    channel = stage.channel().select()
    channel.confirmed("amq.direct", name, "x")
    stage.note("a new queue of that name", stage.count(name))


@scenario
def queue_purge(stage):
    name = stage.queue("q")
    stage.ask("empty", "queue.purge", queue=name)
    stage.fill(name, "a", "b", "c", "d", "e")
    channel = stage.channel()
    channel.get(name)
    channel.get(name)
    stage.ask("two are out", "queue.purge", queue=name)
    channel.call("basic.recover", requeue=True)
    stage.note("what was out stays", stage.bodies(name))


@scenario
def queue_names_are_cleaned(stage):
    channel = stage.channel()
    stage.note("queue", channel.call("queue.declare", queue=stage.name("a\r\nb"), auto_delete=True).queue)
    stage.leftovers.append(("queue.delete", {"queue": stage.name("ab")}))
    channel.call("exchange.declare", exchange=stage.name("x\r\ny"), type="fanout")
    stage.leftovers.append(("exchange.delete", {"exchange": stage.name("xy")}))
    stage.note("exchange", stage.exists("exchange", stage.name("xy")))
    long = stage.name("")
    long += "l" * (255 - len(long))
    stage.note("255 bytes", channel.call("queue.declare", queue=long, auto_delete=True).queue == long)
    stage.leftovers.append(("queue.delete", {"queue": long}))


@scenario
def declaring_without_waiting(stage):
    channel = stage.channel().select()
    queue, exchange = stage.name("q"), stage.name("x")
    channel.send("exchange.declare", exchange=exchange, type="direct", nowait=True)
    channel.send("queue.declare", queue=queue, nowait=True)
    channel.send("queue.bind", queue=queue, exchange=exchange, routing_key="k", nowait=True)
    stage.leftovers += [("exchange.delete", {"exchange": exchange}), ("queue.delete", {"queue": queue})]
    channel.confirmed(exchange, "k", "pipelined")
    stage.note("got", stage.bodies(queue))
    channel.send("basic.consume", queue=queue, consumer_tag="t", nowait=True)
    channel.confirmed(exchange, "k", "consumed")
    stage.note("delivered", channel.next("basic.deliver").body)
    channel.send("basic.cancel", consumer_tag="t", nowait=True)
    channel.send("queue.purge", queue=queue, nowait=True)
    channel.send("queue.delete", queue=queue, nowait=True)
    channel.send("exchange.delete", exchange=exchange, nowait=True)
    stage.try_("alive", lambda: channel.call("channel.flow", active=True))
    stage.note("gone", [stage.exists("queue", queue), stage.exists("exchange", exchange)])
    channel = stage.channel()
    channel.send("queue.declare", queue="amq.refused", nowait=True)
    stage.try_("refused", lambda: channel.call("channel.flow", active=True))
