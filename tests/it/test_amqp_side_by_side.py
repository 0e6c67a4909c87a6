"""Small AMQP scenarios against Debian's RabbitMQ and against Rialto, answers compared (issue 4, "Proof").

The scenarios are in amqp_scenarios/, the differences that are meant in amqp_differences.toml.
"""

from pathlib import Path

import pytest

from amqp_scenarios import SCENARIOS, play
from side_by_side import Differences

pytestmark = pytest.mark.rialto

DIFFERENCES = Differences(Path(__file__).with_name("amqp_differences.toml"), "rabbitmq")

# How often the peer may play a scenario until it and Rialto agree.
PEER_ROUNDS = 3


def test_there_are_scenarios_and_each_listed_difference_has_one_and_a_reason():
    assert len(SCENARIOS) >= 40
    DIFFERENCES.check(SCENARIOS)


@pytest.mark.parametrize("name", SCENARIOS)
def test_rialto_answers_as_rabbitmq_does(rabbit, shared, name):
    """Ours are played once. RabbitMQ's again if they differ: what its processes tell each other takes as long as it
    takes on a busy machine, and a note may come before."""
    ours = play(name, shared.amqp)
    for _ in range(PEER_ROUNDS):
        faults = DIFFERENCES.compare(name, play(name, rabbit.ports["amqp"]), ours)
        if not faults:
            break
    assert not faults, f"{name}:\n  " + "\n  ".join(faults)
