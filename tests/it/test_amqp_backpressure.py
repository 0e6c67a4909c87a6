"""A publisher while the disk does not sync: it is not read, it is told, and nobody else is disturbed (issue 4).

A shim before libc holds `fdatasync` for as long as a file exists, so nothing here depends on how long things take.
"""

import contextlib
import subprocess

import pytest

from harness import wait_until
from rawamqp import Connection, Timeout

pytestmark = pytest.mark.rialto

SHIM = r"""
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

int fdatasync(int file) {
    const char *held = getenv("HOLD_SYNC");
    while (held && access(held, F_OK) == 0) usleep(1000);
    return syscall(SYS_fdatasync, file);
}
"""
COUNT, BODY = 200, b"x" * 10_000


@pytest.fixture
def slow(make_broker, tmp_path):
    """A broker whose journal is soon full, and the file that holds its disk."""
    source, shim, held = tmp_path / "shim.c", tmp_path / "shim.so", tmp_path / "held"
    source.write_text(SHIM)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", shim, source], check=True)
    broker = make_broker(config='[journal]\nsubmit_bytes_max = "1MiB"\n',
                         env={"LD_PRELOAD": str(shim), "HOLD_SYNC": str(held)}).start()
    yield broker, held
    held.unlink(missing_ok=True)


def heartbeats(connection):
    """Heartbeats so far, when nothing else comes."""
    with contextlib.suppress(Timeout):
        connection.receive(0, timeout=0.1)
    return connection.heartbeats


@pytest.mark.parametrize("announced", [True, False])
def test_a_publisher_that_is_not_read_is_told(slow, announced):
    broker, held = slow
    can = {"connection.blocked": announced}
    publisher = Connection(broker.amqp).open(capabilities=can, heartbeat=1).channel().select()
    publisher.call("queue.declare", queue="q", durable=True)
    for number in range(3):
        publisher.confirmed("", "q", str(number), {"delivery_mode": 2})
    consumer = Connection(broker.amqp).open().channel()
    held.touch()
    for _ in range(COUNT):
        publisher.publish("", "q", BODY, {"delivery_mode": 2})
    if announced:
        assert publisher.connection.receive(0).name == "connection.blocked"
    else:
        with pytest.raises(Timeout):
            publisher.connection.receive(0, timeout=2)
    heard = publisher.connection.heartbeats
    wait_until(lambda: heartbeats(publisher.connection) > heard, "heartbeats still leave")
    # Who does not publish is served: a new connection, gets, acks.
    Connection(broker.amqp).open().close()
    for number in range(3):
        assert consumer.get("q").body.decode() == str(number)
        consumer.send("basic.ack", delivery_tag=number + 1)
    assert consumer.get("q").name == "basic.get-empty"
    assert len(publisher.done) == 3, "nothing is confirmed that is not on disk"
    held.unlink()
    if announced:
        assert publisher.connection.receive(0).name == "connection.unblocked"
    assert publisher.confirms() == set()
    assert publisher.call("queue.declare", queue="q", passive=True).message_count == COUNT
    for channel in (publisher, consumer):
        channel.connection.close()
