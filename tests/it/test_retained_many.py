"""A hundred thousand retained topics, a million with --long: looked up, replayed, restarted over.

Bounds are generous, for the machine does other work; what they would notice is a lookup that reads every topic, a
replay that holds up its neighbours, memory that grows with what a subscriber does not read.
"""

import signal
import socket
import statistics
import threading
import time

import pytest

from rawmqtt import PUBLISH, Client, publish_bytes

pytestmark = pytest.mark.rialto

# What the broker takes without any, buffers of a load included.
SPARE_KB = 24_000
TOPIC_BYTES = 400


@pytest.fixture(scope="module")
def count(request):
    return 1_000_000 if request.config.getoption("--long") else 100_000


@pytest.fixture(scope="module")
def filled(tmp_path_factory, count):
    """A broker that was started over `dev/N/temp`, so that only what must be in memory is."""
    from harness import Broker
    broker = Broker(tmp_path_factory.mktemp("many")).start()
    pub = Client(broker.mqtt, "author", timeout=120)
    pub.connect()
    for first in range(0, count, 5000):
        pub.send(b"".join(publish_bytes(f"dev/{n}/temp", b"%032d" % n, retain=True)
                          for n in range(first, min(first + 5000, count))))
    pub.ping()
    pub.disconnect()
    # Writes all of them down, which takes its time where the disk has other work.
    broker.process.send_signal(signal.SIGTERM)
    code, said = broker.wait_exit(180)
    assert code == 0, said
    broker.start(timeout=60)
    yield broker
    broker.close()


class Neighbour:
    """Two other clients, and how long a message takes from one to the other, ms."""

    def __init__(self, broker):
        self.sub, self.pub = (Client(broker.mqtt, f"neighbour{n}") for n in range(2))
        self.sub.connect(), self.pub.connect()
        self.sub.subscribe("aside")
        self.times, self.over = [], threading.Event()

    def __enter__(self):
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        return self

    def run(self):
        while not self.over.wait(0.002):
            began = time.monotonic()
            self.pub.publish("aside", b"x")
            self.sub.message()
            self.times.append((time.monotonic() - began) * 1000)

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
        self.sub.cut(), self.pub.cut()

    def p95(self):
        return statistics.quantiles(self.times, n=100)[94] if len(self.times) > 1 else 0.0


def count_to(client, count, timeout=60):
    """Reads PUBLISH packets without looking into them, until there were `count`."""
    got, buffer = 0, client.buffer
    client.socket.settimeout(timeout)
    while got < count:
        at = 0
        while len(buffer) >= at + 2 and len(buffer) >= at + 2 + buffer[at + 1]:
            assert buffer[at + 1] < 128, "these packets are short"
            got += buffer[at] >> 4 == PUBLISH
            at += 2 + buffer[at + 1]
        del buffer[:at]
        if got < count:
            buffer += client.socket.recv(1 << 20)
    assert got == count


def test_memory_and_time_of_a_restart(filled, count):
    assert filled.memory_kb() < SPARE_KB + count * TOPIC_BYTES / 1024
    assert filled.metric("rialto_retained_messages") == count
    assert filled.ready_ms < 2000 + count / 20


@pytest.mark.parametrize("filter_,count_", [
    ("dev/777/temp", 1), ("dev/777/+", 1), ("dev/777/#", 1), ("+/777/+", 1), ("+/777/temp", 1), ("dev/+/temp/#", None),
    ("dev/777", 0), ("nothing/#", 0), ("dev/+/none", 0), ("+/+/none", 0), ("+/+/temp/+", 0), ("+", 0),
])
def test_a_lookup_is_fast_and_holds_nobody_up(filled, count, filter_, count_):
    with Neighbour(filled) as neighbour:
        client = Client(filled.mqtt, "seeker", timeout=30)
        client.connect()
        began = time.monotonic()
        client.subscribe(filter_)
        if count_ is None:
            count_to(client, count)
        else:
            got = client.messages(count_)
            assert all(message.retain for message in got)
        if count_ == 1:
            assert time.monotonic() - began < 2
        client.cut()
    assert neighbour.p95() < 250


def test_a_replay_of_everything_holds_nobody_up(filled, count):
    with Neighbour(filled) as neighbour:
        client = Client(filled.mqtt, "all", timeout=120)
        client.connect()
        client.subscribe("dev/#")
        count_to(client, count)
        client.cut()
    assert len(neighbour.times) > 3 and neighbour.p95() < 250


@pytest.mark.parametrize("qos", [0, 1])
def test_who_does_not_read_costs_a_window_and_no_more(filled, count, qos):
    before = filled.memory_kb()
    readers = []
    for n in range(20):
        client = Client(filled.mqtt, f"slow{n}", timeout=60)
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect()
        client.subscribe(("dev/#", qos), wait=False)
        readers.append(client)
    with Neighbour(filled) as neighbour:
        time.sleep(2)
    # Each has at most its outbound buffer of 1 MiB, or its window of 1,024.
    assert filled.memory_kb() - before < 20 * 1400 + 16_000
    assert neighbour.p95() < 250
    for client in readers:
        client.cut()
