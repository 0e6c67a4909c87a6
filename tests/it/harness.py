"""Starts the broker under test on ephemeral ports, watches its log, ends it the soft or the hard way.

Nothing here sleeps for a fixed time: `wait_until` polls a condition against a deadline, and the log is read by
a thread that wakes whoever waits for a line.
"""

import itertools
import json
import os
import random
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LISTENING = re.compile(r"listening (\w+) (\S+):(\d+)")
READY = re.compile(r"ready in (\d+(?:\.\d+)?) ?ms")
OFF = ("--mqtt", "--mqtts", "--amqp", "--amqps", "--kafka", "--admin")
# Where `free_port` begins to look, and goes on.
_PORTS = itertools.count(random.randrange(1000))
DEADLINE = float(os.environ.get("RIALTO_TEST_DEADLINE", "20"))


def wait_until(condition, what, timeout=DEADLINE, pause=0.01):
    """Polls `condition` until it is true and returns its value; the failure names `what`."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what}")
        time.sleep(pause)


def binary():
    """The broker's executable: RIALTO_BIN, else what cargo built last in its target directory."""
    given = os.environ.get("RIALTO_BIN")
    if given:
        return given
    described = subprocess.run(
        ["cargo", "metadata", "--format-version", "1", "--no-deps", "--offline"],
        cwd=ROOT, capture_output=True, text=True, check=True)
    target = Path(json.loads(described.stdout)["target_directory"])
    built = [target / profile / "rialto" for profile in ("release", "debug")]
    built = [path for path in built if path.exists()]
    assert built, "no rialto executable: run tests/run, or cargo build --release"
    os.environ["RIALTO_BIN"] = str(max(built, key=lambda path: path.stat().st_mtime))
    return os.environ["RIALTO_BIN"]


def free_port():
    """A port nobody listens on now; for programs that cannot report one that the kernel chose, or need it again after a
    restart. Below those that the kernel gives out, so that no other program gets it in between; each test process looks
    among a thousand of its own, one after the other."""
    worker = int(re.sub(r"\D", "", os.environ.get("PYTEST_XDIST_WORKER", "")) or 0)
    for number in itertools.islice(_PORTS, 1000):
        port = 12_000 + worker % 8 * 1000 + number % 1000
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise AssertionError("no port is free")


class Broker:
    """One rialto process over one data directory; may be killed and started again on the same directory."""

    def __init__(self, folder, config=None, routes=None, args=(), env=None):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.data = self.folder / "data"
        self.certs = self.folder / "certs"
        self.bridges = self.folder / "bridge-config"
        self.bridges.mkdir(exist_ok=True)
        self.config, self.args, self.env = config, list(args), dict(env or {})
        for name, text in (routes or {}).items():
            (self.bridges / name).write_text(text)
        self.process = None
        self.ports, self.lines, self.ready_ms = {}, [], None
        self._news = threading.Condition()
        self._reader = None

    # -- life -----------------------------------------------------------------------------------------------

    def command(self):
        command = [binary(), "--data-dir", str(self.data), "--certs", str(self.certs),
                   "--bridge-config", str(self.bridges)]
        for flag in OFF:
            if flag not in self.args:
                command += [flag, "127.0.0.1:0"]
        if self.config is not None:
            path = self.folder / "rialto.toml"
            path.write_text(self.config)
            command += ["--config", str(path)]
        return command + self.args

    def launch(self):
        """Starts the process without waiting for it to be ready."""
        assert self.process is None or self.process.poll() is not None, "already running"
        self.ports, self.lines, self.ready_ms = {}, [], None
        environment = {**os.environ, "NO_COLOR": "1", **self.env}
        environment.setdefault("RUST_LOG", "info")
        self.process = subprocess.Popen(
            self.command(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            env=environment, cwd=self.folder, text=True, errors="replace")
        self._reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self._reader.start()
        return self

    def _read(self, process):
        with (self.folder / "broker.log").open("a") as log:
            for line in process.stdout:
                log.write(line)
                log.flush()
                with self._news:
                    self.lines.append(line.rstrip("\n"))
                    for name, _, port in LISTENING.findall(line):
                        self.ports[name] = int(port)
                    ready = READY.search(line)
                    if ready:
                        self.ready_ms = float(ready.group(1))
                    self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def start(self, timeout=DEADLINE):
        self.launch()
        deadline = time.monotonic() + timeout
        with self._news:
            while self.ready_ms is None:
                left = deadline - time.monotonic()
                ended = self.process.poll() is not None and not self._reader.is_alive()
                if ended or left <= 0:
                    raise AssertionError("the broker did not start:\n" + "\n".join(self.lines[-40:]))
                self._news.wait(min(left, 0.2))
        return self

    def wait_log(self, pattern, timeout=DEADLINE):
        """The first log line that matches, waiting for it if need be."""
        deadline = time.monotonic() + timeout
        with self._news:
            while True:
                for line in self.lines:
                    if re.search(pattern, line):
                        return line
                left = deadline - time.monotonic()
                assert left > 0, f"no log line like {pattern!r}:\n" + "\n".join(self.lines[-40:])
                self._news.wait(left)

    def wait_exit(self, timeout=DEADLINE):
        """Waits for the process to end by itself; returns (exit code, everything it said)."""
        code = self.process.wait(timeout)
        self._reader.join(timeout)
        return code, "\n".join(self.lines)

    def kill9(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(DEADLINE)
        self._reader.join(DEADLINE)

    def stop(self, expect=0):
        """SIGTERM; the broker says goodbye and exits 0."""
        self.process.send_signal(signal.SIGTERM)
        code, said = self.wait_exit()
        assert code == expect, f"exit code {code} after SIGTERM:\n{said}"
        assert "panicked" not in said, said

    def restart(self, hard=False):
        self.kill9() if hard else self.stop()
        return self.start()

    def close(self):
        """For fixtures: ends whatever still runs and fails if the broker panicked in a task."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait(DEADLINE)
        if self._reader:
            self._reader.join(DEADLINE)
        log = self.folder / "broker.log"
        said = log.read_text() if log.exists() else ""
        assert "panicked" not in said, "the broker panicked:\n" + said[-8000:]

    # -- views ----------------------------------------------------------------------------------------------

    @property
    def mqtt(self):
        return self.ports["mqtt"]

    @property
    def amqp(self):
        return self.ports["amqp"]

    @property
    def kafka(self):
        return self.ports["kafka"]

    @property
    def alive(self):
        return self.process is not None and self.process.poll() is None

    def http(self, path):
        """(status, body) of a GET on the admin listener."""
        url = f"http://127.0.0.1:{self.ports['admin']}{path}"
        try:
            with urllib.request.urlopen(url, timeout=DEADLINE) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metrics(self):
        """Every sample: 'name{label="value"}' -> number."""
        status, body = self.http("/metrics")
        assert status == 200, body
        samples = {}
        for line in body.splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                samples[name] = float(value)
        return samples

    def metric(self, prefix, **labels):
        """The sum of all samples of a metric that carry these labels."""
        total = 0.0
        for name, value in self.metrics().items():
            if name == prefix or name.startswith(prefix + "{"):
                if all(f'{label}="{want}"' in name for label, want in labels.items()):
                    total += value
        return total

    def memory_kb(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status).group(1))
