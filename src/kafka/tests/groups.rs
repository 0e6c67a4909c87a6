//! Requests about groups, on the wire, over a whole broker: which error stands where at which version.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Buf, Bytes};
use kafka_protocol::messages as theirs;
use kafka_protocol::messages::{ApiKey, GroupId, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::watch;

use crate::auth::Principal;
use crate::broker::append::LogFront;
use crate::broker::engine::NowMs;
use crate::broker::testbed::Bed;
use crate::kafka::service::{Ends, serve};
use crate::kafka::shared::{KafkaConfig, Shared};
use crate::kafka::tests::double::NeverTimer;
use crate::kafka::tests::{request, topic};

const UNKNOWN_LOG: i16 = 3;
const ILLEGAL_GENERATION: i16 = 22;
const INCONSISTENT_PROTOCOL: i16 = 23;
const UNKNOWN_MEMBER: i16 = 25;
const INVALID_GROUP: i16 = 24;
const INVALID_REQUEST: i16 = 42;
const NOT_EMPTY: i16 = 68;
const UNKNOWN_GROUP: i16 = 69;
const MEMBER_ID_REQUIRED: i16 = 79;
const UNKNOWN_LOG_ID: i16 = 100;

/// A connection to a whole broker, whose journal and clock move while an answer is awaited.
struct Wire {
    stream: DuplexStream,
    bed: Bed,
    now: Arc<AtomicU64>,
    _stop: watch::Sender<bool>,
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn group(name: &str) -> GroupId {
    GroupId(text(name))
}

impl Wire {
    async fn new() -> Self {
        let mut bed = Bed::new();
        let now = Arc::new(AtomicU64::new(1_000_000));
        bed.resume(1_000_000);
        bed.sync();
        let (stream, ours) = tokio::io::duplex(1 << 20);
        let clock = Arc::clone(&now);
        let now_ms: NowMs = Arc::new(move || clock.load(Ordering::Relaxed));
        let (broker, wall_ms) = (Arc::clone(&bed.broker), Arc::clone(&now_ms));
        let front = Arc::new(LogFront { broker, now_ms, wall_ms });
        let (config, timer) = (KafkaConfig::default(), Arc::new(NeverTimer));
        let shared = Arc::new(Shared::new(front, config, timer));
        let (stop, stopped) = watch::channel(false);
        let local = "127.0.0.1:9092".parse().unwrap();
        let ends = Ends { local, peer: "10.0.0.7:4321".parse().unwrap() };
        tokio::spawn(serve(ours, ends, Principal::anonymous(), shared, stopped));
        let mut wire = Self { stream, bed, now, _stop: stop };
        let asked = theirs::metadata_request::MetadataRequestTopic::default();
        let create = theirs::MetadataRequest::default()
            .with_topics(Some(vec![asked.with_name(Some(topic("log")))]))
            .with_allow_auto_topic_creation(true);
        let _: theirs::MetadataResponse = wire.ask(ApiKey::Metadata, 12, &create).await;
        wire
    }

    async fn ask<Q, A>(&mut self, key: ApiKey, version: i16, body: &Q) -> A
    where
        Q: Encodable + HeaderVersion,
        A: Decodable + HeaderVersion,
    {
        self.stream.write_all(&request(key, version, 1, body)).await.unwrap();
        let mut answer = Vec::new();
        let whole = |answer: &[u8]| {
            answer.first_chunk::<4>().is_some_and(|length| {
                answer.len() - 4 >= usize::try_from(u32::from_be_bytes(*length)).unwrap()
            })
        };
        while !whole(&answer) {
            tokio::select! {
                biased;
                read = self.stream.read_buf(&mut answer) => assert!(read.unwrap() > 0, "closed"),
                () = tokio::task::yield_now() => {
                    self.bed.sync();
                    let now_ms = self.now.fetch_add(1, Ordering::Relaxed);
                    self.bed.run_jobs(now_ms);
                }
            }
        }
        let mut body = Bytes::from(answer.split_off(4));
        ResponseHeader::decode(&mut body, A::header_version(version)).unwrap();
        let decoded = A::decode(&mut body, version).unwrap();
        assert!(!body.has_remaining());
        decoded
    }

    async fn join(&mut self, version: i16, id: &str) -> theirs::JoinGroupResponse {
        let protocol = theirs::join_group_request::JoinGroupRequestProtocol::default()
            .with_name(text("range"))
            .with_metadata(Bytes::from_static(b"\0\0\0\0\0\x01\0\x03log\xff\xff\xff\xff"));
        let body = theirs::JoinGroupRequest::default()
            .with_group_id(group("g"))
            .with_session_timeout_ms(10_000)
            .with_rebalance_timeout_ms(if version == 0 { -1 } else { 20_000 })
            .with_member_id(text(id))
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol]);
        self.ask(ApiKey::JoinGroup, version, &body).await
    }

    fn sync_of(version: i16, id: &str, generation: i32) -> theirs::SyncGroupRequest {
        let assignment = theirs::sync_group_request::SyncGroupRequestAssignment::default()
            .with_member_id(text(id))
            .with_assignment(Bytes::from_static(b"all"));
        let named = version >= 5;
        theirs::SyncGroupRequest::default()
            .with_group_id(group("g"))
            .with_generation_id(generation)
            .with_member_id(text(id))
            .with_protocol_type(named.then(|| text("consumer")))
            .with_protocol_name(named.then(|| text("range")))
            .with_assignments(vec![assignment])
    }

    /// Joins and syncs at the version given; the member's id.
    async fn member(&mut self) -> String {
        let id = self.join(9, "").await.member_id.to_string();
        let generation = self.join(9, &id).await.generation_id;
        let body = Self::sync_of(5, &id, generation);
        let synced: theirs::SyncGroupResponse = self.ask(ApiKey::SyncGroup, 5, &body).await;
        assert_eq!((synced.error_code, &synced.assignment[..]), (0, &b"all"[..]));
        id
    }

    /// Commits an offset in `log` and each of `partitions`; the codes.
    async fn commit(
        &mut self,
        version: i16,
        who: (&str, &str, i32),
        log: &'static str,
        partitions: &[i32],
    ) -> Vec<i16> {
        let partitions = partitions.iter().map(|index| {
            theirs::offset_commit_request::OffsetCommitRequestPartition::default()
                .with_partition_index(*index)
                .with_committed_offset(7)
                .with_committed_metadata(Some(text("said")))
        });
        let commit = theirs::offset_commit_request::OffsetCommitRequestTopic::default()
            .with_name(topic(log))
            .with_partitions(partitions.collect());
        let (name, id, generation) = who;
        let body = theirs::OffsetCommitRequest::default()
            .with_group_id(group(name))
            .with_member_id(text(id))
            .with_generation_id_or_member_epoch(generation)
            .with_topics(vec![commit]);
        let response: theirs::OffsetCommitResponse =
            self.ask(ApiKey::OffsetCommit, version, &body).await;
        response.topics[0].partitions.iter().map(|it| it.error_code).collect()
    }

    async fn fetch_all(&mut self, version: i16, name: &str) -> theirs::OffsetFetchResponse {
        let query = theirs::offset_fetch_request::OffsetFetchRequestGroup::default()
            .with_group_id(group(name))
            .with_topics(None);
        let body = if version >= 8 {
            let other = query.clone().with_group_id(group("other"));
            theirs::OffsetFetchRequest::default().with_groups(vec![other, query])
        } else {
            theirs::OffsetFetchRequest::default().with_group_id(group(name)).with_topics(None)
        };
        self.ask(ApiKey::OffsetFetch, version, &body).await
    }

    async fn describe(
        &mut self,
        version: i16,
        name: &str,
    ) -> theirs::describe_groups_response::DescribedGroup {
        let body = theirs::DescribeGroupsRequest::default()
            .with_groups(vec![group(name)])
            .with_include_authorized_operations(version >= 3);
        let mut response: theirs::DescribeGroupsResponse =
            self.ask(ApiKey::DescribeGroups, version, &body).await;
        response.groups.remove(0)
    }
}

