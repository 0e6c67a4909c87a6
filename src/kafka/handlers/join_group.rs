//! Answers JoinGroup, when the generation is formed. Part of `kafka/handlers`.
//!
//! The answer may take minutes, and the connection's next request waits for it, as in Kafka. When the client goes
//! away meanwhile its member stays until its session ends.

use bytes::Bytes;

use crate::broker::groups::verbs::{GroupError, Join, Joined};
use crate::broker::logs::verbs::LogBroker;
use crate::kafka::codec::messages::join_group::{
    JoinGroupRequest, JoinGroupResponse, JoinedMember,
};
use crate::kafka::codec::primitives::{DecodeError, Reader};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::handlers::{Context, Reply, Return};

/// A new dynamic member is told its id first from this version on (KIP-394).
const MEMBER_ID_FROM: i16 = 4;
/// A leader may be told to leave assignments as they are from this version on (KIP-814).
const SKIP_ASSIGNMENT_FROM: i16 = 9;

pub(in crate::kafka) async fn answer<B: LogBroker>(
    context: &Context<B>,
    to: Return,
    client_id: String,
    reader: Reader<'_>,
) -> Result<Reply, DecodeError> {
    let request = JoinGroupRequest::decode(reader, to.version)?;
    let asked_as = request.member_id.to_owned();
    let join = join(request, to.version, client_id, context.peer.ip().to_canonical().to_string());
    let response = match context.shared.broker.join(&context.principal, join).await {
        Ok(joined) => accepted(joined),
        Err(GroupError::InDoubt) => return Ok(Reply::InDoubt),
        Err(error) => refused(error, asked_as),
    };
    Ok(to.answer(|writer, version| response.encode(writer, version)))
}

fn join(request: JoinGroupRequest<'_>, version: i16, client_id: String, address: String) -> Join {
    let session_timeout_ms = u32::try_from(request.session_timeout_ms).unwrap_or(0);
    let protocols = request.protocols.iter();
    let protocols = protocols
        .map(|protocol| (protocol.name.to_owned(), Bytes::copy_from_slice(protocol.metadata)));
    Join {
        group: request.group.to_owned(),
        member_id: request.member_id.to_owned(),
        instance_id: request.instance_id.map(str::to_owned),
        client_id,
        // As Kafka shows it.
        client_host: format!("/{address}"),
        session_timeout_ms,
        rebalance_timeout_ms: u32::try_from(request.rebalance_timeout_ms)
            .unwrap_or(session_timeout_ms),
        protocol_type: request.protocol_type.to_owned(),
        protocols: protocols.collect(),
        wants_member_id: version >= MEMBER_ID_FROM,
        knows_skip_assignment: version >= SKIP_ASSIGNMENT_FROM,
        reason: request.reason.map(str::to_owned),
    }
}

fn accepted(joined: Joined) -> JoinGroupResponse {
    let members = joined.members.into_iter().map(|member| JoinedMember {
        member_id: member.member_id,
        instance_id: member.instance_id,
        metadata: member.metadata,
    });
    JoinGroupResponse {
        error_code: ErrorCode::None.code(),
        generation: joined.generation,
        protocol_type: Some(joined.protocol_type),
        protocol_name: Some(joined.protocol),
        leader: joined.leader,
        skip_assignment: joined.skip_assignment,
        member_id: joined.member_id,
        members: members.collect(),
    }
}

fn refused(error: GroupError, asked_as: String) -> JoinGroupResponse {
    let code = ErrorCode::from(&error).code();
    let member_id = match error {
        GroupError::MemberIdRequired(given) => given,
        _ => asked_as,
    };
    JoinGroupResponse::refusal(code, member_id)
}
