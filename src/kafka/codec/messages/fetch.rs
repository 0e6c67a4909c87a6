//! Fetch (1), versions 4–18: reads batches, waiting for them if need be. Part of `kafka/codec`.
//!
//! | request | versions |
//! |---|---|
//! | replica id `i32`, −1 for consumers | 4–14 |
//! | max wait `i32` ms, min bytes `i32`, max bytes `i32`, isolation level `i8` | 4– |
//! | session id `i32`, session epoch `i32` (KIP-227) | 7– |
//! | `[` name `s` (4–12) or topic id `uuid` (13–), `[` partition, tags `]`, tags `]` | 4– |
//! | partition: index `i32`, leader epoch `i32` (9–), fetch offset `i64`, last fetched epoch `i32` (12–), log start offset `i64` (5–), max bytes `i32` | 4– |
//! | forgotten `[` name or topic id, `[i32]`, tags `]` | 7– |
//! | rack `s` | 11– |
//! | tags (the cluster's id, what replicas say of themselves: 12–, 15–, 17–, 18–, all of them skipped) | 12– |
//!
//! | response | versions |
//! |---|---|
//! | throttle time `i32` ms | 4– |
//! | error `i16`, session id `i32` (always 0: no sessions, clients send full fetches) | 7– |
//! | `[` name or topic id, `[` partition, tags `]`, tags `]` | 4– |
//! | partition: index `i32`, error `i16`, high watermark `i64`, last stable offset `i64`, log start offset `i64` (5–), aborted transactions `?[]`, preferred replica `i32` (11–), records `bytes` | 4– |
//! | tags | 12– |

use bytes::Bytes;

use crate::kafka::codec::primitives::{DecodeError, Reader, Writer};

/// What to read, and how long to wait for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchRequest<'a> {
    /// Longest wait for `min_bytes`.
    pub max_wait_ms: i32,
    /// Below this the answer waits.
    pub min_bytes: i32,
    /// Wished bound of the answer; the first batch comes whole even so (KIP-74).
    pub max_bytes: i32,
    /// 0 everything, 1 committed only.
    pub isolation_level: i8,
    /// Of a fetch session that the client believes in; 0 for none.
    pub session_id: i32,
    /// −1 full fetch without session, 0 full fetch that asks for one.
    pub session_epoch: i32,
    /// By log.
    pub topics: Vec<FetchTopic<'a>>,
}

/// What to read of one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchTopic<'a> {
    /// Empty from version 13.
    pub name: &'a str,
    /// All zero below version 13.
    pub id: [u8; 16],
    /// By partition.
    pub partitions: Vec<FetchPartition>,
}

/// What to read of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchPartition {
    /// The partition.
    pub index: i32,
    /// What the client believes, −1 if nothing.
    pub leader_epoch: i32,
    /// First offset wanted.
    pub offset: i64,
    /// Wished bound of this partition's part.
    pub max_bytes: i32,
}

impl<'a> FetchRequest<'a> {
    /// Reads a body laid out at `version`.
    pub fn decode(mut reader: Reader<'a>, version: i16) -> Result<Self, DecodeError> {
        if version <= 14 {
            reader.i32()?;
        }
        let max_wait_ms = reader.i32()?;
        let min_bytes = reader.i32()?;
        let max_bytes = reader.i32()?;
        let isolation_level = reader.i8()?;
        let (session_id, session_epoch) =
            if version >= 7 { (reader.i32()?, reader.i32()?) } else { (0, -1) };
        let topics = reader.array(|reader| {
            let (name, id) = topic_name(reader, version)?;
            let partitions = reader.array(|reader| partition(reader, version))?;
            reader.end()?;
            Ok(FetchTopic { name, id, partitions })
        })?;
        if version >= 7 {
            reader.array(|reader| {
                topic_name(reader, version)?;
                reader.array(Reader::i32)?;
                reader.end()
            })?;
        }
        if version >= 11 {
            reader.string()?;
        }
        reader.end()?;
        Ok(Self {
            max_wait_ms,
            min_bytes,
            max_bytes,
            isolation_level,
            session_id,
            session_epoch,
            topics,
        })
    }
}

fn topic_name<'a>(
    reader: &mut Reader<'a>,
    version: i16,
) -> Result<(&'a str, [u8; 16]), DecodeError> {
    if version <= 12 { Ok((reader.string()?, [0; 16])) } else { Ok(("", reader.uuid()?)) }
}

fn partition(reader: &mut Reader<'_>, version: i16) -> Result<FetchPartition, DecodeError> {
    let index = reader.i32()?;
    let leader_epoch = if version >= 9 { reader.i32()? } else { -1 };
    let offset = reader.i64()?;
    if version >= 12 {
        reader.i32()?;
    }
    if version >= 5 {
        reader.i64()?;
    }
    let max_bytes = reader.i32()?;
    reader.end()?;
    Ok(FetchPartition { index, leader_epoch, offset, max_bytes })
}

/// What was read of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionRecords {
    /// The partition.
    pub index: i32,
    /// 0, or why nothing was read.
    pub error_code: i16,
    /// End of what may be read; −1 with an error. The last stable offset too: there are no transactions.
    pub high_watermark: i64,
    /// First offset still there; −1 with an error.
    pub log_start_offset: i64,
    /// Whole batches. Empty is sent as a length of 0: some librdkafka versions misread null.
    pub records: Bytes,
}

/// What was read of one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicRecords {
    /// Sent below version 13.
    pub name: String,
    /// Sent from version 13.
    pub id: [u8; 16],
    /// By partition, in the request's order.
    pub partitions: Vec<PartitionRecords>,
}

/// Writes the body at `version`; `error_code` speaks of the whole request.
pub fn encode_response(
    writer: &mut Writer,
    version: i16,
    error_code: i16,
    topics: &[TopicRecords],
) {
    writer.i32(0);
    if version >= 7 {
        writer.i16(error_code);
        writer.i32(0);
    }
    writer.array(topics, |writer, topic| {
        if version <= 12 {
            writer.string(&topic.name);
        } else {
            writer.uuid(&topic.id);
        }
        writer.array(&topic.partitions, |writer, partition| {
            writer.i32(partition.index);
            writer.i16(partition.error_code);
            writer.i64(partition.high_watermark);
            writer.i64(partition.high_watermark);
            if version >= 5 {
                writer.i64(partition.log_start_offset);
            }
            writer.array::<()>(&[], |_, ()| {});
            if version >= 11 {
                writer.i32(-1);
            }
            writer.bytes(&partition.records);
            writer.end();
        });
        writer.end();
    });
    writer.end();
}
