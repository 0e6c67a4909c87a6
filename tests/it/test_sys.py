"""`$SYS`: the tree that mosquitto's users know, said by the broker alone."""

import re
import subprocess

import pytest

from clients import kcat_read, log_exists
from harness import DEADLINE, wait_until
from mosquitto import Mosquitto
from rawmqtt import PUBACK, PUBLISH, Timeout

pytestmark = pytest.mark.rialto

EVERY_SECOND = "[mqtt]\nsys_interval_s = 1\n"
# What Rialto says that mosquitto 2.0 does not, and why.
OWN = {"$SYS/broker/messages/inflight": "in mosquitto's manual, and no longer in its code"}
# What mosquitto says that Rialto does not, and why: nothing.
NOT_OURS = {}


@pytest.fixture(scope="module")
def talkative(tmp_path_factory):
    """A broker that looks every second, for tests that need no other of their own."""
    from harness import Broker
    broker = Broker(tmp_path_factory.mktemp("sys"), config=EVERY_SECOND).start()
    yield broker
    broker.close()


def values(client, wanted, filter_="$SYS/#", timeout=DEADLINE):
    """Subscribes and gathers values until `wanted` says that they are those waited for."""
    client.subscribe(filter_)
    found = {}

    def come():
        try:
            got = client.expect(PUBLISH, 0.05)
            found[got.topic] = got.payload.decode()
        except Timeout:
            pass
        return wanted(found)

    wait_until(come, "the values waited for", timeout, pause=0)
    return found


def two_more_looks():
    """Some topics come only after the first client has: true once the broker looked twice since the first values."""
    seen = set()

    def looked(found):
        seen.add(found.get("$SYS/broker/uptime"))
        return len(seen - {None}) >= 4

    return looked


def test_the_newest_values_are_there_for_whoever_subscribes(talkative, connect):
    client = connect(talkative, "first")
    client.subscribe(("$SYS/broker/uptime", 2), ("$SYS/broker/version", 1), ("$SYS/broker/clients/+", 0))
    first = {}
    while len(first) < 9:
        got = client.expect(PUBLISH)
        assert got.qos == 0
        first.setdefault(got.topic, got)
    assert re.fullmatch(rb"\d+ seconds", first["$SYS/broker/uptime"].payload)
    assert re.fullmatch(rb"rialto version \d+\.\d+\.\d+", first["$SYS/broker/version"].payload)
    assert first["$SYS/broker/version"].retain
    # From now on only what changes, not retained.
    got = client.expect(PUBLISH)
    assert not got.retain and got.topic != "$SYS/broker/version"


def test_the_topics_are_those_of_mosquitto(talkative, connect, tmp_path):
    class Talkative(Mosquitto):
        def command(self):
            command = super().command()
            path = self.folder / "mosquitto.conf"
            path.write_text(path.read_text() + "sys_interval 1\n")
            return command

    mosquitto = Talkative(tmp_path / "mosquitto").start()
    try:
        theirs, ours = (values(connect(broker, "watcher"), two_more_looks(), timeout=30)
                        for broker in (mosquitto, talkative))
        assert ours.keys() - theirs.keys() == set(OWN)
        assert theirs.keys() - ours.keys() == set(NOT_OURS)
        shape = {r"-?\d+": "number", r"-?\d+\.\d\d": "average", r"\d+ seconds": "uptime"}
        for topic in theirs.keys() & ours.keys():
            kinds = [next((name for pattern, name in shape.items() if re.fullmatch(pattern, found[topic])), "text")
                     for found in (theirs, ours)]
            assert kinds[0] == kinds[1], topic
    finally:
        mosquitto.close()


def test_mosquitto_sub_shows_it(talkative):
    shown = subprocess.run(
        ["mosquitto_sub", "-p", str(talkative.mqtt), "-t", "$SYS/#", "-v", "-C", "57", "-W", "20"],
        capture_output=True, text=True, timeout=30, check=True).stdout.splitlines()
    assert any(line.startswith("$SYS/broker/version rialto version ") for line in shown)
    assert any(line.startswith("$SYS/broker/retained messages/count ") for line in shown)


def test_what_clients_do_is_counted(make_broker, connect):
    broker = make_broker(config=EVERY_SECOND).start()
    keeper = connect(broker, "keeper", clean=False)
    keeper.subscribe(("kept/#", 1))
    keeper.disconnect()
    reader = connect(broker, "reader")
    reader.subscribe("seen/#")
    writer = connect(broker, "writer", version=5)
    for n in range(10):
        assert writer.publish("seen/x", b"12345", 1).kind == PUBACK
        reader.message()
    for n in range(3):
        writer.publish("kept/x", b"123456789", 1, retain=n == 0)
    base = "$SYS/broker/"
    expected = {
        "clients/total": "4", "clients/connected": "3", "clients/active": "3", "clients/disconnected": "1",
        "clients/inactive": "1", "clients/maximum": "3", "clients/expired": "0",
        "publish/messages/received": "13", "publish/bytes/received": "77",
        "retained messages/count": "1", "messages/stored": "4", "store/messages/count": "4",
        "subscriptions/count": "3", "shared_subscriptions/count": "0", "publish/messages/dropped": "0",
    }
    watcher = connect(broker, "watcher")
    # 4 CONNECT, 13 PUBLISH, 2 SUBSCRIBE, 1 DISCONNECT at least.
    at_least = {"publish/messages/sent": 10, "publish/bytes/sent": 50, "messages/received": 19, "messages/sent": 29,
                "bytes/received": 300, "bytes/sent": 200, "store/messages/bytes": 27, "load/sockets/1min": 0.01,
                "load/publish/received/1min": 0.01, "load/connections/15min": 0.01, "heap/current": 1 << 20}
    found = values(watcher, lambda found: all(found.get(base + name) == value for name, value in expected.items())
                   and all(float(found.get(base + name, 0)) >= value for name, value in at_least.items()))
    assert int(found[base + "heap/maximum"]) >= 1 << 20


