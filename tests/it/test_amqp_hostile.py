"""Hostile AMQP clients: sizes, nesting, floods. Bounded, with RabbitMQ's code where it has one, and nobody else is
disturbed (issue 4, "Bad input"). Noise on the listeners is in test_hostile.py.
"""

import random
import struct

import pytest

from amqpcodec import (BODY, HEADER, METHOD, conversation, frame, header_frame, login_frames, longstr, method_frame,
                       method_payload, publish_frames, shortstr)
from harness import wait_until
from rawamqp import Closed, Connection, Refused, Timeout
from test_hostile import seeds

pytestmark = pytest.mark.rialto


@pytest.fixture
def bystander(shared):
    """Someone whose messages must go through whatever others do; fails if they did not, or if memory grew."""
    connection = Connection(shared.amqp).open()
    channel = connection.channel()
    queue = channel.call("queue.declare", queue="", exclusive=True).queue
    channel.call("basic.consume", queue=queue, no_ack=True)
    before, channel.allowed_kb = shared.memory_kb(), 40_000
    yield channel
    channel.publish("", queue, "still here")
    assert channel.next("basic.deliver").body == b"still here"
    assert shared.alive
    wait_until(lambda: shared.memory_kb() < before + channel.allowed_kb, "memory is back")
    connection.close()


def nested(levels, letter=b"F"):
    """A table that holds a table that holds …, as bytes without the outermost length."""
    inner = b""
    for _ in range(levels):
        entry = shortstr("a") if letter == b"F" else b""
        inner = entry + letter + longstr(inner)
    return inner if letter == b"F" else shortstr("a") + inner


def fate(connection, channel=0):
    """How the broker ends it: the refusal's code, or None for a socket closed without a word."""
    try:
        while True:
            connection.receive(channel)
    except Refused as refused:
        return refused.code
    except Closed:
        return None


def opened(shared):
    connection = Connection(shared.amqp).open()
    connection.channel()
    return connection


@pytest.mark.parametrize("letter", [b"F", b"A"], ids=["tables", "arrays"])
@pytest.mark.parametrize("levels", [100, 1_300])
def test_deep_nesting_before_login_is_refused(shared, bystander, levels, letter):
    connection = Connection(shared.amqp)
    connection.hello()
    connection.method(0, "connection.start-ok", client_properties=nested(levels, letter), mechanism="PLAIN",
                      response=b"\0guest\0guest", locale="en_US")
    assert fate(connection) in (None, 501, 502)
    connection.cut()


@pytest.mark.parametrize("letter", [b"F", b"A"], ids=["tables", "arrays"])
def test_deep_nesting_after_login_is_refused(shared, bystander, letter):
    deep = nested(15_000, letter)
    for method, arguments in (("queue.declare", {"queue": "deep"}),
                              ("exchange.declare", {"exchange": "deep", "type": "headers"}),
                              ("queue.bind", {"queue": "deep", "exchange": "amq.headers"}),
                              ("basic.consume", {"queue": "deep"})):
        connection = opened(shared)
        connection.method(1, method, arguments=deep, **arguments)
        assert fate(connection, 1) in (None, 404, 406, 501, 502), method
        connection.cut()


def test_deep_headers_of_a_message_are_refused_or_carried_unread(shared, bystander):
    for exchange in ("amq.topic", "amq.headers", ""):
        connection = opened(shared)
        connection.send(publish_frames(1, exchange, "deep", b"x", {"headers": nested(15_000)}))
        connection.method(1, "channel.flow", active=True)
        try:
            assert connection.receive(1).name == "channel.flow-ok"
        except Refused as refused:
            assert refused.code in (406, 501, 502), refused
        connection.cut()


def test_a_size_that_never_comes_reserves_nothing(shared, bystander):
    half = []
    for _ in range(50):
        connection = opened(shared)
        connection.send(method_frame(1, "basic.publish", routing_key="x") + header_frame(1, 2**63) +
                        struct.pack("!BHI", BODY, 1, 131064) + b"only this")
        half.append(connection)
    for connection in half:
        connection.cut()


def test_announced_bodies_beyond_the_limit_are_refused(shared, bystander):
    connection = opened(shared)
    connection.send(method_frame(1, "basic.publish", routing_key="x") + header_frame(1, 2**63) + frame(BODY, 1, b"x"))
    assert fate(connection, 1) == 406
    connection.cut()


def test_frames_before_login_are_small(shared, bystander):
    connection = Connection(shared.amqp)
    connection.hello()
    connection.send(struct.pack("!BHI", METHOD, 0, 1 << 20) + b"x" * 8192)
    assert fate(connection) in (None, 501)
    connection.cut()


def test_bytes_without_a_login_are_bounded(shared, bystander):
    waiting = []
    for _ in range(100):
        connection = Connection(shared.amqp)
        connection.hello()
        connection.send(struct.pack("!BHI", METHOD, 0, 8000) + b"x" * 7999)
        waiting.append(connection)
    for connection in waiting:
        connection.cut()


