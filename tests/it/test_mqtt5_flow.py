"""Flow control both ways: Receive Maximum, Maximum Packet Size, packet identifiers; where others leak their quota."""

import struct

import pytest

from harness import wait_until
from rawmqtt import (DISCONNECT, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, Client, encode_properties, packet,
                     publish_bytes)

LASTING = {"session_expiry": 1000}


def five(connect, broker, name, **options):
    return connect(broker, name, version=5, **options)


def lasting(connect, broker, name, **properties):
    return connect(broker, name, version=5, clean=False, properties={**LASTING, **properties})


def subscriber(connect, broker, unique, durable, **properties):
    if durable:
        return lasting(connect, broker, unique + "s", **properties)
    return five(connect, broker, unique + "s", properties=properties)


def refuse(client, mid, reason=0x80):
    """A PUBREC with an error: the exchange ends there."""
    client.send(packet(PUBREC, 0, struct.pack("!HB", mid, reason)))


both = pytest.mark.parametrize("durable", [False, True], ids=["transient", "durable"])


@both
def test_a_refusing_pubrec_gives_its_place_back(shared, connect, unique, durable):
    """[MQTT5-4.9.0-2] and MQTT5-4.9: the quota rises with a PUBREC of 0x80 and more; twenty refusals do not shut a window
    of two."""
    sub = subscriber(connect, shared, unique, durable, receive_maximum=2)
    pub = five(connect, shared, unique + "p")
    sub.subscribe((unique, 2))
    for number in range(20):
        pub.publish(unique, str(number), qos=2)
    for number in range(20):
        got = sub.expect(PUBLISH)
        assert got.payload == str(number).encode()
        refuse(sub, got.mid)
    sub.nothing_comes()
    pub.publish(unique, "end", qos=2)
    assert sub.message().payload == b"end"


@both
@pytest.mark.parametrize("qos", [1, 2])
def test_messages_too_large_for_the_client_take_no_place(shared, connect, unique, durable, qos):
    """[MQTT5-3.1.2-24] [MQTT5-3.1.2-25]: discarded as if completed; ten of them do not shut a window of two."""
    sub = subscriber(connect, shared, unique, durable, receive_maximum=2, maximum_packet_size=200)
    pub = five(connect, shared, unique + "p")
    sub.subscribe((unique, qos))
    before = shared.metric("rialto_messages_dropped_total", reason="packet_too_large") if shared_is_rialto(shared) else 0
    for number in range(10):
        pub.publish(unique, b"x" * 300, qos=qos)
        pub.publish(unique, str(number), qos=qos)
    assert [got.payload for got in sub.messages(10)] == [str(number).encode() for number in range(10)]
    sub.nothing_comes()
    if shared_is_rialto(shared):
        wait_until(lambda: shared.metric("rialto_messages_dropped_total", reason="packet_too_large") == before + 10,
                   "each is counted")


def shared_is_rialto(shared):
    return type(shared).__name__ == "Broker"


def test_what_was_too_large_does_not_come_again(shared, connect, unique):
    """[MQTT5-3.1.2-25]: behave as if it had been sent, for a durable session also after a reconnect that takes more."""
    sub = lasting(connect, shared, unique + "s", maximum_packet_size=200)
    sub.subscribe((unique, 1))
    pub = five(connect, shared, unique + "p")
    pub.publish(unique, b"x" * 300, qos=1)
    pub.publish(unique, b"small", qos=1)
    assert sub.message().payload == b"small"
    sub.disconnect()
    lasting(connect, shared, unique + "s").nothing_comes()


def test_messages_that_waited_and_are_too_large_take_no_place(shared, connect, unique):
    """[MQTT5-3.1.2-25]: the same for what was queued while the client was away."""
    lasting(connect, shared, unique + "s").subscribe((unique, 2))
    pub = five(connect, shared, unique + "p")
    sub = lasting(connect, shared, unique + "s")
    sub.disconnect()
    for number in range(10):
        pub.publish(unique, b"x" * 300, qos=2)
        pub.publish(unique, str(number), qos=2)
    sub = lasting(connect, shared, unique + "s", receive_maximum=1, maximum_packet_size=200)
    assert [got.payload for got in sub.messages(10)] == [str(number).encode() for number in range(10)]
    sub.nothing_comes()


