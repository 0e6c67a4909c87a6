"""The Kafka half of tests/gate: what Rialto costs beside a private Apache Kafka (KRaft, one node), measured with
`kload` in interleaved rounds. Rialto syncs before it answers; Kafka does not, but for one comparison of latency.

Each row is one figure of both brokers, their ratio round by round, and the bound on its median. Big batches are
measured with librdkafka too, through its Python client.
"""

import json
import os
import subprocess
import time

from apache_kafka import ApacheKafka
from figures import Figure, head, tell, wanted
from harness import Broker, wait_until

# As Kafka's own start script starts it, and with its own defaults where the tests' node is smaller.
JVM = ["-Xms1g", "-Xmx1g", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20",
       "-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent"]
DEFAULTS = {"num.network.threads": "3", "num.io.threads": "8", "log.cleaner.dedupe.buffer.size": "134217728",
            # What earlier shapes wrote must not fill the disk.
            "log.segment.delete.delay.ms": "1000"}
SYNCING = {**DEFAULTS, "log.flush.interval.messages": "1"}


def cost(name, share):
    return Figure(name, "server_us_per_msg", "µs", share=share)


def sized(mode, share, note=""):
    """A shape in both sizes and on one and twelve partitions."""
    fill = {200: 1_000_000, 1024: 300_000}
    for size in (200, 1024):
        for partitions in (1, 12):
            more = f" --fill {fill[size]}" if mode == "fetch" else ""
            name = f"{mode} {size} B, {partitions} partition{'s' if partitions > 1 else ''}{note}"
            yield f"{mode} --size {size} --partitions {partitions}{more}", [cost(name, share)]


def end_to_end(name, share):
    return [Figure(f"end to end {part}, {name}", f"e2e_{part}_us", "µs", share=share) for part in ("p50", "p99")]


