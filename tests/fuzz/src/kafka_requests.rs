//! Any bytes as a Kafka client's stream, and as the body of every request at every version: decoding succeeds or
//! fails, and the stream means the same however it is cut.

use std::hint::black_box;

use rialto::kafka::codec::api::{Api, LAYOUTS};
use rialto::kafka::codec::messages::{
    alter_configs, api_versions, create_partitions, create_topics, delete_groups, delete_records,
    delete_topics, describe_cluster, describe_configs, describe_groups, fetch, find_coordinator,
    heartbeat, incremental_alter_configs, init_producer_id, join_group, leave_group, list_groups,
    list_offsets, metadata, offset_commit, offset_delete, offset_fetch, offset_for_leader_epoch,
    produce, sync_group,
};
use rialto::kafka::codec::primitives::{DecodeError, Reader};
use rialto::kafka::connection::{Connection, ConnectionFault, Step};

/// The first byte chooses: a stream, or the body of one request.
pub fn run(data: &[u8]) {
    let Some((kind, rest)) = super::split_first(data) else { return };
    if kind == 0 {
        let Some((cut, bytes)) = super::split_first(rest) else { return };
        let pieces = usize::from(cut) % 61 + 1;
        assert_eq!(stream(bytes, bytes.len().max(1)), stream(bytes, pieces));
        return;
    }
    let Some((version, body)) = super::split_first(rest) else { return };
    let range = &LAYOUTS[usize::from(kind) % LAYOUTS.len()];
    let version = range.min + i16::from(version) % (range.max - range.min + 1);
    let flexible = range.is_flexible(version);
    black_box(decode(range.api, version, Reader::new(body, flexible))).ok();
}

/// The requests of a stream that arrives in `pieces`, and how it ended.
fn stream(bytes: &[u8], pieces: usize) -> (Vec<String>, Option<String>) {
    let mut connection = Connection::new(1 << 20, 1 << 18);
    let (mut tail, mut seen) = (Vec::new(), Vec::new());
    for piece in bytes.chunks(pieces) {
        tail.extend_from_slice(piece);
        loop {
            let used = match connection.next(&tail) {
                Ok(Step::More { total }) => {
                    assert!(total > tail.len(), "{total} bytes are there");
                    break;
                }
                Ok(Step::Request(request)) => {
                    let (api, version) = (request.range.api, request.header.api_version);
                    let body = decode(api, version, request.body);
                    seen.push(format!("{:?} {body:?}", request.header));
                    request.consumed
                }
                Ok(Step::FutureApiVersions { correlation_id, consumed }) => {
                    seen.push(format!("future {correlation_id}"));
                    consumed
                }
                // Which limit it is depends on how much of the request has come.
                Err(ConnectionFault::TooLarge { bytes, .. }) => {
                    return (seen, Some(format!("{bytes} bytes are too many")));
                }
                Err(fault) => return (seen, Some(fault.to_string())),
            };
            assert!(used <= tail.len());
            tail.drain(..used);
        }
    }
    (seen, None)
}

fn decode(api: Api, v: i16, r: Reader<'_>) -> Result<(), DecodeError> {
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
