"""CONNECT and CONNACK, statement by statement: what is refused, in which words, and what the answer says."""

import string

import pytest

from mqttforms import PING, cases, connect_form, filters_form, keep, rest
from rawmqtt import (AUTH, CONNACK, DISCONNECT, PINGRESP, PUBLISH, SUBACK, SUBSCRIBE, Client, ack_bytes, binary,
                     connect_bytes, packet, publish_bytes)

ID, WILL, USER, BAD = binary("c"), binary("w/t") + binary("gone"), binary("u"), binary(b"\xc3\x28")
V5WILL = b"\x00" + WILL
PASSWORD = binary("p")


def both(payload, flags, payload5=None):
    """The same payload for v3.1.1 and v5, where the will has properties."""
    return connect_form(payload, flags), connect_form(payload if payload5 is None else payload5, flags, level=5)


def five(properties, payload=ID, flags=2):
    return None, connect_form(payload, flags, level=5, properties=properties)


# name -> (bytes of v3.1.1, bytes of v5, the reason that v5's CONNACK carries); None: not for that version.
REFUSED = {
    "reserved flag [MQTT-3.1.2-3] [MQTT5-3.1.2-3]": (*both(ID, 3), 0x81),
    "will QoS 3 [MQTT-3.1.2-14] [MQTT5-3.1.2-12]": (*both(ID + WILL, 0x1E, ID + V5WILL), 0x81),
    "will QoS without a will [MQTT-3.1.2-11] [MQTT-3.1.2-13] [MQTT5-3.1.2-11]": (*both(ID, 0x0A), 0x81),
    "will retain without a will [MQTT-3.1.2-15] [MQTT5-3.1.2-13]": (*both(ID, 0x22), 0x81),
    "will flag without a will [MQTT-3.1.2-9] [MQTT5-3.1.2-9]": (*both(ID, 6), 0x81),
    "will topic alone [MQTT-3.1.2-9] [MQTT5-3.1.2-9]": (*both(ID + binary("t"), 6, ID + b"\x00" + binary("t")), 0x81),
    "a will without its flag [MQTT-3.1.2-11]": (*both(ID + WILL, 2, ID + V5WILL), 0x81),
    "user name flag without a name [MQTT-3.1.2-19] [MQTT5-3.1.2-17]": (*both(ID, 0x82), 0x81),
    "a user name without its flag [MQTT-3.1.2-18] [MQTT5-3.1.2-16]": (*both(ID + USER, 2), 0x81),
    "password flag without a password [MQTT-3.1.2-21] [MQTT5-3.1.2-19]": (*both(ID + USER, 0xC2), 0x81),
    "a password without its flag [MQTT-3.1.2-20] [MQTT5-3.1.2-18]": (*both(ID + USER + PASSWORD, 0x82), 0x81),
    "a password without a user name [MQTT-3.1.2-22]": (connect_form(ID + PASSWORD, 0x42), None, None),
    "no client identifier [MQTT-3.1.3-3] [MQTT5-3.1.3-3]": (*both(b"", 2), 0x81),
    "client identifier that is no UTF-8 [MQTT-3.1.3-4] [MQTT5-3.1.3-4]": (*both(BAD, 2), 0x81),
    "client identifier with U+0000 [MQTT-1.5.3-2] [MQTT5-1.5.4-2]": (*both(binary("a\0b"), 2), 0x81),
    "client identifier with a surrogate [MQTT-1.5.3-1] [MQTT5-1.5.4-1]": (*both(binary(b"\xed\xa0\x80"), 2), 0x81),
    "will topic that is no UTF-8 [MQTT-3.1.3-10] [MQTT5-3.1.3-11]": (
        *both(ID + BAD + binary("x"), 6, ID + b"\x00" + BAD + binary("x")), 0x81),
    "will topic with a wildcard [MQTT-4.7.1-1] [MQTT5-4.7.0-1]": (
        *both(ID + binary("a/#") + binary("x"), 6, ID + b"\x00" + binary("a/#") + binary("x")), 0x90),
    "user name that is no UTF-8 [MQTT-3.1.3-11] [MQTT5-3.1.3-12]": (*both(ID + BAD, 0x82), 0x81),
    "bytes behind the last field": (*both(ID + b"x", 2), 0x81),
    "cut short": (packet(1, 0, binary("MQTT") + b"\x04\x02"), packet(1, 0, binary("MQTT") + b"\x05\x02\x00"), 0x81),
    "receive maximum 0": (*five(b"\x21\x00\x00"), 0x82),
    "maximum packet size 0": (*five(b"\x27\x00\x00\x00\x00"), 0x82),
    "request problem information 2": (*five(b"\x17\x02"), 0x82),
    "request response information 2": (*five(b"\x19\x02"), 0x82),
    "authentication data without a method": (*five(b"\x16\x00\x01x"), 0x82),
    "property list longer than the packet": (None, packet(1, 0, binary("MQTT") + b"\x05\x02\x00\x3c\x7f"), 0x81),
    "user property that is no UTF-8 [MQTT5-1.5.7-1]": (*five(b"\x26" + binary("k") + BAD), 0x81),
    "user property with U+0000 in its name [MQTT5-1.5.7-1]": (*five(b"\x26" + binary("\0") + binary("v")), 0x81),
    "property length in more bytes than needed [MQTT5-1.5.5-1]": (
        None, packet(1, 0, binary("MQTT") + b"\x05\x02\x00\x3c\x80\x00" + ID), 0x81),
    "content type of the will that is no UTF-8 [MQTT5-3.3.2-19]": (
        *five(b"", ID + b"\x05\x03" + BAD + WILL, 6), 0x81),
    "response topic of the will with a wildcard [MQTT5-3.3.2-14]": (
        *five(b"", ID + b"\x06\x08" + binary("r/+") + WILL, 6), 0x82),
}


