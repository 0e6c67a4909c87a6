"""Bridges of other brokers connect: a real mosquitto with each of its bridge protocols, and MQTT 5 clients that do what
the bridges of EMQX and HiveMQ do (no-local, retain as published, clean start off, a session that lasts).

mosquitto's bridges for 3.1 and 3.1.1 announce themselves by the top bit of the protocol level (`try_private`, on by
default): 0x83 and 0x84. Then their own messages are not sent back and retain flags stay; for 5.0 they ask for both
with the subscription's options.
"""

from pathlib import Path

import pytest

from harness import DEADLINE, free_port, wait_until
from mosquitto import Mosquitto

pytestmark = [pytest.mark.rialto, pytest.mark.timeout(180)]

KINDS = {
    "mqttv311-private": ("mqttv311", "true"), "mqttv311": ("mqttv311", "false"), "mqttv50": ("mqttv50", "true"),
    "mqttv50-plain": ("mqttv50", "false"), "mqttv31-private": ("mqttv31", "true"), "mqttv31": ("mqttv31", "false"),
}


def kinds(*names):
    return pytest.mark.parametrize("kind", [pytest.param(KINDS[name], id=name) for name in names])


class Bridge(Mosquitto):
    """A mosquitto on a port of its own with one bridge to the broker under test."""

    def __init__(self, folder, port, kind, topics):
        super().__init__(folder)
        self.remote, self.kind, self.topics = port, kind, topics

    def kill(self):
        """Its end without a word."""
        self.process.kill()
        self.process.wait(DEADLINE)

    def command(self):
        command = super().command()
        version, private = self.kind
        # A window of its own choice, not the unlimited one of the other tests: a bridge for 5.0 announces that as Receive
        # Maximum 0, which the specification forbids (MQTT5-3.1.2.11.3). The default is 20: for a bridge that shows
        # itself the broker keeps to it, of one that does not it cannot know.
        window = 20 if private == "true" or version == "mqttv50" else 1024
        path = Path(command[-1])
        path.write_text(path.read_text().replace("max_inflight_messages 0", f"max_inflight_messages {window}") + (
            f"connection edge\naddress 127.0.0.1:{self.remote}\nbridge_protocol_version {version}\n"
            f"try_private {private}\ncleansession false\nrestart_timeout 1\nkeepalive_interval 5\n"
            + "".join(f"topic {topic}\n" for topic in self.topics)))
        return command


@pytest.fixture
def rialto(make_broker):
    """A broker that keeps its port over a restart, as bridges find it by that."""
    return make_broker(args=["--mqtt", f"127.0.0.1:{free_port()}"]).start()


@pytest.fixture
def make_bridge(tmp_path, rialto):
    made = []

    def make(kind, *topics, wait=True):
        bridge = Bridge(tmp_path / f"bridge{len(made)}", rialto.mqtt, kind, topics).start()
        made.append(bridge)
        if wait:
            subscribed(rialto, topics)
        return bridge

    yield make
    for bridge in made:
        bridge.close()


def subscribed(rialto, topics, extra=0):
    """Waits until the bridge's subscriptions are there: what `in` and `both` name."""
    wanted = sum(topic.split()[1] != "out" for topic in topics)
    # After the keeper's, where there is one; mosquitto needs some seconds to come back.
    wait_until(lambda: rialto.metric("rialto_subscriptions") >= wanted + extra, "the bridge has subscribed", 40)


def listener(connect, broker, name, filter_, version=4):
    client = connect(broker, name, version=version)
    client.subscribe((filter_, 2))
    return client


def test_the_metric_that_shows_a_subscription_is_there(rialto, connect):
    listener(connect, rialto, "x", "x")
    assert rialto.metric("rialto_subscriptions") == 1


@kinds(*KINDS)
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_messages_cross_in_both_directions(rialto, make_bridge, connect, kind, qos):
    bridge = make_bridge(kind, "up/# out 2", "down/# in 2")
    here, there = listener(connect, rialto, "here", "up/#"), listener(connect, bridge, "there", "down/#")
    source, origin = connect(bridge, "source"), connect(rialto, "origin")
    for number in range(50):
        source.publish("up/a", str(number), qos=qos)
        origin.publish("down/a", str(number), qos=qos)
    for client in (here, there):
        got = client.messages(50)
        assert [(int(message.payload), message.qos) for message in got] == [(number, qos) for number in range(50)]
        client.nothing_comes()


