"""Holds the pages to what they point at: tests that they name, differences that they list, files that they link."""

import re
import tomllib
from pathlib import Path

import pytest

from amqp_scenarios import SCENARIOS
from harness import ROOT

PAGE = (ROOT / "docs" / "amqp-compatibility.md").read_text()
KAFKA_PAGE = (ROOT / "docs" / "kafka-compatibility.md").read_text()
MQTT_PAGE = (ROOT / "docs" / "mqtt-compatibility.md").read_text()
CLIENTS_PAGE = (ROOT / "docs" / "mqtt-clients.md").read_text()
HERE = Path(__file__).parent
NAMED = re.compile(r"`([\w./-]+\.(?:py|rs))::(\w+)`")


def source(name):
    """The file that a page means by a name."""
    if name.endswith(".rs"):
        return ROOT / name
    folders = (HERE / "amqp_scenarios", HERE / "kafka_scenarios", HERE)
    return next((folder / name for folder in folders if (folder / name).exists()), HERE / name)


def rows(text):
    """Cells of every row of the tables whose last column is tests."""
    inside = False
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if not cells:
            inside = False
        elif cells[-1] == "test":
            inside = True
        elif inside and not set(line) <= set("|-"):
            yield cells


@pytest.mark.parametrize("page", [PAGE, KAFKA_PAGE, MQTT_PAGE, CLIENTS_PAGE],
                         ids=["amqp", "kafka", "mqtt", "clients"])
def test_every_test_that_a_compatibility_page_names_exists(page):
    missing = []
    for name, function in NAMED.findall(page):
        path, word = source(name), "fn" if name.endswith(".rs") else "def"
        if not path.exists() or not re.search(rf"\b{word} {function}\(", path.read_text()):
            missing.append(f"{name}::{function}")
    assert not missing, missing


def test_every_row_of_the_compatibility_page_names_a_test():
    found = list(rows(PAGE))
    assert len(found) > 80
    assert not [cells for cells in found if not NAMED.search(cells[-1])]


def test_every_scenario_has_a_row():
    named = {function for name, function in NAMED.findall(PAGE)}
    assert not sorted(set(SCENARIOS) - named)


@pytest.mark.parametrize("page, file", [(PAGE, "amqp_differences.toml"), (KAFKA_PAGE, "kafka_differences.toml")],
                         ids=["amqp", "kafka"])
def test_the_differences_are_those_that_the_tests_use(page, file):
    listed = tomllib.loads((HERE / file).read_text())["difference"]
    section = page.split("\n## Where Rialto answers otherwise")[1]
    expected = [(", ".join(entry["notes"]), entry["reason"], entry["scenario"]) for entry in listed]
    found = [(cells[0], cells[1], NAMED.search(cells[2])[2]) for cells in rows(section)]
    assert found == expected


@pytest.mark.parametrize("page", ["README.md", "CHANGELOG.md", "CONTRIBUTING.md",
                                  *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))])
def test_links_lead_somewhere(page):
    path = ROOT / page
    links = re.findall(r"\]\(([^)\s#]+)(?:#[^)]*)?\)", path.read_text())
    broken = [link for link in links if "://" not in link and not (path.parent / link).exists()]
    assert not broken, broken
