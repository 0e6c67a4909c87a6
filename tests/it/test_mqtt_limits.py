"""Every limit of an MQTT client, reached on a real socket: the code it hears, the counter, the line in the log.

Each limit has a key of the configuration (docs/configuration.md) and a reason of `rialto_refused_total` or
`rialto_messages_dropped_total` (docs/operations.md).
"""

import re
import socket
import subprocess
import time

import pytest

from harness import binary, wait_until
from rawamqp import Connection, Refused
from rawmqtt import (CONNACK, DISCONNECT, PUBACK, PUBLISH, Client, Closed, ack_bytes, connect_bytes, packet,
                     publish_bytes)

pytestmark = pytest.mark.rialto

V5, V311 = 5, 4


@pytest.fixture
def limited(make_broker):
    """Starts a broker with these lines of configuration."""
    def start(config, **options):
        return make_broker(config=config, **options).start()
    return start


def refused(broker, reason):
    return broker.metric("rialto_refused_total", reason=reason)


def told(broker, who, key):
    """A line of the log names both."""
    return broker.wait_log(rf"(?=.*\b{re.escape(who)}\b).*\b{re.escape(key)}\b is reached")


def dropped(broker, reason):
    return broker.metric("rialto_messages_dropped_total", reason=reason)


def refusal(broker, client_id="refused", version=V5, **connect):
    """The packet that a CONNECT is refused with, if any; the connection is closed after it."""
    with Client(broker.mqtt, client_id, version, **connect) as client:
        client.send(connect_bytes(client_id, version, **connect))
        return client.expect_closed()


def connected(broker, client_id, version=V5, **connect):
    client = Client(broker.mqtt, client_id, version, **connect)
    client.connect()
    return client


# -- what one packet may be ---------------------------------------------------------------------------------------


def test_a_packet_too_large_ends_the_connection(limited):
    broker = limited("[mqtt]\npacket_bytes_max = '2KiB'\n")
    with connected(broker, "large") as client:
        assert client.connack.properties["maximum_packet_size"] == 2048
        client.publish("t", b"x" * 2000, qos=1)
        client.send(publish_bytes("t", b"x" * 3000, version=V5, qos=1, mid=9))
        last = client.expect_closed()
        assert (last.kind, last.reason) == (DISCONNECT, 0x95)
    with connected(broker, "large3", V311) as client:
        client.send(publish_bytes("t", b"x" * 3000, qos=1, mid=9))
        assert client.expect_closed() is None
    assert refused(broker, "packet_bytes") == 2
    told(broker, "large", "mqtt.packet_bytes_max")


def test_topics_and_filters_may_be_so_deep_and_no_deeper(limited):
    broker = limited("[mqtt]\ntopic_levels_max = 5\n")
    deep, deeper = "/".join("abcde"), "/".join("abcdef")
    with connected(broker, "deep") as client:
        assert client.subscribe((deep, 1), (deeper, 1), ("a/b/c/d/#", 1)).reasons == [1, 0x8F, 1]
        assert client.publish(deep, b"1", qos=1).reason == 0
        client.expect(PUBLISH)
        for qos in (1, 2):
            assert client.publish(deeper, b"2", qos=qos).reason == 0x90
        client.publish(deeper, b"3")
        client.ping()
    with connected(broker, "deep3", V311) as client:
        assert client.subscribe(deeper).reasons == [0x80]
        client.publish(deeper, b"4", qos=1)
        client.ping()
    wait_until(lambda: dropped(broker, "topic_levels") == 4, "topic_levels is counted")
    will = {"topic": deeper, "payload": b"bye"}
    refusing = refusal(broker, "heir", will=will)
    assert (refusing.kind, refusing.reason) == (CONNACK, 0x90)
    assert refusal(broker, "heir3", V311, will=will) is None
    assert refused(broker, "topic_levels") == 8
    told(broker, "deep", "mqtt.topic_levels_max")


def test_two_hundred_levels_and_65535_bytes_are_a_topic(broker):
    with connected(broker, "long") as client:
        topics = ["/".join(["l"] * 250), "t" * 65_535, "/" * 255]
        client.subscribe(*[(topic, 1) for topic in topics])
        for topic in topics:
            assert client.publish(topic, b"x", qos=1).reason == 0
            assert client.message().topic == topic


