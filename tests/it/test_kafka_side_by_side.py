"""Small Kafka scenarios against Apache Kafka and against Rialto, answers compared field by field (issue 5, "Proof").

The scenarios are in kafka_scenarios/, the differences that are meant in kafka_differences.toml.
"""

from pathlib import Path

import pytest

from kafka_scenarios import SCENARIOS, play
from side_by_side import Differences

pytestmark = [pytest.mark.rialto, pytest.mark.timeout(180)]

DIFFERENCES = Differences(Path(__file__).with_name("kafka_differences.toml"), "kafka")


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    """A broker with the settings of the Apache Kafka beside it."""
    from harness import Broker
    config = "[groups]\ninitial_rebalance_delay_ms = 0\n"
    broker = Broker(tmp_path_factory.mktemp("twin"), config=config).start()
    yield broker
    broker.close()


def test_there_are_scenarios_and_each_listed_difference_has_one_and_a_reason():
    assert len(SCENARIOS) >= 60
    DIFFERENCES.check(SCENARIOS)


@pytest.mark.parametrize("name", SCENARIOS)
def test_rialto_answers_as_apache_kafka_does(kafka, twin, name):
    DIFFERENCES.hold(name, lambda: play(name, kafka.ports["kafka"]), play(name, twin.kafka))
