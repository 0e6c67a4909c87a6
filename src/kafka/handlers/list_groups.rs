//! Answers ListGroups. Part of `kafka/handlers`.

use crate::broker::logs::verbs::LogBroker;
use crate::kafka::codec::messages::list_groups::{ListGroupsRequest, ListedGroup, encode_response};
use crate::kafka::codec::primitives::{DecodeError, Reader};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::handlers::{Context, Reply, Return};

/// What all groups here are: of the protocol before KIP-848.
const CLASSIC: &str = "classic";

pub(in crate::kafka) fn answer<B: LogBroker>(
    context: &Context<B>,
    to: Return,
    reader: Reader<'_>,
) -> Result<Reply, DecodeError> {
    let request = ListGroupsRequest::decode(reader, to.version)?;
    let wanted = |words: &[&str], word: &str| {
        words.is_empty() || words.iter().any(|it| it.eq_ignore_ascii_case(word))
    };
    let groups = context.shared.broker.list_groups(&context.principal).into_iter();
    let groups: Vec<ListedGroup> = groups
        .filter(|it| wanted(&request.states, it.state.name()) && wanted(&request.types, CLASSIC))
        .map(|it| ListedGroup {
            group: it.group,
            protocol_type: it.protocol_type,
            state: it.state.name().to_owned(),
            group_type: CLASSIC.to_owned(),
        })
        .collect();
    let code = ErrorCode::None.code();
    Ok(to.answer(|writer, version| encode_response(writer, version, code, &groups)))
}
