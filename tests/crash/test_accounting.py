"""The accounting over histories made by hand: a good one passes, and each way to break it is called by its name."""

import pytest

from crash.accounting import FEW, Books, Place, Source, audit
from crash.numbers import Numbers

LOG = "log"
COUNT = 6


def books():
    """One at-least-once and one exactly-once publisher into a session, a queue, a log; a producer of records."""
    both = {"one": 1, "two": 1}
    return Books(
        [Source("one", exact=False), Source("two", exact=True), Source("kp.0", exact=True)],
        [Place("session", both, repeats="flagged"), Place("queue", {"one": 2, "two": 1}, repeats="flagged"),
         Place(LOG, {**both, "kp.0": 1}), Place("several", {"one": 1}, order="connection", repeats="flagged")],
        [LOG], [("session", LOG), ("session", "queue")])


READ = ("session", "queue", LOG, "wills")


def good():
    """Everything sent, acknowledged and found, once and in order; every kind of event is in it."""
    events, offset = [], 0
    for number in range(COUNT):
        for who in ("one", "two"):
            events += [(who, "sent", number), ("session", "got", who, number, False, who == "two")]
            events.append((LOG, "row", 0 if who == "one" else 1, number, who, number))
            if who == "two" or number % 2 == 0:
                events.append(("queue", "got", who, number))
            events.append((who, "acked", number))
        events += [("kp.0", "sent", number), ("kp.0", "acked", number), (LOG, "told", 2, number, "kp.0", number),
                   (LOG, "row", 2, number, "kp.0", number)]
        offset += 2
        events += [("group/0", "asked", "offset", offset), ("group/0", "answered", "offset", offset)]
        events += [("keep/a", "asked", "retained", number), ("keep/a", "answered", "retained", number)]
    events += [("group/0", "found", "offset", offset), ("keep/a", "found", "retained", COUNT - 1)]
    events += [("keep/b", "asked", "retained", 1), ("keep/b", "answered", "retained", 1),
               ("keep/b", "asked", "retained", 2, None), ("keep/b", "answered", "retained", 2),
               ("keep/b", "found", "retained", None)]
    events += [("queue.1", "asked", "declared", True), ("queue.1", "answered", "declared", True),
               ("queue.2", "asked", "declared", True), ("queue.2", "answered", "declared", True),
               ("queue.2", "asked", "declared", None), ("queue.2", "answered", "declared", None),
               ("queue.1", "found", "declared", True), ("queue.2", "found", "declared", None)]
    events += [("m1", "armed", 2), ("m1", "lives"), ("m1", "cut", 10.0), ("m1", "will", 12.5),
               ("m2", "armed", 0), ("m2", "lives"), ("m2", "disarmed"),
               ("s1", "lapsed", 3, 10.0, 11.0, 12.0, True), ("s2", "lapsed", 3, 10.0, 11.0, 30.0, False)]
    return events


def names(events, read=READ):
    return {finding.name for finding in audit(books(), events, read)}


def without(*event):
    events = good()
    events.remove(event)
    return events


def with_(*added, after=None):
    events = good()
    at = len(events) if after is None else events.index(after) + 1
    return events[:at] + list(added) + events[at:]


def instead(old, new):
    events = good()
    events[events.index(old)] = new
    return events


def test_a_good_history_is_good():
    assert audit(books(), good(), READ) == []


