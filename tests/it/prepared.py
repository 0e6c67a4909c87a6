"""Other languages' clients under tests/.cache: sources copied, packages fetched once for each state of the sources."""

import fcntl
import shutil
import subprocess

from harness import ROOT

CACHE = ROOT / "tests" / ".cache"
FIRST_BUILD = 280


def prepared(name, sources, command):
    """A folder with a client's sources and what its package manager made of them; one test process at a time."""
    folder, stamp = CACHE / name, "\0".join(path.read_text() for path in sources)
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / ".prepared"
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists() or done.read_text() != stamp:
            for path in sources:
                shutil.copy(path, folder)
            made = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=FIRST_BUILD)
            assert made.returncode == 0, made.stdout + made.stderr
            done.write_text(stamp)
    return folder
