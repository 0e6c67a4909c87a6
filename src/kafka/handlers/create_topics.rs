//! Carries out CreateTopics. Part of `kafka/handlers`. A log that was answered can be appended to at once.

use std::collections::HashMap;

use crate::broker::logs::settings::LogSettings;
use crate::broker::logs::settings::listed::listed;
use crate::broker::logs::verbs::{CreateLog, LogBroker, LogDescription, LogError};
use crate::kafka::codec::messages::create_topics::{
    CreateTopicsRequest, CreatedConfig, NewTopic, TopicResult, encode_response,
};
use crate::kafka::codec::primitives::{DecodeError, Reader};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::handlers::describe_configs::source;
use crate::kafka::handlers::{Context, Reply, Return};
use crate::kafka::service::NODE_ID;

/// A refusal: code and reason.
type Refusal = (ErrorCode, String);

pub(in crate::kafka) async fn answer<B: LogBroker>(
    context: &Context<B>,
    to: Return,
    reader: Reader<'_>,
) -> Result<Reply, DecodeError> {
    let request = CreateTopicsRequest::decode(reader)?;
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for topic in &request.topics {
        *seen.entry(topic.name).or_default() += 1;
    }
    let defaults = context.shared.broker.defaults().settings;
    let mut results = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let prepared = if seen.get(topic.name).is_some_and(|times| *times > 1) {
            Err((ErrorCode::InvalidRequest, "the name stands twice in the request".to_owned()))
        } else {
            prepare(topic, request.validate_only, context)
        };
        let done = match prepared {
            Err(refusal) => Err(refusal),
            Ok(log) => match context.shared.broker.create(&context.principal, log).await {
                Ok(log) => Ok(log),
                Err(LogError::InDoubt) => return Ok(Reply::InDoubt),
                Err(error) => Err((ErrorCode::from(&error), error.to_string())),
            },
        };
        results.push(match done {
            Ok(log) => created(log, &defaults),
            Err(refusal) => refused(topic.name, refusal),
        });
    }
    Ok(to.answer(|writer, version| encode_response(writer, version, &results)))
}

fn prepare<B>(
    topic: &NewTopic<'_>,
    validate_only: bool,
    context: &Context<B>,
) -> Result<CreateLog, Refusal> {
    let partitions = if topic.assignments.is_empty() {
        check_replicas(topic, context.shared.config.any_replication_factor)?;
        count(topic.partitions)?
    } else {
        Some(assigned(topic)?)
    };
    let mut config = Vec::with_capacity(topic.configs.len());
    for (name, value) in &topic.configs {
        let Some(value) = value else {
            return Err((ErrorCode::InvalidConfig, format!("{name} has no value")));
        };
        config.push(((*name).to_owned(), (*value).to_owned()));
    }
    Ok(CreateLog { name: topic.name.to_owned(), partitions, config, validate_only })
}

fn check_replicas(topic: &NewTopic<'_>, any: bool) -> Result<(), Refusal> {
    let factor = topic.replication_factor;
    let allowed = factor == 1 || factor == -1 || (any && factor > 0);
    if allowed {
        return Ok(());
    }
    let reason = format!("a replication factor of {factor} on one broker");
    Err((ErrorCode::InvalidReplicationFactor, reason))
}

/// The number asked for, or `None` for the default. KIP-464 speaks of version 4, but kafkajs asks so at 3, and Apache
/// Kafka answers it.
fn count(partitions: i32) -> Result<Option<u32>, Refusal> {
    if partitions == -1 {
        return Ok(None);
    }
    match u32::try_from(partitions) {
        Ok(count) if count > 0 => Ok(Some(count)),
        Ok(_) | Err(_) => {
            Err((ErrorCode::InvalidPartitions, "there must be at least one partition".to_owned()))
        }
    }
}

/// The number of partitions that explicit assignments make; each must name this broker alone.
fn assigned(topic: &NewTopic<'_>) -> Result<u32, Refusal> {
    if topic.partitions != -1 || topic.replication_factor != -1 {
        let reason = "with assignments, partitions and replication factor must be -1";
        return Err((ErrorCode::InvalidRequest, reason.to_owned()));
    }
    let mut indexes: Vec<i32> = topic.assignments.iter().map(|a| a.partition).collect();
    indexes.sort_unstable();
    let consecutive = (0..).zip(&indexes).all(|(expected, index)| *index == expected);
    let here = topic.assignments.iter().all(|a| a.brokers == [NODE_ID]);
    match u32::try_from(indexes.len()) {
        Ok(count) if consecutive && here => Ok(count),
        Ok(_) | Err(_) => Err((
            ErrorCode::InvalidReplicaAssignment,
            "partitions must be numbered from 0, each on this one broker".to_owned(),
        )),
    }
}

fn created(log: LogDescription, defaults: &LogSettings) -> TopicResult {
    let configs = listed(defaults, &log.config)
        .into_iter()
        .map(|setting| CreatedConfig {
            name: setting.known.name.to_owned(),
            value: setting.value,
            source: source(setting.source),
        })
        .collect();
    TopicResult {
        name: log.name,
        id: log.uuid,
        error_code: ErrorCode::None.code(),
        error_message: None,
        partitions: i32::try_from(log.leader_epochs.len()).unwrap_or(i32::MAX),
        replication_factor: 1,
        configs,
    }
}

fn refused(name: &str, (code, reason): Refusal) -> TopicResult {
    TopicResult {
        name: name.to_owned(),
        id: [0; 16],
        error_code: code.code(),
        error_message: Some(reason),
        partitions: -1,
        replication_factor: -1,
        configs: Vec::new(),
    }
}
