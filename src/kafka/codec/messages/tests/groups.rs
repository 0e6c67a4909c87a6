//! The requests of groups and their offsets.

use bytes::Bytes;
use kafka_protocol::messages as theirs;

use crate::kafka::codec::api::Api;
use crate::kafka::codec::messages::tests::{Sample, group, responses, samples, some, text, topic};
use crate::kafka::codec::messages::{
    delete_groups, describe_groups, find_coordinator, heartbeat, join_group, leave_group,
    list_groups, offset_commit, offset_delete, offset_fetch, sync_group,
};

pub(super) fn all() -> Vec<Sample> {
    let of_each = [
        find_coordinator_samples(),
        join_group_samples(),
        sync_group_samples(),
        heartbeat_samples(),
        leave_group_samples(),
        offset_commit_samples(),
        offset_fetch_samples(),
        offset_fetch_of_all_samples(),
        describe_groups_samples(),
        list_groups_samples(),
        delete_groups_samples(),
        offset_delete_samples(),
    ];
    of_each.into_iter().flatten().collect()
}

fn find_coordinator_samples() -> Vec<Sample> {
    samples(Api::FindCoordinator, |version| {
        let body = theirs::FindCoordinatorRequest::default();
        let body = if version >= 1 { body.with_key_type(1) } else { body };
        if version >= 4 {
            body.with_coordinator_keys(vec![text("g"), text("h")])
        } else {
            body.with_key(text("g"))
        }
    })
}

#[test]
fn find_coordinator_both_ways() {
    use find_coordinator as ours;
    for sample in find_coordinator_samples() {
        let version = sample.version;
        let read = ours::FindCoordinatorRequest::decode(sample.reader(), version).unwrap();
        assert_eq!(read.key_type, i8::from(version >= 1));
        assert_eq!(read.keys, if version >= 4 { vec!["g", "h"] } else { vec!["g"] });
    }
    let one = |key: &str, error_code| ours::Coordinator {
        key: key.into(),
        node_id: 0,
        host: "::1".into(),
        port: 9092,
        error_code,
        error_message: Some("why".into()),
    };
    let answer = [one("g", 0), one("h", 24)];
    let encode = |w: &mut _, v| ours::encode_response(w, v, &answer);
    for (version, read) in
        responses::<theirs::FindCoordinatorResponse>(Api::FindCoordinator, encode)
    {
        if version >= 4 {
            let found = &read.coordinators[1];
            assert_eq!((found.key.as_str(), found.node_id.0, found.port), ("h", 0, 9092));
            assert_eq!((found.host.as_str(), found.error_code), ("::1", 24));
            assert_eq!(found.error_message, some("why"));
        } else {
            assert_eq!((read.host.as_str(), read.port, read.error_code), ("::1", 9092, 0));
            if version >= 1 {
                assert_eq!(read.error_message, some("why"));
            }
        }
    }
}

fn join_group_samples() -> Vec<Sample> {
    use theirs::join_group_request::JoinGroupRequestProtocol;
    let protocol = |name, metadata: &'static [u8]| {
        JoinGroupRequestProtocol::default()
            .with_name(text(name))
            .with_metadata(Bytes::from_static(metadata))
    };
    samples(Api::JoinGroup, |version| {
        let mut body = theirs::JoinGroupRequest::default()
            .with_group_id(group("g"))
            .with_session_timeout_ms(10_000)
            .with_member_id(text("m"))
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol("range", b"\0\x01"), protocol("sticky", b"")]);
        if version >= 1 {
            body.rebalance_timeout_ms = 60_000;
        }
        if version >= 5 {
            body.group_instance_id = some("i");
        }
        if version >= 8 {
            body.reason = some("start");
        }
        body
    })
}

