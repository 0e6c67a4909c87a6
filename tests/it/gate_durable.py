"""The durable part of tests/gate: what an acknowledgement costs that holds.

QoS 1 publishes into a durable session whose subscriber is away, from 1, 50 and 500 publishers with one message in
flight each and with twenty, on three brokers in turns: Rialto, which syncs before it acknowledges, with the disk as it
is and with 2 ms more for every sync; mosquitto with persistence, which never syncs; and, if there is an AMQP load
generator, persistent messages into a quorum queue of RabbitMQ, with confirms, which syncs. A foreign broker's syncs
cannot be slowed from outside without a library of ours inside it, so theirs stay what the disk does.

With one message in flight each publisher waits out every sync, so with 2 ms a sync only the twenty are held to a
bound: nobody can confirm faster than what is in flight divided by the time of a sync.

Then the p99 of an acknowledgement while checkpoints run one after the other, beside none.
"""

import json
import re
import statistics
import subprocess
from pathlib import Path

import rawmqtt
from harness import Broker
from mosquitto import Mosquitto
from rabbit import Rabbit

PUBLISHERS = (1, 50, 500)
IN_FLIGHT = (1, 20)
SIZE = 256
# No round leaves more than this behind.
MESSAGES_MAX = 1_000_000
SLOW_SYNC = "sync journal delay 2000\n"
# The session takes all that comes: what is dropped would cost nothing.
ROOM = '[mqtt]\nqueued_messages_max = 100000000\nqueued_bytes_max = "64GiB"\n'
QUORUM = "pubsub --durable 1 --persistent 1 --qtype quorum --queues 1 --cons 0 --ahead 0 --warm 1"

RARE = ROOM + '[checkpoint]\ninterval_s = 3600\njournal_bytes = "16GiB"\nmemory_bytes = "4GiB"\n'
# Begins the next one when one is done: a MiB is there by then.
OFTEN = ROOM + '[checkpoint]\ninterval_s = 1\njournal_bytes = "1MiB"\n'
CHECKPOINT_LOAD = "--pubs 50 --window 1 --rate 5000"
CHECKPOINT_BOUND = 3.0


def publish(options, broker, tag, arguments):
    """One run into a fresh session: messages a second, latency, CPU and bytes written for each."""
    run = [options.mqload, "offline", "--prefix", tag, "--port", str(broker.mqtt), "--size", str(SIZE),
           "--total", str(MESSAGES_MAX), "--secs", str(options.seconds), *arguments.split()]
    subprocess.run([*run, "--phase", "sub"], capture_output=True, timeout=60, check=True)
    done = subprocess.run([*run, "--phase", "pub", "--pid", str(broker.process.pid)], capture_output=True, text=True,
                          timeout=300)
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if not rows or rows[-1]["conn_lost"] or rows[-1]["nacks"]:
        raise SystemExit(f"{' '.join(run)} -> {done.returncode}\n{done.stdout}{done.stderr}")
    # A clean session of the same name takes the stored one with it.
    with rawmqtt.Client(broker.mqtt, f"{tag}-offline-s0") as client:
        client.connect()
        client.disconnect()
    row = rows[-1]
    return {"rate": row["per_s"], "p50": row["ack_p50_us"], "p99": row["ack_p99_us"],
            "cpu": row["broker_us_per_msg"], "bytes": row["disk_write_bytes"] / max(row["acked"], 1)}


def written_bytes(pid):
    return int(re.search(r"^write_bytes: (\d+)", Path(f"/proc/{pid}/io").read_text(), re.M).group(1))


def confirm(options, broker, publishers, in_flight):
    """The same into a quorum queue."""
    before = written_bytes(broker.process.pid)
    run = [options.aload, *QUORUM.split(), "--addr", f"127.0.0.1:{broker.ports['amqp']}", "--pid",
           str(broker.process.pid), "--size", str(SIZE), "--pubs", str(publishers), "--confirms", str(in_flight),
           "--secs", str(options.seconds)]
    done = subprocess.run(run, capture_output=True, text=True, timeout=300)
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0 or not rows or rows[-1].get("nacked"):
        raise SystemExit(f"{' '.join(run)} -> {done.returncode}\n{done.stdout}{done.stderr}")
    row = rows[-1]
    written = written_bytes(broker.process.pid) - before
    return {"rate": row["confirm_per_s"], "p50": row["conf_p50_us"], "p99": row["conf_p99_us"],
            "cpu": row["srv_us_per_msg"], "bytes": written / max(row["sent"], 1)}


