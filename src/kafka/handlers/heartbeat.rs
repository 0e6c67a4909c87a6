//! Answers Heartbeat. Part of `kafka/handlers`.

use crate::broker::groups::verbs::Membership;
use crate::broker::logs::verbs::LogBroker;
use crate::kafka::codec::messages::heartbeat::{HeartbeatRequest, encode_response};
use crate::kafka::codec::primitives::{DecodeError, Reader};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::handlers::{Context, Reply, Return};

pub(in crate::kafka) fn answer<B: LogBroker>(
    context: &Context<B>,
    to: Return,
    reader: Reader<'_>,
) -> Result<Reply, DecodeError> {
    let request = HeartbeatRequest::decode(reader, to.version)?;
    let who = Membership {
        group: request.group.to_owned(),
        generation: request.generation,
        member_id: request.member_id.to_owned(),
        instance_id: request.instance_id.map(str::to_owned),
    };
    let code = match context.shared.broker.heartbeat(&context.principal, &who) {
        Ok(()) => ErrorCode::None,
        Err(error) => ErrorCode::from(&error),
    };
    Ok(to.answer(|writer, version| encode_response(writer, version, code.code())))
}
