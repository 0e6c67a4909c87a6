"""QoS 2 is exactly once when the broker ends in each of its four steps, in each direction; order and DUP with it.

`test_mqtt_sessions.py` interrupts connections at these steps, `test_restart.py` restarts after some of them; here the
broker itself ends at each: killed, killed after a checkpoint that holds the state of the handshake, or stopped. Two
witnesses count: a durable subscriber of its own, and a log that a Kafka client reads.
"""

import random

import pytest

from clients import kcat_read
from harness import wait_until
from qos2 import Receiver, Sender
from rawmqtt import PUBCOMP, PUBLISH, PUBREC, PUBREL, Timeout
from test_route import TELEMETRY

pytestmark = [pytest.mark.rialto, pytest.mark.timeout(180)]

TOPIC = "factory/press/telemetry/x"
ENDS = ["kill", "checkpoint and kill", "stop"]


@pytest.fixture(params=ENDS)
def restart(request):
    """restart(broker): ends it in one of the ways, and starts it again."""
    def ending(broker, *ends):
        if request.param == "checkpoint and kill":
            before = broker.metric("rialto_checkpoints_total")
            # Of the two that end from now on, the second began after now.
            wait_until(lambda: broker.metric("rialto_checkpoints_total") >= before + 2, "a checkpoint")
        broker.restart(hard=request.param != "stop")
        for end in ends:
            end.cut()
    return ending


@pytest.fixture
def broker(make_broker, request):
    config = "[checkpoint]\ninterval_s = 1\n" if "checkpoint" in request.node.name else None
    return make_broker(config=config, routes={"telemetry.toml": TELEMETRY}).start()


@pytest.fixture
def witness(broker):
    """A durable subscriber: witness(payloads) checks that it and the log have exactly these, in order."""
    receiver = Receiver("witness")
    receiver.connect(broker).subscribe(("factory/#", 2))
    receiver.cut()

    def check(payloads):
        receiver.connect(broker)
        assert receiver.until(len(payloads)) == payloads
        receiver.client.nothing_comes()
        assert [row["value"] for row in kcat_read(broker.kafka, "telemetry")] == payloads

    yield check
    receiver.cut()


@pytest.mark.parametrize("step", ["PUBLISH sent", "PUBREC got", "PUBREL sent", "PUBCOMP got"])
def test_a_publish_is_once_wherever_the_broker_ends(broker, witness, version, restart, step):
    """MQTT-4.3.3-2, MQTT-4.4.0-1, MQTT5-4.4.0-1: three messages stand at that step together."""
    sender = Sender("p", version)
    sender.connect(broker)
    words = ["one", "two", "three"]
    for word in words:
        sender.publish(TOPIC, word)
    if step != "PUBLISH sent":
        for _ in words:
            got = sender.client.expect(PUBREC)
            topic, payload, qos, _ = sender.open[got.mid]
            sender.open[got.mid] = (topic, payload, qos, True)
    if step in ("PUBREL sent", "PUBCOMP got"):
        for mid in sender.open:
            sender.client.ack(PUBREL, mid)
    if step == "PUBCOMP got":
        for _ in words:
            del sender.open[sender.client.expect(PUBCOMP).mid]
    restart(broker, sender)
    sender.connect(broker)
    sender.finish()
    # The same ids are new messages from here on.
    sender.mid = 0
    for word in ("four", "five"):
        sender.publish(TOPIC, word)
    sender.finish()
    sender.cut()
    witness([*words, "four", "five"])


