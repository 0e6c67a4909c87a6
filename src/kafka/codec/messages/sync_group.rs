//! SyncGroup (14), versions 0–5: the leader hands in assignments, everybody gets theirs. Part of `kafka/codec`.
//!
//! | request | versions |
//! |---|---|
//! | group `s`, generation `i32`, member id `s` | 0– |
//! | instance id `?s` | 3– |
//! | protocol type `?s`, protocol name `?s` (KIP-559) | 5– |
//! | assignments `[` member id `s`, assignment `bytes`, tags `]`, empty but from the leader | 0– |
//! | tags | 4– |
//!
//! | response | versions |
//! |---|---|
//! | throttle time `i32` ms | 1– |
//! | error `i16` | 0– |
//! | protocol type `?s`, protocol name `?s` | 5– |
//! | assignment `bytes` | 0– |
//! | tags | 4– |

use bytes::Bytes;

use crate::kafka::codec::primitives::{DecodeError, Reader, Writer};

/// A member that waits for its assignment, or the leader that brings all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncGroupRequest<'a> {
    /// The group.
    pub group: &'a str,
    /// The generation that the member joined.
    pub generation: i32,
    /// The member.
    pub member_id: &'a str,
    /// Of a static member.
    pub instance_id: Option<&'a str>,
    /// What the member believes it joined; not said below version 5.
    pub protocol_type: Option<&'a str>,
    /// What the member believes was chosen; not said below version 5.
    pub protocol_name: Option<&'a str>,
    /// From the leader, one for each member.
    pub assignments: Vec<Assignment<'a>>,
}

/// What one member is assigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assignment<'a> {
    /// The member.
    pub member_id: &'a str,
    /// Its assignment, opaque.
    pub assignment: &'a [u8],
}

impl<'a> SyncGroupRequest<'a> {
    /// Reads a body laid out at `version`.
    ///
    /// # Errors
    /// If the body does not follow that layout.
    pub fn decode(mut reader: Reader<'a>, version: i16) -> Result<Self, DecodeError> {
        let group = reader.string()?;
        let generation = reader.i32()?;
        let member_id = reader.string()?;
        let instance_id = if version >= 3 { reader.nullable_string()? } else { None };
        let (protocol_type, protocol_name) = if version >= 5 {
            (reader.nullable_string()?, reader.nullable_string()?)
        } else {
            (None, None)
        };
        let assignments = reader.array(|reader| {
            let assignment =
                Assignment { member_id: reader.string()?, assignment: reader.bytes()? };
            reader.end()?;
            Ok(assignment)
        })?;
        reader.end()?;
        Ok(Self {
            group,
            generation,
            member_id,
            instance_id,
            protocol_type,
            protocol_name,
            assignments,
        })
    }
}

/// The member's own assignment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncGroupResponse {
    /// 0, or why there is no assignment.
    pub error_code: i16,
    /// `None` with an error.
    pub protocol_type: Option<String>,
    /// `None` with an error.
    pub protocol_name: Option<String>,
    /// Opaque; empty with an error.
    pub assignment: Bytes,
}

impl SyncGroupResponse {
    /// Writes the body at `version`.
    pub fn encode(&self, writer: &mut Writer, version: i16) {
        if version >= 1 {
            writer.i32(0);
        }
        writer.i16(self.error_code);
        if version >= 5 {
            writer.nullable_string(self.protocol_type.as_deref());
            writer.nullable_string(self.protocol_name.as_deref());
        }
        writer.bytes(&self.assignment);
        writer.end();
    }
}
