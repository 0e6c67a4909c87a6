"""Ten thousand logins over real sockets, and a publisher's latency while somebody tries passwords.

Figures are printed (`pytest -s`) and bounded far from what they are on an idle machine: this is about starving, not about
speed.
"""

import asyncio
import os
import statistics
import threading
import time
from pathlib import Path

import pika
import pytest

from harness import Broker, wait_until
from rawmqtt import Client, connect_bytes
from test_auth import passwd

pytestmark = pytest.mark.rialto

USERS = 20
LOGINS = 10_000
AT_ONCE = 200
CONFIG = """
[auth]
anonymous = "never"
password_file = "{passwords}"
failures_per_minute_max = {failures}
checks_waiting_max = {waiting}
"""


def start(folder, failures=0, waiting=256, users=USERS):
    folder.mkdir()
    passwords = folder / "passwords"
    for user in range(users):
        passwd(passwords, f"user{user}", f"password{user}")
    config = CONFIG.format(passwords=passwords, failures=failures, waiting=waiting)
    return Broker(folder, config=config).start()


@pytest.fixture
def crowded(tmp_path):
    made = []

    def make(**options):
        made.append(start(tmp_path / f"crowd{len(made)}", **options))
        return made[-1]

    yield make
    for broker in made:
        broker.close()


def cpu_s(broker):
    """Seconds of processor time that the broker has used."""
    fields = Path(f"/proc/{broker.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def log_in(port, connect, connack=4):
    """The return code of one login; the connection is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(connect)
        got = await asyncio.wait_for(reader.readexactly(connack), 30)
        return got[3]
    finally:
        writer.close()


async def crowd(port, connects, at_once):
    gate = asyncio.Semaphore(at_once)

    async def one(connect):
        async with gate:
            return await log_in(port, connect)

    return await asyncio.gather(*(one(connect) for connect in connects))


def test_ten_thousand_reconnects_cost_a_hash_a_user(crowded):
    broker = crowded()
    before, began = cpu_s(broker), time.monotonic()
    connects = [connect_bytes(f"c{login}", username=f"user{login % USERS}", password=f"password{login % USERS}")
                for login in range(LOGINS)]
    codes = asyncio.run(crowd(broker.mqtt, connects, AT_ONCE))
    took, cpu = time.monotonic() - began, cpu_s(broker) - before
    hashes = broker.metric("rialto_password_hashes_total")
    remembered = broker.metric("rialto_logins_remembered_total")
    print(f"\n{LOGINS} logins of {USERS} users: {took:.1f} s, {cpu:.2f} s of the broker's CPU, {hashes:.0f} hashes, "
          f"{remembered:.0f} remembered")
    assert set(codes) == {0}
    assert hashes == USERS and remembered >= LOGINS - USERS * AT_ONCE
    # A hash for each would take minutes.
    assert cpu < 30


def test_more_than_may_wait_are_told_to_come_back(crowded):
    """Return code 3; 0x89 in MQTT 5. Those that waited are judged."""
    broker = crowded(waiting=5, users=1)
    connects = [connect_bytes(f"c{number}", username="user0", password=f"wrong{number}") for number in range(100)]
    codes = asyncio.run(crowd(broker.mqtt, connects, 100))
    assert set(codes) == {3, 4}, set(codes)
    wait_until(lambda: broker.metric("rialto_logins_postponed_total", reason="busy") == codes.count(3),
               "logins_postponed_total is counted")
    wait_until(lambda: broker.metric("rialto_auth_failures_total") == 100, "auth_failures_total is counted")
    assert Client(broker.mqtt, "a", username="user0", password="password0").connect().reason == 0


def test_amqp_and_mqtt_remember_for_each_other(crowded):
    broker = crowded(users=1)

    def log_in_by_amqp(password):
        credentials = pika.PlainCredentials("user0", password)
        parameters = pika.ConnectionParameters("127.0.0.1", broker.amqp, credentials=credentials)
        pika.BlockingConnection(parameters).close()

    log_in_by_amqp("password0")
    log_in_by_amqp("password0")
    assert Client(broker.mqtt, "a", username="user0", password="password0").connect().reason == 0
    counts = [broker.metric(f"rialto_{name}_total") for name in ("password_hashes", "logins_remembered")]
    assert counts == [1, 2]
    with pytest.raises(pika.exceptions.ProbableAuthenticationError):
        log_in_by_amqp("password1")


def test_amqp_is_told_to_come_back_too(crowded):
    """320 and not 403: clients take 403 for good."""
    broker = crowded(users=1, failures=1)
    for error, said in ((pika.exceptions.ProbableAuthenticationError, "403"), (pika.exceptions.AMQPError, "320")):
        with pytest.raises(error) as caught:
            credentials = pika.PlainCredentials("user0", "wrong")
            pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", broker.amqp, credentials=credentials))
        assert said in repr(caught.value), repr(caught.value)
    wait_until(lambda: broker.metric("rialto_logins_postponed_total", reason="failures") == 1,
               "logins_postponed_total is counted")


def round_trips(client, seconds, until=lambda: False):
    """Milliseconds from QoS 0 PUBLISH to its arrival at the same client."""
    found, deadline = [], time.monotonic() + seconds
    while time.monotonic() < deadline and not until():
        began = time.perf_counter()
        client.publish("side/t", "x")
        client.message()
        found.append((time.perf_counter() - began) * 1000)
        time.sleep(0.002)
    return found


def quantile(figures, share):
    return sorted(figures)[min(len(figures) - 1, int(len(figures) * share))]


def test_wrong_passwords_do_not_hold_up_publishers(crowded):
    """Names differ, so that no limit of failures ends the guessing: only the threads' number and priority protect."""
    broker = crowded()
    with Client(broker.mqtt, "side", username="user0", password="password0") as side:
        side.connect()
        side.subscribe("side/t")
        calm = round_trips(side, 1.5)

        async def guess(until):
            number = 0
            while time.monotonic() < until:
                connects = [connect_bytes(f"g{number + index}", username=f"guess{number + index}", password="wrong")
                            for index in range(50)]
                number += 50
                await crowd(broker.mqtt, connects, 50)

        def guesser():
            asyncio.run(guess(time.monotonic() + 4))

        hashed = broker.metric("rialto_password_hashes_total")
        thread = threading.Thread(target=guesser)
        thread.start()
        wait_until(lambda: broker.metric("rialto_password_hashes_total") > hashed, "the guessing has begun")
        attacked = round_trips(side, 3)
        thread.join()
    rate = (broker.metric("rialto_password_hashes_total") - hashed) / 4
    told = [f"{name} p50 {statistics.median(figures):.2f} ms p99 {quantile(figures, .99):.2f} ms"
            for name, figures in (("calm", calm), ("attacked", attacked))]
    print(f"\nround trip: {', '.join(told)}; {rate:.0f} wrong passwords a second")
    assert rate > 0, "nothing was tried"
    assert statistics.median(attacked) < 50 and quantile(attacked, .99) < 500
