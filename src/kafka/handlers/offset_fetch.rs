//! Answers OffsetFetch. Part of `kafka/handlers`.
//!
//! Nothing committed is no error: the offset is −1. There are no transactions, so every offset is stable.

use crate::broker::groups::verbs::{GroupError, LogName, LogOffsets};
use crate::broker::logs::verbs::{LogBroker, LogError};
use crate::kafka::codec::messages::offset_fetch::{
    GroupOffsets, GroupQuery, OffsetFetchRequest, PartitionOffset, TopicOffsets, TopicQuery,
    encode_response,
};
use crate::kafka::codec::primitives::{DecodeError, Reader};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::handlers::{Context, Reply, Return};

/// Logs are named by their id from this version on.
const IDS_FROM: i16 = 10;

pub(in crate::kafka) fn answer<B: LogBroker>(
    context: &Context<B>,
    to: Return,
    reader: Reader<'_>,
) -> Result<Reply, DecodeError> {
    let request = OffsetFetchRequest::decode(reader, to.version)?;
    let groups: Vec<GroupOffsets> =
        request.groups.iter().map(|query| fetch(context, query, to.version)).collect();
    Ok(to.answer(|writer, version| encode_response(writer, version, &groups)))
}

fn fetch<B: LogBroker>(context: &Context<B>, query: &GroupQuery<'_>, version: i16) -> GroupOffsets {
    let wanted = query.topics.as_ref().map(|topics| {
        let wanted = topics.iter().map(|topic| (name(topic, version), indexes(topic)));
        wanted.collect::<Vec<_>>()
    });
    let broker = &context.shared.broker;
    let found = broker.committed(&context.principal, query.group, wanted.as_deref());
    let (code, topics) = match (found, &query.topics) {
        (Ok(logs), Some(topics)) => {
            let found = topics.iter().zip(logs);
            (ErrorCode::None, found.map(|(topic, log)| asked(topic, log, version)).collect())
        }
        (Ok(logs), None) => (ErrorCode::None, logs.into_iter().map(all).collect()),
        // Version 1 has no place for it but at each partition.
        (Err(error), Some(topics)) if version < 2 => {
            let code = ErrorCode::from(&error);
            (code, topics.iter().map(|topic| refused(topic, code)).collect())
        }
        (Err(error), _) => (ErrorCode::from(&error), Vec::new()),
    };
    GroupOffsets { group: query.group.to_owned(), error_code: code.code(), topics }
}

fn name(topic: &TopicQuery<'_>, version: i16) -> LogName {
    if version >= IDS_FROM { LogName::Uuid(topic.id) } else { LogName::Name(topic.name.to_owned()) }
}

/// Partitions as they are counted; there is none below 0.
fn indexes(topic: &TopicQuery<'_>) -> Vec<u32> {
    topic.partitions.iter().filter_map(|index| u32::try_from(*index).ok()).collect()
}

fn asked(topic: &TopicQuery<'_>, log: LogOffsets, version: i16) -> TopicOffsets {
    let offsets = match log.offsets {
        Ok(offsets) => offsets,
        Err(error) => return refused(topic, code(&error, version)),
    };
    let mut offsets = offsets.into_iter();
    let partitions = topic.partitions.iter().map(|index| {
        let found = if *index < 0 { None } else { offsets.next() };
        found.map_or_else(
            || PartitionOffset::none(*index, 0),
            |found| PartitionOffset {
                index: *index,
                offset: found.offset,
                leader_epoch: found.leader_epoch,
                metadata: found.metadata,
                error_code: 0,
            },
        )
    });
    let partitions = partitions.collect();
    TopicOffsets { name: topic.name.to_owned(), id: topic.id, partitions }
}

fn all(log: LogOffsets) -> TopicOffsets {
    let offsets = log.offsets.unwrap_or_default().into_iter();
    let partitions = offsets.filter_map(|found| {
        Some(PartitionOffset {
            index: i32::try_from(found.partition).ok()?,
            offset: found.offset,
            leader_epoch: found.leader_epoch,
            metadata: found.metadata,
            error_code: 0,
        })
    });
    TopicOffsets { name: log.name, id: log.uuid, partitions: partitions.collect() }
}

fn refused(topic: &TopicQuery<'_>, code: ErrorCode) -> TopicOffsets {
    let partitions = topic.partitions.iter();
    let partitions = partitions.map(|index| PartitionOffset::none(*index, code.code())).collect();
    TopicOffsets { name: topic.name.to_owned(), id: topic.id, partitions }
}

fn code(error: &GroupError, version: i16) -> ErrorCode {
    match error {
        GroupError::Log(LogError::UnknownLog) if version >= IDS_FROM => ErrorCode::UnknownTopicId,
        other => ErrorCode::from(other),
    }
}
