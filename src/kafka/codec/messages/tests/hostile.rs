//! Cut, changed and random bytes: decoding fails with an error, or succeeds; it neither panics nor takes memory
//! that the input does not account for.
//!
//! With `RIALTO_LONG` set in the environment, a million changed requests instead of fifty thousand.

use std::mem::size_of;

use bytes::BytesMut;
use kafka_protocol::messages::OffsetCommitRequest;
use kafka_protocol::protocol::Encodable;
use proptest::prelude::{ProptestConfig, any};
use proptest::sample::select;

use crate::kafka::codec::api::{Api, LAYOUTS};
use crate::kafka::codec::header;
use crate::kafka::codec::messages::tests::{Sample, admin, golden, group, groups, range, records};
use crate::kafka::codec::messages::{
    alter_configs, api_versions, create_partitions, create_topics, delete_groups, delete_records,
    delete_topics, describe_cluster, describe_configs, describe_groups, fetch, find_coordinator,
    heartbeat, incremental_alter_configs, init_producer_id, join_group, leave_group, list_groups,
    list_offsets, metadata, offset_commit, offset_delete, offset_fetch, offset_for_leader_epoch,
    produce, sync_group,
};
use crate::kafka::codec::primitives::{DecodeError, ELEMENTS_MAX, Reader};

/// Decodes `body` as a request.
fn decode(api: Api, version: i16, body: &[u8]) -> Result<(), DecodeError> {
    let r = Reader::new(body, range(api).is_flexible(version));
    let v = version;
    match api {
        Api::Produce => produce::ProduceRequest::decode(r, v).map(drop),
        Api::Fetch => fetch::FetchRequest::decode(r, v).map(drop),
        Api::ListOffsets => list_offsets::ListOffsetsRequest::decode(r, v).map(drop),
        Api::Metadata => metadata::MetadataRequest::decode(r, v).map(drop),
        Api::OffsetCommit => offset_commit::OffsetCommitRequest::decode(r, v).map(drop),
        Api::OffsetFetch => offset_fetch::OffsetFetchRequest::decode(r, v).map(drop),
        Api::FindCoordinator => find_coordinator::FindCoordinatorRequest::decode(r, v).map(drop),
        Api::JoinGroup => join_group::JoinGroupRequest::decode(r, v).map(drop),
        Api::Heartbeat => heartbeat::HeartbeatRequest::decode(r, v).map(|_| ()),
        Api::LeaveGroup => leave_group::LeaveGroupRequest::decode(r, v).map(drop),
        Api::SyncGroup => sync_group::SyncGroupRequest::decode(r, v).map(drop),
        Api::DescribeGroups => describe_groups::DescribeGroupsRequest::decode(r, v).map(drop),
        Api::ListGroups => list_groups::ListGroupsRequest::decode(r, v).map(drop),
        Api::ApiVersions => api_versions::ApiVersionsRequest::decode(r, v).map(|_| ()),
        Api::CreateTopics => create_topics::CreateTopicsRequest::decode(r).map(drop),
        Api::DeleteTopics => delete_topics::DeleteTopicsRequest::decode(r, v).map(drop),
        Api::DeleteRecords => delete_records::DeleteRecordsRequest::decode(r).map(drop),
        Api::InitProducerId => init_producer_id::InitProducerIdRequest::decode(r, v).map(|_| ()),
        Api::OffsetForLeaderEpoch => {
            offset_for_leader_epoch::OffsetForLeaderEpochRequest::decode(r, v).map(drop)
        }
        Api::DescribeConfigs => describe_configs::DescribeConfigsRequest::decode(r, v).map(drop),
        Api::AlterConfigs => alter_configs::AlterConfigsRequest::decode(r).map(drop),
        Api::CreatePartitions => create_partitions::CreatePartitionsRequest::decode(r).map(drop),
        Api::DeleteGroups => delete_groups::DeleteGroupsRequest::decode(r).map(drop),
        Api::IncrementalAlterConfigs => {
            incremental_alter_configs::IncrementalAlterConfigsRequest::decode(r).map(drop)
        }
        Api::OffsetDelete => offset_delete::OffsetDeleteRequest::decode(r).map(drop),
        Api::DescribeCluster => describe_cluster::DescribeClusterRequest::decode(r, v).map(|_| ()),
    }
}

/// Every request that the other tests make.
pub(in crate::kafka) fn all() -> Vec<Sample> {
    [records::all(), groups::all(), admin::all(), golden::all()].into_iter().flatten().collect()
}

#[test]
fn every_version_of_every_layout_is_tested() {
    let all = all();
    for range in &LAYOUTS {
        for version in range.min..=range.max {
            let has = all.iter().any(|s| s.api == range.api && s.version == version);
            assert!(has, "{:?} {version} has no sample", range.api);
        }
    }
}

