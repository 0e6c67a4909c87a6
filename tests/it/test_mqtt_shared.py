"""Shared subscriptions over sockets: MQTT5-4.8.2 and what docs/guarantees.md says of groups, with raw clients,
mosquitto_sub and paho."""

import collections
import random
import threading

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from clients import DEADLINE, MosquittoSub
from harness import wait_until
from rawmqtt import (DISCONNECT, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, Closed, Timeout)

# Apart from `--against`: the strategies and what goes back at once are the broker's own.
rialto = pytest.mark.rialto


def member(connect, broker, name, filter, qos=1, version=5, durable=False, **options):
    properties = dict(options.pop("properties", {}))
    if durable and version == 5:
        properties["session_expiry"] = 0xFFFFFFFF
    if version == 5:
        options["properties"] = properties
    client = connect(broker, name, version=version, clean=not durable, **options)
    assert client.subscribe((filter, qos)).reasons == [qos]
    return client


def drain(*clients):
    """What each gets until nothing comes; not acknowledged."""
    got = []
    for client in clients:
        mine = []
        client.send(b"\xc0\x00")
        while (packet := client.receive()).kind == PUBLISH:
            mine.append(packet)
        got.append(mine)
    return got


def payloads(packets):
    return [int(packet.payload) for packet in packets]


def test_connack_says_that_shared_subscriptions_are_there(shared, connect, unique):
    """MQTT5-3.2.2.3.13"""
    assert connect(shared, unique, version=5).connack.properties.get("shared_available", 1) == 1


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("durable", [False, True])
def test_each_message_goes_to_one_member(shared, connect, unique, version, qos, durable):
    """MQTT5-4.8.2"""
    filter = f"$share/g/{unique}/#"
    members = [member(connect, shared, f"{unique}{n}", filter, qos, version, durable) for n in range(3)]
    pub = connect(shared, unique + "p")
    for number in range(30):
        pub.publish(f"{unique}/{number % 3}", str(number), qos=qos)
    got = []
    deadline = 30
    while len(got) < 30 and deadline:
        deadline -= 1
        for client in members:
            while True:
                try:
                    got.append(client.message(timeout=0.05))
                except Timeout:
                    break
    assert sorted(payloads(got)) == list(range(30))
    assert all(packet.qos == qos and not packet.dup for packet in got)
    if durable:
        for client in members:
            client.unsubscribe(filter)


@pytest.mark.parametrize("bad", ["$share//t", "$share/g", "$share/g/", "$share/g+/t", "$share/g#/t", "$share/+/t",
                                 "$share/g/a#"])
def test_bad_shared_filters_are_refused(shared, connect, unique, version, bad):
    """MQTT-4.8.2-1, MQTT-4.8.2-2"""
    client = connect(shared, unique, version=version)
    try:
        ack = client.subscribe((bad, 1))
    except (Closed, AssertionError):
        pytest.fail("answered, not closed")
    assert ack.reasons == [0x8F if version == 5 else 0x80]
    client.ping()


def test_no_local_with_a_shared_filter_ends_the_connection(shared, connect, unique):
    """MQTT-3.8.3-4"""
    client = connect(shared, unique, version=5)
    client.subscribe((f"$share/g/{unique}", 0b101), wait=False)
    last = client.expect_closed()
    assert (last.kind, last.reason) == (DISCONNECT, 0x82)


def test_a_shared_subscription_begins_without_retained_messages(shared, connect, unique):
    """MQTT5-4.8.2"""
    pub = connect(shared, unique + "p")
    pub.publish(unique, "1", qos=1, retain=True)
    client = member(connect, shared, unique, f"$share/g/{unique}")
    client.nothing_comes()
    pub.publish(unique, "2", qos=1, retain=True)
    assert client.message().payload == b"2"
    pub.publish(unique, "", qos=1, retain=True)


