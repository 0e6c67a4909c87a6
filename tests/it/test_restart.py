"""What an acknowledgement promised is there after SIGTERM and after kill -9; damaged journals (design §2)."""

import hashlib
import operator

import pytest

from clients import kcat_read, kcat_write
from harness import wait_until
from rawmqtt import PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, publish_bytes
from test_route import TELEMETRY

pytestmark = pytest.mark.rialto


@pytest.fixture(params=["clean", "kill -9"])
def hard(request):
    return request.param == "kill -9"


@pytest.fixture
def routed(make_broker):
    return make_broker(routes={"telemetry.toml": TELEMETRY}).start()


def resume(connect, broker, name, version=4):
    properties = {"session_expiry": 0xFFFFFFFF} if version == 5 else None
    return connect(broker, name, version=version, clean=False, properties=properties)


def test_queued_messages_are_there_in_order(broker, connect, version, hard):
    sub = resume(connect, broker, "s", version)
    sub.subscribe(("t/#", 2))
    sub.disconnect()
    pub = connect(broker, "p")
    for number in range(200):
        pub.publish(f"t/{number % 5}", f"{number}", qos=1 + number % 2)
    broker.restart(hard)
    back = resume(connect, broker, "s", version)
    assert back.connack.session_present
    got = back.messages(200)
    assert [int(message.payload) for message in got] == list(range(200))
    back.nothing_comes()


def test_a_session_stays_gone_after_clean_start(broker, connect, version, hard):
    sub = resume(connect, broker, "s", version)
    sub.subscribe(("t", 1))
    sub.disconnect()
    connect(broker, "s", version=version).disconnect()
    broker.restart(hard)
    assert not resume(connect, broker, "s", version).connack.session_present


def test_subscriptions_and_their_end_last(broker, connect, version, hard):
    sub = resume(connect, broker, "s", version)
    sub.subscribe(("a", 2), ("b", 1), ("c", 1))
    sub.unsubscribe("b")
    broker.restart(hard)
    back, pub = resume(connect, broker, "s", version), connect(broker, "p")
    for topic in "abc":
        pub.publish(topic, topic, qos=2)
    assert [(message.topic, message.qos) for message in back.messages(2)] == [("a", 2), ("c", 1)]


def test_in_flight_messages_keep_their_ids(broker, connect, version, hard):
    sub, pub = resume(connect, broker, "s", version), connect(broker, "p")
    sub.subscribe(("t", 2))
    for number in range(4):
        pub.publish("t", str(number), qos=2)
    before = [sub.expect(PUBLISH) for _ in range(4)]
    sub.ack(PUBREC, before[0].mid)
    assert sub.expect(PUBREL).mid == before[0].mid
    broker.restart(hard)
    back = resume(connect, broker, "s", version)
    got = [back.receive() for _ in range(4)]
    releases = [packet.mid for packet in got if packet.kind == PUBREL]
    again = [(packet.mid, packet.payload, packet.dup) for packet in got if packet.kind == PUBLISH]
    assert releases == [before[0].mid]
    assert again == [(packet.mid, packet.payload, True) for packet in before[1:]]


@pytest.mark.parametrize("step", ["PUBREC", "PUBREL"])
def test_a_publishers_qos2_is_known_again(broker, connect, version, hard, step):
    sub = resume(connect, broker, "s", version)
    sub.subscribe(("t", 2))
    sub.disconnect()
    pub = resume(connect, broker, "p", version)
    pub.send(publish_bytes("t", "once", 2, 9, version=version))
    pub.expect(PUBREC)
    if step == "PUBREL":
        pub.ack(PUBREL, 9)
        pub.expect(PUBCOMP)
    broker.restart(hard)
    pub = resume(connect, broker, "p", version)
    assert pub.connack.session_present
    if step == "PUBREC":
        pub.send(publish_bytes("t", "once", 2, 9, dup=True, version=version))
        pub.expect(PUBREC)
        pub.ack(PUBREL, 9)
        pub.expect(PUBCOMP)
    pub.publish("t", "end", qos=2, mid=9)
    back = resume(connect, broker, "s", version)
    assert [message.payload for message in back.messages(2)] == [b"once", b"end"]
    back.nothing_comes()