def test_a_client_identifier_may_be_so_long(limited):
    broker = limited("[mqtt]\nclient_id_bytes_max = 30\n")
    connected(broker, "x" * 30).cut()
    refusing = refusal(broker, "x" * 31)
    assert (refusing.kind, refusing.reason) == (CONNACK, 0x85)
    assert refusal(broker, "x" * 31, V311).reason == 2
    assert refused(broker, "client_id_bytes") == 2
    told(broker, "127.0.0.1", "mqtt.client_id_bytes_max")


# -- what one session may hold ------------------------------------------------------------------------------------


@pytest.mark.parametrize("clean", [True, False])
def test_subscriptions_beyond_the_limit_are_refused_one_by_one(limited, clean):
    broker = limited("[mqtt]\nsubscriptions_per_session_max = 2\n")
    expiry = {} if clean else {"properties": {"session_expiry": 100}}
    with connected(broker, "many", clean=clean, **expiry) as client:
        assert client.subscribe(("a", 1), ("b", 1), ("c", 1)).reasons == [1, 1, 0x97]
        assert client.subscribe(("b", 2), ("c", 0)).reasons == [2, 0x97], "one that is there can be renewed"
        client.unsubscribe("a")
        assert client.subscribe(("c", 0)).reasons == [0]
    with connected(broker, "many3", V311) as client:
        assert client.subscribe("a", "b", "c").reasons == [0, 0, 0x80]
    assert refused(broker, "subscriptions") == 3
    told(broker, "many", "mqtt.subscriptions_per_session_max")


def test_so_many_are_in_flight_and_the_client_may_want_fewer(limited):
    broker = limited("[mqtt]\ninflight_max = 3\n")
    for wanted, window in ((None, 3), (2, 2), (100, 3)):
        properties = {"receive_maximum": wanted} if wanted else None
        with connected(broker, f"window{wanted}", properties=properties) as client:
            client.subscribe(("t", 1))
            for number in range(5):
                client.publish("t", str(number), qos=1)
            came = [client.expect(PUBLISH) for _ in range(window)]
            client.ping()
            client.send(ack_bytes(PUBACK, came[0].mid))
            assert client.expect(PUBLISH).payload == str(window).encode()
            client.ping()


def test_more_unacknowledged_than_the_receive_maximum_ends_the_connection(limited):
    broker = limited("[mqtt]\nreceive_max = 2\n")
    with connected(broker, "eager") as client:
        assert client.connack.properties["receive_maximum"] == 2
        # QoS 2 without PUBREL stays under way.
        client.send(b"".join(publish_bytes("t", b"x", qos=2, mid=mid, version=V5) for mid in (1, 2, 3)))
        last = client.expect_closed()
        assert (last.kind, last.reason) == (DISCONNECT, 0x93)
    assert refused(broker, "receive_max") == 1
    told(broker, "eager", "mqtt.receive_max")


def away(broker, client_id="away"):
    """A durable session that is not connected and subscribes to `t`."""
    with connected(broker, client_id, clean=True, properties={"session_expiry": 1000}) as client:
        client.subscribe(("t", 1))
        client.disconnect()


def back(broker, client_id="away"):
    client = connected(broker, client_id, clean=False, properties={"session_expiry": 1000})
    assert client.connack.session_present
    return client


def fill(broker, count, payload=lambda number: str(number).encode()):
    with connected(broker, "filler") as client:
        for number in range(count):
            assert client.publish("t", payload(number), qos=1).reason == 0, "a full session never refuses"
        client.disconnect()


def payloads(client, count):
    came = [message.payload for message in client.messages(count)]
    client.nothing_comes()
    return came


def texts(first, end):
    return [str(number).encode() for number in range(first, end)]


def test_a_full_session_keeps_its_beginning(limited):
    broker = limited("[mqtt]\nqueued_messages_max = 10\n")
    away(broker)
    fill(broker, 25)
    wait_until(lambda: dropped(broker, "queue_full") == 15, "queue_full is counted")
    told(broker, "away", "mqtt.queued_messages_max or mqtt.queued_bytes_max")
    broker.restart(hard=True)
    with back(broker) as client:
        assert payloads(client, 10) == texts(0, 10)


