"""What AMQP clients ask for that is not there: refused by name, never ignored; and what is accepted and says nothing
(issue 4; docs/amqp-compatibility.md has a row for each).
"""

import pytest

from amqpcodec import Typed
from harness import ROOT
from rawamqp import Connection, Refused

pytestmark = pytest.mark.rialto

PAGE = (ROOT / "docs" / "amqp-compatibility.md").read_text()

ACCEPTED = {
    "x-message-ttl": [0, 1000, Typed("l", 2**37)], "x-expires": [1000, Typed("u", 60_000)],
    "x-max-length": [0, 10], "x-max-length-bytes": [1 << 20], "x-overflow": ["drop-head", "reject-publish"],
    "x-queue-type": ["classic"], "x-queue-mode": ["default", "lazy"], "x-queue-version": [1, 2],
    "x-queue-master-locator": ["min-masters"], "x-whatever": ["anything", {"a": [1]}],
}
REFUSED = {
    "x-queue-type": ["quorum", "stream"], "x-overflow": ["reject-publish-dlx"], "x-dead-letter-exchange": ["dead", ""],
    "x-dead-letter-routing-key": ["k"], "x-dead-letter-strategy": ["at-least-once"], "x-max-priority": [10],
    "x-single-active-consumer": [True], "x-delivery-limit": [20], "x-consumer-timeout": [60_000], "x-max-age": ["7D"],
    "x-stream-max-segment-size-bytes": [1 << 20], "x-stream-filter-size-bytes": [16], "x-initial-cluster-size": [3],
    "x-quorum-initial-group-size": [3], "x-max-in-memory-length": [10], "x-max-in-memory-bytes": [1 << 20],
}


@pytest.fixture
def channel(shared):
    connection = Connection(shared.amqp).open()
    yield connection.channel()
    connection.cut()


def pairs(arguments):
    return [pytest.param(key, value, id=f"{key}={getattr(value, 'value', value)}")
            for key, values in arguments.items() for value in values]


@pytest.mark.parametrize("key,value", pairs(ACCEPTED))
def test_arguments_of_queues_that_are_accepted(channel, unique, key, value):
    assert f"`{key}`" in PAGE or key == "x-whatever"
    channel.call("queue.declare", queue=unique, exclusive=True, arguments={key: value})
    channel.call("queue.declare", queue=unique, exclusive=True, arguments={key: value})


@pytest.mark.parametrize("key,value", pairs(REFUSED))
def test_arguments_of_queues_that_are_refused(channel, unique, key, value):
    assert f"`{key}`" in PAGE
    with pytest.raises(Refused) as refused:
        channel.call("queue.declare", queue=unique, exclusive=True, arguments={key: value})
    assert (refused.value.scope, refused.value.code) == ("channel", 406)
    assert refused.value.text.startswith(f"PRECONDITION_FAILED - invalid arg '{key}' for queue '{unique}'")
    assert "not implemented yet, see docs/amqp-compatibility.md" in refused.value.text


@pytest.mark.parametrize("kind", ["x-delayed-message", "x-consistent-hash", "x-random", "x-recent-history"])
def test_exchange_types_of_plugins_are_refused(channel, unique, kind):
    with pytest.raises(Refused) as refused:
        channel.call("exchange.declare", exchange=unique, type=kind)
    assert (refused.value.scope, refused.value.code) == ("connection", 503)
    assert refused.value.text == f"COMMAND_INVALID - unknown exchange type '{kind}'"


def test_another_mechanism_is_not_offered(shared):
    connection = Connection(shared.amqp)
    assert set(connection.hello().mechanisms.split()) == {"PLAIN", "AMQPLAIN"}
    connection.cut()


def test_limits_of_the_configuration_are_told(make_broker):
    broker = make_broker(config="[amqp]\nqueues_max = 2\nbindings_max = 1\nexchanges_max = 16\n").start()
    with Connection(broker.amqp) as connection:
        channel = connection.channel()
        for number in range(2):
            channel.call("queue.declare", queue=f"q{number}")
        channel.call("queue.bind", queue="q0", exchange="amq.direct", routing_key="k")
        asked = [("queue.declare", {"queue": "one more"}),
                 ("queue.bind", {"queue": "q1", "exchange": "amq.direct", "routing_key": "k"})]
        for method, arguments in asked:
            with pytest.raises(Refused) as refused:
                connection.channel().call(method, **arguments)
            assert (refused.value.scope, refused.value.code) == ("channel", 406), method
        with pytest.raises(Refused) as refused:
            channel = connection.channel()
            for number in range(17):
                channel.call("exchange.declare", exchange=f"x{number}", type="fanout")
        assert (refused.value.scope, refused.value.code) == ("channel", 406)