@pytest.mark.rialto
@pytest.mark.parametrize("name,version", cases(REFUSED))
def test_a_connect_that_breaks_its_rules_is_refused(shared, connect, unique, name, version):
    """MQTT-3.1.4-1, MQTT-3.2.2-6: v3.1.1 is closed without a word. MQTT5-3.1.4-1, MQTT5-3.2.2-6 to MQTT5-3.2.2-8,
    MQTT5-4.13.1-1, MQTT5-4.13.2-1, MQTT5-3.14.0-1: v5 is told why in one CONNACK, never in a DISCONNECT, and closed."""
    three, five, reason = REFUSED[name]
    data = three if version == 4 else five
    client = Client(shared.mqtt, unique, version=version)
    # What follows a refused CONNECT is not processed: PINGREQ gets no answer.
    client.send(data + PING)
    got = rest(client)
    client.cut()
    if version == 4:
        assert got == []
    else:
        assert [(p.kind, p.reason, p.session_present) for p in got] == [(CONNACK, reason, False)]
    connect(shared, unique + "after").ping()


FIRST = {
    "PUBLISH": publish_bytes("a", "x"), "PUBACK": ack_bytes(4, 1), "PUBREC": ack_bytes(5, 1), "PUBREL": ack_bytes(6, 1),
    "PUBCOMP": ack_bytes(7, 1), "SUBSCRIBE": b"\x82\x06\x00\x01\x00\x01a\x00",
    "UNSUBSCRIBE": b"\xa2\x05\x00\x01\x00\x01a", "PINGREQ": PING, "DISCONNECT": b"\xe0\x00", "AUTH": b"\xf0\x00",
    "CONNACK": b"\x20\x02\x00\x00", "nothing": b"\x00\x00",
    "CONNECT with flags [MQTT-2.2.2-2] [MQTT5-2.1.3-1]": b"\x11" + connect_bytes("c")[1:],
    "another protocol [MQTT-3.1.2-1] [MQTT5-3.1.2-1]": connect_form(name="MQQT"),
    "another protocol's version 5 [MQTT5-3.1.2-1]": connect_form(name="mqtt", level=5),
}