def test_a_full_session_keeps_its_end_when_it_drops_the_oldest(limited):
    broker = limited("[mqtt]\nqueued_messages_max = 10\nqueue_overflow = 'drop-oldest'\n")
    away(broker)
    fill(broker, 25)
    wait_until(lambda: dropped(broker, "overflow") == 15, "the oldest go")
    assert "lost its oldest" in told(broker, "away", "mqtt.queued_bytes_max")
    wait_until(lambda: broker.metric("rialto_queued_messages") == 10, "their records are applied")
    broker.restart(hard=True)
    with back(broker) as client:
        assert payloads(client, 10) == texts(15, 25)


def test_bytes_bound_a_session_too(limited):
    # All that comes is less than twice the bound: until the oldest are gone, so much may be there.
    for overflow, reason, kept in (("drop-newest", "queue_full", slice(0, 11)),
                                   ("drop-oldest", "overflow", slice(10, 20))):
        broker = limited(f"[mqtt]\nqueued_bytes_max = '11000B'\nqueue_overflow = '{overflow}'\n")
        away(broker)
        fill(broker, 20, lambda number: str(number).encode().ljust(1000))
        wait_until(lambda: dropped(broker, reason) >= 9, f"{overflow}: messages go")
        wait_until(lambda: broker.metric("rialto_queued_bytes") <= 12_100, "and their bytes")
        expected = [text.ljust(1000) for text in texts(0, 20)[kept]]
        with back(broker) as client:
            assert payloads(client, len(expected)) == expected
        broker.stop()


def test_what_was_sent_is_not_dropped_for_what_is_newer(limited):
    broker = limited("[mqtt]\nqueued_messages_max = 10\ninflight_max = 4\nqueue_overflow = 'drop-oldest'\n")
    with connected(broker, "slow", properties={"session_expiry": 1000}) as client:
        client.subscribe(("t", 1))
        fill(broker, 30)
        sent = [client.expect(PUBLISH) for _ in range(4)]
        assert [message.payload for message in sent] == texts(0, 4)
        wait_until(lambda: dropped(broker, "overflow") == 20, "what was not sent goes")
        for message in sent:
            client.send(ack_bytes(PUBACK, message.mid))
        assert payloads(client, 6) == texts(24, 30)
        fill(broker, 3)
        assert payloads(client, 3) == texts(0, 3), "the window is whole again"


def test_a_session_without_records_drops_the_oldest_as_well(limited):
    for overflow, reason, kept in (("drop-newest", "queue_full", texts(4, 10)),
                                   ("drop-oldest", "overflow", texts(24, 30))):
        broker = limited(f"[mqtt]\nqueued_messages_max = 10\ninflight_max = 4\nqueue_overflow = '{overflow}'\n")
        with connected(broker, "clean") as client:
            client.subscribe(("t", 1))
            fill(broker, 30)
            sent = [client.expect(PUBLISH) for _ in range(4)]
            assert [message.payload for message in sent] == texts(0, 4)
            wait_until(lambda: dropped(broker, reason) == 20, "what does not fit goes")
            for message in sent:
                client.send(ack_bytes(PUBACK, message.mid))
            assert payloads(client, 6) == kept
        told(broker, "clean", "mqtt.queued_messages_max or mqtt.queued_bytes_max")
        broker.stop()


def test_a_long_backlog_on_disk_is_shortened_from_its_beginning(limited):
    """What goes is read back where its page left the memory (rule 9 of the design)."""
    broker = limited("[mqtt]\nqueued_messages_max = 3000\nqueue_overflow = 'drop-oldest'\n"
                     "[memory]\nqueue_index_bytes_max = '1MiB'\n[checkpoint]\ninterval_s = 1\n")
    away(broker)
    with connected(broker, "filler") as client:
        for first in range(0, 9000, 500):
            client.send(b"".join(publish_bytes("t", str(number), 1, number % 65_535 + 1, version=V5)
                                 for number in range(first, first + 500)))
            for _ in range(500):
                client.expect(PUBACK)
    wait_until(lambda: broker.metric("rialto_queued_messages") == 3000, "the session is at its limit")
    wait_until(lambda: dropped(broker, "overflow") + dropped(broker, "queue_full") == 6000, "overflow is counted")
    broker.restart(hard=True)
    with back(broker) as client:
        came = payloads(client, 3000)
        assert came[-1] == b"8999" or dropped(broker, "queue_full")
        numbers = [int(text) for text in came]
        assert numbers == sorted(numbers)


