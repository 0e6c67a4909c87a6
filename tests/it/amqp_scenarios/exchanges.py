"""Scenarios about exchanges and bindings: declaring, refusing, matching."""

from amqp_scenarios import scenario
from amqpcodec import Typed

PREDECLARED = {"amq.direct": "direct", "amq.fanout": "fanout", "amq.topic": "topic", "amq.headers": "headers",
               "amq.match": "headers"}


def routed(stage, exchange, bindings, keys):
    """{key: names of the bindings whose queue got it}: one queue a binding, one message a key."""
    channel = stage.channel().select()
    for number, (pattern, arguments) in enumerate(bindings):
        stage.queue(str(number), channel)
        channel.call("queue.bind", queue=stage.name(str(number)), exchange=exchange, routing_key=pattern,
                     arguments=arguments)
    for key, headers in keys:
        channel.publish(exchange, key, repr((key, headers)), {} if headers is None else {"headers": headers})
    channel.confirms()
    found = {number: stage.bodies(stage.name(str(number))) for number in range(len(bindings))}
    return {repr((key, headers)): [number for number in found if repr((key, headers)) in found[number]]
            for key, headers in keys}, found


@scenario
def exchange_of_unknown_type(stage):
    stage.ask("type nope", "exchange.declare", exchange=stage.name("x"), type="nope")
    stage.ask("no type", "exchange.declare", exchange=stage.name("x"), type="")


@scenario
def default_exchange_refuses(stage):
    queue = stage.queue("q")
    stage.ask("declare", "exchange.declare", exchange="", type="direct", durable=True)
    stage.ask("declare passively", "exchange.declare", exchange="", passive=True)
    stage.ask("delete", "exchange.delete", exchange="")
    stage.ask("queue.bind", "queue.bind", queue=queue, exchange="", routing_key="k")
    stage.ask("queue.unbind", "queue.unbind", queue=queue, exchange="", routing_key=queue)
    stage.ask("exchange.bind from", "exchange.bind", destination="amq.fanout", source="", routing_key="k")
    stage.ask("exchange.bind to", "exchange.bind", destination="", source="amq.fanout", routing_key="k")
    stage.ask("exchange.unbind", "exchange.unbind", destination="amq.fanout", source="", routing_key="k")


@scenario
def default_exchange_routes_by_queue_name(stage):
    queue = stage.queue("q")
    stage.fill(queue, "one")
    stage.note("got", stage.bodies(queue))


@scenario
def reserved_exchange_names(stage):
    for name, kind in PREDECLARED.items():
        stage.ask(f"{name} as it is", "exchange.declare", exchange=name, type=kind, durable=True)
    stage.ask("other type", "exchange.declare", exchange="amq.topic", type="fanout", durable=True)
    stage.ask("not durable", "exchange.declare", exchange="amq.topic", type="topic")
    stage.ask("a new one", "exchange.declare", exchange="amq.mine", type="topic")
    stage.ask("passive, missing", "exchange.declare", exchange="amq.mine", passive=True)
    stage.ask("passive", "exchange.declare", exchange="amq.topic", passive=True)
    stage.ask("delete", "exchange.delete", exchange="amq.topic")
    stage.ask("delete a missing one", "exchange.delete", exchange="amq.mine")


@scenario
def exchange_inequivalent(stage):
    alternate = {"alternate-exchange": "amq.fanout"}
    stage.exchange("plain")
    stage.exchange("special", "topic", durable=True, auto_delete=True, internal=True, arguments=alternate)
    for label, word, options in [
        ("type", "plain", {"type": "direct"}), ("durable", "plain", {"durable": True}),
        ("auto_delete", "plain", {"auto_delete": True}), ("internal", "plain", {"internal": True}),
        ("an alternate more", "plain", {"arguments": alternate}),
        ("an argument nobody knows", "plain", {"arguments": {"x-whatever": 1}}),
        ("the same", "plain", {}),
        ("the same special", "special", {"durable": True, "auto_delete": True, "internal": True,
                                         "arguments": alternate}),
        ("without the alternate", "special", {"durable": True, "auto_delete": True, "internal": True}),
        ("another alternate", "special", {"durable": True, "auto_delete": True, "internal": True,
                                          "arguments": {"alternate-exchange": "amq.topic"}}),
        ("several", "special", {"type": "fanout"}),
        ("passive with everything wrong", "plain", {"passive": True, "type": "nope", "durable": True}),
        ("alternate that is a number", "new", {"arguments": {"alternate-exchange": 5}}),
    ]:
        stage.ask(label, "exchange.declare", **{"exchange": stage.name(word), "type": "topic", **options})


