"""The classic group protocol over time: rebalances, timeouts, cooperative and static members."""

import time

import kafkaschema
from kafka_scenarios import scenario
from kafka_scenarios.groups import Member, describe, pair, subscription


@scenario
def the_leader_joins_again(stage):
    """A leader's join begins a new generation, another's with unchanged metadata does not."""
    group = stage.name("g")
    first, second = pair(stage, group)
    second.send()
    stage.note("the follower", second.joined())
    number = second.peer.ask("SyncGroup", 3, groupId=group, memberId=second.id, generationId=second.generation)
    stage.note("its share", second.peer.take("SyncGroup", 3, number))
    stage.note("the leader is undisturbed", first.beat())
    first.send()
    stage.note("the leader waits", first.waits())
    stage.note("the follower learns", second.beat())
    second.send()
    stage.note("the follower again", second.joined())
    stage.note("the leader again", first.joined())


@scenario
def a_follower_changes_its_mind(stage):
    group = stage.name("g")
    first, second = pair(stage, group)
    second.send(protocols=[{"name": "range", "metadata": subscription("other")}])
    stage.note("the follower waits", second.waits())
    stage.note("the leader learns", first.beat())


@scenario
def static_members(stage):
    """KIP-345: an instance that comes back takes its old place, and the old connection is fenced."""
    group, topic = stage.name("g"), stage.topic("t")
    member = Member(stage, group, instance="one")
    stage.note("joins", member.join())
    stage.note("syncs", member.sync([(member.id, b"mine")]))
    stage.note("beats", member.beat())
    again = Member(stage, group, instance="one")
    stage.note("comes back", again.join())
    stage.note("its share", again.sync())
    stage.note("the old one beats", member.beat())
    stage.note("the old one commits", member.commit(topic, 1))
    stage.note("the old one syncs", member.sync())
    member.send()
    stage.note("the old one joins", member.joined())
    stage.note("the new one beats", again.beat())
    stage.note("an unknown instance", again.beat(groupInstanceId="two"))
    stage.note("described", describe(stage, group))
    said = again.peer.call("LeaveGroup", 3, groupId=group, members=[{"memberId": "", "groupInstanceId": "one"}])
    stage.note("removed by its instance", said)
    stage.note("is gone", again.beat())


@scenario
def a_static_follower_comes_back(stage):
    """Nobody else notices."""
    group = stage.name("g")
    first = Member(stage, group, instance="one")
    first.join()
    first.sync([(first.id, b"all")])
    second = Member(stage, group, instance="two")
    second.send()
    first.learns_of_a_rebalance()
    first.send()
    first.joined(), second.joined()
    number = second.peer.ask("SyncGroup", 3, groupId=group, memberId=second.id, generationId=second.generation,
                             groupInstanceId="two")
    first.sync([(first.id, b"one"), (second.id, b"two")])
    second.peer.take("SyncGroup", 3, number)
    back = Member(stage, group, instance="two")
    said = back.join()
    stage.note("back", [said["errorCode"], said["generationId"] == first.generation, said["members"]])
    stage.note("its share", back.sync())
    stage.note("the leader", first.beat())
    leader = Member(stage, group, instance="one")
    said = leader.join()
    stage.note("the leader back", [said["errorCode"], said["generationId"] == back.generation,
                                   said["leader"] == leader.id])
    stage.note("its share too", leader.sync())
    stage.note("the follower", back.beat())


@scenario
def an_instance_with_an_unknown_member_id(stage):
    group = stage.name("g")
    member = Member(stage, group, instance="one", member="it-nobody")
    member.send()
    stage.note("joins", member.joined())
    stage.note("unknown instance leaves", member.peer.call("LeaveGroup", 3, groupId=group, members=[
        {"memberId": "", "groupInstanceId": "one"}]))


@scenario
def a_silent_member_is_removed(stage):
    """By its session timeout; the others learn it. The least that both brokers allow is 6 s."""
    group = stage.name("g")
    first, second = pair(stage, group, session=6000)
    began = time.monotonic()
    code = 0
    while code == 0 and time.monotonic() - began < 12:
        time.sleep(0.1)
        code = first.beat()
    stage.note("the other learns", code)
    stage.note("about in time", 5 < time.monotonic() - began < 9)
    stage.note("joins alone", len(first.join()["members"]))
    stage.note("the silent one", second.beat())


