//! JoinGroup (11), versions 0–9: makes a member and waits for the new generation. Part of `kafka/codec`.
//!
//! | request | versions |
//! |---|---|
//! | group `s`, session timeout `i32` ms | 0– |
//! | rebalance timeout `i32` ms; in version 0 the session timeout serves | 1– |
//! | member id `s`, empty for a new member | 0– |
//! | instance id `?s` (KIP-345) | 5– |
//! | protocol type `s`, `[` protocol name `s`, metadata `bytes`, tags `]` | 0– |
//! | reason `?s` (KIP-800) | 8– |
//! | tags | 6– |
//!
//! | response | versions |
//! |---|---|
//! | throttle time `i32` ms | 2– |
//! | error `i16`, generation `i32` | 0– |
//! | protocol type `?s` | 7– |
//! | protocol name `s` (`?` from 7), leader `s` | 0– |
//! | skip assignment `bool` (KIP-814) | 9– |
//! | member id `s`, members `[` member id `s`, instance id `?s` (5–), metadata `bytes`, tags `]` | 0– |
//! | tags | 6– |

use bytes::Bytes;

use crate::kafka::codec::primitives::{DecodeError, Reader, Writer};

/// Who wants to be a member, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinGroupRequest<'a> {
    /// The group.
    pub group: &'a str,
    /// Without a heartbeat for so long the member is gone.
    pub session_timeout_ms: i32,
    /// How long a rebalance waits for members to come back. In version 0 the session timeout.
    pub rebalance_timeout_ms: i32,
    /// Empty for a new member.
    pub member_id: &'a str,
    /// Of a static member.
    pub instance_id: Option<&'a str>,
    /// `consumer`, `connect` or anything else that the members agree on.
    pub protocol_type: &'a str,
    /// The protocols that the member speaks, the one it likes best first.
    pub protocols: Vec<Protocol<'a>>,
    /// Why it joins, for the log.
    pub reason: Option<&'a str>,
}

/// A protocol that a member speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol<'a> {
    /// Such as `range`.
    pub name: &'a str,
    /// What the member tells the leader in it, opaque.
    pub metadata: &'a [u8],
}

impl<'a> JoinGroupRequest<'a> {
    /// Reads a body laid out at `version`.
    ///
    /// # Errors
    /// If the body does not follow that layout.
    pub fn decode(mut reader: Reader<'a>, version: i16) -> Result<Self, DecodeError> {
        let group = reader.string()?;
        let session_timeout_ms = reader.i32()?;
        let rebalance_timeout_ms = if version >= 1 { reader.i32()? } else { session_timeout_ms };
        let member_id = reader.string()?;
        let instance_id = if version >= 5 { reader.nullable_string()? } else { None };
        let protocol_type = reader.string()?;
        let protocols = reader.array(|reader| {
            let protocol = Protocol { name: reader.string()?, metadata: reader.bytes()? };
            reader.end()?;
            Ok(protocol)
        })?;
        let reason = if version >= 8 { reader.nullable_string()? } else { None };
        reader.end()?;
        Ok(Self {
            group,
            session_timeout_ms,
            rebalance_timeout_ms,
            member_id,
            instance_id,
            protocol_type,
            protocols,
            reason,
        })
    }
}

/// The generation that the member is in, or why it is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinGroupResponse {
    /// 0, or why it has not joined.
    pub error_code: i16,
    /// −1 with an error.
    pub generation: i32,
    /// `None` with an error.
    pub protocol_type: Option<String>,
    /// The protocol that all members speak; `None` with an error, sent empty below version 7.
    pub protocol_name: Option<String>,
    /// The member that assigns; empty with an error.
    pub leader: String,
    /// Whether the leader must leave the assignment as it is; it could not say so below version 9.
    pub skip_assignment: bool,
    /// The member's own id, given or made.
    pub member_id: String,
    /// To the leader all members, to others none.
    pub members: Vec<JoinedMember>,
}

/// A member as the leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    /// Its id.
    pub member_id: String,
    /// Of a static member.
    pub instance_id: Option<String>,
    /// What it said in the chosen protocol.
    pub metadata: Bytes,
}

impl JoinGroupResponse {
    /// A refusal of the member `member_id`.
    #[must_use]
    pub fn refusal(error_code: i16, member_id: String) -> Self {
        Self {
            error_code,
            generation: -1,
            protocol_type: None,
            protocol_name: None,
            leader: String::new(),
            skip_assignment: false,
            member_id,
            members: Vec::new(),
        }
    }

    /// Writes the body at `version`.
    pub fn encode(&self, writer: &mut Writer, version: i16) {
        if version >= 2 {
            writer.i32(0);
        }
        writer.i16(self.error_code);
        writer.i32(self.generation);
        if version >= 7 {
            writer.nullable_string(self.protocol_type.as_deref());
            writer.nullable_string(self.protocol_name.as_deref());
        } else {
            writer.string(self.protocol_name.as_deref().unwrap_or_default());
        }
        writer.string(&self.leader);
        if version >= 9 {
            writer.bool(self.skip_assignment);
        }
        writer.string(&self.member_id);
        writer.array(&self.members, |writer, member| {
            writer.string(&member.member_id);
            if version >= 5 {
                writer.nullable_string(member.instance_id.as_deref());
            }
            writer.bytes(&member.metadata);
            writer.end();
        });
        writer.end();
    }
}
