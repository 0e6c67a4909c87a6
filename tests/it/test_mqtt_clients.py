"""Real client libraries, what 3.1.1 and 5.0 have in common: each feature once with each client and version.

The other end is a raw client, which hides nothing: it sees what the library sent, and sends what it must take.
"""

import pytest

from harness import Broker, wait_until
from mqttpeers import clients
from rawmqtt import PINGREQ, PINGRESP, PUBACK, PUBLISH, PUBREL, Timeout, packet
from test_auth import passwd

pytestmark = pytest.mark.timeout(180)


def flagged(version):
    """A session that lasts, in the words of this version."""
    return {"clean": False, "expiry": 3600 if version == 5 else None}


def by_qos(got, count):
    """Numbers of which the even ones went as QoS 1, the odd ones as 2, in order each: most libraries give a message of
    QoS 2 to the application at its PUBREL, behind later ones of QoS 1."""
    for qos in (1, 2):
        assert [int(message.payload) for message in got if message.qos == qos] == list(range(qos - 1, count, 2))


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guarded")
    passwords = folder / "passwords"
    passwd(passwords, "ada", "lovelace")
    broker = Broker(folder, config=f'[auth]\nanonymous = "never"\npassword_file = "{passwords}"\n').start()
    yield broker
    broker.close()


@clients()
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_messages_go_both_ways(shared, connect, peer, unique, client, qos):
    raw = connect(shared, unique + "raw")
    raw.subscribe((f"{unique}/up", 2))
    one = peer(client, shared, unique)
    assert one.subscribe(f"{unique}/down", qos) == [qos]
    for number in range(3):
        one.publish(f"{unique}/up", f"up {number}", qos)
        got = raw.message()
        assert (got.payload, got.qos, got.retain, got.dup) == (f"up {number}".encode(), qos, False, False)
    for number in range(3):
        raw.publish(f"{unique}/down", f"down {number}", qos=2)
    got = one.messages(3)
    assert [(message.topic, message.payload, message.qos, message.retain) for message in got] == [
        (f"{unique}/down", f"down {number}".encode(), qos, False) for number in range(3)]


@clients()
def test_a_hundred_in_flight_arrive_in_order(shared, connect, peer, unique, client):
    """The library's own window, all of QoS 2, and the broker's towards it."""
    raw = connect(shared, unique + "raw")
    raw.subscribe((f"{unique}/up", 2))
    one = peer(client, shared, unique)
    one.subscribe(f"{unique}/down", 2)
    if client[0] != "mosquitto":
        # mosquitto_pub is a process for each message: nothing is in flight together.
        sent = [one.send(f"{unique}/up", str(number), 2) for number in range(100)]
        assert [int(message.payload) for message in raw.messages(100)] == list(range(100))
        for number in sent:
            one.settle(number)
    for number in range(100):
        raw.publish(f"{unique}/down", str(number), qos=2)
    assert [int(payload) for payload in one.payloads(100)] == list(range(100))


@clients()
def test_retained_messages_are_kept_flagged_and_cleared(shared, connect, peer, unique, client):
    one = peer(client, shared, unique)
    one.publish(f"{unique}/state", "on", 1, retain=True)
    late = connect(shared, unique + "late")
    late.subscribe((f"{unique}/#", 1))
    assert late.message().retain
    one.subscribe(f"{unique}/+", 1)
    got = one.messages(1)[0]
    assert (got.topic, got.payload, got.retain) == (f"{unique}/state", b"on", True)
    late.publish(f"{unique}/state", "live", qos=1, retain=True)
    assert not one.messages(2)[1].retain
    one.publish(f"{unique}/state", "", 1, retain=True)
    last = connect(shared, unique + "last")
    last.subscribe((f"{unique}/#", 1))
    last.nothing_comes()


@clients()
def test_a_will_comes_when_the_client_dies(shared, connect, peer, unique, client):
    watcher = connect(shared, unique + "w")
    watcher.subscribe((f"{unique}/will", 2))
    one = peer(client, shared, unique, will={"topic": f"{unique}/will", "payload": "gone", "qos": 1, "retain": True})
    one.cut()
    got = watcher.message()
    assert (got.payload, got.qos) == (b"gone", 1)
    late = connect(shared, unique + "late")
    late.subscribe(f"{unique}/will")
    assert late.message().retain


@pytest.mark.rialto
@clients()
def test_no_will_comes_when_the_client_leaves(shared, connect, peer, unique, client):
    watcher = connect(shared, unique + "w")
    watcher.subscribe((f"{unique}/will", 2))
    before = shared.metric("rialto_connections", protocol="mqtt")
    peer(client, shared, unique, will={"topic": f"{unique}/will", "payload": "gone"}).disconnect()
    wait_until(lambda: shared.metric("rialto_connections", protocol="mqtt") <= before, "the end of the connection")
    if client == ("mosquitto", 5):
        # mosquitto_sub leaves upon SIGTERM with "disconnect with will message" (MQTT5-3.14.2.1: 0x04).
        assert watcher.message().payload == b"gone"
    watcher.nothing_comes()


@clients()
def test_a_session_is_resumed_with_what_waited(shared, connect, peer, unique, client):
    name, version = client
    one = peer(client, shared, unique, **flagged(version))
    one.subscribe(f"{unique}/#", 2)
    one.disconnect()
    raw = connect(shared, unique + "raw")
    for number in range(20):
        raw.publish(f"{unique}/{number % 2}", str(number), qos=1 + number % 2)
    back = peer(client, shared, unique, **flagged(version))
    if name == "mosquitto":
        # mosquitto_sub subscribes at each start.
        back.subscribe(f"{unique}/#", 2)
    if name in ("paho", "rumqttc", "mqttjs"):
        assert not one.present and back.present
    by_qos(back.messages(20), 20)


