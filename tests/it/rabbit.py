"""A private RabbitMQ with the harness's face: the other broker of `--against rabbitmq`, of the comparison in
test_amqp_side_by_side.py and of tests/gate.

Debian's package is used, never its service: the server runs from its own script with its own home (and cookie),
database, log, node name and ports, all on the loopback. Its name service, epmd, is started here as well, in the
foreground, so that nothing is left behind; everything is ended by process id.
"""

import os
import socket
import subprocess
import time

from harness import free_port, wait_until
from sharing import Foreign, end

SCRIPT = "/usr/lib/rabbitmq/bin/rabbitmq-server"
EPMD = "epmd"
# Mnesia and the Erlang VM need seven seconds on an idle machine, and tests run beside it.
START = 90.0


def accepts(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Rabbit(Foreign):
    """One RabbitMQ node with its epmd, on free ports; `pid` is the Erlang VM's."""

    def __init__(self, folder, config=None, routes=None, args=(), env=None):
        assert not routes and not args and config is None, "what is rialto's own has no counterpart here"
        super().__init__(folder, env=env)
        self.epmd = None
        self.node = f"rialto-test-{os.getpid()}-{free_port()}"
        # What a restart must find again.
        self.dist_port, self.epmd_port = free_port(), free_port()

    def command(self):
        return [SCRIPT]

    def environment(self):
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        port = self.ports["amqp"]
        (self.folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{port}\nlog.console = true\nlog.console.level = info\nlog.file = false\n"
            # The memory and disk alarms look at the whole machine, which is not this test's subject.
            "disk_free_limit.absolute = 1MB\n")
        (self.folder / "enabled_plugins").write_text("[].\n")
        nothing = str(self.folder / "absent")
        return {
            "HOME": str(home),
            "RABBITMQ_NODENAME": f"{self.node}@localhost",
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": nothing + ".config",
            "RABBITMQ_CONF_ENV_FILE": nothing,
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            "RABBITMQ_DIST_PORT": str(self.dist_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            # As under systemd the script becomes the server instead of watching it, so its pid is the server's.
            "RUNNING_UNDER_SYSTEMD": "true",
            "RABBITMQ_SERVER_START_ARGS": "-noinput",
        }

    def start(self, timeout=START):
        """Starts epmd and the node; returns when the log says that start-up is complete."""
        self.ports = {"amqp": self.ports.get("amqp") or free_port()}
        environment = {**os.environ, **self.environment(), **self.env}
        log = (self.folder / "broker.log").open("ab")
        said = log.tell()
        if self.epmd is None:
            self.epmd = subprocess.Popen([EPMD, "-port", str(self.epmd_port), "-address", "127.0.0.1"],
                                         stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                                         env={**environment, "HOME": "/"}, cwd="/")
            wait_until(lambda: accepts(self.epmd_port), "epmd listens", timeout)
        began = time.monotonic()
        # The log goes to the file itself: the shared node outlives the test process that started it.
        self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                        env=environment, cwd=self.folder, start_new_session=True)
        log.close()

        def complete():
            text = (self.folder / "broker.log").read_bytes()[said:].decode(errors="replace")
            assert self.alive, "RabbitMQ did not start:\n" + text[-6000:]
            return "Server startup complete" in text

        wait_until(complete, "RabbitMQ is ready", timeout, pause=0.05)
        self.ready_ms = (time.monotonic() - began) * 1000
        return self

    def pids(self):
        return [self.process.pid, self.epmd.pid]

    def close(self):
        for process in (self.process, self.epmd):
            if process is not None and process.poll() is None:
                end(process.pid)
        self.process = self.epmd = None
