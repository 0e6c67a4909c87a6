//! Answers SyncGroup, when the leader's assignments are durable. Part of `kafka/handlers`.

use bytes::Bytes;

use crate::broker::groups::verbs::{GroupError, Membership, Sync, Synced};
use crate::broker::logs::verbs::LogBroker;
use crate::kafka::codec::messages::sync_group::{SyncGroupRequest, SyncGroupResponse};
use crate::kafka::codec::primitives::{DecodeError, Reader};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::handlers::{Context, Reply, Return};

/// From this version on a member says which protocol it believes in, and must (KIP-559).
const PROTOCOL_FROM: i16 = 5;

pub(in crate::kafka) async fn answer<B: LogBroker>(
    context: &Context<B>,
    to: Return,
    reader: Reader<'_>,
) -> Result<Reply, DecodeError> {
    let request = SyncGroupRequest::decode(reader, to.version)?;
    let is_said = request.protocol_type.is_some() && request.protocol_name.is_some();
    let outcome = if to.version >= PROTOCOL_FROM && !is_said {
        Err(GroupError::InconsistentProtocol)
    } else {
        let sync = sync(request);
        context.shared.broker.sync(&context.principal, sync).await
    };
    let response = match outcome {
        Ok(Synced { protocol_type, protocol, assignment }) => SyncGroupResponse {
            error_code: ErrorCode::None.code(),
            protocol_type: Some(protocol_type),
            protocol_name: Some(protocol),
            assignment,
        },
        Err(GroupError::InDoubt) => return Ok(Reply::InDoubt),
        Err(error) => SyncGroupResponse {
            error_code: ErrorCode::from(&error).code(),
            ..SyncGroupResponse::default()
        },
    };
    Ok(to.answer(|writer, version| response.encode(writer, version)))
}

fn sync(request: SyncGroupRequest<'_>) -> Sync {
    let assignments = request.assignments.iter();
    let assignments =
        assignments.map(|it| (it.member_id.to_owned(), Bytes::copy_from_slice(it.assignment)));
    Sync {
        who: Membership {
            group: request.group.to_owned(),
            generation: request.generation,
            member_id: request.member_id.to_owned(),
            instance_id: request.instance_id.map(str::to_owned),
        },
        protocol_type: request.protocol_type.map(str::to_owned),
        protocol: request.protocol_name.map(str::to_owned),
        assignments: assignments.collect(),
    }
}
