"""Scenarios about connections and channels: handshake, login, tuning, frames, content, closing."""

import struct

from amqp_scenarios import ending, outcome, scenario
from amqpcodec import (BODY, HEADER, HEARTBEAT, METHOD, PROTOCOL, content_frames, frame, header_frame, method_frame,
                       method_payload, publish_frames, table)


@scenario
def protocol_headers(stage):
    for label, header in [("HTTP", b"GET / HT"), ("1.0", b"AMQP\0\1\0\0"), ("0-8", b"AMQP\1\1\x08\0"),
                          ("0-9", b"AMQP\1\1\0\x09"), ("0-9-2", b"AMQP\0\0\x09\2")]:
        connection = stage.raw()
        connection.send(header)
        # Without a frame in it, what came stays in the buffer.
        stage.note(label, [outcome(lambda c=connection: c.receive(0).name), connection.data])


@scenario
def first_frame(stage):
    start = stage.raw().hello()
    stage.note("version", [start.version_major, start.version_minor])
    stage.note("mechanisms", set(start.mechanisms.split()))
    stage.note("locales", start.locales)
    stage.note("properties", set(start.server_properties))
    for name, value in sorted(start.server_properties["capabilities"].items()):
        stage.note(f"capability {name}", value)


# A server may think a while before it closes on someone who is not logged in: so all are sent before any is heard.


@scenario
def login_refused(stage):
    opened = {}
    for label, capabilities in [("with the capability", {"authentication_failure_close": True}),
                                ("without", {})]:
        for mechanism in ("PLAIN", "AMQPLAIN"):
            connection = opened[f"{mechanism} {label}"] = stage.raw()
            connection.hello()
            connection.start_ok(password="wrong", mechanism=mechanism, capabilities=capabilities)
    for label, connection in opened.items():
        stage.note(label, ending(connection))


@scenario
def login_accepted(stage):
    for mechanism in ("PLAIN", "AMQPLAIN"):
        stage.try_(mechanism, lambda m=mechanism: stage.raw().open(mechanism=m).tune)
    stage.try_("AMQPLAIN with more than it needs", lambda: stage.raw().open(
        mechanism="AMQPLAIN", response=table({"x": 1, "PASSWORD": "guest", "LOGIN": "guest"})[4:]).tune)


@scenario
def login_malformed(stage):
    opened = {}
    for label, options in [("unknown mechanism", {"mechanism": "NOPE"}),
                           ("authorization id", {"response": b"guest\0guest\0guest"}),
                           ("two parts", {"response": b"guest\0guest"}),
                           ("nothing", {"response": b""}),
                           ("table without password", {"mechanism": "AMQPLAIN",
                                                      "response": table({"LOGIN": "x"})[4:]})]:
        connection = opened[label] = stage.raw()
        connection.hello()
        connection.start_ok(**options)
    for label, connection in opened.items():
        stage.note(label, ending(connection))


@scenario
def login_too_early(stage):
    opened = {}
    for label, data in [("channel.open first", method_frame(1, "channel.open")),
                        ("connection.open first", method_frame(0, "connection.open", vhost="/")),
                        ("body first", frame(BODY, 1, b"x"))]:
        connection = opened[label] = stage.raw()
        connection.hello()
        connection.send(data)
    for label, connection in opened.items():
        stage.note(label, ending(connection))


@scenario
def virtual_hosts(stage):
    for label, vhost in [("unknown", "nowhere"), ("empty", ""), ("without slash", "x/")]:
        stage.try_(label, lambda v=vhost: stage.raw().open(vhost=v) and "opened")


@scenario
def tuning(stage):
    stage.note("offer", stage.connect().tune)
    opened = {}
    for label, options in [("frame_max 4096", {"frame_max": 4096}), ("frame_max 4095", {"frame_max": 4095}),
                           ("frame_max 0", {"frame_max": 0}), ("frame_max too high", {"frame_max": 131073}),
                           ("channel_max 1", {"channel_max": 1}), ("channel_max 0", {"channel_max": 0}),
                           ("channel_max too high", {"channel_max": 2048}), ("heartbeat 0", {"heartbeat": 0}),
                           ("heartbeat 1000", {"heartbeat": 1000})]:
        connection = opened[label] = stage.raw()
        connection.hello()
        connection.start_ok()
        connection.receive(0)
        connection.method(0, "connection.tune-ok", **{"frame_max": 131072, "channel_max": 2047, **options})
        connection.method(0, "connection.open", vhost="/")
    for label, connection in opened.items():
        stage.try_(label, lambda c=connection: c.receive(0).name)


@scenario
def channel_numbers(stage):
    connection = stage.connect(channel_max=3)
    stage.try_("number 9 at channel_max 3", lambda: connection.channel(9).call("channel.flow", active=True))
    for number in (1, 2):
        connection.channel(number)
    stage.try_("a fourth channel", lambda: connection.channel(3).call("channel.flow", active=True))


