"""Enhanced authentication with SCRAM-SHA-256 (MQTT5-4.12), what CONNACK says of a refusal, and response information."""

import pytest

from clients import run
from harness import Broker, binary, wait_until
from rawmqtt import (AUTH, CONNACK, DISCONNECT, PUBACK, PUBLISH, Client, Closed, connect_bytes, encode_properties,
                     packet, publish_bytes)
from scram import Scram

pytestmark = pytest.mark.rialto

METHOD = "SCRAM-SHA-256"
CONTINUE, AGAIN = 0x18, 0x19
CONFIG = """
[auth]
anonymous = "never"
password_file = "{passwords}"
failures_per_minute_max = {failures}

[mqtt]
connect_timeout_ms = {timeout}
response_information = "replies/{{clientid}}/"

[[acl]]
deny = "*"
action = "subscribe"
filter = "replies/shy/#"

[[acl]]
deny = "*"
action = "publish"
filter = "secret/#"

[[acl]]
allow = "*"
filter = "#"
"""


def passwd(path, user, password, *options):
    return run([binary(), "passwd", str(path), user, "--password-stdin", *options], input=password + "\n").stdout


def start(folder, failures=0, timeout=10_000):
    passwords = folder / "passwords"
    passwd(passwords, "ada", "lovelace", "--scram")
    passwd(passwords, "bob", "secret", "--scram", "--scram-iterations", "4096")
    passwd(passwords, "cleo", "plain")
    return Broker(folder, config=CONFIG.format(passwords=passwords, failures=failures, timeout=timeout)).start()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    broker = start(tmp_path_factory.mktemp("scram"))
    yield broker
    broker.close()


@pytest.fixture
def connect(guarded):
    """Connections that are cut after the test."""
    made = []

    def make(client_id, broker=None, **options):
        client = Client((broker or guarded).mqtt, client_id, version=5, **options)
        made.append(client)
        return client

    yield make
    for client in made:
        client.cut()


def auth(client, reason, data=None, method=METHOD):
    properties = {"auth_method": method}
    if data is not None:
        properties["auth_data"] = data
    client.send(packet(AUTH, 0, bytes([reason]) + encode_properties(properties)))


def begin(client, scram=None, method=METHOD, **options):
    properties = {"auth_method": method, **options.pop("properties", {})}
    if scram:
        properties["auth_data"] = scram.first()
    client.send(connect_bytes(client.client_id, 5, properties=properties, **{**client.connect_options, **options}))


def challenge(client):
    got = client.expect(AUTH)
    assert got.reason == CONTINUE and got.properties["auth_method"] == METHOD
    return got.properties.get("auth_data")


def log_in(client, user="ada", password="lovelace", gs2="n,,", **options):
    scram = Scram(user, password, gs2)
    begin(client, scram, **options)
    auth(client, CONTINUE, scram.final(challenge(client)))
    got = client.expect(CONNACK)
    if got.reason == 0:
        assert got.properties["auth_method"] == METHOD
        scram.verify(got.properties["auth_data"])
    return got


def test_scram_is_off_until_asked_for_and_goes_with_its_password(tmp_path):
    path = tmp_path / "passwords"
    assert "SCRAM" not in passwd(path, "ada", "one")
    assert "$argon2id$" in path.read_text() and "SCRAM" not in path.read_text()
    assert "with SCRAM-SHA-256" in passwd(path, "ada", "one", "--scram", "--scram-iterations", "5000")
    lines = path.read_text().splitlines()
    assert lines[0].startswith("%decoys:") and ":SCRAM-SHA-256$5000:" in lines[1]
    assert "SCRAM-SHA-256 is off" in passwd(path, "ada", "two")
    assert "SCRAM" not in path.read_text()
    few = run([binary(), "passwd", str(path), "ada", "--password-stdin", "--scram", "--scram-iterations", "10"],
              input="x\n", check=False)
    assert few.returncode == 1 and "4,096" in few.stderr


@pytest.mark.parametrize("gs2", ["n,,", "y,,", "n,a=ada,"])
def test_a_client_and_the_broker_prove_themselves(connect, gs2):
    """MQTT5-4.12.0-2, MQTT5-4.12.0-5: the method in every AUTH and in CONNACK, the server's proof in CONNACK."""
    client = connect("a" + str(len(gs2)))
    assert log_in(client, gs2=gs2).reason == 0
    client.publish("t", "x", qos=1)


