"""Debian's mosquitto with the harness's face: the other broker of `--against mosquitto` and of tests/gate."""

import socket
import subprocess

from harness import DEADLINE, Broker, free_port, wait_until


class Mosquitto(Broker):
    """A mosquitto on a free port, with persistence into its folder."""

    def command(self):
        path = self.folder / "mosquitto.conf"
        path.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence true\n"
            f"persistence_location {self.folder}/\nmax_queued_messages 0\nmax_inflight_messages 0\n"
            "user root\nlog_type error\n")
        return ["mosquitto", "-c", str(path)]

    def start(self, timeout=DEADLINE):
        self.port = free_port()
        self.launch()
        self.ports["mqtt"] = self.port

        def accepts():
            assert self.alive, "mosquitto did not start:\n" + "\n".join(self.lines)
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0

        wait_until(accepts, "mosquitto accepts", timeout)
        return self

    def kill9(self):
        raise subprocess.SubprocessError("mosquitto keeps nothing over kill -9")
