"""One server of somebody else's for all test processes of a run: the first who asks starts it, the last who leaves
ends it, by process id; and what such a server has in common with ours."""

import fcntl
import json
import os
import re
import signal
from pathlib import Path

from harness import Broker, wait_until


def end(pid, sign=signal.SIGKILL, timeout=30.0):
    """Ends one process that we started and waits until it is gone (or a zombie of another parent's)."""

    def gone():
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            pass
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except (FileNotFoundError, ProcessLookupError):
            return True

    try:
        os.kill(pid, sign)
    except ProcessLookupError:
        return
    wait_until(gone, f"process {pid} ends", timeout)


class Foreign(Broker):
    """Somebody else's server with the harness's face. Its log is a file, because it may outlive who started it."""

    # Its exit code after SIGTERM.
    STOPPED = 0

    def kill9(self):
        end(self.process.pid)
        self.process.wait(30)

    def wait_exit(self, timeout=60.0):
        return self.process.wait(timeout), (self.folder / "broker.log").read_text(errors="replace")

    def stop(self, expect=None):
        self.process.send_signal(signal.SIGTERM)
        code, said = self.wait_exit()
        assert code == (self.STOPPED if expect is None else expect), said[-6000:]

    def wait_log(self, pattern, timeout=30.0):
        log = self.folder / "broker.log"

        def found():
            return next((line for line in log.read_text(errors="replace").splitlines() if re.search(pattern, line)),
                        None)

        return wait_until(found, f"a log line like {pattern!r}", timeout)


class Shared:
    """A file under the run's common folder holds the ports, the process ids and how many use the server; a lock on
    it makes each change one step. `make(folder)` gives a broker, not started, with `ports` and `pids()`."""

    def __init__(self, folder, make):
        self.folder, self.make = Path(folder), make
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ports, self.pid = {}, None

    @property
    def kafka(self):
        return self.ports["kafka"]

    def _change(self, change):
        with (self.folder / "shared.json").open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            text = file.read()
            state = change(json.loads(text) if text else {"users": 0})
            file.seek(0)
            file.truncate()
            file.write(json.dumps(state))
        return state

    def enter(self):
        def join(state):
            if state["users"] == 0:
                number = state.get("number", 0) + 1
                broker = self.make(self.folder / str(number))
                try:
                    broker.start()
                except BaseException:
                    broker.close()
                    raise
                state = {"users": 0, "number": number, "ports": broker.ports, "pids": broker.pids()}
            state["users"] += 1
            return state

        state = self._change(join)
        self.ports, self.pid = state["ports"], state["pids"][0]
        return self

    def leave(self):
        def part(state):
            state["users"] -= 1
            if state["users"] == 0:
                for pid in state["pids"]:
                    end(pid)
            return state

        self._change(part)
