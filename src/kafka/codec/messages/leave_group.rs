//! LeaveGroup (13), versions 0–5: members go. Part of `kafka/codec`.
//!
//! | request | versions |
//! |---|---|
//! | group `s` | 0– |
//! | member id `s` | 0–2 |
//! | members `[` member id `s`, instance id `?s`, reason `?s` (5–, KIP-800), tags `]` | 3– |
//! | tags | 4– |
//!
//! | response | versions |
//! |---|---|
//! | throttle time `i32` ms | 1– |
//! | error `i16` | 0– |
//! | members `[` member id `s`, instance id `?s`, error `i16`, tags `]` | 3– |
//! | tags | 4– |

use crate::kafka::codec::primitives::{DecodeError, Reader, Writer};

/// Who leaves which group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaveGroupRequest<'a> {
    /// The group.
    pub group: &'a str,
    /// One below version 3.
    pub members: Vec<LeavingMember<'a>>,
}

/// A member that leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeavingMember<'a> {
    /// Empty if the member is named by its instance id.
    pub member_id: &'a str,
    /// Of a static member.
    pub instance_id: Option<&'a str>,
    /// Why it leaves, for the log.
    pub reason: Option<&'a str>,
}

impl<'a> LeaveGroupRequest<'a> {
    /// Reads a body laid out at `version`.
    ///
    /// # Errors
    /// If the body does not follow that layout.
    pub fn decode(mut reader: Reader<'a>, version: i16) -> Result<Self, DecodeError> {
        let group = reader.string()?;
        let members = if version <= 2 {
            vec![LeavingMember { member_id: reader.string()?, instance_id: None, reason: None }]
        } else {
            reader.array(|reader| {
                let member_id = reader.string()?;
                let instance_id = reader.nullable_string()?;
                let reason = if version >= 5 { reader.nullable_string()? } else { None };
                reader.end()?;
                Ok(LeavingMember { member_id, instance_id, reason })
            })?
        };
        reader.end()?;
        Ok(Self { group, members })
    }
}

/// What became of one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftMember {
    /// As asked.
    pub member_id: String,
    /// As asked.
    pub instance_id: Option<String>,
    /// 0, or why it is not gone.
    pub error_code: i16,
}

/// Writes the body at `version`. `error_code` speaks of the group; below version 3, where there is no list, the
/// error of the one member takes its place.
pub fn encode_response(writer: &mut Writer, version: i16, error_code: i16, members: &[LeftMember]) {
    if version >= 1 {
        writer.i32(0);
    }
    if version >= 3 {
        writer.i16(error_code);
        writer.array(members, |writer, member| {
            writer.string(&member.member_id);
            writer.nullable_string(member.instance_id.as_deref());
            writer.i16(member.error_code);
            writer.end();
        });
    } else {
        let of_members = members.iter().map(|member| member.error_code);
        let first = std::iter::once(error_code).chain(of_members).find(|code| *code != 0);
        writer.i16(first.unwrap_or(0));
    }
    writer.end();
}