/// So decoding reads a request to its very end, too.
#[test]
fn a_request_cut_anywhere_is_an_error() {
    for sample in all() {
        let (api, version) = (sample.api, sample.version);
        assert_eq!(decode(api, version, &sample.body), Ok(()), "{api:?} {version}");
        for cut in 0..sample.body.len() {
            let cut_off = decode(api, version, &sample.body[..cut]);
            assert!(cut_off.is_err(), "{api:?} {version}, cut to {cut} bytes");
        }
    }
}

/// KIP-482: a client may send fields that were not thought of when this was written.
#[test]
fn unknown_tagged_fields_are_skipped() {
    for sample in all() {
        // Those of Fetch end with a tagged field that is known.
        if sample.api == Api::Fetch || !range(sample.api).is_flexible(sample.version) {
            continue;
        }
        // The others end with their count of tagged fields.
        let (last, rest) = sample.body.split_last().unwrap();
        assert_eq!(*last, 0);
        let tagged = [rest, &[2, 7, 3, 1, 2, 3, 0x80, 0x01, 0]].concat();
        assert_eq!(decode(sample.api, sample.version, &tagged), Ok(()), "{:?}", sample.api);
        let endless = [rest, &[0x7f, 7, 0]].concat();
        assert!(decode(sample.api, sample.version, &endless).is_err());
    }
}

#[test]
fn four_bytes_that_abort_the_oracle_are_an_error_here() {
    let mut refused = 0;
    for range in &LAYOUTS {
        for version in range.min..=range.max {
            let result = decode(range.api, version, &i32::MAX.to_be_bytes());
            refused += usize::from(result.is_err());
        }
    }
    assert!(refused > 100, "{refused}");
}

/// An element takes a byte of the input at least, and there are at most [`ELEMENTS_MAX`]: so what a request
/// becomes is bounded by its length, and by some 13 MB.
#[test]
fn elements_are_small() {
    let sizes = [
        size_of::<produce::TopicData<'_>>(),
        size_of::<produce::PartitionData<'_>>(),
        size_of::<fetch::FetchTopic<'_>>(),
        size_of::<fetch::FetchPartition>(),
        size_of::<list_offsets::TopicQuery<'_>>(),
        size_of::<list_offsets::PartitionQuery>(),
        size_of::<metadata::TopicRequest<'_>>(),
        size_of::<offset_commit::TopicCommit<'_>>(),
        size_of::<offset_commit::PartitionCommit<'_>>(),
        size_of::<offset_fetch::GroupQuery<'_>>(),
        size_of::<offset_fetch::TopicQuery<'_>>(),
        size_of::<join_group::Protocol<'_>>(),
        size_of::<sync_group::Assignment<'_>>(),
        size_of::<leave_group::LeavingMember<'_>>(),
        size_of::<create_topics::NewTopic<'_>>(),
        size_of::<create_topics::Assignment>(),
        size_of::<delete_topics::DoomedTopic<'_>>(),
        size_of::<create_partitions::GrownTopic<'_>>(),
        size_of::<delete_records::TopicCuts<'_>>(),
        size_of::<describe_configs::Resource<'_>>(),
        size_of::<alter_configs::ReplacedConfigs<'_>>(),
        size_of::<incremental_alter_configs::ChangedConfigs<'_>>(),
        size_of::<incremental_alter_configs::ConfigChange<'_>>(),
        size_of::<offset_for_leader_epoch::TopicEpochs<'_>>(),
        size_of::<offset_for_leader_epoch::PartitionEpoch>(),
    ];
    assert!(sizes.iter().all(|size| *size <= 128), "{sizes:?}");
}

/// Or else a request of 2 MiB could ask a hundred thousand times for all that a group or a log has to tell.
#[test]
fn what_is_asked_for_again_is_asked_for_once() {
    let named = [0, 0, 0, 3, 0, 1, b'g', 0, 1, b'h', 0, 1, b'g'];
    let reader = Reader::new(&named, false);
    let read = describe_groups::DescribeGroupsRequest::decode(reader, 0).unwrap();
    assert_eq!(read.groups, ["g", "h"]);
    let reader = Reader::new(&named, false);
    let read = metadata::MetadataRequest::decode(reader, 1).unwrap();
    assert_eq!(read.topics.unwrap().len(), 2);
    let resource = [2, 0, 1, b't', 0xff, 0xff, 0xff, 0xff];
    let twice = [&[0, 0, 0, 2][..], &resource, &resource, &[0]].concat();
    let reader = Reader::new(&twice, false);
    let read = describe_configs::DescribeConfigsRequest::decode(reader, 1).unwrap();
    assert_eq!(read.resources.len(), 1);
}

