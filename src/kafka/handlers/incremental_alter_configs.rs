//! Carries out IncrementalAlterConfigs (KIP-339): single settings change. Part of `kafka/handlers`.

use crate::broker::logs::settings::change::{Edit, SettingsChange};
use crate::broker::logs::verbs::LogBroker;
use crate::kafka::codec::messages::alter_configs::encode_response;
use crate::kafka::codec::messages::incremental_alter_configs::{
    ChangedConfigs, ConfigChange, IncrementalAlterConfigsRequest, Operation,
};
use crate::kafka::codec::primitives::{DecodeError, Reader};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::handlers::alter_configs::{Changes, Refusal, no_value, twice};
use crate::kafka::handlers::{Context, Reply, Return};

pub(in crate::kafka) async fn answer<B: LogBroker>(
    context: &Context<B>,
    to: Return,
    reader: Reader<'_>,
) -> Result<Reply, DecodeError> {
    let request = IncrementalAlterConfigsRequest::decode(reader)?;
    let mut changes = Changes::default();
    for resource in &request.resources {
        changes.add(resource.resource_type, resource.name, edits(resource));
    }
    let Some(results) = changes.carry_out(context, request.validate_only).await else {
        return Ok(Reply::InDoubt);
    };
    Ok(to.answer(|writer, _| encode_response(writer, &results)))
}

fn edits(resource: &ChangedConfigs<'_>) -> Result<SettingsChange, Refusal> {
    let mut edits: Vec<(String, Edit)> = Vec::with_capacity(resource.changes.len());
    for change in &resource.changes {
        if edits.iter().any(|(name, _)| name == change.name) {
            return Err(twice(change.name));
        }
        edits.push((change.name.to_owned(), edit(change)?));
    }
    Ok(SettingsChange::Edit(edits))
}

fn edit(change: &ConfigChange<'_>) -> Result<Edit, Refusal> {
    let Some(operation) = change.operation() else {
        let reason = format!("{}: no operation has the number {}", change.name, change.operation);
        return Err((ErrorCode::InvalidRequest, reason));
    };
    let value = || change.value.map(str::to_owned).ok_or_else(|| no_value(change.name));
    Ok(match operation {
        Operation::Set => Edit::Set(value()?),
        Operation::Delete => Edit::Delete,
        Operation::Append => Edit::Append(value()?),
        Operation::Subtract => Edit::Subtract(value()?),
    })
}
