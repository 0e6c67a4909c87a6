"""MQTT 5 says why: reason strings where the client wants them, and the right code in the server's DISCONNECT."""

import struct

import pytest

from harness import Broker, wait_until
from rawmqtt import (CONNACK, DISCONNECT, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, Client, connect_bytes,
                     encode_properties, packet, publish_bytes)

GUARDED = """
[[acl]]
allow = "*"
action = "all"
filter = "open/#"
"""


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    broker = Broker(tmp_path_factory.mktemp("guarded"), config=GUARDED).start()
    yield broker
    broker.close()


def five(connect, broker, name, **options):
    return connect(broker, name, version=5, **options)


def ack_with(kind, mid, reason=0, properties=None):
    """An acknowledgement with a reason and properties, as clients may send them."""
    return packet(kind, 2 if kind == PUBREL else 0, struct.pack("!HB", mid, reason) + encode_properties(properties))


@pytest.mark.rialto
@pytest.mark.parametrize("qos", [1, 2])
def test_a_refused_publish_is_explained(guarded, connect, unique, qos):
    """[MQTT5-3.4.2-2] [MQTT5-3.5.2-2]: PUBACK and PUBREC carry a reason string with a failure."""
    refused = five(connect, guarded, unique).publish("closed/x", "x", qos=qos)
    assert refused.kind == (PUBACK if qos == 1 else PUBREC) and refused.reason == 0x87
    assert "access" in refused.properties["reason_string"]


@pytest.mark.rialto
def test_refused_filters_are_named(guarded, connect, unique):
    """[MQTT5-3.9.2-1]: SUBACK's reason string says which filter and why; the codes stand in the filters' order."""
    client = five(connect, guarded, unique)
    ack = client.subscribe(("open/a", 1), ("closed/a", 1), ("open/#/b", 0))
    assert ack.reasons == [1, 0x87, 0x8F]
    assert ack.properties["reason_string"] == "filter 2: not authorized; filter 3: topic filter invalid"
    ack = client.unsubscribe("open/a", "open/#/b", "never/there")
    assert ack.reasons == [0, 0x8F, 0x11] and "filter 2" in ack.properties["reason_string"]


@pytest.mark.rialto
def test_what_succeeds_needs_no_words(guarded, connect, unique):
    client = five(connect, guarded, unique)
    assert not client.subscribe(("open/a", 1)).properties
    assert not client.publish("open/b", "x", qos=1).properties
    assert not client.unsubscribe("open/a", "never/there").properties


@pytest.mark.rialto
def test_a_client_that_declines_problem_information_gets_codes_alone(guarded, connect, unique):
    """[MQTT5-3.1.2-29]: no reason string in packets other than PUBLISH, CONNACK and DISCONNECT."""
    client = five(connect, guarded, unique, properties={"request_problem_info": 0})
    refused = client.publish("closed/x", "x", qos=1)
    assert (refused.reason, refused.properties) == (0x87, {})
    ack = client.subscribe(("closed/a", 1))
    assert (ack.reasons, ack.properties) == ([0x87], {})
    client.send(ack_with(PUBREL, 77))
    unknown = client.expect(PUBCOMP)
    assert (unknown.reason, unknown.properties) == (0x92, {})


@pytest.mark.rialto
def test_reason_strings_never_exceed_the_clients_packet_size(guarded, connect, unique):
    """[MQTT5-3.4.2-2] [MQTT5-3.5.2-2] [MQTT5-3.7.2-2] [MQTT5-3.9.2-1] [MQTT5-3.11.2-1] [MQTT5-3.1.2-24]: left out instead."""
    client = five(connect, guarded, unique, properties={"maximum_packet_size": 30})
    assert client.publish("closed/x", "x", qos=1).properties == {}
    assert client.publish("closed/x", "x", qos=2).properties == {}
    assert client.subscribe(("closed/a", 1)).properties == {}
    assert client.unsubscribe("open/#/b").properties == {}
    client.send(ack_with(PUBREL, 77))
    assert client.expect(PUBCOMP).properties == {}


@pytest.mark.rialto
def test_an_answer_too_long_for_the_client_ends_the_connection(guarded, connect, unique):
    """[MQTT5-3.1.2-24]: a SUBACK whose codes alone exceed the maximum cannot be sent, and would be waited for."""
    client = five(connect, guarded, unique, properties={"maximum_packet_size": 30})
    client.subscribe(*[(f"open/{number}", 0) for number in range(60)], wait=False)
    last = client.expect_closed()
    assert last.kind == DISCONNECT and last.reason == 0x95


