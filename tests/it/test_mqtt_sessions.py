"""Sessions that outlive a connection: what waits, what is sent again, what takeover and clean start do."""

import pytest

from clients import mosquitto_pub, run
from harness import wait_until
from rawmqtt import (DISCONNECT, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, Client, ack_bytes, publish_bytes)

FOREVER = {"properties": {"session_expiry": 0xFFFFFFFF}}


def resume(connect, broker, name, version=4, **options):
    """Connects to a session that lasts."""
    if version == 5:
        options["properties"] = {"session_expiry": 0xFFFFFFFF, **options.get("properties", {})}
    return connect(broker, name, version=version, clean=False, **options)


def test_session_present_tells_whether_there_was_one(shared, connect, unique, version):
    """MQTT-3.2.2-1 to MQTT-3.2.2-3, MQTT-3.1.2-4, MQTT-3.1.4-3, MQTT5-3.2.2-2 to MQTT5-3.2.2-3,
    MQTT5-3.1.2-5 to MQTT5-3.1.2-6, MQTT5-3.1.4-4"""
    first = resume(connect, shared, unique, version)
    assert not first.connack.session_present
    first.disconnect()
    second = resume(connect, shared, unique, version)
    assert second.connack.session_present
    second.disconnect()
    clean = connect(shared, unique, version=version)
    assert not clean.connack.session_present
    clean.disconnect()
    assert not resume(connect, shared, unique, version).connack.session_present


def test_qos_1_and_2_wait_for_an_absent_client_in_order(shared, connect, unique, version):
    """MQTT-3.1.2-5, MQTT-4.5.0-1, MQTT5-4.5.0-1, MQTT5-3.1.2-23"""
    sub = resume(connect, shared, unique + "s", version)
    sub.subscribe((f"{unique}/#", 2))
    sub.disconnect()
    pub = connect(shared, unique + "p")
    for number in range(100):
        pub.publish(f"{unique}/{number % 3}", str(number), qos=1 + number % 2)
    back = resume(connect, shared, unique + "s", version)
    assert back.connack.session_present
    got = back.messages(100)
    assert [int(message.payload) for message in got] == list(range(100))
    assert [message.qos for message in got] == [1 + number % 2 for number in range(100)]
    assert not any(message.dup for message in got)
    back.nothing_comes()


def test_mosquitto_sub_finds_what_waited(shared, unique, version):
    who = ["-i", unique, "-c"]
    base = ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(shared.mqtt), "-V", "mqttv5" if version == 5 else "mqttv311",
            "-q", "1", "-t", f"{unique}/#", *who]
    run(base + ["-E"])
    for number in range(5):
        mosquitto_pub(shared.mqtt, f"{unique}/a", f"m{number}", qos=1)
    done = run(base + ["-C", "5"])
    assert done.stdout.split() == [f"m{number}" for number in range(5)]


def test_what_was_not_acknowledged_comes_again_with_its_id_and_dup(shared, connect, unique, version):
    """MQTT-4.4.0-1, MQTT-3.3.1-1, MQTT-4.6.0-1, MQTT-4.3.2-1, MQTT5-4.4.0-1, MQTT5-3.3.1-1,
    MQTT5-4.3.2-2 to MQTT5-4.3.2-3, MQTT5-4.3.3-3"""
    sub, pub = resume(connect, shared, unique + "s", version), connect(shared, unique + "p")
    sub.subscribe((unique, 2))
    for number in range(6):
        pub.publish(unique, str(number), qos=1 + number % 2)
    before = [sub.expect(PUBLISH) for _ in range(6)]
    assert not any(message.dup for message in before)
    sub.ack(PUBACK, before[2].mid)
    sub.ping()
    sub.cut()
    again = resume(connect, shared, unique + "s", version)
    got = [again.expect(PUBLISH) for _ in range(5)]
    expected = [message for message in before if message is not before[2]]
    assert [(m.mid, m.payload, m.qos) for m in got] == [(m.mid, m.payload, m.qos) for m in expected]
    assert all(message.dup for message in got)
    again.nothing_comes()


