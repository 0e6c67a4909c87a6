"""Scenarios about consumers: tags, prefetch, acknowledgement, requeue, recover, cancel."""

from amqp_scenarios import scenario


def seen(events):
    """Deliveries as [tag, body, redelivered]."""
    return [[event.delivery_tag, event.body.decode(), event.redelivered] for event in events]


def texts(events):
    return [event.body.decode() for event in events]


def numbers(count):
    return [str(number) for number in range(count)]


@scenario
def consumer_tags(stage):
    queue, channel = stage.queue("q"), stage.channel()
    stage.ask("made by the server", "basic.consume", channel=channel, queue=queue)
    stage.ask("by the client", "basic.consume", channel=channel, queue=queue, consumer_tag="mine")
    stage.ask("the same on another channel", "basic.consume", queue=queue, consumer_tag="mine")
    stage.ask("cancel", "basic.cancel", channel=channel, consumer_tag="mine")
    stage.ask("cancel again", "basic.cancel", channel=channel, consumer_tag="mine")
    stage.ask("cancel nobody", "basic.cancel", channel=channel, consumer_tag="")
    stage.ask("used again", "basic.consume", channel=channel, queue=queue, consumer_tag="mine")
    stage.ask("twice at once", "basic.consume", channel=channel, queue=queue, consumer_tag="mine")


@scenario
def consumer_exclusive(stage):
    queue, channel = stage.queue("q"), stage.channel()
    channel.call("basic.consume", queue=queue, consumer_tag="one", exclusive=True)
    stage.ask("another", "basic.consume", queue=queue)
    stage.ask("another exclusive", "basic.consume", queue=queue, exclusive=True)
    stage.ask("another on the same channel", "basic.consume", channel=channel, queue=queue, consumer_tag="two")
    channel = stage.channel()
    channel.call("basic.consume", queue=queue, consumer_tag="shared")
    stage.ask("exclusive beside a shared one", "basic.consume", queue=queue, exclusive=True)
    channel.call("basic.cancel", consumer_tag="shared")
    stage.ask("alone again", "basic.consume", queue=queue, consumer_tag="t", exclusive=True)


@scenario
def cancelled_by_the_server(stage):
    for label, capabilities in [("announced", {"consumer_cancel_notify": True}), ("not announced", {})]:
        queue = stage.queue("q")
        channel = stage.connect(capabilities=capabilities).channel()
        channel.call("basic.consume", queue=queue, consumer_tag="t")
        stage.channel().call("queue.delete", queue=queue)
        if capabilities:
            cancel = channel.next("basic.cancel")
            stage.note(label, [cancel.consumer_tag, cancel.nowait])
        else:
            channel.call("channel.flow", active=True)
            stage.queue("q")
            stage.note(label, [event.name for event in channel.settled(queue)])
        stage.ask(f"{label}: the client's cancel", "basic.cancel", channel=channel, consumer_tag="t")
        stage.after(f"{label}: a cancel-ok", channel, lambda c: c.send("basic.cancel-ok", consumer_tag="t"))


@scenario
def prefetch_of_a_consumer(stage):
    queue, channel = stage.queue("q"), stage.channel()
    stage.fill(queue, *numbers(10))
    channel.call("basic.qos", prefetch_count=2)
    channel.call("basic.consume", queue=queue, consumer_tag="a")
    stage.note("two", seen(channel.settled(queue)))
    channel.call("basic.qos", prefetch_count=5)
    stage.note("a later qos is not for it", seen(channel.settled(queue)))
    channel.send("basic.ack", delivery_tag=1)
    stage.note("one acknowledged", seen(channel.settled(queue)))
    channel.call("basic.consume", queue=queue, consumer_tag="b")
    stage.note("a second consumer with five", sorted(seen(channel.settled(queue))))
    channel.send("basic.nack", delivery_tag=3, multiple=True, requeue=False)
    stage.note("several settled", seen(channel.settled(queue)))


@scenario
def prefetch_of_a_channel(stage):
    queue, channel = stage.queue("q"), stage.channel()
    stage.fill(queue, *numbers(20))
    channel.call("basic.qos", prefetch_count=3, **{"global": True})
    channel.call("basic.consume", queue=queue, consumer_tag="a")
    channel.call("basic.consume", queue=queue, consumer_tag="b")
    stage.note("three for both", len(channel.settled(queue)))
    channel.send("basic.ack", delivery_tag=2, multiple=True)
    stage.note("two acknowledged", len(channel.settled(queue)))
    channel.call("basic.qos", prefetch_count=5, **{"global": True})
    stage.note("raised while running", len(channel.settled(queue)))
    channel.call("basic.qos", prefetch_count=0, **{"global": True})
    stage.note("taken away", len(channel.settled(queue)))