def test_unknown_identifiers_are_answered_so(shared, connect, unique):
    """[MQTT5-3.6.2-1] [MQTT5-3.7.2-1]: PUBREL and PUBREC of nothing get 0x92."""
    client = five(connect, shared, unique)
    client.send(ack_with(PUBREL, 9))
    got = client.expect(PUBCOMP)
    assert (got.mid, got.reason) == (9, 0x92)
    client.send(ack_with(PUBREC, 8))
    got = client.expect(PUBREL)
    assert (got.mid, got.reason) == (8, 0x92)
    client.ping()


def test_acknowledgements_may_carry_reason_strings_and_user_properties(shared, connect, unique):
    """MQTT5-3.4.2.2, MQTT5-3.5.2.2, MQTT5-3.6.2.2, MQTT5-3.7.2.2: the server takes them."""
    words = {"reason_string": "as you wish", "user": [("a", "1"), ("a", "2")]}
    sub, pub = five(connect, shared, unique + "s"), five(connect, shared, unique + "p")
    sub.subscribe((unique, 2))
    pub.publish(unique, "1", qos=1)
    sub.send(ack_with(PUBACK, sub.expect(PUBLISH).mid, 0, words))
    mid = pub.publish(unique, "2", qos=2, wait=False)
    pub.expect(PUBREC)
    pub.send(ack_with(PUBREL, mid, 0, words))
    pub.expect(PUBCOMP)
    got = sub.expect(PUBLISH)
    sub.send(ack_with(PUBREC, got.mid, 0, words))
    sub.expect(PUBREL)
    sub.send(ack_with(PUBCOMP, got.mid, 0, words))
    sub.ping()


@pytest.mark.parametrize("kind", [PUBACK, PUBREC, PUBREL, PUBCOMP])
@pytest.mark.parametrize("properties,reason", [(b"\x0a\x1f\x00\x02no\x1f\x00\x02no", 0x82), (b"\x03\x21\x00\x01", 0x81),
                                               (b"\x05\x1f\x00\x02n\x00", 0x81)])
def test_bad_properties_of_acknowledgements_end_the_connection(shared, connect, unique, kind, properties, reason):
    """MQTT5-3.4.2.2.2 (a reason string twice: 0x82), MQTT5-2.2.2.2 (a foreign property: 0x81), [MQTT5-1.5.4-2]."""
    client = five(connect, shared, unique)
    client.send(packet(kind, 2 if kind == PUBREL else 0, b"\x00\x05\x00" + properties))
    last = client.expect_closed()
    assert last.kind == DISCONNECT and last.reason == reason


# -- DISCONNECT from the server -----------------------------------------------------------------------------

@pytest.mark.rialto
def test_a_stopping_broker_says_so(make_broker, connect):
    """[MQTT5-3.14.2-1]: 0x8B with words; MQTT 3.1.1 is just closed."""
    broker = make_broker().start()
    clients = [five(connect, broker, "a"), connect(broker, "b")]
    stopped = __import__("threading").Thread(target=broker.stop)
    stopped.start()
    last = [client.expect_closed() for client in clients]
    for client in clients:
        client.cut()
    stopped.join(20)
    assert last[0].kind == DISCONNECT and last[0].reason == 0x8B and last[0].properties["reason_string"]
    assert last[1] is None


@pytest.mark.rialto
def test_a_taken_over_connection_is_told(shared, connect, unique):
    """[MQTT5-3.1.4-3]: 0x8E with words; and once only."""
    for options in ({}, {"clean": False, "properties": {"session_expiry": 60}}):
        first = five(connect, shared, unique, **options)
        five(connect, shared, unique, **options)
        got = first.expect(DISCONNECT)
        assert got.reason == 0x8E and got.properties["reason_string"]
        assert first.expect_closed() is None


@pytest.mark.rialto
def test_silence_is_answered_with_its_code(shared, connect, unique):
    """[MQTT5-3.1.2-22]: 0x8D after one and a half keep alives."""
    got = five(connect, shared, unique, keepalive=1).expect_closed()
    assert got.kind == DISCONNECT and got.reason == 0x8D and got.properties["reason_string"]


