"""The books: what was sent, acknowledged and found, and whether that is what was promised.

Pure: `Books.enter` folds one event of the history into the books and says at once what cannot be (doubled, out of
order, changed); `Books.settle` compares places with what was acknowledged, when a place has been read to its end. An
event is a subject (a place, a log, a register, a publisher), a word, and values; `Books.WORDS` maps words to methods.

| name | means |
|---|---|
| lost | acknowledged, and not there |
| doubled | there twice, where that cannot be: exactly-once messages, or after an acknowledgement that was on disk |
| disorder | a publisher's message before an earlier one of the same publisher |
| unknown | nobody sent it, or not there |
| damaged | it is there, and not whole |
| split | what one publish put into two places is in one of them only |
| moved | an offset holds something else than it held, or than its producer was told |
| strayed | one key in two partitions |
| stale | an older value than the last acknowledged one |
| taken back | a commit or a trim that was answered, undone |
| undeclared | answered as declared, and gone |
| undead | answered as deleted, and there |
| early, late | a will or the end of a session before or long after its time |
| refused | the broker does not start on what it left behind |
| protocol | a client was answered what its protocol does not allow |
"""

from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from typing import NamedTuple

from crash.numbers import Numbers

FEW = 8
# How much later than its time a session may end, in seconds: the machine is busy, the timers of a restart coarse.
SLACK = 5.0


class Finding(NamedTuple):
    """A broken promise: its name, the place it shows in, what is wrong."""

    name: str
    place: str
    text: str

    def __str__(self):
        return f"{self.name}: {self.place}: {self.text}"


class Fault(AssertionError):
    """Promises were broken."""

    def __init__(self, findings):
        self.findings = list(findings)
        super().__init__("\n".join(map(str, self.findings)))


@dataclass
class Source:
    """A publisher: numbers 0, 1, 2 … in this order, `exact` when each is promised to be there once."""

    name: str
    exact: bool
    sent: int = 0
    acked: Numbers = field(default_factory=Numbers)
    # How often a number was sent again on another connection.
    again: Counter = field(default_factory=Counter)


@dataclass
class Place:
    """Where messages arrive. `sources` maps those who are routed there to the multiples of it that are: 1 for all.

    `order` holds among first arrivals ("first"), among those of one connection that do not say they come again
    ("connection"), or nowhere. `repeats`: "never" in logs; "flagged" when a repeat must say that it is one; "instant"
    when that may miss what was sent in the life that a kill ended; "silent" when it need not say so, for it may come to
    somebody else. The place of a member of a group names that of the group: what arrives, and is acknowledged on disk,
    counts there.
    """

    name: str
    sources: dict
    order: str = "first"
    repeats: str = "never"
    group: str | None = None
    seen: dict = field(default_factory=dict)
    highest: dict = field(default_factory=dict)
    # How often on this connection; acknowledged by the receiver; of those, on disk: once, and how often more.
    here: Counter = field(default_factory=Counter)
    settled: list = field(default_factory=list)
    final: dict = field(default_factory=dict)
    final_again: Counter = field(default_factory=Counter)
    # Repeats, and those that do not say that they are.
    copies: Counter = field(default_factory=Counter)
    unflagged: Counter = field(default_factory=Counter)
    # On all connections of the broker's life; in its last instants, since when it may come anew; whether a kill came.
    life: set = field(default_factory=set)
    excused: set = field(default_factory=set)
    died: bool = False
    arrived: int = 0
    repeated: int = 0

    def numbers(self, who):
        if who not in self.seen:
            self.seen[who] = Numbers(step=self.sources.get(who, 1))
        return self.seen[who]


class Register:
    """Something with one value at a time, written in order: a retained message, a committed offset, a declaration.

    Possible are the last write known to be on disk and all that were asked for since, as (write, what one sees of it).
    """

    def __init__(self, first=None):
        self.possible, self.past = deque([(first, first)]), deque(maxlen=100)

    def ask(self, write, value):
        self.possible.append((write, value))

    def answer(self, write):
        """This write is on disk, so everything asked for before it is past."""
        if any(asked == write for asked, _ in self.possible):
            while self.possible[0][0] != write:
                self.past.append(self.possible.popleft()[1])

    def find(self, value):
        """None if it may be so, else whether this was the value once."""
        fitting = deque(pair for pair in self.possible if pair[1] == value)
        if fitting:
            self.possible = fitting
            return None
        return value in self.past


