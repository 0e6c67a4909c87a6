//! Answers DescribeConfigs: the settings of logs, and those of the broker that tools look for. Part of
//! `kafka/handlers`.

use crate::broker::logs::name::is_valid;
use crate::broker::logs::settings::known::Kind;
use crate::broker::logs::settings::listed::{Setting, Source, listed};
use crate::broker::logs::verbs::{LogBroker, LogError, LogRef};
use crate::kafka::codec::messages::create_topics::{SOURCE_DEFAULT, SOURCE_TOPIC};
use crate::kafka::codec::messages::describe_configs::{
    ConfigType, DescribeConfigsRequest, DescribedConfig, DescribedResource, RESOURCE_BROKER,
    RESOURCE_TOPIC, Resource, SOURCE_BROKER, Synonym, encode_response,
};
use crate::kafka::codec::primitives::{DecodeError, Reader};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::handlers::{Context, Reply, Return};
use crate::kafka::service::NODE_ID;

pub(in crate::kafka) fn answer<B: LogBroker>(
    context: &Context<B>,
    to: Return,
    reader: Reader<'_>,
) -> Result<Reply, DecodeError> {
    let request = DescribeConfigsRequest::decode(reader, to.version)?;
    let resources: Vec<DescribedResource> = request
        .resources
        .iter()
        .map(|resource| {
            let (code, error_message, configs) = match describe(context, resource) {
                Ok(mut configs) => {
                    configs.iter_mut().for_each(|config| trim(config, &request));
                    (ErrorCode::None, None, configs)
                }
                Err((code, reason)) => (code, Some(reason), Vec::new()),
            };
            DescribedResource {
                error_code: code.code(),
                error_message,
                resource_type: resource.resource_type,
                name: resource.name.to_owned(),
                configs,
            }
        })
        .collect();
    Ok(to.answer(|writer, version| encode_response(writer, version, &resources)))
}

/// Takes out what was not asked for.
fn trim(config: &mut DescribedConfig, request: &DescribeConfigsRequest<'_>) {
    if !request.include_synonyms {
        config.synonyms.clear();
    }
    if !request.include_documentation {
        config.documentation = None;
    }
}

fn describe<B: LogBroker>(
    context: &Context<B>,
    resource: &Resource<'_>,
) -> Result<Vec<DescribedConfig>, (ErrorCode, String)> {
    let broker = &context.shared.broker;
    let mut configs = match resource.resource_type {
        RESOURCE_TOPIC => {
            if !is_valid(resource.name) {
                let error = LogError::InvalidName;
                return Err((ErrorCode::from(&error), error.to_string()));
            }
            let settings = broker.settings(&context.principal, LogRef::Name(resource.name));
            let settings =
                settings.map_err(|error| (ErrorCode::from(&error), error.to_string()))?;
            settings.into_iter().map(of_log).collect()
        }
        RESOURCE_BROKER => {
            let is_this = resource.name.is_empty() || resource.name.parse() == Ok(NODE_ID);
            if !is_this {
                let reason = format!("the one broker is {NODE_ID}, not {}", resource.name);
                return Err((ErrorCode::InvalidRequest, reason));
            }
            // The empty name asks for what was changed while running, for all brokers: nothing can be.
            if resource.name.is_empty() { Vec::new() } else { of_broker(context) }
        }
        other => {
            let reason = format!("no settings of resource type {other}");
            return Err((ErrorCode::InvalidRequest, reason));
        }
    };
    if let Some(keys) = &resource.keys {
        configs.retain(|config| keys.contains(&&*config.name));
    }
    Ok(configs)
}

fn of_log(setting: Setting) -> DescribedConfig {
    let known = setting.known;
    let mut synonyms = Vec::with_capacity(2);
    if setting.source == Source::Log {
        synonyms.push(Synonym {
            name: known.name.to_owned(),
            value: Some(setting.value.clone()),
            source: SOURCE_TOPIC,
        });
    }
    if !known.broker_name.is_empty() {
        synonyms.push(Synonym {
            name: known.broker_name.to_owned(),
            value: Some(setting.default),
            source: source(setting.default_source),
        });
    }
    DescribedConfig {
        name: known.name.to_owned(),
        value: Some(setting.value),
        read_only: false,
        source: source(setting.source),
        sensitive: false,
        synonyms,
        config_type: config_type(known.kind),
        documentation: Some(known.doc.to_owned()),
    }
}

pub(super) fn source(source: Source) -> i8 {
    match source {
        Source::Log => SOURCE_TOPIC,
        Source::Broker => SOURCE_BROKER,
        Source::Default => SOURCE_DEFAULT,
    }
}

fn config_type(kind: Kind) -> ConfigType {
    match kind {
        Kind::Boolean => ConfigType::Boolean,
        Kind::Text => ConfigType::String,
        Kind::Int => ConfigType::Int,
        Kind::Long => ConfigType::Long,
        Kind::Double => ConfigType::Double,
        Kind::List => ConfigType::List,
    }
}

/// What the configuration says that tools ask a broker for, under Kafka's names; nothing of it can be changed from
/// here.
fn of_broker<B: LogBroker>(context: &Context<B>) -> Vec<DescribedConfig> {
    let (defaults, config) = (context.shared.broker.defaults(), &context.shared.config);
    let of_logs = listed(&defaults.settings, &[]).into_iter();
    let mut configs: Vec<DescribedConfig> = of_logs
        .filter(|setting| !setting.known.broker_name.is_empty())
        .map(|setting| {
            let kind = setting.kind();
            fixed(setting.known.broker_name, setting.value, kind, setting.known.doc)
        })
        .collect();
    let check_ms = defaults.retention_check_ms.to_string();
    let (host, port) = context.advertised();
    let own = [
        ("auto.create.topics.enable", config.auto_create.to_string(), Kind::Boolean, ""),
        ("advertised.listeners", format!("PLAINTEXT://{host}:{port}"), Kind::List, ""),
        ("broker.id", NODE_ID.to_string(), Kind::Int, ""),
        ("default.replication.factor", "1".to_owned(), Kind::Int, "There is one replica."),
        ("delete.topic.enable", "true".to_owned(), Kind::Boolean, ""),
        ("fetch.max.bytes", config.fetch_bytes_max.to_string(), Kind::Int, ""),
        ("log.retention.check.interval.ms", check_ms, Kind::Long, ""),
        ("node.id", NODE_ID.to_string(), Kind::Int, ""),
        ("num.partitions", defaults.partitions.to_string(), Kind::Int, ""),
        ("offsets.topic.replication.factor", "1".to_owned(), Kind::Int, "There is one replica."),
        ("socket.request.max.bytes", config.request_bytes_max.to_string(), Kind::Int, ""),
    ];
    configs.extend(own.map(|(name, value, kind, doc)| fixed(name, value, kind, doc)));
    configs.sort_by(|a, b| a.name.cmp(&b.name));
    configs
}

fn fixed(name: &str, value: String, kind: Kind, doc: &str) -> DescribedConfig {
    let synonym =
        Synonym { name: name.to_owned(), value: Some(value.clone()), source: SOURCE_BROKER };
    DescribedConfig {
        name: name.to_owned(),
        value: Some(value),
        read_only: true,
        source: SOURCE_BROKER,
        sensitive: false,
        synonyms: vec![synonym],
        config_type: config_type(kind),
        documentation: (!doc.is_empty()).then(|| doc.to_owned()),
    }
}