@pytest.mark.parametrize("name", FIRST)
def test_what_does_not_begin_with_connect_is_closed_without_a_byte(shared, connect, unique, name):
    """MQTT-3.1.0-1, MQTT5-3.1.0-1, MQTT5-3.14.0-1"""
    client = Client(shared.mqtt, unique)
    client.send(FIRST[name])
    assert rest(client) == []
    client.cut()
    connect(shared, unique + "after").ping()


def test_nothing_behind_a_refused_connect_is_processed(shared, connect, unique, version):
    """MQTT-3.1.4-5, MQTT5-3.1.4-6: the publish behind it reaches nobody; nor is its will kept."""
    watcher = connect(shared, unique + "w")
    watcher.subscribe(f"{unique}/#")
    will = {"topic": f"{unique}/will", "payload": "x"}
    refused = bytearray(connect_bytes(unique, version, will=will))
    refused[9] |= 1
    client = Client(shared.mqtt, unique, version=version)
    client.send(bytes(refused) + publish_bytes(f"{unique}/a", "no", 1, 1, version=version))
    assert all(p.kind == CONNACK and p.reason >= 0x80 for p in rest(client))
    client.cut()
    connect(shared, unique + "p").publish(f"{unique}/end", "end", qos=1)
    assert watcher.message().payload == b"end"


def test_a_refused_connect_leaves_the_session_alone(shared, connect, unique, version):
    """MQTT-3.1.4-1, MQTT-3.1.4-5, MQTT5-3.1.4-1, MQTT5-3.1.4-6: whoever breaks the rules under another's identifier neither
    disconnects that client nor clears its session."""
    first = connect(shared, unique, **keep(version))
    first.subscribe((unique, 1))
    for broken in (connect_form(binary(unique), 3, version), connect_form(binary(unique) + b"x", 2, version),
                   connect_form(binary(unique), 2, 6 if version == 5 else 2)):
        with Client(shared.mqtt, unique, version=version) as other:
            other.send(broken)
            rest(other)
    first.ping()
    first.cut()
    again = connect(shared, unique, **keep(version))
    assert again.connack.session_present
    connect(shared, unique + "p").publish(unique, "x", qos=1)
    assert again.message().payload == b"x"


@pytest.mark.parametrize("level,reply", [(0, b"\x20\x02\x00\x01"), (1, b"\x20\x02\x00\x01"), (6, b"\x20"),
                                         (127, b"\x20")])
def test_a_version_that_is_not_served_is_told_so(shared, unique, level, reply):
    """MQTT-3.1.2-2, MQTT-3.2.2-4 to MQTT-3.2.2-5, MQTT5-3.1.2-2, MQTT5-3.2.2-6 to MQTT5-3.2.2-7"""
    client = Client(shared.mqtt, unique)
    client.version = 5 if level > 5 else 4
    client.send(connect_form(level=level))
    got = b""
    while data := client.socket.recv(100):
        got += data
    client.cut()
    assert got.startswith(reply) and got[3] in (1, 0x84) and not got[2]


def test_connack_is_first_and_comes_once(shared, connect, unique, version):
    """MQTT-3.2.0-1, MQTT5-3.2.0-1 to MQTT5-3.2.0-2, MQTT-3.1.4-4, MQTT5-3.1.4-5: before what waited for the session,
    and before the answers to what was sent along with CONNECT. MQTT5-3.2.2-1: its flags are 0 or 1."""
    options = keep(version)
    kept = connect(shared, unique, **options)
    kept.subscribe((unique, 1))
    kept.disconnect()
    connect(shared, unique + "p").publish(unique, "waited", qos=1)
    client = Client(shared.mqtt, unique, version=version)
    subscribe = filters_form(SUBSCRIBE, 9, binary(unique + "x") + b"\x00", version)
    client.send(connect_bytes(unique, **options) + subscribe + PING)
    while len(client.buffer) < 4:
        client.buffer += client.socket.recv(4096)
    assert client.buffer[0] == CONNACK << 4 and client.buffer[2 if client.buffer[1] < 128 else 3] == 1
    first = client.receive()
    assert first.kind == CONNACK and first.reason == 0
    kinds = [client.receive().kind for _ in range(3)]
    assert sorted(kinds) == sorted([PUBLISH, SUBACK, PINGRESP])
    client.cut()


