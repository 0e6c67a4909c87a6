//! How far consumer groups have read. Part of `store::tables`.
//!
//! One row a partition, so that a checkpoint writes what was committed since the one before and not a whole group.

use crate::model::ids::{LogId, ShardId};
use crate::store::codec::{CodecError, Reader, Writer};
use crate::store::tables::{KeyReader, Row, Table, write_name};

const VERSION: u8 = 1;

/// Rows of committed offsets.
#[derive(Debug)]
pub struct Offsets;

/// Key: shard u16; vhost and group, each behind its length u16; log u32, partition u32.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OffsetKey {
    /// Shard it belongs to.
    pub shard: ShardId,
    /// Vhost that the group's name lives in.
    pub vhost: String,
    /// The group.
    pub group: String,
    /// The log. A later log of the same name has another id, and no offsets.
    pub log: LogId,
    /// The partition.
    pub partition: u32,
}

/// A committed offset at the checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetRow {
    /// The offset that the group reads next.
    pub offset: i64,
    /// Leader epoch of the record before it, −1 if the client said none.
    pub leader_epoch: i32,
    /// The client's own words.
    pub metadata: String,
    /// When it was committed, milliseconds since the Unix epoch.
    pub committed_ms: u64,
}

impl Table for Offsets {
    const NAME: &'static str = "offsets";
    type Key = OffsetKey;
    type Row = OffsetRow;

    fn encode_key(key: &OffsetKey, out: &mut Vec<u8>) {
        out.extend_from_slice(&key.shard.0.to_be_bytes());
        write_name(&key.vhost, out);
        write_name(&key.group, out);
        out.extend_from_slice(&key.log.0.to_be_bytes());
        out.extend_from_slice(&key.partition.to_be_bytes());
    }

    fn decode_key(bytes: &[u8]) -> Result<OffsetKey, CodecError> {
        let mut reader = KeyReader(bytes);
        let shard = ShardId(reader.u16()?);
        let (vhost, group) = (reader.name()?.to_owned(), reader.name()?.to_owned());
        let (log, partition) = (LogId(reader.u32()?), reader.u32()?);
        reader.finish()?;
        Ok(OffsetKey { shard, vhost, group, log, partition })
    }
}

impl Row for OffsetRow {
    fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = Writer(out);
        writer.u8(VERSION);
        writer.i64(self.offset);
        writer.i32(self.leader_epoch);
        writer.str(&self.metadata);
        writer.u64(self.committed_ms);
    }

    fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        reader.version(VERSION)?;
        let (offset, leader_epoch) = (reader.i64()?, reader.i32()?);
        let metadata = reader.str()?.to_owned();
        let committed_ms = reader.u64()?;
        reader.finish()?;
        Ok(Self { offset, leader_epoch, metadata, committed_ms })
    }
}