# -- retained messages --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key, reason", [("messages_max = 2", "retained_messages"),
                                         ("bytes_max = 200", "retained_bytes")])
def test_one_retained_message_too_many(limited, key, reason):
    broker = limited(f"[retained]\n{key}\n")
    with connected(broker, "keeper") as client, connected(broker, "watcher") as watcher:
        watcher.subscribe(("#", 1))
        for topic in "ab":
            assert client.publish(topic, b"x" * 60, qos=1, retain=True).reason == 0
            assert watcher.message().topic == topic
        for qos in (1, 2):
            assert client.publish("c", b"x" * 60, qos=qos, retain=True).reason == 0x97
        watcher.nothing_comes()
        assert client.publish("b", b"y" * 70, qos=1, retain=True).reason == 0, "replacing always works"
        assert watcher.message().payload == b"y" * 70
        # Without an answer that says no, it is delivered and not kept.
        client.publish("c", b"z" * 60, retain=True)
        assert watcher.message().payload == b"z" * 60
        with connected(broker, "old", V311) as old:
            old.publish("d", b"z" * 60, qos=1, retain=True)
            assert watcher.message().topic == "d"
    broker.restart(hard=True)
    with connected(broker, "late") as client:
        client.subscribe("#")
        assert sorted(message.topic for message in client.messages(2)) == ["a", "b"]
        client.nothing_comes()
        assert client.publish("c", b"x" * 60, qos=1, retain=True).reason == 0x97
        client.publish("a", b"", qos=1, retain=True)
        client.message()
        assert client.publish("c", b"x" * 60, qos=1, retain=True).reason == 0, "clearing makes room"
    assert refused(broker, reason) == 1
    wait_until(lambda: dropped(broker, "retained_full") == 1, "retained_full is counted")
    told(broker, "late", f"retained.{key.split()[0]}")


def test_a_flood_of_retained_topics_stops_at_the_limit(limited):
    """Those that are not applied yet count as well."""
    broker = limited("[retained]\nmessages_max = 10\n")
    with connected(broker, "flood") as client:
        client.send(b"".join(publish_bytes(f"t/{number}", b"x", 1, number + 1, True, version=V5)
                             for number in range(100)))
        reasons = [client.expect(PUBACK).reason for _ in range(100)]
        assert [reason == 0x97 for reason in reasons] == [False] * 10 + [True] * 90
    wait_until(lambda: 200 < broker.metric("rialto_retained_bytes") < 600, "ten are kept")
    lines = [line for line in broker.lines if "retained.messages_max" in line]
    assert len(lines) <= 10, "lines about peers are rate-limited"


# -- connections --------------------------------------------------------------------------------------------------


def eof(port):
    """Whether a new connection is closed at once."""
    with socket.create_connection(("127.0.0.1", port), 10) as peer:
        try:
            return peer.recv(1) == b""
        except ConnectionResetError:
            return True


def test_connections_of_all_together(limited):
    broker = limited("[listeners]\nconnections_max = 2\n")
    with connected(broker, "a"), connected(broker, "b"):
        assert eof(broker.mqtt) and eof(broker.ports["mqtts"]) and eof(broker.amqp)
        assert refused(broker, "connections") == 3
        told(broker, "127.0.0.1", "listeners.connections_max")


def test_connections_of_one_address(limited):
    broker = limited("[limits]\nconnections_per_address_max = 2\n")
    with connected(broker, "a") as first, connected(broker, "b"):
        for name in ("mqtt", "mqtts", "amqp", "kafka"):
            assert eof(broker.ports[name]), name
        assert refused(broker, "connections_per_address") == 4
        wait_until(lambda: broker.metric("rialto_connections_closed_total", reason="limit") == 4,
                   "connections_closed_total is counted")
        told(broker, "127.0.0.1", "limits.connections_per_address_max")
        other = socket.create_connection(("127.0.0.1", broker.mqtt), 10, ("127.0.0.2", 0))
        other.sendall(connect_bytes("other", V311))
        assert other.recv(4) == b"\x20\x02\x00\x00", "another address has its own places"
        other.close()
        first.disconnect()
        wait_until(lambda: not eof_or_held(broker), "a place is given back")


def eof_or_held(broker):
    try:
        connected(broker, "again").cut()
        return False
    except (Closed, OSError):
        return True