#[test]
fn offsets_asked_for_again_are_asked_for_once() {
    // Groups g with partitions 1, 1, 2 of t and again 2, 3 of t; then all of g, twice; require stable.
    let parts = |indexes: &[u8]| {
        let wide = indexes.iter().flat_map(|index| [0, 0, 0, *index]);
        let mut part = vec![2, b't', indexes.len() as u8 + 1];
        part.extend(wide);
        part.push(0);
        part
    };
    let some = [&[2, b'g', 3][..], &parts(&[1, 1, 2]), &parts(&[2, 3]), &[0]].concat();
    let all = [2, b'g', 0, 0];
    let body = [&[4][..], &some, &all, &all, &[1, 0]].concat();
    let read = offset_fetch::OffsetFetchRequest::decode(Reader::new(&body, true), 8).unwrap();
    assert_eq!(read.groups.len(), 2);
    let topics = read.groups[0].topics.as_ref().unwrap();
    assert_eq!((&topics[0].partitions[..], &topics[1].partitions[..]), (&[1, 2][..], &[3][..]));
    assert_eq!(read.groups[1].topics, None);
}

#[test]
fn more_elements_than_allowed_are_refused_at_any_depth() {
    // Topics without partitions, the smallest that there are: an empty name, no partitions, no tags.
    let body = OffsetCommitRequest::default().with_group_id(group("g"));
    let mut bytes = BytesMut::new();
    body.encode(&mut bytes, 2).unwrap();
    let mut bytes = bytes.to_vec();
    bytes.truncate(bytes.len() - 4);
    let count = i32::try_from(ELEMENTS_MAX).unwrap() + 1;
    bytes.extend_from_slice(&count.to_be_bytes());
    bytes.resize(bytes.len() + 6 * (ELEMENTS_MAX + 1), 0);
    assert_eq!(decode(Api::OffsetCommit, 2, &bytes), Err(DecodeError::TooMany));
}

/// Numbers that look random and are the same in every run.
pub(in crate::kafka) struct Dice(pub(in crate::kafka) u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 29
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// One change: a byte, a length turned extreme, bytes out, bytes in, the rest doubled.
pub(in crate::kafka) fn change(body: &mut Vec<u8>, dice: &mut Dice) {
    if body.is_empty() {
        body.push(dice.next() as u8);
        return;
    }
    let at = dice.below(body.len());
    match dice.below(6) {
        0 => body[at] = dice.next() as u8,
        1 => body[at] ^= 1 << dice.below(8),
        2 => {
            let extreme = [[0x7f, 0xff, 0xff, 0xff], [0xff; 4], [0x80, 0, 0, 0], [0; 4]];
            let length = extreme[dice.below(4)];
            for (byte, new) in body[at..].iter_mut().zip(length) {
                *byte = new;
            }
        }
        3 => drop(body.drain(at..at + 1 + dice.below((body.len() - at).min(8)))),
        4 => drop(body.splice(at..at, (0..dice.below(9)).map(|n| n as u8).collect::<Vec<_>>())),
        _ => body.extend_from_within(at..),
    }
}

#[test]
fn changed_requests_decode_or_fail() {
    let rounds = if std::env::var_os("RIALTO_LONG").is_some() { 1_000_000 } else { 50_000 };
    let all = all();
    let mut dice = Dice(5);
    let (mut read, mut refused) = (0, 0);
    for _ in 0..rounds {
        let sample = &all[dice.below(all.len())];
        let mut body = sample.body.clone();
        for _ in 0..=dice.below(4) {
            change(&mut body, &mut dice);
        }
        match decode(sample.api, sample.version, &body) {
            Ok(()) => read += 1,
            Err(_) => refused += 1,
        }
    }
    // Both sides of every decoder are reached, not only its first check.
    assert!(read > rounds / 20 && refused > rounds / 20, "{read} read, {refused} refused");
}

proptest::proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Each case goes to every request, at one of its versions.
    #[test]
    fn any_body_decodes_or_fails(
        body in proptest::collection::vec(any::<u8>(), 0..300),
        pick in any::<u16>(),
    ) {
        for range in &LAYOUTS {
            let version = range.min + (pick as i16 & 0x7fff) % (range.max - range.min + 1);
            decode(range.api, version, &body).ok();
        }
    }

    /// Small numbers make lengths and counts that fit, so that decoding gets deep.
    #[test]
    fn any_small_numbers_decode_or_fail(
        body in proptest::collection::vec(select(vec![0_u8, 0, 0, 1, 1, 2, 3, 4, b'a']), 0..120),
        pick in any::<u16>(),
    ) {
        for range in &LAYOUTS {
            let version = range.min + (pick as i16 & 0x7fff) % (range.max - range.min + 1);
            decode(range.api, version, &body).ok();
        }
    }

    #[test]
    fn any_header_decodes_or_fails(frame in proptest::collection::vec(any::<u8>(), 0..64)) {
        drop(header::decode(&frame));
    }
}
