"""kill -9 at random moments, every acknowledged message accounted for (issue 3, "Crash smoke"; issues 4 and 5)."""

import os
import time

import pytest

from crash_smoke import CONFIG, ROUTE, Smoke

pytestmark = [pytest.mark.rialto, pytest.mark.timeout(1800)]


def test_nothing_acknowledged_is_lost_by_kill_9(make_broker, long):
    """20 kills, 200 with --long; RIALTO_SEED repeats a run's choices."""
    seed = int(os.environ.get("RIALTO_SEED", time.time_ns() % 1_000_000))
    broker = make_broker(routes={"crash.toml": ROUTE}, config=CONFIG)
    print(Smoke(broker, seed, say=print).run(200 if long else 20))
