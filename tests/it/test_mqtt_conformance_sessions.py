"""Sessions and wills, statement by statement."""

import pytest

from harness import wait_until
from mqttforms import PING, keep, wait_out
from rawmqtt import DISCONNECT, PUBLISH


def will(unique, **options):
    return {"topic": f"{unique}/will", "payload": "gone", "qos": 1, **options}


def watching(connect, shared, unique, version=5):
    """Sees everything below its word; RETAIN as it was published."""
    client = connect(shared, unique + "watch", version=version)
    client.subscribe((f"{unique}/#", 1 | (8 if version == 5 else 0)))
    return client


def comes_late(connect, shared, unique):
    """What is retained at the will's topic."""
    client = connect(shared, unique + "late")
    client.subscribe((f"{unique}/will", 1))
    client.send(PING)
    got = client.receive()
    client.cut()
    return got.payload if got.kind == PUBLISH else None


def test_a_session_is_resumed_as_it_was(shared, connect, unique, version):
    """MQTT-3.1.2-4, MQTT-4.1.0-1, MQTT-3.1.3-2; MQTT5-3.1.2-5 to MQTT5-3.1.2-6, MQTT5-3.1.2-23, MQTT5-3.1.3-2: its
    subscriptions, what waits and what was not acknowledged, once and again; another identifier gets nothing of it."""
    pub = connect(shared, unique + "p")
    first = connect(shared, unique, **keep(version))
    first.subscribe((unique, 1))
    for turn in range(3):
        first.cut()
        pub.publish(unique, str(turn), qos=1)
        other = connect(shared, unique + "x", **keep(version))
        assert other.connack.session_present == (turn > 0)
        other.nothing_comes()
        other.cut()
        first = connect(shared, unique, **keep(version))
        assert first.connack.session_present
        assert [first.expect(PUBLISH).payload.decode() for _ in range(turn + 1)] == [str(n) for n in range(turn + 1)]


def test_a_session_lasts_while_its_connection_does(shared, connect, unique):
    """MQTT-4.1.0-1 to MQTT-4.1.0-2, MQTT5-4.1.0-1: also where it ends with it, or its expiry of a second counts from
    the end of the connection only."""
    clients = [connect(shared, unique + "3", version=4), connect(shared, unique + "5", version=5),
               connect(shared, unique + "1", **keep(5, 1))]
    for client in clients:
        client.subscribe((unique, 1))
    wait_out(2.2)
    connect(shared, unique + "p").publish(unique, "x", qos=1)
    assert [client.message().payload for client in clients] == [b"x"] * 3


def test_an_expiry_ends_the_session_and_not_its_retained_messages(shared, connect, unique):
    """MQTT5-4.1.0-2, MQTT5-3.2.2-3; MQTT-3.1.2-7: retained messages belong to no session."""
    client = connect(shared, unique, **keep(5, 1))
    client.subscribe((unique, 1))
    client.publish(f"{unique}/will", "retained", qos=1, retain=True)
    client.cut()
    connect(shared, unique + "3", version=4).publish(f"{unique}/3", "retained", qos=1, retain=True)

    def is_gone():
        wait_out(1.5)
        again = connect(shared, unique, **keep(5, 1))
        present = again.connack.session_present
        again.cut()
        return not present

    wait_until(is_gone, "the session is gone")
    assert comes_late(connect, shared, unique) == b"retained"


def test_a_clean_session_ends_with_its_connection(shared, connect, unique, version):
    """MQTT-3.1.2-6, MQTT-3.2.2-3, MQTT-3.1.2-7; MQTT5-3.1.2-4, MQTT5-3.2.2-2 to MQTT5-3.2.2-3"""
    client = connect(shared, unique, version=version)
    client.subscribe((unique, 1))
    client.publish(f"{unique}/will", "retained", qos=1, retain=True)
    client.disconnect()
    connect(shared, unique + "p").publish(unique, "x", qos=1)
    again = connect(shared, unique, **keep(version))
    assert not again.connack.session_present
    again.nothing_comes()
    assert comes_late(connect, shared, unique) == b"retained"