def test_resuming_keeps_to_the_new_receive_maximum(shared, connect, unique):
    """[MQTT5-3.3.4-9] [MQTT5-4.9.0-1]: ten in flight, then a client that takes three at a time."""
    sub = lasting(connect, shared, unique + "s", receive_maximum=10)
    sub.subscribe((unique, 1))
    pub = five(connect, shared, unique + "p")
    for number in range(15):
        pub.publish(unique, str(number), qos=1)
    mids = [sub.expect(PUBLISH).mid for _ in range(10)]
    sub.cut()
    sub = lasting(connect, shared, unique + "s", receive_maximum=3)
    held = [sub.expect(PUBLISH) for _ in range(3)]
    sub.nothing_comes()
    got = list(held)
    while held:
        sub.ack(PUBACK, held.pop(0).mid)
        if len(got) < 15:
            held.append(sub.expect(PUBLISH))
            got.append(held[-1])
            sub.nothing_comes()
    assert [int(one.payload) for one in got] == list(range(15))
    assert [one.mid for one in got[:10]] == mids and [one.dup for one in got] == [True] * 10 + [False] * 5


@pytest.mark.rialto
def test_a_shut_window_holds_back_no_pubrel(shared, connect, unique):
    """[MQTT5-3.3.4-10] [MQTT5-4.4.0-1]: the releases of a resumed session do not wait behind messages that wait for the
    window."""
    sub = lasting(connect, shared, unique + "s", receive_maximum=10)
    sub.subscribe((unique, 2))
    pub = five(connect, shared, unique + "p")
    for number in range(6):
        pub.publish(unique, str(number), qos=2)
    got = [sub.expect(PUBLISH) for _ in range(6)]
    for one in (got[3], got[5]):
        sub.ack(PUBREC, one.mid)
        assert sub.expect(PUBREL).mid == one.mid
    sub.cut()
    sub = lasting(connect, shared, unique + "s", receive_maximum=1)
    first = sub.expect(PUBLISH)
    assert first.mid == got[0].mid and first.dup
    assert [sub.expect(PUBREL).mid for _ in range(2)] == [got[3].mid, got[5].mid]
    sub.nothing_comes()
    sub.ack(PUBCOMP, got[3].mid)
    sub.ack(PUBCOMP, got[5].mid)
    sub.nothing_comes()
    sub.ack(PUBREC, first.mid)
    assert sub.expect(PUBREL).mid == first.mid
    sub.ack(PUBCOMP, first.mid)
    for number in (1, 2, 4):
        assert sub.message().payload == str(number).encode()
    sub.disconnect()
    lasting(connect, shared, unique + "s").nothing_comes()


@both
def test_pings_and_answers_pass_a_shut_window(shared, connect, unique, durable):
    """[MQTT5-4.9.0-3]: with a quota of 0 all other packets are still processed and answered."""
    sub = subscriber(connect, shared, unique, durable, receive_maximum=1)
    pub = five(connect, shared, unique + "p")
    sub.subscribe((unique, 1))
    for number in range(3):
        pub.publish(unique, str(number), qos=1)
    sub.expect(PUBLISH)
    sub.ping()
    assert sub.subscribe((f"{unique}/other", 1)).reasons == [1]
    assert sub.publish(f"{unique}/own", "x", qos=2).kind == PUBCOMP
    assert sub.unsubscribe(f"{unique}/other").reasons == [0]


@pytest.mark.rialto
def test_an_overrun_ends_with_disconnect_and_nothing_else(shared, connect, unique):
    """[MQTT5-3.3.4-7] and MQTT5-3.3.4: DISCONNECT 0x93 is the first and only answer to the message that is one too many."""
    pub = five(connect, shared, unique)
    allowed = pub.connack.properties["receive_maximum"]
    pub.send(b"".join(publish_bytes(unique, b"", 2, mid, version=5) for mid in range(1, allowed + 2)))
    for _ in range(allowed):
        assert pub.expect(PUBREC).reason < 0x80
    got = pub.receive()
    assert got.kind == DISCONNECT and got.reason == 0x93 and got.properties["reason_string"]


@pytest.mark.rialto
def test_refused_and_completed_exchanges_free_the_senders_quota(make_broker, connect):
    """MQTT5-4.9: PUBREC with an error, PUBACK with one, and PUBCOMP each give the sender one more."""
    broker = make_broker(config='[mqtt]\nreceive_max = 4\n[[acl]]\nallow = "*"\naction = "all"\nfilter = "open/#"\n').start()
    pub = five(connect, broker, "p")
    assert pub.connack.properties["receive_maximum"] == 4
    for number in range(30):
        assert pub.publish("closed", "x", qos=2).reason == 0x87
        assert pub.publish("closed", "x", qos=1).reason == 0x87
        assert pub.publish("open/x", "x", qos=2).kind == PUBCOMP
    pub.send(b"".join(publish_bytes("open/x", b"", 2, mid, version=5) for mid in range(1000, 1004)))
    assert [pub.expect(PUBREC).mid for _ in range(4)] == [1000, 1001, 1002, 1003]
    pub.ping()


