"""Hostile Kafka clients: announced lengths, cut frames, bombs, slow readers. The broker lives, its memory is bounded,
others are served (issue 5, "Bad input"). Single malformed frames are in test_kafka.py, answers to bad batches in
kafka_scenarios/.
"""

import gzip
import random
import struct
import threading
import time

import pytest

import kafkaschema
from harness import wait_until
from kafkaclients import create
from rawkafka import Closed, Peer, Timeout, batch, batches, record, zstd_frame

pytestmark = [pytest.mark.rialto, pytest.mark.timeout(180)]

MEMORY_KB = 60_000


@pytest.fixture
def bystander(shared, unique):
    """Someone who must be served whatever others do; fails if they were not, or if memory grew."""
    topic = create(shared, f"calm-{unique}")
    before = shared.memory_kb()
    worst, stop, faults = [0.0], threading.Event(), []

    def serve():
        try:
            with Peer(shared.kafka) as peer:
                while not stop.is_set():
                    began = time.monotonic()
                    produced(peer, topic, batch([b"calm"]))
                    worst[0] = max(worst[0], time.monotonic() - began)
                    stop.wait(0.02)
        except Exception as fault:  # noqa: BLE001 – carried to the test's thread
            faults.append(fault)

    thread = threading.Thread(target=serve)
    thread.start()
    yield worst
    stop.set()
    thread.join(30)
    assert not faults and shared.alive, faults
    assert worst[0] < 5, f"somebody else waited {worst[0]:.1f} s"
    wait_until(lambda: shared.memory_kb() < before + MEMORY_KB, f"memory is not much more than {before} KB")


def produced(peer, topic, data, version=9):
    said = peer.call("Produce", version, acks=-1, timeoutMs=5000,
                     topicData=[{"name": topic, "partitionData": [{"index": 0, "records": data}]}])
    return said["responses"][0]["partitionResponses"][0]["errorCode"]


def test_announced_lengths_reserve_nothing(shared, bystander):
    """100 connections announce 100 MB each, with which forty bring Apache Kafka down."""
    before, peers = shared.memory_kb(), []
    try:
        for number in range(100):
            peers.append(Peer(shared.kafka))
            peers[-1].raw(struct.pack("!i", 100_000_000) + kafkaschema.request("Produce", 9, 1, {"acks": -1})
                          + bytes(1000 * (number % 5)))
        time_is_up = time.monotonic() + 1
        while time.monotonic() < time_is_up:
            assert shared.memory_kb() < before + MEMORY_KB
            time.sleep(0.05)
    finally:
        for peer in peers:
            peer.close()


def test_lengths_beyond_the_limit_end_the_connection(shared, bystander):
    for length in (2**31 - 1, 104_857_601, -1, -2**31, 0):
        with Peer(shared.kafka) as peer:
            peer.raw(struct.pack("!i", length))
            with pytest.raises(Closed):
                peer.frame(10)


def requests(topic, group):
    """One good request of each sort, as frames without their lengths."""
    data = batch([(b"k", b"v"), b"w"])
    wanted = {
        ("ApiVersions", 3): {"clientSoftwareName": "it", "clientSoftwareVersion": "1"},
        ("Metadata", 12): {"topics": [{"name": topic}]},
        ("Produce", 9): {"acks": -1, "timeoutMs": 1000, "topicData": [
            {"name": topic, "partitionData": [{"index": 0, "records": data}]}]},
        ("Fetch", 12): {"replicaId": -1, "maxWaitMs": 0, "minBytes": 0, "maxBytes": 1000, "topics": [
            {"topic": topic, "partitions": [{"partition": 0, "fetchOffset": 0, "partitionMaxBytes": 1000}]}]},
        ("ListOffsets", 6): {"replicaId": -1, "topics": [
            {"name": topic, "partitions": [{"partitionIndex": 0, "timestamp": -1}]}]},
        ("FindCoordinator", 4): {"keyType": 0, "coordinatorKeys": [group]},
        ("JoinGroup", 6): {"groupId": group, "sessionTimeoutMs": 6000, "rebalanceTimeoutMs": 1000, "memberId": "",
                           "protocolType": "x", "protocols": [{"name": "p", "metadata": b"m"}]},
        ("SyncGroup", 4): {"groupId": group, "generationId": 1, "memberId": "m",
                           "assignments": [{"memberId": "m", "assignment": b"a"}]},
        ("Heartbeat", 4): {"groupId": group, "generationId": 1, "memberId": "m"},
        ("LeaveGroup", 4): {"groupId": group, "members": [{"memberId": "m"}]},
        ("OffsetCommit", 8): {"groupId": group, "generationIdOrMemberEpoch": -1, "memberId": "", "topics": [
            {"name": topic, "partitions": [{"partitionIndex": 0, "committedOffset": 0, "committedMetadata": "m"}]}]},
        ("OffsetFetch", 8): {"groups": [{"groupId": group, "topics": [{"name": topic, "partitionIndexes": [0]}]}]},
        ("DescribeGroups", 5): {"groups": [group]}, ("ListGroups", 4): {"statesFilter": ["Stable"]},
        ("DeleteGroups", 2): {"groupsNames": [group]},
        ("InitProducerId", 4): {"transactionalId": None, "transactionTimeoutMs": 1000},
        ("CreateTopics", 7): {"timeoutMs": 1000, "validateOnly": True, "topics": [
            {"name": "never", "numPartitions": 1, "replicationFactor": 1,
             "configs": [{"name": "retention.ms", "value": "1"}]}]},
        ("DeleteTopics", 5): {"timeoutMs": 1000, "topicNames": ["never"]},
        ("CreatePartitions", 3): {"timeoutMs": 1000, "validateOnly": True, "topics": [{"name": "never", "count": 2}]},
        ("DescribeConfigs", 4): {"resources": [
            {"resourceType": 2, "resourceName": topic, "configurationKeys": ["retention.ms"]}]},
        ("IncrementalAlterConfigs", 1): {"validateOnly": True, "resources": [
            {"resourceType": 2, "resourceName": topic,
             "configs": [{"name": "retention.ms", "configOperation": 0, "value": "1"}]}]},
        ("DeleteRecords", 2): {"timeoutMs": 1000, "topics": [
            {"name": topic, "partitions": [{"partitionIndex": 0, "offset": 0}]}]},
        ("OffsetForLeaderEpoch", 4): {"replicaId": -2, "topics": [
            {"topic": topic, "partitions": [{"partition": 0, "currentLeaderEpoch": -1, "leaderEpoch": 0}]}]},
    }
    return {api: kafkaschema.request(api, version, 7, values) for (api, version), values in wanted.items()}


