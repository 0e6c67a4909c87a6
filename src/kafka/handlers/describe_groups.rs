//! Answers DescribeGroups. Part of `kafka/handlers`.

use crate::broker::groups::verbs::{GroupDescription, GroupState, MemberDescription};
use crate::broker::logs::verbs::LogBroker;
use crate::kafka::codec::messages::describe_groups::{
    DescribeGroupsRequest, DescribedGroup, DescribedMember, encode_response,
};
use crate::kafka::codec::primitives::{DecodeError, Reader};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::handlers::{Context, Reply, Return};

/// Clients know of groups that there are not from this version on; before, such a group is dead.
const UNKNOWN_GROUP_FROM: i16 = 6;

/// Bits of what a client may do, as Kafka numbers operations: read and describe.
const MAY_READ: i32 = 1 << 3 | 1 << 8;
const MAY_DELETE: i32 = 1 << 6;
const NOT_ASKED: i32 = i32::MIN;

pub(in crate::kafka) fn answer<B: LogBroker>(
    context: &Context<B>,
    to: Return,
    reader: Reader<'_>,
) -> Result<Reply, DecodeError> {
    let request = DescribeGroupsRequest::decode(reader, to.version)?;
    let broker = &context.shared.broker;
    let groups: Vec<DescribedGroup> = request
        .groups
        .iter()
        .map(|group| match broker.describe_group(&context.principal, group) {
            Ok(found) if found.listing.state == GroupState::Dead => unknown(group, to.version),
            Ok(found) => described(found, request.include_operations),
            Err(error) => missing(group, ErrorCode::from(&error), String::new()),
        })
        .collect();
    Ok(to.answer(|writer, version| encode_response(writer, version, &groups)))
}

fn described(found: GroupDescription, with_operations: bool) -> DescribedGroup {
    let operations = MAY_READ | if found.may_delete { MAY_DELETE } else { 0 };
    DescribedGroup {
        error_code: ErrorCode::None.code(),
        error_message: None,
        group: found.listing.group,
        state: found.listing.state.name().to_owned(),
        protocol_type: found.listing.protocol_type,
        protocol: found.protocol,
        members: found.members.into_iter().map(member).collect(),
        operations: if with_operations { operations } else { NOT_ASKED },
    }
}

fn member(member: MemberDescription) -> DescribedMember {
    DescribedMember {
        member_id: member.member_id,
        instance_id: member.instance_id,
        client_id: member.client_id,
        client_host: member.client_host,
        metadata: member.metadata,
        assignment: member.assignment,
    }
}

fn unknown(group: &str, version: i16) -> DescribedGroup {
    let code =
        if version >= UNKNOWN_GROUP_FROM { ErrorCode::GroupIdNotFound } else { ErrorCode::None };
    missing(group, code, GroupState::Dead.name().to_owned())
}

fn missing(group: &str, code: ErrorCode, state: String) -> DescribedGroup {
    let message = (code == ErrorCode::GroupIdNotFound).then(|| format!("Group {group} not found."));
    DescribedGroup {
        error_code: code.code(),
        error_message: message,
        group: group.to_owned(),
        state,
        protocol_type: String::new(),
        protocol: String::new(),
        members: Vec::new(),
        operations: NOT_ASKED,
    }
}