#[test]
fn join_group_both_ways() {
    use join_group as ours;
    for sample in join_group_samples() {
        let version = sample.version;
        let read = ours::JoinGroupRequest::decode(sample.reader(), version).unwrap();
        let expected = ours::JoinGroupRequest {
            group: "g",
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: if version >= 1 { 60_000 } else { 10_000 },
            member_id: "m",
            instance_id: (version >= 5).then_some("i"),
            protocol_type: "consumer",
            protocols: vec![
                ours::Protocol { name: "range", metadata: b"\0\x01" },
                ours::Protocol { name: "sticky", metadata: b"" },
            ],
            reason: (version >= 8).then_some("start"),
        };
        assert_eq!(read, expected);
    }
    let answer = ours::JoinGroupResponse {
        error_code: 0,
        generation: 4,
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        leader: "m".into(),
        skip_assignment: true,
        member_id: "m".into(),
        members: vec![ours::JoinedMember {
            member_id: "m".into(),
            instance_id: Some("i".into()),
            metadata: Bytes::from_static(b"\0\x01"),
        }],
    };
    let encode = |w: &mut _, v| answer.encode(w, v);
    for (version, read) in responses::<theirs::JoinGroupResponse>(Api::JoinGroup, encode) {
        assert_eq!((read.error_code, read.generation_id), (0, 4));
        assert_eq!(read.protocol_type.is_some(), version >= 7);
        assert_eq!(read.protocol_name, some("range"));
        assert_eq!((read.leader.as_str(), read.member_id.as_str()), ("m", "m"));
        assert_eq!(read.skip_assignment, version >= 9);
        assert_eq!(read.members[0].member_id.as_str(), "m");
        assert_eq!(read.members[0].group_instance_id.is_some(), version >= 5);
        assert_eq!(read.members[0].metadata, Bytes::from_static(b"\0\x01"));
    }
    let refusal = ours::JoinGroupResponse::refusal(79, "given".into());
    let encode = |w: &mut _, v| refusal.encode(w, v);
    for (version, read) in responses::<theirs::JoinGroupResponse>(Api::JoinGroup, encode) {
        assert_eq!((read.error_code, read.generation_id), (79, -1));
        assert_eq!(read.protocol_name.is_none(), version >= 7);
        assert_eq!(read.member_id.as_str(), "given");
    }
}

fn sync_group_samples() -> Vec<Sample> {
    use theirs::sync_group_request::SyncGroupRequestAssignment;
    samples(Api::SyncGroup, |version| {
        let assignment = SyncGroupRequestAssignment::default()
            .with_member_id(text("m"))
            .with_assignment(Bytes::from_static(b"\0\x02"));
        let mut body = theirs::SyncGroupRequest::default()
            .with_group_id(group("g"))
            .with_generation_id(4)
            .with_member_id(text("m"))
            .with_assignments(vec![assignment]);
        if version >= 3 {
            body.group_instance_id = some("i");
        }
        if version >= 5 {
            body.protocol_type = some("consumer");
            body.protocol_name = some("range");
        }
        body
    })
}

#[test]
fn sync_group_both_ways() {
    use sync_group as ours;
    for sample in sync_group_samples() {
        let version = sample.version;
        let read = ours::SyncGroupRequest::decode(sample.reader(), version).unwrap();
        let expected = ours::SyncGroupRequest {
            group: "g",
            generation: 4,
            member_id: "m",
            instance_id: (version >= 3).then_some("i"),
            protocol_type: (version >= 5).then_some("consumer"),
            protocol_name: (version >= 5).then_some("range"),
            assignments: vec![ours::Assignment { member_id: "m", assignment: b"\0\x02" }],
        };
        assert_eq!(read, expected);
    }
    let answer = ours::SyncGroupResponse {
        error_code: 27,
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        assignment: Bytes::from_static(b"\0\x02"),
    };
    let encode = |w: &mut _, v| answer.encode(w, v);
    for (version, read) in responses::<theirs::SyncGroupResponse>(Api::SyncGroup, encode) {
        assert_eq!((read.error_code, &read.assignment[..]), (27, &b"\0\x02"[..]));
        assert_eq!(read.protocol_name.is_some(), version >= 5);
        assert_eq!(read.protocol_type.is_some(), version >= 5);
    }
}

