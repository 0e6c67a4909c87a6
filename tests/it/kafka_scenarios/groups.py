"""The classic group protocol: joining, syncing, beating, leaving."""

import functools

import kafkaschema
from harness import wait_until
from kafka_scenarios import scenario
from rawkafka import Timeout

UNKNOWN, REBALANCING, ILLEGAL = 25, 27, 22


@functools.cache
def subscription(user_data=""):
    """What a consumer says of itself. It must be well formed: Apache Kafka reads it, and leaves a consumer whose
    metadata it cannot read without any answer."""
    return kafkaschema.data("ConsumerProtocolSubscription", 1, {"topics": ["t"], "userData": user_data.encode()})


def offers(*names):
    """The assignors that a consumer offers."""
    return [{"name": name, "metadata": subscription(name)} for name in names]


class Member:
    """Someone in a group, on a connection of its own."""

    def __init__(self, stage, group, instance=None, protocols=None, kind="consumer", session=10_000, rebalance=10_000,
                 version=5, member=""):
        self.stage, self.group, self.instance, self.id, self.version = stage, group, instance, member, version
        self.protocols, self.kind = protocols or offers("range"), kind
        self.session, self.rebalance = session, rebalance
        self.peer, self.generation, self.number = stage.connect(), -1, None

    def send(self, **others):
        values = {"groupId": self.group, "sessionTimeoutMs": self.session, "rebalanceTimeoutMs": self.rebalance,
                  "memberId": self.id, "protocolType": self.kind, "protocols": self.protocols, **others}
        if self.version >= 5:
            values.setdefault("groupInstanceId", self.instance)
        self.number = self.peer.ask("JoinGroup", self.version, **values)

    def joined(self, timeout=None):
        said = self.peer.take("JoinGroup", self.version, self.number, timeout)
        if said["errorCode"] in (0, 79):
            self.id, self.generation = said["memberId"], said["generationId"]
        return said

    def join(self, **others):
        """Joins, and again with the id it was given (KIP-394)."""
        self.send(**others)
        said = self.joined()
        if said["errorCode"] == 79:
            self.send(**others)
            said = self.joined()
        return said

    def waits(self):
        """Whether its join is not answered yet."""
        try:
            return self.joined(0.4)
        except Timeout:
            return "waits"

    def sync(self, assignments=(), version=3, generation=None, member=None, **others):
        values = {} if version < 3 else {"groupInstanceId": self.instance}
        return self.peer.call("SyncGroup", version, memberId=self.id if member is None else member,
                              generationId=self.generation if generation is None else generation,
                              **{"groupId": self.group, **values, **others},
                              assignments=[{"memberId": name, "assignment": data} for name, data in assignments])

    def beat(self, generation=None, member=None, version=3, **others):
        values = {} if version < 3 else {"groupInstanceId": self.instance}
        return self.peer.call("Heartbeat", version, memberId=self.id if member is None else member,
                              generationId=self.generation if generation is None else generation,
                              **{"groupId": self.group, **values, **others})["errorCode"]

    def learns_of_a_rebalance(self):
        """Beats until it is told that members join anew."""
        wait_until(lambda: self.beat() == REBALANCING, f"{self.id} learns of a rebalance", pause=0.02)

    def leave(self, version=2):
        return self.peer.call("LeaveGroup", version, groupId=self.group, memberId=self.id)

    def commit(self, topic, offset, version=7, **others):
        values = {"groupId": self.group, "generationIdOrMemberEpoch": self.generation, "memberId": self.id,
                  "groupInstanceId": self.instance, **others}
        said = self.peer.call("OffsetCommit", version, **values, topics=[{"name": topic, "partitions": [
            {"partitionIndex": 0, "committedOffset": offset, "committedMetadata": ""}]}])
        return said["topics"][0]["partitions"][0]["errorCode"]


def describe(stage, group, version=5):
    return stage.call("DescribeGroups", version, groups=[group])["groups"][0]


def pair(stage, group, **options):
    """Two members in one generation, the first the leader, each with its share."""
    first = Member(stage, group, **options)
    first.join()
    first.sync([(first.id, b"all")])
    second = Member(stage, group, **options)
    second.send()
    if options.get("version", 5) >= 4:
        second.joined()
        second.send()
    first.learns_of_a_rebalance()
    first.send()
    first.joined(), second.joined()
    # The leader's request completes the other's.
    number = second.peer.ask("SyncGroup", 3, groupId=group, memberId=second.id, generationId=second.generation)
    first.sync([(first.id, b"one"), (second.id, b"two")])
    second.peer.take("SyncGroup", 3, number)
    return first, second


@scenario
def find_coordinator(stage):
    for version in range(4):
        values = {"keyType": 0} if version else {}
        stage.ask(f"v{version}", "FindCoordinator", version, key="g", **values)
    for version in (4, 5, 6):
        stage.ask(f"v{version}", "FindCoordinator", version, keyType=0, coordinatorKeys=["g", "h"])
    stage.ask("an empty group", "FindCoordinator", 3, key="", keyType=0)
    stage.ask("an unknown type", "FindCoordinator", 3, key="g", keyType=9)
    stage.ask("no keys", "FindCoordinator", 4, keyType=0, coordinatorKeys=[])


