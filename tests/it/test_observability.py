"""/metrics, /healthz, /readyz and logs (issue 3, item 5)."""

import json
import time

import pytest

from clients import promtool_check
from harness import wait_until

pytestmark = pytest.mark.rialto


def test_promtool_finds_nothing_to_say(broker, connect):
    sub, pub = connect(broker, "s"), connect(broker, "p", version=5)
    sub.subscribe(("t", 2))
    for qos in (0, 1, 2):
        pub.publish("t", "x", qos=qos)
        sub.message()
    status, body = broker.http("/metrics")
    assert status == 200
    assert promtool_check(body) == (0, "")
    for line in body.splitlines():
        if line and not line.startswith("#"):
            assert line.startswith(("rialto_", "process_")), line


def test_messages_and_connections_are_counted(broker, connect):
    sub, pub = connect(broker, "s"), connect(broker, "p")
    sub.subscribe(("t", 1))
    for _ in range(10):
        pub.publish("t", "x", qos=1)
    sub.messages(10)

    def counted():
        return (broker.metric("rialto_connections", protocol="mqtt") == 2
                and broker.metric("rialto_messages_received_total", protocol="mqtt", qos="1") == 10
                and broker.metric("rialto_messages_delivered_total", protocol="mqtt", qos="1") == 10
                and broker.metric("rialto_subscriptions") == 1)

    wait_until(counted, "the counters show two connections, ten messages in and out, one subscription")
    sub.cut()
    pub.cut()
    wait_until(lambda: broker.metric("rialto_connections", protocol="mqtt") == 0, "both are gone")


def test_health_and_readiness_answer(broker):
    assert broker.http("/healthz")[0] == 200
    assert broker.http("/readyz")[0] == 200
    assert broker.http("/no-such-page")[0] == 404
    assert broker.metric("rialto_ready") == 1


def test_build_and_start_are_told(broker):
    assert any(name.startswith("rialto_build_info{") for name in broker.metrics())
    assert abs(broker.metric("process_start_time_seconds") - time.time()) < 60


def test_json_logs_are_json(make_broker):
    broker = make_broker(args=["--log-format", "json"]).start()
    broker.stop()
    assert broker.lines
    for line in broker.lines:
        entry = json.loads(line)
        assert {"timestamp", "level"} <= set(entry), line


def test_rust_log_sets_the_level(make_broker, connect):
    loud = make_broker(env={"RUST_LOG": "debug"}).start()
    connect(loud, "c").ping()
    loud.wait_log("DEBUG.*c")
    loud.stop()
    quiet = make_broker(env={"RUST_LOG": "info"}).start()
    connect(quiet, "c").ping()
    quiet.stop()
    assert not any("DEBUG" in line for line in quiet.lines)


def test_passwords_and_payloads_are_not_logged(make_broker, connect):
    broker = make_broker(env={"RUST_LOG": "trace"}).start()
    client = connect(broker, "c", username="ada", password="hunter2-secret")
    client.publish("t", "payload-secret", qos=1)
    broker.stop()
    said = "\n".join(broker.lines)
    assert "hunter2-secret" not in said and "payload-secret" not in said


def test_durable_and_applied_lsn_meet_when_idle(broker, connect):
    sub = connect(broker, "s", clean=False)
    sub.subscribe(("t", 1))
    connect(broker, "p").publish("t", "x", qos=1)
    wait_until(lambda: broker.metric("rialto_journal_durable_lsn") == broker.metric("rialto_journal_applied_lsn") > 0,
               "everything durable is applied")
    assert broker.metric("rialto_journal_failing") == 0
