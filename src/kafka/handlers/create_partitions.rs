//! Carries out CreatePartitions. Part of `kafka/handlers`. What was answered can be appended to at once.

use std::collections::HashMap;

use crate::broker::logs::verbs::{LogBroker, LogError, LogRef};
use crate::kafka::codec::messages::create_partitions::{
    CreatePartitionsRequest, GrownTopic, TopicGrown, encode_response,
};
use crate::kafka::codec::primitives::{DecodeError, Reader};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::handlers::{Context, Reply, Return};
use crate::kafka::service::NODE_ID;

pub(in crate::kafka) async fn answer<B: LogBroker>(
    context: &Context<B>,
    to: Return,
    reader: Reader<'_>,
) -> Result<Reply, DecodeError> {
    let request = CreatePartitionsRequest::decode(reader)?;
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for topic in &request.topics {
        *seen.entry(topic.name).or_default() += 1;
    }
    let mut results = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let is_twice = seen.get(topic.name).is_some_and(|times| *times > 1);
        let checked = match prepare(context, topic) {
            _ if is_twice => {
                Err((ErrorCode::InvalidRequest, "the topic stands twice in the request".to_owned()))
            }
            checked => checked,
        };
        let done = match checked {
            Err(refusal) => Err(refusal),
            Ok(count) => {
                let (principal, broker) = (&context.principal, &context.shared.broker);
                match broker.grow(principal, topic.name, count, request.validate_only).await {
                    Ok(()) => Ok(()),
                    Err(LogError::InDoubt) => return Ok(Reply::InDoubt),
                    Err(error) => Err((ErrorCode::from(&error), error.to_string())),
                }
            }
        };
        let (code, error_message) = match done {
            Ok(()) => (ErrorCode::None, None),
            Err((code, reason)) => (code, Some(reason)),
        };
        let error_code = code.code();
        results.push(TopicGrown { name: topic.name.to_owned(), error_code, error_message });
    }
    Ok(to.answer(|writer, _| encode_response(writer, &results)))
}

/// Checks the request itself; returns the number of partitions that is asked for.
fn prepare<B: LogBroker>(
    context: &Context<B>,
    topic: &GrownTopic<'_>,
) -> Result<u32, (ErrorCode, String)> {
    let known = context.shared.broker.describe(&context.principal, LogRef::Name(topic.name));
    let known = known.map_err(|error| (ErrorCode::from(&error), error.to_string()))?;
    let before = known.leader_epochs.len();
    let count = u32::try_from(topic.count).unwrap_or(0);
    let added = usize::try_from(count).unwrap_or(usize::MAX).saturating_sub(before);
    if added == 0 {
        let reason = format!("the topic has {before} partitions: {} is not more", topic.count);
        return Err((ErrorCode::InvalidPartitions, reason));
    }
    let Some(assignments) = &topic.assignments else { return Ok(count) };
    if assignments.len() != added {
        let reason = format!("{added} partitions are new, {} are assigned", assignments.len());
        return Err((ErrorCode::InvalidReplicaAssignment, reason));
    }
    if assignments.iter().any(|brokers| brokers != &[NODE_ID]) {
        let reason = format!("each partition must be on the one broker, {NODE_ID}");
        return Err((ErrorCode::InvalidReplicaAssignment, reason));
    }
    Ok(count)
}