def test_unfinished_content_on_every_channel_is_bounded(shared, bystander):
    """Two thousand channels each with a body that never ends: the connection has one budget for all of them."""
    bystander.allowed_kb = 120_000
    connection = Connection(shared.amqp).open()
    connection.send(b"".join(method_frame(number, "channel.open") for number in range(1, 2001)))
    part = b"x" * 100_000
    for number in range(1, 2001):
        connection.send(method_frame(number, "basic.publish", routing_key="x") + header_frame(number, 10 << 20) +
                        frame(BODY, number, part))
    code = None
    try:
        for number in range(1, 2001):
            while connection.receive(number, timeout=5).name == "channel.open-ok":
                pass
    except Refused as refused:
        code = refused.code
    except (Closed, Timeout):
        pass
    assert code in (None, 406, 501, 504, 506)
    connection.cut()


def test_channels_opened_and_closed_without_end_leave_nothing(shared, bystander):
    connection = Connection(shared.amqp).open()
    for _ in range(200):
        connection.send(b"".join(method_frame(number, "channel.open") +
                                 method_frame(number, "channel.close", code=200) for number in range(1, 51)))
    for number in range(1, 51):
        for _ in range(200):
            assert connection.receive(number).name == "channel.open-ok"
            assert connection.receive(number).name == "channel.close-ok"
    connection.close()


def test_consumers_have_a_limit(make_broker):
    broker = make_broker(config="[amqp]\nconsumers_per_channel_max = 10\n").start()
    channel = Connection(broker.amqp).open().channel()
    channel.call("queue.declare", queue="q", exclusive=True)
    with pytest.raises(Refused) as refused:
        for _ in range(11):
            channel.call("basic.consume", queue="q")
    assert refused.value.code in (406, 530)
    channel.connection.cut()


def test_who_never_reads_answers_is_bounded(shared, bystander):
    """Pipelined requests whose answers are never read: the broker stops reading rather than keep them all."""
    connection = opened(shared)
    connection.socket.settimeout(2)
    ask = method_frame(1, "basic.qos", prefetch_count=1)
    try:
        for _ in range(200):
            connection.socket.sendall(ask * 5000)
    except TimeoutError:
        pass
    connection.cut()


def test_many_words_and_hashes_do_not_burn_a_core(shared, bystander):
    """Patterns of many `#` against long keys: the walk is bounded (reference §1.4)."""
    connection = opened(shared)
    connection.method(1, "queue.declare", queue="hashes", exclusive=True)
    for number in range(20):
        pattern = ".".join(["#", "a"] * 20 + [str(number)])
        connection.method(1, "queue.bind", queue="hashes", exchange="amq.topic", routing_key=pattern)
    key = ".".join(["a"] * 100 + ["z"])
    connection.method(1, "confirm.select")
    connection.send(publish_frames(1, "amq.topic", key, b"x") * 50)
    confirmed = 0
    while confirmed < 50:
        event = connection.receive(1)
        if event.name == "basic.ack":
            confirmed = event.delivery_tag
    connection.close()


@pytest.mark.parametrize("when", ["all at once", "byte by byte"])
def test_noise_behind_a_login_harms_nobody(shared, bystander, long, when):
    chosen = seeds(long)
    print(f"seeds {chosen.start}..{chosen.stop}")
    for seed in chosen:
        rng = random.Random(f"{seed} {when}")
        good = bytearray(conversation(rng))
        for _ in range(rng.randrange(1, 5)):
            good[rng.randrange(len(login_frames()), len(good))] ^= 1 << rng.randrange(8)
        connection = Connection(shared.amqp)
        if when == "all at once":
            connection.send(bytes(good))
        else:
            cut = rng.randrange(len(good))
            for at in range(0, len(good), max(1, len(good) // 50)):
                connection.send(bytes(good[at:at + max(1, len(good) // 50)]))
                if at > cut:
                    break
        # Hear it out, as far as it has something to say at once.
        try:
            while True:
                connection.frame(timeout=0.02)
        except (Closed, Timeout):
            pass
        connection.cut()
        assert shared.alive, f"seed {seed} ended the broker"
    wait_until(lambda: shared.metric("rialto_connections", protocol="amqp") <= 1, "no connection is left behind")


def test_methods_cut_at_every_byte_are_survived(shared, bystander):
    for payload in (method_payload("queue.declare", queue="cut", arguments={"x-a": {"b": [1, "two"]}}),
                    method_payload("basic.consume", queue="cut", consumer_tag="t", arguments={"a": 1}),
                    method_payload("basic.publish", exchange="amq.topic", routing_key="k")):
        for end in range(len(payload)):
            connection = opened(shared)
            connection.send(frame(METHOD, 1, payload[:end]))
            assert fate(connection) in (None, 501, 502, 503, 505), end
            connection.cut()


def test_headers_of_content_cut_at_every_byte_are_survived(shared, bystander):
    block = header_frame(1, 1, {"content_type": "text/plain", "headers": {"a": [1, {"b": "c"}]}, "expiration": "5",
                                "timestamp": 7})[7:-1]
    for end in range(len(block)):
        connection = opened(shared)
        connection.send(method_frame(1, "basic.publish", routing_key="nobody") + frame(HEADER, 1, block[:end]) +
                        frame(BODY, 1, b"x"))
        connection.method(1, "channel.flow", active=True)
        try:
            connection.receive(1)
        except Refused as refused:
            assert refused.code in (406, 501, 502, 505), (end, refused)
        except Closed:
            pass
        connection.cut()
