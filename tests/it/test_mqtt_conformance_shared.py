"""Shared subscriptions, statement by statement (MQTT5-4.8.2)."""

import pytest

from mqttforms import ack_form, keep
from rawmqtt import PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL

pytestmark = pytest.mark.rialto


def members(connect, shared, unique, *grants):
    """Members of one group, one a granted QoS, and what each waits for at the end."""
    made = []
    for number, qos in enumerate(grants):
        client = connect(shared, f"{unique}m{number}", version=5)
        assert client.subscribe((f"$share/g/{unique}/t", qos), (f"{unique}/end", 1)).reasons == [qos, 1]
        made.append(client)
    return made


def until_end(client):
    """What came to the client before the message that ends the test."""
    got = []
    while True:
        message = client.message()
        if message.topic.endswith("/end"):
            return got
        got.append(message)


def with_one_at_work(connect, shared, unique, qos):
    """(durable member that was sent a message and has said nothing, another that joined after that, publisher)"""
    busy, pub = connect(shared, unique + "busy", **keep(5)), connect(shared, unique + "p")
    assert busy.subscribe((f"$share/g/{unique}/t", 2)).reasons == [2]
    pub.publish(f"{unique}/t", "x", qos=qos)
    sent = busy.expect(PUBLISH)
    (other,) = members(connect, shared, unique, 2)
    return busy, sent, other, pub


def test_each_member_gets_messages_at_its_own_qos(shared, connect, unique):
    """MQTT5-4.8.2-3: and each message comes to one of them."""
    grants = (0, 1, 2)
    clients, pub = members(connect, shared, unique, *grants), connect(shared, unique + "p")
    for number in range(90):
        pub.publish(f"{unique}/t", str(number), qos=2)
    pub.publish(f"{unique}/end", "", qos=1)
    got = [until_end(client) for client in clients]
    assert all({message.qos for message in mine} == {qos} for qos, mine in zip(grants, got))
    assert sorted(int(message.payload) for mine in got for message in mine) == list(range(90))


@pytest.mark.parametrize("received", [False, True], ids=["before PUBREC", "after PUBREC"])
def test_a_qos_2_delivery_waits_for_its_member(shared, connect, unique, received):
    """MQTT5-4.8.2-4: it is completed when that member is back; the other gets nothing of it."""
    busy, sent, other, pub = with_one_at_work(connect, shared, unique, 2)
    if received:
        busy.ack(PUBREC, sent.mid)
        busy.expect(PUBREL)
    busy.cut()
    pub.publish(f"{unique}/end", "", qos=1)
    assert until_end(other) == []
    back = connect(shared, unique + "busy", **keep(5))
    if not received:
        again = back.expect(PUBLISH)
        assert (again.mid, again.payload, again.dup) == (sent.mid, b"x", True)
        back.ack(PUBREC, sent.mid)
    assert back.expect(PUBREL).mid == sent.mid
    back.ack(PUBCOMP, sent.mid)
    back.nothing_comes()


def test_a_qos_2_delivery_ends_with_its_members_session(shared, connect, unique):
    """MQTT5-4.8.2-5"""
    busy, _, other, pub = with_one_at_work(connect, shared, unique, 2)
    busy.cut()
    connect(shared, unique + "busy", version=5).ping()
    pub.publish(f"{unique}/end", "", qos=1)
    assert until_end(other) == []


@pytest.mark.parametrize("kind,qos", [(PUBACK, 1), (PUBREC, 2)])
def test_what_a_member_refuses_goes_to_nobody(shared, connect, unique, kind, qos):
    """MQTT5-4.8.2-6: and the member is sent the next one."""
    busy, sent, other, pub = with_one_at_work(connect, shared, unique, qos)
    busy.send(ack_form(kind, sent.mid, 0x80))
    busy.ping()
    pub.publish(f"{unique}/end", "", qos=1)
    assert until_end(other) == []
    busy.cut()
    connect(shared, unique + "busy", **keep(5)).nothing_comes()