@pytest.mark.rialto
def test_the_packet_size_of_connack_is_the_limit_to_the_byte(make_broker, connect):
    """[MQTT5-3.2.2-15]: a packet of exactly the maximum is taken, one byte more is 0x95."""
    broker = make_broker(config="[mqtt]\npacket_bytes_max = 2000\n").start()
    client = five(connect, broker, "c")
    size = client.connack.properties["maximum_packet_size"]
    overhead = len(publish_bytes("t", b"x" * 500, version=5)) - 500
    client.subscribe("t")
    client.publish("t", b"x" * (size - overhead))
    assert len(client.message().payload) == size - overhead
    client.publish("t", b"x" * (size - overhead + 1))
    assert client.expect_closed().reason == 0x95


def test_every_packet_identifier_is_used_and_none_twice(shared, connect, unique):
    """[MQTT5-2.2.1-3] [MQTT5-2.2.1-4]: a receiver that takes 65,535 and acknowledges none gets as many as it may, each with
    an identifier of its own; the next waits for one to be free again."""
    sub = five(connect, shared, unique + "s", properties={"receive_maximum": 65535})
    pub = five(connect, shared, unique + "p")
    sub.subscribe((unique, 1))
    held = {}
    for first in range(0, 2000, 100):
        pub.send(b"".join(publish_bytes(unique, str(first + n), 1, n + 1, version=5) for n in range(100)))
        for _ in range(100):
            pub.expect(PUBACK)
    pub.publish(unique, "end", qos=1)
    try:
        while True:
            got = sub.receive(timeout=0.5)
            assert got.mid and got.mid not in held
            held[got.mid] = got.payload
    except Exception as error:
        assert type(error).__name__ == "Timeout", error
    seen = len(held)
    for mid in held:
        sub.ack(PUBACK, mid)
    if seen < 2001:
        assert len(sub.messages(2001 - seen)) == 2001 - seen
    sub.nothing_comes()


@pytest.mark.rialto
def test_identifiers_of_both_directions_do_not_meet(shared, connect, unique):
    """MQTT5-2.2.1: client and server may use the same identifier at the same time for different messages."""
    client = five(connect, shared, unique)
    client.subscribe((unique, 2))
    client.publish(unique, "a", qos=2, mid=1, wait=False)
    kinds = [client.receive() for _ in range(2)]
    got = next(one for one in kinds if one.kind == PUBLISH)
    client.send(publish_bytes(unique, "b", 1, got.mid + 1, version=5))
    client.ack(PUBREC, got.mid)
    client.ack(PUBREL, 1)
    seen = [client.receive() for _ in range(4)]
    assert sorted(one.kind for one in seen) == sorted([PUBACK, PUBREL, PUBCOMP, PUBLISH])
    client.ack(PUBCOMP, got.mid)
    client.ping()


def test_small_messages_are_not_held_back(shared, connect, unique):
    """TCP_NODELAY: a second small packet does not wait for the acknowledgement of the first (Nagle and delayed ACK would
    take 40 ms a turn)."""
    import time
    sub, pub = five(connect, shared, unique + "s"), five(connect, shared, unique + "p")
    sub.subscribe((unique, 0))
    turns = []
    for _ in range(50):
        began = time.monotonic()
        pub.publish(unique, "1")
        pub.publish(unique, "2")
        sub.messages(2)
        turns.append(time.monotonic() - began)
    # The quicker half of them: a busy machine delays some, Nagle all but the first few.
    assert sorted(turns)[24] < 0.03, turns


@pytest.mark.rialto
def test_the_broker_takes_user_properties_in_every_packet(shared, connect, unique):
    """MQTT5-3.8.2.1.3, MQTT5-3.10.2.1.2, MQTT5-3.14.2.2.4, MQTT5-3.1.2.11.8: repeated, and the rest of the packet holds."""
    words = {"user": [("a", "1"), ("a", "1"), ("", "")]}
    client = Client(shared.mqtt, unique, version=5, properties=words)
    client.connect()
    assert client.subscribe((unique, 1), properties={**words, "subscription_id": 5}).reasons == [1]
    client.publish(unique, "x", qos=1, properties=words)
    got = client.message()
    assert got.properties == {"user": words["user"], "subscription_id": [5]}
    client.send(packet(10, 2, struct.pack("!H", 9) + encode_properties(words) + b"\0" + bytes([len(unique)])
                       + unique.encode()))
    assert client.receive().reasons == [0]
    client.disconnect(0, words)
