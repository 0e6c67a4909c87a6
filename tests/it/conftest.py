"""Fixtures: a broker per test, or one shared by a module's tests that need nothing of their own.

`pytest --against mosquitto` runs the plain MQTT tests against Debian's mosquitto, `--against rabbitmq` the plain
AMQP tests against Debian's RabbitMQ, `--against kafka` the plain Kafka tests against Apache Kafka: not to judge them, but to show that what the tests expect is what another
broker does too.
"""

import itertools
import os

import pytest

from harness import Broker
from rawmqtt import Client
from sharing import Shared

_numbers = itertools.count(1)


def pytest_addoption(parser):
    parser.addoption("--against", choices=["rialto", "mosquitto", "rabbitmq", "kafka"], default="rialto",
                     help="broker to run against")
    parser.addoption("--long", action="store_true", help="the long versions of crash and hostile tests")


def pytest_configure(config):
    config.addinivalue_line("markers", "rialto: behaviour that is the broker's own, not for --against")
    config.addinivalue_line("markers", "amqp: plain AMQP 0-9-1, what --against rabbitmq runs")
    config.addinivalue_line("markers", "kafka: plain Kafka, what --against kafka runs")


def pytest_collection_modifyitems(config, items):
    against = config.getoption("--against")
    if against == "rialto":
        return
    skip = pytest.mark.skip(reason=f"not for {against}")
    for item in items:
        world = next((word for word in ("amqp", "kafka") if word in item.keywords), "mqtt")
        foreign = world != {"rabbitmq": "amqp", "kafka": "kafka"}.get(against, "mqtt")
        if foreign or "rialto" in item.keywords or not {"broker", "shared"} & set(item.fixturenames):
            item.add_marker(skip)


def _broker_class(config):
    against = config.getoption("--against")
    if against == "mosquitto":
        from mosquitto import Mosquitto
        return Mosquitto
    if against == "rabbitmq":
        from rabbit import Rabbit
        return Rabbit
    if against == "kafka":
        from apache_kafka import ApacheKafka
        return ApacheKafka
    return Broker


@pytest.fixture
def make_broker(tmp_path, request):
    """Makes brokers (not started) that are ended after the test."""
    made = []

    def make(**options):
        broker = _broker_class(request.config)(tmp_path / f"broker{len(made)}", **options)
        made.append(broker)
        return broker

    yield make
    for broker in made:
        broker.close()


@pytest.fixture
def broker(make_broker):
    """A fresh broker, started."""
    return make_broker().start()


@pytest.fixture(scope="module")
def shared(tmp_path_factory, request):
    """A broker shared by the tests of one module; they keep apart by topic and client id."""
    against = request.config.getoption("--against")
    if against in ("rabbitmq", "kafka"):
        yield request.getfixturevalue({"rabbitmq": "rabbit"}.get(against, against))
        return
    broker = _broker_class(request.config)(tmp_path_factory.mktemp("shared")).start()
    yield broker
    broker.close()


def _one_for_all(tmp_path_factory, name, make):
    base = tmp_path_factory.getbasetemp()
    return Shared((base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / name, make)


@pytest.fixture(scope="session")
def rabbit(tmp_path_factory):
    """Debian's RabbitMQ, one for all test processes of the run; tests keep apart by names."""
    from rabbit import Rabbit
    node = _one_for_all(tmp_path_factory, "rabbit", Rabbit).enter()
    yield node
    node.leave()


@pytest.fixture(scope="session")
def kafka(tmp_path_factory):
    """Apache Kafka, one node for all test processes of the run; tests keep apart by names."""
    from apache_kafka import ApacheKafka
    node = _one_for_all(tmp_path_factory, "kafka", ApacheKafka).enter()
    yield node
    node.leave()


@pytest.fixture(scope="session")
def java():
    """Runs programs of Apache Kafka by class name, in one virtual machine a test process."""
    from apache_kafka import Java
    machine = Java()
    yield machine
    machine.close()


@pytest.fixture
def unique():
    """A word no other test of this run uses: for topics and client ids on a shared broker."""
    return f"t{os.getpid()}x{next(_numbers)}"


@pytest.fixture(params=[4, 5], ids=["v3", "v5"])
def version(request):
    return request.param


@pytest.fixture
def connect():
    """Opens raw clients that are cut after the test: connect(broker, id, **options)."""
    opened = []

    def opening(broker, client_id="", expect=0, **options):
        client = Client(broker.mqtt, client_id, **options)
        opened.append(client)
        client.connect(expect)
        return client

    yield opening
    for client in opened:
        client.cut()


@pytest.fixture
def peer(long):
    """Opens client libraries that are ended after the test: peer((name, version), broker, id, **options)."""
    from mqttpeers import LONG, open_peer
    opened = []

    def opening(client, broker, client_id="", **options):
        name, number = client
        if name in LONG and not long:
            pytest.skip("with --long")
        opened.append(open_peer(name, broker, client_id, number, **options))
        return opened[-1]

    yield opening
    for one in opened:
        one.cut()


@pytest.fixture
def long(request):
    return request.config.getoption("--long")
