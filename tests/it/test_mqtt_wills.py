"""Wills: published when a connection ends badly, and only then (MQTT-3.1.2-8, MQTT-3.1.2-10, MQTT-3.14.4-3)."""

import pytest

from rawmqtt import Client, Closed


def with_will(connect, broker, unique, name="w", version=4, **options):
    will = {"topic": f"{unique}/will", "payload": "gone", "qos": 1, **options.pop("will", {})}
    return connect(broker, unique + name, version=version, will=will, **options)


@pytest.fixture
def watcher(shared, connect, unique):
    client = connect(shared, unique + "watch", version=5)
    client.subscribe((f"{unique}/#", 1))
    return client


def test_a_cut_connection_publishes_the_will(shared, connect, unique, version, watcher):
    """MQTT-3.1.2-8 to MQTT-3.1.2-9, MQTT5-3.1.2-7 to MQTT5-3.1.2-8"""
    with_will(connect, shared, unique, version=version).cut()
    got = watcher.message()
    assert (got.topic, got.payload, got.qos) == (f"{unique}/will", b"gone", 1)


@pytest.mark.parametrize("version,goodbye", [(4, b"\xe0\x00"), (5, b"\xe0\x00"), (5, b"\xe0\x01\x00"),
                                             (5, b"\xe0\x02\x00\x00")])
def test_a_polite_disconnect_does_not(shared, connect, unique, watcher, version, goodbye):
    """MQTT-3.14.4-3, MQTT-3.1.2-10, MQTT5-3.14.4-3, MQTT5-3.1.2-10; MQTT5-3.14.2.1: a DISCONNECT of length 0
    is a normal one."""
    client = with_will(connect, shared, unique, version=version)
    client.send(goodbye)
    client.expect_closed()
    connect(shared, unique + "p").publish(f"{unique}/end", "end", qos=1)
    assert watcher.message().payload == b"end"


def test_disconnect_with_will_publishes_it(shared, connect, unique, watcher):
    """MQTT5-3.14.2.1: reason 0x04"""
    client = with_will(connect, shared, unique, version=5)
    client.send(b"\xe0\x01\x04")
    assert watcher.message().payload == b"gone"


def test_a_silent_client_is_ended_after_one_and_a_half_keep_alives(shared, connect, unique, version, watcher):
    """MQTT-3.1.2-24, MQTT5-3.1.2-22, MQTT5-3.2.2-22"""
    client = with_will(connect, shared, unique, version=version, keepalive=1)
    assert watcher.message(timeout=8).payload == b"gone"
    last = client.expect_closed()
    assert last is None or last.reason == 0x8D


def test_pings_keep_a_connection(shared, connect, unique):
    import time
    client = connect(shared, unique, keepalive=1)
    end = time.monotonic() + 3
    while time.monotonic() < end:
        client.ping()
        time.sleep(0.3)
    client.ping()


def test_a_protocol_error_publishes_the_will(shared, connect, unique, version, watcher):
    client = with_will(connect, shared, unique, version=version)
    client.send(b"\xff\xff\xff\xff\xff\xff")
    assert watcher.message().payload == b"gone"
    client.expect_closed()


def test_takeover_publishes_the_will_of_the_old_connection(shared, connect, unique, version, watcher):
    """MQTT5-3.1.4-3 and MQTT-3.1.4-2: the server ends the old connection, which is no normal DISCONNECT."""
    with_will(connect, shared, unique, version=version)
    connect(shared, unique + "w", version=version)
    assert watcher.message().payload == b"gone"


def test_a_retained_will_is_retained(shared, connect, unique, watcher):
    """MQTT-3.1.2-17"""
    with_will(connect, shared, unique, will={"retain": True}).cut()
    assert watcher.message().payload == b"gone"
    late = connect(shared, unique + "late")
    late.subscribe((f"{unique}/will", 1))
    got = late.message()
    assert got.retain and got.payload == b"gone"


def test_will_properties_are_published_with_it(shared, connect, unique, watcher):
    """MQTT5-3.1.3.2, MQTT5-3.1.3-10"""
    properties = {"content_type": "a/b", "user": [("k", "v"), ("k", "w")]}
    with_will(connect, shared, unique, version=5, will={"properties": properties}).cut()
    assert watcher.message().properties == properties


def test_a_delayed_will_waits(shared, connect, unique, watcher):
    """MQTT5-3.1.3-9: not before its delay; it may come once the session ends."""
    import time
    options = {"clean": False, "properties": {"session_expiry": 60}, "will": {"properties": {"will_delay": 2}}}
    began = time.monotonic()
    with_will(connect, shared, unique, version=5, **options).cut()
    connect(shared, unique + "p").publish(f"{unique}/before", "before", qos=1)
    assert watcher.message().payload == b"before"
    assert watcher.message(timeout=15).payload == b"gone"
    assert time.monotonic() - began > 1.5


def test_coming_back_cancels_a_delayed_will(shared, connect, unique, watcher):
    """MQTT5-3.1.3-9"""
    options = {"clean": False, "properties": {"session_expiry": 60}}
    with_will(connect, shared, unique, version=5, will={"properties": {"will_delay": 3}}, **options).cut()
    back = connect(shared, unique + "w", version=5, **options)
    assert back.connack.session_present
    late = with_will(connect, shared, unique, name="late", version=5, clean=False,
                     properties={"session_expiry": 60}, will={"payload": "late", "properties": {"will_delay": 4}})
    late.cut()
    assert watcher.message(timeout=15).payload == b"late"


def test_the_end_of_the_session_publishes_a_delayed_will(shared, connect, unique, watcher):
    """MQTT5-3.1.2-8: the earlier of delay and session end."""
    with_will(connect, shared, unique, version=5, will={"properties": {"will_delay": 1000}}).cut()
    assert watcher.message().payload == b"gone"


def test_clean_start_ends_the_old_session_and_its_will_comes(shared, connect, unique, watcher):
    """MQTT5-3.1.4.4 with MQTT5-3.1.2.5: the session that ended publishes its delayed will."""
    options = {"clean": False, "properties": {"session_expiry": 60}, "will": {"properties": {"will_delay": 1000}}}
    with_will(connect, shared, unique, version=5, **options).cut()
    connect(shared, unique + "w", version=5, clean=True)
    assert watcher.message().payload == b"gone"


def test_a_will_topic_with_a_wildcard_is_refused(shared, unique, version):
    """MQTT-3.1.3.2, MQTT5-3.1.3.3"""
    client = Client(shared.mqtt, unique, version=version, will={"topic": f"{unique}/#", "payload": "x"})
    try:
        assert client.connect(expect=None).reason >= (1 if version == 4 else 0x80)
        client.expect_closed()
    except Closed:
        pass


def test_a_polite_client_that_comes_back_at_once_leaves_no_will(shared, connect, unique, version, watcher):
    """MQTT-3.14.4-3: the will is void with the DISCONNECT, not when the socket is gone."""
    for _ in range(200):
        client = with_will(connect, shared, unique, version=version, clean=False,
                           properties={"session_expiry": 100} if version == 5 else None)
        client.disconnect()
    watcher.nothing_comes()
