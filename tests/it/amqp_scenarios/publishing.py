"""Scenarios about publishing: returns, confirms, properties, direct reply-to, transactions."""

from amqp_scenarios import outcome, scenario
from amqpcodec import Typed, property_block

REPLY = "amq.rabbitmq.reply-to"


@scenario
def mandatory(stage):
    channel = stage.channel().select()
    queue = stage.queue("q", channel)
    properties = {"content_type": "text/plain", "headers": {"a": 1}, "message_id": "m"}
    channel.publish("amq.direct", stage.name("nobody"), "lost", properties, mandatory=True)
    channel.publish("amq.direct", stage.name("nobody"), "lost silently", properties)
    channel.publish("", queue, "arrives", properties, mandatory=True)
    channel.publish("", stage.name("nobody"), "lost", mandatory=True)
    events = []
    while sum(event.name == "basic.ack" and (2 if event.multiple else 1) or 0 for event in events) < 1 or \
            not any(event.name == "basic.ack" and event.delivery_tag == 4 for event in events):
        events.append(channel.next())
    returns = [event for event in events if event.name == "basic.return"]
    stage.note("returns", [[event.code, event.text, event.exchange, event.routing_key, event.body, event.properties]
                           for event in returns])
    first = next(number for number, event in enumerate(events) if event.name == "basic.return")
    acks = [number for number, event in enumerate(events)
            if event.name == "basic.ack" and (event.delivery_tag == 1 or event.multiple)]
    stage.note("return before its confirm", first < min(acks))
    stage.note("delivered", stage.bodies(queue))


@scenario
def mandatory_without_confirms(stage):
    channel = stage.channel()
    channel.publish("amq.fanout", stage.name("nobody"), b"", mandatory=True)
    event = channel.next("basic.return")
    stage.note("return", [event.code, event.text, event.body, event.properties])


@scenario
def immediate(stage):
    stage.after("immediate", stage.channel(), lambda c: c.publish("", "nobody", b"x", immediate=True))


@scenario
def confirms(stage):
    channel = stage.channel()
    queue = stage.queue("q", channel)
    channel.publish("", queue, "before select")
    stage.ask("select", "confirm.select", channel=channel)
    channel.published = 0
    for number in range(20):
        channel.publish("" if number % 3 else "amq.direct", queue, str(number),
                        {"delivery_mode": 2 if number % 2 else 1})
    stage.note("refused", channel.confirms())
    stage.note("tags confirmed", channel.done)
    stage.ask("select again", "confirm.select", channel=channel)
    channel.confirmed("", queue, "after the second select")
    stage.note("counted on", max(channel.done))
    stage.note("in the queue", stage.count(queue))
    other = stage.channel()
    other.send("confirm.select", nowait=True)
    other.published = 0
    other.confirmed("", queue, "x")
    stage.note("without waiting", other.done)


@scenario
def confirms_of_durable(stage):
    channel = stage.channel().select()
    queue = stage.queue("q", channel, durable=True)
    for number in range(50):
        channel.publish("", queue, str(number), {"delivery_mode": 2})
    stage.note("refused", channel.confirms())
    stage.note("in order", stage.bodies(queue) == [str(number) for number in range(50)])


@scenario
def transactions(stage):
    stage.ask("select", "tx.select")
    stage.ask("commit without select", "tx.commit")
    stage.ask("rollback without select", "tx.rollback")


@scenario
def transactions_and_confirms(stage):
    stage.ask("select on a confirm channel", "tx.select", channel=stage.channel().select())


@scenario
def user_ids(stage):
    queue = stage.queue("q")
    stage.after("one's own", stage.channel(), lambda c: c.publish("", queue, b"x", {"user_id": "guest"}))
    stage.after("another's", stage.channel(), lambda c: c.publish("", queue, b"x", {"user_id": "someone"}))
    stage.after("empty", stage.channel(), lambda c: c.publish("", queue, b"x", {"user_id": ""}))
    stage.note("arrived", stage.count(queue))


