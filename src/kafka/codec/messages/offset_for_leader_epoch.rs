//! OffsetForLeaderEpoch (23), versions 2–4: where the epoch of a leader ends, so that a consumer notices a cut
//! log (KIP-320). Part of `kafka/codec`.
//!
//! | request | versions |
//! |---|---|
//! | replica id `i32`, −1 for consumers | 3– |
//! | `[` name `s`, `[` partition `i32`, current leader epoch `i32`, leader epoch `i32`, tags `]`, tags `]` | 2– |
//! | tags | 4– |
//!
//! | response | versions |
//! |---|---|
//! | throttle time `i32` ms | 2– |
//! | `[` name `s`, `[` error `i16`, partition `i32`, leader epoch `i32`, end offset `i64`, tags `]`, tags `]` | 2– |
//! | tags | 4– |

use crate::kafka::codec::primitives::{DecodeError, Reader, Writer};

/// Which epochs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetForLeaderEpochRequest<'a> {
    /// By log.
    pub topics: Vec<TopicEpochs<'a>>,
}

/// Which epochs of one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicEpochs<'a> {
    /// The log.
    pub name: &'a str,
    /// By partition.
    pub partitions: Vec<PartitionEpoch>,
}

/// Which epoch of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionEpoch {
    /// The partition.
    pub index: i32,
    /// The epoch that the client believes to be the present one, −1 if it has no belief.
    pub current_leader_epoch: i32,
    /// The epoch whose end is wanted.
    pub leader_epoch: i32,
}

impl<'a> OffsetForLeaderEpochRequest<'a> {
    /// Reads a body laid out at `version`.
    ///
    /// # Errors
    /// If the body does not follow that layout.
    pub fn decode(mut reader: Reader<'a>, version: i16) -> Result<Self, DecodeError> {
        if version >= 3 {
            reader.i32()?;
        }
        let topics = reader.array(|reader| {
            let name = reader.string()?;
            let partitions = reader.array(|reader| {
                let partition = PartitionEpoch {
                    index: reader.i32()?,
                    current_leader_epoch: reader.i32()?,
                    leader_epoch: reader.i32()?,
                };
                reader.end()?;
                Ok(partition)
            })?;
            reader.end()?;
            Ok(TopicEpochs { name, partitions })
        })?;
        reader.end()?;
        Ok(Self { topics })
    }
}

/// Where an epoch ends in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    /// The partition.
    pub index: i32,
    /// 0, or why it is not told.
    pub error_code: i16,
    /// The largest epoch not above the wanted one; −1 if there is none.
    pub leader_epoch: i32,
    /// The offset after its last record; −1 if there is no such epoch.
    pub end_offset: i64,
}

/// The answers for one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicEnds {
    /// The log.
    pub name: String,
    /// By partition, in the request's order.
    pub partitions: Vec<EpochEnd>,
}

/// Writes the body; every version has the same fields.
pub fn encode_response(writer: &mut Writer, topics: &[TopicEnds]) {
    writer.i32(0);
    writer.array(topics, |writer, topic| {
        writer.string(&topic.name);
        writer.array(&topic.partitions, |writer, end| {
            writer.i16(end.error_code);
            writer.i32(end.index);
            writer.i32(end.leader_epoch);
            writer.i64(end.end_offset);
            writer.end();
        });
        writer.end();
    });
    writer.end();
}
