"""Clients of MQTT 3.1 (MQIsdp, level 3), which devices of before 2014 still speak: real libraries that still can."""

import pytest

from clients import run
from mqttpeers import open_peer

pytestmark = [pytest.mark.timeout(120)]
NAMES = ["mosquitto", "paho", "aiomqtt"]


@pytest.fixture(params=[*NAMES, "mqttjs"])
def old(request, peer):
    def opening(broker, client_id, **options):
        return peer((request.param, 3), broker, client_id, **options)
    return opening


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_messages_go_both_ways(shared, connect, old, unique, qos):
    raw = connect(shared, unique + "raw")
    raw.subscribe((f"{unique}/up", 2))
    one = old(shared, unique)
    one.subscribe(f"{unique}/down", qos)
    one.publish(f"{unique}/up", "up", qos)
    got = raw.message()
    assert (got.payload, got.qos) == (b"up", qos)
    raw.publish(f"{unique}/down", "down", qos=2)
    got = one.messages(1)[0]
    assert (got.payload, got.qos) == (b"down", qos)


def test_retained_will_and_session(shared, connect, old, unique):
    watcher = connect(shared, unique + "w")
    watcher.subscribe((f"{unique}/will", 1))
    one = old(shared, unique, clean=False, will={"topic": f"{unique}/will", "payload": "gone", "qos": 1})
    one.subscribe(f"{unique}/in", 1)
    one.publish(f"{unique}/state", "on", 1, retain=True)
    one.cut()
    assert watcher.message().payload == b"gone"
    watcher.publish(f"{unique}/in", "waited", qos=1)
    back = old(shared, unique, clean=False)
    if type(back).__name__ == "Mosquitto":
        back.subscribe(f"{unique}/in", 1)
    assert back.payloads(1) == ["waited"]
    late = connect(shared, unique + "late")
    late.subscribe(f"{unique}/state")
    assert late.message().retain


def test_mosquitto_pub_and_sub_of_31_talk_to_5(shared, unique):
    sub = open_peer("mosquitto", shared, unique + "s", 5)
    try:
        sub.subscribe(unique, 1)
        run(["mosquitto_pub", "-h", "localhost", "-p", str(shared.mqtt), "-V", "mqttv31", "-t", unique, "-m", "x", "-q",
             "1", "-i", unique[:20]])
        assert sub.payloads(1) == ["x"]
    finally:
        sub.cut()
