"""What a failed run leaves behind: its seed, what is wrong, the events around it, the whole history in a file."""

import random
from types import SimpleNamespace

import pytest

from crash import moments, report
from crash.accounting import Books, Fault, Place, Source
from crash.driver import Driver
from crash.history import KEPT, History
from crash.scene import settings


def history():
    """One message acknowledged and lost, another one there."""
    books = Books([Source("one", exact=True)], [Place("session", {"one": 1})])
    ticks = iter(range(10**9))
    made = History(books, clock=lambda: next(ticks))
    for number in range(2):
        made.note("one", "sent", number)
        made.note("one", "acked", number)
    made.note("session", "got", "one", 1)
    made.remark("broker", "dies", "acks")
    books.settle("session")
    return made


def test_a_failed_run_tells_what_where_and_which_seed(tmp_path, monkeypatch):
    monkeypatch.setenv("RIALTO_CRASH_HISTORY", str(tmp_path))
    said, made = [], history()
    report.tell(77, made, made.books.findings, tmp_path, said.append)
    text = "\n".join(said)
    assert "seed 77" in text and "lost: session: 1 acknowledged messages of one: [0]" in text
    kept, = tmp_path.glob("*.history")
    assert str(kept) in text
    lines = kept.read_text().splitlines()
    assert lines[0] == "seed 77" and sum("one sent" in line for line in lines) == 2
    times = [float(line.split()[0]) for line in lines if " cycle " in line]
    assert times == sorted(times) and len(times) == 6


def test_the_events_of_one_message_are_found_in_every_place():
    words = [event.word for event in history().about_message("one", "1", 10)]
    assert words == ["sent", "acked", "got", "dies"]


def test_the_history_is_bounded():
    made = history()
    for _ in range(KEPT + 10):
        made.remark("session", "got", "one", 1)
    made.remark("broker", "ready")
    assert len(made.bulk) == KEPT
    assert [event.word for event in made.rare] == ["dies", "ready"], "what is rare is not pushed out"


def test_a_broker_that_does_not_start_again_is_a_finding(tmp_path):
    class Dead:
        folder = data = tmp_path
        lines = ["corrupt at byte 32"]

        def start(self):
            raise AssertionError("the broker did not start: " + self.lines[0])

    scene = SimpleNamespace(history=history(), mortals=None)
    driver = Driver(Dead(), 1, scene)
    driver.rng = SimpleNamespace(random=lambda: 1.0)
    with pytest.raises(Fault) as caught:
        driver.restart(0, 0, "acks")
    assert [finding.name for finding in caught.value.findings] == ["refused"]


def test_a_seed_repeats_its_moments():
    def made(seed):
        rng = random.Random(seed)
        return [moments.choose(rng) for _ in range(50)]

    assert made("7 driver") == made("7 driver") != made("8 driver")
    assert set(made("7 driver")) == {name for name, _ in moments.MOMENTS}


def test_settings_are_those_that_the_broker_knows():
    text = settings(journal={"durability": "os"}, nonsense={"a": 1})
    assert 'durability = "os"' in text and "nonsense" not in text and text.count("[journal]") == 1
