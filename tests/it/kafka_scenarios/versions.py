"""ApiVersions, unknown APIs and versions, malformed headers."""

import struct

import kafkaschema
from kafka_scenarios import scenario
from rawkafka import Closed, Timeout

# What ordinary clients and tools of today call.
SERVED = ["Produce", "Fetch", "ListOffsets", "Metadata", "OffsetCommit", "OffsetFetch", "FindCoordinator", "JoinGroup",
          "Heartbeat", "LeaveGroup", "SyncGroup", "DescribeGroups", "ListGroups", "ApiVersions", "CreateTopics",
          "DeleteTopics", "DeleteRecords", "InitProducerId", "OffsetForLeaderEpoch", "DescribeConfigs",
          "CreatePartitions", "DeleteGroups", "IncrementalAlterConfigs", "OffsetDelete", "DescribeCluster"]


def raw(stage, frame, timeout=2.0):
    """What a frame on a new connection is answered with: bytes, "closed" or "silence"."""
    peer = stage.connect()
    peer.send(frame)
    try:
        return peer.frame(timeout)
    except Closed:
        return "closed"
    except Timeout:
        return "silence"


@scenario
def advertised(stage):
    listed = stage.call("ApiVersions", 3, clientSoftwareName="it", clientSoftwareVersion="1")
    ranges = {entry["apiKey"]: [entry["minVersion"], entry["maxVersion"]] for entry in listed["apiKeys"]}
    for api in SERVED:
        stage.note(api, ranges.get(kafkaschema.definitions()[api].key))


@scenario
def api_versions_of_unknown_version(stage):
    """KIP-511: error 35 in the layout of version 0, with the range of ApiVersions itself."""
    for version in (5, 99):
        said = raw(stage, struct.pack("!hhih", 18, version, 7, 2) + b"it\0\0")
        correlation, error, count = struct.unpack_from("!ihi", said)
        stage.note(f"v{version}", [correlation, error, count > 0, len(said) == 10 + 6 * count])


@scenario
def api_versions_with_odd_names(stage):
    """The software's name must look like one (KIP-511)."""
    for name, version in (("", "1"), ("it", ""), ("-it", "1"), ("it it", "1"), ("it", "1.0-beta"), ("it-", "1")):
        said = stage.call("ApiVersions", 3, clientSoftwareName=name, clientSoftwareVersion=version)
        stage.note(f"{name!r} {version!r}", [said["errorCode"], bool(said["apiKeys"])])


@scenario
def unknown_versions(stage):
    """Anything but ApiVersions of an unknown version ends the connection."""
    for api, version in (("Metadata", 99), ("Produce", 2), ("Fetch", 3), ("JoinGroup", 99), ("CreateTopics", 1),
                         ("Metadata", -1)):
        key = kafkaschema.definitions()[api].key
        stage.note(f"{api} v{version}", raw(stage, struct.pack("!hhih", key, version, 7, 2) + b"it" + bytes(40)))


@scenario
def unknown_keys(stage):
    for key in (-1, 99, 9999, 32767):
        stage.note(str(key), raw(stage, struct.pack("!hhih", key, 0, 7, 2) + b"it" + bytes(8)))


@scenario
def malformed_requests(stage):
    """Bodies that end early, run over, or announce what is not there."""
    head = struct.pack("!hhih", 3, 1, 7, 2) + b"it"
    flexible = struct.pack("!hhih", 3, 9, 7, 2) + b"it\0"
    frames = {"nothing": b"", "half a header": b"\0\x12\0", "no body": head,
              "two billion topics": head + struct.pack("!i", 0x7FFFFFFF),
              "minus five topics": head + struct.pack("!i", -5),
              "a name past the end": head + struct.pack("!ih", 1, 3000) + b"abc",
              "a client id past the end": struct.pack("!hhih", 18, 0, 1, 30000),
              "a compact array of 2^32": flexible + b"\xff\xff\xff\xff\x0f",
              "a varint without end": flexible + b"\xff" * 12,
              "a name that is no UTF-8": head + struct.pack("!ih", 1, 2) + b"\xff\xfe"}
    for label, frame in frames.items():
        said = raw(stage, frame)
        stage.note(label, said if isinstance(said, str) else "answered")


@scenario
def a_null_client_id(stage):
    peer = stage.connect(client=None)
    stage.note("metadata", len(peer.call("Metadata", 5, topics=[])["brokers"]))


@scenario
def answers_come_in_order(stage):
    """Requests sent at once are answered in the order they came, a waiting fetch before what follows it."""
    topic, peer = stage.topic("t"), stage.connect()
    first = peer.ask("Fetch", 11, replicaId=-1, maxWaitMs=300, minBytes=1, maxBytes=1000, topics=[
        {"topic": topic, "partitions": [{"partition": 0, "fetchOffset": 0, "partitionMaxBytes": 1000}]}])
    second = peer.ask("Metadata", 5, topics=[])
    stage.note("fetch", peer.take("Fetch", 11, first)["errorCode"])
    stage.note("metadata", len(peer.take("Metadata", 5, second)["topics"]))


@scenario
def every_version_is_understood(stage):
    """What is asked at each version that both know is answered in that version's layout."""
    topic = stage.topic("t")
    stage.put(topic, b"a", b"b")
    ranges = {entry["apiKey"]: (entry["minVersion"], entry["maxVersion"])
              for entry in stage.call("ApiVersions", 0)["apiKeys"]}
    partition = {"partitionIndex": 0, "timestamp": -1}
    asked = {
        "Metadata": lambda version: {"topics": [{"name": topic}]},
        "ListOffsets": lambda version: {"replicaId": -1, "topics": [{"name": topic, "partitions": [partition]}]},
        "FindCoordinator": lambda version: {"key": "g", "keyType": 0} if 0 < version < 4 else {"key": "g"}
        if version == 0 else {"coordinatorKeys": ["g"], "keyType": 0},
        "DescribeGroups": lambda version: {"groups": [stage.name("none")]},
        "DescribeConfigs": lambda version: {"resources": [
            {"resourceType": 2, "resourceName": topic, "configurationKeys": ["retention.ms"]}]},
        "OffsetForLeaderEpoch": lambda version: {**({"replicaId": -2} if version > 2 else {}), "topics": [{
            "topic": topic, "partitions": [{"partition": 0, "currentLeaderEpoch": -1, "leaderEpoch": 0}]}]},
        "InitProducerId": lambda version: {"transactionalId": None, "transactionTimeoutMs": 1000},
        "DescribeCluster": lambda version: {},
    }
    known = {"Metadata": 13, "ListOffsets": 11, "FindCoordinator": 6, "DescribeGroups": 6, "DescribeConfigs": 4,
             "OffsetForLeaderEpoch": 4, "InitProducerId": 5, "DescribeCluster": 2}
    for api, values in asked.items():
        low, high = ranges.get(kafkaschema.definitions()[api].key, (0, -1))
        for version in range(low, min(high, known[api]) + 1):
            stage.ask(f"{api} v{version}", api, version, **values(version))