@kinds("mqttv311-private", "mqttv50", "mqttv50-plain", "mqttv31-private")
def test_a_topic_in_both_directions_makes_no_loop(rialto, make_bridge, connect, kind):
    bridge = make_bridge(kind, "t/# both 2")
    here, there = listener(connect, rialto, "here", "t/#"), listener(connect, bridge, "there", "t/#")
    source, origin = connect(bridge, "source"), connect(rialto, "origin")
    for number in range(20):
        source.publish("t/there", str(number), qos=2)
        origin.publish("t/here", str(number), qos=2)
    # Behind them, one at a time, in the wake of all that an echo could have sent.
    source.publish("t/there", "end", qos=2)
    origin.publish("t/here", "end", qos=2)
    for client in (here, there):
        got = client.messages(42)
        for topic in ("t/here", "t/there"):
            assert [message.payload for message in got if message.topic == topic] == [
                *[str(number).encode() for number in range(20)], b"end"]
        client.nothing_comes()


@kinds("mqttv311-private", "mqttv50", "mqttv31-private")
def test_retained_messages_stay_retained(rialto, make_bridge, connect, kind):
    """Those that were there before the bridge, and those that come while it is there, both ways."""
    before = connect(rialto, "before")
    before.publish("down/old", "1", qos=1, retain=True)
    bridge = make_bridge(kind, "up/# out 2", "down/# in 2")
    live = listener(connect, bridge, "live", "down/new")
    before.publish("down/new", "2", qos=1, retain=True)
    live.message()
    late = listener(connect, bridge, "late", "down/#")
    got = {message.topic: message for message in late.messages(2)}
    assert {topic: (message.payload, message.retain) for topic, message in got.items()} == {
        "down/old": (b"1", True), "down/new": (b"2", True)}
    here = listener(connect, rialto, "here", "up/#")
    connect(bridge, "source").publish("up/state", "3", qos=1, retain=True)
    here.message()
    message = listener(connect, rialto, "later", "up/#").message()
    assert (message.payload, message.retain) == (b"3", True)


@kinds("mqttv311-private", "mqttv311", "mqttv31-private")
@pytest.mark.parametrize("hard", [False, True], ids=["SIGTERM", "kill -9"])
def test_a_restart_in_the_middle_loses_nothing(rialto, make_bridge, connect, kind, hard):
    """What either side takes while the other is away waits for it: QoS 2 once, in order."""
    bridge = make_bridge(kind, "up/# out 2", "down/# in 2")
    there = listener(connect, bridge, "there", "down/#")
    keeper = connect(rialto, "keeper", clean=False)
    keeper.subscribe(("up/#", 2))
    source, origin = connect(bridge, "source"), connect(rialto, "origin")
    for number in range(30):
        source.publish("up/a", str(number), qos=2)
        origin.publish("down/a", str(number), qos=2)
    rialto.kill9() if hard else rialto.stop()
    for number in range(30, 60):
        source.publish("up/a", str(number), qos=2)
    rialto.start()
    origin = connect(rialto, "origin")
    for number in range(30, 60):
        origin.publish("down/a", str(number), qos=2)
    here = connect(rialto, "keeper", clean=False)
    for client in (here, there):
        assert [int(message.payload) for message in client.messages(60, timeout=60)] == list(range(60))
        client.nothing_comes()


@kinds("mqttv311-private", "mqttv311", "mqttv50")
def test_a_bridge_says_whether_it_is_connected(rialto, make_bridge, connect, kind):
    """mosquitto's notifications, on by default: a retained 1 below `$SYS`, and 0 as the will of its connection. A broker
    that does not let it say so refuses the bridge as a whole."""
    bridge = make_bridge(kind, "down/# in 1")
    watcher = listener(connect, rialto, "watcher", "$SYS/broker/connection/#")
    assert watcher.message().payload == b"1"
    bridge.kill()
    assert watcher.message().payload == b"0"


