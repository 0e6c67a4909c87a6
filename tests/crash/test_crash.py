"""kill -9 at moments of a seed's choosing, every message accounted for; and the proof that this would be noticed."""

import os
import time

import pytest

from crash import lossy
from crash.accounting import Fault
from crash.driver import Driver
from crash.lossy import LossyDriver
from crash.scene import ROUTES, Scene, settings
from harness import Broker

pytestmark = pytest.mark.timeout(3600)


@pytest.fixture
def seed():
    return int(os.environ.get("RIALTO_SEED", time.time_ns() % 1_000_000))


@pytest.fixture
def long(request):
    return request.config.getoption("--long", default=False)


@pytest.fixture
def make_broker(tmp_path):
    made = []

    def make(config, **options):
        made.append(Broker(tmp_path / f"broker{len(made)}", routes={"crash.toml": ROUTES}, config=config, **options))
        return made[-1]

    yield make
    for broker in made:
        broker.close()


@pytest.mark.parametrize("durability, short, many", [("fsync", 16, 300), ("os", 8, 60)])
def test_nothing_acknowledged_is_lost_by_kill_9(make_broker, seed, long, durability, short, many):
    """Lost, doubled, out of order, stale, split: tests/crash/accounting.py says what each means."""
    broker = make_broker(settings(journal={"durability": durability}))
    print(Driver(broker, seed, Scene(), say=print).run(many if long else short))


def test_a_disk_that_loses_the_journal_is_found_out(make_broker, tmp_path, seed):
    """The proof can fail: what was acknowledged and never written is reported as lost."""
    broker = make_broker(lossy.SETTINGS, env={lossy.VARIABLE: str(tmp_path / "faults")})
    driver = LossyDriver(broker, seed, Scene(), say=print, faults=tmp_path / "faults")
    with pytest.raises(Fault) as caught:
        driver.run(3)
    names = {finding.name for finding in caught.value.findings}
    assert "lost" in names, caught.value
    assert driver.history.cycle == driver.since, "it was found in the cycle in which it happened"


def test_a_disk_that_does_not_sync_is_no_matter_to_kill_9(make_broker, tmp_path, seed):
    """What was written outlives the process. A power cut is another matter, which this test cannot see."""
    broker = make_broker(settings(), env={lossy.VARIABLE: str(tmp_path / "faults")})
    LossyDriver(broker, seed, Scene(), say=print, faults=tmp_path / "faults", fault="sync * lose").run(2)
