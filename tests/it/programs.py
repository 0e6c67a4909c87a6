"""Other people's programs as processes: started, listened to line by line, ended by process id."""

import os
import re
import subprocess
import threading
import time

from harness import DEADLINE


class Program:
    """A running program whose lines are collected; `line` waits for one."""

    def __init__(self, command, cwd=None, **environment):
        self.lines, self._news = [], threading.Condition()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=cwd,
                                        stdin=subprocess.DEVNULL, errors="replace", env={**os.environ, **environment})
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        for line in self.process.stdout:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def _wait(self, condition, what, timeout):
        deadline = time.monotonic() + timeout
        with self._news:
            while not condition():
                left = deadline - time.monotonic()
                # The reader is the last to know that the program has ended.
                assert left > 0 and (self._thread.is_alive() or condition()), \
                    f"{self.process.args} did not say {what}:\n" + "\n".join(self.lines[-40:])
                self._news.wait(min(left, 0.5))

    def line(self, pattern, count=1, timeout=DEADLINE):
        """Waits until `count` lines match."""
        self._wait(lambda: len(self.matching(pattern)) >= count, f"{count} × {pattern!r}", timeout)
        return self.matching(pattern)[count - 1]

    def matching(self, pattern):
        return [line for line in self.lines if re.search(pattern, line)]

    def said(self, word):
        """What followed `word` on the lines that begin with it."""
        return [line[len(word) + 1:] for line in self.lines if line.startswith(word + " ")]

    def finish(self, timeout=DEADLINE):
        """Waits for the program to end well; returns its lines."""
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            code = f"no end within {timeout} s"
        else:
            self._thread.join(timeout)
        assert code == 0, f"{self.process.args} -> {code}\n" + "\n".join(self.lines[-60:])
        return self.lines

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(DEADLINE)
        self._thread.join(DEADLINE)
