//! Answers OffsetCommit, when the offsets are durable. Part of `kafka/handlers`.
//!
//! There is no place for an error about the group: each partition gets it. The retention time that versions 2 to 4
//! carry is the broker's affair, as in Kafka since 2.1.

use crate::broker::groups::verbs::{GroupError, LogCommit, LogName, Membership, OffsetToCommit};
use crate::broker::logs::verbs::{LogBroker, LogError};
use crate::kafka::codec::messages::offset_commit::{
    OffsetCommitRequest, TopicCommit, TopicCommitted, encode_response,
};
use crate::kafka::codec::primitives::{DecodeError, Reader};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::handlers::{Context, Reply, Return};

/// Logs are named by their id from this version on.
const IDS_FROM: i16 = 10;
/// Clients know of groups that there are not from this version on.
const UNKNOWN_GROUP_FROM: i16 = 9;

pub(in crate::kafka) async fn answer<B: LogBroker>(
    context: &Context<B>,
    to: Return,
    reader: Reader<'_>,
) -> Result<Reply, DecodeError> {
    let request = OffsetCommitRequest::decode(reader, to.version)?;
    let who = Membership {
        group: request.group.to_owned(),
        generation: request.generation,
        member_id: request.member_id.to_owned(),
        instance_id: request.instance_id.map(str::to_owned),
    };
    let logs = request.topics.iter().map(|topic| commit(topic, to.version)).collect();
    let committed = match context.shared.broker.commit(&context.principal, &who, logs).await {
        Err(GroupError::InDoubt) => return Ok(Reply::InDoubt),
        Err(error) => refuse_all(&request.topics, code(&error, to.version)),
        Ok(verdicts) => {
            let topics = request.topics.iter().zip(verdicts);
            topics.map(|(topic, verdicts)| committed(topic, &verdicts, to.version)).collect()
        }
    };
    Ok(to.answer(|writer, version| encode_response(writer, version, &committed)))
}

fn commit(topic: &TopicCommit<'_>, version: i16) -> LogCommit {
    let log = if version >= IDS_FROM {
        LogName::Uuid(topic.id)
    } else {
        LogName::Name(topic.name.to_owned())
    };
    let offsets = topic.partitions.iter().filter_map(|asked| {
        Some(OffsetToCommit {
            partition: u32::try_from(asked.index).ok()?,
            offset: asked.offset,
            leader_epoch: asked.leader_epoch,
            metadata: asked.metadata.unwrap_or_default().to_owned(),
        })
    });
    LogCommit { log, offsets: offsets.collect() }
}

fn committed(
    topic: &TopicCommit<'_>,
    verdicts: &[Result<(), GroupError>],
    version: i16,
) -> TopicCommitted {
    let mut verdicts = verdicts.iter();
    let partitions = topic.partitions.iter().map(|asked| {
        // A negative partition was not asked about.
        let verdict = if asked.index < 0 { None } else { verdicts.next() };
        let code = match verdict {
            Some(Ok(())) => ErrorCode::None,
            Some(Err(error)) => code(error, version),
            None => ErrorCode::UnknownTopicOrPartition,
        };
        (asked.index, code.code())
    });
    let partitions = partitions.collect();
    TopicCommitted { name: topic.name.to_owned(), id: topic.id, partitions }
}

fn refuse_all(topics: &[TopicCommit<'_>], code: ErrorCode) -> Vec<TopicCommitted> {
    let refused = topics.iter().map(|topic| TopicCommitted {
        name: topic.name.to_owned(),
        id: topic.id,
        partitions: topic.partitions.iter().map(|asked| (asked.index, code.code())).collect(),
    });
    refused.collect()
}

fn code(error: &GroupError, version: i16) -> ErrorCode {
    match error {
        GroupError::UnknownGroup if version < UNKNOWN_GROUP_FROM => ErrorCode::IllegalGeneration,
        GroupError::Log(LogError::UnknownLog) if version >= IDS_FROM => ErrorCode::UnknownTopicId,
        other => ErrorCode::from(other),
    }
}
