"""A disk that is full, read-only or broken for a while (design §2, rules 1, 4, 5; issue 6).

The broker's own disk fails on demand (`RIALTO_TEST_DISK`). Whatever was acknowledged before, during and after is there
when the disk is well again, and after kill -9; readers go on; readiness, metrics and log say it and take it back.
"""

import subprocess

import pytest

from clients import kcat_read
from harness import wait_until
from kafkaclients import create
from rawamqp import Connection
from rawamqp import Timeout as AmqpTimeout
from rawkafka import Peer, batch
from rawmqtt import PUBACK, PUBREC, SUBACK, Client, Timeout, publish_bytes
from test_route import TELEMETRY

pytestmark = pytest.mark.rialto

SOON = "[checkpoint]\ninterval_s = 1\n"
DURABLE = {"session_expiry": 0xFFFFFFFF}
FAILURES = [f"{operation} {folder} {code}" for folder in ("journal", "bodies", "logs", ".")
            for operation, code in (("write", "ENOSPC"), ("write", "EIO"), ("sync", "EIO"), ("*", "EROFS"))]


class Disk:
    """The file of faults; every change is seen, however soon it comes."""

    def __init__(self, path):
        self.path, self.turn = path, 0
        self.say("# well")

    def say(self, *lines):
        self.turn += 1
        new = self.path.with_suffix(".new")
        new.write_text("\n".join(lines) + "\n")
        new.rename(self.path)

    def heal(self):
        self.say(f"# well {self.turn}")


@pytest.fixture
def disk(tmp_path):
    return Disk(tmp_path / "faults")


@pytest.fixture
def broker(make_broker, disk):
    return make_broker(config=SOON, env={"RIALTO_TEST_DISK": str(disk.path)}).start()


class Ways:
    """Three ways of storing something, one a protocol, and what each was told is safe."""

    def __init__(self, broker):
        self.broker, self.number, self.taken = broker, 0, []
        self.safe = {"mqtt": [], "amqp": [], "kafka": []}
        keeper = Client(broker.mqtt, "keeper", version=5, clean=False, properties=DURABLE)
        keeper.connect()
        keeper.subscribe(("t/#", 1))
        keeper.disconnect()
        self.mqtt = Client(broker.mqtt, "publisher", version=5)
        self.mqtt.connect()
        self.amqp = Connection(broker.amqp).open(capabilities={"connection.blocked": True}).channel().select()
        self.amqp.call("queue.declare", queue="q", durable=True)
        self.kafka = Peer(broker.kafka)
        create(broker, "log")

    def store(self):
        """One message each way; what was refused, as each protocol says it."""
        self.number += 1
        name, refused = str(self.number), {}
        reason = self.mqtt.publish(f"t/{name}", name, qos=1).reason
        if reason == 0:
            self.safe["mqtt"].append(name)
        else:
            refused["mqtt"] = reason
        self.amqp.publish("", "q", name, {"delivery_mode": 2})
        if self.amqp.confirms():
            refused["amqp"] = "nack"
        else:
            self.safe["amqp"].append(name)
        said = self.kafka.call("Produce", 9, acks=-1, timeoutMs=5000, topicData=[
            {"name": "log", "partitionData": [{"index": 0, "records": batch([name.encode()])}]}])
        code = said["responses"][0]["partitionResponses"][0]["errorCode"]
        if code == 0:
            self.safe["kafka"].append(name)
        else:
            refused["kafka"] = code
        return refused

    def stored(self):
        """The same, of what nothing may refuse."""
        assert self.store() == {}
        return True

    def check(self):
        """Each message that was said to be safe is there, in its order and once; others may be there too."""
        found = {"mqtt": self._session(), "amqp": self._queue(),
                 "kafka": [row["value"] for row in kcat_read(self.broker.kafka, "log")]}
        for way, safe in self.safe.items():
            names = [name for name in found[way] if name in set(safe)]
            assert names == safe, f"{way}: {found[way]}"

    def _session(self):
        """What the session has got so far, at least all that is safe if it comes: it acknowledges, and what is
        acknowledged at the last moment may come again."""
        keeper = Client(self.broker.mqtt, "keeper", version=5, clean=False, properties=DURABLE)
        keeper.connect()
        try:
            while not set(self.safe["mqtt"]) <= set(self.taken):
                name = keeper.message().payload.decode()
                if name not in self.taken:
                    self.taken.append(name)
        except Timeout:
            pass
        keeper.disconnect()
        return self.taken

    def _queue(self):
        channel = Connection(self.broker.amqp).open().channel()
        names = []
        while (got := channel.get("q")).name == "basic.get-ok":
            names.append(bytes(got.body).decode())
        # Not acknowledged: it all goes back.
        channel.connection.close()
        return names