@scenario
def prefetch_of_both(stage):
    queue, channel = stage.queue("q"), stage.channel()
    stage.fill(queue, *numbers(20))
    channel.call("basic.qos", prefetch_count=2)
    channel.call("basic.qos", prefetch_count=3, **{"global": True})
    for tag in ("a", "b"):
        channel.call("basic.consume", queue=queue, consumer_tag=tag)
    stage.note("per consumer, then global", len(channel.settled(queue)))
    channel = stage.channel()
    other = stage.queue("other")
    stage.fill(other, *numbers(20))
    channel.call("basic.qos", prefetch_count=1, **{"global": True})
    channel.call("basic.qos", prefetch_count=4)
    channel.call("basic.consume", queue=other, consumer_tag="a")
    stage.note("global, then per consumer", len(channel.settled(other)))


@scenario
def prefetch_and_gets(stage):
    queue, channel = stage.queue("q"), stage.channel()
    stage.fill(queue, *numbers(6))
    channel.call("basic.qos", prefetch_count=1)
    stage.note("a get is not limited", [channel.get(queue).body, channel.get(queue).body])
    channel.call("basic.consume", queue=queue, consumer_tag="a")
    stage.note("nor does it count", seen(channel.settled(queue)))
    channel.call("basic.consume", queue=queue, consumer_tag="free", no_ack=True)
    stage.note("without acks there is no limit", sorted(texts(channel.settled(queue))))


@scenario
def prefetch_size(stage):
    stage.ask("size", "basic.qos", prefetch_size=1000)
    stage.ask("size 0", "basic.qos", prefetch_size=0, prefetch_count=65535)


@scenario
def round_robin(stage):
    queue, channel = stage.queue("q"), stage.channel()
    for tag in ("a", "b", "c"):
        channel.call("basic.consume", queue=queue, consumer_tag=tag, no_ack=True)
    stage.fill(queue, *numbers(6))
    stage.note("in turn", [[event.consumer_tag, event.body] for event in channel.take(6)])
    channel.call("basic.cancel", consumer_tag="b")
    stage.fill(queue, *numbers(4))
    stage.note("of two", sorted(texts(event for event in channel.take(4))))


@scenario
def busy_consumers_are_passed_by(stage):
    queue, channel = stage.queue("q"), stage.channel()
    channel.call("basic.qos", prefetch_count=1)
    channel.call("basic.consume", queue=queue, consumer_tag="slow")
    channel.call("basic.qos", prefetch_count=3)
    channel.call("basic.consume", queue=queue, consumer_tag="quick")
    stage.fill(queue, *numbers(6))
    got = channel.settled(queue)
    stage.note("each its share", sorted([event.consumer_tag, event.body] for event in got))
    stage.note("left", stage.count(queue))


@scenario
def consumer_priorities(stage):
    queue = stage.queue("q")
    high, low = stage.channel(), stage.channel()
    for channel, tag, priority in ((low, "low", 1), (high, "high", 10)):
        channel.call("basic.qos", prefetch_count=2)
        channel.call("basic.consume", queue=queue, consumer_tag=tag, arguments={"x-priority": priority})
    stage.fill(queue, *numbers(3))
    stage.note("high first", [texts(channel.settled(queue)) for channel in (high, low)])
    stage.ask("not a number", "basic.consume", queue=queue, arguments={"x-priority": "much"})


@scenario
def acks(stage):
    queue, channel = stage.queue("q"), stage.channel()
    stage.fill(queue, *numbers(8))
    channel.call("basic.consume", queue=queue)
    channel.take(8)
    channel.send("basic.ack", delivery_tag=2)
    channel.send("basic.ack", delivery_tag=4, multiple=True)
    channel.send("basic.reject", delivery_tag=5)
    channel.send("basic.nack", delivery_tag=7, multiple=True, requeue=False)
    channel.call("channel.flow", active=True)
    channel.close()
    stage.until(lambda: stage.count(queue) == [1, 0], "what was not settled comes back")
    stage.note("left", stage.bodies(queue))


