//! Heartbeat (12), versions 0–4: a member is alive. Part of `kafka/codec`.
//!
//! | request | versions |
//! |---|---|
//! | group `s`, generation `i32`, member id `s` | 0– |
//! | instance id `?s` | 3– |
//! | tags | 4– |
//!
//! | response | versions |
//! |---|---|
//! | throttle time `i32` ms | 1– |
//! | error `i16` | 0– |
//! | tags | 4– |

use crate::kafka::codec::primitives::{DecodeError, Reader, Writer};

/// Who is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatRequest<'a> {
    /// The group.
    pub group: &'a str,
    /// The generation that the member believes in.
    pub generation: i32,
    /// The member.
    pub member_id: &'a str,
    /// Of a static member.
    pub instance_id: Option<&'a str>,
}

impl<'a> HeartbeatRequest<'a> {
    /// Reads a body laid out at `version`.
    ///
    /// # Errors
    /// If the body does not follow that layout.
    pub fn decode(mut reader: Reader<'a>, version: i16) -> Result<Self, DecodeError> {
        let group = reader.string()?;
        let generation = reader.i32()?;
        let member_id = reader.string()?;
        let instance_id = if version >= 3 { reader.nullable_string()? } else { None };
        reader.end()?;
        Ok(Self { group, generation, member_id, instance_id })
    }
}

/// Writes the body at `version`.
pub fn encode_response(writer: &mut Writer, version: i16, error_code: i16) {
    if version >= 1 {
        writer.i32(0);
    }
    writer.i16(error_code);
    writer.end();
}
