//! OffsetCommit (8), versions 2–10: keeps how far a group has read. Part of `kafka/codec`.
//!
//! | request | versions |
//! |---|---|
//! | group `s`, generation `i32` (−1 outside a group), member id `s` (empty outside a group) | 2– |
//! | instance id `?s` | 7– |
//! | retention time `i64` ms, −1 for the broker's | 2–4 |
//! | `[` name `s` (2–9) or topic id `uuid` (10–), `[` partition, tags `]`, tags `]` | 2– |
//! | partition: index `i32`, offset `i64`, leader epoch `i32` (6–), metadata `?s` | 2– |
//! | tags | 8– |
//!
//! | response | versions |
//! |---|---|
//! | throttle time `i32` ms | 3– |
//! | `[` name `s` (2–9) or topic id `uuid` (10–), `[` index `i32`, error `i16`, tags `]`, tags `]` | 2– |
//! | tags | 8– |

use crate::kafka::codec::primitives::{DecodeError, Reader, Writer};

/// Offsets to keep, and who says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommitRequest<'a> {
    /// The group.
    pub group: &'a str,
    /// The generation that the member believes in, −1 from a consumer that is no member. With the consumer
    /// protocol of KIP-848 the member's epoch.
    pub generation: i32,
    /// Empty from a consumer that is no member.
    pub member_id: &'a str,
    /// Of a static member.
    pub instance_id: Option<&'a str>,
    /// How long to keep the offsets, −1 for the broker's rule. Versions 2–4 only.
    pub retention_ms: i64,
    /// By log.
    pub topics: Vec<TopicCommit<'a>>,
}

/// Offsets in one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicCommit<'a> {
    /// Empty from version 10.
    pub name: &'a str,
    /// All zero below version 10.
    pub id: [u8; 16],
    /// By partition.
    pub partitions: Vec<PartitionCommit<'a>>,
}

/// An offset in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionCommit<'a> {
    /// The partition.
    pub index: i32,
    /// The next one to read.
    pub offset: i64,
    /// Of the last record read, −1 if unknown.
    pub leader_epoch: i32,
    /// Whatever the client wants to remember with it.
    pub metadata: Option<&'a str>,
}

impl<'a> OffsetCommitRequest<'a> {
    /// Reads a body laid out at `version`.
    ///
    /// # Errors
    /// If the body does not follow that layout.
    pub fn decode(mut reader: Reader<'a>, version: i16) -> Result<Self, DecodeError> {
        let group = reader.string()?;
        let generation = reader.i32()?;
        let member_id = reader.string()?;
        let instance_id = if version >= 7 { reader.nullable_string()? } else { None };
        let retention_ms = if version <= 4 { reader.i64()? } else { -1 };
        let topics = reader.array(|reader| {
            let (name, id) =
                if version <= 9 { (reader.string()?, [0; 16]) } else { ("", reader.uuid()?) };
            let partitions = reader.array(|reader| partition(reader, version))?;
            reader.end()?;
            Ok(TopicCommit { name, id, partitions })
        })?;
        reader.end()?;
        Ok(Self { group, generation, member_id, instance_id, retention_ms, topics })
    }
}

fn partition<'a>(
    reader: &mut Reader<'a>,
    version: i16,
) -> Result<PartitionCommit<'a>, DecodeError> {
    let index = reader.i32()?;
    let offset = reader.i64()?;
    let leader_epoch = if version >= 6 { reader.i32()? } else { -1 };
    let metadata = reader.nullable_string()?;
    reader.end()?;
    Ok(PartitionCommit { index, offset, leader_epoch, metadata })
}

/// What became of the offsets in one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicCommitted {
    /// Sent below version 10.
    pub name: String,
    /// Sent from version 10.
    pub id: [u8; 16],
    /// Partition and error code, in the request's order.
    pub partitions: Vec<(i32, i16)>,
}

/// Writes the body at `version`.
pub fn encode_response(writer: &mut Writer, version: i16, topics: &[TopicCommitted]) {
    if version >= 3 {
        writer.i32(0);
    }
    writer.array(topics, |writer, topic| {
        if version <= 9 {
            writer.string(&topic.name);
        } else {
            writer.uuid(&topic.id);
        }
        writer.array(&topic.partitions, |writer, (index, error_code)| {
            writer.i32(*index);
            writer.i16(*error_code);
            writer.end();
        });
        writer.end();
    });
    writer.end();
}