def test_ordinary_client_identifiers_are_accepted(shared, connect, version):
    """MQTT-3.1.3-5, MQTT5-3.1.3-5: 1 to 23 letters and digits, and they tell sessions apart [MQTT-3.1.3-2]
    [MQTT5-3.1.3-2]."""
    alphabet = string.digits + string.ascii_lowercase + string.ascii_uppercase
    names = ["z", alphabet[:23], alphabet[23:46], alphabet[39:], "A" * 23]
    clients = [connect(shared, name, version=version) for name in names]
    for client in clients:
        client.ping()


def test_clients_without_an_identifier_are_served_side_by_side(shared, connect, unique, version):
    """MQTT-3.1.3-6, MQTT5-3.1.3-6: each gets one of its own."""
    clients = [connect(shared, "", version=version) for _ in range(3)]
    for client in clients:
        client.subscribe((unique, 1))
    clients[0].publish(unique, "x", qos=1)
    assert [client.message().payload for client in clients] == [b"x"] * 3


def test_an_assigned_identifier_names_the_session(shared, connect, unique):
    """MQTT5-3.1.3-7, MQTT5-3.2.2-16: the session can be resumed under it."""
    first = connect(shared, "", **keep(5))
    name = first.connack.properties["assigned_client_id"]
    first.disconnect()
    again = connect(shared, name, **keep(5))
    assert again.connack.session_present and "assigned_client_id" not in again.connack.properties


@pytest.mark.rialto
@pytest.mark.parametrize("version,name", [(4, ""), (4, "x" * 60000), (5, "x" * 60000)],
                         ids=["v3 empty", "v3 too long", "v5 too long"])
def test_an_identifier_that_is_refused_is_told_so(shared, version, name):
    """MQTT-3.1.3-8 to MQTT-3.1.3-9, MQTT-3.2.2-4 to MQTT-3.2.2-5: return code 2. MQTT5-3.1.3-8: 0x85."""
    client = Client(shared.mqtt, name, version=version, clean=False)
    answer = client.connect(expect=2 if version == 4 else 0x85)
    assert not answer.session_present
    assert rest(client) == []
    client.cut()


@pytest.mark.parametrize("asked", [None, {"request_response_info": 0}])
def test_connack_has_nothing_that_was_not_asked_for(shared, connect, unique, asked):
    """MQTT5-3.1.2-28: no response information; MQTT5-4.12.0-6: no authentication method."""
    told = connect(shared, unique, version=5, properties=asked).connack.properties
    assert not {"response_info", "auth_method", "auth_data", "assigned_client_id"} & set(told)


def test_a_client_with_no_method_gets_no_auth(shared, connect, unique):
    """MQTT5-4.12.0-6"""
    client = connect(shared, unique, version=5, username="u", password="p")
    client.subscribe((unique, 1))
    client.publish(unique, "x", qos=1)
    got = [client.message()]
    client.send(PING)
    got.append(client.receive())
    assert not any(p.kind == AUTH for p in got) and got[1].kind == PINGRESP


@pytest.mark.rialto
def test_a_server_keep_alive_is_told_and_kept(make_broker, connect):
    """MQTT5-3.1.2-22, MQTT5-3.2.2-22: one that is lowered ends a silent client in time, and only that one."""
    broker = make_broker(config="[mqtt]\nkeep_alive_s_max = 1\n").start()
    lowered = connect(broker, "long", version=5, keepalive=600)
    none = connect(broker, "none", version=5, keepalive=0)
    own = connect(broker, "own", version=5, keepalive=1)
    assert [c.connack.properties.get("server_keep_alive") for c in (lowered, none, own)] == [1, 1, None]
    for client in (lowered, none, own):
        last = client.expect_closed()
        assert last.kind == DISCONNECT and last.reason == 0x8D