@scenario
def exchange_missing(stage):
    stage.ask("passive", "exchange.declare", exchange=stage.name("x"), passive=True)
    stage.ask("delete", "exchange.delete", exchange=stage.name("x"))
    stage.after("publish", stage.channel(), lambda c: c.publish(stage.name("x"), "k", b"x"))
    stage.after("publish with confirms", stage.channel().select(), lambda c: c.publish(stage.name("x"), "k", b"x"))


@scenario
def exchange_delete(stage):
    exchange, queue = stage.exchange("x", "fanout"), stage.queue("q")
    stage.channel().call("queue.bind", queue=queue, exchange=exchange)
    stage.ask("if unused, in use", "exchange.delete", exchange=exchange, if_unused=True)
    stage.ask("in use", "exchange.delete", exchange=exchange)
    stage.note("still there", stage.exists("exchange", exchange))
    stage.exchange("x", "fanout")
    stage.ask("if unused", "exchange.delete", exchange=exchange, if_unused=True)
    # A binding died with its exchange.
    stage.exchange("x", "fanout")
    channel = stage.channel().select()
    channel.confirmed(exchange, "", "x")
    stage.note("bound anew", stage.bodies(queue))


@scenario
def internal_exchange(stage):
    internal, outer = stage.exchange("in", "fanout", internal=True), stage.exchange("out", "fanout")
    queue, channel = stage.queue("q"), stage.channel().select()
    channel.call("queue.bind", queue=queue, exchange=internal)
    channel.call("exchange.bind", destination=internal, source=outer)
    channel.confirmed(outer, "", "by the outer")
    stage.note("got", stage.bodies(queue))
    stage.after("publish", stage.channel(), lambda c: c.publish(internal, "", b"x"))


@scenario
def exchange_auto_delete(stage):
    exchange, queue = stage.exchange("x", "direct", auto_delete=True), stage.queue("q")
    stage.note("never bound", stage.exists("exchange", exchange))
    channel = stage.channel()
    for key in ("a", "b"):
        channel.call("queue.bind", queue=queue, exchange=exchange, routing_key=key)
    channel.call("queue.unbind", queue=queue, exchange=exchange, routing_key="a")
    stage.note("one binding left", stage.exists("exchange", exchange))
    channel.call("queue.unbind", queue=queue, exchange=exchange, routing_key="b")
    stage.note("none left", stage.exists("exchange", exchange))
    # The last binding may go with its queue, too, and take a chain of exchanges along.
    stage.exchange("x", "fanout", auto_delete=True)
    second = stage.exchange("y", "fanout", auto_delete=True)
    channel.call("exchange.bind", destination=exchange, source=second)
    channel.call("queue.bind", queue=queue, exchange=exchange)
    channel.call("queue.delete", queue=queue)
    stage.note("queue gone", [stage.exists("exchange", exchange), stage.exists("exchange", second)])


@scenario
def binding_errors(stage):
    queue = stage.queue("q")
    nowhere = stage.name("nowhere")
    stage.ask("queue missing", "queue.bind", queue=nowhere, exchange="amq.topic")
    stage.ask("exchange missing", "queue.bind", queue=queue, exchange=nowhere)
    stage.ask("both missing", "queue.bind", queue=nowhere, exchange=nowhere)
    stage.ask("unbind what is not bound", "queue.unbind", queue=queue, exchange="amq.topic", routing_key="k")
    stage.ask("unbind from nowhere", "queue.unbind", queue=queue, exchange=nowhere, routing_key="k")
    stage.ask("unbind a missing queue", "queue.unbind", queue=nowhere, exchange="amq.topic", routing_key="k")
    stage.ask("source missing", "exchange.bind", destination="amq.topic", source=nowhere)
    stage.ask("destination missing", "exchange.bind", destination=nowhere, source="amq.topic")
    stage.ask("unbind an exchange", "exchange.unbind", destination="amq.topic", source="amq.fanout", routing_key="k")
    stage.ask("unbind a missing source", "exchange.unbind", destination="amq.topic", source=nowhere)
    stage.ask("no queue declared", "queue.bind", queue="", exchange="amq.topic")
    stage.ask("no-wait that fails", "queue.bind", queue=nowhere, exchange="amq.topic", nowait=True)


