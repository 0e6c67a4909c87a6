"""Each client library through the end of its broker: it reconnects by itself, as it does for its users, and what was
acknowledged, what waits and what is sent meanwhile all arrive."""

import pytest

from harness import free_port
from mqttpeers import clients
from test_mqtt_clients import flagged

pytestmark = [pytest.mark.rialto, pytest.mark.timeout(240)]


@pytest.fixture(params=[False, True], ids=["SIGTERM", "kill -9"])
def hard(request):
    return request.param


@pytest.fixture
def steady(make_broker):
    """A broker that is found again under the same port."""
    return make_broker(args=["--mqtt", f"127.0.0.1:{free_port()}"]).start()


@clients()
def test_a_subscriber_comes_back_by_itself(steady, connect, peer, client, hard):
    """The session lasts: what is published before it is back waits for it. QoS 2 once and in order, QoS 1 in order,
    perhaps again."""
    one = peer(client, steady, "sub", **flagged(client[1]))
    # rumqttc forgets at a reconnect which ids of QoS 2 it has received, takes the PUBREL that comes for one as an error
    # of the broker's, and never gets past it: its users subscribe with QoS 1.
    qos = 1 if client[0] == "rumqttc" else 2
    one.subscribe("t/#", qos)
    pub = connect(steady, "pub")
    for number in range(30):
        pub.publish("t/2", str(number), qos=2)
        pub.publish("t/1", str(number), qos=1)
    one.messages(60)
    steady.restart(hard)
    if client == ("mosquitto", 5) and not hard:
        # mosquitto_sub ends when a broker of 5.0 says goodbye; it is started again.
        one.subscribe("t/#", qos)
    pub = connect(steady, "pub")
    for number in range(30, 60):
        pub.publish("t/2", str(number), qos=2)
        pub.publish("t/1", str(number), qos=1)
    wanted = [str(number) for number in range(60)]

    def seen(topic):
        return [message.payload.decode() for message in one.got if message.topic == topic]

    one.until(lambda: len(seen("t/2")) >= 60 and seen("t/1")[-1] == "59", "all of it", 60)
    twice = seen("t/2")
    if qos == 1:
        twice = list(dict.fromkeys(twice))
    assert twice == wanted and list(dict.fromkeys(seen("t/1"))) == wanted


@clients("unsubscribe")
@pytest.mark.parametrize("qos", [1, 2])
def test_a_publisher_sends_on_by_itself(steady, connect, peer, client, hard, qos):
    """What the library held when the broker ended and what the application published meanwhile all arrive, none of
    QoS 2 twice where the library keeps its side of it."""
    watcher = connect(steady, "watcher", clean=False)
    watcher.subscribe(("t", 2))
    watcher.cut()
    one = peer(client, steady, "pub", **flagged(client[1]))
    sent = [one.send("t", str(number), qos) for number in range(100)]
    one.settle(sent[20])
    steady.kill9() if hard else steady.stop()
    sent += [one.send("t", str(number), qos) for number in range(100, 120)]
    steady.start()
    for number in sent:
        one.settle(number, 60)
    watcher = connect(steady, "watcher", clean=False)
    got, wanted = [], [str(number) for number in range(120)]
    while set(got) != set(wanted):
        got.append(watcher.message(30).payload.decode())
    if client[0] == "paho":
        # The one that keeps what it sent, in order, over a reconnect, and QoS 2 with its ids; of the others the
        # application publishes again (aiomqtt), or their order and ids are their own affair.
        firsts = list(dict.fromkeys(got))
        assert firsts == wanted and (qos == 1 or got == wanted)
    watcher.cut()
