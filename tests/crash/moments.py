"""When the broker dies: after some work, or just when its files show that it is at something delicate.

New files in the data directory tell from outside what it does: journal/ rolls, a checkpoint writes to bodies/ or
pages, a partition begins a segment. The driver looks every few tenths of a millisecond and strikes within one or two.
"""

import os
import time

# (name, weight): acknowledgements, time, a new journal segment, a checkpoint under way, a partition's new segment.
MOMENTS = (("acks", 4), ("time", 2), ("journal", 3), ("checkpoint", 4), ("logs", 2))
PATIENCE = 2.0
PAUSE = 0.0005


def choose(rng):
    names, weights = zip(*MOMENTS)
    return rng.choices(names, weights)[0]


def listing(folder, depth):
    """Names of the files below a folder that may change meanwhile."""
    found = set()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if depth:
                        found |= listing(entry.path, depth - 1)
                else:
                    found.add(entry.path)
    except OSError:
        pass
    return found


def checkpoint_files(data):
    """What a checkpoint touches first and last: new body segments and pages; the size of the database."""
    found = set()
    for folder in os.listdir(data):
        if folder not in ("journal", "logs", "scratch") and os.path.isdir(data / folder):
            found |= listing(data / folder, 2)
    try:
        state = os.stat(data / "meta.redb")
        found.add(f"meta.redb {state.st_mtime_ns} {state.st_size}")
    except OSError:
        pass
    return found


def wait(moment, rng, data, worked, failed):
    """Returns when the broker is to die. `worked(target, seconds)` waits for acknowledgements, `failed()` says that a
    client gave up; no wait is longer than PATIENCE."""
    if moment == "acks":
        worked(rng.randrange(1, 1500), rng.uniform(0.05, 1.2))
        return
    if moment == "time":
        worked(1 << 60, rng.uniform(0.02, 1.0))
        return
    # Some work first, then the next time that it happens.
    worked(rng.randrange(1, 400), 0.5)
    look = {"journal": lambda: listing(data / "journal", 0), "logs": lambda: listing(data / "logs", 2),
            "checkpoint": lambda: checkpoint_files(data)}[moment]
    before, until = look(), time.monotonic() + PATIENCE
    while look() <= before and time.monotonic() < until and not failed():
        time.sleep(PAUSE)
    # At once, or a little into it.
    time.sleep(rng.choice((0, 0, rng.uniform(0, 0.003), rng.uniform(0, 0.03))))
