"""Clients that come back before their old connection is gone, again and again, under load.

Devices on bad links do this all day: the broker still holds the old socket, with half a window in its buffers,
when the new CONNECT arrives. Nothing acknowledged may get lost, QoS 2 arrives once, order holds.
"""

import os
import random
import threading
import time

import pytest

from crash.accounting import Books, Place, Source
from crash.history import History
from crash.mqtt import Publisher, Receiver
from rawmqtt import Closed, Timeout

pytestmark = pytest.mark.timeout(180)
TAKEOVERS = 60


def publish_through_takeovers(publisher, port, rng, left):
    publisher.rng = rng
    for _ in range(TAKEOVERS):
        publisher.connect(port)
        for _ in range(rng.choice([0, 1, rng.randrange(120)])):
            publisher.fill()
            try:
                publisher.handle(publisher.take(0.2))
            except Timeout:
                publisher.release()
        # What is sent last is still unread when the next connection takes over.
        publisher.fill()
        # The old socket stays open, unread, until the test ends.
        left.append(publisher.hang_up())


def receive_through_takeovers(receiver, port, rng, left, stop):
    receiver.rng = rng
    while not stop.is_set():
        receiver.connect(port)
        for _ in range(rng.randrange(1, 400)):
            try:
                receiver.handle(receiver.take(0.2))
            except Timeout:
                break
        left.append(receiver.hang_up())


def make_books(publishers, receivers):
    """Every message of every publisher comes to both sessions, in order, those of QoS 2 once."""
    sources = [Source(name, exact=qos == 2) for name, qos, *_ in publishers]
    return Books(sources, [Place(name, {source.name: 1 for source in sources}, repeats="flagged") for name in receivers])


def test_takeovers_under_load_lose_and_repeat_nothing(broker, connect):
    """MQTT-3.1.4-3, MQTT-4.3.3, MQTT-4.4.0-1, MQTT-4.6.0-6"""
    seed = int(os.environ.get("RIALTO_SEED", time.time_ns() % 1_000_000))
    print(f"seed {seed}")
    devices = [("one-a", 1, 4, 20), ("one-b", 1, 5, 60), ("two-a", 2, 4, 20), ("two-b", 2, 5, 60)]
    books = make_books(devices, ("in-a", "in-b"))
    history = History(books)
    publishers = [Publisher(history, *device) for device in devices]
    receivers = [Receiver(history, "in-a", 4), Receiver(history, "in-b", 5)]
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
        receiver.drain(broker.mqtt, lambda receiver=receiver: 1 in receiver.marks)
        books.settle(receiver.name)
    history.verdict()
    for client in left:
        client.cut()