@scenario
def whoever_does_not_join_again_is_left_behind(stage):
    """By the rebalance timeout."""
    group = stage.name("g")
    first, second = pair(stage, group, rebalance=1000)
    began = time.monotonic()
    first.send()
    said = first.joined(15)
    stage.note("joined", [said["errorCode"], len(said["members"])])
    stage.note("about in time", 0.7 < time.monotonic() - began < 5)
    stage.note("the one left behind", second.beat())


@scenario
def a_follower_syncs_late(stage):
    group = stage.name("g")
    first, second = pair(stage, group)
    first.send()
    second.learns_of_a_rebalance()
    second.send()
    first.joined(), second.joined()
    first.sync([(first.id, b"1"), (second.id, b"2")])
    stage.note("beat before its sync", second.beat())
    stage.note("its share", second.sync())


@scenario
def a_cooperative_rebalance(stage):
    """KIP-429 on the wire: what is to move is given up in one generation and given out in the next."""
    group = stage.name("g")

    def owning(*partitions):
        values = {"topics": ["t"], "ownedPartitions": [{"topic": "t", "partitions": list(partitions)}]}
        return [{"name": "cooperative-sticky", "metadata": kafkaschema.data("ConsumerProtocolSubscription", 1, values)}]

    first = Member(stage, group, protocols=owning())
    first.join()
    first.sync([(first.id, b"0 1 2 3")])
    second = Member(stage, group, protocols=owning())
    second.send()
    second.joined()
    second.send()
    first.learns_of_a_rebalance()
    first.send(protocols=owning(0, 1, 2, 3))
    stage.note("the first tells what it has", first.joined())
    second.joined()
    number = second.peer.ask("SyncGroup", 3, groupId=group, memberId=second.id, generationId=second.generation)
    first.sync([(first.id, b"0 1"), (second.id, b"")])
    stage.note("the second has nothing yet", second.peer.take("SyncGroup", 3, number))
    stage.note("both beat", [first.beat(), second.beat()])
    first.send(protocols=owning(0, 1))
    stage.note("the first waits", first.waits())
    stage.note("the second learns", second.beat())
    second.send(protocols=owning())
    stage.note("the second joins", second.joined())
    stage.note("the first has given up two", first.joined())
    number = second.peer.ask("SyncGroup", 3, groupId=group, memberId=second.id, generationId=second.generation)
    stage.note("the first keeps the others", first.sync([(first.id, b"0 1"), (second.id, b"2 3")]))
    stage.note("the second gets them", second.peer.take("SyncGroup", 3, number))


@scenario
def whoever_does_not_sync_is_left_behind(stage):
    """By the rebalance timeout, after which the others begin anew."""
    group = stage.name("g")
    first, second = pair(stage, group, rebalance=1500)
    first.send()
    second.learns_of_a_rebalance()
    second.send()
    first.joined(), second.joined()
    stage.note("the leader syncs", first.sync([(first.id, b"1"), (second.id, b"2")]))
    began, code = time.monotonic(), 0
    while code == 0 and time.monotonic() - began < 8:
        time.sleep(0.1)
        code = first.beat()
    stage.note("the leader learns", code)
    stage.note("the one left behind", second.beat())


@scenario
def a_leader_that_never_syncs(stage):
    """The follower waits for its share until the rebalance timeout."""
    group = stage.name("g")
    first, second = pair(stage, group, rebalance=1500)
    first.send()
    second.learns_of_a_rebalance()
    second.send()
    first.joined(), second.joined()
    number = second.peer.ask("SyncGroup", 3, groupId=group, memberId=second.id, generationId=second.generation)
    said = stage.outcome(lambda: second.peer.take("SyncGroup", 3, number, 8))
    stage.note("the follower", said)
    stage.note("the leader", first.beat())


@scenario
def more_than_one_request_of_a_member(stage):
    """A second join or sync of the same member answers the first, which nobody waits for any more."""
    group = stage.name("g")
    first, second = pair(stage, group)
    first.send()
    earlier = first.number
    first.send()
    second.learns_of_a_rebalance()
    second.send()
    stage.note("the earlier join", stage.outcome(lambda: first.peer.take("JoinGroup", 5, earlier, 3)))
    stage.note("the later join", stage.outcome(lambda: first.joined(3)))
    stage.note("the other's", stage.outcome(lambda: second.joined(3)))