def test_a_takeover_ends_the_older_connection(shared, connect, unique, version):
    """MQTT-3.1.4-2, MQTT5-3.1.4-3: clean and kept sessions alike; MQTT5-3.14.2-2: that DISCONNECT has no expiry."""
    for options in ({"version": version}, keep(version)):
        first = connect(shared, unique, **options)
        second = connect(shared, unique, **options)
        last = first.expect_closed()
        if version == 5:
            assert (last.kind, last.reason) == (DISCONNECT, 0x8E) and "session_expiry" not in last.properties
        else:
            assert last is None
        second.ping()


def test_a_will_is_published_once(shared, connect, unique, version):
    """MQTT-3.1.2-10, MQTT-3.1.2-12; MQTT5-3.1.2-10: a connection that follows and has none leaves none."""
    watcher = watching(connect, shared, unique)
    connect(shared, unique, will=will(unique), **keep(version)).cut()
    assert watcher.message().payload == b"gone"
    again = connect(shared, unique, **keep(version))
    assert again.connack.session_present
    again.cut()
    connect(shared, unique + "p").publish(f"{unique}/end", "end", qos=1)
    assert watcher.message().payload == b"end"
    # Nor does the watcher's broker find one when the session is resumed once more.
    connect(shared, unique, **keep(version)).ping()
    watcher.nothing_comes()


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("retain", [False, True])
def test_a_will_has_the_qos_and_retain_it_was_given(shared, connect, unique, version, qos, retain):
    """MQTT-3.1.2-9, MQTT-3.1.2-16 to MQTT-3.1.2-17; MQTT5-3.1.2-14 to MQTT5-3.1.2-15"""
    watcher = watching(connect, shared, unique)
    watcher.subscribe((f"{unique}/#", 2 | 8))
    connect(shared, unique, version=version, will=will(unique, qos=qos, retain=retain)).cut()
    got = watcher.message()
    assert (got.topic, got.payload, got.qos, got.retain) == (f"{unique}/will", b"gone", qos, retain)
    assert comes_late(connect, shared, unique) == (b"gone" if retain else None)


@pytest.mark.parametrize("reason", [0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99])
def test_only_a_normal_disconnect_gives_the_will_up(shared, connect, unique, reason):
    """MQTT5-3.14.4-3, MQTT5-3.1.2-8, MQTT5-3.1.2-10, MQTT5-3.14.2-1: every code that a client may send is taken."""
    watcher = watching(connect, shared, unique)
    client = connect(shared, unique, version=5, will=will(unique))
    client.send(bytes([0xE0, 1, reason]))
    assert client.expect_closed() is None
    connect(shared, unique + "p").publish(f"{unique}/end", "end", qos=1)
    got = [watcher.message().payload]
    if reason:
        got.append(watcher.message().payload)
    assert sorted(got) == ([b"end", b"gone"] if reason else [b"end"])


def test_a_wills_user_properties_keep_their_order(shared, connect, unique):
    """MQTT5-3.1.3-10"""
    watcher = watching(connect, shared, unique)
    pairs = [("z", "1"), ("a", "2"), ("z", "1"), ("", ""), ("a", "1")]
    connect(shared, unique, version=5, will=will(unique, properties={"user": pairs})).cut()
    assert watcher.message().properties["user"] == pairs


def test_a_resume_within_the_delay_keeps_the_will_back(shared, connect, unique):
    """MQTT5-3.1.3-9, MQTT5-3.1.2-8: the new connection's own will is another matter."""
    watcher = watching(connect, shared, unique)
    connect(shared, unique, will=will(unique, properties={"will_delay": 3}), **keep(5)).cut()
    back = connect(shared, unique, will=will(unique, payload="new"), **keep(5))
    assert back.connack.session_present
    wait_out(4.2)
    watcher.nothing_comes()
    back.cut()
    assert watcher.message().payload == b"new"