def test_both_kinds_of_login_are_the_same_user(connect):
    with_password = connect("both", username="ada", password="lovelace")
    with_password.connect()
    with_scram = connect("both")
    assert log_in(with_scram).reason == 0
    assert with_password.expect_closed().reason == 0x8E


def test_a_client_that_says_nothing_yet_is_asked(connect):
    """MQTT5-4.12: the first data may come in AUTH."""
    client, scram = connect("late"), Scram("ada", "lovelace")
    begin(client)
    assert challenge(client) is None
    auth(client, CONTINUE, scram.first())
    auth(client, CONTINUE, scram.final(challenge(client)))
    scram.verify(client.expect(CONNACK).properties["auth_data"])


@pytest.mark.parametrize("user,password", [("ada", "wrong"), ("nobody", "lovelace"), ("cleo", "plain")])
def test_who_cannot_prove_it_is_refused_alike(connect, user, password):
    """MQTT5-4.12.0-4: a wrong password, an unknown user and one without verifier look the same."""
    client = connect("x")
    got = log_in(client, user, password)
    assert (got.reason, got.properties["auth_data"]) == (0x86, b"e=invalid-proof")
    assert got.properties["reason_string"] == "bad user name or password"
    client.expect_closed()


def test_unknown_users_have_a_salt_that_stays(connect, guarded):
    def ask(user):
        scram, client = Scram(user, "x"), connect("ask")
        begin(client, scram)
        scram.final(challenge(client))
        client.cut()
        return scram.salt, scram.iterations

    assert ask("eve") == ask("eve") != ask("mallory")
    assert len(ask("eve")[0]) == len(ask("ada")[0]) == 16
    assert ask("eve")[1] in (ask("ada")[1], ask("bob")[1])
    before = ask("eve")
    guarded.restart()
    assert ask("eve") == before


@pytest.mark.parametrize("method", ["SCRAM-SHA-1", "SCRAM-SHA-256-PLUS", "PLAIN", "scram-sha-256", ""])
def test_another_method_is_refused(connect, method):
    """MQTT5-4.12.0-1: 0x8C."""
    client = connect("x")
    begin(client, Scram("ada", "lovelace"), method=method)
    got = client.expect(CONNACK)
    assert got.reason == 0x8C and got.properties["reason_string"]
    client.expect_closed()


def test_without_users_of_scram_there_is_no_method(connect, make_broker, tmp_path):
    passwords = tmp_path / "passwords"
    passwd(passwords, "ada", "lovelace")
    broker = make_broker(config=f'[auth]\npassword_file = "{passwords}"\n').start()
    client = connect("x", broker)
    begin(client, Scram("ada", "lovelace"))
    assert client.expect(CONNACK).reason == 0x8C


@pytest.mark.parametrize("first,error", [
    (b"p=tls-exporter,,n=ada,r=x", b"e=channel-binding-not-supported"),
    (b"n,a=root,n=ada,r=x", b"e=other-error"),
    (b"n,,m=x,n=ada,r=x", b"e=extensions-not-supported"),
    (b"n,,n==,r=x", b"e=invalid-username-encoding"),
    (b"", b"e=invalid-encoding"),
    (b"\xff" * 65535, b"e=invalid-encoding"),
])
def test_first_messages_that_are_refused(connect, first, error):
    client = connect("x")
    begin(client, properties={"auth_data": first})
    got = client.expect(CONNACK)
    assert got.reason in (0x86, 0x87) and got.properties["auth_data"] == error and got.properties["reason_string"]
    client.expect_closed()


def test_a_changed_binding_or_nonce_is_refused(connect):
    for change in ({"binding": "y,,"}, {"nonce": "other"}):
        client, scram = connect("x"), Scram("ada", "lovelace")
        begin(client, scram)
        auth(client, CONTINUE, scram.final(challenge(client), **change))
        assert client.expect(CONNACK).reason == 0x87
        client.expect_closed()


def test_only_auth_and_disconnect_come_before_connack(connect):
    """MQTT5-3.1.2-30"""
    for bytes_, reason in ((publish_bytes("t", "x", version=5), 0x82), (packet(12, 0, b""), 0x82)):
        client = connect("x")
        begin(client, Scram("ada", "lovelace"))
        challenge(client)
        client.send(bytes_)
        assert client.expect(CONNACK).reason == reason
        client.expect_closed()
    client = connect("x")
    begin(client, Scram("ada", "lovelace"))
    challenge(client)
    client.disconnect()


