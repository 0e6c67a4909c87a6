"""Small AMQP scenarios against Debian's RabbitMQ and against Rialto, answers compared (issue 4, "Proof").

The scenarios are in amqp_scenarios/, the differences that are meant in amqp_differences.toml.
"""

from pathlib import Path

import pytest

from amqp_scenarios import SCENARIOS, play
from side_by_side import Differences

pytestmark = pytest.mark.rialto

DIFFERENCES = Differences(Path(__file__).with_name("amqp_differences.toml"), "rabbitmq")


def test_there_are_scenarios_and_each_listed_difference_has_one_and_a_reason():
    assert len(SCENARIOS) >= 40
    DIFFERENCES.check(SCENARIOS)


@pytest.mark.parametrize("name", SCENARIOS)
def test_rialto_answers_as_rabbitmq_does(rabbit, shared, name):
    DIFFERENCES.hold(name, lambda: play(name, rabbit.ports["amqp"]), play(name, shared.amqp))