@scenario
def frames_at_the_limit(stage):
    for label, size in [("just fits", 4088), ("the overhead over", 4096), ("too large", 4097)]:
        connection = stage.connect(frame_max=4096)
        channel = connection.channel().select()
        connection.send(method_frame(1, "basic.publish", routing_key="nobody") + header_frame(1, size) +
                        frame(BODY, 1, b"x" * size))
        stage.try_(label, lambda c=channel: c.answer("basic.ack").name)


@scenario
def frames_that_are_none(stage):
    for label, data in [
        ("wrong end", frame(METHOD, 1, method_payload("channel.flow", active=True), end=0xCD)),
        ("unknown type", frame(4, 1, b"")),
        ("heartbeat on a channel", frame(HEARTBEAT, 1, b"")),
        ("heartbeat with payload", frame(HEARTBEAT, 0, b"x")),
        ("method cut short", frame(METHOD, 1, method_payload("channel.flow", active=True)[:-1])),
        ("method with more", frame(METHOD, 1, method_payload("channel.flow", active=True) + b"x")),
        ("method of two bytes", frame(METHOD, 1, b"\0\x14")),
        ("string over its end", frame(METHOD, 1, struct.pack("!HHH", 50, 10, 0) + b"\x20abc")),
        ("table over its end", frame(METHOD, 1, method_payload("queue.declare")[:-4] + b"\0\0\0\x09abc")),
        ("unknown class", frame(METHOD, 1, struct.pack("!HH", 99, 10))),
        ("unknown method", frame(METHOD, 1, struct.pack("!HH", 50, 99))),
        ("a server's method", method_frame(1, "queue.declare-ok", queue="x")),
        ("the protocol header again", PROTOCOL),
    ]:
        connection = stage.connect()
        connection.channel()
        connection.send(data)
        stage.note(label, ending(connection))


@scenario
def methods_at_the_wrong_place(stage):
    for label, channel, method, options in [
        ("channel that is not open", 5, "queue.declare", {"queue": "x"}),
        ("channel opened twice", 1, "channel.open", {}),
        ("channel method on 0", 0, "channel.open", {}),
        ("queue method on 0", 0, "queue.declare", {"queue": "x"}),
        ("connection method on 1", 1, "connection.open", {"vhost": "/"}),
        ("start-ok again", 0, "connection.start-ok", {"mechanism": "PLAIN"}),
        ("tune-ok again", 0, "connection.tune-ok", {"frame_max": 4096}),
        ("open again", 0, "connection.open", {"vhost": "/"}),
        ("secure-ok", 0, "connection.secure-ok", {}),
    ]:
        connection = stage.connect()
        connection.channel()
        connection.method(channel, method, **options)
        stage.note(label, ending(connection))


@scenario
def content_out_of_order(stage):
    publish = method_frame(1, "basic.publish", routing_key="nobody")
    flow = method_frame(1, "channel.flow", active=True)
    for label, data in [
        ("header first", header_frame(1, 1)),
        ("body first", frame(BODY, 1, b"x")),
        ("body without header", publish + frame(BODY, 1, b"x")),
        ("method instead of header", publish + flow),
        ("publish instead of header", publish + publish),
        ("method instead of body", publish + header_frame(1, 1) + flow),
        ("header instead of body", publish + header_frame(1, 1) + header_frame(1, 1)),
        ("header of another class", publish + header_frame(1, 0, class_id=50)),
        ("body on channel 0", frame(BODY, 0, b"x")),
        ("header on a channel that is not open", header_frame(7, 1)),
    ]:
        connection = stage.connect()
        connection.channel()
        connection.send(data)
        stage.note(label, ending(connection))


@scenario
def content_of_odd_shape(stage):
    publish = method_frame(1, "basic.publish", routing_key="nobody")
    for label, data in [
        ("weight", publish + header_frame(1, 0, weight=7)),
        ("no body, no frame", publish + header_frame(1, 0)),
        ("empty frames among the body", publish + header_frame(1, 2) + b"".join(
            frame(BODY, 1, part) for part in (b"", b"x", b"", b"y"))),
        ("channels interleaved", publish + header_frame(1, 2) + frame(BODY, 1, b"x") +
         publish_frames(2, "", "nobody", b"other") + frame(BODY, 1, b"y")),
        ("properties cut short", publish + frame(HEADER, 1, struct.pack("!HHQ", 60, 0, 0) + b"\x80\0\x09abc")),
        ("property flags cut short", publish + frame(HEADER, 1, struct.pack("!HHQ", 60, 0, 0) + b"\x80")),
        ("no property flags", publish + frame(HEADER, 1, struct.pack("!HHQ", 60, 0, 0))),
        ("more bytes than the flags say", publish + frame(HEADER, 1, struct.pack("!HHQ", 60, 0, 0) + b"\0\0xyz")),
        ("unknown property flag", publish + header_frame(1, 0, b"\x00\x02")),
        ("a second word of flags", publish + header_frame(1, 0, b"\x00\x01\x00\x00")),
        ("header cut short", publish + frame(HEADER, 1, b"\0\x3c\0\0")),
    ]:
        connection = stage.connect()
        channel = connection.channel().select()
        connection.channel(2)
        connection.send(data)
        stage.note(label, outcome(lambda c=channel: c.answer("basic.ack").name))


