"""paho-mqtt as applications use it: callbacks, its own reconnecting, its own window."""

import ssl
import threading

import paho.mqtt.client as paho
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from harness import DEADLINE, wait_until

VERSIONS = {4: paho.MQTTv311, 5: paho.MQTTv5}


class Paho:
    """A paho client with its loop running, and everything it was told."""

    def __init__(self, port, name, version, clean=True, tls=None):
        options = {"clean_session": clean} if version == 4 else {}
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=name, protocol=VERSIONS[version], **options)
        self.client.max_inflight_messages_set(50)
        self.client.reconnect_delay_set(1, 1)
        if tls:
            self.client.tls_set_context(tls)
        self.got, self.connects, self.codes = [], [], []
        self.subscribed = threading.Event()
        self.client.on_message = lambda client, data, message: self.got.append(message)
        self.client.on_connect = lambda client, data, flags, reason, properties: self.connects.append((flags, reason))
        self.client.on_subscribe = lambda *arguments: self.subscribed.set()
        self.client.on_publish = lambda client, data, mid, reason, properties: self.codes.append(reason)
        options = {}
        if version == 5:
            options["clean_start"] = clean
            if not clean:
                options["properties"] = Properties(PacketTypes.CONNECT)
                options["properties"].SessionExpiryInterval = 3600
        self.client.connect("localhost", port, keepalive=10, **options)
        self.client.loop_start()
        wait_until(lambda: self.connects, f"{name} is connected")
        assert not self.connects[0][1].is_failure, self.connects

    def subscribe(self, name, qos):
        self.subscribed.clear()
        self.client.subscribe(name, qos)
        assert self.subscribed.wait(DEADLINE)

    def publish(self, topic, payload, qos, **options):
        self.client.publish(topic, payload, qos, **options).wait_for_publish(DEADLINE)

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def open_paho():
    opened = []

    def opening(*arguments, **options):
        opened.append(Paho(*arguments, **options))
        return opened[-1]

    yield opening
    for client in opened:
        client.close()


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_thousand_messages_arrive_in_order(shared, open_paho, unique, version, qos):
    sub = open_paho(shared.mqtt, unique + "s", version)
    pub = open_paho(shared.mqtt, unique + "p", version)
    sub.subscribe(unique, qos)
    last = [pub.client.publish(unique, str(number), qos) for number in range(1000)][-1]
    last.wait_for_publish(DEADLINE)
    wait_until(lambda: len(sub.got) >= 1000, "a thousand messages")
    assert [int(message.payload) for message in sub.got] == list(range(1000))
    assert {message.qos for message in sub.got} == {qos}


def test_properties_and_reason_codes_arrive(shared, open_paho, unique):
    sub, pub = open_paho(shared.mqtt, unique + "s", 5), open_paho(shared.mqtt, unique + "p", 5)
    sub.subscribe(unique, 1)
    properties = Properties(PacketTypes.PUBLISH)
    properties.UserProperty = [("a", "1"), ("a", "2")]
    properties.ContentType = "text/plain"
    properties.CorrelationData = b"\x00\xff"
    pub.publish(unique, "x", 1, properties=properties)
    wait_until(lambda: sub.got, "the message")
    got = sub.got[0].properties
    assert (got.UserProperty, got.ContentType, got.CorrelationData) == ([("a", "1"), ("a", "2")], "text/plain", b"\x00\xff")
    assert not pub.codes[0].is_failure


def test_retained_messages_and_wills_reach_applications(shared, open_paho, unique, version):
    pub = open_paho(shared.mqtt, unique + "p", version)
    pub.publish(f"{unique}/state", "on", 1, retain=True)
    sub = open_paho(shared.mqtt, unique + "s", version)
    sub.subscribe(f"{unique}/#", 1)
    wait_until(lambda: sub.got, "the retained message")
    assert sub.got[0].retain and sub.got[0].payload == b"on"


@pytest.mark.rialto
def test_tls(shared, open_paho, unique, version):
    context = ssl.create_default_context(cafile=shared.certs / "ca.crt")
    sub = open_paho(shared.ports["mqtts"], unique + "s", version, tls=context)
    pub = open_paho(shared.ports["mqtts"], unique + "p", version, tls=context)
    sub.subscribe(unique, 2)
    pub.publish(unique, b"x" * 100_000, 2)
    wait_until(lambda: sub.got, "the message")
    assert sub.got[0].payload == b"x" * 100_000


@pytest.mark.rialto
@pytest.mark.parametrize("hard", [False, True], ids=["SIGTERM", "kill -9"])
def test_an_application_survives_a_restart_of_the_broker(make_broker, open_paho, version, hard):
    """paho reconnects by itself and sends its window again; QoS 2 arrives once, in order."""
    from harness import free_port
    port = free_port()
    broker = make_broker(args=["--mqtt", f"127.0.0.1:{port}"]).start()
    sub = open_paho(port, "s", version, clean=False)
    pub = open_paho(port, "p", version, clean=False)
    sub.subscribe("t", 2)
    sent = [pub.client.publish("t", str(number), 2) for number in range(500)]
    wait_until(lambda: len(sub.got) > 50, "the first messages")
    broker.restart(hard)
    sent += [pub.client.publish("t", str(number), 2) for number in range(500, 600)]
    for message in sent:
        message.wait_for_publish(60)
    wait_until(lambda: len(sub.got) >= 600, "all messages", timeout=60)
    assert [int(message.payload) for message in sub.got] == list(range(600))
    assert len(sub.connects) >= 2
