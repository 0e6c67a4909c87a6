"""The issue's own route: an MQTT wildcard into a partitioned log, read with kcat (issue 3, item 4; design §4)."""

import pytest

from clients import kcat_read, log_exists, mosquitto_pub
from harness import wait_until
from rawmqtt import publish_bytes

pytestmark = pytest.mark.rialto

TELEMETRY = """\
[[route]]
name = "telemetry"
from = { mqtt = "factory/+/telemetry/#" }
to   = { log = "telemetry", key = "{1}", partitions = 12 }
"""


def murmur2(data):
    """Kafka's partitioner hash (org.apache.kafka.common.utils.Utils.murmur2), as an unsigned number."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = (0x9747B28C ^ len(data)) & mask
    whole = len(data) // 4 * 4
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at:at + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = (h * m & mask) ^ k
    tail = data[whole:]
    if tail:
        h = (h ^ int.from_bytes(tail, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15


def partition_of(key, count):
    return (murmur2(key.encode()) & 0x7FFFFFFF) % count


def test_the_hash_here_is_the_java_clients():
    vectors = {"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536,
               "a-little-bit-longer-string": -1486304829}
    for text, expected in vectors.items():
        assert murmur2(text.encode()) == expected & 0xFFFFFFFF


@pytest.fixture
def routed(make_broker):
    return make_broker(routes={"telemetry.toml": TELEMETRY}).start()


def test_a_wildcard_lands_in_the_log_by_key(routed):
    machines = [f"machine-{number}" for number in range(30)]
    for number, machine in enumerate(machines):
        mosquitto_pub(routed.mqtt, f"factory/{machine}/telemetry/temp/{number}", f"v{number}", qos=1)
    rows = kcat_read(routed.kafka, "telemetry")
    assert {row["value"]: (row["key"], row["partition"]) for row in rows} == {
        f"v{number}": (machine, partition_of(machine, 12)) for number, machine in enumerate(machines)}
    assert len(rows) == 30


def test_the_log_has_the_partitions_that_the_route_names(routed):
    import json

    from clients import kcat
    mosquitto_pub(routed.mqtt, "factory/a/telemetry", "parent level too", qos=1)
    listed = json.loads(kcat(routed.kafka, "-L", "-J").stdout)
    assert {topic["topic"]: len(topic["partitions"]) for topic in listed["topics"]}["telemetry"] == 12


def test_every_qos_is_routed_once_and_acknowledged_means_readable(routed, connect):
    pub = connect(routed, "p", version=5)
    for qos in (1, 2):
        assert pub.publish("factory/m/telemetry/x", f"q{qos}", qos=qos).reason == 0
        assert f"q{qos}" in [row["value"] for row in kcat_read(routed.kafka, "telemetry")]
    pub.publish("factory/m/telemetry/x", "q0", qos=0)
    wait_until(lambda: "q0" in [row["value"] for row in kcat_read(routed.kafka, "telemetry")], "QoS 0 arrives")
    assert [row["value"] for row in kcat_read(routed.kafka, "telemetry")] == ["q1", "q2", "q0"]


def test_what_does_not_match_is_not_routed(routed):
    for topic in ("factory/a/status", "factory/a/b/telemetry/x", "other"):
        mosquitto_pub(routed.mqtt, topic, "no", qos=1)
    mosquitto_pub(routed.mqtt, "factory/a/telemetry/x", "yes", qos=1)
    assert [row["value"] for row in kcat_read(routed.kafka, "telemetry")] == ["yes"]


def test_subscribers_still_get_their_copy(routed, connect):
    sub, pub = connect(routed, "s"), connect(routed, "p")
    sub.subscribe(("factory/#", 1))
    pub.publish("factory/a/telemetry/x", "both", qos=1)
    assert sub.message().payload == b"both"
    assert [row["value"] for row in kcat_read(routed.kafka, "telemetry")] == ["both"]


def test_one_key_stays_in_order(routed, connect):
    clients = [connect(routed, f"p{number}") for number in range(4)]
    for start in range(0, 500, 50):
        for number, client in enumerate(clients):
            client.send(b"".join(publish_bytes(f"factory/m{number}/telemetry/x", f"{number}:{n}", 1, n + 1)
                                 for n in range(start, start + 50)))
        for client in clients:
            for _ in range(50):
                client.receive()
    rows = kcat_read(routed.kafka, "telemetry")
    for number in range(4):
        mine = [row for row in rows if row["value"].startswith(f"{number}:")]
        assert [row["value"] for row in mine] == [f"{number}:{n}" for n in range(500)]
        assert len({row["partition"] for row in mine}) == 1


def test_metadata_travels_as_headers(routed, connect):
    pub = connect(routed, "meter", version=5)
    pub.publish("factory/m/telemetry/x", "v", qos=1, properties={
        "content_type": "text/plain", "user": [("unit", "K"), ("tag", "a"), ("tag", "b")]})
    row, = kcat_read(routed.kafka, "telemetry")
    headers = row["headers"]
    assert [pair for pair in headers if pair[0] in ("unit", "tag")] == [("unit", "K"), ("tag", "a"), ("tag", "b")]
    assert ("mqtt-topic", "factory/m/telemetry/x") in headers and ("mqtt-qos", "1") in headers
    assert ("content-type", "text/plain") in headers


def test_a_duplicate_of_qos_2_is_in_the_log_once(routed, connect):
    pub = connect(routed, "p")
    for dup in (False, True, True):
        pub.send(publish_bytes("factory/m/telemetry/x", "once", 2, 4, dup=dup))
        pub.receive()
    pub.send(b"\x62\x02\x00\x04")
    pub.receive()
    pub.publish("factory/m/telemetry/x", "end", qos=2, mid=5)
    assert [row["value"] for row in kcat_read(routed.kafka, "telemetry")] == ["once", "end"]


def test_templates_name_log_key_and_partition(make_broker, connect):
    route = """\
