"""kill -9 under load, and an account of every message: `tests/crash/run --help`.

    driver ── moments        cycles: everybody works, the broker dies at a chosen moment, comes back, is looked at
      │
    scene                    who sends what to where: clients, routes, places, the broker's configuration
      │
    mqtt, retained, mortals, amqp, declarations, kafka, topics, offsets     the clients, one file an idea
      │ events: sent, acknowledged, got, …
    history                  one order of everything that happened; the last events are kept for the report
      │
    accounting               pure: folds events into books, says what is lost, doubled, stale …
      │
    report                   seed, findings, the events around them

The accounting knows no broker: test_accounting.py feeds it histories made by hand, and breaks them. test_crash.py runs
the driver, also on a disk that loses what it was given, which must be found.
"""

import sys
from pathlib import Path

# The raw clients and the harness are those of the integration tests.
_IT = str(Path(__file__).resolve().parents[1] / "it")
if _IT not in sys.path:
    sys.path.insert(0, _IT)
