//! Produce (0), versions 3–13: appends batches. Part of `kafka/codec`.
//!
//! | request | versions |
//! |---|---|
//! | transactional id `?s` | 3– |
//! | acks `i16`: 0 no answer, 1 and −1 an answer when durable | 3– |
//! | timeout `i32` ms | 3– |
//! | `[` name `s` (3–12) or topic id `uuid` (13), `[` partition `i32`, records `?bytes`, tags `]`, tags `]` | 3– |
//! | tags | 9– |
//!
//! | response | versions |
//! |---|---|
//! | `[` name `s` (3–12) or topic id `uuid` (13), `[` partition, tags `]`, tags `]` | 3– |
//! | partition: index `i32`, error `i16`, base offset `i64`, append time `i64` ms or −1 | 3– |
//! | … log start offset `i64` | 5– |
//! | … `[` batch index `i32`, message `?s`, tags `]`, error message `?s` | 8– |
//! | throttle time `i32` ms | 3– |
//! | tags (the current leader, sent only by a broker that is not it: 10–) | 9– |

use crate::kafka::codec::primitives::{DecodeError, Reader, Writer};

/// Batches for some partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceRequest<'a> {
    /// Set by transactional producers.
    pub transactional_id: Option<&'a str>,
    /// 0, 1 or −1.
    pub acks: i16,
    /// How long the client waits for replicas. There are none.
    pub timeout_ms: i32,
    /// By log.
    pub topics: Vec<TopicData<'a>>,
}

/// Batches for one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicData<'a> {
    /// Empty from version 13.
    pub name: &'a str,
    /// All zero below version 13.
    pub id: [u8; 16],
    /// By partition.
    pub partitions: Vec<PartitionData<'a>>,
}

/// A batch for one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionData<'a> {
    /// The partition.
    pub index: i32,
    /// One record batch.
    pub records: Option<&'a [u8]>,
}

impl<'a> ProduceRequest<'a> {
    /// Reads a body laid out at `version`.
    pub fn decode(mut reader: Reader<'a>, version: i16) -> Result<Self, DecodeError> {
        let transactional_id = reader.nullable_string()?;
        let acks = reader.i16()?;
        let timeout_ms = reader.i32()?;
        let topics = reader.array(|reader| {
            let (name, id) =
                if version <= 12 { (reader.string()?, [0; 16]) } else { ("", reader.uuid()?) };
            let partitions = reader.array(|reader| {
                let partition =
                    PartitionData { index: reader.i32()?, records: reader.nullable_bytes()? };
                reader.end()?;
                Ok(partition)
            })?;
            reader.end()?;
            Ok(TopicData { name, id, partitions })
        })?;
        reader.end()?;
        Ok(Self { transactional_id, acks, timeout_ms, topics })
    }
}

/// What became of one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionOutcome {
    /// The partition.
    pub index: i32,
    /// 0, or why it was refused.
    pub error_code: i16,
    /// The offset of its first record, −1 if refused.
    pub base_offset: i64,
    /// When the log stamps records itself, else −1.
    pub append_time_ms: i64,
    /// The first offset still there, −1 if unknown.
    pub log_start_offset: i64,
    /// The reason in words.
    pub error_message: Option<String>,
    /// The record for which the batch was refused, if it was for one: its place in the batch, and the reason.
    pub record_error: Option<(i32, String)>,
}

/// What became of one log's batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicOutcome {
    /// Sent below version 13.
    pub name: String,
    /// Sent from version 13.
    pub id: [u8; 16],
    /// By partition, in the request's order.
    pub partitions: Vec<PartitionOutcome>,
}

/// Writes the body at `version`. The client shall send nothing for `throttle_ms`.
pub fn encode_response(
    writer: &mut Writer,
    version: i16,
    topics: &[TopicOutcome],
    throttle_ms: i32,
) {
    writer.array(topics, |writer, topic| {
        if version <= 12 {
            writer.string(&topic.name);
        } else {
            writer.uuid(&topic.id);
        }
        writer.array(&topic.partitions, |writer, partition| {
            writer.i32(partition.index);
            writer.i16(partition.error_code);
            writer.i64(partition.base_offset);
            writer.i64(partition.append_time_ms);
            if version >= 5 {
                writer.i64(partition.log_start_offset);
            }
            if version >= 8 {
                writer.array(partition.record_error.as_slice(), |writer, (index, reason)| {
                    writer.i32(*index);
                    writer.nullable_string(Some(reason));
                    writer.end();
                });
                writer.nullable_string(partition.error_message.as_deref());
            }
            writer.end();
        });
        writer.end();
    });
    writer.i32(throttle_ms);
    writer.end();
}