@scenario
def expirations(stage):
    for value in ["60000", "0060000", "+5", " 5", "5 ", "", "abc", "1e3", "-1", "1.5", "0x10", "31536000000000",
                  "137438953472", "99999999999999999999"]:
        stage.after(repr(value), stage.channel(), lambda c, v=value: c.publish("", "nobody", b"x", {"expiration": v}))


@scenario
def expired_messages(stage):
    queue, channel = stage.queue("q"), stage.channel().select()
    for number, expiration in enumerate(["60000", "1", "60000"]):
        channel.publish("", queue, str(number), {"expiration": expiration})
    channel.confirms()
    first = channel.get(queue)
    stage.note("the property stays", first.properties)
    stage.until(lambda: stage.count(queue)[0] <= 1, "the second expires once it is at the head")
    stage.note("left", stage.bodies(queue))
    channel.confirmed("", queue, "at once", {"expiration": "0"})
    stage.note("0 without a consumer", stage.bodies(queue))
    channel.call("basic.consume", queue=queue, no_ack=True)
    channel.confirmed("", queue, "delivered", {"expiration": "0"})
    stage.note("0 with a consumer", channel.next("basic.deliver").body)


@scenario
def properties_cross_untouched(stage):
    queue = stage.queue("q")
    deep = {"b": Typed("b", -1), "B": Typed("B", 255), "s": Typed("s", -300), "u": Typed("u", 65535), "I": -70_000,
            "i": Typed("i", 4_000_000_000), "l": -2**40, "L": Typed("L", -5), "f": Typed("f", 1.5), "d": 2.25,
            "t": True,
            "D": Typed("D", (2, 314)), "S": "text", "x": b"\0\xff", "T": Typed("T", 1_700_000_000), "V": None,
            "F": {"in": {"deeper": [1, "two", {"three": None}]}}, "A": [1, [2, [3]]], "": "empty key"}
    every = {"content_type": "text/plain", "content_encoding": "gzip", "headers": deep, "delivery_mode": 2,
             "priority": 200, "correlation_id": "c" * 255, "reply_to": "somewhere", "expiration": "60000",
             "message_id": "m", "timestamp": 2**63 + 1, "type": "t", "user_id": "guest", "app_id": "a",
             "cluster_id": "reserved"}
    for label, properties in [("every property", every), ("none", {}), ("empty headers", {"headers": {}}),
                              ("delivery mode 0", {"delivery_mode": 0}), ("delivery mode 9", {"delivery_mode": 9}),
                              ("not text", {"content_type": b"\xff\xfe", "message_id": b"\x80"}),
                              ("repeated keys", {"headers": [("a", 1), ("b", 2), ("a", 3)]})]:
        def there_and_back(channel=stage.channel().select(), properties=properties):
            channel.confirmed("", queue, "x", properties)
            back = channel.get(queue, no_ack=True).raw_properties
            return "the same bytes" if back == property_block(properties) else back.hex()

        stage.try_(label, there_and_back)


@scenario
def delivery_names_exchange_and_key(stage):
    queue, channel = stage.queue("q"), stage.channel().select()
    exchange = stage.exchange("x")
    channel.call("queue.bind", queue=queue, exchange=exchange, routing_key="#")
    for key in ("a.b", "", "ü", "k" * 255):
        channel.confirmed(exchange, key, "x")
    got = [channel.get(queue) for _ in range(4)]
    stage.note("names", [[event.exchange, event.routing_key] for event in got])


