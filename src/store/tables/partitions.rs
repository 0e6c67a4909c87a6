//! Partitions of logs: which files they consist of, how much of each counts, and their offsets. Part of
//! `store::tables`.

use bytes::Bytes;

use crate::model::ids::{LogId, ShardId};
use crate::store::codec::{CodecError, Reader, Writer};
use crate::store::tables::{KeyReader, Row, Table};

const VERSION: u8 = 1;

/// Rows of partitions.
#[derive(Debug)]
pub struct Partitions;

/// Key: shard u16, log u32, partition u32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionKey {
    /// Shard it belongs to.
    pub shard: ShardId,
    /// Log it belongs to.
    pub log: LogId,
    /// Its index there.
    pub partition: u32,
}

/// A partition at the checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionRow {
    /// Base offset and valid length in bytes of each segment, in order.
    pub segments: Vec<(i64, u64)>,
    /// Offset of the next record: the high watermark.
    pub next_offset: i64,
    /// First offset that may be read.
    pub log_start: i64,
    /// Kafka's leader epoch.
    pub leader_epoch: i32,
    /// State of idempotent producers; opaque here.
    pub producers: Bytes,
}

impl Table for Partitions {
    const NAME: &'static str = "partitions";
    type Key = PartitionKey;
    type Row = PartitionRow;

    fn encode_key(key: &PartitionKey, out: &mut Vec<u8>) {
        out.extend_from_slice(&key.shard.0.to_be_bytes());
        out.extend_from_slice(&key.log.0.to_be_bytes());
        out.extend_from_slice(&key.partition.to_be_bytes());
    }

    fn decode_key(bytes: &[u8]) -> Result<PartitionKey, CodecError> {
        let mut reader = KeyReader(bytes);
        let key = PartitionKey {
            shard: ShardId(reader.u16()?),
            log: LogId(reader.u32()?),
            partition: reader.u32()?,
        };
        reader.finish()?;
        Ok(key)
    }
}

impl Row for PartitionRow {
    fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = Writer(out);
        writer.u8(VERSION);
        writer.i64(self.next_offset);
        writer.i64(self.log_start);
        writer.i32(self.leader_epoch);
        writer.count(self.segments.len());
        for (base_offset, valid_len) in &self.segments {
            writer.i64(*base_offset);
            writer.varint(*valid_len);
        }
        writer.bytes(&self.producers);
    }

    fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        reader.version(VERSION)?;
        let next_offset = reader.i64()?;
        let log_start = reader.i64()?;
        let leader_epoch = reader.i32()?;
        let count = reader.count(9)?;
        let mut segments = Vec::with_capacity(count);
        for _ in 0..count {
            segments.push((reader.i64()?, reader.varint()?));
        }
        let producers = Bytes::copy_from_slice(reader.bytes()?);
        reader.finish()?;
        Ok(Self { segments, next_offset, log_start, leader_epoch, producers })
    }
}