def test_auth_with_another_method_or_reason_is_a_protocol_error(connect):
    """MQTT5-4.12.0-5, MQTT5-3.15.2-1"""
    for reason, method in ((CONTINUE, "OTHER"), (AGAIN, METHOD), (0, METHOD), (0x87, METHOD)):
        client = connect("x")
        begin(client, Scram("ada", "lovelace"))
        challenge(client)
        auth(client, reason, b"x", method)
        assert client.expect(CONNACK).reason == 0x82, (reason, method)
        client.expect_closed()


def test_a_client_without_a_method_gets_no_auth_and_may_send_none(connect):
    """MQTT5-4.12.0-6, MQTT5-4.12.0-7"""
    for reason in (CONTINUE, AGAIN):
        client = connect("x", username="ada", password="lovelace")
        assert "auth_method" not in client.connect().properties
        auth(client, reason, b"x")
        assert client.expect(DISCONNECT).reason == 0x82
        client.expect_closed()


def test_the_user_name_of_connect_must_be_the_one_proven(connect):
    assert log_in(connect("n1", username="ada", password="not looked at")).reason == 0
    client = connect("n2", username="bob")
    assert log_in(client).reason == 0x86
    client.expect_closed()


def test_auth_pipelined_behind_connect_is_read(connect):
    client, scram = connect("piped"), Scram("ada", "lovelace")
    properties = {"auth_method": METHOD}
    step = packet(AUTH, 0, bytes([CONTINUE]) + encode_properties({**properties, "auth_data": scram.first()}))
    client.send(connect_bytes("piped", 5, properties=properties) + step)
    assert challenge(client) is None
    auth(client, CONTINUE, scram.final(challenge(client)))
    assert client.expect(CONNACK).reason == 0


def test_a_session_resumes_behind_scram(connect):
    options = {"clean": False, "properties": {"session_expiry": 60}}
    first = connect("resumed")
    assert not log_in(first, **options).session_present
    first.subscribe(("resumed/t", 1))
    first.disconnect()
    other = connect("resumed-p", username="bob", password="secret")
    other.connect()
    other.publish("resumed/t", "kept", qos=1)
    again = connect("resumed")
    assert log_in(again, **options).session_present
    assert again.message().payload == b"kept"


# -- re-authentication --------------------------------------------------------------------------------------------------


def test_messages_flow_while_a_client_authenticates_again(connect):
    """MQTT5-4.12.1"""
    client, scram = connect("again"), Scram("ada", "lovelace")
    log_in(client)
    client.subscribe(("again/t", 1))
    for _ in range(2):
        scram = Scram("ada", "lovelace")
        auth(client, AGAIN, scram.first())
        answer = challenge(client)
        assert client.publish("again/t", "meanwhile", qos=1).reason == 0
        assert client.message().payload == b"meanwhile"
        auth(client, CONTINUE, scram.final(answer))
        got = client.expect(AUTH)
        assert got.reason == 0 and got.properties["auth_method"] == METHOD
        scram.verify(got.properties["auth_data"])
        assert client.publish("again/t", "after", qos=1).reason == 0
        assert client.message().payload == b"after"


def watched(connect, name):
    """A client with a will, authenticated by SCRAM, and somebody who watches the will's topic."""
    watcher = connect(name + "-w", username="bob", password="secret")
    watcher.connect()
    watcher.subscribe(f"{name}/will")
    client = connect(name)
    assert log_in(client, will={"topic": f"{name}/will", "payload": "gone"}).reason == 0
    return client, watcher


@pytest.mark.parametrize("user,password", [("ada", "wrong"), ("bob", "secret"), ("nobody", "x")])
def test_a_failed_re_authentication_ends_the_connection(connect, user, password):
    """MQTT5-4.12.1-2: DISCONNECT 0x87, also for another user, rightly proven; the will is published."""
    client, watcher = watched(connect, "failed-" + user + password)
    scram = Scram(user, password)
    auth(client, AGAIN, scram.first())
    auth(client, CONTINUE, scram.final(challenge(client)))
    last = client.expect_closed()
    assert (last.kind, last.reason) == (DISCONNECT, 0x87) and last.properties["reason_string"]
    assert watcher.message().payload == b"gone"