@pytest.mark.parametrize("name, events", [
    ("lost", without("session", "got", "one", 4, False, False)),
    ("lost", without("queue", "got", "two", 5)),
    ("lost", without("queue", "got", "one", 2)),
    ("split", without("session", "got", "one", 4, False, False)),
    ("lost", [event for event in good() if event[:5] != (LOG, "row", 2, COUNT - 1, "kp.0")]),
    ("doubled", with_(("session", "got", "two", 3, True, True))),
    ("doubled", with_(("session", "got", "one", 3))),
    ("doubled", with_(("session", "got", "one", 3, True))),
    ("doubled", with_((LOG, "row", 0, COUNT, "one", 3))),
    ("doubled", with_(("queue", "got", "two", 1), ("queue", "got", "two", 1))),
    ("moved", instead((LOG, "row", 2, 3, "kp.0", 3), (LOG, "row", 2, 3, "kp.0", 4))),
    ("moved", with_((LOG, "row", 2, 3, "kp.0", 2))),
    ("moved", with_((LOG, "row", 2, COUNT + 1, "kp.0", 0))),
    ("moved", with_((LOG, "told", 2, 3, "kp.0", 2))),
    ("strayed", with_((LOG, "row", 1, COUNT, "one", 1))),
    ("unknown", with_(("session", "got", "one", COUNT))),
    ("unknown", with_(("queue", "got", "one", 1))),
    ("unknown", with_(("session", "got", "nobody", 0))),
    ("stale", instead(("keep/a", "found", "retained", COUNT - 1), ("keep/a", "found", "retained", COUNT - 2))),
    ("lost", instead(("keep/a", "found", "retained", COUNT - 1), ("keep/a", "found", "retained", None))),
    ("stale", instead(("keep/b", "found", "retained", None), ("keep/b", "found", "retained", 1))),
    ("unknown", instead(("keep/a", "found", "retained", COUNT - 1), ("keep/a", "found", "retained", 99))),
    ("taken back", instead(("group/0", "found", "offset", 12), ("group/0", "found", "offset", 10))),
    ("unknown", instead(("group/0", "found", "offset", 12), ("group/0", "found", "offset", 14))),
    ("undeclared", instead(("queue.1", "found", "declared", True), ("queue.1", "found", "declared", None))),
    ("undead", instead(("queue.2", "found", "declared", None), ("queue.2", "found", "declared", True))),
    ("lost", without("m1", "will", 12.5)),
    ("early", instead(("m1", "will", 12.5), ("m1", "will", 11.5))),
    ("doubled", with_(("m1", "will", 13.0))),
    ("unknown", with_(("m2", "will", 13.0))),
    ("lost", with_(("s1", "lapsed", 3, 10.0, 11.0, 12.0, False))),
    ("late", with_(("s1", "lapsed", 3, 10.0, 11.0, 30.0, True))),
    ("protocol", with_(("one", "wrong", "protocol", "a PUBREC without a PUBLISH"))),
])
def test_a_broken_promise_is_called_by_its_name(name, events):
    assert name in names(events)


def test_two_messages_that_change_places_are_disorder():
    for place, step in (("session", 1), ("queue", 2)):
        events = good()
        first, second = (next(at for at, event in enumerate(events)
                              if event[:4] == (place, "got", "one", number)) for number in (2, 2 + step))
        events[first], events[second] = events[second], events[first]
        # Each is sent before it comes.
        events = [event for event in events if event[:2] == ("one", "sent")] + events
        assert names(events) == {"disorder"}


def test_what_is_missing_in_one_place_is_split_even_without_an_acknowledgement():
    left_out = (("one", "acked", 4), ("session", "got", "one", 4, False, False))
    events = [event for event in good() if event not in left_out]
    assert names(events) == {"split"}


def test_what_was_sent_again_may_be_there_again_unless_it_is_exactly_once():
    again = [("one", "again", 3), ("session", "got", "one", 3), (LOG, "row", 0, COUNT, "one", 3)]
    assert names(with_(*again)) == set()
    assert names(with_(*again, *again[1:2])) == {"doubled"}
    assert names(with_(("two", "again", 3), ("session", "got", "two", 3, False, True))) == {"doubled"}


def test_what_is_acknowledged_comes_again_until_that_is_on_disk():
    came = ("queue", "got", "two", 3, True)
    settled = ("queue", "settled", "two", 3)
    assert names(with_(settled, ("queue", "opened"), came)) == set()
    assert names(with_(settled, ("queue", "barrier"), ("queue", "opened"), came)) == {"doubled"}
    assert names(with_(settled, ("queue", "opened"), ("queue", "barrier"), came)) == set(), "said on another connection"
    assert names(with_(("queue", "opened"), came[:4])) == {"doubled"}, "it does not say that it comes again"