CODES = {
    "0x81 for a packet that cannot be parsed [MQTT5-4.13.1-1]": (b"\x30\x04\xff\xffab", 0x81),
    "0x81 for a property of another packet (MQTT5-2.2.2.2)": (packet(3, 0, b"\0\x01a\x03\x21\x00\x01"), 0x81),
    "0x81 for a subscription's reserved bits [MQTT5-3.8.3-5]": (b"\x82\x07\x00\x01\x00\x00\x01a\xc0", 0x81),
    "0x81 for wrong header flags [MQTT5-2.1.3-1]": (b"\x80\x07\x00\x01\x00\x00\x01a\x00", 0x81),
    "0x81 for QoS 3 [MQTT5-3.3.1-4]": (b"\x36\x05\x00\x01a\x00\x01", 0x81),
    "0x81 for broken UTF-8 [MQTT5-1.5.4-1]": (publish_bytes(b"\xc3\x28", "x", version=5), 0x81),
    "0x82 for a second CONNECT [MQTT5-3.1.0-2]": (connect_bytes("x", 5), 0x82),
    "0x82 for a property that stands twice (MQTT5-3.3.2.3.3)": (
        packet(3, 0, b"\0\x01a" + b"\x0a" + b"\x02\0\0\0\x01" * 2), 0x82),
    "0x82 for a subscription identifier in PUBLISH [MQTT5-3.3.4-6]": (packet(3, 0, b"\0\x01a\x02\x0b\x01"), 0x82),
    "0x82 for subscription identifier 0 (MQTT5-3.8.2.1.2)": (b"\x82\x09\x00\x01\x02\x0b\x00\x00\x01a\x00", 0x82),
    "0x82 for a subscription with QoS 3 (MQTT5-3.8.3.1)": (b"\x82\x07\x00\x01\x00\x00\x01a\x03", 0x82),
    "0x82 for retain handling 3 (MQTT5-3.8.3.1)": (b"\x82\x07\x00\x01\x00\x00\x01a\x30", 0x82),
    "0x82 for SUBSCRIBE without a filter [MQTT5-3.8.3-2]": (b"\x82\x03\x00\x01\x00", 0x82),
    "0x82 for UNSUBSCRIBE without a filter [MQTT5-3.10.3-2]": (b"\xa2\x03\x00\x01\x00", 0x82),
    "0x82 for packet identifier 0 [MQTT5-2.2.1-3]": (publish_bytes("a", "x", 1, 0, version=5), 0x82),
    "0x82 for an empty topic without an alias [MQTT5-4.7.3-1]": (publish_bytes("", "x", version=5), 0x82),
    "0x82 for an alias never introduced (MQTT5-3.3.2.3.4)": (
        publish_bytes("", "x", version=5, properties={"topic_alias": 2}), 0x82),
    "0x82 for a response topic with a wildcard [MQTT5-3.3.2-14]": (
        publish_bytes("a", "x", version=5, properties={"response_topic": "a/#"}), 0x82),
    "0x82 for AUTH without a method [MQTT5-4.12.0-7]": (b"\xf0\x00", 0x82),
    "0x82 for a packet that only servers send (MQTT5-2.1.2)": (b"\x20\x03\x00\x00\x00", 0x82),
    "0x90 for a topic name with a wildcard [MQTT5-3.3.2-2]": (publish_bytes("a/+", "x", version=5), 0x90),
    "0x94 for topic alias 0 [MQTT5-3.3.2-8]": (publish_bytes("a", "x", version=5, properties={"topic_alias": 0}), 0x94),
    "0x94 for an alias above the maximum [MQTT5-3.3.2-9]": (
        publish_bytes("a", "x", version=5, properties={"topic_alias": 65535}), 0x94),
}


@pytest.mark.rialto
@pytest.mark.parametrize("name", CODES)
def test_a_breach_gets_the_code_of_the_specification_and_its_will_comes(shared, connect, unique, name):
    """[MQTT5-4.13.1-1] [MQTT5-4.13.2-1]: DISCONNECT with exactly this code and words for it; the will is published."""
    data, reason = CODES[name]
    watcher = five(connect, shared, unique + "w")
    watcher.subscribe(f"{unique}/will")
    client = five(connect, shared, unique, will={"topic": f"{unique}/will", "payload": "gone"})
    client.send(data)
    last = client.expect_closed()
    assert last.kind == DISCONNECT and last.reason == reason, str(last)
    assert last.properties["reason_string"]
    assert watcher.message().payload == b"gone"