def test_groups_and_plain_subscriptions_get_a_copy_each(shared, connect, unique, version):
    """MQTT5-4.8.2: a session may be in several groups, and have subscriptions of its own."""
    client = connect(shared, unique, version=version)
    filters = [f"$share/g/{unique}", f"$share/h/{unique}", f"$share/g/{unique}/#", unique]
    assert client.subscribe(*[(filter, 1) for filter in filters]).reasons == [1] * 4
    connect(shared, unique + "p").publish(unique, "7", qos=1)
    got = client.messages(4)
    assert payloads(got) == [7] * 4 and len({packet.mid for packet in got}) == 4
    client.nothing_comes()
    assert client.unsubscribe(*filters).reasons == ([0] * 4 if version == 5 else [])


def test_subscription_identifier_and_retain_as_published(shared, connect, unique):
    client = connect(shared, unique, version=5)
    client.subscribe((f"$share/g/{unique}", 0b1001), properties={"subscription_id": 42})
    pub = connect(shared, unique + "p")
    pub.publish(unique, "1", qos=1, retain=True)
    got = client.message()
    assert got.retain and got.properties["subscription_id"] == [42]
    pub.publish(unique, "", qos=1, retain=True)


@rialto
@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("how", ["cut", "disconnect"])
def test_a_member_that_goes_hands_back_what_it_has_not_acknowledged(shared, connect, unique, version, durable, how):
    """MQTT5-4.8.2: QoS 1 goes to another client as soon as the connection is lost."""
    filter = f"$share/g/{unique}"
    going = member(connect, shared, unique + "a", filter, 1, version, durable)
    pub = connect(shared, unique + "p")
    for number in range(6):
        pub.publish(unique, str(number), qos=1)
    held = [going.expect(PUBLISH) for _ in range(6)]
    going.ack(PUBACK, held[2].mid)
    going.ping()
    staying = member(connect, shared, unique + "b", filter, 1, version, durable)
    staying.nothing_comes()
    if how == "cut":
        going.cut()
    else:
        going.disconnect()
    got = staying.messages(5)
    assert payloads(got) == [0, 1, 3, 4, 5] and not any(packet.dup for packet in got)
    staying.nothing_comes()


@rialto
def test_a_group_whose_members_are_all_away_keeps_messages(broker, connect, version):
    filter = "$share/g/t/#"
    for name in ("a", "b"):
        member(connect, broker, name, filter, 1, version, True).disconnect()
    pub = connect(broker, "p")
    for number in range(20):
        pub.publish(f"t/{number}", str(number), qos=1 + number % 2)
    broker.restart(hard=True)
    options = {"properties": {"session_expiry": 0xFFFFFFFF}} if version == 5 else {}
    back = connect(broker, "b", version=version, clean=False, **options)
    assert back.connack.session_present
    assert payloads(back.messages(20)) == list(range(20))
    back.nothing_comes()


@rialto
def test_a_slow_member_starves_nobody(shared, connect, unique):
    filter = f"$share/g/{unique}"
    slow = member(connect, shared, unique + "s", filter, 1, 5, True, properties={"receive_maximum": 3})
    fast = member(connect, shared, unique + "f", filter, 1, 5, True)
    pub = connect(shared, unique + "p")
    count = 200
    for number in range(count):
        pub.publish(unique, str(number), qos=1)
    got = fast.messages(count - 3)
    stuck = [slow.expect(PUBLISH) for _ in range(3)]
    assert sorted(payloads(got) + payloads(stuck)) == list(range(count))
    slow.nothing_comes()


def test_qos_2_under_way_waits_for_its_member(shared, connect, unique):
    """MQTT-4.8.2-4: it is completed with this client when it reconnects."""
    filter = f"$share/g/{unique}"
    going = member(connect, shared, unique + "a", filter, 2, 5, True)
    pub = connect(shared, unique + "p")
    for number in range(3):
        pub.publish(unique, str(number), qos=2)
    held = [going.expect(PUBLISH) for _ in range(3)]
    going.ack(PUBREC, held[0].mid)
    going.expect(PUBREL)
    going.cut()
    staying = member(connect, shared, unique + "b", filter, 2, 5, True)
    staying.nothing_comes()
    back = connect(shared, unique + "a", version=5, clean=False, properties={"session_expiry": 0xFFFFFFFF})
    assert back.expect(PUBREL).mid == held[0].mid
    again = [back.expect(PUBLISH) for _ in range(2)]
    assert [(p.mid, p.payload, p.dup) for p in again] == [(p.mid, p.payload, True) for p in held[1:]]
    back.ack(PUBCOMP, held[0].mid)
    for packet in again:
        back.ack(PUBREC, packet.mid)
        back.expect(PUBREL)
        back.ack(PUBCOMP, packet.mid)
    back.nothing_comes()
    staying.nothing_comes()