def test_new_connections_of_one_address_come_too_fast(limited):
    broker = limited("[limits]\nconnection_rate_per_address_max = 1\nconnection_burst_s = 3\n")
    began = time.monotonic()
    reasons = [refusal_or_not(broker, f"c{number}") for number in range(6)]
    elapsed = time.monotonic() - began
    assert reasons[:3] == [0, 0, 0]
    assert 0x9F in reasons[3:] or elapsed > 2
    many = [refusal(broker, "v3", V311) for _ in range(3)]
    assert any(last is not None and last.kind == CONNACK and last.reason == 3 for last in many)
    assert eof(broker.ports["mqtts"]), "before a TLS handshake"
    assert refused(broker, "connection_rate_per_address") >= 3
    told(broker, "127.0.0.1", "limits.connection_rate_per_address_max")
    wait_until(lambda: refusal_or_not(broker, "patient") == 0, "time gives it back", pause=1.1)


def refusal_or_not(broker, client_id, **connect):
    """The code of CONNACK; accepted clients are gone at once."""
    with Client(broker.mqtt, client_id, V5, **connect) as client:
        return client.connect(expect=None).reason


@pytest.fixture(scope="module")
def users(tmp_path_factory):
    """A password file with ann and bob, whose passwords are their names."""
    file = tmp_path_factory.mktemp("users") / "users"
    for name in ("ann", "bob"):
        subprocess.run([binary(), "passwd", str(file), name, "--password-stdin"], input=name, text=True,
                       check=True, capture_output=True)
    return f"[auth]\npassword_file = '{file}'\n"


def login(name):
    return {"username": name, "password": name}


def test_connections_of_one_user(limited, users):
    broker = limited(users + "[limits]\nconnections_per_user_max = 2\n")
    with connected(broker, "a", **login("ann")), connected(broker, "b", **login("ann")) as second:
        last = refusal(broker, "c", **login("ann"))
        assert (last.kind, last.reason) == (CONNACK, 0x97)
        assert refusal(broker, "c", V311, **login("ann")).reason == 3
        assert refused(broker, "connections_per_user") == 2
        told(broker, "ann", "limits.connections_per_user_max")
        connected(broker, "c", **login("bob")).disconnect()
        with connected(broker, "b", **login("ann")) as taker:
            assert second.expect_closed().reason == 0x8E, "taking one's own session over counts once"
            taker.ping()
            assert refusal_or_not(broker, "c", **login("ann")) == 0x97
            taker.disconnect()
        wait_until(lambda: refusal_or_not(broker, "c", **login("ann")) == 0, "a place is given back")


def test_logins_of_one_user_come_too_fast_and_cost_no_hash(limited, users):
    broker = limited(users + "[limits]\nconnection_rate_per_user_max = 1\nconnection_burst_s = 2\n")
    wrong = {"username": "ann", "password": "guess"}
    guessers = [Client(broker.mqtt, f"guesser{number}", V5) for number in range(12)]
    for guesser in guessers:
        guesser.send(connect_bytes(guesser.client_id, V5, **wrong))
    reasons = [guesser.expect_closed(30).reason for guesser in guessers]
    assert reasons.count(0x9F) >= 9 and reasons.count(0x86) >= 2, reasons
    assert refusal_or_not(broker, "bob", **login("bob")) == 0, "others are not shut out"
    assert refused(broker, "connection_rate_per_user") == reasons.count(0x9F)
    told(broker, "127.0.0.1", "limits.connection_rate_per_user_max")


def test_users_of_amqp_count_among_them(limited, users):
    broker = limited(users + "[limits]\nconnections_per_user_max = 2\nconnection_rate_per_user_max = 1\n")
    second = Connection(broker.amqp).open(user="ann", password="ann")
    with connected(broker, "a", **login("ann")):
        with pytest.raises(Refused) as refusing:
            Connection(broker.amqp).open(user="ann", password="ann")
        assert refusing.value.code == 530
        second.close()
    told(broker, "ann", "limits.connections_per_user_max")
    assert refused(broker, "connections_per_user") == 1
    peers = [Connection(broker.amqp) for _ in range(12)]
    for peer in peers:
        peer.hello()
        peer.start_ok("ann", "guess")
    with pytest.raises(Refused) as refusing:
        peers[-1].receive(0)
    assert refusing.value.code == 530
    told(broker, "ann", "limits.connection_rate_per_user_max")


# -- rates --------------------------------------------------------------------------------------------------------