fn heartbeat_samples() -> Vec<Sample> {
    samples(Api::Heartbeat, |version| {
        let body = theirs::HeartbeatRequest::default()
            .with_group_id(group("g"))
            .with_generation_id(4)
            .with_member_id(text("m"));
        if version >= 3 { body.with_group_instance_id(some("i")) } else { body }
    })
}

#[test]
fn heartbeat_both_ways() {
    for sample in heartbeat_samples() {
        let read = heartbeat::HeartbeatRequest::decode(sample.reader(), sample.version).unwrap();
        assert_eq!((read.group, read.generation, read.member_id), ("g", 4, "m"));
        assert_eq!(read.instance_id, (sample.version >= 3).then_some("i"));
    }
    let encode = |w: &mut _, v| heartbeat::encode_response(w, v, 25);
    for (_, read) in responses::<theirs::HeartbeatResponse>(Api::Heartbeat, encode) {
        assert_eq!(read.error_code, 25);
    }
}

fn leave_group_samples() -> Vec<Sample> {
    use theirs::leave_group_request::MemberIdentity;
    samples(Api::LeaveGroup, |version| {
        let body = theirs::LeaveGroupRequest::default().with_group_id(group("g"));
        if version <= 2 {
            return body.with_member_id(text("m"));
        }
        let mut dynamic = MemberIdentity::default().with_member_id(text("m"));
        if version >= 5 {
            dynamic.reason = some("stop");
        }
        body.with_members(vec![
            dynamic,
            MemberIdentity::default().with_group_instance_id(some("i")),
        ])
    })
}

#[test]
fn leave_group_both_ways() {
    use leave_group as ours;
    for sample in leave_group_samples() {
        let version = sample.version;
        let read = ours::LeaveGroupRequest::decode(sample.reader(), version).unwrap();
        let reason = (version >= 5).then_some("stop");
        let mut members = vec![ours::LeavingMember { member_id: "m", instance_id: None, reason }];
        if version >= 3 {
            let leaving =
                ours::LeavingMember { member_id: "", instance_id: Some("i"), reason: None };
            members.push(leaving);
        }
        assert_eq!(read, ours::LeaveGroupRequest { group: "g", members });
    }
    let gone = [ours::LeftMember { member_id: "m".into(), instance_id: None, error_code: 25 }];
    for error_code in [0, 16] {
        let encode = |w: &mut _, v| ours::encode_response(w, v, error_code, &gone);
        for (version, read) in responses::<theirs::LeaveGroupResponse>(Api::LeaveGroup, encode) {
            if version >= 3 {
                assert_eq!((read.error_code, read.members[0].error_code), (error_code, 25));
                assert_eq!(read.members[0].member_id.as_str(), "m");
            } else {
                assert_eq!(read.error_code, if error_code == 0 { 25 } else { error_code });
            }
        }
    }
}

fn offset_commit_samples() -> Vec<Sample> {
    use theirs::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
    samples(Api::OffsetCommit, |version| {
        let mut first = OffsetCommitRequestPartition::default()
            .with_partition_index(1)
            .with_committed_offset(1 << 40)
            .with_committed_metadata(some("x"));
        if version >= 6 {
            first.committed_leader_epoch = 2;
        }
        let second = OffsetCommitRequestPartition::default()
            .with_partition_index(2)
            .with_committed_metadata(None);
        let topics = OffsetCommitRequestTopic::default()
            .with_name(topic("t"))
            .with_partitions(vec![first, second]);
        let mut body = theirs::OffsetCommitRequest::default()
            .with_group_id(group("g"))
            .with_generation_id_or_member_epoch(4)
            .with_member_id(text("m"))
            .with_topics(vec![topics]);
        if version >= 7 {
            body.group_instance_id = some("i");
        }
        if version <= 4 {
            body.retention_time_ms = 77;
        }
        body
    })
}