def test_an_ack_that_a_kill_may_have_swallowed_says_nothing():
    """A session's QoS 1 message that was sent in the instant of the kill may come without DUP, once."""
    built = Books([Source("one", exact=False)], [Place("session", {"one": 1}, repeats="instant")])
    events = [("one", "sent", 0), ("session", "opened"), ("session", "got", "one", 0), ("broker", "died"),
              ("session", "opened"), ("session", "got", "one", 0)]
    assert audit(built, events) == []
    assert audit(built, [("broker", "died"), ("session", "opened"), ("broker", "died"), ("session", "opened"),
                         ("session", "got", "one", 0)]) == [], "its turn may come a life later"
    assert [found.name for found in audit(built, [("session", "opened"), ("session", "got", "one", 0)])] == ["doubled"]


def test_what_one_member_of_a_group_left_may_come_to_the_other_until_its_acknowledgement_is_on_disk():
    def found(*events):
        both = {"one": 1, "two": 1}
        members = [Place(name, both, None, "silent", "group") for name in ("a", "b")]
        built = Books([Source("one", exact=False), Source("two", exact=True)], [Place("group", both), *members])
        sent = [(who, "sent", number) for who in both for number in range(3)]
        return {finding.name for finding in audit(built, sent + list(events), ["group"])}

    left = [("a", "got", "one", 2), ("a", "settled", "one", 2)]
    assert found(("one", "acked", 0), ("one", "acked", 2), *left, ("b", "got", "one", 0)) == set(), "in any order"
    assert found(("one", "acked", 0), *left) == {"lost"}
    assert found(*left, ("b", "got", "one", 2)) == set()
    assert found(*left, ("b", "barrier"), ("b", "got", "one", 2)) == set(), "what b is told says nothing of a"
    assert found(*left, ("a", "barrier"), ("b", "got", "one", 2)) == {"doubled"}
    assert found(*left, ("a", "got", "one", 2)) == {"doubled"}, "on one connection"
    assert found(*left, ("a", "opened"), ("a", "got", "one", 2)) == set()
    assert found(("a", "got", "two", 1, False, True), ("b", "got", "two", 1, False, True)) == {"doubled"}


def test_order_holds_on_each_connection_of_a_queue_with_several():
    sent = [("one", "sent", number) for number in range(5)]
    came = [("several", "opened"), ("several", "got", "one", 3), ("several", "opened"), ("several", "got", "one", 1)]
    assert names(sent + came, ()) == set()
    assert names(sent + came + [("several", "got", "one", 0)], ()) == {"disorder"}
    assert names(sent + came + [("several", "got", "one", 0, True)], ()) == set()


def test_a_register_may_hold_whatever_was_asked_for_since_the_last_answer():
    asked = [("keep/c", word, "retained", value) for value in (1, 2, 3) for word in ("asked",)]
    for value in (None, 1, 2, 3):
        assert names([*asked, ("keep/c", "found", "retained", value)], ()) == set()
    answered = [*asked, ("keep/c", "answered", "retained", 2)]
    assert names([*answered, ("keep/c", "found", "retained", 3)], ()) == set()
    assert names([*answered, ("keep/c", "found", "retained", 1)], ()) == {"stale"}
    found = [*answered, ("keep/c", "found", "retained", 2)]
    assert names([*found, ("keep/c", "found", "retained", 3)], ()) != set(), "what was not there does not come later"


def test_a_doubtful_will_may_come_or_not():
    life = [("m3", "armed", 0), ("m3", "doubted"), ("m3", "cut", 1.0)]
    assert names(with_(*life)) == set()
    assert names(with_(*life, ("m3", "will", 1.5))) == set()


def test_findings_of_one_kind_are_few():
    events = [("session", "got", "nobody", number) for number in range(100)]
    assert len(audit(books(), events)) == FEW


def test_numbers_are_sets():
    numbers, plain = Numbers(step=2), set()
    for number in (0, 4, 2, 8, 12, 6, 2):
        numbers.add(number)
        plain.add(number)
        assert set(numbers) == plain and len(numbers) == len(plain)
    assert numbers.upto == 10 and 12 in numbers and 10 not in numbers and 3 not in numbers
    assert Numbers(range(14)).without(numbers, 2) == [10]
    assert numbers.without(Numbers(range(5))) == [6, 8, 12]