def test_qos_2_of_a_session_that_ended_is_for_nobody_else(shared, connect, unique):
    """MQTT-4.8.2-5"""
    filter = f"$share/g/{unique}"
    going = member(connect, shared, unique + "a", filter, 2, 5, True)
    pub = connect(shared, unique + "p")
    pub.publish(unique, "1", qos=2)
    going.expect(PUBLISH)
    staying = member(connect, shared, unique + "b", filter, 2, 5, True)
    going.disconnect(properties={"session_expiry": 0})
    pub.publish(unique, "2", qos=2)
    assert staying.message().payload == b"2"
    staying.nothing_comes()


def test_who_unsubscribes_completes_what_was_begun(shared, connect, unique, version):
    """MQTT-3.10.4-3"""
    filter = f"$share/g/{unique}"
    client = member(connect, shared, unique, filter, 1, version)
    pub = connect(shared, unique + "p")
    pub.publish(unique, "1", qos=1)
    held = client.expect(PUBLISH)
    client.unsubscribe(filter)
    client.ack(PUBACK, held.mid)
    pub.publish(unique, "2", qos=1)
    client.nothing_comes()


@rialto
@pytest.mark.parametrize("strategy", ["hash-client", "hash-topic"])
def test_by_hash_what_belongs_together_stays_together_and_in_order(make_broker, connect, strategy):
    broker = make_broker(config=f'[mqtt]\nshared_strategy = "{strategy}"\n').start()
    members = [member(connect, broker, f"m{n}", "$share/g/t/#", 1, 5, True) for n in range(3)]
    devices = [connect(broker, f"device-{n}") for n in range(12)]
    for number in range(20):
        for at, device in enumerate(devices):
            device.publish(f"t/{at}", f"{number * 100 + at}", qos=1)
    owners, seen = collections.defaultdict(set), collections.defaultdict(list)
    left = 240
    while left:
        for at, client in enumerate(members):
            try:
                while True:
                    value = int(client.message(timeout=0.1).payload)
                    owners[value % 100].add(at)
                    seen[value % 100].append(value // 100)
                    left -= 1
            except Timeout:
                pass
    assert all(len(members) == 1 for members in owners.values())
    assert len(set.union(*owners.values())) > 1, "not all to one"
    assert all(values == list(range(20)) for values in seen.values())


@rialto
def test_round_robin_goes_by_turn(make_broker, connect):
    broker = make_broker(config='[mqtt]\nshared_strategy = "round-robin"\n').start()
    members = [member(connect, broker, f"m{n}", "$share/g/t") for n in range(3)]
    pub = connect(broker, "p")
    for number in range(30):
        pub.publish("t", str(number), qos=1)
    assert [len(got) for got in drain(*members)] == [10, 10, 10]


def test_a_message_too_large_for_one_member_goes_to_another(shared, connect, unique):
    """MQTT5-3.1.2.11.4: the broker may send it to one that can take it."""
    filter = f"$share/g/{unique}"
    small = member(connect, shared, unique + "s", filter, 1, 5, properties={"maximum_packet_size": 60})
    large = member(connect, shared, unique + "l", filter, 1, 5)
    pub = connect(shared, unique + "p")
    for number in range(4):
        pub.publish(unique, f"{number}".ljust(100), qos=1)
    assert payloads(large.messages(4)) == list(range(4))
    small.nothing_comes()


def test_mosquitto_sub_shares(shared, connect, unique, version):
    filter = f"$share/workers/{unique}/+"
    with MosquittoSub(shared.mqtt, filter, qos=1, version=version) as one, \
            MosquittoSub(shared.mqtt, filter, qos=1, version=version) as two:
        pub = connect(shared, unique)
        for number in range(50):
            pub.publish(f"{unique}/{number}", str(number), qos=1)
        wait_until(lambda: len(one.lines) + len(two.lines) == 50, "all messages")
        assert sorted(int(line[3]) for line in one.lines + two.lines) == list(range(50))
        assert one.lines and two.lines


def test_paho_shares_with_protocol_version_5(shared, connect, unique):
    got, news = [], threading.Condition()
    clients = []
    for name in ("a", "b"):
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id=unique + name, protocol=paho.MQTTv5)
        ready = threading.Event()

        def on_message(_client, who, message):
            with news:
                got.append((who, int(message.payload)))
                news.notify()

        client.user_data_set(name)
        client.on_message = on_message
        client.on_subscribe = lambda *_, ready=ready: ready.set()
        client.connect("127.0.0.1", shared.mqtt)
        client.loop_start()
        client.subscribe(f"$share/g/{unique}", qos=2)
        assert ready.wait(DEADLINE)
        clients.append(client)
    pub = connect(shared, unique + "p")
    for number in range(40):
        pub.publish(unique, str(number), qos=2)
    with news:
        assert news.wait_for(lambda: len(got) >= 40, DEADLINE)
    for client in clients:
        client.disconnect()
        client.loop_stop()
    assert sorted(number for _, number in got) == list(range(40))
    assert {who for who, _ in got} == {"a", "b"}


