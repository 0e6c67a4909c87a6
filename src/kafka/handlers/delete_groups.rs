//! Answers DeleteGroups, when the deletions are durable. Part of `kafka/handlers`.

use crate::broker::groups::verbs::GroupError;
use crate::broker::logs::verbs::LogBroker;
use crate::kafka::codec::messages::delete_groups::{DeleteGroupsRequest, encode_response};
use crate::kafka::codec::primitives::{DecodeError, Reader};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::handlers::{Context, Reply, Return};

pub(in crate::kafka) async fn answer<B: LogBroker>(
    context: &Context<B>,
    to: Return,
    reader: Reader<'_>,
) -> Result<Reply, DecodeError> {
    let request = DeleteGroupsRequest::decode(reader)?;
    let mut deleted = Vec::with_capacity(request.groups.len());
    for group in request.groups {
        let code = match context.shared.broker.delete_group(&context.principal, group).await {
            Ok(()) => ErrorCode::None,
            Err(GroupError::InDoubt) => return Ok(Reply::InDoubt),
            Err(error) => ErrorCode::from(&error),
        };
        deleted.push((group.to_owned(), code.code()));
    }
    Ok(to.answer(|writer, _| encode_response(writer, &deleted)))
}
