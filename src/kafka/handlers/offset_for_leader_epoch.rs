//! Answers OffsetForLeaderEpoch (KIP-320). Part of `kafka/handlers`.
//!
//! A record is seen by nobody before it is durable, so no consumer has read what a restart takes back: a partition
//! has one leader epoch, and it ends with the log.

use crate::broker::logs::verbs::{LogBroker, LogRef};
use crate::kafka::codec::messages::offset_for_leader_epoch::{
    EpochEnd, OffsetForLeaderEpochRequest, PartitionEpoch, TopicEnds, encode_response,
};
use crate::kafka::codec::primitives::{DecodeError, Reader};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::handlers::list_offsets::check_epoch;
use crate::kafka::handlers::{Context, Reply, Return};

pub(in crate::kafka) fn answer<B: LogBroker>(
    context: &Context<B>,
    to: Return,
    reader: Reader<'_>,
) -> Result<Reply, DecodeError> {
    let request = OffsetForLeaderEpochRequest::decode(reader, to.version)?;
    let topics: Vec<TopicEnds> = request
        .topics
        .iter()
        .map(|topic| {
            let partitions = topic.partitions.iter().map(|asked| {
                find(context, topic.name, asked).unwrap_or_else(|code| EpochEnd {
                    index: asked.index,
                    error_code: code.code(),
                    leader_epoch: -1,
                    end_offset: -1,
                })
            });
            TopicEnds { name: topic.name.to_owned(), partitions: partitions.collect() }
        })
        .collect();
    Ok(to.answer(|writer, _| encode_response(writer, &topics)))
}

fn find<B: LogBroker>(
    context: &Context<B>,
    log: &str,
    asked: &PartitionEpoch,
) -> Result<EpochEnd, ErrorCode> {
    let index = u32::try_from(asked.index).map_err(|_| ErrorCode::UnknownTopicOrPartition)?;
    let (principal, broker) = (&context.principal, &context.shared.broker);
    let partition = broker
        .partition(principal, LogRef::Name(log), index)
        .map_err(|error| ErrorCode::from(&error))?;
    check_epoch(&partition, asked.current_leader_epoch)?;
    let current = partition.leader_epoch();
    // An epoch to come has no end yet, and there is none before the first.
    let (leader_epoch, end_offset) = match asked.leader_epoch {
        epoch if epoch == current => (current, partition.end()),
        epoch if (0..current).contains(&epoch) => (epoch, partition.log_start()),
        _ => (-1, -1),
    };
    Ok(EpochEnd {
        index: asked.index,
        error_code: ErrorCode::None.code(),
        leader_epoch,
        end_offset,
    })
}
