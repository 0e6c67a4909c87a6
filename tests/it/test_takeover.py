"""Clients that come back before their old connection is gone, again and again, under load.

Devices on bad links do this all day: the broker still holds the old socket, with half a window in its buffers,
when the new CONNECT arrives. Nothing acknowledged may get lost, QoS 2 arrives once, order holds.
"""

import os
import random
import threading
import time

import pytest

from crash_smoke import WAIT, Publisher, Receiver, check
from rawmqtt import Closed, Timeout

pytestmark = pytest.mark.timeout(180)
TAKEOVERS = 60


def give_way(party):
    """The next `connect` takes over: the old socket stays open, unread, until the test ends."""
    old, party.client = party.client, None
    return old


def publish_through_takeovers(publisher, port, rng, left):
    for _ in range(TAKEOVERS):
        publisher.connect(port)
        for _ in range(rng.choice([0, 1, rng.randrange(120)])):
            publisher.fill()
            publisher.handle(publisher.client.receive(WAIT))
        # What is sent last is still unread when the next connection takes over.
        publisher.fill()
        left.append(give_way(publisher))


def receive_through_takeovers(receiver, port, rng, left, stop):
    while not stop.is_set():
        receiver.connect(port)
        for _ in range(rng.randrange(1, 400)):
            try:
                receiver.handle(receiver.client.receive(0.2))
            except Timeout:
                break
        left.append(give_way(receiver))


def check_received(receiver, publishers):
    """Every acknowledged message, first appearances in order, QoS 2 once."""
    numbers = {publisher.name: [] for publisher in publishers}
    for text, _, _ in receiver.got:
        name, number, _ = text.split(":", 2)
        if name != "mark":
            numbers[name].append(int(number))
    for publisher in publishers:
        got = numbers[publisher.name]
        first = list(dict.fromkeys(got))
        place = f"{receiver.name} from {publisher.name}"
        check(sorted(first) == list(range(publisher.sent)), f"{place}: {publisher.sent - len(first)} are missing")
        disorder = next((pair for pair in zip(first, first[1:]) if pair[0] > pair[1]), None)
        check(disorder is None, f"{place}: out of order near {disorder}")
        if publisher.qos == 2:
            check(len(got) == len(first), f"{place}: {len(got) - len(first)} of QoS 2 came twice")


def test_takeovers_under_load_lose_and_repeat_nothing(broker, connect):
    """MQTT-3.1.4-3, MQTT-4.3.3, MQTT-4.4.0-1, MQTT-4.6.0-6"""
    seed = int(os.environ.get("RIALTO_SEED", time.time_ns() % 1_000_000))
    print(f"seed {seed}")
    publishers = [Publisher("one-a", 1, 4, 20, "data"), Publisher("one-b", 1, 5, 60, "data"),
                  Publisher("two-a", 2, 4, 20, "data"), Publisher("two-b", 2, 5, 60, "data")]
    receivers = [Receiver("in-a", 4), Receiver("in-b", 5)]
    for receiver in receivers:
        receiver.connect(broker.mqtt)
        receiver.subscribe()
        receiver.client.disconnect()
    left, errors, stop = [], [], threading.Event()

    def guarded(work, *arguments):
        try:
            work(*arguments)
        except (Exception, Closed) as error:  # noqa: BLE001 – carried to the main thread
            errors.append(error)

    def start(work, party, number, *more):
        arguments = (work, party, broker.mqtt, random.Random(seed + number), left, *more)
        thread = threading.Thread(target=guarded, args=arguments)
        thread.start()
        return thread

    publishing = [start(publish_through_takeovers, party, n) for n, party in enumerate(publishers)]
    receiving = [start(receive_through_takeovers, party, 10 + n, stop) for n, party in enumerate(receivers)]
    for thread in publishing:
        thread.join(90)
    stop.set()
    for thread in receiving:
        thread.join(90)
    assert not errors, errors
    for publisher in publishers:
        publisher.finish(broker.mqtt)
    connect(broker, "marker").publish("crash/mark/data", "mark:1:", qos=1)
    for receiver in receivers:
        receiver.drain(broker.mqtt, "mark:1:")
        check_received(receiver, publishers)
    for client in left:
        client.cut()
