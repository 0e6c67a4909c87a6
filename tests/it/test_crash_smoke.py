"""kill -9 at random moments, every acknowledged message accounted for (issue 3, "Crash smoke")."""

import os
import time

import pytest

from crash_smoke import ROUTE, Smoke

pytestmark = [pytest.mark.rialto, pytest.mark.timeout(1800)]


def test_nothing_acknowledged_is_lost_by_kill_9(make_broker, long):
    """20 kills, 200 with --long; RIALTO_SEED repeats a run's choices."""
    seed = int(os.environ.get("RIALTO_SEED", time.time_ns() % 1_000_000))
    # Small segments and eager checkpoints, so that kills fall into rolls, trims and checkpoints too.
    config = """
[journal]
segment_bytes = "1MiB"
batch_bytes_max = "64KiB"

[checkpoint]
interval_s = 1
journal_bytes = "1MiB"

[logs]
segment_bytes = "1MiB"
"""
    broker = make_broker(routes={"crash.toml": ROUTE}, config=config)
    print(Smoke(broker, seed, say=print).run(200 if long else 20))
