"""What a client may try that belongs to other brokers, and what a truncated request does to its connection."""

import kafkaschema
from kafka_scenarios import scenario
from rawkafka import Closed, Timeout, batch


@scenario
def truncated_requests(stage):
    """A body that ends early ends its connection, wherever the cut is."""
    topic = stage.topic("t")
    requests = {
        "Metadata": (9, {"topics": [{"name": topic}]}),
        "Produce": (9, {"acks": -1, "timeoutMs": 1000, "topicData": [
            {"name": topic, "partitionData": [{"index": 0, "records": batch([b"x"])}]}]}),
        "ListOffsets": (5, {"replicaId": -1, "topics": [
            {"name": topic, "partitions": [{"partitionIndex": 0, "timestamp": -1}]}]}),
        "JoinGroup": (5, {"groupId": "g", "sessionTimeoutMs": 10_000, "rebalanceTimeoutMs": 10_000, "memberId": "",
                          "protocolType": "consumer", "protocols": [{"name": "range", "metadata": b"abc"}]}),
        "OffsetCommit": (7, {"groupId": "g", "generationIdOrMemberEpoch": -1, "memberId": "", "topics": [
            {"name": topic, "partitions": [{"partitionIndex": 0, "committedOffset": 1, "committedMetadata": "m"}]}]}),
    }
    for api, (version, values) in requests.items():
        whole = kafkaschema.request(api, version, 7, values)
        body = len(whole) - len(kafkaschema.write(kafkaschema.definitions()[api].request, version, values))
        seen = set()
        for cut in range(body, len(whole), max(1, (len(whole) - body) // 12)):
            peer = stage.connect()
            peer.send(whole[:cut])
            try:
                peer.frame(5)
                seen.add("answered")
            except Closed:
                seen.add("closed")
            except Timeout:
                seen.add("silence")
            peer.close()
        stage.note(api, sorted(seen))
    stage.note("nothing is stored", stage.records(topic))


@scenario
def bytes_behind_a_request(stage):
    """What follows a body inside its frame."""
    for api, version, values in (("Metadata", 5, {"topics": []}), ("ApiVersions", 0, {}), ("Metadata", 9, {"topics": []})):
        peer = stage.connect()
        peer.send(kafkaschema.request(api, version, 7, values) + b"more")
        said = stage.outcome(lambda: peer.frame(5))
        stage.note(f"{api} v{version}", said if isinstance(said, str) else "answered")