@scenario
def bindings_count_once(stage):
    exchange, queue = stage.exchange("x", "direct"), stage.queue("q")
    channel = stage.channel().select()
    for _ in range(2):
        channel.call("queue.bind", queue=queue, exchange=exchange, routing_key="k")
    channel.call("queue.bind", queue=queue, exchange=exchange, routing_key="k", arguments={"other": 1})
    channel.confirmed(exchange, "k", "bound three times")
    stage.note("copies", stage.bodies(queue))
    channel.call("queue.unbind", queue=queue, exchange=exchange, routing_key="k")
    channel.confirmed(exchange, "k", "with the arguments left")
    stage.note("one binding less", stage.bodies(queue))
    channel.call("queue.unbind", queue=queue, exchange=exchange, routing_key="k", arguments={"other": 1})
    channel.confirmed(exchange, "k", "unbound")
    stage.note("none", stage.bodies(queue))


@scenario
def direct_and_fanout(stage):
    direct, _ = routed(stage, stage.exchange("d", "direct"), [("a", {}), ("b", {}), ("", {}), ("a.*", {})],
                       [("a", None), ("b", None), ("", None), ("a.x", None), ("a.*", None), ("A", None)])
    stage.note("direct", direct)
    exchange = stage.exchange("f", "fanout")
    channel = stage.channel().select()
    for word in ("0", "1"):
        channel.call("queue.bind", queue=stage.name(word), exchange=exchange, routing_key="ignored")
    channel.confirmed(exchange, "anything", "to all")
    stage.note("fanout", [stage.bodies(stage.name(word)) for word in ("0", "1", "2")])


@scenario
def topic_words(stage):
    patterns = ["#", "*", "a.#", "#.a", "a.#.b", "a.*.b", "*.*", "#.#", "#.*", "*.#", "a", "", "a.", ".a", "a..b",
                "a.*.#", "#.a.#", "*.a.*", "a.#.#.b", "a*", "a.b#", "#a", "..", "A.#"]
    keys = ["", "a", "b", "a.b", "a.x.b", "a.x.y.b", "x.a", "x.a.y", "a.", ".a", ".", "..", "a..b", "a.b.", "*", "#",
            "a.*.b", "a*", "a.b#", "aa.b", "a.a.b.b", "é.ü"]
    _, found = routed(stage, stage.exchange("x"), [(pattern, {}) for pattern in patterns],
                      [(key, None) for key in keys])
    for number, pattern in enumerate(patterns):
        stage.note(f"pattern {pattern!r}", found[number])


@scenario
def headers_exchange(stage):
    bindings = {
        "none": {}, "all of two": {"x-match": "all", "a": 1, "b": "two"},
        "any of two": {"x-match": "any", "a": 1, "b": "two"},
        "default is all": {"a": 1, "b": "two"}, "any of nothing": {"x-match": "any"},
        "present": {"x-match": "all", "a": None}, "a double": {"a": 1.0}, "a long": {"a": Typed("l", 1)},
        "a short": {"a": Typed("s", 1)}, "text": {"a": "1"}, "bytes": {"b": Typed("x", b"two")},
        "x- ignored": {"x-match": "all", "x-a": 1, "a": 1}, "all-with-x": {"x-match": "all-with-x", "x-a": 1, "a": 1},
        "any-with-x": {"x-match": "any-with-x", "x-a": 1, "zz": 1}, "only x-": {"x-match": "any", "x-a": 1},
        "true": {"a": True}, "a table": {"a": {"deep": 1}}, "an array": {"a": [1, 2]}, "empty text": {"a": ""},
        "timestamp": {"a": Typed("T", 1)}, "case": {"A": 1},
    }
    messages = [None, {}, {"a": 1}, {"a": 1, "b": "two"}, {"b": "two"}, {"a": 2, "b": "two"}, {"a": 1.0}, {"a": "1"},
                {"a": Typed("l", 1)}, {"a": True}, {"a": None}, {"x-a": 1}, {"x-a": 1, "a": 1}, {"a": {"deep": 1}},
                {"a": {"deep": 2}}, {"a": [1, 2]}, {"a": [2, 1]}, {"a": ""}, {"a": Typed("T", 1)},
                {"a": 1, "b": Typed("x", b"two")}, {"a": Typed("b", 1)}]
    exchange, channel = stage.exchange("x", "headers"), stage.channel().select()
    for word, arguments in bindings.items():
        stage.queue(word, channel)
        channel.call("queue.bind", queue=stage.name(word), exchange=exchange, routing_key="ignored",
                     arguments=arguments)
    for number, headers in enumerate(messages):
        channel.publish(exchange, "another", str(number), {} if headers is None else {"headers": headers})
    channel.confirms()
    for word in bindings:
        stage.note(word, [int(body) for body in stage.bodies(stage.name(word))])