@kinds("mqttv50")
def test_a_bridge_of_mqtt_5_goes_on_after_a_restart(rialto, make_bridge, connect, kind):
    """mosquitto 2.0 asks for no session expiry in its CONNECT of 5.0: its session ends with the connection, by its own
    wish. What it holds itself arrives all the same, perhaps twice; what comes for it meanwhile does not wait."""
    bridge = make_bridge(kind, "up/# out 2", "down/# in 2")
    there = listener(connect, bridge, "there", "down/#")
    keeper = connect(rialto, "keeper", clean=False)
    keeper.subscribe(("up/#", 2))
    source = connect(bridge, "source")
    for number in range(30):
        source.publish("up/a", str(number), qos=2)
    rialto.kill9()
    for number in range(30, 60):
        source.publish("up/a", str(number), qos=2)
    rialto.start()
    here, seen = connect(rialto, "keeper", clean=False), []
    while len(seen) < 60:
        number = int(here.message(timeout=60).payload)
        seen += [number] if number not in seen else []
    assert seen == list(range(60))
    subscribed(rialto, bridge.topics, extra=1)
    connect(rialto, "origin").publish("down/a", "on", qos=2)
    assert there.message().payload == b"on"


@kinds("mqttv311-private", "mqttv311", "mqttv31-private")
def test_the_session_of_a_bridge_keeps_what_comes_while_it_is_away(rialto, make_bridge, connect, kind):
    bridge = make_bridge(kind, "down/# in 2", "up/# out 2")
    keeper = connect(bridge, "keeper", clean=False)
    keeper.subscribe(("down/#", 2))
    # mosquitto writes what it keeps at its end, so it ends politely.
    bridge.stop()
    origin = connect(rialto, "origin")
    for number in range(40):
        origin.publish("down/a", str(number), qos=1 + number % 2)
    bridge.start()
    got = connect(bridge, "keeper", clean=False).messages(40, timeout=30)
    by_qos([(int(message.payload), message.qos) for message in got])


def by_qos(got):
    """Even numbers went as QoS 1, odd ones as 2: mosquitto passes a message of QoS 2 on at its PUBREL."""
    for qos in (1, 2):
        assert [number for number, level in got if level == qos] == list(range(qos - 1, 40, 2))


@pytest.mark.parametrize("client", [("paho", 5), ("rumqttc", 5)], ids=["paho", "rumqttc"])
def test_two_clients_of_mqtt_5_bridge_as_emqx_and_hivemq_do(rialto, make_broker, connect, peer, client):
    """Two brokers, one client in each, each publishing what the other got, retain flag and properties included; both
    subscribe to the same filter with no-local and retain-as-published: nothing comes back, nothing is lost."""
    other = make_broker().start()
    options = {"clean": False, "expiry": 3600}
    left, right = peer(client, rialto, "bridge", **options), peer(client, other, "bridge", **options)
    for side in (left, right):
        side.subscribe("site/#", 1, no_local=True, as_published=True)
    here, there = listener(connect, rialto, "here", "site/#", 5), listener(connect, other, "there", "site/#", 5)
    origin = connect(rialto, "origin", version=5)
    far = connect(other, "far", version=5)
    for number in range(20):
        origin.publish("site/a", f"here {number}", qos=1, retain=number == 19, properties={"user": [("n", "1")]})
        far.publish("site/b", f"there {number}", qos=1)

    def carry(source, target):
        for message in source.messages(20):
            target.publish(message.topic, message.payload, message.qos, message.retain, message.properties)

    carry(left, right)
    carry(right, left)
    for listening in (here, there):
        got = listening.messages(40)
        for topic, word in (("site/a", "here"), ("site/b", "there")):
            assert [message.payload.decode() for message in got if message.topic == topic] == [
                f"{word} {number}" for number in range(20)]
        assert all(message.properties == {"user": [("n", "1")]} for message in got if message.topic == "site/a")
        listening.nothing_comes()
    assert len(left.got) == 20 and len(right.got) == 20
    late = listener(connect, other, "late", "site/a", 5)
    got = late.message()
    assert (got.payload, got.retain) == (b"here 19", True)
