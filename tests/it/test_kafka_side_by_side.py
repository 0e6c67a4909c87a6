"""Small Kafka scenarios against Apache Kafka and against Rialto, answers compared field by field (issue 5, "Proof").

The scenarios are in kafka_scenarios/, the differences that are meant in kafka_differences.toml.
"""

import json
import tomllib
from pathlib import Path

import pytest

from kafka_scenarios import SCENARIOS, play

pytestmark = [pytest.mark.rialto, pytest.mark.timeout(180)]

DIFFERENCES = tomllib.loads(Path(__file__).with_name("kafka_differences.toml").read_text()).get("difference", [])


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    """A broker with the settings of the Apache Kafka beside it."""
    from harness import Broker
    config = "[groups]\ninitial_rebalance_delay_ms = 0\n"
    broker = Broker(tmp_path_factory.mktemp("twin"), config=config).start()
    yield broker
    broker.close()


def listed(name):
    """{label: entry} of one scenario."""
    found = {}
    for entry in DIFFERENCES:
        if entry["scenario"] == name:
            for label in entry["notes"]:
                assert label not in found, f"{name}: {label} is listed twice"
                found[label] = entry
    return found


def apart(theirs, ours, path=""):
    """Where two notes differ: [(path, theirs, ours)]."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        return [found for key in dict.fromkeys([*theirs, *ours])
                for found in apart(theirs.get(key), ours.get(key), f"{path}.{key}")]
    if isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        return [found for number, pair in enumerate(zip(theirs, ours)) for found in apart(*pair, f"{path}[{number}]")]
    return [] if theirs == ours else [(path.lstrip("."), theirs, ours)]


def compare(name, theirs, ours):
    """What is wrong between two brokers' notes of a scenario, as lines."""
    faults, expected = [], listed(name)
    for label in dict.fromkeys([*theirs, *ours]):
        told = label + "".join(f"\n      {path or 'all'}\n          kafka:  {json.dumps(one)}"
                               f"\n          rialto: {json.dumps(other)}"
                               for path, one, other in apart(theirs.get(label), ours.get(label)))
        entry = expected.pop(label, None)
        if (theirs.get(label) == ours.get(label)) != (entry is None):
            faults.append(f"{'differs' if entry is None else 'no longer differs, but is listed'}: {told}")
        elif entry is not None and "rialto" in entry and ours.get(label) != entry["rialto"]:
            faults.append(f"differs in another way than listed ({json.dumps(entry['rialto'])}): {told}")
    return faults + [f"listed, but never noted: {label}" for label in expected]


def test_there_are_scenarios_and_each_listed_difference_has_one_and_a_reason():
    assert len(SCENARIOS) >= 60
    for entry in DIFFERENCES:
        assert set(entry) <= {"scenario", "notes", "reason", "rialto"}, entry
        assert entry["scenario"] in SCENARIOS, f"no scenario {entry['scenario']}"
        assert entry["notes"] and len(entry["reason"]) > 15, entry


@pytest.mark.parametrize("name", SCENARIOS)
def test_rialto_answers_as_apache_kafka_does(kafka, twin, name):
    faults = compare(name, play(name, kafka.ports["kafka"]), play(name, twin.kafka))
    assert not faults, f"{name}:\n  " + "\n  ".join(faults)