#[test]
fn offset_commit_both_ways() {
    use offset_commit as ours;
    for sample in offset_commit_samples() {
        let version = sample.version;
        let read = ours::OffsetCommitRequest::decode(sample.reader(), version).unwrap();
        let first = ours::PartitionCommit {
            index: 1,
            offset: 1 << 40,
            leader_epoch: if version >= 6 { 2 } else { -1 },
            metadata: Some("x"),
        };
        let second =
            ours::PartitionCommit { index: 2, offset: 0, leader_epoch: -1, metadata: None };
        let expected = ours::OffsetCommitRequest {
            group: "g",
            generation: 4,
            member_id: "m",
            instance_id: (version >= 7).then_some("i"),
            retention_ms: if version <= 4 { 77 } else { -1 },
            topics: vec![ours::TopicCommit {
                name: "t",
                id: [0; 16],
                partitions: vec![first, second],
            }],
        };
        assert_eq!(read, expected);
    }
    let answer =
        [ours::TopicCommitted { name: "t".into(), id: [9; 16], partitions: vec![(1, 0), (2, 12)] }];
    let encode = |w: &mut _, v| ours::encode_response(w, v, &answer);
    for (version, read) in responses::<theirs::OffsetCommitResponse>(Api::OffsetCommit, encode) {
        let part = &read.topics[0].partitions[1];
        assert_eq!((part.partition_index, part.error_code), (2, 12));
        assert_eq!(read.topics[0].name.as_str(), if version <= 9 { "t" } else { "" });
    }
}

fn offset_fetch_samples() -> Vec<Sample> {
    use theirs::offset_fetch_request as of;
    samples(Api::OffsetFetch, |version| {
        let body = theirs::OffsetFetchRequest::default();
        let body = if version >= 7 { body.with_require_stable(true) } else { body };
        if version <= 7 {
            let topics = of::OffsetFetchRequestTopic::default()
                .with_name(topic("t"))
                .with_partition_indexes(vec![0, 5]);
            return body.with_group_id(group("g")).with_topics(Some(vec![topics]));
        }
        let topics = of::OffsetFetchRequestTopics::default()
            .with_name(topic("t"))
            .with_partition_indexes(vec![0, 5]);
        let mut first = of::OffsetFetchRequestGroup::default()
            .with_group_id(group("g"))
            .with_topics(Some(vec![topics]));
        if version >= 9 {
            first.member_id = some("m");
            first.member_epoch = 3;
        }
        let all =
            of::OffsetFetchRequestGroup::default().with_group_id(group("h")).with_topics(None);
        body.with_groups(vec![first, all])
    })
}

/// Null asks for every log; version 1 cannot, and asks for none.
fn offset_fetch_of_all_samples() -> Vec<Sample> {
    samples(Api::OffsetFetch, |version| {
        let body = theirs::OffsetFetchRequest::default();
        match version {
            1 => body.with_group_id(group("g")).with_topics(Some(Vec::new())),
            2..=7 => body.with_group_id(group("g")).with_topics(None),
            _ => body,
        }
    })
}

#[test]
fn offset_fetch_requests() {
    use offset_fetch as ours;
    for sample in offset_fetch_samples() {
        let version = sample.version;
        let read = ours::OffsetFetchRequest::decode(sample.reader(), version).unwrap();
        assert_eq!(read.require_stable, version >= 7);
        let topics = ours::TopicQuery { name: "t", id: [0; 16], partitions: vec![0, 5] };
        let first = ours::GroupQuery {
            group: "g",
            member_id: (version >= 9).then_some("m"),
            member_epoch: if version >= 9 { 3 } else { -1 },
            topics: Some(vec![topics]),
        };
        let mut expected = vec![first];
        if version >= 8 {
            expected.push(ours::GroupQuery {
                group: "h",
                member_id: None,
                member_epoch: -1,
                topics: None,
            });
        }
        assert_eq!(read.groups, expected);
    }
    for sample in offset_fetch_of_all_samples() {
        let read = ours::OffsetFetchRequest::decode(sample.reader(), sample.version).unwrap();
        match sample.version {
            1 => assert_eq!(read.groups[0].topics, Some(Vec::new())),
            2..=7 => assert_eq!(read.groups[0].topics, None),
            _ => assert!(read.groups.is_empty()),
        }
    }
}

