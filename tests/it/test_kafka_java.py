"""Apache Kafka's own tools and the Java consumer (issue 5, "Proof"), started by class name in one virtual machine."""

import json
import re

import pytest

from harness import wait_until
from kafkaclients import address, committed, create, ends, json_rows, rows_of

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]


def produce(java, broker, topic, lines, *args):
    java.run("ConsoleProducer", "--bootstrap-server", address(broker), "--topic", topic, *args,
             data="".join(line + "\n" for line in lines))


def consume(java, broker, topic, count, *args):
    said = java.run("consumer.ConsoleConsumer", "--bootstrap-server", address(broker), "--topic", topic,
                    "--max-messages", count, "--timeout-ms", 20_000, *args)
    return said.splitlines()


def groups(java, broker, *args, check=True):
    return java.run("consumer.group.ConsumerGroupCommand", "--bootstrap-server", address(broker), *args, check=check)


def test_console_producer_and_consumer(java, shared, unique):
    """The producer is idempotent, as today's are unless told otherwise."""
    create(shared, unique, 2)
    lines = [f"k{n % 7}:v{n}" for n in range(100)]
    produce(java, shared, unique, lines, "--reader-property", "parse.key=true", "--reader-property", "key.separator=:")
    assert sum(ends(shared, unique).values()) == 100
    group = f"g-{unique}"
    said = consume(java, shared, unique, 100, "--from-beginning", "--group", group,
                   "--formatter-property", "print.key=true", "--formatter-property", "key.separator=:")
    assert sorted(said) == sorted(lines)
    assert committed(shared, group, unique) == ends(shared, unique)
    produce(java, shared, unique, ["later"], "--compression-codec", "zstd")
    assert consume(java, shared, unique, 1, "--group", group) == ["later"]


def test_topics(java, shared, unique):
    def topics(*args, check=True):
        return java.run("TopicCommand", "--bootstrap-server", address(shared), *args, check=check)

    assert f"Created topic {unique}." in topics("--create", "--topic", unique, "--partitions", 3, "--config",
                                                "retention.ms=3600000")
    topics("--create", "--topic", unique, check=False)
    assert java.code == 1 and "TopicExistsException" in java.errors, java.errors
    assert unique in topics("--list").split()
    said = topics("--describe", "--topic", unique)
    assert "PartitionCount: 3" in said and "retention.ms=3600000" in said and said.count("Leader: ") == 3
    topics("--alter", "--topic", unique, "--partitions", 5)
    wait_until(lambda: "PartitionCount: 5" in topics("--describe", "--topic", unique), "five partitions")
    topics("--delete", "--topic", unique)
    wait_until(lambda: unique not in topics("--list").split(), "it is gone")


def test_configs(java, shared, unique):
    create(shared, unique)

    def configs(*args, check=True):
        return java.run("kafka.admin.ConfigCommand", "--bootstrap-server", address(shared), "--topic", unique, *args,
                        check=check)

    assert "Completed updating config" in configs("--alter", "--add-config", "retention.ms=5000,max.message.bytes=2000")
    said = configs("--describe")
    assert "retention.ms=5000" in said and "max.message.bytes=2000" in said
    every = configs("--describe", "--all")
    for name in ("cleanup.policy", "retention.bytes", "segment.bytes", "segment.ms", "compression.type",
                 "message.timestamp.type", "min.insync.replicas"):
        assert re.search(rf"^  {re.escape(name)}=", every, re.M), name
    configs("--alter", "--delete-config", "max.message.bytes")
    said = configs("--describe")
    assert "retention.ms=5000" in said and "max.message.bytes" not in said
    configs("--alter", "--add-config", "retention.ms=soon", check=False)
    assert java.code != 0


def test_groups(java, shared, unique):
    """List, describe with lag, reset, delete; all as an operator does."""
    create(shared, unique, 2)
    group = f"g-{unique}"
    produce(java, shared, unique, [f"{n}:{n}" for n in range(30)], "--reader-property", "parse.key=true",
            "--reader-property", "key.separator=:")
    consume(java, shared, unique, 30, "--from-beginning", "--group", group)
    produce(java, shared, unique, ["behind"])
    assert group in groups(java, shared, "--list").split()
    rows = rows_of(groups(java, shared, "--describe", "--group", group))
    assert {int(row["PARTITION"]) for row in rows} == {0, 1} and sum(int(row["LAG"]) for row in rows) == 1, rows
    state = rows_of(groups(java, shared, "--describe", "--group", group, "--state"))
    assert "Empty" in str(state), state
    groups(java, shared, "--group", group, "--topic", unique, "--reset-offsets", "--to-earliest", "--execute")
    assert committed(shared, group, unique) == {0: 0, 1: 0}
    groups(java, shared, "--group", group, "--topic", f"{unique}:1", "--reset-offsets", "--shift-by", 2, "--execute")
    assert committed(shared, group, unique) == {0: 0, 1: 2}
    groups(java, shared, "--group", group, "--topic", unique, "--reset-offsets", "--to-datetime",
           "2000-01-01T00:00:00.000", "--execute")
    assert committed(shared, group, unique) == {0: 0, 1: 0}
    assert "successful" in groups(java, shared, "--delete-offsets", "--group", group, "--topic", f"{unique}:1").lower()
    assert committed(shared, group, unique) == {0: 0}
    assert "successful" in groups(java, shared, "--delete", "--group", group)
    assert group not in groups(java, shared, "--list").split()


