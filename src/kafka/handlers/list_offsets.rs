//! Answers ListOffsets. Part of `kafka/handlers`.

use crate::broker::logs::lookup::OffsetQuery;
use crate::broker::logs::partition::Partition;
use crate::broker::logs::verbs::{LogBroker, LogError, LogRef};
use crate::kafka::codec::messages::list_offsets::{
    ListOffsetsRequest, PartitionOffset, PartitionQuery, TopicOffsets, encode_response,
};
use crate::kafka::codec::primitives::{DecodeError, Reader};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::handlers::{Context, Reply, Return};

pub(in crate::kafka) async fn answer<B: LogBroker>(
    context: &Context<B>,
    to: Return,
    reader: Reader<'_>,
) -> Result<Reply, DecodeError> {
    let request = ListOffsetsRequest::decode(reader, to.version)?;
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for query in &topic.partitions {
            let found = look_up(context, topic.name, query, to.version);
            partitions.push(found.unwrap_or_else(|code| nothing(query.index, code)));
            if is_search(query.timestamp) {
                // Each may have read and unpacked a batch, and there may be thousands: others on this thread go on.
                tokio::task::yield_now().await;
            }
        }
        topics.push(TopicOffsets { name: topic.name.to_owned(), partitions });
    }
    Ok(to.answer(|writer, version| encode_response(writer, version, &topics)))
}

fn look_up<B: LogBroker>(
    context: &Context<B>,
    log: &str,
    query: &PartitionQuery,
    version: i16,
) -> Result<PartitionOffset, ErrorCode> {
    let index = u32::try_from(query.index).map_err(|_| ErrorCode::UnknownTopicOrPartition)?;
    let broker = &context.shared.broker;
    let partition = broker
        .partition(&context.principal, LogRef::Name(log), index)
        .map_err(|error: LogError| ErrorCode::from(&error))?;
    check_epoch(&partition, query.leader_epoch)?;
    let Some(question) = question(query.timestamp, version)? else {
        return Ok(nothing(query.index, ErrorCode::None));
    };
    match partition.find(question) {
        Ok(Some(found)) => Ok(PartitionOffset {
            index: query.index,
            error_code: ErrorCode::None.code(),
            timestamp: found.timestamp_ms.unwrap_or(-1),
            offset: found.offset,
            leader_epoch: partition.leader_epoch(),
        }),
        Ok(None) => Ok(nothing(query.index, ErrorCode::None)),
        Err(error) => Err(ErrorCode::from(&error)),
    }
}

/// What a timestamp asks for; `None` for what was or will be tiered away, since nothing is.
fn question(timestamp: i64, version: i16) -> Result<Option<OffsetQuery>, ErrorCode> {
    match timestamp {
        0.. => Ok(Some(OffsetQuery::AtOrAfter(timestamp))),
        -1 => Ok(Some(OffsetQuery::End)),
        -2 => Ok(Some(OffsetQuery::Start)),
        -3 if version >= 7 => Ok(Some(OffsetQuery::Newest)),
        -4 if version >= 8 => Ok(Some(OffsetQuery::Start)),
        -5 if version >= 9 => Ok(None),
        -6 if version >= 11 => Ok(None),
        _ => Err(ErrorCode::UnsupportedVersion),
    }
}

/// Whether records are looked into for what a timestamp asks.
fn is_search(timestamp: i64) -> bool {
    timestamp >= 0 || timestamp == -3
}

/// Checks the leader epoch that a client believes in (KIP-320); −1 believes nothing.
pub(super) fn check_epoch(partition: &Partition, believed: i32) -> Result<(), ErrorCode> {
    let current = partition.leader_epoch();
    if believed == -1 || believed == current {
        Ok(())
    } else if believed < current {
        Err(ErrorCode::FencedLeaderEpoch)
    } else {
        Err(ErrorCode::UnknownLeaderEpoch)
    }
}

fn nothing(index: i32, code: ErrorCode) -> PartitionOffset {
    PartitionOffset { index, error_code: code.code(), timestamp: -1, offset: -1, leader_epoch: -1 }
}
