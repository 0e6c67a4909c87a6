"""The Kafka listener with kcat as it is installed, and with frames no client would send (issue 3, item 4)."""

import json
import re
import socket
import struct
import time

import pytest

from clients import kcat, kcat_read, kcat_write, log_exists
from harness import DEADLINE, wait_until

pytestmark = pytest.mark.rialto


def test_metadata_lists_one_broker_at_the_address_the_client_used(shared):
    listed = json.loads(kcat(shared.kafka, "-L", "-J").stdout)
    assert [broker["name"] for broker in listed["brokers"]] == [f"127.0.0.1:{shared.kafka}"]
    assert listed["controllerid"] == listed["brokers"][0]["id"]


def test_producing_creates_the_log_with_one_partition(shared, unique):
    kcat_write(shared.kafka, unique, ["a", "b"])
    listed = json.loads(kcat(shared.kafka, "-L", "-J", "-t", unique).stdout)
    assert [len(topic["partitions"]) for topic in listed["topics"] if topic["topic"] == unique] == [1]
    assert [row["value"] for row in kcat_read(shared.kafka, unique)] == ["a", "b"]


def test_looking_at_a_log_does_not_create_it(shared, unique):
    done = kcat(shared.kafka, "-C", "-t", unique, "-o", "beginning", "-e", check=False)
    assert done.stdout == "" and not log_exists(shared.kafka, unique)


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_every_compression_comes_back_as_it_went(shared, unique, codec):
    lines = [f"{number} {'abc' * 50}" for number in range(500)]
    kcat_write(shared.kafka, unique, lines, "-z", codec)
    rows = kcat_read(shared.kafka, unique)
    assert [row["value"] for row in rows] == lines
    assert [row["offset"] for row in rows] == list(range(500))


@pytest.mark.parametrize("acks", ["0", "1", "-1"])
def test_every_acks_setting_stores(shared, unique, acks):
    kcat_write(shared.kafka, unique, ["x"], "-X", f"acks={acks}")
    wait_until(lambda: log_exists(shared.kafka, unique) and kcat_read(shared.kafka, unique), "the record is there")


def test_keys_headers_and_timestamps_come_back(shared, unique):
    before = int(time.time() * 1000)
    kcat_write(shared.kafka, unique, ["k1:v1", "k2:v2"], "-K", ":", "-H", "a=1", "-H", "b=2", "-H", "a=3")
    rows = kcat_read(shared.kafka, unique)
    assert [(row["key"], row["value"]) for row in rows] == [("k1", "v1"), ("k2", "v2")]
    assert rows[0]["headers"] == [("a", "1"), ("b", "2"), ("a", "3")]
    assert all(before - 1000 <= row["ts"] <= time.time() * 1000 + 1000 for row in rows)


def test_null_keys_and_values_stay_null(shared, unique):
    kcat_write(shared.kafka, unique, ["k:", "novalue"], "-K", ":", "-Z")
    rows = kcat_read(shared.kafka, unique)
    assert rows[0]["key"] == "k" and rows[0]["value"] is None


def test_reading_starts_where_it_is_told(shared, unique):
    kcat_write(shared.kafka, unique, [str(number) for number in range(20)])
    values = lambda start: [row["value"] for row in kcat_read(shared.kafka, unique, start=start)]
    assert values("beginning") == [str(number) for number in range(20)]
    assert values("7") == [str(number) for number in range(7, 20)]
    assert values("-3") == ["17", "18", "19"]
    assert values("end") == []


def test_timestamps_find_offsets(shared, unique):
    """ListOffsets with a time: the first record at or after it; past the end, none."""
    kcat_write(shared.kafka, unique, ["a"])
    wait_until(lambda: int(time.time() * 1000) > kcat_read(shared.kafka, unique)[0]["ts"] + 5, "the clock moves")
    kcat_write(shared.kafka, unique, ["b"])
    stamps = [row["ts"] for row in kcat_read(shared.kafka, unique)]

    def query(stamp):
        said = kcat(shared.kafka, "-Q", "-t", f"{unique}:0:{stamp}").stdout
        return int(re.search(r"offset (-?\d+)", said).group(1))

    assert [query(stamp) for stamp in (0, stamps[0], stamps[0] + 1, stamps[1])] == [0, 0, 1, 1]
    assert query(stamps[1] + 60_000) in (-1, 2)
    assert query(-2) == 0 and query(-1) == 2


