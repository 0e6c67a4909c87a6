"""The AMQP half of tests/gate: what Rialto costs beside a private RabbitMQ, measured with `aload` in interleaved
rounds. Each row is one figure of both brokers, their ratio round by round, and the bound on its median.
"""

import json
import subprocess

from figures import Figure, head, tell, wanted
from harness import Broker
from rabbit import Rabbit


def cost(name, part):
    return Figure(name, "srv_us_per_msg", "µs", share=1 / part)


def latency(name, share):
    return [Figure(f"latency {part}, {name}", f"lat_{part}_us", "µs", share=share) for part in ("p50", "p99")]


# For RabbitMQ alone: Rialto has one kind of queue.
QUORUM = " --qtype quorum"
DURABLE = "pubsub --durable 1 --persistent 1 --ack 50 --prefetch 500"
# aload arguments, the figures they give, how many rounds at most
RUNS = [
    ("pubsub", [cost("transient 1→1", 8)], None),
    ("pubsub --pubs 10 --cons 10 --queues 10", [cost("transient 10→10", 8)], None),
    (DURABLE + " --confirms 50", [cost("durable, 50 confirms", 5)], None),
    (DURABLE + " --confirms 500", [cost("durable, 500 confirms", 5)], None),
    (DURABLE + " --confirms 1", [cost("durable, 1 confirm", 4)], None),
    ("fanout --queues 100", [cost("fan-out 1→100", 15)], None),
    ("topic --bindings 10000 --queues 10", [cost("topic, 10,000 bindings", 10)], None),
    ("latency", latency("transient", 1), None),
    # RabbitMQ's classic queue delivers before the message is on its disk, so only its quorum queue is a like: it
    # syncs first, as Rialto always does.
    ("latency --durable 1 --persistent 1", latency("classic", None), None),
    ("latency --durable 1 --persistent 1" + QUORUM, latency("quorum", 1), None),
    ("declare --durable 1 --n 1000", [Figure("durable declares", "declare_per_s", "/s", share=5, high=True)], None),
    ("backlog --durable 1 --persistent 1 --size 1024 --n 200000",
     [Figure("memory, 200,000 × 1 KiB", "rss_filled_kb", "KB", share=1 / 10)], 1),
    ("conns --n 10000", [Figure("memory a connection", "kb_per_conn", "KB", most=10)], 1),
]
TIMED = {"pubsub", "fanout", "topic", "latency"}


def load(aload, arguments, seconds, broker):
    """One run of the generator: its JSON line."""
    mode = arguments.split()[0]
    if not isinstance(broker, Rabbit):
        arguments = arguments.removesuffix(QUORUM)
    command = [aload, *arguments.split(), "--addr", f"127.0.0.1:{broker.ports['amqp']}", "--pid",
               str(broker.process.pid)]
    if mode in TIMED:
        command += ["--secs", str(seconds), "--warm", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0 or not rows:
        raise SystemExit(f"{' '.join(command)} -> {done.returncode}\n{done.stdout}{done.stderr}")
    row = rows[-1]
    if mode == "backlog" and (row["drained"], row["dup"]) != (row["n"], 0):
        raise SystemExit(f"{' '.join(command)}: of {row['n']} came back {row['drained']}, {row['dup']} twice")
    return row


def measure(options, folder):
    """Runs everything; returns how many bounds were missed."""
    head("rabbitmq")
    theirs, ours = Rabbit(folder / "rabbitmq"), Broker(folder / "rialto-amqp")
    missed = 0
    try:
        theirs.start()
        ours.start()
        idle = Figure("memory, idle", "rss_kb", "KB", share=1 / 10)
        if wanted(options, [idle]):
            missed += not tell(idle, [theirs.memory_kb()], [ours.memory_kb()])
        for arguments, figures, rounds in RUNS:
            if not wanted(options, figures):
                continue
            if rounds == 1:
                # What earlier runs left allocated would hide what this one takes.
                theirs.restart()
                ours.restart()
            rows = [(load(options.aload, arguments, options.seconds, theirs),
                     load(options.aload, arguments, options.seconds, ours))
                    for _ in range(min(rounds or options.arounds, options.arounds))]
            for figure in figures:
                missed += not tell(figure, [row[figure.key] for row, _ in rows], [row[figure.key] for _, row in rows])
        return missed
    finally:
        theirs.close()
        if ours.alive:
            ours.stop()
        ours.close()
