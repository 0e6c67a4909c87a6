"""QoS 0 beside what is durable: it waits for its own publisher's records, and for nothing else for long."""

import pytest

from rawmqtt import PUBACK, PUBLISH, publish_bytes

ENDLESS = {"session_expiry": 0xFFFFFFFF}


def durable(connect, broker, name, **options):
    properties = {**ENDLESS, **options.pop("properties", {})}
    return connect(broker, name, version=5, clean=False, properties=properties, **options)


def test_qos0_behind_a_record_for_somebody_else_arrives(shared, connect, unique):
    """Design §2 rule 8: it waits until the record is applied, though nothing else ever wakes its receiver."""
    other, sub = durable(connect, shared, unique + "o"), durable(connect, shared, unique + "s")
    other.subscribe((f"{unique}/durable", 1))
    sub.subscribe((f"{unique}/plain", 1))
    pub = connect(shared, unique + "p")
    for number in range(50):
        pub.send(publish_bytes(f"{unique}/durable", "d", 1, number + 1)
                 + publish_bytes(f"{unique}/plain", str(number)))
        assert sub.expect(PUBLISH).payload == str(number).encode()
        pub.expect_ack(PUBACK, number + 1)


def test_a_retained_qos0_message_reaches_a_durable_session_live(shared, connect, unique):
    sub, pub = durable(connect, shared, unique + "s"), connect(shared, unique + "p")
    sub.subscribe((f"{unique}/#", 1))
    for number in range(50):
        pub.publish(f"{unique}/a", str(number), retain=True)
        assert sub.expect(PUBLISH).payload == str(number).encode()


@pytest.mark.rialto
def test_one_publishers_mix_of_qos_stays_in_order(shared, connect, unique, version):
    """MQTT-4.6.0-5, as far as an open window allows: a publisher's messages to a durable session do not overtake."""
    sub = durable(connect, shared, unique + "s")
    sub.subscribe((unique, 2))
    pub = connect(shared, unique + "p", version=version)
    data, total = b"", 600
    for number in range(total):
        qos = number % 3
        data += publish_bytes(unique, str(number), qos, number + 1 if qos else 0, version=version)
    pub.send(data)
    got = [int(sub.message().payload) for _ in range(total)]
    assert got == list(range(total))


@pytest.mark.rialto
def test_a_shut_window_holds_a_retained_value_behind_the_older_one(shared, connect, unique):
    """Design §2 "Retained": never the older value after the newer, whatever their QoS."""
    sub = durable(connect, shared, unique + "s", properties={"receive_maximum": 1})
    sub.subscribe((f"{unique}/#", 1))
    pub = connect(shared, unique + "p")
    pub.publish(f"{unique}/other", "fills the window", qos=1)
    pub.publish(f"{unique}/v", "old", qos=1, retain=True)
    pub.publish(f"{unique}/v", "new", retain=True)
    pub.publish(f"{unique}/event", "passes not: it follows one that waits")
    first = sub.expect(PUBLISH)
    sub.nothing_comes()
    sub.ack(PUBACK, first.mid)
    assert sub.message().payload == b"old"
    assert sub.expect(PUBLISH).payload == b"new"
    assert sub.expect(PUBLISH).topic == f"{unique}/event"


def test_qos0_passes_a_shut_window_of_a_durable_session(shared, connect, unique):
    """MQTT5-3.3.4, MQTT5-4.9: receive maximum counts QoS 1 and 2 only."""
    sub = durable(connect, shared, unique + "s", properties={"receive_maximum": 1})
    sub.subscribe((f"{unique}/#", 1))
    pub = connect(shared, unique + "p")
    pub.send(publish_bytes(f"{unique}/1", "one", 1, 1) + publish_bytes(f"{unique}/1", "two", 1, 2)
             + publish_bytes(f"{unique}/0", "zero"))
    first = sub.expect(PUBLISH)
    assert first.payload == b"one"
    assert sub.expect(PUBLISH).payload == b"zero"
    sub.nothing_comes()
    sub.ack(PUBACK, first.mid)
    assert sub.message().payload == b"two"
