//! Carries out DeleteTopics. Part of `kafka/handlers`. What was answered is out of sight for everybody, and its name
//! may be given again at once.

use std::collections::HashMap;

use crate::broker::logs::verbs::{LogBroker, LogError, LogRef};
use crate::kafka::codec::messages::delete_topics::{
    DeleteTopicsRequest, DoomedTopic, TopicDeleted, encode_response,
};
use crate::kafka::codec::primitives::{DecodeError, Reader};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::handlers::{Context, Reply, Return};

/// The id of a log that is named by name.
const NO_ID: [u8; 16] = [0; 16];

pub(in crate::kafka) async fn answer<B: LogBroker>(
    context: &Context<B>,
    to: Return,
    reader: Reader<'_>,
) -> Result<Reply, DecodeError> {
    let request = DeleteTopicsRequest::decode(reader, to.version)?;
    let mut seen: HashMap<(Option<&str>, [u8; 16]), usize> = HashMap::new();
    for topic in &request.topics {
        *seen.entry((topic.name, topic.id)).or_default() += 1;
    }
    let mut results = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let result = if seen.get(&(topic.name, topic.id)).is_some_and(|times| *times > 1) {
            Err((ErrorCode::InvalidRequest, "the topic stands twice in the request".to_owned()))
        } else {
            match delete(context, topic).await {
                Err(LogError::InDoubt) => return Ok(Reply::InDoubt),
                Ok(deleted) => Ok(deleted),
                Err(error) => Err((code(topic, &error), error.to_string())),
            }
        };
        results.push(match result {
            Ok((name, id)) => TopicDeleted {
                name: Some(name),
                id,
                error_code: ErrorCode::None.code(),
                error_message: None,
            },
            Err((code, reason)) => TopicDeleted {
                name: topic.name.map(str::to_owned),
                id: topic.id,
                error_code: code.code(),
                error_message: Some(reason),
            },
        });
    }
    Ok(to.answer(|writer, version| encode_response(writer, version, &results)))
}

/// Deletes a log; returns its name and id.
async fn delete<B: LogBroker>(
    context: &Context<B>,
    topic: &DoomedTopic<'_>,
) -> Result<(String, [u8; 16]), LogError> {
    let log = match topic.name {
        Some(name) if topic.id == NO_ID => LogRef::Name(name),
        Some(_) => return Err(LogError::InvalidName),
        None => LogRef::Uuid(topic.id),
    };
    let broker = &context.shared.broker;
    let known = broker.describe(&context.principal, log)?;
    // By its id: another log may have got the name meanwhile.
    broker.delete(&context.principal, LogRef::Uuid(known.uuid)).await?;
    Ok((known.name, known.uuid))
}

fn code(topic: &DoomedTopic<'_>, error: &LogError) -> ErrorCode {
    match error {
        LogError::UnknownLog if topic.name.is_none() => ErrorCode::UnknownTopicId,
        // Named by both, name and id.
        LogError::InvalidName => ErrorCode::InvalidRequest,
        error => ErrorCode::from(error),
    }
}