@scenario
def reply_to_works(stage):
    client, server = stage.connect().channel(), stage.channel()
    queue = stage.queue("requests", server)
    tag = client.call("basic.consume", queue=REPLY, no_ack=True, consumer_tag="replies").consumer_tag
    stage.note("tag", tag)
    client.publish("", queue, "question", {"reply_to": REPLY, "correlation_id": "1"})
    stage.until(lambda: stage.count(queue)[0] == 1, "the question is there")
    asked = server.get(queue, no_ack=True)
    address = asked.properties["reply_to"]
    stage.note("rewritten", address)
    stage.note("still text of less than 256 bytes", 0 < len(address) < 256 and address != REPLY)
    server.publish("", address, "answer", {"correlation_id": "1"}, mandatory=True)
    answer = client.next("basic.deliver")
    stage.note("answer", [answer.consumer_tag, answer.delivery_tag, answer.redelivered, answer.exchange,
                          answer.routing_key, answer.body, answer.properties])
    stage.ask("is it there", "queue.declare", channel=server, queue=address, passive=True)
    stage.ask("declare of the common name", "queue.declare", queue=REPLY, passive=True)
    stage.ask("get of the common name", "basic.get", answer=("basic.get-ok", "basic.get-empty"), queue=REPLY)
    stage.ask("delete of the common name", "queue.delete", queue=REPLY)
    server.publish("", address, "second", {})
    stage.note("a second answer", client.next("basic.deliver").body)
    client.close()
    server.publish("", address, "late", {}, mandatory=True)
    late = server.next("basic.return")
    stage.note("nobody waits any more", [late.code, late.text, late.exchange, late.routing_key])
    stage.ask("and the name is gone", "queue.declare", queue=address, passive=True)


@scenario
def reply_to_rules(stage):
    stage.ask("with acks", "basic.consume", queue=REPLY)
    channel = stage.channel()
    stage.ask("first", "basic.consume", channel=channel, queue=REPLY, no_ack=True, consumer_tag="a")
    stage.ask("second on the channel", "basic.consume", channel=channel, queue=REPLY, no_ack=True, consumer_tag="b")
    stage.after("publish without consuming", stage.channel(),
                lambda c: c.publish("", "nobody", b"x", {"reply_to": REPLY}))
    channel = stage.channel()
    channel.call("basic.consume", queue=REPLY, no_ack=True, consumer_tag="a")
    stage.ask("cancel", "basic.cancel", channel=channel, consumer_tag="a")
    stage.after("publish after the cancel", channel, lambda c: c.publish("", "nobody", b"x", {"reply_to": REPLY}))
    stage.ask("two channels", "basic.consume", queue=REPLY, no_ack=True, consumer_tag="a")
    stage.ask("exclusively", "basic.consume", queue=REPLY, no_ack=True, exclusive=True, consumer_tag="e")
    channel = stage.channel().select()
    for label, name in [("a made-up name", REPLY + ".nonsense"), ("the bare name", REPLY)]:
        stage.try_(label, lambda n=name: channel.confirmed("", n, "x", {}, mandatory=True))
        stage.note(f"{label}, returned", [event.name for event in channel.kept])
        channel.kept.clear()


@scenario
def reply_to_other_names(stage):
    queue, channel = stage.queue("q"), stage.channel().select()
    channel.confirmed("", queue, "x", {"reply_to": "mine", "correlation_id": "c"})
    stage.note("untouched", channel.get(queue).properties)


@scenario
def a_channel_error_ends_its_publishes(stage):
    queue, channel = stage.queue("q"), stage.channel()
    channel.publish("", queue, "before")
    channel.publish(stage.name("nowhere"), "k", "the fault")
    channel.publish("", queue, "after")
    stage.try_("closed", lambda: channel.call("channel.flow", active=True))
    stage.note("arrived", stage.bodies(queue))


@scenario
def publishes_count_even_when_nobody_gets_them(stage):
    channel = stage.channel().select()
    channel.publish("amq.fanout", stage.name("nobody"), "a")
    channel.publish("", stage.name("nobody"), "b")
    stage.note("refused", channel.confirms())
    channel.publish(stage.name("nowhere"), "k", "c")
    stage.note("missing exchange", outcome(channel.confirms))