@clients("dup")
def test_what_was_not_acknowledged_comes_again(shared, connect, peer, unique, client):
    """A library picks up a session whose last holder acknowledged nothing: DUP, each once, in order."""
    raw = connect(shared, unique, version=client[1], clean=False,
                  properties={"session_expiry": 3600} if client[1] == 5 else None)
    raw.subscribe((unique, 2))
    pub = connect(shared, unique + "p")
    for number in range(6):
        pub.publish(unique, str(number), qos=1 + number % 2)
    for _ in range(6):
        raw.expect(PUBLISH)
    raw.cut()
    back = peer(client, shared, unique, **flagged(client[1]))
    by_qos(back.messages(6), 6)
    assert all(message.dup for message in back.got)
    back.disconnect()
    # A library that gave its last message to the application before PUBREL may have left before PUBREL, too.
    again = connect(shared, unique, version=client[1], clean=False)
    again.send(packet(PINGREQ, 0, b""))
    while (came := again.receive()).kind != PINGRESP:
        assert came.kind == PUBREL, came


@clients("unsubscribe")
def test_unsubscribe_ends_it(shared, connect, peer, unique, client):
    one, raw = peer(client, shared, unique), connect(shared, unique + "raw")
    one.subscribe(f"{unique}/a", 1)
    one.subscribe(f"{unique}/b", 1)
    one.unsubscribe(f"{unique}/a")
    raw.publish(f"{unique}/a", "no", qos=1)
    raw.publish(f"{unique}/b", "yes", qos=1)
    assert one.payloads(1) == ["yes"]


@clients()
def test_large_messages_cross_whole(shared, connect, peer, unique, client):
    payload = "0123456789abcdef" * 40_000
    raw = connect(shared, unique + "raw")
    raw.subscribe((f"{unique}/up", 1))
    one = peer(client, shared, unique)
    one.subscribe(f"{unique}/down", 1)
    one.publish(f"{unique}/up", payload, 1)
    assert raw.message().payload.decode() == payload
    raw.publish(f"{unique}/down", payload, qos=1)
    assert one.payloads(1) == [payload]


@clients()
def test_odd_topics_and_empty_payloads_pass(shared, connect, peer, unique, client):
    raw = connect(shared, unique + "raw")
    raw.subscribe((f"/{unique}/#", 1))
    one = peer(client, shared, unique)
    one.subscribe(f"/{unique}/#", 1)
    topics = [f"/{unique}/", f"/{unique}//x", f"/{unique}/Zürich/温度/🌡", f"/{unique}/a b", f"/{unique}"]
    for topic in topics:
        one.publish(topic, "", 1)
        got = raw.message()
        assert (got.topic, got.payload) == (topic, b"")
    assert [(message.topic, message.payload) for message in one.messages(5)] == [(topic, b"") for topic in topics]


@pytest.mark.rialto
@clients()
def test_tls(shared, connect, peer, unique, client):
    raw = connect(shared, unique + "raw")
    raw.subscribe((f"{unique}/up", 2))
    one = peer(client, shared, unique, tls=True)
    one.subscribe(f"{unique}/down", 2)
    one.publish(f"{unique}/up", "x" * 100_000, 2)
    assert raw.message().payload == b"x" * 100_000
    raw.publish(f"{unique}/down", "y" * 100_000, qos=2)
    assert one.payloads(1) == ["y" * 100_000]


@pytest.mark.rialto
@clients()
def test_a_password_opens_and_a_wrong_one_is_told(guarded, peer, unique, client):
    name, version = client
    peer(client, guarded, unique, username="ada", password="lovelace").disconnect()
    refused = peer(client, guarded, unique + "x", username="ada", password="byron", expect=None)
    code = refused.connected()
    # 3.1.1 has "not authorized" (5) or "bad user name or password" (4); paho says both in 5.0's numbers.
    assert code in ((0x86, 0x87) if version == 5 or name in ("paho", "aiomqtt") else (4, 5)), code


@clients()
def test_the_same_client_id_again_ends_the_first(shared, peer, connect, unique, client):
    first = peer(client, shared, unique)
    first.subscribe(unique, 1)
    second = connect(shared, unique, version=client[1])
    first.until(lambda: first.closes or len(first.connects) > 1, "the end of the first connection")
    # The library may come back and take over in turn; either way exactly one of them holds the session.
    first.cut()
    second.cut()


@clients()
def test_a_library_that_is_silent_is_kept_by_its_own_pings(shared, connect, peer, unique, client):
    """A short keep alive, with room for a busy machine: it lives through more than 1.5 times of it."""
    seconds = {"mosquitto": 5, "rumqttc": 5}.get(client[0], 3)
    one = peer(client, shared, unique, keepalive=seconds)
    one.subscribe(unique, 1)
    watcher = connect(shared, unique + "w", keepalive=0)
    watcher.subscribe(f"{unique}/never")
    with pytest.raises(Timeout):
        watcher.expect(PUBACK, timeout=seconds * 1.7)
    watcher.publish(unique, "still there", qos=1)
    assert one.payloads(1) == ["still there"]
    assert not one.closes and len(one.connects) == 1
