"""Starting and stopping: safe defaults, one clear line for what goes wrong, the command line (issue 3, item 1)."""

import os
import signal
import socket
import stat
import subprocess
import time

import pytest

from clients import run
from harness import DEADLINE, ROOT, binary

pytestmark = pytest.mark.rialto


def complaint(said):
    """The lines of a refused start that are an error."""
    return [line for line in said.splitlines() if line.strip()]


def refused(broker, *words):
    """The broker ends by itself, non-zero, and says why in one line that holds `words`."""
    code, said = broker.launch().wait_exit()
    assert code not in (0, 101) and code > 0, f"exit code {code}: {said}"
    errors = [line for line in complaint(said) if all(word in line for word in words)]
    assert len(errors) == 1, f"one line with {words} expected:\n{said}"
    assert "panicked" not in said
    return said


def test_every_listener_says_where_it_listens(broker):
    assert set(broker.ports) >= {"mqtt", "mqtts", "kafka", "admin"}
    for port in broker.ports.values():
        socket.create_connection(("127.0.0.1", port), DEADLINE).close()


def test_ready_within_a_second(make_broker):
    broker = make_broker().start()
    # The quicker of three starts: a busy machine may hold one up.
    starts = []
    for _ in range(3):
        broker.stop()
        began = time.monotonic()
        broker.start()
        starts.append((broker.ready_ms, time.monotonic() - began))
    assert min(starts)[0] < 1000 and min(took for _, took in starts) < 3, starts


def test_first_start_makes_certificates_and_keeps_keys_private(broker):
    for name in ("ca.crt", "server.crt", "server.key", "client.crt", "client.key"):
        assert (broker.certs / name).exists(), name
    for name in ("server.key", "client.key"):
        assert stat.S_IMODE(os.stat(broker.certs / name).st_mode) == 0o600, name


def test_second_start_keeps_the_certificates(broker):
    before = (broker.certs / "ca.crt").read_bytes()
    broker.restart()
    assert (broker.certs / "ca.crt").read_bytes() == before


def test_sigterm_and_sigint_exit_zero(make_broker):
    broker = make_broker().start()
    broker.stop()
    broker.start()
    broker.process.send_signal(signal.SIGINT)
    code, said = broker.wait_exit()
    assert code == 0, said


@pytest.mark.parametrize("flag", ["--mqtt", "--mqtts", "--kafka", "--admin"])
def test_port_in_use_is_one_clear_line(make_broker, flag):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused(make_broker(args=[flag, f"127.0.0.1:{port}"]), str(port))


@pytest.mark.parametrize("flag,name", [("--mqtts", "mqtts"), ("--kafka", "kafka"), ("--admin", "admin")])
def test_a_listener_can_be_off(make_broker, flag, name):
    broker = make_broker(args=[flag, "off"]).start()
    assert name not in broker.ports and "mqtt" in broker.ports


def test_unusable_data_directory_is_one_clear_line(make_broker):
    broker = make_broker()
    broker.data.write_text("a file where the directory should be")
    refused(broker, str(broker.data))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_unwritable_data_directory_is_one_clear_line(make_broker):
    broker = make_broker()
    broker.data.mkdir(mode=0o500)
    refused(broker, str(broker.data))


def test_data_directory_of_a_running_broker_is_refused(make_broker):
    first, second = make_broker().start(), make_broker()
    second.data = first.data
    refused(second, str(first.data))
    assert first.alive


def test_other_addresses_need_to_know_who_may_connect(make_broker):
    refused(make_broker(args=["--mqtt", "0.0.0.0:0"]), "0.0.0.0")


def test_help_names_every_option():
    said = run([binary(), "--help"]).stdout
    for word in ("--config", "--data-dir", "--bridge-config", "--certs", "--mqtt", "--mqtts", "--kafka", "--admin",
                 "check", "passwd"):
        assert word in said, word


def test_unknown_option_exits_non_zero():
    done = run([binary(), "--no-such-option"], check=False)
    assert done.returncode not in (0, 101) and "--no-such-option" in done.stderr


class TestCheck:
    """`rialto check CONFIG` names file, line and key."""

    def check(self, folder, config, routes=None):
        bridges = folder / "bridge-config"
        bridges.mkdir()
        for name, text in (routes or {}).items():
            (bridges / name).write_text(text)
        path = folder / "rialto.toml"
        path.write_text(f'bridge_config = "{bridges}"\n' + config)
        done = subprocess.run([binary(), "check", str(path)], capture_output=True, text=True, timeout=DEADLINE,
                              cwd=folder)
        return done.returncode, done.stdout + done.stderr

    def test_the_documented_example_is_good(self):
        done = run([binary(), "check", str(ROOT / "rialto.toml")], check=False, cwd=ROOT)
        assert done.returncode == 0, done.stderr

    def test_a_good_file_is_ok(self, tmp_path):
        code, said = self.check(tmp_path, "", {"a.toml": ROUTE})
        assert code == 0 and "ok" in said, said

    def test_an_unknown_key_is_named_with_file_and_line(self, tmp_path):
        code, said = self.check(tmp_path, "\n[listeners]\nmqqt = \"127.0.0.1:1883\"\n")
        assert code == 1 and "rialto.toml:4" in said and "mqqt" in said, said

    def test_a_value_of_the_wrong_type_is_named(self, tmp_path):
        code, said = self.check(tmp_path, "\n[listeners]\nconnections_max = \"many\"\n")
        assert code == 1 and "rialto.toml:4" in said and "connections_max" in said, said

    def test_text_that_is_no_toml_is_named(self, tmp_path):
        code, said = self.check(tmp_path, "\n[limits\n")
        assert code == 1 and "rialto.toml:3" in said, said

    @pytest.mark.parametrize("old,new,word", [
        ('"factory/+/telemetry/#"', '"factory/#/telemetry"', "mqtt"),
        ('"{1}"', '"{2}"', "key"),
        ("partitions = 12", "partitions = 0", "partitions"),
        ("partitions = 12", "partitons = 12", "partitons"),
    ])
    def test_a_route_that_cannot_work_is_named_with_file_and_line(self, tmp_path, old, new, word):
        assert old in ROUTE
        code, said = self.check(tmp_path, "", {"plant.toml": ROUTE.replace(old, new)})
        assert code == 1 and "plant.toml:" in said and word in said, said

    def test_a_broker_refuses_what_check_refuses(self, make_broker):
        broker = make_broker(routes={"plant.toml": ROUTE.replace('"{1}"', '"{9}"')})
        refused(broker, "plant.toml")


ROUTE = """\
[[route]]
name = "telemetry"
from = { mqtt = "factory/+/telemetry/#" }
to   = { log = "telemetry", key = "{1}", partitions = 12 }
"""