@scenario
def acks_of_everything(stage):
    queue, channel = stage.queue("q"), stage.channel()
    stage.fill(queue, *numbers(4))
    channel.call("basic.consume", queue=queue)
    channel.take(4)
    stage.after("multiple with tag 0", channel, lambda c: c.send("basic.ack", delivery_tag=0, multiple=True))
    stage.after("again, nothing is out", channel, lambda c: c.send("basic.ack", delivery_tag=0, multiple=True))
    stage.after("nack of nothing", channel, lambda c: c.send("basic.nack", delivery_tag=0, multiple=True))
    channel.close()
    stage.note("left", stage.bodies(queue))


@scenario
def tags_that_are_unknown(stage):
    queue = stage.queue("q")

    def one_out():
        channel = stage.channel()
        stage.fill(queue, "x")
        channel.get(queue)
        return channel

    for label, method, options in [
        ("ack 5", "basic.ack", {"delivery_tag": 5}),
        ("ack 5 multiple", "basic.ack", {"delivery_tag": 5, "multiple": True}),
        ("ack 0", "basic.ack", {"delivery_tag": 0}), ("reject 5", "basic.reject", {"delivery_tag": 5}),
        ("nack 5", "basic.nack", {"delivery_tag": 5}), ("nack 0", "basic.nack", {"delivery_tag": 0}),
    ]:
        stage.after(label, one_out(), lambda c, m=method, o=options: c.send(m, **o))
    channel = one_out()
    channel.send("basic.ack", delivery_tag=1)
    stage.after("acknowledged twice", channel, lambda c: c.send("basic.ack", delivery_tag=1))
    channel = stage.channel()
    stage.fill(queue, "x")
    channel.get(queue, no_ack=True)
    stage.after("of a delivery without acks", channel, lambda c: c.send("basic.ack", delivery_tag=1))
    channel = stage.channel()
    stage.after("multiple before anything", channel, lambda c: c.send("basic.ack", delivery_tag=1, multiple=True))


@scenario
def tags_are_the_channels(stage):
    queue = stage.queue("q")
    stage.fill(queue, *numbers(3))
    one, two = stage.channel(), stage.channel()
    stage.note("each counts from one", [one.get(queue).delivery_tag, two.get(queue).delivery_tag,
                                        one.get(queue, no_ack=True).delivery_tag])
    stage.after("another channel's", two, lambda c: c.send("basic.ack", delivery_tag=2))


@scenario
def gets(stage):
    queue, channel = stage.queue("q"), stage.channel()
    stage.note("empty", channel.get(queue).name)
    stage.fill(queue, "a", "b", "c")
    got = [channel.get(queue) for _ in range(3)]
    stage.note("got", [[event.delivery_tag, event.redelivered, event.exchange, event.routing_key, event.message_count]
                       for event in got])
    stage.note("all out", channel.get(queue).name)
    channel.send("basic.reject", delivery_tag=2, requeue=True)
    again = channel.get(queue)
    stage.note("requeued", [again.delivery_tag, again.body, again.redelivered, again.message_count])


@scenario
def requeue_keeps_the_place(stage):
    queue, channel = stage.queue("q"), stage.channel()
    stage.fill(queue, *numbers(6))
    for _ in range(4):
        channel.get(queue)
    channel.send("basic.reject", delivery_tag=3, requeue=True)
    channel.send("basic.reject", delivery_tag=1, requeue=True)
    channel.call("channel.flow", active=True)
    stage.note("between the others", stage.bodies(queue))
    channel.close()
    stage.until(lambda: stage.count(queue)[0] == 2, "the rest comes back")
    stage.note("the rest", stage.bodies(queue))


@scenario
def requeue_of_several(stage):
    queue, channel = stage.queue("q"), stage.channel()
    stage.fill(queue, *numbers(6))
    channel.call("basic.qos", prefetch_count=6)
    channel.call("basic.consume", queue=queue, consumer_tag="a")
    channel.take(6)
    channel.call("basic.cancel", consumer_tag="a")
    channel.send("basic.ack", delivery_tag=3)
    channel.send("basic.nack", delivery_tag=5, multiple=True, requeue=True)
    channel.call("channel.flow", active=True)
    again = stage.channel()
    got = []
    while (event := again.get(queue)).name == "basic.get-ok":
        got.append([event.body, event.redelivered])
    stage.note("again", got)


