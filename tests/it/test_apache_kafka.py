"""The other side of every comparison: Apache Kafka starts, answers, and its tools run (issue 5, "Proof")."""

import pytest

import kafkaschema
from kafkaclients import create
from rawkafka import CODECS, Peer, batch, batches

pytestmark = [pytest.mark.rialto, pytest.mark.timeout(300)]


def test_the_definitions_are_read_whole():
    apis = kafkaschema.definitions()
    assert len(apis) > 80 and apis["Produce"].key == 0 and kafkaschema.is_flexible("Produce", 9)


def test_apache_kafka_takes_and_gives_records(kafka, unique):
    with Peer(kafka.ports["kafka"]) as peer:
        create(kafka, unique)
        for number, codec in enumerate(CODECS):
            data = batch([(b"k", b"v%d" % number)], codec=codec)
            put = peer.call("Produce", 9, acks=-1, timeoutMs=5000, topicData=[
                {"name": unique, "partitionData": [{"index": 0, "records": data}]}])
            answer = put["responses"][0]["partitionResponses"][0]
            assert (answer["errorCode"], answer["baseOffset"]) == (0, number), (codec, answer)
        got = peer.call("Fetch", 12, replicaId=-1, maxWaitMs=100, minBytes=1, maxBytes=1 << 20, isolationLevel=0,
                        topics=[{"topic": unique, "partitions": [
                            {"partition": 0, "fetchOffset": 0, "partitionMaxBytes": 1 << 20}]}])
        found = batches(got["responses"][0]["partitions"][0]["records"])
        assert [entry["base"] for entry in found] == list(range(len(CODECS))) and found[0]["records"] == [(b"k", b"v0")]


def test_its_tools_run_by_class_name(kafka, java, unique):
    address = f"127.0.0.1:{kafka.ports['kafka']}"
    said = java.run("TopicCommand", "--bootstrap-server", address, "--create", "--topic", unique, "--partitions", 2)
    assert f"Created topic {unique}" in said
    assert unique in java.run("TopicCommand", "--bootstrap-server", address, "--list").split()