@scenario
def headers_exchange_refusals(stage):
    exchange, queue = stage.exchange("x", "headers"), stage.queue("q")
    for label, value in [("some", "some"), ("number", 1), ("empty", ""), ("upper case", "ALL")]:
        stage.ask(f"x-match {label}", "queue.bind", queue=queue, exchange=exchange, arguments={"x-match": value})


@scenario
def exchange_to_exchange(stage):
    first, second, third = (stage.exchange(word, kind) for word, kind in
                            [("a", "topic"), ("b", "direct"), ("c", "fanout")])
    queue, channel = stage.queue("q"), stage.channel().select()
    channel.call("exchange.bind", destination=second, source=first, routing_key="x.#")
    channel.call("exchange.bind", destination=third, source=first, routing_key="#.y")
    channel.call("exchange.bind", destination=third, source=second, routing_key="x.y")
    channel.call("queue.bind", queue=queue, exchange=third)
    channel.call("queue.bind", queue=queue, exchange=second, routing_key="x.y")
    for key in ("x.y", "x.z", "z.y", "z"):
        channel.publish(first, key, key)
    channel.confirms()
    stage.note("two paths, one copy", stage.bodies(queue))
    # A circle ends.
    channel.call("exchange.bind", destination=first, source=third, routing_key="x.y")
    channel.confirmed(first, "x.y", "around")
    stage.note("a circle", stage.bodies(queue))
    channel.call("exchange.bind", destination=third, source=third, routing_key="")
    channel.confirmed(third, "", "itself")
    stage.note("bound to itself", stage.bodies(queue))
    channel.call("exchange.unbind", destination=third, source=second, routing_key="x.y")
    channel.call("exchange.unbind", destination=third, source=first, routing_key="#.y")
    channel.confirmed(first, "z.y", "unbound")
    stage.note("unbound", stage.bodies(queue))


@scenario
def alternate_exchange(stage):
    last = stage.exchange("last", "fanout")
    middle = stage.exchange("middle", "direct", arguments={"alternate-exchange": last})
    first = stage.exchange("first", "direct", arguments={"alternate-exchange": middle})
    lost = stage.exchange("lost", "direct", arguments={"alternate-exchange": stage.name("nowhere")})
    channel = stage.channel().select()
    for word, exchange, key in [("0", first, "k"), ("1", middle, "m"), ("2", last, "")]:
        channel.call("queue.bind", queue=stage.queue(word, channel), exchange=exchange, routing_key=key)
    for key in ("k", "m", "z"):
        channel.confirmed(first, key, key, mandatory=True)
    stage.note("returns", [event.name for event in channel.kept])
    stage.note("got", [stage.bodies(stage.name(word)) for word in ("0", "1", "2")])
    channel.confirmed(lost, "k", "k", mandatory=True)
    stage.note("alternate missing", [event.name for event in channel.kept])
    circle = stage.exchange("circle", "direct", arguments={"alternate-exchange": stage.name("circle")})
    channel.confirmed(circle, "k", "k")
    stage.note("its own alternate", "confirmed")


@scenario
def copies_by_header(stage):
    exchange, channel = stage.exchange("x", "direct"), stage.channel().select()
    for word in ("0", "1", "2", "3"):
        channel.call("queue.bind", queue=stage.queue(word, channel), exchange=exchange, routing_key=word)
    channel.confirmed(exchange, "0", "cc", {"headers": {"CC": ["1", "2", "2"], "BCC": ["3", "0"], "keep": 1}})
    for word in ("0", "1", "2", "3"):
        got = stage.channel().get(stage.name(word), no_ack=True)
        stage.note(f"queue {word}", [got.routing_key, got.properties])
    stage.note("one each", [stage.count(stage.name(word))[0] for word in ("0", "1", "2", "3")])
    channel.confirmed("", stage.name("0"), "default", {"headers": {"CC": [stage.name("1")]}})
    stage.note("by the default exchange", [stage.count(stage.name(word))[0] for word in ("0", "1")])
    for label, headers in [("CC text", {"CC": "1"}), ("BCC number", {"BCC": 1}), ("CC of numbers", {"CC": [1, 2]}),
                           ("CC empty", {"CC": []}), ("CC void", {"CC": None}), ("BCC in table", {"BCC": {"a": "1"}})]:
        stage.after(label, stage.channel(), lambda c, h=headers: c.publish(exchange, "nobody", b"x", {"headers": h}))