#[tokio::test]
async fn a_member_joins_syncs_and_is_described() {
    let mut wire = Wire::new().await;
    let id = wire.member().await;
    let beat = theirs::HeartbeatRequest::default()
        .with_group_id(group("g"))
        .with_generation_id(1)
        .with_member_id(text(&id));
    let beat: theirs::HeartbeatResponse = wire.ask(ApiKey::Heartbeat, 4, &beat).await;
    assert_eq!(beat.error_code, 0);
    let shown = wire.describe(5, "g").await;
    assert_eq!((&*shown.group_state, &*shown.protocol_data), ("Stable", "range"));
    assert_eq!((&*shown.members[0].client_host, shown.members.len()), ("/10.0.0.7", 1));
    assert_eq!(shown.authorized_operations, 1 << 3 | 1 << 6 | 1 << 8);
    let body = theirs::ListGroupsRequest::default().with_states_filter(vec![text("stable")]);
    let listed: theirs::ListGroupsResponse = wire.ask(ApiKey::ListGroups, 5, &body).await;
    assert_eq!(
        (&*listed.groups[0].group_type, &*listed.groups[0].group_state),
        ("classic", "Stable")
    );
    let body = body.with_types_filter(vec![text("consumer")]);
    let listed: theirs::ListGroupsResponse = wire.ask(ApiKey::ListGroups, 5, &body).await;
    assert!(listed.groups.is_empty());
}

