//! Answers Metadata: one broker, at the address that the client used. Part of `kafka/handlers`.
//!
//! A log asked for by a name that nobody has is created, if the client allows it and the configuration does; it
//! can be appended to when the answer leaves.

use crate::broker::logs::name::is_valid;
use crate::broker::logs::verbs::{CreateLog, LogBroker, LogDescription, LogError, LogRef};
use crate::kafka::codec::messages::metadata::{
    MetadataRequest, MetadataResponse, TopicMetadata, TopicRequest,
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
    let request = MetadataRequest::decode(reader, to.version)?;
    let config = &context.shared.config;
    let may_create = request.allow_auto_creation && config.auto_create;
    let broker = &*context.shared.broker;
    let topics = match request.topics {
        None => broker.list(&context.principal).into_iter().map(described).collect(),
        Some(asked) => {
            let mut topics = Vec::with_capacity(asked.len());
            for topic in asked {
                let found = find(context, topic, may_create).await;
                topics.push(match found {
                    Ok(log) => described(log),
                    Err(Miss::InDoubt) => return Ok(Reply::InDoubt),
                    Err(Miss::Code(code)) => missing(topic, code),
                });
            }
            topics
        }
    };
    let (host, port) = context.advertised();
    let response = MetadataResponse {
        node_id: NODE_ID,
        host: &host,
        port,
        cluster_id: &config.cluster_id,
        topics,
    };
    Ok(to.answer(|writer, version| response.encode(writer, version)))
}

/// Why a log is not described.
enum Miss {
    /// Its creation may or may not be durable.
    InDoubt,
    /// Anything else.
    Code(ErrorCode),
}

impl From<LogError> for Miss {
    fn from(error: LogError) -> Self {
        match error {
            LogError::InDoubt => Self::InDoubt,
            other => Self::Code(ErrorCode::from(&other)),
        }
    }
}

async fn find<B: LogBroker>(
    context: &Context<B>,
    topic: TopicRequest<'_>,
    may_create: bool,
) -> Result<LogDescription, Miss> {
    let broker = &*context.shared.broker;
    let principal = &context.principal;
    let Some(name) = topic.name else {
        let found = broker.describe(principal, LogRef::Uuid(topic.id));
        return found.map_err(|error| match error {
            LogError::UnknownLog => Miss::Code(ErrorCode::UnknownTopicId),
            other => other.into(),
        });
    };
    let found = broker.describe(principal, LogRef::Name(name));
    if found == Err(LogError::UnknownLog) && !is_valid(name) {
        return Err(LogError::InvalidName.into());
    }
    if found != Err(LogError::UnknownLog) || !may_create {
        return Ok(found?);
    }
    let log = CreateLog {
        name: name.to_owned(),
        partitions: None,
        config: Vec::new(),
        validate_only: false,
    };
    match broker.create(principal, log).await {
        // Another connection was faster; if its creation is not applied yet, the client asks again.
        Err(LogError::Exists) => match broker.describe(principal, LogRef::Name(name)) {
            Err(LogError::UnknownLog) => Err(Miss::Code(ErrorCode::LeaderNotAvailable)),
            found => Ok(found?),
        },
        created => Ok(created?),
    }
}

fn described(log: LogDescription) -> TopicMetadata {
    TopicMetadata {
        error_code: ErrorCode::None.code(),
        name: Some(log.name),
        id: log.uuid,
        leader_epochs: log.leader_epochs,
    }
}

fn missing(topic: TopicRequest<'_>, code: ErrorCode) -> TopicMetadata {
    TopicMetadata {
        error_code: code.code(),
        name: topic.name.map(str::to_owned),
        id: topic.id,
        leader_epochs: Vec::new(),
    }
}