# What a register's wrong value is called: an older one, and one that it should have but does not.
KINDS = {
    "retained": ("stale", "lost"), "offset": ("taken back", "taken back"), "trim": ("taken back", "taken back"),
    "declared": ("undeclared", "undeclared"),
}


@dataclass
class Log:
    """What partitions hold: rows of (who, number) by offset, and what producers were told of offsets to be read."""

    rows: dict = field(default_factory=lambda: defaultdict(list))
    told: dict = field(default_factory=dict)
    partition_of: dict = field(default_factory=dict)
    first: dict = field(default_factory=lambda: defaultdict(int))


@dataclass
class Mortal:
    """A client with a will: when it went at the earliest, and whether the will must, may or must not come."""

    delay: float
    cut: float | None = None
    published: bool = False
    # Until CONNACK came, and once it has parted and nobody knows whether that is on disk.
    doubted: bool = True
    void: bool = False


class Books:
    """All accounts. `findings` collects whatever was found wrong, up to FEW of a name and place."""

    WORDS = ("sent", "again", "acked", "got", "opened", "died", "gave_back", "settled", "barrier", "row", "told",
             "asked", "answered", "found", "armed", "lives", "doubted", "cut", "disarmed", "will", "lapsed", "wrong")

    def __init__(self, sources=(), places=(), logs=(), pairs=()):
        """`pairs` of places that must hold the same of the sources they share, once both are read to their ends."""
        self.sources = {source.name: source for source in sources}
        self.places = {place.name: place for place in places}
        self.logs = {log: Log() for log in logs}
        self.pairs = list(pairs)
        self.registers, self.mortals = {}, {}
        self.findings, self.counts = [], Counter()

    # -- events ---------------------------------------------------------------------------------------------------

    def enter(self, subject, word, *values):
        """One event. Events of one subject come in the order in which they happened."""
        assert word in self.WORDS, word
        getattr(self, "_" + word)(subject, *values)

    def wrong(self, name, place, text):
        self.counts[name, place] += 1
        if self.counts[name, place] <= FEW:
            self.findings.append(Finding(name, place, text))

    def _wrong(self, subject, name, text):
        self.wrong(name, subject, text)

    def _sent(self, who, number):
        source = self.sources[who]
        source.sent = max(source.sent, number + 1)

    def _again(self, who, number):
        self.sources[who].again[number] += 1

    def _acked(self, who, number):
        source = self.sources[who]
        if number >= source.sent:
            self.wrong("unknown", who, f"{number} is acknowledged and was never sent")
        source.acked.add(number)

    def whole(self, place):
        """Where what arrives at `place` counts: its group, if it is a member's."""
        return self.places[place.group] if place.group else place

    def _opened(self, name):
        """The receiver is on a new connection: what it held may come again, and what it acknowledged on the old one."""
        place = self.places[name]
        place.life.update(place.here)
        if place.died:
            place.excused |= place.life
            place.life, place.died = set(), False
        place.here.clear()
        place.settled.clear()
        if place.order == "connection":
            place.highest.clear()

    def _died(self, _broker):
        """A kill. What its last life sent it may not know."""
        for place in self.places.values():
            place.died = True

    def _gave_back(self, name, who, number):
        self.places[name].here[who, number] -= 1

    def _settled(self, name, who, number):
        self.places[name].settled.append((who, number))

    def _barrier(self, name):
        """Everything the receiver acknowledged so far is on disk: something later of its connection was answered."""
        place = self.places[name]
        whole = self.whole(place)
        for who, number in place.settled:
            if who not in whole.final:
                whole.final[who] = Numbers(step=place.sources.get(who, 1))
            if number in whole.final[who]:
                whole.final_again[who, number] += 1
            whole.final[who].add(number)
        place.settled.clear()

    def _got(self, name, who, number, flagged=False, exact=False):
        """`flagged`: it says that it may have come before. `exact`: the receiver took part in exactly-once delivery."""
        place = self.places[name]
        place.arrived += 1
        source = self.sources.get(who)
        step = place.sources.get(who)
        if source is None or step is None or number % step or number >= source.sent:
            self.wrong("unknown", name, f"{who}:{number} does not belong here")
            return
        whole = self.whole(place)
        seen = whole.numbers(who)
        first = number not in seen
        if first:
            seen.add(number)
        else:
            whole.repeated += 1
            self._repeat(place, source, number, flagged, exact)
        self._order(place, source, number, first, flagged)
        place.here[who, number] += 1

    def _repeat(self, place, source, number, flagged, exact):
        """As many copies as were sent are there; each comes anew as long as its acknowledgement is not on disk."""
        key, whole = (source.name, number), self.whole(place)
        whole.copies[key] += 1
        if not flagged and place.repeats == "instant" and key in place.excused:
            place.excused.discard(key)
        elif not flagged and place.repeats != "silent":
            place.unflagged[key] += 1
        more = 0 if source.exact else source.again[number]
        final = (number in whole.final.get(source.name, ())) + whole.final_again[key]
        text = f"{source.name}:{number} comes again"
        if final > more:
            self.wrong("doubled", place.name, text + ", long after its acknowledgement")
        elif whole.copies[key] > more and (exact and source.exact or place.repeats == "never"):
            self.wrong("doubled", place.name, text + ", and is there once by promise")
        elif place.here[key] > more:
            self.wrong("doubled", place.name, text + " on one connection")
        elif place.unflagged[key] > more:
            self.wrong("doubled", place.name, text + " and does not say so")

    def _order(self, place, source, number, first, flagged):
        who = source.name
        if place.order == "first" and not first:
            return
        if place.order == "connection" and (flagged or number in source.again):
            return
        if place.order is not None:
            before = place.highest.get(who, -1)
            if number < before:
                self.wrong("disorder", place.name, f"{who}:{number} after {who}:{before}")
            place.highest[who] = max(before, number)

    # -- logs -------------------------------------------------------------------------------------------------------

    def _row(self, name, partition, offset, who, number):
        """A record that was read. What is read for the first time has arrived in the place of the log's name."""
        log = self.logs[name]
        rows = log.rows[partition]
        if offset < len(rows):
            if rows[offset] != (who, number):
                self.wrong("moved", name, f"{partition}/{offset} held {rows[offset]}, now {(who, number)}")
            return
        if offset > len(rows):
            self.wrong("moved", name, f"partition {partition}: offset {offset} follows {len(rows) - 1}")
            rows.extend([None] * (offset - len(rows)))
        rows.append((who, number))
        if who != "mark" and log.partition_of.setdefault(who, partition) != partition:
            self.wrong("strayed", name, f"{who} is in partitions {log.partition_of[who]} and {partition}")
        told = log.told.pop((partition, offset), None)
        if told not in (None, (who, number)):
            self.wrong("moved", name, f"{partition}/{offset} was acknowledged for {told} and holds {(who, number)}")
        if who != "mark":
            self._got(name, who, number)

    def _told(self, name, partition, offset, who, number):
        """A producer was told where its record is, or a reader saw it there."""
        log = self.logs[name]
        rows = log.rows[partition]
        if offset >= len(rows):
            known = log.told.setdefault((partition, offset), (who, number))
        else:
            known = rows[offset]
        if known != (who, number):
            self.wrong("moved", name, f"{partition}/{offset} holds {known}, acknowledged or seen was {(who, number)}")

    def settle_log(self, name):
        """Every partition was read to its end: nothing that somebody was told of lies beyond."""
        for (partition, offset), told in sorted(self.logs[name].told.items()):
            self.wrong("lost", name, f"{told} at {partition}/{offset}: the partition ends before")

    # -- registers, wills -----------------------------------------------------------------------------------------

    def register(self, kind, name):
        return self.registers.setdefault((kind, name), Register(0 if kind in ("offset", "trim") else None))

    def _asked(self, name, kind, write, *seen):
        """A write was sent; `seen` is what one finds after it, if that is not the write itself."""
        self.register(kind, name).ask(write, *(seen or (write,)))

    def _answered(self, name, kind, write):
        self.register(kind, name).answer(write)

    def _found(self, name, kind, value):
        register = self.register(kind, name)
        possible = [seen for _, seen in register.possible]
        verdict = register.find(value)
        if verdict is None:
            return
        older, missing = KINDS[kind]
        word = missing if value is None else older if verdict else "unknown"
        if kind == "declared" and value is not None:
            word = "undead" if possible == [None] else "undeclared"
        self.wrong(word, name, f"{kind}: {value!r}, but it can only be {brief(possible)}")

    def _armed(self, name, delay):
        """Its CONNECT is sent; the will is due `delay` seconds after it goes."""
        self.mortals[name] = Mortal(delay)

    def _lives(self, name):
        self.mortals[name].doubted = False

    def _doubted(self, name):
        """Nobody knows whether its will is still to come."""
        self.mortals[name].doubted = True

    def _cut(self, name, now):
        """The client goes without a word, now at the earliest."""
        self.mortals[name].cut = now

    def _disarmed(self, name):
        """Its will is void, and that is on disk. One that was published before that is none the less."""
        self.mortals[name].void = not self.mortals[name].published

    def _will(self, name, now):
        mortal = self.mortals.get(name)
        if mortal is None or mortal.void:
            self.wrong("unknown", "wills", f"{name} is published, though it was void")
            return
        if mortal.published:
            self.wrong("doubled", "wills", f"{name} is published again")
        elif not mortal.doubted and (mortal.cut is None or now < mortal.cut + mortal.delay):
            since = "its client is there" if mortal.cut is None else f"{now - mortal.cut:.2f} s after its client went"
            self.wrong("early", "wills", f"{name} is published, {since}; due after {mortal.delay} s")
        mortal.published = True

    def settle_wills(self):
        """Every will's time is over and the place they come to is drained."""
        for name, mortal in self.mortals.items():
            if mortal.cut is not None and not (mortal.published or mortal.doubted or mortal.void):
                self.wrong("lost", "wills", f"{name} is never published")
                mortal.doubted = True

    def _lapsed(self, name, expiry, earliest, latest, now, present):
        """A client came back to its session: it began to expire between `earliest` and `latest`, if that is known."""
        if not present and now < earliest + expiry:
            self.wrong("lost", name, f"the session is gone after {now - earliest:.2f} of {expiry} s")
        if present and latest is not None and now > latest + expiry + SLACK:
            self.wrong("late", name, f"the session is there {now - latest:.1f} s later, its expiry is {expiry} s")

    # -- comparing --------------------------------------------------------------------------------------------------

    def settle(self, name):
        """The place was read to its end: everything acknowledged that is routed there has arrived."""
        place = self.places[name]
        for who, step in place.sources.items():
            lost = self.sources[who].acked.without(place.numbers(who), step)
            if lost:
                self.wrong("lost", name, f"{len(lost)} acknowledged messages of {who}: {brief(lost)}")

    def settle_pairs(self, read):
        """All or none, among places that were read to their ends."""
        for one, other in self.pairs:
            if one not in read or other not in read:
                continue
            here, there = self.places[one], self.places[other]
            for who in here.sources.keys() & there.sources.keys():
                step = max(here.sources[who], there.sources[who])
                only = here.numbers(who).without(there.numbers(who), step)
                missing = there.numbers(who).without(here.numbers(who), step)
                if only or missing:
                    self.wrong("split", f"{one} and {other}", f"of {who} only in {one} {brief(only)}, only in {other} "
                               f"{brief(missing)}")


def brief(numbers):
    """The first few, and how many more."""
    shown = ", ".join(map(str, numbers[:FEW]))
    return f"[{shown}]" if len(numbers) <= FEW else f"[{shown} … {len(numbers) - FEW} more]"


def audit(books, events, read=()):
    """Folds a whole history, then settles the places, logs and wills that were read to their ends. The findings."""
    for subject, word, *values in events:
        books.enter(subject, word, *values)
    for name in read:
        if name == "wills":
            books.settle_wills()
            continue
        books.settle(name)
        if name in books.logs:
            books.settle_log(name)
    books.settle_pairs(set(read))
    return books.findings