def test_offsets_and_deleted_records(java, shared, unique, tmp_path):
    create(shared, unique, 2)
    produce(java, shared, unique, [f"{n}:{n}" for n in range(40)], "--reader-property", "parse.key=true",
            "--reader-property", "key.separator=:")

    def offsets(time):
        said = java.run("GetOffsetShell", "--bootstrap-server", address(shared), "--topic", unique, "--time", time)
        return {int(part): int(offset) for part, offset in re.findall(rf"^{unique}:(\d+):(\d+)$", said, re.M)}

    assert offsets("latest") == ends(shared, unique) and offsets("earliest") == {0: 0, 1: 0}
    assert set(offsets("max-timestamp")) == {0, 1}
    file = tmp_path / "delete.json"
    file.write_text(json.dumps({"version": 1, "partitions": [{"topic": unique, "partition": 0, "offset": 3}]}))
    said = java.run("DeleteRecordsCommand", "--bootstrap-server", address(shared), "--offset-json-file", file)
    assert f"partition: {unique}-0\tlow_watermark: 3" in said, said
    assert offsets("earliest") == {0: 3, 1: 0}


@pytest.mark.parametrize("assignor, instance", [("RangeAssignor", ""), ("CooperativeStickyAssignor", ""),
                                                ("RangeAssignor", "static-")], ids=["eager", "cooperative", "static"])
def test_two_java_consumers_share(java, shared, unique, assignor, instance):
    create(shared, unique, 4)
    produce(java, shared, unique, [f"{n}:{n}" for n in range(100)], "--reader-property", "parse.key=true",
            "--reader-property", "key.separator=:")
    said = java.run("Pair", address(shared), unique, f"g-{unique}", 100, assignor, instance)
    held = [set(map(int, re.findall(r"\d+", parts))) for parts in re.findall(r"held \[(.*)\]", said)]
    assert len(held) == 2 and held[0] and not held[0] & held[1] and held[0] | held[1] == {0, 1, 2, 3}, said
    assert "fault" not in said and "records 100" in said.splitlines(), said
    assert committed(shared, f"g-{unique}", unique) == ends(shared, unique)


def test_it_finds_the_versions_it_needs(java, shared):
    said = java.run("BrokerApiVersionsCommand", "--bootstrap-server", address(shared))
    for api in ("Produce(0)", "Fetch(1)", "JoinGroup(11)", "InitProducerId(22)", "DeleteRecords(21)"):
        assert re.search(rf"{re.escape(api)}: \d+", said), f"{api} in {said}"


# -- with --long -------------------------------------------------------------------------------------------------

def test_verifiable_producer_and_consumer(java, shared, unique, long):
    if not long:
        pytest.skip("with --long")
    create(shared, unique, 3)
    # On machines of their own: they finish what they do when theirs shuts down.
    said = java.alone("VerifiableProducer", "--bootstrap-server", address(shared), "--topic", unique, "--max-messages",
                    5000, "--throughput", -1)
    rows = json_rows(said)
    assert sum(row["name"] == "producer_send_success" for row in rows) == 5000
    assert next(row for row in rows if row["name"] == "tool_data")["acked"] == 5000
    said = java.alone("VerifiableConsumer", "--bootstrap-server", address(shared), "--topic", unique, "--group-id",
                    f"g-{unique}", "--max-messages", 5000, "--reset-policy", "earliest", "--enable-autocommit")
    assert sum(row["count"] for row in json_rows(said) if row["name"] == "records_consumed") == 5000


def test_performance_tools(java, shared, unique, long):
    """Not for the figures: the machine is shared. They show that Kafka's own load runs to its end."""
    if not long:
        pytest.skip("with --long")
    create(shared, unique, 3)
    said = java.run("ProducerPerformance", "--topic", unique, "--num-records", 200_000, "--record-size", 200,
                    "--throughput", -1, "--producer-props", f"bootstrap.servers={address(shared)}", "acks=all")
    print(said.splitlines()[-1])
    assert sum(ends(shared, unique).values()) == 200_000
    said = java.run("ConsumerPerformance", "--bootstrap-server", address(shared), "--topic", unique, "--messages",
                    200_000, "--group", f"g-{unique}")
    print(said.splitlines()[-1])
    assert "200000" in said.replace(",", "").replace(" ", ",") or "20000" in said, said

