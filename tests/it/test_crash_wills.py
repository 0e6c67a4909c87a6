"""Wills and session expiry across the end of the broker: once, and not too early."""

import pytest

from harness import wait_until
from rawmqtt import PINGRESP, PUBCOMP, PUBREL

pytestmark = pytest.mark.rialto
ENDLESS = {"session_expiry": 0xFFFFFFFF}


def end(broker, hard):
    broker.kill9() if hard else broker.stop()


@pytest.fixture(params=[True, False], ids=["kill", "stop"])
def hard(request):
    return request.param


@pytest.fixture
def watcher(broker, connect):
    """Comes to see what was published to w/# meanwhile: list(payloads)."""
    def watch(count):
        client = connect(broker, "watcher", version=5, clean=False, properties=ENDLESS)
        if not client.connack.session_present:
            client.subscribe(("w/#", 2))
        got = [client.message().payload.decode() for _ in range(count)]
        client.send(b"\xc0\x00")
        while (packet := client.receive()).kind != PINGRESP:
            # A PUBCOMP that the crash swallowed is asked for again; a message would be one too many.
            assert packet.kind == PUBREL, str(packet)
            client.ack(PUBCOMP, packet.mid)
        client.disconnect()
        return got

    watch(0)
    return watch


def will(text, **properties):
    return {"topic": "w/t", "payload": text, "qos": 2, "properties": properties}


def test_the_end_of_the_broker_publishes_each_will_once(broker, connect, watcher, hard):
    """MQTT5-3.1.2.5: after a failure of the server the will may come with the restart; a durable session's does."""
    for number in range(5):
        connect(broker, f"c{number}", version=5, clean=False, properties=ENDLESS, will=will(f"gone {number}"))
    polite = connect(broker, "polite", version=5, clean=False, properties=ENDLESS, will=will("never"))
    polite.disconnect()
    connect(broker, "p").publish("x", "a record behind the farewell", qos=1, retain=True)
    end(broker, hard)
    broker.start()
    assert sorted(watcher(5)) == [f"gone {number}" for number in range(5)]
    broker.restart(hard=True)
    assert watcher(0) == []


def test_a_delayed_will_survives_a_restart(broker, connect, watcher, hard):
    # A session that lasts, for the will may come before a slow start lets anybody in.
    live = connect(broker, "live", version=5, clean=False, properties=ENDLESS)
    live.subscribe(("w/#", 1))
    live.disconnect()
    client = connect(broker, "c", version=5, clean=False, properties=ENDLESS, will=will("late", will_delay=2))
    client.cut()
    wait_until(lambda: broker.metric("rialto_connections", protocol="mqtt") == 0, "the broker knows of the cut")
    connect(broker, "p").publish("x", "a record behind the close", qos=1, retain=True)
    end(broker, hard)
    broker.start()
    live = connect(broker, "live", version=5, clean=False, properties=ENDLESS)
    assert live.message().payload == b"late"
    live.disconnect()
    assert watcher(1) == ["late"]
    broker.restart(hard=True)
    assert watcher(0) == []


def test_coming_back_after_a_restart_cancels_a_delayed_will(broker, connect, watcher, hard):
    """MQTT5-3.1.3-9: with eight seconds for the restart of a broker on a busy machine."""
    options = {"version": 5, "clean": False, "properties": ENDLESS}
    connect(broker, "c", **options, will=will("late", will_delay=8)).cut()
    wait_until(lambda: broker.metric("rialto_connections", protocol="mqtt") == 0, "the broker knows of the cut")
    connect(broker, "p").publish("x", "a record behind the close", qos=1, retain=True)
    end(broker, hard)
    broker.start()
    connect(broker, "c", **options).disconnect()
    other = connect(broker, "d", **options, will=will("of another", will_delay=9))
    other.cut()
    live = connect(broker, "live")
    live.subscribe(("w/#", 1))
    assert live.message(timeout=30).payload == b"of another"
    assert watcher(1) == ["of another"]


def test_a_session_expires_while_the_broker_is_away_or_soon_after(broker, connect, hard):
    client = connect(broker, "c", version=5, clean=False, properties={"session_expiry": 1})
    client.subscribe(("t", 1))
    client.disconnect()
    lasting = connect(broker, "d", version=5, clean=False, properties=ENDLESS)
    lasting.subscribe(("t", 1))
    lasting.disconnect()
    end(broker, hard)
    broker.start()
    wait_until(lambda: broker.metric("rialto_sessions") == 1, "only the lasting session is left")
    assert broker.metric("rialto_subscriptions") == 1
    broker.restart(hard=True)
    assert broker.metric("rialto_subscriptions") == 1
    back = connect(broker, "c", version=5, clean=False, properties={"session_expiry": 1})
    assert not back.connack.session_present


def test_a_session_whose_client_was_connected_is_closed_by_the_restart(broker, connect, hard):
    """Its expiry counts from there: it neither lives for ever nor ends at once."""
    client = connect(broker, "c", version=5, clean=False, properties={"session_expiry": 3})
    client.subscribe(("t", 1))
    end(broker, hard)
    broker.start()
    pub = connect(broker, "p")
    pub.publish("t", "kept", qos=1)
    back = connect(broker, "c", version=5, clean=False, properties={"session_expiry": 3})
    assert back.connack.session_present and back.message().payload == b"kept"
    end(broker, hard)
    broker.start()
    wait_until(lambda: broker.metric("rialto_subscriptions") == 0, "the session is gone")


def test_a_broker_killed_while_a_will_is_on_its_way_publishes_it_once(broker, connect, watcher):
    """All or none, many times over: the record that publishes it also takes it."""
    total = 0
    for turn in range(4):
        clients = [connect(broker, f"c{number}", version=5, clean=False, properties=ENDLESS,
                           will=will(f"{turn}.{number}")) for number in range(40)]
        for client in clients:
            client.cut()
        pub = connect(broker, "p")
        for number in range(turn * 3):
            pub.publish("x", "time passes", qos=1, retain=True)
        broker.restart(hard=True)
        total += 40
    got = watcher(total)
    assert sorted(got) == sorted(f"{turn}.{number}" for turn in range(4) for number in range(40))