@scenario
def a_member_id_is_required(stage):
    """KIP-394, from JoinGroup v4 on."""
    group = stage.name("g")
    member = Member(stage, group)
    member.send()
    stage.note("first", member.joined())
    member.send()
    stage.note("with its id", member.joined())
    stage.note("before the assignment", describe(stage, group)["groupState"])
    stage.note("assignment", member.sync([(member.id, b"mine")]))
    stage.note("described", describe(stage, group))


@scenario
def an_old_client_joins_at_once(stage):
    for version in (2, 3):
        member = Member(stage, stage.name(f"v{version}"), version=version)
        member.send()
        stage.note(f"v{version}", member.joined())
        stage.note(f"v{version} sync", member.sync([(member.id, b"mine")], version=1))


@scenario
def join_at_every_version(stage):
    for version in range(4, 10):
        member = Member(stage, stage.name(f"v{version}"), version=version)
        member.send(**({"reason": "because"} if version >= 8 else {}))
        stage.note(f"v{version} first", member.joined())
        member.send()
        stage.note(f"v{version}", member.joined())
        if version >= 5:
            values = {"protocolType": "consumer", "protocolName": "range"}
            stage.note(f"v{version} sync", member.sync([(member.id, b"x")], version=5, **values))
            stage.note(f"v{version} beat", member.beat(version=4))


@scenario
def join_with_bad_values(stage):
    cases = {"an empty group": {"groupId": ""}, "a short session": {"sessionTimeoutMs": 10},
             "a long session": {"sessionTimeoutMs": 2**31 - 1}, "no protocols": {"protocols": []},
             "no protocol type": {"protocolType": ""}, "an unknown member": {"memberId": "it-nobody"},
             "a negative session": {"sessionTimeoutMs": -1}, "a negative rebalance timeout": {"rebalanceTimeoutMs": -1}}
    for number, (label, others) in enumerate(cases.items()):
        member = Member(stage, stage.name(f"g{number}"))
        member.send(**others)
        stage.note(label, stage.outcome(member.joined))


@scenario
def another_protocol_than_the_others(stage):
    group = stage.name("g")
    first = Member(stage, group)
    first.join()
    first.sync([(first.id, b"x")])
    for label, others in (("another type", {"protocolType": "connect"}),
                          ("another assignor", {"protocols": offers("sticky")})):
        member = Member(stage, group)
        member.send(**others)
        said = member.joined()
        if said["errorCode"] == 79:
            member.send(**others)
            said = member.joined()
        stage.note(label, said)
    stage.note("the first goes on", first.beat())


@scenario
def two_members_share(stage):
    group = stage.name("g")
    first = Member(stage, group)
    stage.note("first joins", first.join())
    stage.note("first syncs", first.sync([(first.id, b"all")]))
    second = Member(stage, group)
    second.send()
    second.joined()
    second.send()
    stage.note("second waits", second.waits())
    stage.note("first learns", first.beat())
    first.send()
    stage.note("first joined", first.joined())
    stage.note("second joined", second.joined())
    number = second.peer.ask("SyncGroup", 3, groupId=group, memberId=second.id, generationId=second.generation)
    stage.note("leader's share", first.sync([(first.id, b"one"), (second.id, b"two")]))
    stage.note("the other's share", second.peer.take("SyncGroup", 3, number))
    stage.note("beats", [first.beat(), second.beat()])
    stage.note("described", describe(stage, group))
    stage.note("second leaves", second.leave())
    stage.note("first must join again", first.beat())
    stage.note("alone", first.join())


@scenario
def the_protocol_all_support(stage):
    """The vote: each member's first choice among those that all support."""
    group = stage.name("g")
    first = Member(stage, group, protocols=offers("sticky", "range", "roundrobin"))
    first.join()
    first.sync([(first.id, b"")])
    second = Member(stage, group, protocols=offers("roundrobin", "range"))
    second.send()
    second.joined()
    second.send()
    first.learns_of_a_rebalance()
    first.send()
    stage.note("first", first.joined())
    stage.note("second", second.joined())


@scenario
def wrong_generations_and_members(stage):
    group, topic = stage.name("g"), stage.topic("t")
    member = Member(stage, group)
    member.join()
    member.sync([(member.id, b"x")])
    stage.note("beat", member.beat())
    stage.note("an older generation", member.beat(generation=0))
    stage.note("a newer generation", member.beat(generation=9))
    stage.note("a nobody", member.beat(member="it-nobody"))
    stage.note("an empty member", member.beat(member=""))
    stage.note("an unknown group", member.beat(groupId=stage.name("none")))
    stage.note("an empty group", member.beat(groupId=""))
    stage.note("sync of an older generation", member.sync(generation=0))
    stage.note("sync of a nobody", member.sync(member="it-nobody"))
    stage.note("sync in an unknown group", member.sync(groupId=stage.name("none")))
    stage.note("sync again", member.sync())
    stage.note("sync with another protocol", member.sync(version=5, protocolType="consumer", protocolName="sticky"))
    stage.note("sync with another type", member.sync(version=5, protocolType="connect", protocolName="range"))
    stage.note("commit", member.commit(topic, 5))
    stage.note("commit of an older generation", member.commit(topic, 6, generationIdOrMemberEpoch=0))
    stage.note("commit of a newer generation", member.commit(topic, 6, generationIdOrMemberEpoch=9))
    stage.note("commit of a nobody", member.commit(topic, 6, memberId="it-nobody"))
    stage.note("commit of no member", member.commit(topic, 6, memberId="", generationIdOrMemberEpoch=-1))
    stage.note("commit in an unknown group, as a member", member.commit(topic, 6, groupId=stage.name("none")))