#[tokio::test]
async fn a_member_id_is_required_from_version_4_on() {
    let mut wire = Wire::new().await;
    let refused = wire.join(4, "").await;
    assert_eq!((refused.error_code, refused.generation_id), (MEMBER_ID_REQUIRED, -1));
    assert!(!refused.member_id.is_empty());
    let joined = wire.join(4, &refused.member_id).await;
    assert_eq!((joined.error_code, joined.member_id), (0, refused.member_id));
    for version in 0..4 {
        let mut wire = Wire::new().await;
        let joined = wire.join(version, "").await;
        assert_eq!((joined.error_code, joined.generation_id, joined.members.len()), (0, 1, 1));
        assert_eq!(joined.leader, joined.member_id);
    }
    let stranger = wire.join(9, "nobody").await;
    assert_eq!((stranger.error_code, &*stranger.member_id), (UNKNOWN_MEMBER, "nobody"));
    assert_eq!(stranger.protocol_name, None);
}

#[tokio::test]
async fn who_does_not_say_its_protocol_gets_no_assignment_from_version_5_on() {
    let mut wire = Wire::new().await;
    let id = wire.member().await;
    let silent = Wire::sync_of(4, &id, 1);
    let refused: theirs::SyncGroupResponse = wire.ask(ApiKey::SyncGroup, 5, &silent).await;
    assert_eq!(refused.error_code, INCONSISTENT_PROTOCOL);
    let taken: theirs::SyncGroupResponse = wire.ask(ApiKey::SyncGroup, 4, &silent).await;
    assert_eq!((taken.error_code, &taken.assignment[..]), (0, &b"all"[..]));
}

#[tokio::test]
async fn offsets_are_committed_and_fetched_at_every_version() {
    let mut wire = Wire::new().await;
    let id = wire.member().await;
    for version in 2..=9 {
        assert_eq!(
            wire.commit(version, ("g", &id, 1), "log", &[1, -1, 9]).await,
            [0, UNKNOWN_LOG, UNKNOWN_LOG]
        );
    }
    for version in 2..=7 {
        let all = wire.fetch_all(version, "g").await;
        let found = &all.topics[0].partitions[0];
        assert_eq!((found.partition_index, found.committed_offset, all.error_code), (1, 7, 0));
        assert_eq!(found.metadata.as_deref(), Some("said"));
    }
    for version in 8..=9 {
        let all = wire.fetch_all(version, "g").await;
        assert_eq!(all.groups.len(), 2);
        assert_eq!(all.groups[1].topics[0].partitions[0].committed_offset, 7);
    }
    let asked = theirs::offset_fetch_request::OffsetFetchRequestTopic::default()
        .with_name(topic("none"))
        .with_partition_indexes(vec![0, -1]);
    let body = theirs::OffsetFetchRequest::default()
        .with_group_id(group("g"))
        .with_topics(Some(vec![asked]));
    let none: theirs::OffsetFetchResponse = wire.ask(ApiKey::OffsetFetch, 1, &body).await;
    let told = none.topics[0].partitions.iter().map(|it| (it.committed_offset, it.error_code));
    assert_eq!(told.collect::<Vec<_>>(), [(-1, 0), (-1, 0)]);
}