class Contest:
    """The brokers of one comparison, all of them up from its first round to its last."""

    def __init__(self, options, folder):
        self.options, self.folder, self.rounds = options, folder, 0
        script = folder / "slow-sync"
        folder.mkdir(parents=True, exist_ok=True)
        script.write_text(SLOW_SYNC)
        self.rialto = {
            "rialto": Broker(folder / "rialto", config=ROOM),
            "rialto, sync + 2 ms": Broker(folder / "slow", config=ROOM, env={"RIALTO_TEST_DISK": str(script)}),
        }
        self.mosquitto = Mosquitto(folder / "mosquitto")
        self.rabbit = Rabbit(folder / "rabbitmq") if options.aload else None

    def start(self):
        for broker in (*self.rialto.values(), self.mosquitto, self.rabbit):
            if broker is not None:
                broker.start()

    def close(self):
        for broker in (*self.rialto.values(), self.mosquitto, self.rabbit):
            if broker is not None:
                broker.close()

    def round(self, publishers, in_flight):
        """{broker: row}, one after the other."""
        self.rounds += 1
        load = f"--pubs {publishers} --window {in_flight}"
        rows = {}
        for name, broker in (("mosquitto, no sync", self.mosquitto), *self.rialto.items()):
            rows[name] = publish(self.options, broker, f"d{self.rounds}", load)
        if self.rabbit is not None:
            rows["rabbitmq, quorum queue"] = confirm(self.options, self.rabbit, publishers, in_flight)
        return rows


def is_bound(publishers, in_flight, name):
    return publishers >= 50 and (in_flight > 1 or "2 ms" not in name)


def tell(publishers, in_flight, rounds, ours):
    """Prints a shape's rows; returns how many bounds were missed."""
    missed = 0
    median = {name: {key: statistics.median(row[name][key] for row in rounds) for key in rounds[0][name]}
              for name in rounds[0]}
    title = f"{publishers} publisher{'s' if publishers > 1 else ''}, {in_flight} in flight"
    for name, row in median.items():
        text = (f"{title:27} {name:24} {row['rate']:9.0f} {row['p50']:9.0f} {row['p99']:9.0f} {row['cpu']:9.2f} "
                f"{row['bytes']:9.0f}")
        if name in ours:
            ratios = {other: statistics.median(row[name]["rate"] / row[other]["rate"] for row in rounds)
                      for other in median if other not in ours}
            text += "  " + ", ".join(f"{ratio:.2f}× {other.partition(',')[0]}" for other, ratio in ratios.items())
            slower = sum(ratio <= 1 for ratio in ratios.values())
            if is_bound(publishers, in_flight, name) and slower:
                missed += slower
                text += "   MISSED"
        print(text, flush=True)
    return missed


def measure_brokers(options, folder):
    """Every shape; returns how many bounds were missed: with 50 publishers and more Rialto is the fastest."""
    print(f"{'durable QoS 1':27} {'broker':24} {'a second':>9} {'p50 µs':>9} {'p99 µs':>9} {'CPU µs':>9} {'bytes':>9}"
          "  rate as a multiple of")
    contest = Contest(options, folder)
    missed = 0
    try:
        contest.start()
        contest.round(50, 20)
        for publishers in PUBLISHERS:
            for in_flight in IN_FLIGHT:
                rounds = [contest.round(publishers, in_flight) for _ in range(options.drounds)]
                missed += tell(publishers, in_flight, rounds, contest.rialto)
        return missed
    finally:
        contest.close()


def measure_checkpoints(options, folder):
    """p99 while checkpoints run one after the other, beside none; returns how many bounds were missed."""
    rare, often = Broker(folder / "rare", config=RARE), Broker(folder / "often", config=OFTEN)
    try:
        for broker in (rare, often):
            broker.start()
            publish(options, broker, "warm", CHECKPOINT_LOAD)
        before = [broker.metric("rialto_checkpoints_total") for broker in (rare, often)]
        rounds = [tuple(publish(options, broker, f"c{round_}", CHECKPOINT_LOAD)["p99"] for broker in (rare, often))
                  for round_ in range(max(options.drounds, 5))]
        taken = [broker.metric("rialto_checkpoints_total") - count
                 for broker, count in zip((rare, often), before, strict=True)]
        if taken[0] > 0 or taken[1] < len(rounds):
            raise SystemExit(f"{taken[0]:.0f} checkpoints where none was to be, {taken[1]:.0f} where many were")
        ratio = statistics.median(busy / idle for idle, busy in rounds)
        missed = ratio > CHECKPOINT_BOUND
        print(f"p99 of an acknowledgement at 5,000/s: {statistics.median(idle for idle, _ in rounds):.0f} µs without "
              f"checkpoints, {statistics.median(busy for _, busy in rounds):.0f} µs with {taken[1]:.0f}: {ratio:.2f}×, "
              f"≤ {CHECKPOINT_BOUND:g}×{'   MISSED' if missed else ''}", flush=True)
        return int(missed)
    finally:
        rare.close()
        often.close()


def measure(options, folder):
    """Runs everything; returns how many bounds were missed."""
    return measure_brokers(options, folder / "brokers") + measure_checkpoints(options, folder / "checkpoints")
