//! Body segments that the checkpoint names: how much of each file counts, and how much of it is still in use.
//! Part of `store::tables`.

use crate::model::ids::ShardId;
use crate::store::codec::{CodecError, Reader, Writer};
use crate::store::tables::{KeyReader, Row, Table};

const VERSION: u8 = 2;
/// Earlier builds did not count live bytes.
const VERSION_UNCOUNTED: u8 = 1;

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
    /// What lives in it.
    pub live: Live,
}

/// How much of a segment is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Live {
    /// The row was written by an earlier build: not known, and [`super::body_pages`] does not name its pages.
    Uncounted,
    /// The bytes of each reference's body and its header: of a body that several queues share, several times.
    Bytes {
        /// Their sum.
        bytes: u64,
        /// Some body has, or had, several references: the sum may be more than what is in use.
        is_shared: bool,
    },
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
        match self.live {
            Live::Uncounted => {
                writer.u8(VERSION_UNCOUNTED);
                writer.varint(self.valid_len);
                writer.varint(self.live_refs);
            }
            Live::Bytes { bytes, is_shared } => {
                writer.u8(VERSION);
                writer.varint(self.valid_len);
                writer.varint(self.live_refs);
                writer.varint(bytes);
                writer.bool(is_shared);
            }
        }
    }

    fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        let version = reader.version(VERSION)?;
        let (valid_len, live_refs) = (reader.varint()?, reader.varint()?);
        let live = match version {
            VERSION_UNCOUNTED => Live::Uncounted,
            _ => Live::Bytes { bytes: reader.varint()?, is_shared: reader.bool()? },
        };
        reader.finish()?;
        Ok(Self { valid_len, live_refs, live })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{BodyRow, Live};
    use crate::store::tables::Row;

    proptest! {
        #[test]
        fn both_versions_come_back(valid_len: u64, live_refs: u64, counted: Option<(u64, bool)>) {
            let live = counted.map_or(Live::Uncounted, |(bytes, is_shared)| Live::Bytes { bytes, is_shared });
            let row = BodyRow { valid_len, live_refs, live };
            let mut bytes = Vec::new();
            row.encode(&mut bytes);
            prop_assert_eq!(BodyRow::decode(&bytes), Ok(row));
            for cut in 0..bytes.len() {
                prop_assert!(BodyRow::decode(&bytes[..cut]).is_err());
            }
        }
    }

    #[test]
    fn a_row_of_an_earlier_build_is_read() {
        let row = BodyRow { valid_len: 300, live_refs: 5, live: Live::Uncounted };
        assert_eq!(BodyRow::decode(&[1, 0xAC, 2, 5]), Ok(row));
    }
}