#[tokio::test]
async fn a_commit_to_no_group_is_refused_in_the_words_of_its_version() {
    let mut wire = Wire::new().await;
    assert_eq!(wire.commit(8, ("none", "m", 1), "log", &[0]).await, [ILLEGAL_GENERATION]);
    assert_eq!(wire.commit(9, ("none", "m", 1), "log", &[0]).await, [UNKNOWN_GROUP]);
    assert_eq!(wire.commit(9, ("$route.r", "", -1), "log", &[0]).await, [INVALID_GROUP]);
    assert_eq!(wire.commit(9, ("simple", "", -1), "none", &[0]).await, [UNKNOWN_LOG]);
}

#[tokio::test]
async fn logs_are_named_by_their_ids_from_version_10_on() {
    let mut wire = Wire::new().await;
    let uuid = wire.bed.broker.logs.table.by_name("/", "log").unwrap().uuid;
    for (id, code) in [(uuid, 0_i16), ([9; 16], UNKNOWN_LOG_ID)] {
        // The oracle ends at version 9: by hand.
        let mut body = vec![2, b'g'];
        body.extend((-1_i32).to_be_bytes());
        body.extend([1, 0, 2]);
        body.extend(id);
        body.push(2);
        body.extend(0_i32.to_be_bytes());
        body.extend(7_i64.to_be_bytes());
        body.extend((-1_i32).to_be_bytes());
        body.extend([1, 0, 0, 0]);
        let answer = wire.raw(8, &body).await;
        // Correlation id, tags, throttle time, one log, its id, one partition, its index.
        let at = 4 + 1 + 4 + 1 + 16 + 1 + 4;
        assert_eq!(&answer[10..26], &id);
        assert_eq!(i16::from_be_bytes([answer[at], answer[at + 1]]), code);
        let mut body = vec![2, 2, b'g', 0];
        body.extend((-1_i32).to_be_bytes());
        body.push(2);
        body.extend(id);
        body.push(2);
        body.extend(0_i32.to_be_bytes());
        body.extend([0, 0, 0, 0]);
        let answer = wire.raw(9, &body).await;
        // …, one group, its name, one log, its id, one partition, its index.
        let at = 4 + 1 + 4 + 1 + 2 + 1 + 16 + 1 + 4;
        let offset = i64::from_be_bytes(answer[at..at + 8].try_into().unwrap());
        assert_eq!(offset, if code == 0 { 7 } else { -1 });
        let told = i16::from_be_bytes([answer[at + 13], answer[at + 14]]);
        assert_eq!(told, code);
    }
}

impl Wire {
    /// Sends a body laid out at version 10; the answer behind its length.
    async fn raw(&mut self, key: i16, body: &[u8]) -> Vec<u8> {
        let mut frame = key.to_be_bytes().to_vec();
        frame.extend(10_i16.to_be_bytes());
        frame.extend(1_i32.to_be_bytes());
        frame.extend([0xff, 0xff, 0]);
        frame.extend(body);
        self.stream.write_u32(frame.len() as u32).await.unwrap();
        self.stream.write_all(&frame).await.unwrap();
        let mut length = None;
        loop {
            tokio::select! {
                biased;
                read = self.stream.read_u32(), if length.is_none() => length = Some(read.unwrap()),
                () = tokio::task::yield_now(), if length.is_none() => self.bed.sync(),
                else => break,
            }
        }
        let mut answer = vec![0; length.unwrap() as usize];
        self.stream.read_exact(&mut answer).await.unwrap();
        answer
    }
}

#[tokio::test]
async fn members_leave_alone_or_by_list() {
    let mut wire = Wire::new().await;
    let id = wire.member().await;
    let body = theirs::LeaveGroupRequest::default()
        .with_group_id(group("g"))
        .with_member_id(text("nobody"));
    let left: theirs::LeaveGroupResponse = wire.ask(ApiKey::LeaveGroup, 2, &body).await;
    assert_eq!(left.error_code, UNKNOWN_MEMBER);
    let member =
        |id: &str| theirs::leave_group_request::MemberIdentity::default().with_member_id(text(id));
    let body = theirs::LeaveGroupRequest::default()
        .with_group_id(group("g"))
        .with_members(vec![member("nobody"), member(&id)]);
    let left: theirs::LeaveGroupResponse = wire.ask(ApiKey::LeaveGroup, 5, &body).await;
    let codes: Vec<i16> = left.members.iter().map(|it| it.error_code).collect();
    assert_eq!((left.error_code, codes), (0, vec![UNKNOWN_MEMBER, 0]));
    assert_eq!(&*wire.describe(5, "g").await.group_state, "Empty");
}