@scenario
def content_longer_than_announced(stage):
    connection = stage.connect()
    channel = connection.channel().select()
    connection.timeout = 2
    connection.send(method_frame(1, "basic.publish", routing_key="nobody") + header_frame(1, 1) +
                    frame(BODY, 1, b"xy"))
    stage.note("answer", outcome(lambda: channel.answer("basic.ack").name))


@scenario
def channel_closing(stage):
    connection = stage.connect()
    channel = connection.channel(1)
    stage.try_("closed by the client", channel.close)
    stage.try_("opened again", lambda: channel.open() and "opened")
    channel.send("queue.declare", queue="nowhere.to.be.found", passive=True)
    # Behind the error everything is ignored until close-ok, channel.open too.
    connection.send(method_frame(1, "queue.declare", queue="amq.refused") +
                    method_frame(1, "basic.ack", delivery_tag=9))
    stage.try_("refused", lambda: channel.answer("nothing"))
    stage.try_("opened after a refusal", lambda: channel.open() and "opened")
    stage.try_("and works", lambda: channel.call("channel.flow", active=True))
    channel.send("channel.close-ok")
    stage.try_("a close-ok nobody asked for", lambda: channel.call("channel.flow", active=True))


@scenario
def connection_closing(stage):
    connection = stage.connect()
    connection.channel()
    connection.method(0, "connection.close", code=200, text="bye")
    connection.method(1, "queue.declare", queue="amq.ignored")
    stage.note("answer", connection.receive(0).name)


@scenario
def channels_do_not_disturb_each_other(stage):
    connection = stage.connect()
    one, two = connection.channel(1), connection.channel(2)
    one.send("queue.declare", queue="nowhere", passive=True)
    stage.try_("the other", lambda: two.call("channel.flow", active=True))
    stage.try_("the one", lambda: one.answer("nothing"))
    stage.try_("the other, later", lambda: two.call("channel.flow", active=True))


@scenario
def flow(stage):
    stage.ask("active", "channel.flow", active=True)
    stage.ask("inactive", "channel.flow", active=False)


@scenario
def access_request(stage):
    stage.ask("answer", "access.request", realm="/data", read=True, write=True, active=True)


@scenario
def update_secret(stage):
    connection = stage.connect()
    connection.method(0, "connection.update-secret", secret="new", reason="because")
    stage.try_("answer", lambda: connection.receive(0).name)


@scenario
def names_that_are_not_text(stage):
    bad = b"\xff\xfe"
    stage.queue("q")
    for label, method, options in [
        ("queue.declare", "queue.declare", {"queue": bad}),
        ("exchange.declare", "exchange.declare", {"exchange": bad, "type": "direct"}),
        ("queue.bind", "queue.bind", {"queue": stage.name("q"), "exchange": "amq.topic", "routing_key": bad}),
        ("basic.consume", "basic.consume", {"queue": stage.name("q"), "consumer_tag": bad}),
    ]:
        stage.ask(label, method, **options)
    stage.after("basic.publish", stage.channel(), lambda c: c.publish("amq.topic", bad, b"x"))


@scenario
def heartbeats(stage):
    connection = stage.connect(heartbeat=1)
    connection.timeout = 10
    stage.note("ending of a silent client", ending(connection))
    stage.note("heartbeats came", connection.heartbeats > 0)
    connection = stage.connect(heartbeat=0)
    connection.send(frame(HEARTBEAT, 0, b""))
    stage.try_("a heartbeat although none were agreed", lambda: connection.channel().call("channel.flow", active=True))
    stage.note("and none came", connection.heartbeats)


@scenario
def large_bodies_cross_frames(stage):
    small, large = stage.connect(frame_max=4096), stage.connect()
    queue = stage.queue("q")
    channel = large.channel().select()
    for size in (0, 1, 4088, 4089, 8176, 100_000, 300_000):
        channel.confirmed("", queue, b"z" * size)
    reader = small.channel()
    got = [reader.get(queue, no_ack=True) for _ in range(7)]
    stage.note("sizes", [len(message.body) for message in got])
    stage.note("within the receiver's frame_max", all(part <= 4088 for message in got for part in message.frames))
    small.send(publish_frames(1, "", queue, b"y" * 10_000, frame_max=4096))
    stage.until(lambda: stage.count(queue)[0] == 1, "the message is there")
    stage.note("back", [len(stage.channel().get(queue, no_ack=True).body)])
    many = stage.connect()
    sender = many.channel().select()
    many.send(method_frame(1, "basic.publish", routing_key=queue) + header_frame(1, 300) + b"".join(
        frame(BODY, 1, b"%d" % (number % 10)) for number in range(300)))
    sender.answer("basic.ack")
    stage.note("a byte a frame", len(stage.bodies(queue)[0]))
    many.send(method_frame(1, "basic.publish", routing_key=queue) + content_frames(1, b"end"))
    sender.answer("basic.ack")
    stage.note("and then", stage.bodies(queue))