def reasons(broker):
    status, said = broker.http("/readyz")
    return said if status == 503 else ""


@pytest.mark.parametrize("failure", FAILURES)
def test_what_was_acknowledged_outlives_a_disk_that_fails_for_a_while(broker, disk, failure):
    ways = Ways(broker)
    for _ in range(10):
        assert ways.store() == {}
    disk.say(failure)
    if " journal " in failure:
        condition, metric, log = "journal", "rialto_journal_failing", "the journal cannot write"
        # The first ones are in doubt and wait for their record: so a client of its own, which is given up.
        doubtful = Client(broker.mqtt, "doubtful", version=5)
        doubtful.connect()
        doubtful.publish("t/doubtful", "doubtful", qos=1, wait=False)
        wait_until(lambda: broker.metric(metric) == 1, "the metric says it")
        for _ in range(3):
            assert ways.store() == {"mqtt": 0x97, "amqp": "nack", "kafka": 56}
        assert ways.safe["kafka"] == [row["value"] for row in kcat_read(broker.kafka, "log")], "readers go on"
    else:
        condition, metric, log = "checkpoint", "rialto_checkpoint_failing", "a checkpoint failed"
        wait_until(lambda: ways.stored() and broker.metric(metric) == 1, "the metric says it", pause=0.05)
        for _ in range(10):
            assert ways.store() == {}
    wait_until(lambda: condition in reasons(broker), "readiness says it")
    broker.wait_log(log)
    disk.heal()
    wait_until(lambda: not reasons(broker), "readiness takes it back")
    wait_until(lambda: broker.metric(metric) == 0, "the metric takes it back")
    wait_until(lambda: ways.store() == {}, "publishers are taken again")
    for _ in range(10):
        assert ways.store() == {}
    ways.check()
    broker.restart(hard=True)
    ways.check()


def test_a_failing_disk_does_not_keep_the_broker_from_ending(broker, disk):
    ways = Ways(broker)
    ways.store()
    disk.say("* bodies EIO", "* logs EIO", "* . EIO")
    wait_until(lambda: ways.stored() and broker.metric("rialto_checkpoint_failing") == 1, "a checkpoint fails", pause=0.05)
    broker.stop()
    disk.heal()
    broker.start()
    ways.check()


def test_a_v3_publisher_is_held_until_the_disk_is_well(broker, disk, connect):
    keeper = connect(broker, "keeper", version=4, clean=False)
    keeper.subscribe(("t/#", 2))
    publishers = [connect(broker, f"p{qos}", version=4) for qos in (1, 2)]
    disk.say("* journal ENOSPC")
    doubtful = connect(broker, "doubtful", version=4)
    doubtful.publish("t", "doubtful", qos=1, wait=False)
    wait_until(lambda: broker.metric("rialto_journal_failing") == 1, "the journal fails")
    opened = broker.metric("rialto_connections_opened_total", protocol="mqtt")
    for qos, publisher in enumerate(publishers, 1):
        publisher.send(publish_bytes("t", f"held {qos}", qos=qos, mid=7))
    for publisher in publishers:
        with pytest.raises(Timeout):
            publisher.receive(timeout=1.5)
    # Without a promise it goes on, and so does whoever only listens.
    listener, talker = connect(broker, "listener", version=4), connect(broker, "talker", version=4)
    listener.subscribe(("news", 0))
    talker.publish("news", "now")
    assert listener.message().payload == b"now"
    disk.heal()
    assert publishers[0].expect(PUBACK, timeout=10).mid == 7
    assert publishers[1].expect(PUBREC, timeout=10).mid == 7
    got = {message.payload for message in keeper.messages(3)}
    assert got == {b"doubtful", b"held 1", b"held 2"}
    assert broker.metric("rialto_connections_opened_total", protocol="mqtt") == opened + 2, "nobody came back"


def test_sessions_and_subscriptions_are_refused_in_words(broker, disk, connect, version):
    properties = DURABLE if version == 5 else None
    kept = connect(broker, "kept", version=version, clean=False, properties=properties)
    kept.subscribe(("before", 1))
    disk.say("* journal EIO")
    doubtful = connect(broker, "doubtful", version=5)
    doubtful.publish("elsewhere", "x", qos=1, retain=True, wait=False)
    wait_until(lambda: broker.metric("rialto_journal_failing") == 1, "the journal fails")
    kept.subscribe(("after", 1), wait=False)
    answer = kept.expect(SUBACK)
    assert list(answer.reasons) == [0x97 if version == 5 else 0x80]
    new = Client(broker.mqtt, "new", version=version, clean=False, properties=properties)
    assert new.connect(expect=None).reason == (0x88 if version == 5 else 3)
    disk.heal()
    wait_until(lambda: not reasons(broker), "the disk is well")
    kept.subscribe(("after", 1))