def test_a_session_that_nobody_came_back_to_is_counted_as_expired(make_broker, connect):
    broker = make_broker(config=EVERY_SECOND).start()
    connect(broker, "short", version=5, properties={"session_expiry": 1}).disconnect()
    values(connect(broker, "watcher"), lambda found: found.get("$SYS/broker/clients/expired") == "1")
    wait_until(lambda: broker.metric("rialto_sessions_expired_total") == 1, "sessions_expired_total is counted")


def test_only_the_broker_speaks_there(talkative, connect, version):
    topic = "$SYS/broker/version"
    client = connect(talkative, f"liar{version}", version=version)
    for qos in (1, 2):
        ack = client.publish(topic, b"mine", qos, retain=True)
        # MQTT 3.1.1 can only acknowledge what is not carried out.
        assert ack.reason == (0x87 if version == 5 else 0)
    client.publish(topic, b"mine", 0, retain=True)
    client.publish("$SYS", b"mine", 0, retain=True)
    client.subscribe("$SYS/broker/version", "$SYS")
    assert client.message().payload.startswith(b"rialto version")
    client.nothing_comes()


def test_a_will_below_sys_is_refused(talkative, connect, version):
    will = {"topic": "$SYS/broker/version", "payload": b"mine", "retain": True}
    connect(talkative, "testator", version=version, will=will, expect=0x87 if version == 5 else 5)


def test_leading_wildcards_do_not_see_it(talkative, connect, version):
    """[MQTT-4.7.2-1] [MQTT5-4.7.2-1]"""
    client = connect(talkative, f"wild{version}", version=version)
    client.subscribe("#", "+/broker/version", "+/broker/#")
    client.nothing_comes()
    client.subscribe("$SYS/+/version")
    assert client.message().topic == "$SYS/broker/version"


def test_it_obeys_access_rules(make_broker, connect):
    rules = '[[acl]]\nallow = "*"\nfilter = "#"\n'
    broker = make_broker(config=EVERY_SECOND + rules).start()
    assert connect(broker, "a", version=5).subscribe("$SYS/#").reasons == [0x87]
    rules += '[[acl]]\nallow = "*"\naction = "subscribe"\nfilter = "$SYS/#"\n'
    broker = make_broker(config=EVERY_SECOND + rules).start()
    client = connect(broker, "a", version=5)
    assert client.subscribe("$SYS/broker/version").reasons == [0]
    client.message()


def test_nothing_of_it_is_stored(make_broker, connect):
    broker = make_broker(config=EVERY_SECOND).start()
    client = connect(broker, "c", clean=False)
    values(client, lambda found: found.get("$SYS/broker/uptime", "0 seconds") >= "2", ("$SYS/#", 1))
    client.disconnect()
    other = connect(broker, "other")
    values(other, lambda found: found.get("$SYS/broker/clients/disconnected") == "1")
    records = broker.metric("rialto_journal_records_total")
    values(connect(broker, "third"), two_more_looks())
    assert broker.metric("rialto_journal_records_total") == records
    assert broker.metric("rialto_retained_messages") == 0
    broker.config = "[mqtt]\nsys_interval_s = 0\n"
    broker.restart()
    silent = connect(broker, "c", clean=False)
    silent.subscribe("$SYS/#")
    silent.nothing_comes()


ROUTES = """\
[[route]]
name = "all"
from = { mqtt = "#" }
to   = { log = "all" }

[[route]]
name = "sys"
from = { mqtt = "$SYS/broker/uptime" }
to   = { log = "sys" }
"""


def test_a_route_gets_it_if_it_names_it(make_broker, connect):
    """A route's leading wildcard hides it as a subscriber's does."""
    broker = make_broker(config=EVERY_SECOND, routes={"routes.toml": ROUTES}).start()
    client = connect(broker, "c")
    client.publish("t", b"x", 1)
    wait_until(lambda: log_exists(broker.kafka, "sys"), "the broker looked once more")
    assert [row["key"] for row in kcat_read(broker.kafka, "all")] == ["t"]
    rows = kcat_read(broker.kafka, "sys")
    assert rows and all(re.fullmatch(r"\d+ seconds", row["value"]) for row in rows)