def test_retained_messages_and_their_clearing_last(broker, connect, hard):
    pub = connect(broker, "p", version=5)
    for number in range(50):
        pub.publish(f"r/{number}", "old", qos=1, retain=True)
        pub.publish(f"r/{number}", str(number), qos=1, retain=True, properties={"content_type": "n"})
    pub.publish("r/7", b"", qos=1, retain=True)
    broker.restart(hard)
    sub = connect(broker, "s", version=5)
    sub.subscribe(("r/#", 1))
    got = sub.messages(49)
    assert {message.topic: message.payload.decode() for message in got} == {
        f"r/{number}": str(number) for number in range(50) if number != 7}
    assert all(message.properties["content_type"] == "n" for message in got)
    sub.nothing_comes()


def test_logs_are_there_to_the_last_byte(routed, connect, hard):
    pub = connect(routed, "p")
    for number in range(100):
        pub.publish(f"factory/m{number % 7}/telemetry/x", str(number), qos=1)
    kcat_write(routed.kafka, "own", [f"k{n}:v{n}" for n in range(100)], "-K", ":", "-H", "a=b", "-z", "lz4")
    def held():
        # Partitions come in any order.
        place = operator.itemgetter("partition", "offset")
        return [sorted(kcat_read(routed.kafka, name), key=place) for name in ("telemetry", "own")]

    before = held()
    assert [len(rows) for rows in before] == [100, 100]
    routed.restart(hard)
    assert held() == before
    kcat_write(routed.kafka, "own", ["k:more"], "-K", ":")
    rows = kcat_read(routed.kafka, "own")
    assert rows[:100] == before[1] and rows[100]["offset"] == 100


def test_the_topic_id_is_the_same_after_a_restart(broker, hard):
    """Issue 3, item 4: topic UUIDs are persistent."""
    import struct

    from test_kafka import call
    kcat_write(broker.kafka, "own", ["x"])

    def topic_id():
        # Metadata v10 with a flexible header: no tags; one topic by name; then three false flags.
        head = struct.pack("!hhih", 3, 10, 1, 2) + b"it\x00"
        body = b"\x02" + b"\x00" * 16 + b"\x04own\x00" + b"\x00\x00\x00\x00"
        answer = call(broker, head + body)
        at = answer.index(b"\x04own") + 4
        return answer[at:at + 16]

    before = topic_id()
    assert before != b"\x00" * 16
    broker.restart(hard)
    assert topic_id() == before


def test_many_restarts_keep_everything(broker, connect):
    sub = resume(connect, broker, "s")
    sub.subscribe(("t", 1))
    sub.disconnect()
    for round_ in range(6):
        pub = connect(broker, "p")
        for number in range(20):
            pub.publish("t", f"{round_ * 20 + number}", qos=1)
        pub.cut()
        broker.restart(hard=round_ % 2 == 0)
    back = resume(connect, broker, "s")
    assert [int(message.payload) for message in back.messages(120)] == list(range(120))


def segments(broker):
    """The journal's segments that hold batches, oldest first."""
    files = [path for path in (broker.data / "journal").iterdir() if path.suffix == ".seg"]
    return sorted(files)


def digest(folder):
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*")
            if path.is_file() and path.suffix == ".seg"}


def written_segment(broker, marker):
    """The segment and offset where an acknowledged payload lies."""
    for path in segments(broker):
        at = path.read_bytes().rfind(marker)
        if at >= 0:
            return path, at
    raise AssertionError("the payload is in no segment")


def fill(broker, connect, count):
    # The segment made in a hurry at the start is left once a prepared one is there: with one there, all that
    # follows stands in the same file.
    wait_until(lambda: list((broker.data / "journal").glob("*.free")), "a prepared journal segment")
    sub = resume(connect, broker, "s")
    sub.subscribe(("t", 1))
    sub.disconnect()
    pub = connect(broker, "p")
    for number in range(count):
        pub.publish("t", f"marker-{number:04}-" + "x" * 200, qos=1)


