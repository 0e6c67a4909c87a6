"""The same keys land in the same partitions, whoever produces them: the Java client, kafka-python, librdkafka with
`partitioner=murmur2_random`, and a route from MQTT (issue 5, "Proof"; KIP-480 for what has no key)."""

import pytest
from confluent_kafka import Producer
from kafka import KafkaProducer

from clients import kcat_read, log_exists
from harness import wait_until
from kafkaclients import KEYS, address, create
from rawmqtt import publish_bytes
from test_kafka_java import produce
from test_route import partition_of

PARTITIONS = 12


def by_java(java, broker, topic):
    produce(java, broker, topic, [f"{key}:{key}" for key in KEYS], "--reader-property", "parse.key=true",
            "--reader-property", "key.separator=:")


def by_kafka_python(java, broker, topic):
    producer = KafkaProducer(bootstrap_servers=address(broker))
    for key in KEYS:
        producer.send(topic, key=key.encode(), value=key.encode())
    producer.flush(20)
    producer.close(timeout=10)


def by_librdkafka(java, broker, topic):
    producer = Producer({"bootstrap.servers": address(broker), "partitioner": "murmur2_random",
                         "broker.address.family": "v4"})
    for key in KEYS:
        producer.produce(topic, key=key, value=key)
    assert producer.flush(20) == 0


def partitions(broker, topic):
    rows = kcat_read(broker.kafka, topic)
    assert len(rows) == len(KEYS) and all(row["key"] == row["value"] for row in rows)
    return {row["key"]: row["partition"] for row in rows}


@pytest.mark.kafka
@pytest.mark.timeout(300)
@pytest.mark.parametrize("produce_keys", [by_java, by_kafka_python, by_librdkafka])
def test_clients_agree(shared, java, unique, produce_keys):
    create(shared, unique, PARTITIONS)
    produce_keys(java, shared, unique)
    assert partitions(shared, unique) == {key: partition_of(key, PARTITIONS) for key in KEYS}


@pytest.mark.rialto
def test_a_route_agrees_with_them(make_broker, connect):
    route = f"""\
[[route]]
name = "keys"
from = {{ mqtt = "keys/+" }}
to   = {{ log = "{{1}}", key = "{{user:key}}", partitions = {PARTITIONS} }}
"""
    broker = make_broker(routes={"keys.toml": route}).start()
    client = connect(broker, "keys", version=5)
    for number, key in enumerate(KEYS):
        client.send(publish_bytes("keys/routed", key, qos=1, mid=number + 1, version=5,
                                  properties={"user": [("key", key)]}))
    wait_until(lambda: log_exists(broker.kafka, "routed") and len(kcat_read(broker.kafka, "routed")) == len(KEYS),
               "the route has carried everything")
    assert partitions(broker, "routed") == {key: partition_of(key, PARTITIONS) for key in KEYS}
