"""The programs that users really run: mosquitto_pub and mosquitto_sub, kcat, promtool; each as one call."""

import json
import subprocess
import threading
import time

from harness import DEADLINE


def run(command, timeout=DEADLINE, check=True, **options):
    """Runs a program to its end; its output is part of the failure."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, **options)
    if check and done.returncode != 0:
        raise AssertionError(f"{command} -> {done.returncode}\n{done.stdout}{done.stderr}")
    return done


VERSIONS = {4: "mqttv311", 5: "mqttv5"}


def mosquitto_pub(port, topic, message=None, qos=0, version=4, retain=False, args=(), check=True):
    command = ["mosquitto_pub", "-h", "127.0.0.1", "-p", str(port), "-V", VERSIONS[version], "-t", topic,
               "-q", str(qos), *args]
    command += ["-n"] if message is None else ["-m", message]
    return run(command + (["-r"] if retain else []), check=check)


class MosquittoSub:
    """A running mosquitto_sub whose messages are collected as (topic, qos, retain, payload)."""

    FORMAT = "%t\t%q\t%r\t%p"

    def __init__(self, port, *topics, qos=0, version=4, args=()):
        command = ["stdbuf", "-oL", "mosquitto_sub", "-h", "127.0.0.1", "-p", str(port), "-V", VERSIONS[version],
                   "-q", str(qos), "-F", self.FORMAT, "-d", *args]
        for topic in topics:
            command += ["-t", topic]
        self.lines, self.debug, self._news = [], [], threading.Condition()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        self._wait(lambda: any(line.startswith("Subscribed") for line in self.debug), "SUBACK")

    def _read(self):
        for line in self.process.stdout:
            line = line.rstrip("\n")
            with self._news:
                fields = line.split("\t")
                if len(fields) >= 4:
                    self.lines.append((fields[0], int(fields[1]), fields[2] == "1", "\t".join(fields[3:])))
                else:
                    self.debug.append(line)
                self._news.notify_all()

    def _wait(self, condition, what, timeout=DEADLINE):
        deadline = time.monotonic() + timeout
        with self._news:
            while not condition():
                left = deadline - time.monotonic()
                assert left > 0, f"no {what}: {self.lines} {self.debug}"
                self._news.wait(left)

    def wait(self, count):
        """The first `count` messages."""
        self._wait(lambda: len(self.lines) >= count, f"{count} messages")
        return self.lines[:count]

    def payloads(self, count):
        return [line[3] for line in self.wait(count)]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(DEADLINE)
        self._thread.join(DEADLINE)


def kcat(port, *args, data=None, timeout=DEADLINE, check=True):
    """kcat in quiet mode; -X settings keep it from waiting for what a test does not need."""
    command = ["kcat", "-q", "-b", f"127.0.0.1:{port}", "-X", "broker.address.family=v4", *args]
    return run(command, timeout=timeout, check=check, input=data)


def kcat_read(port, log, *args, start="beginning"):
    """Every record from `start` to the end: dicts of partition, offset, key, value, headers, ts."""
    done = kcat(port, "-C", "-t", log, "-o", start, "-e", "-J", *args)
    records = []
    for line in done.stdout.splitlines():
        row = json.loads(line)
        flat = row.get("headers") or []
        records.append({
            "partition": row["partition"], "offset": row["offset"], "key": row.get("key"),
            "value": row.get("payload"), "ts": row.get("ts"), "headers": list(zip(flat[::2], flat[1::2])),
        })
    return records


def kcat_write(port, log, lines, *args):
    return kcat(port, "-P", "-t", log, *args, data="".join(line + "\n" for line in lines))


def log_exists(port, log):
    """Whether metadata lists the log, without creating it by asking."""
    listed = json.loads(kcat(port, "-L", "-J").stdout)
    return any(topic["topic"] == log for topic in listed["topics"])


def promtool_check(text):
    """What `promtool check metrics` has to say; silence is praise."""
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True,
                          timeout=DEADLINE)
    return done.returncode, (done.stdout + done.stderr).strip()