#[tokio::test]
async fn groups_are_deleted_when_they_are_empty() {
    let mut wire = Wire::new().await;
    wire.member().await;
    assert_eq!(wire.commit(9, ("simple", "", -1), "log", &[0]).await, [0]);
    let names = ["g", "none", "simple", "$route.r"].map(group);
    let body = theirs::DeleteGroupsRequest::default().with_groups_names(names.into());
    let deleted: theirs::DeleteGroupsResponse = wire.ask(ApiKey::DeleteGroups, 2, &body).await;
    let codes: Vec<i16> = deleted.results.iter().map(|it| it.error_code).collect();
    assert_eq!(codes, [NOT_EMPTY, UNKNOWN_GROUP, 0, INVALID_GROUP]);
    let gone = wire.describe(5, "simple").await;
    assert_eq!((gone.error_code, &*gone.group_state), (0, "Dead"));
    let gone = wire.describe(6, "simple").await;
    assert_eq!((gone.error_code, &*gone.group_state), (UNKNOWN_GROUP, "Dead"));
}

#[tokio::test]
async fn offsets_are_deleted_where_nobody_reads() {
    let mut wire = Wire::new().await;
    assert_eq!(wire.commit(9, ("simple", "", -1), "log", &[0]).await, [0]);
    let place = |index| {
        theirs::offset_delete_request::OffsetDeleteRequestPartition::default()
            .with_partition_index(index)
    };
    let log = |name| {
        theirs::offset_delete_request::OffsetDeleteRequestTopic::default()
            .with_name(topic(name))
            .with_partitions(vec![place(-1), place(0)])
    };
    let body = theirs::OffsetDeleteRequest::default()
        .with_group_id(group("simple"))
        .with_topics(vec![log("log"), log("none")]);
    let gone: theirs::OffsetDeleteResponse = wire.ask(ApiKey::OffsetDelete, 0, &body).await;
    let codes: Vec<Vec<i16>> = gone
        .topics
        .iter()
        .map(|log| log.partitions.iter().map(|it| it.error_code).collect())
        .collect();
    assert_eq!((gone.error_code, codes), (0, vec![vec![3, 0], vec![3, 3]]));
    assert!(wire.fetch_all(7, "simple").await.topics.is_empty());
    let body = body.with_group_id(group("none"));
    let gone: theirs::OffsetDeleteResponse = wire.ask(ApiKey::OffsetDelete, 0, &body).await;
    assert_eq!((gone.error_code, gone.topics.len()), (UNKNOWN_GROUP, 0));
}

#[tokio::test]
async fn this_broker_coordinates_every_group_and_no_transaction() {
    let mut wire = Wire::new().await;
    for version in 0..4 {
        let body = theirs::FindCoordinatorRequest::default().with_key(text("g"));
        let found: theirs::FindCoordinatorResponse =
            wire.ask(ApiKey::FindCoordinator, version, &body).await;
        assert_eq!((found.error_code, &*found.host, found.port), (0, "127.0.0.1", 9092));
    }
    let body = theirs::FindCoordinatorRequest::default()
        .with_coordinator_keys(vec![text("g"), text("$route.r")]);
    let found: theirs::FindCoordinatorResponse = wire.ask(ApiKey::FindCoordinator, 4, &body).await;
    assert!(found.coordinators.iter().all(|it| (it.error_code, it.node_id.0) == (0, 0)));
    let body = body.with_key_type(1);
    let found: theirs::FindCoordinatorResponse = wire.ask(ApiKey::FindCoordinator, 6, &body).await;
    let refused = &found.coordinators[0];
    assert_eq!((refused.error_code, refused.node_id.0), (INVALID_REQUEST, -1));
    assert_eq!(refused.error_message.as_deref(), Some("transactions are not served"));
}
