//! ListGroups (16), versions 0–5: which groups there are. Part of `kafka/codec`.
//!
//! | request | versions |
//! |---|---|
//! | states `[s]`, empty for any (KIP-518) | 4– |
//! | types `[s]`, empty for any (KIP-848) | 5– |
//! | tags | 3– |
//!
//! | response | versions |
//! |---|---|
//! | throttle time `i32` ms | 1– |
//! | error `i16` | 0– |
//! | `[` group `s`, protocol type `s`, state `s` (4–), type `s` (5–), tags `]` | 0– |
//! | tags | 3– |

use crate::kafka::codec::primitives::{DecodeError, Reader, Writer};

/// Which groups. Both filters ignore case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListGroupsRequest<'a> {
    /// Groups in one of these states; empty for any.
    pub states: Vec<&'a str>,
    /// Groups of one of these types, `classic` or `consumer`; empty for any.
    pub types: Vec<&'a str>,
}

impl<'a> ListGroupsRequest<'a> {
    /// Reads a body laid out at `version`.
    ///
    /// # Errors
    /// If the body does not follow that layout.
    pub fn decode(mut reader: Reader<'a>, version: i16) -> Result<Self, DecodeError> {
        let states = if version >= 4 { reader.array(Reader::string)? } else { Vec::new() };
        let types = if version >= 5 { reader.array(Reader::string)? } else { Vec::new() };
        reader.end()?;
        Ok(Self { states, types })
    }
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedGroup {
    /// Its name.
    pub group: String,
    /// Such as `consumer`; empty if nobody ever joined.
    pub protocol_type: String,
    /// `PreparingRebalance`, `CompletingRebalance`, `Stable` or `Empty`.
    pub state: String,
    /// `classic`.
    pub group_type: String,
}

/// Writes the body at `version`; `error_code` speaks of the whole list.
pub fn encode_response(writer: &mut Writer, version: i16, error_code: i16, groups: &[ListedGroup]) {
    if version >= 1 {
        writer.i32(0);
    }
    writer.i16(error_code);
    writer.array(groups, |writer, group| {
        writer.string(&group.group);
        writer.string(&group.protocol_type);
        if version >= 4 {
            writer.string(&group.state);
        }
        if version >= 5 {
            writer.string(&group.group_type);
        }
        writer.end();
    });
    writer.end();
}