@scenario
def requeue_to_a_running_consumer(stage):
    queue, channel = stage.queue("q"), stage.channel()
    stage.fill(queue, *numbers(4))
    channel.call("basic.qos", prefetch_count=2)
    channel.call("basic.consume", queue=queue)
    first = channel.settled(queue)
    channel.send("basic.nack", delivery_tag=1, requeue=True)
    second = channel.settled(queue)
    channel.send("basic.nack", delivery_tag=0, multiple=True, requeue=False)
    third = channel.settled(queue)
    stage.note("first", seen(first))
    stage.note("the same comes again", seen(second))
    stage.note("then the others", seen(third))


@scenario
def channels_give_back_what_they_hold(stage):
    for label, ending in [("channel closed", lambda c: c.close()),
                          ("connection closed", lambda c: c.connection.close()),
                          ("connection cut", lambda c: c.connection.cut())]:
        queue = stage.queue("q " + label)
        stage.fill(queue, *numbers(5))
        one, two = stage.connect().channel(), stage.connect().channel()
        held = [channel.get(queue).body for channel in (one, two, one, two)]
        ending(two)
        stage.until(lambda q=queue: stage.count(q)[0] == 3, "what two held comes back")
        ending(one)
        stage.until(lambda q=queue: stage.count(q)[0] == 5, "what one held comes back")
        reader = stage.channel()
        stage.note(label, [held, [[event.body, event.redelivered] for event in
                                  (reader.get(queue, no_ack=True) for _ in range(5))]])


@scenario
def redelivered(stage):
    queue = stage.queue("q")
    stage.fill(queue, "a", "b")
    channel = stage.channel()
    channel.call("basic.qos", prefetch_count=1)
    channel.call("basic.consume", queue=queue)
    stage.note("first", seen(channel.take(1)))
    channel.close()
    stage.until(lambda: stage.count(queue) == [2, 0], "it comes back")
    channel = stage.channel()
    channel.call("basic.consume", queue=queue)
    stage.note("only what was delivered before", seen(channel.take(2)))


@scenario
def recover(stage):
    queue, channel = stage.queue("q"), stage.channel()
    stage.fill(queue, *numbers(3))
    for _ in range(2):
        channel.get(queue)
    channel.call("basic.recover", requeue=True)
    stage.note("all three again", [[event.body, event.redelivered, event.delivery_tag] for event in
                                   (channel.get(queue) for _ in range(3))])
    channel.send("basic.recover-async", requeue=True)
    channel.call("channel.flow", active=True)
    stage.note("asynchronously", stage.bodies(queue))
    stage.ask("nothing out", "basic.recover", requeue=True)
    stage.ask("to the same consumer", "basic.recover", requeue=False)
    stage.after("asynchronously to the same", stage.channel(), lambda c: c.send("basic.recover-async", requeue=False))


@scenario
def recover_with_a_consumer(stage):
    queue, channel = stage.queue("q"), stage.channel()
    stage.fill(queue, *numbers(3))
    channel.call("basic.consume", queue=queue)
    stage.note("first", seen(channel.take(3)))
    channel.call("basic.recover", requeue=True)
    stage.note("again", seen(channel.take(3)))


@scenario
def cancelling(stage):
    queue, channel = stage.queue("q"), stage.channel()
    stage.fill(queue, *numbers(2))
    channel.call("basic.consume", queue=queue, consumer_tag="a")
    channel.take(2)
    channel.call("basic.cancel", consumer_tag="a")
    stage.note("what it holds stays out", stage.count(queue))
    stage.fill(queue, "later")
    stage.note("nothing more comes", [event.name for event in channel.settled(queue)])
    stage.after("its ack", channel, lambda c: c.send("basic.ack", delivery_tag=1))
    channel.close()
    stage.until(lambda: stage.count(queue)[0] == 2, "the other comes back")
    stage.note("left", stage.bodies(queue))


@scenario
def no_local_is_ignored(stage):
    queue, channel = stage.queue("q"), stage.channel()
    channel.call("basic.consume", queue=queue, no_local=True, no_ack=True)
    channel.publish("", queue, "my own")
    stage.note("delivered", channel.next("basic.deliver").body)


@scenario
def acks_with_a_bit_too_many(stage):
    queue, channel = stage.queue("q"), stage.channel()
    stage.fill(queue, "a", "b")
    channel.get(queue)
    channel.get(queue)
    stage.after("reject and requeue of the last", channel,
                lambda c: c.send("basic.reject", delivery_tag=2, requeue=True))
    stage.after("the first", channel, lambda c: c.send("basic.ack", delivery_tag=1))
    stage.after("the last again", channel, lambda c: c.send("basic.ack", delivery_tag=2))
