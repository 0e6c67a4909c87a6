"""Who may connect over AMQP and what they may do: the users, passwords and rules of MQTT; guest from the loopback; TLS
with the certificates of the first start (issue 4, "Connection").
"""

import socket
import ssl

import pika
import pytest

from amqpcodec import PROTOCOL
from harness import DEADLINE, Broker
from rawamqp import Closed, Connection, Refused
from rawmqtt import Client
from test_auth import passwd
from test_tls import trust

pytestmark = pytest.mark.rialto

RULES = """
[auth]
anonymous = "never"
password_file = "{passwords}"

[[acl]]
allow = "ada"
action = "all"
filter = "#"

[[acl]]
allow = "ada"
action = "all"
exchange = "*"

[[acl]]
allow = "ada"
action = "all"
queue = "*"

[[acl]]
allow = "bob"
action = "publish"
exchange = "orders"

[[acl]]
allow = "bob"
action = "publish"
exchange = "amq.topic"

[[acl]]
allow = "bob"
action = "publish"
filter = "plant/public/#"

[[acl]]
allow = "bob"
action = "subscribe"
queue = "bills*"

[[acl]]
allow = "bob"
action = "configure"
queue = "own-*"
"""


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guarded")
    passwords = folder / "passwords"
    passwd(passwords, "ada", "lovelace")
    passwd(passwords, "bob", "secret")
    broker = Broker(folder, config=RULES.format(passwords=passwords)).start()
    connection = as_ada(broker)
    channel = connection.channel()
    for exchange in ("orders", "accounts"):
        channel.call("exchange.declare", exchange=exchange, type="topic")
    for queue in ("bills-1", "wages"):
        channel.call("queue.declare", queue=queue)
        channel.call("queue.bind", queue=queue, exchange="orders", routing_key="#")
    connection.close()
    yield broker
    broker.close()


def as_ada(broker):
    return Connection(broker.amqp).open(user="ada", password="lovelace")


@pytest.fixture
def bob(guarded):
    """A new channel of bob's, each time it is asked for: refusals close them."""
    opened = []

    def channel(**options):
        opened.append(Connection(guarded.amqp).open(user="bob", password="secret", **options))
        return opened[-1].channel()

    yield channel
    for connection in opened:
        connection.cut()


# -- logins -------------------------------------------------------------------------------------------------------


def test_guest_is_let_in_from_the_loopback_without_configuration(broker):
    for mechanism in ("PLAIN", "AMQPLAIN"):
        Connection(broker.amqp).open(mechanism=mechanism).close()
    for user, password in (("guest", "wrong"), ("somebody", "guest")):
        with pytest.raises(Refused) as refused:
            Connection(broker.amqp).open(user=user, password=password)
        assert refused.value.code == 403


def test_guest_is_nobody_once_there_are_users(guarded):
    with pytest.raises(Refused) as refused:
        Connection(guarded.amqp).open()
    assert (refused.value.scope, refused.value.code) == ("connection", 403)
    assert "Login was refused" in refused.value.text


@pytest.mark.parametrize("mechanism", ["PLAIN", "AMQPLAIN"])
def test_the_users_of_mqtt_are_the_users_of_amqp(guarded, mechanism):
    Connection(guarded.amqp).open(user="ada", password="lovelace", mechanism=mechanism).close()
    Client(guarded.mqtt, "ada-1", username="ada", password="lovelace").connect()
    for user, password in (("ada", "secret"), ("eve", "lovelace"), ("ada", ""), ("", "")):
        with pytest.raises(Refused) as refused:
            Connection(guarded.amqp).open(user=user, password=password, mechanism=mechanism)
        assert refused.value.code == 403


def test_pika_says_what_is_wrong_with_a_login(guarded):
    parameters = pika.ConnectionParameters("127.0.0.1", guarded.amqp, credentials=pika.PlainCredentials("ada", "wrong"))
    with pytest.raises(pika.exceptions.ProbableAuthenticationError):
        pika.BlockingConnection(parameters)


def test_who_never_logs_in_is_ended(make_broker):
    broker = make_broker(config="[amqp]\nlogin_timeout_ms = 300\n").start()
    for sent in (b"", PROTOCOL, PROTOCOL[:3]):
        with socket.create_connection(("127.0.0.1", broker.amqp), DEADLINE) as stream:
            stream.settimeout(DEADLINE)
            stream.sendall(sent)
            while stream.recv(4096):
                pass


# -- rules --------------------------------------------------------------------------------------------------------