def fate(peer, timeout=10):
    try:
        return peer.frame(timeout)
    except Closed:
        return None


def test_every_request_cut_at_every_byte(shared, bystander, unique, long):
    """Under a length that fits the cut: refused, or understood where what is missing may be. Never silence."""
    topic = create(shared, unique)
    for api, frame in requests(topic, f"g-{unique}").items():
        cuts = range(len(frame)) if long else sorted({*range(min(len(frame), 24)), *range(24, len(frame), 5)})
        for cut in cuts:
            with Peer(shared.kafka) as peer:
                peer.send(frame[:cut])
                try:
                    fate(peer)
                except Timeout:
                    raise AssertionError(f"{api}: silence after {cut} of {len(frame)} bytes") from None


def test_every_request_that_never_ends(shared, bystander, unique):
    """The announced rest does not come: the peer goes, and nothing of it is left."""
    before = shared.metrics()
    for frame in requests(unique, f"g-{unique}").values():
        for cut in (1, 3, 4, 9, len(frame) - 1):
            with Peer(shared.kafka) as peer:
                peer.raw((struct.pack("!i", len(frame)) + frame)[:cut])
    name = next((name for name in before if name.startswith("rialto_connections{") and "kafka" in name), None)
    if name:
        wait_until(lambda: shared.metrics()[name] <= before[name] + 1, "their connections are gone")


def test_random_bytes_in_every_request(shared, bystander, unique, long):
    """Bits flipped in good requests: an answer or an end, within bounds."""
    rng = random.Random(unique)
    frames = list(requests(create(shared, unique), f"g-{unique}").values())
    for _ in range(3000 if long else 300):
        frame = bytearray(rng.choice(frames))
        for _ in range(rng.randrange(1, 4)):
            frame[rng.randrange(4, len(frame))] = rng.randrange(256)
        with Peer(shared.kafka) as peer:
            peer.send(bytes(frame))
            # A join or a fetch may have been asked to wait.
            try:
                fate(peer, 0.3)
            except Timeout:
                pass


def rle_frame(size):
    """A Zstandard frame of one-byte runs: 128 KiB of zeros for four bytes."""
    whole = size // 131072
    blocks = b"".join(struct.pack("<I", 131072 << 3 | 2 | (number == whole - 1))[:3] + b"\0" for number in range(whole))
    return b"\x28\xb5\x2f\xfd\x00\x58" + blocks


