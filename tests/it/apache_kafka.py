"""Apache Kafka itself with the harness's face: one KRaft node, and its command line tools.

Everything comes from Maven Central by tests/kafka-clients/java/pom.xml and lies under tests/.cache. The node runs in a
private folder on ports outside the range that the kernel gives to clients; it is ended by process id.
"""

import json
import os
import subprocess
import threading
import time
import uuid
from base64 import urlsafe_b64encode

from clients import run
from harness import ROOT, free_port, wait_until
from prepared import prepared
from sharing import Foreign, end

SOURCES = ROOT / "tests" / "kafka-clients" / "java"
# A virtual machine and Kafka's two roles need about four seconds of a core, and tests run beside it.
START = 90.0
# One client's compiler is enough for what runs this shortly.
SHORT = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]


def java_folder():
    """Where pom, jars and our own classes are; made on first use, which tests/run does before it measures time."""
    return prepared("apache-kafka", [SOURCES / name for name in ("pom.xml", "Driver.java", "Pair.java")],
                    ["mvn", "-q", "-B", "package"])


def java_command(*arguments, options=SHORT):
    folder = java_folder()
    return ["java", *options, "-cp", f"{folder}/target/classes:{folder}/target/dependency/*",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showShortLogName=true",
            *arguments]


class ApacheKafka(Foreign):
    """One node that is broker and controller. `settings` are lines of its server.properties, before ours."""

    STOPPED = 143

    SETTINGS = {
        "process.roles": "broker,controller", "node.id": "0", "controller.listener.names": "CONTROLLER",
        "offsets.topic.replication.factor": "1", "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": "1", "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "4", "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.num.partitions": "1",
        "group.initial.rebalance.delay.ms": "0", "num.partitions": "1",
        # A test's request may be in nobody's quota, and nobody's metrics are read.
        "num.network.threads": "2", "num.io.threads": "2", "log.cleaner.threads": "1",
        "log.cleaner.dedupe.buffer.size": "2000000", "telemetry.max.bytes": "1048576",
    }

    def __init__(self, folder, config=None, routes=None, args=(), env=None, settings=None, options=None):
        assert not routes and not args and config is None, "what is rialto's own has no counterpart here"
        super().__init__(folder, env=env)
        self.settings = {**self.SETTINGS, **(settings or {})}
        self.options = options or [*SHORT, "-Xms96m", "-Xmx320m"]
        # Kafka's tool takes an identifier that begins with a dash for an option.
        self.cluster = "K" + urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:]

    def command(self):
        return java_command("Driver", "serve", str(self.folder / "server.properties"), self.cluster, str(self.data),
                            options=self.options)

    def start(self, timeout=START):
        """Starts the node; returns when it answers and its group coordinator does."""
        known = bool(self.ports)
        try:
            return self._start(timeout)
        except AssertionError:
            # Somebody else may have taken a port between the look and the start; a restart keeps its own.
            if known or self.alive:
                raise
        self.ports = {}
        return self._start(timeout)

    def _start(self, timeout):
        if not self.ports:
            self.ports = {"kafka": free_port(), "controller": free_port()}
        client, controller = (f"127.0.0.1:{self.ports[name]}" for name in ("kafka", "controller"))
        own = {"listeners": f"PLAINTEXT://{client},CONTROLLER://{controller}",
               "advertised.listeners": f"PLAINTEXT://{client}", "controller.quorum.voters": f"0@{controller}",
               "log.dirs": str(self.data)}
        (self.folder / "server.properties").write_text(
            "".join(f"{name}={value}\n" for name, value in {**self.settings, **own}.items()))
        began = time.monotonic()
        with (self.folder / "broker.log").open("ab") as log:
            # The log goes to the file itself: the shared node outlives the test process that started it.
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env={**os.environ, **self.env}, cwd=self.folder, start_new_session=True)
        wait_until(self._answers, "Apache Kafka is ready", timeout, pause=0.05)
        self.ready_ms = (time.monotonic() - began) * 1000
        return self

    def _answers(self):
        from rawkafka import Closed, Peer
        assert self.alive, "Apache Kafka did not start:\n" + (self.folder / "broker.log").read_text()[-6000:]
        try:
            with Peer(self.kafka, timeout=10) as peer:
                # The first question creates the topic of the groups' offsets.
                found = peer.call("FindCoordinator", 2, key="warm", keyType=0)
                listed = peer.call("OffsetFetch", 5, groupId="warm", topics=None)
                # And the first producer ids have to be fetched from the controller.
                given = peer.call("InitProducerId", 2, transactionalId=None, transactionTimeoutMs=1000)
                return not (found["errorCode"] or listed["errorCode"] or given["errorCode"])
        except (OSError, Closed):
            return False

    def pids(self):
        return [self.process.pid]

    def close(self):
        if self.process is not None and self.process.poll() is None:
            end(self.process.pid)
        self.process = None


class Java:
    """Kafka's programs by class name, one after another in one virtual machine (Driver.java), started when needed."""

    TOOLS = "org.apache.kafka.tools."

    def __init__(self):
        self.process = None

    def run(self, name, *arguments, data="", check=True, timeout=100.0):
        """Runs a class's main; one of org.apache.kafka.tools by its short name. Returns what it printed."""
        if self.process is None:
            self.process = subprocess.Popen(java_command("Driver", options=[*SHORT, "-Xmx256m"]),
                                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                            text=True)
        order = {"class": name if name.startswith("kafka.") or name == "Pair" else self.TOOLS + name,
                 "args": [str(argument) for argument in arguments], "input": data}
        # A tool that hangs is ended with its machine; the next one gets another.
        alarm = threading.Timer(timeout, self.process.kill)
        alarm.start()
        try:
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        finally:
            alarm.cancel()
        if not line:
            self.close()
            raise AssertionError(f"no end within {timeout} s: {name} {arguments}")
        answer = json.loads(line)
        if check and answer["code"] != 0:
            raise AssertionError(f"{name} {arguments} -> {answer['code']}\n{answer['output']}{answer['errors']}")
        self.errors, self.code = answer["errors"], answer["code"]
        return answer["output"]

    def alone(self, name, *arguments):
        """Runs a program of org.apache.kafka.tools in a virtual machine of its own; returns what it printed."""
        return run(java_command(self.TOOLS + name, *map(str, arguments)), timeout=100).stdout

    def close(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait(30)
            self.process = None
