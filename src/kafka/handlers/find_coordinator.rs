//! Answers FindCoordinator: this broker, always ready. Part of `kafka/handlers`.

use crate::broker::logs::verbs::LogBroker;
use crate::kafka::codec::messages::find_coordinator::{
    Coordinator, FindCoordinatorRequest, KEY_GROUP, KEY_TRANSACTION, encode_response,
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
    let request = FindCoordinatorRequest::decode(reader, to.version)?;
    let found: Vec<Coordinator> =
        request.keys.iter().map(|key| find(context, request.key_type, key)).collect();
    Ok(to.answer(|writer, version| encode_response(writer, version, &found)))
}

fn find<B: LogBroker>(context: &Context<B>, key_type: i8, key: &str) -> Coordinator {
    let refusal = match key_type {
        KEY_GROUP => match context.shared.broker.may_use(&context.principal, key) {
            Ok(()) => None,
            Err(error) => Some((ErrorCode::from(&error), error.to_string())),
        },
        // Nothing that a client takes for passing: it would ask again for ever.
        KEY_TRANSACTION => {
            Some((ErrorCode::InvalidRequest, "transactions are not served".to_owned()))
        }
        _ => {
            Some((ErrorCode::InvalidRequest, "coordinators of this kind are not served".to_owned()))
        }
    };
    let key = key.to_owned();
    match refusal {
        Some((code, message)) => Coordinator {
            key,
            node_id: -1,
            host: String::new(),
            port: -1,
            error_code: code.code(),
            error_message: Some(message),
        },
        None => {
            let (host, port) = context.advertised();
            Coordinator {
                key,
                node_id: NODE_ID,
                host,
                port: port.into(),
                error_code: ErrorCode::None.code(),
                error_message: None,
            }
        }
    }
}