def test_after_pubrec_only_the_release_comes_again(shared, connect, unique, version):
    """MQTT-4.3.3-1, MQTT5-4.3.3-5 to MQTT5-4.3.3-6: past PUBREC the message itself must not be sent again."""
    sub, pub = resume(connect, shared, unique + "s", version), connect(shared, unique + "p")
    sub.subscribe((unique, 2))
    pub.publish(unique, "x", qos=2)
    got = sub.expect(PUBLISH)
    sub.ack(PUBREC, got.mid)
    assert sub.expect(PUBREL).mid == got.mid
    sub.cut()
    for _ in range(2):
        again = resume(connect, shared, unique + "s", version)
        assert again.expect(PUBREL).mid == got.mid
        again.nothing_comes()
        again.cut()
    last = resume(connect, shared, unique + "s", version)
    assert last.expect(PUBREL).mid == got.mid
    last.ack(PUBCOMP, got.mid)
    last.ping()
    last.cut()
    done = resume(connect, shared, unique + "s", version)
    done.nothing_comes()


@pytest.mark.parametrize("step", ["before PUBREC is read", "after PUBREC", "before PUBCOMP is read", "after PUBCOMP"])
def test_a_qos2_publish_interrupted_anywhere_arrives_once(shared, connect, unique, version, step):
    """MQTT-4.3.3-2, MQTT5-4.3.3-10: the broker remembers the id until PUBREL."""
    sub = connect(shared, unique + "s")
    sub.subscribe((unique, 2))
    pub = resume(connect, shared, unique + "p", version)
    pub.send(publish_bytes(unique, "x", 2, 9, version=version))
    if step != "before PUBREC is read":
        pub.expect(PUBREC)
    if "PUBCOMP" in step:
        pub.ack(PUBREL, 9)
    if step == "after PUBCOMP":
        pub.expect(PUBCOMP)
    pub.cut()
    again = resume(connect, shared, unique + "p", version)
    assert again.connack.session_present
    if "PUBREC" in step:
        again.send(publish_bytes(unique, "x", 2, 9, dup=True, version=version))
        assert again.expect(PUBREC).mid == 9
    if step != "after PUBCOMP":
        again.ack(PUBREL, 9)
        assert again.expect(PUBCOMP).mid == 9
    again.publish(unique, "end", qos=2, mid=10)
    assert [message.payload for message in sub.messages(2)] == [b"x", b"end"]
    sub.nothing_comes()


def test_an_id_may_be_used_again_after_pubcomp(shared, connect, unique, version):
    """MQTT-4.3.3-2, MQTT5-4.3.3-12"""
    sub, pub = connect(shared, unique + "s"), resume(connect, shared, unique + "p", version)
    sub.subscribe((unique, 2))
    for number in range(5):
        pub.publish(unique, str(number), qos=2, mid=1)
    assert [int(message.payload) for message in sub.messages(5)] == list(range(5))


def test_clean_start_forgets_subscriptions_and_messages(shared, connect, unique, version):
    """MQTT-3.1.2-6, MQTT5-3.1.2-4"""
    sub, pub = resume(connect, shared, unique + "s", version), connect(shared, unique + "p")
    sub.subscribe((unique, 1))
    sub.disconnect()
    pub.publish(unique, "lost", qos=1)
    connect(shared, unique + "s", version=version).disconnect()
    again = resume(connect, shared, unique + "s", version)
    assert not again.connack.session_present
    pub.publish(unique, "nobody", qos=1)
    again.nothing_comes()


def test_subscriptions_of_a_session_last(shared, connect, unique, version):
    sub, pub = resume(connect, shared, unique + "s", version), connect(shared, unique + "p")
    sub.subscribe((f"{unique}/a", 1), (f"{unique}/b", 1))
    sub.unsubscribe(f"{unique}/b")
    sub.disconnect()
    again = resume(connect, shared, unique + "s", version)
    pub.publish(f"{unique}/b", "no", qos=1)
    pub.publish(f"{unique}/a", "yes", qos=1)
    assert again.message().payload == b"yes"


def test_qos0_does_not_wait_for_an_absent_client(shared, connect, unique):
    sub, pub = resume(connect, shared, unique + "s"), connect(shared, unique + "p")
    sub.subscribe((unique, 1))
    sub.disconnect()
    pub.publish(unique, "0", qos=0)
    pub.publish(unique, "1", qos=1)
    again = resume(connect, shared, unique + "s")
    got = again.message()
    if got.payload == b"0":
        got = again.message()
    assert got.payload == b"1"


