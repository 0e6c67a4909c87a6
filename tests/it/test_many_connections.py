"""Two thousand connections, ten thousand with --long, and what each of them costs in memory."""

import contextlib
import resource
import selectors
import socket
import ssl
import time

import pytest

from harness import DEADLINE, wait_until
from rawmqtt import CONNACK, PINGREQ, PINGRESP, Client, Closed, connect_bytes, decode, packet

pytestmark = pytest.mark.rialto

# Resident memory of the broker for each, bytes: measured, and a half more.
PLAIN_BYTES, DURABLE_BYTES, TLS_BYTES = 6_000, 7_000, 18_000


@contextlib.contextmanager
def files(soft):
    """This process, and those that it starts, may have so many files open."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, before[1]), before[1]))
    try:
        yield before[1]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def read_each(sockets, size, timeout=60):
    """Reads `size(have)` bytes, or until that is satisfied, from each."""
    got = {one: bytearray() for one in sockets}
    waiting = selectors.DefaultSelector()
    for one in sockets:
        waiting.register(one, selectors.EVENT_READ)
    deadline, left = time.monotonic() + timeout, len(got)
    while left:
        assert time.monotonic() < deadline, f"{left} connections without an answer"
        for key, _ in waiting.select(1):
            data = key.fileobj.recv(4096)
            assert data, "the broker closed a connection"
            got[key.fileobj] += data
            if len(got[key.fileobj]) >= size:
                waiting.unregister(key.fileobj)
                left -= 1
    waiting.close()
    return got


def hold(broker, count, version, **options):
    """Connects `count` clients without a thread each; returns their sockets."""
    sockets = []
    for first in range(0, count, 500):
        some = []
        for n in range(first, min(first + 500, count)):
            one = socket.create_connection(("127.0.0.1", broker.mqtt), DEADLINE)
            one.sendall(connect_bytes(f"device-{n:05}", version, keepalive=0, **options))
            some.append(one)
        for got in read_each(some, 4).values():
            assert got[0] == CONNACK << 4 and decode(CONNACK, 0, bytes(got[2:]), version).reason == 0
        sockets += some
    return sockets


def quiet_bytes_each(broker, before_kb, count, bound):
    """Bytes for each of `count`, once they are below the bound or for some seconds not: what a checkpoint or a burst
    took for a moment is given back."""
    until = time.monotonic() + 5
    while (each := (broker.memory_kb() - before_kb) * 1024 / count) >= bound and time.monotonic() < until:
        time.sleep(0.05)
    return each


def each_answers(sockets):
    for one in sockets:
        one.sendall(packet(PINGREQ, 0, b""))
    assert all(got == bytes([PINGRESP << 4, 0]) for got in read_each(sockets, 2).values())


@pytest.mark.parametrize("kind", ["clean v3", "clean v5", "durable v5"])
def test_idle_connections_are_held_and_cost_little(make_broker, kind, long):
    count = 10_000 if long else 2_000
    version = 4 if kind.endswith("3") else 5
    options = {"clean": False, "properties": {"session_expiry": 3600}} if kind.startswith("durable") else {}
    # The broker begins with few files and takes what it may have.
    with files(256) as hard:
        if hard < count + 500:
            pytest.skip("the system allows too few open files")
        broker = make_broker(config="[mqtt]\nsys_interval_s = 0\n").start()
    broker.wait_log(rf"open files are limited files={hard}", timeout=1)
    with files(hard):
        warm = hold(broker, 50, version)
        for one in warm:
            one.close()
        before = broker.memory_kb()
        sockets = hold(broker, count, version, **options)
        each_answers(sockets)
        wait_until(lambda: broker.metric("rialto_connections", protocol="mqtt") == count, "one connection each")
        each = quiet_bytes_each(broker, before, count, DURABLE_BYTES if kind.startswith("durable") else PLAIN_BYTES)
        print(f"{kind}: {each:.0f} bytes for each of {count}")
        assert each < (DURABLE_BYTES if kind.startswith("durable") else PLAIN_BYTES)
        for one in sockets:
            one.close()
    assert "cannot accept" not in "\n".join(broker.lines)


def test_tls_connections_cost_what_tls_costs(make_broker, long):
    count = 1_000 if long else 500
    broker = make_broker().start()
    context = ssl.create_default_context(cafile=broker.certs / "ca.crt")
    with files(10_000):
        warm = [Client(broker.ports["mqtts"], f"warm{n}", tls=context) for n in range(20)]
        for client in warm:
            client.connect()
        before, clients = broker.memory_kb(), []
        for n in range(count):
            clients.append(Client(broker.ports["mqtts"], f"tls{n}", tls=context))
            clients[-1].connect()
        for client in clients:
            client.ping()
        each = quiet_bytes_each(broker, before, count, TLS_BYTES)
        print(f"TLS: {each:.0f} bytes for each of {count}")
        assert each < TLS_BYTES
        for client in warm + clients:
            client.cut()


def test_connections_leave_files_to_the_store(make_broker, connect):
    """With fewer files than connections wanted, more connections are closed; what is durable goes on."""
    broker = make_broker()
    command = broker.command
    broker.command = lambda: ["prlimit", "--nofile=400:400", *command()]
    broker.start()
    broker.wait_log(r"open files are limited files=400 connections_max=272", timeout=1)
    held = hold(broker, 272, 4)
    with socket.create_connection(("127.0.0.1", broker.mqtt), DEADLINE) as one:
        with contextlib.suppress(ConnectionError):
            one.sendall(connect_bytes("one more"))
            assert one.recv(100) == b""
    held.pop().close()
    durable = None

    def again():
        nonlocal durable
        try:
            durable = connect(broker, "keeper", clean=False)
        except (ConnectionError, Closed):
            return False
        return True

    wait_until(again, "a place is free")
    durable.subscribe(("t", 1))
    durable.publish("t", b"x", 1)
    for one in held:
        one.close()
