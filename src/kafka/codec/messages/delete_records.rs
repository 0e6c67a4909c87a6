//! DeleteRecords (21), versions 0–2: moves the start of partitions. Part of `kafka/codec`.
//!
//! | request | versions |
//! |---|---|
//! | `[` name `s`, `[` partition `i32`, offset `i64`, tags `]`, tags `]` | 0– |
//! | timeout `i32` ms | 0– |
//! | tags | 2– |
//!
//! | response | versions |
//! |---|---|
//! | throttle time `i32` ms | 0– |
//! | `[` name `s`, `[` partition `i32`, low watermark `i64`, error `i16`, tags `]`, tags `]` | 0– |
//! | tags | 2– |

use crate::kafka::codec::primitives::{DecodeError, Reader, Writer};

/// The offset that stands for "all there is" in a request.
pub const TO_THE_END: i64 = -1;

/// Which records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteRecordsRequest<'a> {
    /// By log.
    pub topics: Vec<TopicCuts<'a>>,
    /// How long the client waits.
    pub timeout_ms: i32,
}

/// Which records of one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicCuts<'a> {
    /// The log.
    pub name: &'a str,
    /// Partition, and the first offset to keep or [`TO_THE_END`].
    pub partitions: Vec<(i32, i64)>,
}

impl<'a> DeleteRecordsRequest<'a> {
    /// Reads a body; every version has the same fields.
    ///
    /// # Errors
    /// If the body does not follow the layout.
    pub fn decode(mut reader: Reader<'a>) -> Result<Self, DecodeError> {
        let topics = reader.array(|reader| {
            let name = reader.string()?;
            let partitions = reader.array(|reader| {
                let cut = (reader.i32()?, reader.i64()?);
                reader.end()?;
                Ok(cut)
            })?;
            reader.end()?;
            Ok(TopicCuts { name, partitions })
        })?;
        let timeout_ms = reader.i32()?;
        reader.end()?;
        Ok(Self { topics, timeout_ms })
    }
}

/// Where one partition starts now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionCut {
    /// The partition.
    pub index: i32,
    /// Its first offset; −1 with an error.
    pub low_watermark: i64,
    /// 0, or why it has not moved.
    pub error_code: i16,
}

/// Where the partitions of one log start now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicCut {
    /// The log.
    pub name: String,
    /// By partition, in the request's order.
    pub partitions: Vec<PartitionCut>,
}

/// Writes the body; every version has the same fields.
pub fn encode_response(writer: &mut Writer, topics: &[TopicCut]) {
    writer.i32(0);
    writer.array(topics, |writer, topic| {
        writer.string(&topic.name);
        writer.array(&topic.partitions, |writer, cut| {
            writer.i32(cut.index);
            writer.i64(cut.low_watermark);
            writer.i16(cut.error_code);
            writer.end();
        });
        writer.end();
    });
    writer.end();
}
