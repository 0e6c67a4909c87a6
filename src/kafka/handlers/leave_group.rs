//! Answers LeaveGroup. Part of `kafka/handlers`.

use crate::broker::groups::verbs::Leaving;
use crate::broker::logs::verbs::LogBroker;
use crate::kafka::codec::messages::leave_group::{LeaveGroupRequest, LeftMember, encode_response};
use crate::kafka::codec::primitives::{DecodeError, Reader};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::handlers::{Context, Reply, Return};

pub(in crate::kafka) fn answer<B: LogBroker>(
    context: &Context<B>,
    to: Return,
    reader: Reader<'_>,
) -> Result<Reply, DecodeError> {
    let request = LeaveGroupRequest::decode(reader, to.version)?;
    let leaving: Vec<Leaving> = request
        .members
        .iter()
        .map(|member| Leaving {
            member_id: member.member_id.to_owned(),
            instance_id: member.instance_id.map(str::to_owned),
            reason: member.reason.map(str::to_owned),
        })
        .collect();
    let done = context.shared.broker.leave(&context.principal, request.group, &leaving);
    let (code, left) = match done {
        Err(error) => (ErrorCode::from(&error), Vec::new()),
        Ok(outcomes) => {
            let left = leaving.into_iter().zip(outcomes).map(|(member, outcome)| LeftMember {
                member_id: member.member_id,
                instance_id: member.instance_id,
                error_code: outcome.err().map_or(0, |error| ErrorCode::from(&error).code()),
            });
            (ErrorCode::None, left.collect())
        }
    };
    Ok(to.answer(|writer, version| encode_response(writer, version, code.code(), &left)))
}