#[test]
fn offset_fetch_responses() {
    use offset_fetch as ours;
    let known = ours::PartitionOffset {
        index: 0,
        offset: 900,
        leader_epoch: 2,
        metadata: "x".into(),
        error_code: 0,
    };
    let topics = ours::TopicOffsets {
        name: "t".into(),
        id: [9; 16],
        partitions: vec![known, ours::PartitionOffset::none(5, 3)],
    };
    let group = ours::GroupOffsets { group: "g".into(), error_code: 16, topics: vec![topics] };
    let encode = |w: &mut _, v| ours::encode_response(w, v, std::slice::from_ref(&group));
    for (version, read) in responses::<theirs::OffsetFetchResponse>(Api::OffsetFetch, encode) {
        if version <= 7 {
            assert_eq!(read.error_code, if version >= 2 { 16 } else { 0 });
            let parts = &read.topics[0].partitions;
            assert_eq!((parts[0].committed_offset, parts[1].committed_offset), (900, -1));
            assert_eq!(parts[0].committed_leader_epoch, if version >= 5 { 2 } else { -1 });
            assert_eq!((&parts[0].metadata, &parts[1].metadata), (&some("x"), &some("")));
            let codes = (parts[0].error_code, parts[1].error_code);
            assert_eq!(codes, if version >= 2 { (0, 3) } else { (16, 16) });
        } else {
            assert_eq!(read.groups[0].error_code, 16);
            let parts = &read.groups[0].topics[0].partitions;
            assert_eq!((parts[0].committed_offset, parts[0].committed_leader_epoch), (900, 2));
            assert_eq!((parts[1].committed_offset, parts[1].error_code), (-1, 3));
        }
    }
}

fn describe_groups_samples() -> Vec<Sample> {
    samples(Api::DescribeGroups, |version| {
        let body =
            theirs::DescribeGroupsRequest::default().with_groups(vec![group("g"), group("h")]);
        if version >= 3 { body.with_include_authorized_operations(true) } else { body }
    })
}

#[test]
fn describe_groups_both_ways() {
    use describe_groups as ours;
    for sample in describe_groups_samples() {
        let read = ours::DescribeGroupsRequest::decode(sample.reader(), sample.version).unwrap();
        assert_eq!(read.groups, ["g", "h"]);
        assert_eq!(read.include_operations, sample.version >= 3);
    }
    let member = ours::DescribedMember {
        member_id: "m".into(),
        instance_id: Some("i".into()),
        client_id: "tester".into(),
        client_host: "/127.0.0.1".into(),
        metadata: Bytes::from_static(b"\0\x01"),
        assignment: Bytes::from_static(b"\0\x02"),
    };
    let answer = [ours::DescribedGroup {
        error_code: 0,
        error_message: Some("why".into()),
        group: "g".into(),
        state: "Stable".into(),
        protocol_type: "consumer".into(),
        protocol: "range".into(),
        members: vec![member],
        operations: 8,
    }];
    let encode = |w: &mut _, v| ours::encode_response(w, v, &answer);
    for (version, read) in responses::<theirs::DescribeGroupsResponse>(Api::DescribeGroups, encode)
    {
        let found = &read.groups[0];
        assert_eq!((found.group_id.as_str(), found.group_state.as_str()), ("g", "Stable"));
        assert_eq!(found.error_message.is_some(), version >= 6);
        let protocol = (found.protocol_type.as_str(), found.protocol_data.as_str());
        assert_eq!(protocol, ("consumer", "range"));
        assert_eq!(found.authorized_operations, if version >= 3 { 8 } else { i32::MIN });
        let member = &found.members[0];
        assert_eq!(member.group_instance_id.is_some(), version >= 4);
        let client = (member.client_id.as_str(), member.client_host.as_str());
        assert_eq!(client, ("tester", "/127.0.0.1"));
        assert_eq!(member.member_metadata, Bytes::from_static(b"\0\x01"));
        assert_eq!(member.member_assignment, Bytes::from_static(b"\0\x02"));
    }
}