class Worker:
    """A member with a session that lasts, as a careful client is: QoS 2 by identifier (MQTT5-4.3.3)."""

    def __init__(self, name):
        self.name, self.client = name, None
        self.held, self.twos, self.ones = {}, [], set()

    def connect(self, broker, connect):
        self.client = connect(broker, self.name, version=5, clean=False,
                              properties={"session_expiry": 0xFFFFFFFF, "receive_maximum": 7})
        if not self.client.connack.session_present:
            self.client.subscribe(("$share/g/t/#", 2))

    def step(self, timeout, rng):
        """Takes one packet and mostly answers it; false when nothing came."""
        try:
            packet = self.client.receive(timeout)
        except (Timeout, Closed):
            return False
        try:
            if packet.kind == PUBREL:
                self.held.pop(packet.mid, None)
                self.client.ack(PUBCOMP, packet.mid)
            elif packet.qos == 1:
                # What is not answered comes again, to whomever.
                if rng.random() < 0.9:
                    self.ones.add(int(packet.payload))
                    self.client.ack(PUBACK, packet.mid)
            else:
                if packet.mid not in self.held:
                    self.held[packet.mid] = int(packet.payload)
                    self.twos.append(int(packet.payload))
                self.client.ack(PUBREC, packet.mid)
        except Closed:
            return False
        return True


@rialto
def test_a_group_outlives_kills(make_broker, connect, long):
    """Everything acknowledged reaches the group: QoS 1 at least once, QoS 2 exactly once, whenever the broker dies and
    whoever comes and goes."""
    broker = make_broker(config='[checkpoint]\ninterval_s = 1\n').start()
    rng = random.Random(7)
    workers = [Worker("one"), Worker("two")]
    for worker in workers:
        worker.connect(broker, connect)
    sent, number = set(), 0
    for round in range(40 if long else 8):
        pub = connect(broker, "p", version=5)
        for _ in range(60):
            number += 1
            pub.publish(f"t/{number % 5}", str(number), qos=1 + number % 2)
            sent.add(number)
            worker = rng.choice(workers)
            for _ in range(rng.randrange(3)):
                worker.step(0.01, rng)
            if rng.random() < 0.05:
                worker.client.cut()
                worker.connect(broker, connect)
        if round % 2:
            broker.restart(hard=True)
            for worker in workers:
                worker.connect(broker, connect)
    idle = 0
    while idle < 10:
        idle = 0 if any([worker.step(0.1, rng) for worker in workers]) else idle + 1
        if idle == 5:
            # What a worker left unanswered goes back with its connection.
            for worker in workers:
                worker.client.cut()
                worker.connect(broker, connect)
    ones = set.union(*(worker.ones for worker in workers))
    twos = collections.Counter(value for worker in workers for value in worker.twos)
    assert {value for value in sent if value % 2 == 0} <= ones, "QoS 1 is lost"
    assert {value: count for value, count in twos.items() if count > 1} == {}
    assert {value for value in sent if value % 2} == set(twos)