def test_a_second_connection_takes_the_session_over(shared, connect, unique, version):
    """MQTT-3.1.4-2, MQTT-3.1.3-2; MQTT5-3.1.4-3, MQTT5-3.1.3-2: the first gets DISCONNECT 0x8E."""
    first, pub = resume(connect, shared, unique, version), connect(shared, unique + "p")
    first.subscribe((unique, 1))
    second = resume(connect, shared, unique, version)
    assert second.connack.session_present
    last = first.expect_closed()
    if version == 5:
        assert last.kind == DISCONNECT and last.reason == 0x8E
    pub.publish(unique, "x", qos=1)
    assert second.message().payload == b"x"


def test_takeover_hands_over_what_was_in_flight(shared, connect, unique, version):
    first, pub = resume(connect, shared, unique, version), connect(shared, unique + "p")
    first.subscribe((unique, 1))
    for number in range(20):
        pub.publish(unique, str(number), qos=1)
    mids = [first.expect(PUBLISH).mid for _ in range(20)]
    second = resume(connect, shared, unique, version)
    got = [second.expect(PUBLISH) for _ in range(20)]
    assert [message.mid for message in got] == mids and all(message.dup for message in got)
    assert [int(message.payload) for message in got] == list(range(20))


def test_many_takeovers_in_a_row_end_with_one_holder(shared, connect, unique, version):
    clients = []
    for _ in range(30):
        client = Client(shared.mqtt, unique, version=version, clean=False, **(FOREVER if version == 5 else {}))
        clients.append(client)
        client.connect()
    for client in clients[:-1]:
        client.expect_closed()
        client.cut()
    clients[-1].ping()
    clients[-1].cut()


def test_acknowledging_out_of_order_is_allowed(shared, connect, unique, version):
    sub, pub = resume(connect, shared, unique + "s", version), connect(shared, unique + "p")
    sub.subscribe((unique, 1))
    for number in range(4):
        pub.publish(unique, str(number), qos=1)
    got = [sub.expect(PUBLISH) for _ in range(4)]
    for message in reversed(got[1:]):
        sub.ack(PUBACK, message.mid)
    sub.ping()
    sub.cut()
    again = resume(connect, shared, unique + "s", version)
    assert again.expect(PUBLISH).payload == b"0"
    again.nothing_comes()


def test_a_v3_session_can_be_resumed_by_v5_and_back(shared, connect, unique):
    first = resume(connect, shared, unique, 4)
    first.subscribe((unique, 1))
    first.disconnect()
    connect(shared, unique + "p").publish(unique, "x", qos=1)
    second = resume(connect, shared, unique, 5)
    assert second.connack.session_present and second.message().payload == b"x"
    second.disconnect()
    assert resume(connect, shared, unique, 4).connack.session_present


def test_many_ids_wrap_around(shared, connect, unique):
    """MQTT-2.3.1-4: more than 65,535 QoS 1 messages over one connection: ids are used again and are never 0."""
    sub, pub = connect(shared, unique + "s"), connect(shared, unique + "p")
    sub.subscribe((unique, 1))
    step = 100
    for first in range(0, 66000, step):
        numbers = range(first, first + step)
        pub.send(b"".join(publish_bytes(unique, str(n), 1, n % 65535 + 1) for n in numbers))
        got = [sub.expect(PUBLISH) for _ in numbers]
        sub.send(b"".join(ack_bytes(PUBACK, message.mid) for message in got))
        assert [int(message.payload) for message in got] == list(numbers)
        assert all(message.mid for message in got)
        assert [pub.expect(PUBACK).mid for _ in numbers] == [n % 65535 + 1 for n in numbers]


@pytest.mark.rialto
def test_a_full_session_drops_and_counts_and_never_refuses_its_publisher(make_broker, connect):
    """Design §3: what does not fit is dropped with a counter; the publisher is acknowledged all the same."""
    broker = make_broker(config="[mqtt]\nqueued_messages_max = 10\n").start()
    sub = resume(connect, broker, "s")
    sub.subscribe(("t", 1))
    sub.disconnect()
    pub = connect(broker, "p", version=5)
    assert all(pub.publish("t", str(number), qos=1).reason < 0x80 for number in range(30))
    back = resume(connect, broker, "s")
    assert [int(message.payload) for message in back.messages(10)] == list(range(10))
    back.nothing_comes()
    wait_until(lambda: broker.metric("rialto_messages_dropped_total", reason="queue_full") == 20,
               "messages_dropped_total is counted")
