"""Peers that do not read, or say nothing: they cost others about a second at most, and the broker no memory."""

import socket
import threading
import time

from harness import wait_until
from rawmqtt import Client, publish_bytes

PAYLOAD = b"x" * 10_000
MESSAGES = 3000


def test_a_subscriber_that_stops_reading_slows_nobody_for_long(broker, connect):
    """Its publisher waits about a second once, another subscriber gets everything, and every drop is counted."""
    stuck = connect(broker, "stuck")
    stuck.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
    stuck.subscribe(("slow/#", 0))
    live = connect(broker, "live", timeout=30.0)
    live.subscribe(("slow/#", 0))
    publisher = connect(broker, "publisher", timeout=30.0)

    def publish():
        for number in range(MESSAGES):
            publisher.send(publish_bytes("slow/a", number.to_bytes(4, "big") + PAYLOAD))

    begun = time.monotonic()
    sender = threading.Thread(target=publish)
    sender.start()
    longest, last = 0.0, begun
    for number in range(MESSAGES):
        got = live.message(timeout=10.0)
        assert int.from_bytes(got.payload[:4], "big") == number
        now = time.monotonic()
        longest, last = max(longest, now - last), now
    sender.join()
    assert longest < 5, f"a pause of {longest:.2f} s"
    wait_until(
        lambda: broker.metric("rialto_messages_dropped_total", reason="outbound_full") > 0, "drops counted")
    publisher.ping()


def test_who_never_reads_its_answers_is_not_read(broker, connect):
    """PINGREQ for ever, nothing read: the socket fills up, the broker's memory does not."""
    rude = connect(broker, "rude", keepalive=0)
    rude.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
    rude.socket.settimeout(1.0)
    before, sent = broker.memory_kb(), 0
    pings = b"\xc0\x00" * 100_000
    try:
        while sent < 200 << 20:
            sent += rude.socket.send(pings)
    except TimeoutError:
        pass
    assert sent < 200 << 20, "everything is taken"
    assert broker.memory_kb() - before < 20_000
    connect(broker, "other").ping()


def test_connections_that_say_nothing_do_not_delay_a_stop(broker, connect):
    silent = [socket.create_connection(("127.0.0.1", broker.mqtt)) for _ in range(3)]
    with Client(broker.mqtt, "served") as served:
        served.connect()
        begun = time.monotonic()
        reader = threading.Thread(target=served.expect_closed)
        reader.start()
        broker.stop()
        reader.join()
    took = time.monotonic() - begun
    for one in silent:
        one.close()
    assert took < 8.0, f"{took:.1f} s"