def snappy_bomb(size):
    """A raw Snappy block that repeats one byte: 64 for every three bytes."""
    head, left = bytearray(), size
    while left > 0x7F:
        head.append(left & 0x7F | 0x80)
        left >>= 7
    head.append(left)
    return bytes(head) + b"\0\0" + b"\xfe\x01\0" * (size // 64)


def lz4_bomb(size):
    """An LZ4 frame of a literal and a match as long as its block lets it be."""
    block = b"\x1f\0\1\0" + b"\xff" * 16_300 + b"\0"
    block += b"\x50" + bytes(5)
    return b"\x04\x22\x4d\x18\x60\x70\x73" + (struct.pack("<I", len(block)) + block) * (size // 4_000_000) + bytes(4)


BOMBS = {"gzip": (1, gzip.compress(bytes(1 << 28))), "snappy": (2, snappy_bomb(1 << 26)), "lz4": (3, lz4_bomb(1 << 28)),
         "zstd": (4, rle_frame(1 << 30)), "zstd in zstd": (4, zstd_frame(rle_frame(1 << 30)))}


@pytest.mark.parametrize("name", BOMBS)
def test_decompression_bombs(shared, bystander, unique, name):
    """A batch whose records would take hundreds of megabytes is refused, and takes none of them."""
    topic, (codec, payload) = create(shared, unique), BOMBS[name]
    before = shared.memory_kb()
    with Peer(shared.kafka) as peer:
        for _ in range(3):
            code = produced(peer, topic, batch([b"x"], payload=payload[:900_000], attributes=codec))
            assert code in (2, 10, 87), code
            assert shared.memory_kb() < before + MEMORY_KB
        assert produced(peer, topic, batch([b"good"])) == 0


def test_a_bomb_inside_its_records(shared, bystander, unique):
    """One record that says that it is huge, and a count that says the same, behind a right CRC."""
    topic = create(shared, unique)
    with Peer(shared.kafka) as peer:
        for payload, count in ((b"\xfe\xff\xff\xff\x0f" + bytes(50), 1), (record(0, None, b"x"), 0x7FFFFFFF)):
            assert produced(peer, topic, batch([b"x"], payload=payload, count=count, delta=count - 1)) in (2, 87)


def settled_kb(broker):
    """Memory once it has not grown for half a second: every answer that may be made is made."""
    most, since = broker.memory_kb(), time.monotonic()
    while time.monotonic() - since < 0.5:
        time.sleep(0.02)
        if (now := broker.memory_kb()) > most + 500:
            most, since = now, time.monotonic()
    return most


def test_slow_readers(broker, unique):
    """Clients that ask for megabytes and read nothing hold one answer each, and nobody waits for them."""
    topic = create(broker, unique)
    with Peer(broker.kafka) as peer:
        for _ in range(24):
            assert produced(peer, topic, batch([b"x" * 900_000])) == 0
    asked = {"replicaId": -1, "maxWaitMs": 0, "minBytes": 1, "maxBytes": 50_000_000, "topics": [
        {"topic": topic, "partitions": [{"partition": 0, "fetchOffset": 0, "partitionMaxBytes": 50_000_000}]}]}
    fetches = b"".join(struct.pack("!i", len(frame)) + frame for frame in (
        kafkaschema.request("Fetch", 11, number, asked) for number in range(50)))
    before, full = broker.memory_kb(), []
    for _ in range(2):
        slow = [Peer(broker.kafka) for _ in range(20)]
        try:
            for peer in slow:
                peer.raw(fetches)
            # One of them wakes up and gets what it asked for first.
            _, body = kafkaschema.answer("Fetch", 11, slow[0].frame())
            assert batches(body["responses"][0]["partitions"][0]["records"])[0]["base"] == 0
            with Peer(broker.kafka) as peer:
                began = time.monotonic()
                assert produced(peer, topic, batch([b"others are served"])) == 0
                assert time.monotonic() - began < 5
            full.append(settled_kb(broker))
        finally:
            for peer in slow:
                peer.close()
        wait_until(lambda: broker.metric("rialto_connections", protocol="kafka") == 0, "they are gone")
    assert full[0] < before + 21 * 22_000, "more than an answer each"
    assert full[1] < full[0] + MEMORY_KB, "what they held is not used again"


def test_many_requests_in_flight(shared, bystander):
    """A thousand requests at once on one connection are answered in order, or not read until answers are."""
    with Peer(shared.kafka, timeout=60) as peer:
        frames = b"".join(struct.pack("!i", len(frame)) + frame for frame in (
            kafkaschema.request("Metadata", 9, number, {"topics": []}) for number in range(1000)))
        writer = threading.Thread(target=peer.raw, args=(frames,))
        writer.start()
        for number in range(1000):
            assert struct.unpack_from("!i", peer.frame())[0] == number
        writer.join(30)


def test_many_groups_and_members(shared, bystander, unique):
    """Members that were given an id and never came back are forgotten; groups that were only asked for are none."""
    with Peer(shared.kafka) as peer:
        for number in range(2000):
            said = peer.call("JoinGroup", 5, groupId=f"{unique}-{number % 50}", sessionTimeoutMs=6000,
                             rebalanceTimeoutMs=6000, memberId="", protocolType="consumer",
                             protocols=[{"name": "p", "metadata": b"m" * 1000}])
            assert said["errorCode"] == 79, said
        for number in range(2000):
            peer.call("OffsetFetch", 5, groupId=f"{unique}-asked-{number}", topics=None)
            peer.call("Heartbeat", 3, groupId=f"{unique}-asked-{number}", generationId=1, memberId="m")
        listed = [entry["groupId"] for entry in peer.call("ListGroups", 3)["groups"]]
        assert not [name for name in listed if name.startswith(f"{unique}-asked")]
