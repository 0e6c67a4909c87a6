//! OffsetDelete (47), version 0: forgets a group's offsets in some partitions. Part of `kafka/codec`.
//!
//! | request |
//! |---|
//! | group `s` |
//! | `[` name `s`, `[` partition `i32` `]` `]` |
//!
//! | response |
//! |---|
//! | error `i16`, throttle time `i32` ms |
//! | `[` name `s`, `[` partition `i32`, error `i16` `]` `]` |

use crate::kafka::codec::primitives::{DecodeError, Reader, Writer};

/// Which offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetDeleteRequest<'a> {
    /// The group.
    pub group: &'a str,
    /// Logs and their partitions.
    pub topics: Vec<(&'a str, Vec<i32>)>,
}

impl<'a> OffsetDeleteRequest<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// If the body does not follow the layout.
    pub fn decode(mut reader: Reader<'a>) -> Result<Self, DecodeError> {
        let group = reader.string()?;
        let topics = reader.array(|reader| Ok((reader.string()?, reader.array(Reader::i32)?)))?;
        Ok(Self { group, topics })
    }
}

/// What became of the offsets in one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDeleted {
    /// The log.
    pub name: String,
    /// Partition and error code, in the request's order.
    pub partitions: Vec<(i32, i16)>,
}

/// Writes the body; `error_code` speaks of the group.
pub fn encode_response(writer: &mut Writer, error_code: i16, topics: &[TopicDeleted]) {
    writer.i16(error_code);
    writer.i32(0);
    writer.array(topics, |writer, topic| {
        writer.string(&topic.name);
        writer.array(&topic.partitions, |writer, (index, error_code)| {
            writer.i32(*index);
            writer.i16(*error_code);
        });
    });
}