[[route]]
name = "by-site"
from = { mqtt = "site/+/#" }
to   = { log = "site-{1}", key = "{#}", partitions = 3 }

[[route]]
name = "fixed"
from = { mqtt = "fixed/+" }
to   = { log = "fixed", partition = "{1}", partitions = 4 }
"""
    broker = make_broker(routes={"site.toml": route}).start()
    pub = connect(broker, "p")
    pub.publish("site/north/a/b", "n", qos=1)
    pub.publish("site/south/c", "s", qos=1)
    for number in range(4):
        pub.publish(f"fixed/{number}", str(number), qos=1)
    north, = kcat_read(broker.kafka, "site-north")
    south, = kcat_read(broker.kafka, "site-south")
    assert (north["key"], north["partition"]) == ("a/b", partition_of("a/b", 3))
    assert (south["key"], south["value"]) == ("c", "s")
    assert {row["value"]: row["partition"] for row in kcat_read(broker.kafka, "fixed")} == {
        str(number): number for number in range(4)}
    assert not log_exists(broker.kafka, "site-{1}")


def test_the_default_key_is_the_topic(make_broker, connect):
    route = '[[route]]\nname = "r"\nfrom = { mqtt = "a/#" }\nto = { log = "r", partitions = 5 }\n'
    broker = make_broker(routes={"r.toml": route}).start()
    connect(broker, "p").publish("a/b", "x", qos=1)
    row, = kcat_read(broker.kafka, "r")
    assert (row["key"], row["partition"]) == ("a/b", partition_of("a/b", 5))


def test_a_message_its_template_cannot_place_is_counted_not_lost_silently(make_broker, connect):
    route = ('[[route]]\nname = "pointer"\nfrom = { mqtt = "a" }\n'
             'to = { log = "r", key = "{json:/id}", partitions = 2 }\n')
    broker = make_broker(routes={"r.toml": route}).start()
    pub = connect(broker, "p")
    pub.publish("a", "no json", qos=1)
    pub.publish("a", '{"id": "x7"}', qos=1)
    row, = kcat_read(broker.kafka, "r")
    assert row["key"] == "x7"
    wait_until(lambda: broker.metric("rialto_route_failures_total", route="pointer") == 1,
               "route_failures_total is counted")
    wait_until(lambda: broker.metric("rialto_route_messages_total", route="pointer") == 1,
               "route_messages_total is counted")
    assert broker.metric("rialto_log_appends_total") >= 1
