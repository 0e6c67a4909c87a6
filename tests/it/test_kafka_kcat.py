"""kcat as users run it: lists, keys, groups of two, times, an idempotent producer (issue 5, "Proof")."""

import json

import pytest

from clients import kcat, kcat_read, kcat_write
from harness import wait_until
from kafkaclients import KcatGroup, committed, create, ends

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]


def test_a_list_shows_what_was_made(shared, unique):
    create(shared, unique, 3)
    listed = json.loads(kcat(shared.kafka, "-L", "-J", "-t", unique).stdout)
    topic = next(topic for topic in listed["topics"] if topic["topic"] == unique)
    broker = listed["brokers"][0]["id"]
    assert [(part["partition"], part["leader"]) for part in topic["partitions"]] == [(n, broker) for n in range(3)]


def test_keys_keep_to_their_partition(shared, unique):
    create(shared, unique, 4)
    kcat_write(shared.kafka, unique, [f"k{n % 10}:v{n}" for n in range(100)], "-K", ":")
    rows = kcat_read(shared.kafka, unique)
    assert len(rows) == 100
    by_key = {}
    for row in rows:
        by_key.setdefault(row["key"], set()).add(row["partition"])
    assert all(len(partitions) == 1 for partitions in by_key.values()) and len(by_key) == 10
    for key in by_key:
        numbers = [int(row["value"][1:]) for row in rows if row["key"] == key]
        assert numbers == sorted(numbers)


@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_an_idempotent_producer(shared, unique, codec):
    create(shared, unique, 2)
    for _ in range(2):
        kcat_write(shared.kafka, unique, [f"{n}:{n}" for n in range(500)], "-K", ":", "-z", codec,
                   "-X", "enable.idempotence=true")
    assert sum(ends(shared, unique).values()) == 1000


def test_offsets_for_times(shared, unique):
    create(shared, unique)
    kcat_write(shared.kafka, unique, ["a", "b"])
    stamp = kcat_read(shared.kafka, unique)[1]["ts"]

    def query(time):
        said = kcat(shared.kafka, "-Q", "-t", f"{unique}:0:{time}").stdout
        return int(said.split()[-1])

    assert query(-1) == 2 and query(-2) == 0 and query(1) == 0
    assert query(stamp + 3_600_000) in (-1, 2)
    # kcat's own way to begin at a time.
    assert len(kcat_read(shared.kafka, unique, start="s@1")) == 2


def test_every_codec_with_headers_is_read_back_from_any_place(shared, unique):
    create(shared, unique)
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        kcat_write(shared.kafka, unique, ["one:1", "two:2", "three:3"], "-K", ":", "-z", codec, "-H", "unit=C", "-H",
                   "unit=K")
    rows = kcat_read(shared.kafka, unique)
    assert [(row["offset"], row["key"], row["value"]) for row in rows] == [
        (number, *(("one", "1"), ("two", "2"), ("three", "3"))[number % 3]) for number in range(15)]
    assert all(row["headers"] == [("unit", "C"), ("unit", "K")] for row in rows)
    assert [row["offset"] for row in kcat_read(shared.kafka, unique, start="-2")] == [13, 14]


def test_a_group_of_two_shares_and_hands_over(shared, unique):
    """Each partition has one reader; when one leaves, the other goes on where it had committed."""
    create(shared, unique, 4)
    group = f"g-{unique}"
    kcat_write(shared.kafka, unique, [f"{n}:{n}" for n in range(200)], "-K", ":")
    first = KcatGroup(shared, group, unique)
    second = None
    try:
        wait_until(lambda: len(first.records()) == 200, "the first member reads everything")
        second = KcatGroup(shared, group, unique)
        wait_until(lambda: second.assigned() and first.assigned() and len(second.assigned()) == 2
                   and len(first.assigned()) == 2 and first.assigned() | second.assigned() == {0, 1, 2, 3},
                   "both have two partitions")
        assert not first.assigned() & second.assigned()
        kcat_write(shared.kafka, unique, [f"{n}:{n}" for n in range(200, 400)], "-K", ":")
        wait_until(lambda: {row[2] for row in first.records() + second.records()} == {str(n) for n in range(400)},
                   "both read on")
        assert second.records() and second.stop() == 0
        wait_until(lambda: first.assigned() == {0, 1, 2, 3}, "the one that is left has all of them", 30)
        kcat_write(shared.kafka, unique, ["400:400"], "-K", ":")
        wait_until(lambda: any(row[2] == "400" for row in first.records()), "it reads on")
        assert first.stop() == 0
        assert committed(shared, group, unique) == ends(shared, unique)
    finally:
        for member in filter(None, (first, second)):
            member.kill()


def test_a_static_member_comes_back_to_its_place(shared, unique):
    """KIP-345: nobody else is disturbed while an instance restarts."""
    create(shared, unique, 2)
    group = f"g-{unique}"
    members = {name: KcatGroup(shared, group, unique, settings=[f"group.instance.id={name}", "session.timeout.ms=30000"])
               for name in ("one", "two")}
    try:
        wait_until(lambda: all(member.assigned() and len(member.assigned()) == 1 for member in members.values()),
                   "each has one partition", 30)
        before = {name: member.assigned() for name, member in members.items()}
        rounds = len(members["one"].program.matching("assigned: "))
        members["two"].kill()
        members["two"] = KcatGroup(shared, group, unique, settings=["group.instance.id=two", "session.timeout.ms=30000"])
        wait_until(lambda: members["two"].assigned(), "it is back", 30)
        assert members["two"].assigned() == before["two"]
        kcat_write(shared.kafka, unique, [f"{n}:{n}" for n in range(40)], "-K", ":")
        wait_until(lambda: sum(len(member.records()) for member in members.values()) == 40, "everything is read")
        assert len(members["one"].program.matching("assigned: ")) == rounds, "the other was disturbed"
    finally:
        for member in members.values():
            member.kill()
