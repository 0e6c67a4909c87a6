"""Other languages' clients under tests/.cache: sources copied, packages fetched once for each state of the sources. And
those in Rust, which cargo keeps."""

import fcntl
import functools
import json
import os
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


@functools.cache
def rust_client(folder):
    """The program of a package; tests/run builds it before: cargo says where it is, or builds it now."""
    target = os.environ.get("CARGO_TARGET_DIR", str(ROOT / "target"))
    built = subprocess.run(["cargo", "build", "--locked", "--message-format=json", "--target-dir", target],
                           cwd=folder, capture_output=True, text=True, timeout=FIRST_BUILD)
    assert built.returncode == 0, built.stderr
    messages = [json.loads(line) for line in built.stdout.splitlines()]
    return next(message["executable"] for message in messages if message.get("executable"))
