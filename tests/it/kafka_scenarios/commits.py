"""OffsetCommit, OffsetFetch, OffsetDelete."""

from kafka_scenarios import scenario
from kafka_scenarios.groups import Member


def commit(stage, group, topic, offset, partition=0, metadata="", version=7, **others):
    """A simple consumer's commit: no member, no generation."""
    values = {"groupId": group, "generationIdOrMemberEpoch": -1, "memberId": "", **others}
    said = stage.call("OffsetCommit", version, **values, topics=[{"name": topic, "partitions": [
        {"partitionIndex": partition, "committedOffset": offset, "committedMetadata": metadata}]}])
    return said["topics"]


def committed(stage, group, topic, *partitions, version=5):
    topics = [{"name": topic, "partitionIndexes": list(partitions or (0,))}] if topic else None
    if version >= 8:
        return stage.call("OffsetFetch", version, groups=[{"groupId": group, "topics": topics}])["groups"]
    return stage.call("OffsetFetch", version, groupId=group, topics=topics)


@scenario
def a_simple_consumer_commits(stage):
    group, topic = stage.name("g"), stage.topic("t", partitions=3)
    stage.note("before", committed(stage, group, topic, 0, 1))
    stage.note("commit", commit(stage, group, topic, 5, metadata="mine"))
    stage.note("after", committed(stage, group, topic, 0, 1))
    stage.note("backwards", commit(stage, group, topic, 2))
    stage.note("it is so", committed(stage, group, topic))
    stage.note("all of it", committed(stage, group, None))
    stage.note("described", stage.call("DescribeGroups", 5, groups=[group]))


@scenario
def commits_at_every_version(stage):
    topic = stage.topic("t")
    for version in range(2, 10):
        stage.note(f"v{version}", commit(stage, stage.name(f"v{version}"), topic, version, version=version))
    for version in range(1, 8):
        stage.note(f"fetch v{version}", committed(stage, stage.name("v2"), topic, version=version))
    for version in (8, 9):
        stage.note(f"fetch v{version}", committed(stage, stage.name("v2"), topic, version=version))
        stage.note(f"fetch all v{version}", committed(stage, stage.name("v2"), None, version=version))


@scenario
def commits_by_topic_id(stage):
    topic, group = stage.topic("t"), stage.name("g")
    ids = {"t": stage.topics["t"], "unknown": "11111111-2222-3333-4444-555555555555"}
    for label, identity in ids.items():
        said = stage.call("OffsetCommit", 10, groupId=group, generationIdOrMemberEpoch=-1, memberId="", topics=[
            {"topicId": identity, "partitions": [{"partitionIndex": 0, "committedOffset": 4}]}])
        stage.note(f"commit {label}", said)
        said = stage.call("OffsetFetch", 10, groups=[{"groupId": group, "topics": [
            {"topicId": identity, "partitionIndexes": [0]}]}])
        stage.note(f"fetch {label}", said)
    stage.note("by name", committed(stage, group, topic))


@scenario
def commits_of_odd_values(stage):
    group, topic = stage.name("g"), stage.topic("t")
    stage.note("a negative offset", commit(stage, group, topic, -1))
    stage.note("a very negative offset", commit(stage, group, topic, -5))
    stage.note("beyond the end", commit(stage, group, topic, 2**62))
    stage.note("an unknown partition", commit(stage, group, topic, 1, partition=9))
    stage.note("an unknown topic", commit(stage, group, stage.name("absent"), 1))
    stage.note("4096 of metadata", commit(stage, group, topic, 1, metadata="m" * 4096))
    stage.note("4097 of metadata", commit(stage, group, topic, 1, metadata="m" * 4097))
    stage.note("no metadata", commit(stage, group, topic, 1, metadata=None))
    stage.note("kept", committed(stage, group, topic, 0, 9))
    stage.note("with a generation", commit(stage, group, topic, 1, generationIdOrMemberEpoch=3))
    stage.note("with a member", commit(stage, group, topic, 1, memberId="it-nobody"))
    stage.note("with an instance", commit(stage, group, topic, 1, groupInstanceId="nobody"))
    stage.ask("no topics", "OffsetCommit", 7, groupId=group, generationIdOrMemberEpoch=-1, memberId="", topics=[])


@scenario
def several_groups_at_once(stage):
    """OffsetFetch v8."""
    topic = stage.topic("t")
    for number in range(2):
        commit(stage, stage.name(f"g{number}"), topic, number + 10)
    groups = [{"groupId": stage.name(name), "topics": [{"name": topic, "partitionIndexes": [0]}]}
              for name in ("g0", "g1", "none")]
    stage.ask("three", "OffsetFetch", 8, groups=groups)
    stage.ask("stable ones", "OffsetFetch", 8, groups=groups, requireStable=True)
    stage.ask("none", "OffsetFetch", 8, groups=[])


@scenario
def fetches_of_what_is_not_there(stage):
    topic = stage.topic("t")
    stage.note("an unknown group", committed(stage, stage.name("none"), topic, 0, 1))
    stage.note("all of an unknown group", committed(stage, stage.name("none"), None))
    stage.note("an unknown topic", committed(stage, stage.name("none"), stage.name("absent")))
    stage.note("an empty group", committed(stage, "", topic))
    stage.note("v8 of an unknown group", committed(stage, stage.name("none"), topic, version=8))
    stage.ask("no topics", "OffsetFetch", 5, groupId=stage.name("none"), topics=[])


@scenario
def a_deleted_topic_takes_its_offsets_along(stage):
    group, topic = stage.name("g"), stage.topic("t")
    commit(stage, group, topic, 7)
    stage.call("DeleteTopics", 5, topicNames=[topic], timeoutMs=5000)
    stage.topic("t")
    stage.note("created anew", committed(stage, group, topic))


@scenario
def deleted_offsets(stage):
    group, topic, other = stage.name("g"), stage.topic("t"), stage.topic("other")

    def delete(group, topic):
        return stage.call("OffsetDelete", 0, groupId=group, topics=[
            {"name": topic, "partitions": [{"partitionIndex": 0}]}])

    commit(stage, group, topic, 7)
    stage.note("of an unknown group", delete(stage.name("none"), topic))
    stage.note("of an unknown topic", delete(group, stage.name("absent")))
    stage.note("that was not committed", delete(group, other))
    stage.note("that was", delete(group, topic))
    stage.note("it is gone", committed(stage, group, topic))
    member = Member(stage, stage.name("busy"))
    member.join()
    member.sync([(member.id, b"x")])
    member.commit(topic, 3)
    stage.note("while a member is there", delete(stage.name("busy"), other))


@scenario
def commits_while_members_are_there(stage):
    group, topic = stage.name("g"), stage.topic("t")
    member = Member(stage, group)
    member.join()
    stage.note("before the assignment", member.commit(topic, 1))
    member.sync([(member.id, b"x")])
    stage.note("a member", member.commit(topic, 4))
    stage.note("a simple consumer", commit(stage, group, topic, 9))
    stage.note("kept", committed(stage, group, topic))
    member.leave()
    stage.note("a simple consumer afterwards", commit(stage, group, topic, 9))
    stage.note("kept then", committed(stage, group, topic))
