//! Versions beyond the oracle's, against bytes that Apache Kafka 4.3.1's own message classes wrote for the fields
//! named here.

use crate::kafka::codec::api::Api;
use crate::kafka::codec::header;
use crate::kafka::codec::messages::tests::{ID, Sample, flat, range};
use crate::kafka::codec::messages::{list_offsets, offset_commit, offset_fetch};
use crate::kafka::codec::primitives::Writer;

const OFFSET_COMMIT_10: &str = "026700000003026d0269020102030405060708090a0b0c0d0e0f10030000000100000000\
    0000000700000002027800000000020000000000000008ffffffff00000000";
const OFFSET_COMMIT_10_ANSWER: &str =
    "00000000020102030405060708090a0b0c0d0e0f10030000000100000000000002000c000000";
const OFFSET_FETCH_10: &str = "030267026d00000004020102030405060708090a0b0c0d0e0f100300000000000000050000\
    026800ffffffff00000100";
const OFFSET_FETCH_10_ANSWER: &str = "00000000030267020102030405060708090a0b0c0d0e0f1003000000000000000000\
    00000700000002027800000000000005ffffffffffffffffffffffff0100000000000000026801001e0000";
const LIST_OFFSETS_11: &str = "ffffffff01020274020000000100000002fffffffffffffffa00000000000500";
const LIST_OFFSETS_11_ANSWER: &str =
    "000000000202740200000001000000000000000003e8000000000000001100000002000000";

pub(super) fn all() -> Vec<Sample> {
    let sample = |api, version, hex| Sample { api, version, body: bytes(hex) };
    vec![
        sample(Api::OffsetCommit, 10, OFFSET_COMMIT_10),
        sample(Api::OffsetFetch, 10, OFFSET_FETCH_10),
        sample(Api::ListOffsets, 11, LIST_OFFSETS_11),
    ]
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().map(|c| c.to_digit(16).unwrap()).collect();
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

/// The body of our response.
fn body(api: Api, version: i16, encode: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = header::respond(range(api), version, 99);
    encode(&mut writer);
    // Behind the length, the correlation id and the header's tags.
    flat(&writer.finish())[9..].to_vec()
}

#[test]
fn offset_commit_10_names_logs_by_id() {
    use offset_commit as ours;
    let sample = &all()[0];
    let read = ours::OffsetCommitRequest::decode(sample.reader(), 10).unwrap();
    let partitions = vec![
        ours::PartitionCommit { index: 1, offset: 7, leader_epoch: 2, metadata: Some("x") },
        ours::PartitionCommit { index: 2, offset: 8, leader_epoch: -1, metadata: None },
    ];
    let expected = ours::OffsetCommitRequest {
        group: "g",
        generation: 3,
        member_id: "m",
        instance_id: Some("i"),
        retention_ms: -1,
        topics: vec![ours::TopicCommit { name: "", id: ID, partitions }],
    };
    assert_eq!(read, expected);
    let answer =
        [ours::TopicCommitted { name: "t".into(), id: ID, partitions: vec![(1, 0), (2, 12)] }];
    let written = body(Api::OffsetCommit, 10, |w| ours::encode_response(w, 10, &answer));
    assert_eq!(written, bytes(OFFSET_COMMIT_10_ANSWER));
}

#[test]
fn offset_fetch_10_names_logs_by_id() {
    use offset_fetch as ours;
    let sample = &all()[1];
    let read = ours::OffsetFetchRequest::decode(sample.reader(), 10).unwrap();
    let topics = ours::TopicQuery { name: "", id: ID, partitions: vec![0, 5] };
    let groups = vec![
        ours::GroupQuery {
            group: "g",
            member_id: Some("m"),
            member_epoch: 4,
            topics: Some(vec![topics]),
        },
        ours::GroupQuery { group: "h", member_id: None, member_epoch: -1, topics: None },
    ];
    assert_eq!(read, ours::OffsetFetchRequest { groups, require_stable: true });
    let known = ours::PartitionOffset {
        index: 0,
        offset: 7,
        leader_epoch: 2,
        metadata: "x".into(),
        error_code: 0,
    };
    let topics = ours::TopicOffsets {
        name: "t".into(),
        id: ID,
        partitions: vec![known, ours::PartitionOffset::none(5, 0)],
    };
    let answer = [
        ours::GroupOffsets { group: "g".into(), error_code: 0, topics: vec![topics] },
        ours::GroupOffsets { group: "h".into(), error_code: 30, topics: Vec::new() },
    ];
    let written = body(Api::OffsetFetch, 10, |w| ours::encode_response(w, 10, &answer));
    assert_eq!(written, bytes(OFFSET_FETCH_10_ANSWER));
}

#[test]
fn list_offsets_11_asks_for_what_is_to_be_tiered_away() {
    use list_offsets as ours;
    let sample = &all()[2];
    let read = ours::ListOffsetsRequest::decode(sample.reader(), 11).unwrap();
    let query = ours::PartitionQuery { index: 1, leader_epoch: 2, timestamp: -6 };
    let topics = vec![ours::TopicQuery { name: "t", partitions: vec![query] }];
    assert_eq!(read, ours::ListOffsetsRequest { isolation_level: 1, topics });
    let found = ours::PartitionOffset {
        index: 1,
        error_code: 0,
        timestamp: 1000,
        offset: 17,
        leader_epoch: 2,
    };
    let answer = [ours::TopicOffsets { name: "t".into(), partitions: vec![found] }];
    let written = body(Api::ListOffsets, 11, |w| ours::encode_response(w, 11, &answer));
    assert_eq!(written, bytes(LIST_OFFSETS_11_ANSWER));
}