def test_a_client_that_publishes_too_fast_is_slowed(limited):
    broker = limited("[mqtt]\nmessage_rate_max = 50\n")
    with connected(broker, "fast") as client, connected(broker, "other") as other:
        client.subscribe(("t", 0))
        began = time.monotonic()
        client.send(b"".join(publish_bytes("t", str(number), version=V5) for number in range(150)))
        other.publish("u", b"x", qos=1)
        assert time.monotonic() - began < 1.8, "nobody else waits"
        assert [message.payload for message in client.messages(150)] == texts(0, 150), "all come, in order"
        elapsed = time.monotonic() - began
        assert 1.8 < elapsed < 10, "a second's worth at once, and two seconds for the rest"
        client.ping()
    assert broker.metric("rialto_rate_pauses_total", reason="message_rate") > 0
    assert refused(broker, "message_rate") == 0
    assert "not read" in told(broker, "fast", "mqtt.message_rate_max")


def test_a_client_that_sends_too_many_bytes_is_slowed(limited):
    broker = limited("[mqtt]\nbyte_rate_max = '100KiB'\n")
    with connected(broker, "heavy") as client:
        began = time.monotonic()
        for _ in range(30):
            client.publish("t", b"x" * 10_240, qos=1)
        assert 1.8 < time.monotonic() - began < 10
    assert broker.metric("rialto_rate_pauses_total", reason="byte_rate") > 0
    told(broker, "heavy", "mqtt.byte_rate_max")


def test_what_is_no_message_counts_by_its_bytes(limited):
    broker = limited("[mqtt]\nbyte_rate_max = '2KiB'\n")
    with connected(broker, "pinger") as client:
        began = time.monotonic()
        client.send(packet(12, 0, b"") * 3072)
        for _ in range(3072):
            client.expect(13)
        client.ping()
        assert time.monotonic() - began > 1.5


@pytest.mark.parametrize("key", ["message_rate_max = 10", "byte_rate_max = 200"])
def test_a_client_that_is_too_fast_can_be_sent_away(limited, key):
    broker = limited(f"[mqtt]\n{key}\nrate_overflow = 'disconnect'\n")
    reason = key.split("_max")[0]
    with connected(broker, "watcher") as watcher:
        watcher.subscribe(("will", 0))
        with connected(broker, "fast", will={"topic": "will", "payload": b"gone"}) as client:
            client.send(b"".join(publish_bytes("t", b"x" * 20, version=V5) for _ in range(100)))
            last = client.expect_closed()
            assert (last.kind, last.reason) == (DISCONNECT, 0x96)
        assert watcher.message().payload == b"gone"
        with connected(broker, "fast3", V311) as client:
            client.send(b"".join(publish_bytes("t", b"x" * 20) for _ in range(100)))
            assert client.expect_closed() is None
    assert refused(broker, reason) == 2
    wait_until(lambda: broker.metric("rialto_connections_closed_total", protocol="mqtt", reason="limit") == 2,
               "connections_closed_total is counted")
    told(broker, "fast", f"mqtt.{reason}_max")


def test_a_connect_that_is_too_much_by_itself_is_answered_once(limited):
    """After its CONNACK the client is told by DISCONNECT."""
    broker = limited("[mqtt]\nbyte_rate_max = 200\nrate_overflow = 'disconnect'\n")
    with connected(broker, "large", properties={"user": [("a", "x" * 1000)]}) as client:
        last = client.expect_closed()
        assert (last.kind, last.reason) == (DISCONNECT, 0x96)


def test_a_slowed_client_is_not_taken_for_dead(limited):
    """Its silence is ours: what it says is not read."""
    broker = limited("[mqtt]\nmessage_rate_max = 10\n")
    with connected(broker, "fast", keepalive=1) as client:
        client.send(b"".join(publish_bytes("t", b"x", version=V5) for _ in range(45)))
        client.ping()


def test_counters_are_known_before_anything_is_refused(broker):
    names = broker.metrics()
    for reason in ("connections", "connections_per_address", "connection_rate_per_address", "connections_per_user",
                   "connection_rate_per_user", "packet_bytes", "client_id_bytes", "topic_levels", "subscriptions",
                   "receive_max", "message_rate", "byte_rate", "retained_messages", "retained_bytes"):
        assert names[f'rialto_refused_total{{reason="{reason}"}}'] == 0
