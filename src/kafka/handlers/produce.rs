//! Carries out Produce: submits at once, answers when durable. Part of `kafka/handlers`.
//!
//! acks 1 and −1 are the same promise here. acks 0 has no answer; if such a batch is refused, the connection is
//! closed, which is what Kafka does too.

use std::sync::Arc;

use crate::broker::logs::batch::check::BatchFault;
use crate::broker::logs::verbs::{Appended, LogBroker, LogError, LogRef};
use crate::kafka::codec::messages::produce::{
    PartitionData, PartitionOutcome, ProduceRequest, TopicData, TopicOutcome, encode_response,
};
use crate::kafka::codec::primitives::{DecodeError, Reader};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::handlers::{Context, Pending, Reply, Return};

/// How long a client shall wait whose batches the journal took last before it was full, ms: about as long as it takes
/// to have room again.
const THROTTLE_MS: i32 = 100;

/// A topic's batches under way.
struct Submitted<A> {
    name: String,
    id: [u8; 16],
    partitions: Vec<(i32, Result<A, LogError>)>,
}

/// Submits every batch of the request, in order; what is returned completes with the last of them.
pub(in crate::kafka) fn submit<B: LogBroker>(
    context: &Arc<Context<B>>,
    to: Return,
    reader: Reader<'_>,
) -> Result<Pending, DecodeError> {
    let request = ProduceRequest::decode(reader, to.version)?;
    if !matches!(request.acks, -1..=1) {
        let topics = refuse_all(&request, ErrorCode::InvalidRequiredAcks);
        let reply = to.answer(|writer, version| encode_response(writer, version, &topics, 0));
        return Ok(Box::pin(async move { reply }));
    }
    let submitted: Vec<Submitted<B::Ack>> = request
        .topics
        .iter()
        .map(|topic| Submitted {
            name: topic.name.to_owned(),
            id: topic.id,
            partitions: topic
                .partitions
                .iter()
                .map(|data| (data.index, append(context, log_ref(topic, to.version), data)))
                .collect(),
        })
        .collect();
    let acks = request.acks;
    let context = Arc::clone(context);
    Ok(Box::pin(async move {
        if acks == 0 { silent(submitted).await } else { answer(&context, to, submitted).await }
    }))
}

/// From version 13 logs are named by id.
fn log_ref<'a>(topic: &TopicData<'a>, version: i16) -> LogRef<'a> {
    if version >= 13 { LogRef::Uuid(topic.id) } else { LogRef::Name(topic.name) }
}

fn append<B: LogBroker>(
    context: &Context<B>,
    log: LogRef<'_>,
    data: &PartitionData<'_>,
) -> Result<B::Ack, LogError> {
    let partition = u32::try_from(data.index).map_err(|_| LogError::UnknownPartition)?;
    let batch = data.records.unwrap_or_default();
    context.shared.broker.append(&context.principal, log, partition, batch)
}

async fn answer<B: LogBroker>(
    context: &Context<B>,
    to: Return,
    submitted: Vec<Submitted<B::Ack>>,
) -> Reply {
    let mut topics = Vec::with_capacity(submitted.len());
    for topic in submitted {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for (index, ack) in topic.partitions {
            let done = match ack {
                Ok(ack) => ack.await,
                Err(error) => Err(error),
            };
            partitions.push(match done {
                Ok(appended) => PartitionOutcome {
                    index,
                    error_code: ErrorCode::None.code(),
                    base_offset: appended.base_offset,
                    append_time_ms: appended.append_time_ms.unwrap_or(-1),
                    log_start_offset: appended.log_start,
                    error_message: None,
                    record_error: None,
                },
                Err(LogError::InDoubt) => return Reply::InDoubt,
                Err(error) => {
                    let code = match error {
                        LogError::UnknownLog if to.version >= 13 => ErrorCode::UnknownTopicId,
                        ref other => ErrorCode::from(other),
                    };
                    let record_error = match error {
                        LogError::Batch(BatchFault::Record { index, flaw }) => {
                            Some((index, flaw.to_string()))
                        }
                        _ => None,
                    };
                    let refused = refused(index, code, Some(error.to_string()));
                    PartitionOutcome { record_error, ..refused }
                }
            });
        }
        topics.push(TopicOutcome { name: topic.name, id: topic.id, partitions });
    }
    // Clients of version 6 on keep silent for so long (KIP-219), which is better than being left unread.
    let throttle_ms = if context.shared.broker.is_full() { THROTTLE_MS } else { 0 };
    to.answer(|writer, version| encode_response(writer, version, &topics, throttle_ms))
}

async fn silent<A>(submitted: Vec<Submitted<A>>) -> Reply
where
    A: Future<Output = Result<Appended, LogError>>,
{
    for (_, ack) in submitted.into_iter().flat_map(|topic| topic.partitions) {
        let done = match ack {
            Ok(ack) => ack.await,
            Err(error) => Err(error),
        };
        match done {
            Ok(_) => {}
            Err(LogError::InDoubt) => return Reply::InDoubt,
            Err(error) => return Reply::Refused(error),
        }
    }
    Reply::Silent
}

fn refuse_all(request: &ProduceRequest<'_>, code: ErrorCode) -> Vec<TopicOutcome> {
    let topics = request.topics.iter();
    topics
        .map(|topic| TopicOutcome {
            name: topic.name.to_owned(),
            id: topic.id,
            partitions: topic.partitions.iter().map(|p| refused(p.index, code, None)).collect(),
        })
        .collect()
}

fn refused(index: i32, code: ErrorCode, error_message: Option<String>) -> PartitionOutcome {
    PartitionOutcome {
        index,
        error_code: code.code(),
        base_offset: -1,
        append_time_ms: -1,
        log_start_offset: -1,
        error_message,
        record_error: None,
    }
}
