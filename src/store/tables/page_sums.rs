//! What a page of a queue's index comes to, so that a start reads no page. Part of `store::tables`.
//!
//! Written and deleted with the page's row. That all of them are right is said by [`super::db::Db::has_page_sums`]: an
//! earlier build writes pages without sums.

use crate::store::codec::{CodecError, Reader, Writer};
use crate::store::tables::queue_pages::{PageKey, QueuePages};
use crate::store::tables::{Row, Table};

const VERSION: u8 = 1;

/// Sums of pages, by the pages' own keys.
#[derive(Debug)]
pub struct PageSums;

/// The messages of a page, added up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PageSum {
    /// Bytes of their bodies.
    pub bytes: u64,
    /// Bytes of their payloads as far as limits count them.
    pub payload_bytes: u64,
    /// Order of the last of them.
    pub newest: u64,
    /// How many there are.
    pub live: u32,
    /// Place of the first of them in the page.
    pub first: u32,
}

impl Table for PageSums {
    const NAME: &'static str = "page_sums";
    type Key = PageKey;
    type Row = PageSum;

    fn encode_key(key: &PageKey, out: &mut Vec<u8>) {
        QueuePages::encode_key(key, out);
    }

    fn decode_key(bytes: &[u8]) -> Result<PageKey, CodecError> {
        QueuePages::decode_key(bytes)
    }
}

impl Row for PageSum {
    fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = Writer(out);
        writer.u8(VERSION);
        writer.varint(self.live.into());
        writer.varint(self.first.into());
        writer.varint(self.bytes);
        writer.varint(self.payload_bytes);
        writer.varint(self.newest);
    }

    fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        reader.version(VERSION)?;
        let (live, first) = (reader.varint_u32()?, reader.varint_u32()?);
        let (bytes, payload_bytes) = (reader.varint()?, reader.varint()?);
        let row = Self { bytes, payload_bytes, newest: reader.varint()?, live, first };
        reader.finish()?;
        Ok(row)
    }
}
