"""The tool: `tests/crash/run --cycles 300 --seed 7`."""

import argparse
import functools
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from crash import kafka, lossy
from crash.accounting import Fault
from crash.driver import Driver
from crash.lossy import LossyDriver
from crash.scene import PARTS, ROUTES, Scene, settings


def options():
    parser = argparse.ArgumentParser(
        prog="tests/crash/run", description="Kills a broker with SIGKILL at random moments under load, starts it again "
        "and accounts for every message: MQTT, AMQP, Kafka and the routes between them. Exit code 1 and a report if "
        "something acknowledged is lost, doubled, out of order, stale or only partly there.")
    parser.add_argument("--cycles", type=int, default=20, help="kills (20)")
    parser.add_argument("--seed", type=int, default=None, help="repeats the choices of a run")
    parser.add_argument("--rialto", metavar="BIN", help="the executable; else RIALTO_BIN, else what cargo built last")
    parser.add_argument("--durability", choices=["fsync", "os"], default="fsync", help="[journal] durability (fsync)")
    parser.add_argument("--signal", choices=["KILL", "TERM"], default="KILL")
    parser.add_argument("--without", action="append", default=[], choices=["log", "amqp", "kafka", "routes"],
                        help="leaves a part out; may be repeated")
    parser.add_argument("--against", choices=["rialto", "mosquitto", "rabbitmq", "kafka"], default="rialto",
                        help="tries the accounting itself on another broker")
    parser.add_argument("--lose", action="store_true", help="on a disk that loses the journal: this must be found out")
    parser.add_argument("--folder", help="where to work; kept. Default: a temporary folder, kept after a failure")
    return parser.parse_args()


def make(given, folder):
    """The broker, not started, and the parts of the scene it can play."""
    if given.against == "mosquitto":
        from mosquitto import Mosquitto
        return Mosquitto(folder), {"mqtt"}
    if given.against == "rabbitmq":
        from rabbit import Rabbit
        # Its declarations and acks are not on disk when it answers: a deleted queue may be back after kill -9.
        return Rabbit(folder), {"amqp"}
    if given.against == "kafka":
        from apache_kafka import ApacheKafka
        # It does not sync what it acknowledges; killed alone, without the machine, it loses nothing by that. And it
        # stores a batch twice that comes by an old and by a new connection at once.
        kafka.RESTLESS = 0
        return ApacheKafka(folder), {"kafka"}
    from harness import Broker
    config = lossy.SETTINGS if given.lose else settings(journal={"durability": given.durability})
    env = {lossy.VARIABLE: str(folder / "faults")} if given.lose else None
    return Broker(folder, routes={"crash.toml": ROUTES}, config=config, env=env), set(PARTS)


def main():
    given = options()
    if given.rialto:
        os.environ["RIALTO_BIN"] = str(Path(given.rialto).resolve())
    seed = time.time_ns() % 1_000_000 if given.seed is None else given.seed
    folder = Path(given.folder or tempfile.mkdtemp(prefix="rialto-crash-"))
    broker, parts = make(given, folder)
    parts -= set(given.without) | ({"routes"} if {"amqp", "log"} & set(given.without) else set())
    say = functools.partial(print, flush=True)
    try:
        arguments = (broker, seed, Scene(parts), getattr(signal, "SIG" + given.signal), say)
        driver = LossyDriver(*arguments, faults=folder / "faults") if given.lose else Driver(*arguments)
        say(driver.run(given.cycles))
    except Fault:
        return 1
    finally:
        broker.close()
    if not given.folder:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