@pytest.mark.parametrize("step", ["PUBLISH got", "PUBREC sent", "PUBREL got", "PUBCOMP sent"])
def test_a_delivery_is_once_wherever_the_broker_ends(broker, connect, version, restart, step):
    """MQTT-4.3.3-1, MQTT-4.4.0-1, MQTT-3.3.1-1: three messages stand at that step together."""
    receiver = Receiver("s", version)
    receiver.connect(broker).subscribe((TOPIC, 2))
    pub = connect(broker, "p")
    words = ["one", "two", "three"]
    for word in words:
        pub.publish(TOPIC, word, qos=2)
    mids = []
    for _ in words:
        got = receiver.client.expect(PUBLISH)
        assert not got.dup
        receiver.take(got)
        mids.append(got.mid)
    if step != "PUBLISH got":
        for mid in mids:
            receiver.client.ack(PUBREC, mid)
    if step in ("PUBREL got", "PUBCOMP sent"):
        assert [receiver.client.expect(PUBREL).mid for _ in mids] == mids
    if step == "PUBCOMP sent":
        for mid in mids:
            receiver.client.ack(PUBCOMP, mid)
            receiver.known.discard(mid)
    restart(broker, receiver)
    assert receiver.connect(broker).connack.session_present
    pub = connect(broker, "p")
    for word in ("four", "five"):
        pub.publish(TOPIC, word, qos=2)
    assert receiver.until(5) == [*words, "four", "five"]
    if step == "PUBLISH got":
        assert receiver.repeated == words
    if step in ("PUBREL got", "PUBCOMP sent"):
        # PUBREL left after its PUBREC was on disk: from then on no message comes again.
        assert receiver.repeated == []
    receiver.client.nothing_comes()
    receiver.cut()


@pytest.mark.parametrize("qos", [1, 2])
def test_a_window_stays_in_order_through_crashes(broker, witness, version, qos):
    """MQTT-4.6.0-1, MQTT-4.6.0-5 to MQTT-4.6.0-6: a publisher and a subscriber, both with windows, and the broker killed
    under them at random moments, five times. QoS 2: each once, in order. QoS 1: first appearances in order, nothing missing."""
    dice = random.Random(f"{version}{qos}")
    sender, receiver = Sender("p", version), Receiver("s", version)
    receiver.properties, receiver.dup_always = {"receive_maximum": 7}, False
    receiver.connect(broker).subscribe((TOPIC, qos))
    sender.connect(broker)
    sent = []
    for life in range(6):
        for _ in range(dice.randint(40, 80)):
            if len(sender.open) < 20:
                sent.append(f"{len(sent)}")
                sender.publish(TOPIC, sent[-1], qos)
            if dice.random() < 0.6 and sender.open:
                sender.step()
            if dice.random() < 0.6:
                try:
                    receiver.step(timeout=0.005)
                except Timeout:
                    pass
        if life < 5:
            broker.restart(hard=True)
            # What was on the way when the broker died is still read, as a client would.
            receiver.drain()
            for end in (sender, receiver):
                end.cut()
            receiver.connect(broker)
            sender.connect(broker)
    sender.finish()
    sender.publish(TOPIC, "end", qos)
    sender.finish()
    while "end" not in receiver.got or receiver.known:
        receiver.step()
    receiver.client.nothing_comes()
    firsts = list(dict.fromkeys(receiver.got))
    assert firsts == [*sent, "end"]
    if qos == 2:
        assert receiver.got == firsts
        witness([*sent, "end"])
    receiver.cut()
    sender.cut()


@pytest.mark.parametrize("qos", [1, 2])
def test_nothing_is_sent_again_on_the_same_connection(broker, connect, version, qos):
    """MQTT-4.4.0-1, MQTT5-4.4.0-1: redelivery is for reconnects only, however long an acknowledgement takes."""
    receiver = Receiver("s", version)
    receiver.connect(broker).subscribe((TOPIC, 2))
    connect(broker, "p").publish(TOPIC, "x", qos=qos)
    assert receiver.client.expect(PUBLISH).payload == b"x"
    with pytest.raises(Timeout):
        receiver.client.receive(timeout=6)
    receiver.client.nothing_comes()
    receiver.cut()


def test_ids_that_a_reconnecting_publisher_uses_again_are_told_apart(broker, witness, version):
    """A publisher begins anew with clean start: its ids mean new messages, whatever was half done."""
    first = Sender("p", version)
    first.connect(broker)
    first.publish(TOPIC, "half")
    first.client.expect(PUBREC)
    broker.restart(hard=True)
    first.cut()
    anew = Sender("p", version)
    assert not anew.connect(broker, clean=True).connack.session_present
    anew.publish(TOPIC, "whole")
    anew.finish()
    anew.cut()
    witness(["half", "whole"])


def test_a_publishers_session_that_ends_forgets_its_ids(broker, witness):
    """5.0, expiry 0: after the connection nothing is known of id 1; 3.1.1 does the same with clean session."""
    for word in ("one", "two"):
        sender = Sender("p", 4)
        sender.connect(broker, clean=True)
        sender.publish(TOPIC, word)
        sender.client.expect(PUBREC)
        sender.cut()
    witness(["one", "two"])
