"""Small AMQP scenarios against Debian's RabbitMQ and against Rialto, answers compared (issue 4, "Proof").

The scenarios are in amqp_scenarios/, the differences that are meant in amqp_differences.toml.
"""

import json
import tomllib
from pathlib import Path

import pytest

from amqp_scenarios import SCENARIOS, play

pytestmark = pytest.mark.rialto

DIFFERENCES = tomllib.loads(Path(__file__).with_name("amqp_differences.toml").read_text()).get("difference", [])

# How often the peer may play a scenario until it and Rialto agree.
PEER_ROUNDS = 3


def listed(name):
    """{label: entry} of one scenario."""
    found = {}
    for entry in DIFFERENCES:
        if entry["scenario"] == name:
            for label in entry["notes"]:
                assert label not in found, f"{name}: {label} is listed twice"
                found[label] = entry
    return found


def compare(name, theirs, ours):
    """What is wrong between two servers' notes of a scenario, as lines."""
    faults, expected = [], listed(name)
    for label in dict.fromkeys([*theirs, *ours]):
        told = (f"{label}\n      rabbitmq: {json.dumps(theirs.get(label))}"
                f"\n      rialto:   {json.dumps(ours.get(label))}")
        entry = expected.pop(label, None)
        if (theirs.get(label) == ours.get(label)) != (entry is None):
            faults.append(f"{'differs' if entry is None else 'no longer differs, but is listed'}: {told}")
        elif entry is not None and "rialto" in entry and ours.get(label) != entry["rialto"]:
            faults.append(f"differs in another way than listed ({json.dumps(entry['rialto'])}): {told}")
    return faults + [f"listed, but never noted: {label}" for label in expected]


def test_there_are_scenarios_and_each_listed_difference_has_one_and_a_reason():
    assert len(SCENARIOS) >= 40
    for entry in DIFFERENCES:
        assert set(entry) <= {"scenario", "notes", "reason", "rialto"}, entry
        assert entry["scenario"] in SCENARIOS, f"no scenario {entry['scenario']}"
        assert entry["notes"] and len(entry["reason"]) > 15, entry


@pytest.mark.parametrize("name", SCENARIOS)
def test_rialto_answers_as_rabbitmq_does(rabbit, shared, name):
    """Ours are played once. RabbitMQ's again if they differ: what its processes tell each other takes as long as it
    takes on a busy machine, and a note may come before."""
    ours = play(name, shared.amqp)
    for _ in range(PEER_ROUNDS):
        faults = compare(name, play(name, rabbit.ports["amqp"]), ours)
        if not faults:
            break
    assert not faults, f"{name}:\n  " + "\n  ".join(faults)