@scenario
def leaving(stage):
    group = stage.name("g")
    first, second = pair(stage, group)
    stage.note("a nobody", second.peer.call("LeaveGroup", 2, groupId=group, memberId="it-nobody"))
    stage.note("an unknown group", second.peer.call("LeaveGroup", 2, groupId=stage.name("none"), memberId="x"))
    stage.note("second", second.leave())
    stage.note("second again", second.leave())
    stage.note("second beats", second.beat())
    stage.note("first", first.leave())
    stage.note("nobody is left", describe(stage, group))


@scenario
def leaving_with_a_list(stage):
    group = stage.name("g")
    first, second = pair(stage, group)
    for version in (3, 4, 5):
        stage.note(f"v{version} of none", second.peer.call("LeaveGroup", version, groupId=group, members=[]))
    said = second.peer.call("LeaveGroup", 4, groupId=group, members=[
        {"memberId": second.id}, {"memberId": "it-nobody"}, {"memberId": "", "groupInstanceId": "nobody"}])
    stage.note("one of three", said)
    stage.note("first", first.beat())
    stage.note("second", second.beat())


@scenario
def a_pending_member_leaves(stage):
    """One that was given an id and never came back with it."""
    group = stage.name("g")
    member = Member(stage, group)
    member.send()
    member.joined()
    stage.note("beat", member.beat(generation=0))
    stage.note("leave", member.leave())
    member.send()
    stage.note("back", member.joined())


@scenario
def described_groups(stage):
    for version in range(6):
        stage.ask(f"v{version} unknown", "DescribeGroups", version, groups=[stage.name("none")])
    stage.ask("v6 unknown", "DescribeGroups", 6, groups=[stage.name("none")])
    stage.ask("an empty name", "DescribeGroups", 5, groups=[""])
    stage.ask("none", "DescribeGroups", 5, groups=[])


@scenario
def listed_groups(stage):
    group = stage.name("g")
    member = Member(stage, group)
    member.join()
    member.sync([(member.id, b"x")])

    def listed(version, **values):
        said = stage.call("ListGroups", version, **values)
        return [said["errorCode"], [entry for entry in said["groups"] if entry["groupId"] == group]]

    for version in range(6):
        stage.note(f"v{version}", listed(version))
    stage.note("stable ones", listed(4, statesFilter=["Stable"]))
    stage.note("in small letters", listed(4, statesFilter=["stable"]))
    stage.note("empty ones", listed(4, statesFilter=["Empty"]))
    stage.note("of an unknown state", listed(4, statesFilter=["Nonsense"]))
    stage.note("classic ones", listed(5, typesFilter=["classic"]))
    stage.note("consumer ones", listed(5, typesFilter=["consumer"]))
    member.leave()
    stage.note("when all have left", listed(4))


@scenario
def deleted_groups(stage):
    group, topic = stage.name("g"), stage.topic("t")
    member = Member(stage, group)
    member.join()
    member.sync([(member.id, b"x")])
    member.commit(topic, 3)
    stage.ask("in use", "DeleteGroups", 2, groupsNames=[group])
    member.leave()
    stage.ask("empty", "DeleteGroups", 2, groupsNames=[group])
    stage.ask("again", "DeleteGroups", 1, groupsNames=[group])
    stage.ask("unknown", "DeleteGroups", 0, groupsNames=[stage.name("none")])
    stage.note("described", describe(stage, group)["groupState"])
    said = stage.call("OffsetFetch", 5, groupId=group, topics=[{"name": topic, "partitionIndexes": [0]}])
    stage.note("its offsets", said)


@scenario
def a_group_of_another_kind(stage):
    """Connect's groups: metadata and assignments are nobody's business but theirs."""
    group = stage.name("g")
    member = Member(stage, group, kind="connect", protocols=[{"name": "sessioned", "metadata": bytes(range(256))}])
    stage.note("joins", member.join())
    stage.note("syncs", member.sync([(member.id, bytes(range(255, -1, -1)))]))
    stage.note("described", describe(stage, group))


@scenario
def an_assignment_for_nobody(stage):
    group = stage.name("g")
    member = Member(stage, group)
    member.join()
    stage.note("syncs", member.sync([("it-nobody", b"x")]))
    stage.note("beats", member.beat())
