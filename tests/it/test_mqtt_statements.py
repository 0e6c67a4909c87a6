"""Holds docs/mqtt-compatibility.md to what the tests cite: `python tests/it/mqtt_table.py` writes it anew."""

import re
import subprocess
import sys
from pathlib import Path

import mqtt_table

HERE = Path(__file__).parent


def test_the_table_is_that_of_the_tests():
    known, found = mqtt_table.statements(), mqtt_table.citations()
    assert mqtt_table.PAGE.read_text() == mqtt_table.page(known, found), "run python tests/it/mqtt_table.py"


def test_every_statement_is_there():
    """141 and 251 are what the appendices count; nothing but statements is cited."""
    known = mqtt_table.statements()
    assert {version: len(rows) for version, rows in known.items()} == {"3.1.1": 141, "5.0": 251}
    for rows in known.values():
        assert all(whom in ("client", "server", "both") and says for whom, says, _ in rows.values())
    unknown = [f"{version} {name}: {', '.join(f'{test.file}::{test.name}' for test in tests)}"
               for (version, name), tests in mqtt_table.citations().items() if name not in known[version]]
    assert not unknown, unknown


def test_every_statement_for_a_server_has_a_test_or_a_reason():
    known, found = mqtt_table.statements(), mqtt_table.citations()
    assert not mqtt_table.missing(known, found)
    stale = [(version, name) for version, rows in known.items() for name, (_, _, reason) in rows.items()
             if reason and found.get((version, name))]
    assert not stale, f"a test cites what has a reason not to be tested: {stale}"


def test_every_python_test_that_is_named_is_collected():
    named = {(test.file, test.name) for tests in mqtt_table.citations().values() for test in tests
             if test.file.endswith(".py")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "-c", HERE / "pytest.ini",
         "--rootdir", HERE, *sorted({HERE / file for file, _ in named})],
        cwd=HERE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    collected = {(Path(file).name, name) for file, name in re.findall(r"^(\S+\.py)::(\w+)", done.stdout, re.M)}
    assert not named - collected