def test_a_reader_at_the_end_gets_what_comes_later(shared, unique):
    import subprocess
    kcat_write(shared.kafka, unique, ["old"])
    reader = subprocess.Popen(
        ["kcat", "-u", "-b", f"127.0.0.1:{shared.kafka}", "-C", "-t", unique, "-o", "beginning", "-c", "2"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert reader.stdout.readline() == "old\n"
    kcat_write(shared.kafka, unique, ["new"])
    assert reader.stdout.readline() == "new\n"
    assert reader.wait(DEADLINE) == 0


def test_large_and_many_records(shared, unique):
    lines = [f"{number}" + "x" * 10_000 for number in range(1000)]
    kcat_write(shared.kafka, unique, lines)
    assert [row["value"] for row in kcat_read(shared.kafka, unique)] == lines


def test_two_producers_share_a_partition_without_gaps(shared, unique):
    import threading
    kcat_write(shared.kafka, unique, ["first"])
    threads = [threading.Thread(target=kcat_write, args=(shared.kafka, unique, [f"{name}{n}" for n in range(500)]))
               for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = kcat_read(shared.kafka, unique)
    assert [row["offset"] for row in rows] == list(range(1001))
    for name in "ab":
        assert [row["value"] for row in rows if row["value"][0] == name and row["value"] != "first"] == [
            f"{name}{n}" for n in range(500)]


def test_a_name_outside_the_alphabet_is_refused(shared):
    done = kcat(shared.kafka, "-P", "-t", "no/slash", "-X", "message.timeout.ms=2000", data="x\n", check=False)
    assert done.returncode != 0 or "nvalid" in done.stderr or "nknown" in done.stderr, done.stderr


def call(broker, frame, length=None):
    """Sends one frame; what comes back until the broker closes or falls silent for half a second."""
    with socket.create_connection(("127.0.0.1", broker.kafka), DEADLINE) as stream:
        stream.sendall(struct.pack("!i", len(frame) if length is None else length) + frame)
        stream.settimeout(DEADLINE)
        try:
            head = stream.recv(4, socket.MSG_WAITALL)
            if len(head) < 4:
                return None
            return stream.recv(struct.unpack("!i", head)[0], socket.MSG_WAITALL)
        except ConnectionResetError:
            return None


def header(key, version, client="it"):
    return struct.pack("!hhih", key, version, 7, len(client)) + client.encode()


def test_an_unknown_apiversions_version_is_answered_in_v0(shared):
    """KIP-511: error 35 in the v0 layout, with the list."""
    answer = call(shared, header(18, 99) + b"\x00")
    correlation, error, count = struct.unpack("!ihi", answer[:10])
    assert (correlation, error) == (7, 35) and count > 0 and len(answer) == 10 + 6 * count


def test_only_what_works_is_announced(shared):
    answer = call(shared, header(18, 0))
    _, error, count = struct.unpack("!ihi", answer[:10])
    apis = {key: (low, high) for key, low, high in struct.iter_unpack("!hhh", answer[10:10 + 6 * count])}
    assert error == 0 and {0, 1, 2, 3, 18, 19} <= set(apis)


HOSTILE = {
    "negative length": (b"", -1), "huge length": (b"\x00" * 16, 0x7FFFFFFF), "short header": (b"\x00\x12", None),
    "empty": (b"", 0), "unknown api": (header(9999, 0), None), "unknown version": (header(3, 99), None),
    "array of two billion topics": (header(3, 1) + struct.pack("!i", 0x7FFFFFFF), None),
    "array of minus five": (header(3, 1) + struct.pack("!i", -5), None),
    "string past the end": (header(3, 1) + struct.pack("!ih", 1, 32000) + b"abc", None),
    "client id past the end": (struct.pack("!hhih", 18, 0, 1, 30000), None),
    "compact array of 2^32": (header(3, 9) + b"\x00" + b"\xff\xff\xff\xff\x0f", None),
    "varint without end": (header(3, 9) + b"\x00" + b"\xff" * 12, None),
    "http": (b"T / HTTP/1.1\r\n\r\n", 0x47455420),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_frame_ends_its_connection_only(shared, name):
    frame, length = HOSTILE[name]
    before = shared.memory_kb()
    if length and length > 0:
        with socket.create_connection(("127.0.0.1", shared.kafka), DEADLINE) as stream:
            stream.sendall(struct.pack("!i", length) + frame)
    else:
        call(shared, frame, length)
    assert shared.alive and shared.memory_kb() < before + 20_000
    kcat(shared.kafka, "-L")


def produce_v3(topic, records):
    """A Produce v3 request with acks −1 for partition 0."""
    name = topic.encode()
    return (header(0, 3) + struct.pack("!hhii", -1, -1, 5000, 1) + struct.pack("!h", len(name)) + name
            + struct.pack("!iii", 1, 0, len(records)) + records)


def produce_error(answer, topic):
    """The error code of the one partition in a Produce v3 answer."""
    at = 4 + 4 + 2 + len(topic) + 4 + 4
    return struct.unpack("!h", answer[at:at + 2])[0]


def test_a_batch_whose_crc_is_wrong_is_refused_and_stores_nothing(shared, unique):
    """CORRUPT_MESSAGE (2)"""
    kcat_write(shared.kafka, unique, ["good"])
    body = struct.pack("!hiqqqhii", 0, 0, 0, 0, -1, -1, -1, 1) + b"\x0e\x00\x00\x00\x01\x02x\x00"
    batch = struct.pack("!qiibI", 0, len(body) + 9, 0, 2, 0xDEADBEEF) + body
    answer = call(shared, produce_v3(unique, batch))
    assert produce_error(answer, unique) == 2
    assert [row["value"] for row in kcat_read(shared.kafka, unique)] == ["good"]


@pytest.mark.parametrize("records", [b"", b"\x00" * 61, b"\xff" * 200, struct.pack("!qi", 0, 0x7FFFFFFF)],
                         ids=["nothing", "zeros", "ones", "length past the end"])
def test_bytes_that_are_no_batch_are_refused(shared, unique, records):
    kcat_write(shared.kafka, unique, ["good"])
    answer = call(shared, produce_v3(unique, records))
    assert answer is None or produce_error(answer, unique) in (2, 42, 76, 87)
    assert [row["value"] for row in kcat_read(shared.kafka, unique)] == ["good"]
