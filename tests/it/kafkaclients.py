"""What the tests of Kafka clients share: addresses, keys to compare partitions by, programs of a group."""

import json
import re

from harness import wait_until
from programs import Program
from rawkafka import Peer

# Keys of many shapes; every client that hashes as Java does must put each into the same partition.
KEYS = [f"key-{number}" for number in range(200)] + ["a", "ab", "abc", "abcd", "ä", "Straße", "x" * 300,
                                                     "factory/press-4/telemetry", "日本語"]


def address(broker):
    return f"127.0.0.1:{broker.kafka}"


def create(broker, name, partitions=1, **configs):
    """Makes a topic and waits until each partition takes records, which Apache Kafka may not yet when it answers."""
    with Peer(broker.kafka) as peer:
        made = peer.call("CreateTopics", 5, timeoutMs=10_000, topics=[{
            "name": name, "numPartitions": partitions, "replicationFactor": 1,
            "configs": [{"name": key.replace("_", "."), "value": str(value)} for key, value in configs.items()]}])
        assert made["topics"][0]["errorCode"] == 0, made

        def ready():
            found = peer.call("ListOffsets", 5, replicaId=-1, topics=[{"name": name, "partitions": [
                {"partitionIndex": number, "timestamp": -1} for number in range(partitions)]}])
            return all(partition["errorCode"] == 0 for partition in found["topics"][0]["partitions"])

        wait_until(ready, f"{name} is ready")
    return name


def ends(broker, name):
    """{partition: end offset} of a topic."""
    with Peer(broker.kafka) as peer:
        listed = peer.call("Metadata", 5, topics=[{"name": name}])["topics"][0]["partitions"]
        found = peer.call("ListOffsets", 5, replicaId=-1, topics=[{"name": name, "partitions": [
            {"partitionIndex": partition["partitionIndex"], "timestamp": -1} for partition in listed]}])
        return {part["partitionIndex"]: part["offset"] for part in found["topics"][0]["partitions"]}


def committed(broker, group, name):
    """{partition: committed offset} of a group; what was not committed is left out."""
    with Peer(broker.kafka) as peer:
        found = peer.call("OffsetFetch", 5, groupId=group, topics=None)
        return {part["partitionIndex"]: part["committedOffset"] for topic in found["topics"] if topic["name"] == name
                for part in topic["partitions"] if part["committedOffset"] >= 0}


class KcatGroup:
    """One kcat as a member of a group; what it prints is collected."""

    def __init__(self, broker, group, *topics, settings=()):
        settings = ["auto.offset.reset=earliest", "broker.address.family=v4", "heartbeat.interval.ms=200", *settings]
        command = ["stdbuf", "-oL", "kcat", "-b", address(broker), "-u", "-f", "record %t %p %o %k %s\\n"]
        for setting in settings:
            command += ["-X", setting]
        self.program = Program([*command, "-G", group, *topics])

    def assigned(self):
        """The partitions it was given last; None before."""
        lines = self.program.matching(r"assigned: ")
        if not lines:
            return None
        return {int(number) for number in re.findall(r"\[(\d+)\]", lines[-1])}

    def records(self):
        """(partition, offset, value) of all that came."""
        rows = (line.split(" ", 5) for line in list(self.program.lines) if line.startswith("record "))
        return [(int(row[2]), int(row[3]), row[5]) for row in rows]

    def stop(self):
        """It leaves the group, as a client that is asked to end does."""
        self.program.process.terminate()
        return self.program.process.wait(20)

    def kill(self):
        self.program.kill()


def rows_of(output):
    """The tables that Kafka's tools print, as dicts by their heading."""
    lines = [line.split() for line in output.splitlines() if line.strip()]
    heads = [number for number, line in enumerate(lines) if line[0] in ("GROUP", "TOPIC")]
    found = []
    for number, head in enumerate(heads):
        end = heads[number + 1] if number + 1 < len(heads) else len(lines)
        found += [dict(zip(lines[head], line)) for line in lines[head + 1:end]]
    return found


def json_rows(output):
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]