CONNECTS = {
    "0x82 for receive maximum 0 (MQTT5-3.1.2.11.3)": ({"receive_maximum": 0}, 0x82),
    "0x82 for maximum packet size 0 (MQTT5-3.1.2.11.4)": ({"maximum_packet_size": 0}, 0x82),
    "0x82 for request problem information 2 (MQTT5-3.1.2.11.7)": ({"request_problem_info": 2}, 0x82),
    "0x82 for request response information 2 (MQTT5-3.1.2.11.6)": ({"request_response_info": 2}, 0x82),
    "0x82 for authentication data alone (MQTT5-3.1.2.11.10)": ({"auth_data": b"x"}, 0x82),
    "0x81 for a property of PUBLISH (MQTT5-2.2.2.2)": ({"topic_alias": 1}, 0x81),
}


@pytest.mark.rialto
@pytest.mark.parametrize("name", CONNECTS)
def test_a_bad_connect_is_refused_with_its_code(shared, unique, name):
    """[MQTT5-3.1.4-1] [MQTT5-3.1.4-2]: CONNACK with the code, then the end; never session present [MQTT5-3.2.2-6]."""
    properties, reason = CONNECTS[name]
    client = Client(shared.mqtt, unique, version=5)
    client.send(connect_bytes(unique, 5, properties=properties))
    got = client.expect(CONNACK)
    assert (got.reason, got.session_present) == (reason, False), str(got)
    assert client.expect_closed() is None


@pytest.mark.rialto
@pytest.mark.parametrize("reason", [0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99])
def test_every_goodbye_but_the_normal_one_leaves_the_will(shared, connect, unique, reason):
    """[MQTT5-3.14.4-3] [MQTT5-3.1.2-8] [MQTT5-3.1.2-10]: only reason 0x00 discards it."""
    watcher = five(connect, shared, unique + "w")
    watcher.subscribe(f"{unique}/will")
    client = five(connect, shared, unique, will={"topic": f"{unique}/will", "payload": "gone"})
    client.disconnect(reason, {"reason_string": "so be it", "user": [("k", "v")]})
    assert watcher.message().payload == b"gone"


@pytest.mark.rialto
@pytest.mark.parametrize("reason", [0x8B, 0x8E, 0x05, 0xFF])
def test_a_goodbye_that_clients_cannot_say_leaves_the_will_too(shared, connect, unique, reason):
    """MQTT5-3.14.2.1: a code of servers, or none at all, is a protocol error and no farewell."""
    watcher = five(connect, shared, unique + "w")
    watcher.subscribe(f"{unique}/will")
    client = five(connect, shared, unique, will={"topic": f"{unique}/will", "payload": "gone"})
    client.send(bytes([0xE0, 1, reason]))
    assert client.expect_closed().reason == 0x82
    assert watcher.message().payload == b"gone"


@pytest.mark.rialto
@pytest.mark.parametrize("kind,qos,reason", [(PUBACK, 2, 0), (PUBREC, 1, 0), (PUBREC, 1, 0x80), (PUBCOMP, 1, 0),
                                             (PUBCOMP, 2, 0)])
def test_an_acknowledgement_of_the_wrong_kind_is_no_acknowledgement(shared, connect, unique, version, kind, qos, reason):
    """[MQTT5-4.3.2-3] [MQTT5-4.3.3-4]: QoS 1 ends with PUBACK, QoS 2 with PUBREC and PUBCOMP; anything else is a protocol
    error, and the message comes again."""
    if version == 4 and reason:
        pytest.skip("only in MQTT 5")
    options = {"version": version, "clean": False}
    if version == 5:
        options["properties"] = {"session_expiry": 60}
    sub, pub = connect(shared, unique + "s", **options), connect(shared, unique + "p")
    sub.subscribe((unique, 2))
    pub.publish(unique, "x", qos=qos)
    mid = sub.expect(PUBLISH).mid
    sub.send(ack_with(kind, mid, reason) if version == 5 else packet(kind, 0, struct.pack("!H", mid)))
    last = sub.expect_closed()
    assert (last is None) if version == 4 else (last.kind == DISCONNECT and last.reason == 0x82)
    again = connect(shared, unique + "s", **options)
    got = again.message()
    assert got.payload == b"x" and got.dup and got.mid == mid
    again.disconnect()


@pytest.mark.rialto
def test_breaches_are_counted(shared, connect, unique):
    before = shared.metric("rialto_protocol_errors_total", protocol="mqtt")
    sub = five(connect, shared, unique)
    sub.subscribe((unique, 2))
    sub.publish(unique, "x", qos=2, wait=False)
    mid = next(got.mid for got in iter(sub.receive, None) if got.kind == PUBLISH)
    sub.ack(PUBACK, mid)
    sub.expect_closed()
    wait_until(lambda: shared.metric("rialto_protocol_errors_total", protocol="mqtt") == before + 1, "it is counted")
