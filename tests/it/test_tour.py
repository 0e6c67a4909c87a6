"""Runs docs/tour.md: its shell blocks, as they stand there, in one shell on free ports (issue 3, item 6; issues 4, 5)."""

import os
import re
import subprocess
import sys

import pytest

from harness import ROOT, binary, free_port

pytestmark = pytest.mark.rialto


def blocks():
    return re.findall(r"^```sh\n(.*?)^```$", (ROOT / "docs" / "tour.md").read_text(), re.S | re.M)


def test_the_tour_does_what_it_says(tmp_path):
    assert len(blocks()) >= 10
    script = "set -u\ntrap 'kill -9 $(jobs -p) 2> /dev/null; cat \"$TOUR/broker.log\" >&2' ERR\nset -eE\n"
    script += "\n".join(blocks())
    environment = {**os.environ, "RIALTO": binary(), "PYTHON": sys.executable, "TMPDIR": str(tmp_path),
                   "NO_COLOR": "1"}
    for name in ("MQTT", "MQTTS", "AMQP", "KAFKA", "ADMIN"):
        environment[name] = str(free_port())
    shell = subprocess.Popen(["bash", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                             env=environment, cwd=tmp_path, start_new_session=True)
    try:
        # Less than the runner's own limit, which would leave the shell and its broker behind.
        said, _ = shell.communicate(timeout=240)
    except subprocess.TimeoutExpired:
        os.killpg(shell.pid, 9)
        raise AssertionError("the tour hangs:\n" + shell.communicate()[0]) from None
    assert shell.returncode == 0, said
    for line in ("60 readings acknowledged", "in the log: 60 of 60", "watched: 60 of 60", "in the queue: 60 of 60",
                 "read by the group: 60 of 60", "the command is in its log", "15 alerts confirmed",
                 "the operator has 15 alerts", "the broker is dead", "the broker said goodbye"):
        assert line in said, f"{line!r} is missing:\n{said}"
    assert re.search(r"^command: devices/[^/ ]+/cmd interval=5$", said, re.M), said
    shares = [set(re.findall(r"\[(\d)\]", line)) for line in re.findall(r"^(?:left|right) assigned: .*$", said, re.M)]
    assert len(shares) == 2 and not shares[0] & shares[1] and shares[0] | shares[1] == set("012345"), said
    assert not re.search(r"left: 0|right: 0", said), said
    for name in ("mqtt", "mqtts", "amqp", "kafka", "admin"):
        assert f"listening {name} " in said
    for name in ("ca.crt", "server.crt", "server.key", "client.crt", "client.key"):
        assert name in said
    assert re.search(r"partition \d offset \d+ key \w+ ", said), said
