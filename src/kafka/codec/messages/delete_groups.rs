//! DeleteGroups (42), versions 0–2: forgets groups and their offsets. Part of `kafka/codec`.
//!
//! | request | versions |
//! |---|---|
//! | groups `[s]` | 0– |
//! | tags | 2– |
//!
//! | response | versions |
//! |---|---|
//! | throttle time `i32` ms | 0– |
//! | `[` group `s`, error `i16`, tags `]` | 0– |
//! | tags | 2– |

use crate::kafka::codec::primitives::{DecodeError, Reader, Writer};

/// Which groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteGroupsRequest<'a> {
    /// Their names.
    pub groups: Vec<&'a str>,
}

impl<'a> DeleteGroupsRequest<'a> {
    /// Reads a body; every version has the same fields.
    ///
    /// # Errors
    /// If the body does not follow the layout.
    pub fn decode(mut reader: Reader<'a>) -> Result<Self, DecodeError> {
        let groups = reader.array(Reader::string)?;
        reader.end()?;
        Ok(Self { groups })
    }
}

/// Writes the body: each group with 0, or why it is still there. Every version has the same fields.
pub fn encode_response(writer: &mut Writer, groups: &[(String, i16)]) {
    writer.i32(0);
    writer.array(groups, |writer, (group, error_code)| {
        writer.string(group);
        writer.i16(*error_code);
        writer.end();
    });
    writer.end();
}