def test_steps_out_of_order_are_protocol_errors(connect):
    """MQTT5-4.12.1-1: another method; AUTH that continues nothing; a second beginning."""
    for number, steps in enumerate(([(CONTINUE, METHOD)], [(AGAIN, "OTHER")], [(AGAIN, METHOD), (AGAIN, METHOD)])):
        client = connect(f"order{number}")
        log_in(client)
        for reason, method in steps:
            auth(client, reason, Scram("ada", "lovelace").first(), method)
        last = client.expect_closed()
        assert (last.kind, last.reason) == (DISCONNECT, 0x82), steps


def test_exchanges_have_an_end(connect, make_broker, tmp_path_factory):
    broker = start(tmp_path_factory.mktemp("late"), timeout=3000)
    try:
        half = connect("half", broker)
        begin(half, Scram("ada", "lovelace"))
        challenge(half)
        live = connect("live", broker)
        log_in(live)
        auth(live, AGAIN, Scram("ada", "lovelace").first())
        challenge(live)
        assert half.expect_closed() is None
        last = live.expect_closed()
        assert (last.kind, last.reason) == (DISCONNECT, 0x87)
    finally:
        broker.close()


def test_wrong_proofs_are_limited_like_wrong_passwords(connect, tmp_path_factory):
    broker = start(tmp_path_factory.mktemp("guessed"), failures=3)
    try:
        reasons = [log_in(connect("g", broker), "ada", "wrong").reason for _ in range(3)]
        assert reasons == [0x86] * 3
        for scram, options in ((Scram("ada", "lovelace"), {}), (None, {"username": "ada", "password": "lovelace"})):
            client = connect("g", broker, **options)
            if scram:
                begin(client, scram)
                got = client.expect(CONNACK)
            else:
                got = client.connect(expect=None)
            assert got.reason == 0x9F and "minute" in got.properties["reason_string"]
        assert log_in(connect("b", broker), "bob", "secret").reason == 0, "another user is not held back"
        wait_until(lambda: broker.metric("rialto_logins_postponed_total", reason="failures") == 2,
                   "logins_postponed_total is counted")
    finally:
        broker.close()


# -- what CONNACK says --------------------------------------------------------------------------------------------------


REFUSALS = [
    (0x86, {"username": "ada", "password": "wrong"}),
    (0x87, {}),
    (0x87, {"username": "ada", "password": "lovelace", "will": {"topic": "secret/t", "payload": "x"}}),
]


@pytest.mark.parametrize("reason,options", REFUSALS)
def test_a_refusal_says_why_to_who_wants_to_know(connect, reason, options):
    """MQTT5-3.1.2.11.7, MQTT5-3.2.2-19: no text without problem information, none that is longer than the client takes."""
    for properties, told in (({}, True), ({"request_problem_info": 0}, False), ({"maximum_packet_size": 12}, False)):
        got = connect("why", **options, properties=properties).connect(expect=reason)
        assert ("reason_string" in got.properties) == told, properties


def test_nothing_is_longer_than_the_client_takes(connect):
    """MQTT5-3.1.2-24: even CONNACK and AUTH; a client that takes neither is closed."""
    with pytest.raises(Closed):
        connect("tiny", username="ada", password="lovelace", properties={"maximum_packet_size": 4}).connect()
    client = connect("tiny")
    begin(client, Scram("ada", "lovelace"), properties={"maximum_packet_size": 40})
    with pytest.raises(Closed):
        client.receive()


def test_response_information_comes_when_asked_for_and_allowed(connect):
    """MQTT5-3.1.2-28, MQTT5-3.2.2.3.15"""
    login = {"username": "ada", "password": "lovelace"}

    def told(client_id, **properties):
        client = connect(client_id, **login, properties=properties)
        return client.connect().properties.get("response_info")

    assert told("asks", request_response_info=1) == "replies/asks/"
    assert told("asks") is None
    assert told("asks", request_response_info=0) is None
    assert told("shy", request_response_info=1) is None, "it may not subscribe there"
    assert told("a/b", request_response_info=1) is None, "more than one level"
    assigned = connect("", **login, properties={"request_response_info": 1})
    properties = assigned.connect().properties
    assert properties["response_info"] == f"replies/{properties['assigned_client_id']}/"
    assigned.subscribe(properties["response_info"] + "#")
    other = connect("requester", **login)
    other.connect()
    other.publish(properties["response_info"] + "1", "answer")
    assert assigned.message().payload == b"answer"
