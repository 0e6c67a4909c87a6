"""Who may connect and what they may do: passwords, ACL, the codes each MQTT version has for a refusal."""

import pytest

from clients import mosquitto_pub, MosquittoSub, run
from harness import binary
from rawmqtt import PUBACK, Client, Closed

pytestmark = pytest.mark.rialto

CONFIG = """
[auth]
anonymous = "never"
password_file = "{passwords}"

[[acl]]
allow = "ada"
action = "all"
filter = "plant/#"

[[acl]]
allow = "*"
action = "publish"
filter = "devices/%u/%c/#"

[[acl]]
allow = "bob"
action = "subscribe"
filter = "plant/public/#"
"""


def passwd(path, user, password):
    run([binary(), "passwd", str(path), user, "--password-stdin"], input=password + "\n")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    from harness import Broker
    folder = tmp_path_factory.mktemp("guarded")
    passwords = folder / "passwords"
    passwd(passwords, "ada", "lovelace")
    passwd(passwords, "bob", "secret")
    broker = Broker(folder, config=CONFIG.format(passwords=passwords)).start()
    yield broker
    broker.close()


def ada(broker, client_id="ada-1", **options):
    client = Client(broker.mqtt, client_id, username="ada", password="lovelace", **options)
    client.connect()
    return client


def bob(broker, client_id="bob-1", **options):
    client = Client(broker.mqtt, client_id, username="bob", password="secret", **options)
    client.connect()
    return client


def test_passwords_are_kept_as_argon2id(tmp_path):
    path = tmp_path / "passwords"
    passwd(path, "ada", "lovelace")
    passwd(path, "bob", "secret")
    passwd(path, "ada", "changed")
    lines = path.read_text().splitlines()
    assert len(lines) == 2 and all("$argon2id$" in line for line in lines)
    assert "lovelace" not in path.read_text()
    run([binary(), "passwd", str(path), "ada", "--delete"])
    assert [line.split(":")[0] for line in path.read_text().splitlines()] == ["bob"]


def test_the_right_password_is_let_in(guarded, version):
    ada(guarded, version=version).disconnect()


@pytest.mark.parametrize("name,password", [("ada", "wrong"), ("eve", "lovelace"), ("ada", None), ("ada", "")])
def test_a_bad_login_is_refused(guarded, version, name, password):
    """MQTT-3.2.2-5: return code 4. MQTT5-3.1.4-2, MQTT5-3.2.2-7, MQTT5-4.13.2-1: reason 0x86. Then the connection ends."""
    client = Client(guarded.mqtt, "x", version=version, username=name, password=password)
    if version == 4:
        assert client.connect(expect=None).reason in (4, 5)
    else:
        client.connect(expect=0x86)
    client.expect_closed()


def test_nobody_in_particular_is_refused(guarded, version):
    client = Client(guarded.mqtt, "x", version=version)
    assert client.connect(expect=None).reason in ((5, 4) if version == 4 else (0x87, 0x86))
    client.expect_closed()


def test_refused_logins_are_counted(guarded):
    before = guarded.metric("rialto_auth_failures_total")
    client = Client(guarded.mqtt, "x", username="ada", password="wrong")
    client.connect(expect=None)
    client.expect_closed()
    assert guarded.metric("rialto_auth_failures_total") >= before + 1


def test_a_forbidden_filter_gets_its_code_and_nothing_else(guarded, version):
    """MQTT-3.9.3: 0x80 in v3.1.1; MQTT5-3.9.3: 0x87. The allowed filter of the same packet still works."""
    with bob(guarded, version=version) as client, ada(guarded) as publisher:
        ack = client.subscribe("plant/secret/#", "plant/public/#", "#")
        refusal = 0x80 if version == 4 else 0x87
        assert ack.reasons == [refusal, 0, refusal]
        publisher.publish("plant/secret/a", "no", qos=1)
        publisher.publish("plant/public/a", "yes", qos=1)
        assert client.message().payload == b"yes"
        client.nothing_comes()


def test_a_filter_wider_than_the_rule_is_forbidden(guarded):
    with bob(guarded, version=5) as client:
        assert client.subscribe("plant/+/#", "plant/public/x", "plant/#").reasons == [0x87, 0, 0x87]


def test_a_forbidden_publish_reaches_nobody(guarded, version):
    """MQTT5-3.4.2.1: PUBACK 0x87; v3.1.1 has no code: acknowledged or closed (MQTT-3.3.5-2), delivered never."""
    with ada(guarded) as watcher, bob(guarded, version=version) as client:
        watcher.subscribe("plant/#")
        client.publish("plant/public/a", "no", qos=1, wait=False)
        try:
            ack = client.expect(PUBACK)
            assert ack.reason == (0x87 if version == 5 else 0)
        except Closed:
            assert version == 4
        watcher.nothing_comes()


def test_client_and_user_names_fill_the_placeholders(guarded):
    with bob(guarded, "meter7", version=5) as client:
        assert client.publish("devices/bob/meter7/t", "1", qos=1).reason in (0, 0x10)
        assert client.publish("devices/bob/meter8/t", "1", qos=1).reason == 0x87
        assert client.publish("devices/ada/meter7/t", "1", qos=1).reason == 0x87


def test_a_client_id_with_wildcards_opens_no_door(guarded):
    with bob(guarded, "+", version=5) as client:
        assert client.publish("devices/bob/+/t".replace("+", "meter8"), "1", qos=1).reason == 0x87


def test_a_will_is_checked_like_a_publish(guarded):
    with ada(guarded) as watcher:
        watcher.subscribe("plant/#")
        client = Client(guarded.mqtt, "bob-will", username="bob", password="secret", version=5,
                        will={"topic": "plant/secret/will", "payload": "boo"})
        ack = client.connect(expect=None)
        client.cut()
        if ack.reason == 0:
            wait_gone(guarded)
        else:
            assert ack.reason == 0x87
        watcher.nothing_comes()


def wait_gone(broker):
    from harness import wait_until
    wait_until(lambda: broker.metric("rialto_connections", protocol="mqtt") <= 1, "the cut connection is gone")


def test_real_clients_log_in(guarded):
    login = ["-u", "ada", "-P", "lovelace"]
    with MosquittoSub(guarded.mqtt, "plant/#", qos=1, args=login) as sub:
        mosquitto_pub(guarded.mqtt, "plant/a", "hello", qos=1, args=login)
        assert sub.payloads(1) == ["hello"]
    done = mosquitto_pub(guarded.mqtt, "plant/a", "hello", qos=1, args=["-u", "ada", "-P", "no"], check=False)
    assert done.returncode != 0
