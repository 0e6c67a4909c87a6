//! Carries out AlterConfigs: what a log is not told falls back to its default. Part of `kafka/handlers`.

use std::collections::HashMap;

use crate::broker::logs::settings::change::SettingsChange;
use crate::broker::logs::verbs::{LogBroker, LogError};
use crate::kafka::codec::messages::alter_configs::{
    AlterConfigsRequest, AlteredResource, ReplacedConfigs, encode_response,
};
use crate::kafka::codec::messages::describe_configs::{
    RESOURCE_BROKER, RESOURCE_BROKER_LOGGER, RESOURCE_TOPIC,
};
use crate::kafka::codec::primitives::{DecodeError, Reader};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::handlers::{Context, Reply, Return};

/// A refusal: code and reason.
pub(super) type Refusal = (ErrorCode, String);

pub(in crate::kafka) async fn answer<B: LogBroker>(
    context: &Context<B>,
    to: Return,
    reader: Reader<'_>,
) -> Result<Reply, DecodeError> {
    let request = AlterConfigsRequest::decode(reader)?;
    let mut changes = Changes::default();
    for resource in &request.resources {
        changes.add(resource.resource_type, resource.name, replacement(resource));
    }
    let Some(results) = changes.carry_out(context, request.validate_only).await else {
        return Ok(Reply::InDoubt);
    };
    Ok(to.answer(|writer, _| encode_response(writer, &results)))
}

fn replacement(resource: &ReplacedConfigs<'_>) -> Result<SettingsChange, Refusal> {
    let mut all: Vec<(String, String)> = Vec::with_capacity(resource.configs.len());
    for (name, value) in &resource.configs {
        let Some(value) = value else { return Err(no_value(name)) };
        if all.iter().any(|(other, _)| other == name) {
            return Err(twice(name));
        }
        all.push(((*name).to_owned(), (*value).to_owned()));
    }
    Ok(SettingsChange::Replace(all))
}

pub(super) fn no_value(name: &str) -> Refusal {
    (ErrorCode::InvalidRequest, format!("{name} has no value"))
}

pub(super) fn twice(name: &str) -> Refusal {
    (ErrorCode::InvalidRequest, format!("{name} stands twice in the request"))
}

/// Changes of settings, by resource, in the order asked.
#[derive(Default)]
pub(super) struct Changes {
    all: Vec<(i8, String, Result<SettingsChange, Refusal>)>,
    seen: HashMap<(i8, String), usize>,
}

impl Changes {
    /// Adds what shall happen to a resource.
    pub(super) fn add(
        &mut self,
        resource_type: i8,
        name: &str,
        change: Result<SettingsChange, Refusal>,
    ) {
        *self.seen.entry((resource_type, name.to_owned())).or_default() += 1;
        self.all.push((resource_type, name.to_owned(), change));
    }

    /// Carries them out, one by one; `None` if one is in doubt.
    pub(super) async fn carry_out<B: LogBroker>(
        self,
        context: &Context<B>,
        validate_only: bool,
    ) -> Option<Vec<AlteredResource>> {
        let mut results = Vec::with_capacity(self.all.len());
        for (resource_type, name, change) in self.all {
            let key = (resource_type, name);
            let is_twice = self.seen.get(&key).is_some_and(|times| *times > 1);
            let (resource_type, name) = key;
            let change = if is_twice { Err(twice(&name)) } else { change };
            let change = of_log(resource_type).and(change);
            let done = match change {
                Err(refusal) => Err(refusal),
                Ok(change) => {
                    let (principal, broker) = (&context.principal, &context.shared.broker);
                    match broker.configure(principal, &name, change, validate_only).await {
                        Err(LogError::InDoubt) => return None,
                        done => done.map_err(|error| (ErrorCode::from(&error), error.to_string())),
                    }
                }
            };
            let (code, error_message) = match done {
                Ok(()) => (ErrorCode::None, None),
                Err((code, reason)) => (code, Some(reason)),
            };
            let error_code = code.code();
            results.push(AlteredResource { error_code, error_message, resource_type, name });
        }
        Some(results)
    }
}

/// Settings can be changed on logs alone.
fn of_log(resource_type: i8) -> Result<(), Refusal> {
    match resource_type {
        RESOURCE_TOPIC => Ok(()),
        RESOURCE_BROKER | RESOURCE_BROKER_LOGGER => Err((
            ErrorCode::PolicyViolation,
            "the broker's settings are those of its configuration file".to_owned(),
        )),
        other => Err((ErrorCode::InvalidRequest, format!("no settings of resource type {other}"))),
    }
}
