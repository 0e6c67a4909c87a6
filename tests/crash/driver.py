"""The cycles: all clients at work, the broker killed at a moment of the seed's choosing, started, killed again before it
is ready now and then, looked at."""

import random
import signal
import threading
import time

from crash import moments, report
from crash.accounting import Fault, Finding
from crash.party import WAIT

# How often a restart is cut short too, and how often in a row at most.
IMPATIENT, RESTARTS = 0.3, 3
# Every so many cycles logs are read from their beginnings.
WHOLE = 20


class Driver:
    """One run over one broker. Every `drains` cycles, and at the end, what waits is taken."""

    drains = 4

    def __init__(self, broker, seed, scene, signal_=signal.SIGKILL, say=lambda text: None):
        self.broker, self.seed, self.scene, self.signal, self.say = broker, seed, scene, signal_, say
        self.history = scene.history
        self.rng = random.Random(f"{seed} driver")
        self.ready_s = 0.2

    def run(self, cycles):
        """All cycles and the end; the summary. A Fault says what was promised and is not so."""
        try:
            self.broker.start()
            self.scene.set_up(self.broker)
            for number in range(cycles):
                self.cycle(number, last=number == cycles - 1)
            self.scene.finish(self.broker)
            self.history.verdict()
        except Exception as error:
            findings = list(self.history.books.findings)
            if not (isinstance(error, Fault) and findings):
                findings.append(error.findings[0] if isinstance(error, Fault) else
                                Finding("trouble", "driver", f"{type(error).__name__}: {error}"))
            report.tell(self.seed, self.history, findings, self.broker.folder, self.say)
            raise Fault(findings) from error
        return report.summary(self.seed, cycles, self.history)

    def cycle(self, number, last):
        self.history.cycle = number
        crew = Crew(self.scene.parties(self.broker), self.history, f"{self.seed} {number}")
        moment = moments.choose(self.rng)
        crew.start()
        try:
            moments.wait(moment, self.rng, self.broker.data, crew.worked, crew.failed)
            self.before_the_end(number, crew)
            died = self.history.now()
            self.end_broker(moment)
        finally:
            crew.stop()
        self.scene.mortals.killed(died)
        self.restart(number, crew.acks, moment)
        self.scene.verify(self.broker, whole=number % WHOLE == WHOLE - 1)
        if last or number % self.drains == self.drains - 1:
            self.scene.drain(self.broker)
        self.history.verdict()

    def before_the_end(self, number, crew):
        """What a run of its own kind does while the broker is alive for the last time in this cycle."""

    def end_broker(self, moment):
        self.history.remark("broker", "dies", moment)
        self.history.meet(f"killed at {moment}")
        if self.signal == signal.SIGKILL:
            self.broker.kill9()
            self.history.note("broker", "died")
        else:
            self.broker.process.send_signal(self.signal)
            self.broker.wait_exit()

    def restart(self, number, acks, moment):
        cut_short = 0
        while self.signal == signal.SIGKILL and cut_short < RESTARTS and self.rng.random() < IMPATIENT:
            self.broker.launch()
            time.sleep(self.rng.uniform(0, self.ready_s * 1.1))
            cut_short += 1
            self.history.meet("killed before it was ready" if self.broker.ready_ms is None else "killed when ready")
            self.broker.kill9()
        began = time.monotonic()
        try:
            self.broker.start()
        except AssertionError as error:
            raise Fault([Finding("refused", "broker", str(error))]) from error
        self.ready_s = time.monotonic() - began
        self.history.remark("broker", "ready", f"after {self.ready_s:.3f} s")
        self.scene.mortals.restarted(self.history.now())
        again = f", {cut_short} restarts cut short" if cut_short else ""
        self.say(f"cycle {number}: {acks} acknowledged, killed at {moment}{again}, back in {self.ready_s:.2f} s")


class Crew:
    """The clients of a cycle, each in a thread with dice of its own."""

    def __init__(self, parties, history, seed):
        self.history = history
        self.ended, self.news = threading.Event(), threading.Condition()
        self.acks, self.errors = 0, []
        self.threads = [threading.Thread(target=self.work, args=(party, port, random.Random(f"{seed} {party.name}")),
                                         name=party.name, daemon=True)
                        for party, port in parties]

    def work(self, party, port, rng):
        try:
            party.run(port, self.ended, rng, self.acked)
        except Exception as error:  # noqa: BLE001 – carried to the main thread
            with self.news:
                self.errors.append(error)
                self.news.notify_all()

    def acked(self):
        with self.news:
            self.acks += 1
            self.news.notify_all()

    def worked(self, target, seconds):
        """Waits until so much was acknowledged, so much time has gone by or somebody gave up."""
        with self.news:
            goal = self.acks + target
            self.news.wait_for(lambda: self.acks >= goal or self.errors, seconds)

    def failed(self):
        return bool(self.errors)

    def start(self):
        for thread in self.threads:
            thread.start()

    def stop(self):
        """Waits for everybody; the first error, if somebody had one."""
        self.ended.set()
        for thread in self.threads:
            thread.join(WAIT)
            if thread.is_alive():
                raise Fault([Finding("trouble", thread.name, "a client hangs")])
        if self.errors:
            raise self.errors[0]
