//! Body segments that the checkpoint names: how much of each file counts, and how much of it is still in use.
//! Part of `store::tables`.

use crate::model::ids::ShardId;
use crate::store::codec::{CodecError, Reader, Writer};
use crate::store::tables::{KeyReader, Row, Table};

const VERSION: u8 = 1;

/// Rows of [`crate::store::bodies`]' files.
#[derive(Debug)]
pub struct Bodies;

/// Key: shard u16, segment u32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BodyKey {
    /// Shard it belongs to.
    pub shard: ShardId,
    /// Number of the file.
    pub segment: u32,
}

/// A body segment at the checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyRow {
    /// Bytes of the file that count.
    pub valid_len: u64,
    /// References from queues into it; at 0 the file can go.
    pub live_refs: u64,
}

impl Table for Bodies {
    const NAME: &'static str = "bodies";
    type Key = BodyKey;
    type Row = BodyRow;

    fn encode_key(key: &BodyKey, out: &mut Vec<u8>) {
        out.extend_from_slice(&key.shard.0.to_be_bytes());
        out.extend_from_slice(&key.segment.to_be_bytes());
    }

    fn decode_key(bytes: &[u8]) -> Result<BodyKey, CodecError> {
        let mut reader = KeyReader(bytes);
        let key = BodyKey { shard: ShardId(reader.u16()?), segment: reader.u32()? };
        reader.finish()?;
        Ok(key)
    }
}

impl Row for BodyRow {
    fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = Writer(out);
        writer.u8(VERSION);
        writer.varint(self.valid_len);
        writer.varint(self.live_refs);
    }

    fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        reader.version(VERSION)?;
        let row = Self { valid_len: reader.varint()?, live_refs: reader.varint()? };
        reader.finish()?;
        Ok(row)
    }
}
