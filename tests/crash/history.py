"""Everything that happened, in one order: events go to the books at once, and the last ones are kept for the report."""

import heapq
import threading
import time
from collections import Counter, deque
from typing import NamedTuple

from crash.accounting import Fault, Finding

# Some minutes of a run, a few hundred bytes each; what is rare is kept longer than what happens to every message.
KEPT, RARE_KEPT = 300_000, 100_000
BULK = frozenset(("sent", "acked", "got", "settled", "row", "told"))


class Event(NamedTuple):
    """When (seconds since the start), in which cycle, about whom, what."""

    at: float
    cycle: int
    subject: str
    word: str
    values: tuple

    def __str__(self):
        return f"{self.at:9.3f} cycle {self.cycle:3} {self.subject} {self.word} {' '.join(map(str, self.values))}"


class History:
    """The one order in which clients' events count; shared by all their threads."""

    def __init__(self, books, clock=time.monotonic):
        self.books, self.clock = books, clock
        self.began, self.cycle = clock(), 0
        self.bulk, self.rare = deque(maxlen=KEPT), deque(maxlen=RARE_KEPT)
        self.lock = threading.Lock()
        # What the run met, for its summary: steps of handshakes at which connections ended, and the like.
        self.met = Counter()

    def now(self):
        return self.clock() - self.began

    def note(self, subject, word, *values):
        """An event that the books account for."""
        with self.lock:
            self.keep(Event(self.now(), self.cycle, subject, word, values))
            self.books.enter(subject, word, *values)

    def remark(self, subject, word, *values):
        """An event for the reader of a report only."""
        with self.lock:
            self.keep(Event(self.now(), self.cycle, subject, word, values))

    def keep(self, event):
        (self.bulk if event.word in BULK else self.rare).append(event)

    def events(self):
        """What is kept, in its order."""
        return heapq.merge(list(self.rare), list(self.bulk), key=lambda event: event.at)

    def meet(self, what, times=1):
        with self.lock:
            self.met[what] += times

    def check(self, condition, subject, text):
        """For what a protocol demands of an answer: ends this client's run, and the whole."""
        if not condition:
            self.note(subject, "wrong", "protocol", text)
            raise Fault([Finding("protocol", subject, text)])

    def verdict(self):
        """Raises what was found so far."""
        if self.books.findings:
            raise Fault(self.books.findings)

    def about(self, subject, count):
        """The last events of a place, a log, a register, a client."""
        return list(deque((event for event in self.events() if subject == event.subject), maxlen=count))

    def about_message(self, who, number, count):
        """The last events of one message, wherever it was, and the connections and deaths in between."""
        def fits(event):
            words = [event.subject, *map(str, event.values)]
            return event.subject == "broker" or who in words and number in words

        return list(deque(filter(fits, self.events()), maxlen=count))