REFUSED = {
    "declare a queue": ("queue.declare", {"queue": "wages-2"}),
    "declare an exchange": ("exchange.declare", {"exchange": "mine", "type": "topic"}),
    "delete a queue": ("queue.delete", {"queue": "bills-1"}),
    "delete an exchange": ("exchange.delete", {"exchange": "orders"}),
    "purge": ("queue.purge", {"queue": "wages"}),
    "consume": ("basic.consume", {"queue": "wages"}),
    "get": ("basic.get", {"queue": "wages"}),
    "bind": ("queue.bind", {"queue": "bills-1", "exchange": "orders", "routing_key": "x"}),
    "unbind": ("queue.unbind", {"queue": "bills-1", "exchange": "orders", "routing_key": "#"}),
    "look at a queue": ("queue.declare", {"queue": "wages", "passive": True}),
    "look at an exchange": ("exchange.declare", {"exchange": "accounts", "passive": True}),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_no_rule_allows_is_refused_on_the_channel(bob, what):
    method, arguments = REFUSED[what]
    with pytest.raises(Refused) as refused:
        bob().call(method, **arguments)
    assert (refused.value.scope, refused.value.code) == ("channel", 403), refused.value
    assert "bob" in refused.value.text and "ACCESS_REFUSED" in refused.value.text


def test_what_a_rule_allows_is_done(bob):
    channel = bob()
    channel.call("queue.declare", queue="bills-1", passive=True)
    channel.call("exchange.declare", exchange="orders", passive=True)
    channel.call("basic.consume", queue="bills-1", consumer_tag="t")
    channel.call("basic.cancel", consumer_tag="t")
    channel.call("queue.declare", queue="own-1", exclusive=True)
    channel.call("queue.delete", queue="own-1")
    channel.select().confirmed("orders", "k", "an order")


@pytest.mark.parametrize("exchange,key", [("accounts", "k"), ("", "wages"), ("amq.topic", "plant.secret"),
                                          ("amq.topic", "elsewhere")])
def test_publishing_where_one_may_not_is_refused(bob, exchange, key):
    channel = bob().select()
    channel.publish(exchange, key, "no")
    with pytest.raises(Refused) as refused:
        channel.confirms()
    assert (refused.value.scope, refused.value.code) == ("channel", 403)


def test_the_tree_asks_for_the_topic_by_whatever_door(bob, guarded):
    """amq.topic is the topic tree, so its rules hold for routing keys too."""
    watcher = Client(guarded.mqtt, "ada-w", username="ada", password="lovelace")
    watcher.connect()
    watcher.subscribe(("plant/#", 1))
    bob().select().confirmed("amq.topic", "plant.public.news", "yes", {"delivery_mode": 2})
    assert watcher.message().topic == "plant/public/news"
    watcher.nothing_comes()
    watcher.cut()


def test_user_id_is_the_login(bob):
    bob().select().confirmed("orders", "k", "x", {"user_id": "bob"})
    with pytest.raises(Refused) as refused:
        bob().select().confirmed("orders", "k", "x", {"user_id": "ada"})
    assert refused.value.code == 406


# -- TLS ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("own", [False, True], ids=["server only", "with client certificate"])
def test_pika_talks_tls(shared, unique, own):
    options = pika.SSLOptions(trust(shared, client_certificate=own), "localhost")
    parameters = pika.ConnectionParameters("localhost", shared.ports["amqps"], ssl_options=options)
    with pika.BlockingConnection(parameters) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare(unique)
        channel.basic_publish("", unique, b"x" * 300_000)
        assert channel.basic_get(unique)[2] == b"x" * 300_000


def test_plain_and_tls_clients_meet(shared, unique):
    with Connection(shared.ports["amqps"], tls=trust(shared)) as sender, Connection(shared.amqp) as receiver:
        channel = receiver.channel()
        channel.call("queue.declare", queue=unique)
        channel.call("basic.consume", queue=unique, no_ack=True)
        sender.channel().publish("", unique, "over tls")
        assert channel.next("basic.deliver").body == b"over tls"


def test_a_client_that_trusts_another_authority_fails(shared, make_broker):
    other = make_broker().start()
    with pytest.raises(ssl.SSLError):
        Connection(shared.ports["amqps"], tls=trust(other))


def test_required_client_certificates_are_required(make_broker):
    broker = make_broker(config='[tls]\nclient_certificate = "required"\n').start()
    Connection(broker.ports["amqps"], tls=trust(broker, client_certificate=True)).open().close()
    with pytest.raises((ssl.SSLError, Closed, ConnectionResetError)):
        Connection(broker.ports["amqps"], tls=trust(broker)).open()