fn list_groups_samples() -> Vec<Sample> {
    samples(Api::ListGroups, |version| {
        let mut body = theirs::ListGroupsRequest::default();
        if version >= 4 {
            body.states_filter = vec![text("Stable"), text("empty")];
        }
        if version >= 5 {
            body.types_filter = vec![text("classic")];
        }
        body
    })
}

#[test]
fn list_groups_both_ways() {
    use list_groups as ours;
    for sample in list_groups_samples() {
        let version = sample.version;
        let read = ours::ListGroupsRequest::decode(sample.reader(), version).unwrap();
        assert_eq!(read.states, if version >= 4 { vec!["Stable", "empty"] } else { vec![] });
        assert_eq!(read.types, if version >= 5 { vec!["classic"] } else { vec![] });
    }
    let answer = [ours::ListedGroup {
        group: "g".into(),
        protocol_type: "consumer".into(),
        state: "Empty".into(),
        group_type: "classic".into(),
    }];
    let encode = |w: &mut _, v| ours::encode_response(w, v, 0, &answer);
    for (version, read) in responses::<theirs::ListGroupsResponse>(Api::ListGroups, encode) {
        let found = &read.groups[0];
        assert_eq!((found.group_id.as_str(), found.protocol_type.as_str()), ("g", "consumer"));
        assert_eq!(found.group_state.as_str(), if version >= 4 { "Empty" } else { "" });
        assert_eq!(found.group_type.as_str(), if version >= 5 { "classic" } else { "" });
    }
}

fn delete_groups_samples() -> Vec<Sample> {
    samples(Api::DeleteGroups, |_| {
        theirs::DeleteGroupsRequest::default().with_groups_names(vec![group("g"), group("h")])
    })
}

#[test]
fn delete_groups_both_ways() {
    for sample in delete_groups_samples() {
        let read = delete_groups::DeleteGroupsRequest::decode(sample.reader()).unwrap();
        assert_eq!(read.groups, ["g", "h"]);
    }
    let answer = [("g".to_owned(), 0), ("h".to_owned(), 68)];
    let encode = |w: &mut _, _| delete_groups::encode_response(w, &answer);
    for (_, read) in responses::<theirs::DeleteGroupsResponse>(Api::DeleteGroups, encode) {
        assert_eq!((read.results[1].group_id.as_str(), read.results[1].error_code), ("h", 68));
    }
}

fn offset_delete_samples() -> Vec<Sample> {
    use theirs::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
    samples(Api::OffsetDelete, |_| {
        let part = |index| OffsetDeleteRequestPartition::default().with_partition_index(index);
        let topics = OffsetDeleteRequestTopic::default()
            .with_name(topic("t"))
            .with_partitions(vec![part(1), part(2)]);
        theirs::OffsetDeleteRequest::default().with_group_id(group("g")).with_topics(vec![topics])
    })
}

#[test]
fn offset_delete_both_ways() {
    use offset_delete as ours;
    for sample in offset_delete_samples() {
        let read = ours::OffsetDeleteRequest::decode(sample.reader()).unwrap();
        assert_eq!((read.group, read.topics), ("g", vec![("t", vec![1, 2])]));
    }
    let answer = [ours::TopicDeleted { name: "t".into(), partitions: vec![(1, 0), (2, 86)] }];
    let encode = |w: &mut _, _| ours::encode_response(w, 69, &answer);
    for (_, read) in responses::<theirs::OffsetDeleteResponse>(Api::OffsetDelete, encode) {
        assert_eq!(read.error_code, 69);
        let part = &read.topics[0].partitions[1];
        assert_eq!((part.partition_index, part.error_code), (2, 86));
    }
}