def test_publishers_are_refused_before_the_disk_is_full(broker, disk):
    """As RabbitMQ does below `disk_free_limit`; consumers go on."""
    ways = Ways(broker)
    for _ in range(3):
        assert ways.store() == {}
    plain = Connection(broker.amqp).open(capabilities={"connection.blocked": True}).channel()
    plain.publish("", "q", "plain", {"delivery_mode": 2})
    disk.say("free * 1000000")
    wait_until(lambda: broker.metric("rialto_disk_short") == 1, "the metric says it")
    assert broker.metric("rialto_disk_free_bytes") == 1_000_000
    assert "store.free_bytes_min" in reasons(broker)
    broker.wait_log("the disk is nearly full")
    assert ways.store() == {"mqtt": 0x97, "amqp": "nack", "kafka": 56}
    blocked = ways.amqp.connection.receive(0)
    assert blocked.name == "connection.blocked" and "free" in blocked.reason
    # Without confirms nobody could be told: such a publisher is not read.
    plain.publish("", "q", "later", {"delivery_mode": 2})
    assert plain.connection.receive(0).name == "connection.blocked"
    taker = Connection(broker.amqp).open().channel()
    assert bytes(taker.get("q", no_ack=True).body) == b"1"
    ways.safe["amqp"].remove("1")
    assert len(kcat_read(broker.kafka, "log")) == 3
    disk.say("free * 270000000")
    with pytest.raises(AmqpTimeout):
        ways.amqp.connection.receive(0, timeout=2.5)
    disk.heal()
    assert ways.amqp.connection.receive(0).name == "connection.unblocked"
    assert plain.connection.receive(0).name == "connection.unblocked"
    wait_until(lambda: ways.store() == {}, "publishers are taken again")
    assert not reasons(broker)
    ways.check()
    assert broker.metric("rialto_messages_dropped_total", reason="journal") >= 2


def test_a_route_into_a_log_on_a_bad_disk_loses_nothing(make_broker, disk, connect):
    broker = make_broker(config=SOON, routes={"telemetry.toml": TELEMETRY},
                         env={"RIALTO_TEST_DISK": str(disk.path)}).start()
    publisher = connect(broker, "p", version=5)
    disk.say("* logs EIO")
    sent = []
    for number in range(20):
        if publisher.publish("factory/a/telemetry/x", str(number), qos=1).reason in (0, 0x10):
            sent.append(number)
    assert sent == list(range(20))
    wait_until(lambda: broker.metric("rialto_checkpoint_failing") == 1, "a checkpoint fails")
    disk.heal()
    wait_until(lambda: not reasons(broker), "the disk is well")
    broker.restart(hard=True)
    assert [row["value"] for row in kcat_read(broker.kafka, "telemetry")] == [str(number) for number in sent]


def test_a_directory_that_cannot_be_written_is_an_error_of_its_own(make_broker, tmp_path):
    """A read-only mount, if there may be one here."""
    broker = make_broker().start()
    broker.stop()
    mounted = subprocess.run(["mount", "--bind", "-o", "ro", str(broker.data), str(broker.data)],
                             capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip("nothing can be mounted here")
    try:
        broker.launch()
        code, said = broker.wait_exit()
        assert code not in (0, 101), said
        assert "Read-only file system" in said
    finally:
        subprocess.run(["umount", str(broker.data)], check=True)
    broker.start()


def test_a_disk_that_is_really_full(make_broker, tmp_path):
    """A file system of 24 MiB in memory, if there may be one here."""
    broker = make_broker(config=SOON + '[journal]\nsegment_bytes = "1MiB"\n[store]\nfree_bytes_min = "2MiB"\n')
    broker.data.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", str(broker.data)],
                             capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip("nothing can be mounted here")
    try:
        broker.start()
        ways = Ways(broker)
        filler = broker.data / "filler"
        with filler.open("wb") as file:
            try:
                while True:
                    file.write(bytes(64 * 1024))
                    file.flush()
            except OSError:
                pass
        wait_until(lambda: broker.metric("rialto_disk_short") == 1, "the disk is full")
        assert ways.store() == {"mqtt": 0x97, "amqp": "nack", "kafka": 56}
        filler.unlink()
        wait_until(lambda: ways.store() == {}, "publishers are taken again")
        broker.restart(hard=True)
        ways.check()
    finally:
        broker.close()
        subprocess.run(["umount", str(broker.data)], check=True)
