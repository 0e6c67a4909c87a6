//! ListOffsets (2), versions 1–11: offsets by time. Part of `kafka/codec`.
//!
//! | request | versions |
//! |---|---|
//! | replica id `i32` | 1– |
//! | isolation level `i8` | 2– |
//! | `[` name `s`, `[` partition `i32`, leader epoch `i32` (4–), timestamp `i64`, tags `]`, tags `]` | 1– |
//! | timeout `i32` ms | 10– |
//! | tags | 6– |
//!
//! Timestamps: ≥ 0 the first record at or after it; −1 the end, −2 the start, −3 the record of the highest
//! timestamp (7–), −4 the local start (8–), −5 the end of what was tiered away
//! (9–), −6 the start of what is to be tiered away (11–).
//!
//! | response | versions |
//! |---|---|
//! | throttle time `i32` ms | 2– |
//! | `[` name `s`, `[` partition `i32`, error `i16`, timestamp `i64`, offset `i64`, leader epoch `i32` (4–), tags `]`, tags `]` | 1– |
//! | tags | 6– |

use crate::kafka::codec::primitives::{DecodeError, Reader, Writer};

/// Which offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListOffsetsRequest<'a> {
    /// 0 everything, 1 committed only: then the end is the last stable offset. Version 1 wants everything.
    pub isolation_level: i8,
    /// By log.
    pub topics: Vec<TopicQuery<'a>>,
}

/// Which offsets of one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicQuery<'a> {
    /// The log.
    pub name: &'a str,
    /// By partition.
    pub partitions: Vec<PartitionQuery>,
}

/// Which offset of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionQuery {
    /// The partition.
    pub index: i32,
    /// What the client believes, −1 if nothing.
    pub leader_epoch: i32,
    /// Milliseconds since 1970, or one of the negative marks.
    pub timestamp: i64,
}

impl<'a> ListOffsetsRequest<'a> {
    /// Reads a body laid out at `version`.
    pub fn decode(mut reader: Reader<'a>, version: i16) -> Result<Self, DecodeError> {
        reader.i32()?;
        let isolation_level = if version >= 2 { reader.i8()? } else { 0 };
        let topics = reader.array(|reader| {
            let name = reader.string()?;
            let partitions = reader.array(|reader| {
                let index = reader.i32()?;
                let leader_epoch = if version >= 4 { reader.i32()? } else { -1 };
                let timestamp = reader.i64()?;
                reader.end()?;
                Ok(PartitionQuery { index, leader_epoch, timestamp })
            })?;
            reader.end()?;
            Ok(TopicQuery { name, partitions })
        })?;
        if version >= 10 {
            reader.i32()?;
        }
        reader.end()?;
        Ok(Self { isolation_level, topics })
    }
}

/// The offset found in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionOffset {
    /// The partition.
    pub index: i32,
    /// 0, or why there is no offset.
    pub error_code: i16,
    /// Of the record found; −1 if none was looked for by time.
    pub timestamp: i64,
    /// −1 if there is none.
    pub offset: i64,
    /// −1 with an error.
    pub leader_epoch: i32,
}

/// The offsets found in one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicOffsets {
    /// The log.
    pub name: String,
    /// By partition, in the request's order.
    pub partitions: Vec<PartitionOffset>,
}

/// Writes the body at `version`.
pub fn encode_response(writer: &mut Writer, version: i16, topics: &[TopicOffsets]) {
    if version >= 2 {
        writer.i32(0);
    }
    writer.array(topics, |writer, topic| {
        writer.string(&topic.name);
        writer.array(&topic.partitions, |writer, partition| {
            writer.i32(partition.index);
            writer.i16(partition.error_code);
            writer.i64(partition.timestamp);
            writer.i64(partition.offset);
            if version >= 4 {
                writer.i32(partition.leader_epoch);
            }
            writer.end();
        });
        writer.end();
    });
    writer.end();
}