def test_a_torn_tail_is_cut_with_a_warning(broker, connect):
    """Half of a next batch's header (docs/storage.md): begun, so never acknowledged; all before it stays."""
    fill(broker, connect, 20)
    broker.kill9()
    path, at = written_segment(broker, b"marker-0019-")
    data = bytearray(path.read_bytes())
    begin = data.rfind(b"RBAT", 0, at)
    end = begin + -(-(48 + int.from_bytes(data[begin + 36:begin + 40], "little")) // 512) * 512
    assert begin % 512 == 0 and end > at + 212
    data[end:end + 512] = data[begin:begin + 24] + b"\xa5" * 488
    path.write_bytes(data)
    broker.start()
    broker.wait_log("WARN.*torn tail")
    back = resume(connect, broker, "s")
    assert len(back.messages(20)) == 20
    back.nothing_comes()


def test_a_batch_cut_in_the_middle_is_a_torn_tail(broker, connect):
    """The last batch never reached its sync as far as the file can tell: it goes, all before it stays."""
    fill(broker, connect, 20)
    broker.kill9()
    path, at = written_segment(broker, b"marker-0019-")
    data = bytearray(path.read_bytes())
    data[at + 5:] = b"\x00" * (len(data) - at - 5)
    path.write_bytes(data)
    broker.start()
    broker.wait_log("WARN.*torn tail")
    back = resume(connect, broker, "s")
    assert [message.payload[7:11] for message in back.messages(19)] == [b"%04d" % n for n in range(19)]
    back.nothing_comes()


def test_corruption_before_valid_batches_stops_the_start_and_touches_nothing(broker, connect):
    fill(broker, connect, 20)
    broker.kill9()
    path, at = written_segment(broker, b"marker-0005-")
    data = bytearray(path.read_bytes())
    data[at + 20] ^= 0x40
    path.write_bytes(data)
    before = digest(broker.data)
    code, said = broker.launch().wait_exit()
    assert code not in (0, 101) and code > 0
    assert path.name in said and "panicked" not in said, said
    assert digest(broker.data) == before
    data[at + 20] ^= 0x40
    path.write_bytes(data)
    broker.start()
    assert len(resume(connect, broker, "s").messages(20)) == 20


def test_sigterm_says_goodbye(broker, connect):
    """Design §5: DISCONNECT 0x8B to MQTT 5 clients before the end."""
    client = connect(broker, "c", version=5)
    broker.stop()
    assert client.expect_closed().reason == 0x8B


def test_nothing_is_acknowledged_that_is_not_on_disk(broker, connect):
    """PUBACKs stop with the process; what was acknowledged before is there (a small crash, exactly placed)."""
    sub = resume(connect, broker, "s")
    sub.subscribe(("t", 1))
    sub.disconnect()
    pub = connect(broker, "p")
    pub.send(b"".join(publish_bytes("t", str(n), 1, n) for n in range(1, 2001)))
    acknowledged = [pub.expect(PUBACK).mid for _ in range(700)]
    broker.kill9()
    broker.start()
    back, got = resume(connect, broker, "s"), []
    pub = connect(broker, "p2")
    pub.publish("t", "end", qos=1)
    while not got or got[-1] != "end":
        got.append(back.message().payload.decode())
    assert got[:-1] == [str(n) for n in range(1, len(got))] and len(got) - 1 >= max(acknowledged)


def test_a_restart_after_a_checkpoint_needs_no_old_journal(make_broker, connect):
    config = "[checkpoint]\ninterval_s = 1\n"
    broker = make_broker(config=config).start()
    fill(broker, connect, 50)
    before = broker.metric("rialto_checkpoints_total")
    wait_until(lambda: broker.metric("rialto_checkpoints_total") >= before + 2, "two more checkpoints")
    broker.restart(hard=True)
    assert len(resume(connect, broker, "s").messages(50)) == 50