# kload's arguments and the figures they give
RUNS = [
    *sized("produce", 1 / 3),
    ("produce --producers 16 --batch-records 1 --inflight 1", [cost("produce, 16 × one record", 1 / 3)]),
    ("produce --batch-bytes 1000000", [cost("produce, 1 MB batches", 1)]),
    *sized("fetch", 1.1),
]
LATENCY = "latency --rate 2000"
LIBRDKAFKA = Figure("produce, librdkafka, 1 MB batches", "server_us_per_msg", "µs", share=1)
LIBRDKAFKA_MESSAGES = 400_000
ROUTE = Figure("MQTT to a log, QoS 0, 256 B", "us", "µs", share=4)
ROUTE_FILE = '[[route]]\nname = "gate"\nfrom = { mqtt = "#" }\nto   = { log = "gate", partitions = 12 }\n'
ROUTE_MESSAGES = 500_000


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def load(kload, arguments, broker, seconds, warm=1.0):
    """One run of the generator: its JSON line."""
    mode, *rest = arguments.split()
    command = [kload, mode, f"127.0.0.1:{broker.kafka}", "--pid", str(broker.process.pid), *rest]
    if mode in ("produce", "fetch", "latency", "idle"):
        command += ["--duration", str(seconds), "--warmup", str(warm)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0 or not rows:
        raise SystemExit(f"{' '.join(command)} -> {done.returncode}\n{done.stdout}{done.stderr}")
    row = rows[-1]
    if row.get("errors"):
        raise SystemExit(f"{' '.join(command)}: {row['errors']} errors, the first {row['first_error']}")
    return row


def librdkafka(broker, round_):
    """What 200-byte messages cost that librdkafka sends in batches as large as it makes them."""
    from confluent_kafka import Producer
    producer = Producer({"bootstrap.servers": f"127.0.0.1:{broker.kafka}", "acks": "all", "batch.size": 1_000_000,
                         "linger.ms": 500, "batch.num.messages": 1_000_000,
                         "queue.buffering.max.messages": 2 * LIBRDKAFKA_MESSAGES})
    topic, value, failed = f"gate-librdkafka-{round_}", b"x" * 200, []

    def delivered(error, _):
        if error is not None:
            failed.append(error)

    producer.produce(topic, value, on_delivery=delivered)
    producer.flush(30)
    before = cpu_seconds(broker.process.pid)
    for _ in range(LIBRDKAFKA_MESSAGES):
        producer.produce(topic, value, on_delivery=delivered)
    left = producer.flush(60)
    if left or failed:
        raise SystemExit(f"librdkafka: {left} messages left, failed: {failed[:1]}")
    used = cpu_seconds(broker.process.pid) - before
    return {"server_us_per_msg": used * 1e6 / LIBRDKAFKA_MESSAGES}


def rounds_of(options, run, theirs, ours):
    """(their rows, our rows) of interleaved rounds; `run(broker, round)` gives a row."""
    pairs = [(run(theirs, round_), run(ours, round_)) for round_ in range(options.krounds)]
    return [row for row, _ in pairs], [row for _, row in pairs]


def measure_latency(options, theirs, ours, name, share):
    """2,000 messages a second, acks all; returns how many bounds were missed."""
    figures = end_to_end(name, share)
    if not wanted(options, figures):
        return 0
    rows = rounds_of(options, lambda broker, _: load(options.kload, LATENCY, broker, options.seconds), theirs, ours)
    return sum(not tell(figure, *([row[figure.key] for row in side] for side in rows)) for figure in figures)


def measure_rest(options, theirs, ours):
    """Start, memory and CPU of a broker that has nothing to do; returns how many bounds were missed."""
    figures = [Figure("start to ready", "", "ms", most=100), Figure("memory, idle", "", "KB", share=1 / 10),
               Figure("CPU idle, ms a second", "", "ms", most=1)]
    if not wanted(options, figures):
        return 0
    start, memory, idle = figures
    missed = not tell(start, [theirs.ready_ms], [ours.ready_ms])
    missed += not tell(memory, [theirs.memory_kb()], [ours.memory_kb()])
    rows = [load(options.kload, "idle", broker, 10, 0) for broker in (theirs, ours)]
    return missed + (not tell(idle, *([row["server_cpu_ms_per_s"]] for row in rows)))


def measure_route(options, folder):
    """QoS 0 into a log, as a multiple of our own QoS 0 fan-in; returns how many bounds were missed."""
    if not options.mqload or not wanted(options, [ROUTE]):
        return 0
    shape = f"pubsub --layout fanin --pubs 50 --qos 0 --size 256 --total {ROUTE_MESSAGES}"
    plain = Broker(folder / "plain").start()
    routed = Broker(folder / "routed", routes={"gate.toml": ROUTE_FILE}).start()
    fan_in, route = [], []

    def publish(broker, subscribers):
        command = [options.mqload, *shape.split(), "--subs", str(subscribers), "--port", str(broker.mqtt), "--pid",
                   str(broker.process.pid)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        return json.loads(done.stdout.splitlines()[-1])

    def in_log():
        done = subprocess.run([options.kload, "count", f"127.0.0.1:{routed.kafka}", "--topic", "gate"],
                              capture_output=True, text=True, timeout=60)
        return json.loads(done.stdout.splitlines()[-1])["records"]

    try:
        for round_ in range(options.krounds):
            fan_in.append(publish(plain, 1)["broker_us_per_msg"])
            before = cpu_seconds(routed.process.pid)
            publish(routed, 0)
            wait_until(lambda: in_log() >= (round_ + 1) * ROUTE_MESSAGES, "every message is in the log", 60, 0.05)
            route.append((cpu_seconds(routed.process.pid) - before) * 1e6 / ROUTE_MESSAGES)
        return int(not tell(ROUTE, fan_in, route))
    finally:
        plain.stop()
        routed.stop()


def measure(options, folder):
    """Runs everything; returns how many bounds were missed."""
    head("kafka")
    missed = 0
    theirs = ApacheKafka(folder / "kafka", settings=DEFAULTS, options=JVM)
    ours = Broker(folder / "rialto-kafka")
    try:
        theirs.start()
        ours.start()
        missed += measure_rest(options, theirs, ours)
        # Kafka's virtual machine compiles what is hot, which takes it some seconds of load.
        for shape in ("produce", "fetch --fill 200000", LATENCY):
            load(options.kload, shape, theirs, 8)
        missed += measure_latency(options, theirs, ours, "2,000/s", 2)
        for arguments, figures in RUNS:
            if not wanted(options, figures):
                continue
            rows = rounds_of(options, lambda broker, _, run=arguments: load(options.kload, run, broker,
                                                                            options.seconds), theirs, ours)
            for figure in figures:
                missed += not tell(figure, *([row[figure.key] for row in side] for side in rows))
        if wanted(options, [LIBRDKAFKA]):
            rows = rounds_of(options, librdkafka, theirs, ours)
            missed += not tell(LIBRDKAFKA, *([row[LIBRDKAFKA.key] for row in side] for side in rows))
        loaded = Figure("memory, loaded", "", "KB", share=1 / 10)
        if wanted(options, [loaded]):
            missed += not tell(loaded, [theirs.memory_kb()], [ours.memory_kb()])
        theirs.close()
        if wanted(options, end_to_end("2,000/s, Kafka syncing", 1 / 10)):
            theirs = ApacheKafka(folder / "kafka-syncing", settings=SYNCING, options=JVM).start()
            load(options.kload, LATENCY, theirs, 5)
            missed += measure_latency(options, theirs, ours, "2,000/s, Kafka syncing", 1 / 10)
        print("(fan-in of the same broker instead of Kafka)" if options.mqload else "", flush=True)
        return missed + measure_route(options, folder)
    finally:
        theirs.close()
        if ours.alive:
            ours.stop()
        ours.close()
