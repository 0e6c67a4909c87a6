//! From offset and time to a place in a segment, sparse. Part of `store::partition`.
//!
//! Kept in memory; the copy on disk only saves scanning at start. It is not synced: its checksum says whether it
//! is whole, and without it the segment is scanned.

use crate::store::codec::{CodecError, Reader, Writer};
use crate::store::partition::header::BatchInfo;

const MAGIC: [u8; 8] = *b"RIALTOIX";
const VERSION: u8 = 1;
/// Bytes of an entry on disk.
const ENTRY_BYTES: usize = 24;

/// A batch's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// Base offset of the batch.
    pub(super) offset: i64,
    /// Where in the segment it begins.
    pub(super) position: u64,
    /// Latest timestamp of all batches of the segment before it; -1 for none.
    pub(super) timestamp_before: i64,
}

/// Entries of a segment, and what is known of its first `covered` bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Index {
    pub(super) entries: Vec<Entry>,
    /// Bytes of the segment that were read for this.
    pub(super) covered: u64,
    /// Offset after the last batch in them.
    pub(super) next_offset: i64,
    /// Latest timestamp in them; -1 for none.
    pub(super) max_timestamp: i64,
}

impl Index {
    pub(super) fn new(base_offset: i64) -> Self {
        Self { entries: Vec::new(), covered: 0, next_offset: base_offset, max_timestamp: -1 }
    }

    /// Takes note of what follows the covered bytes: one batch, or several in one append.
    pub(super) fn extend(&mut self, interval: u64, batch: &BatchInfo) {
        let position = self.covered;
        if self.entries.last().is_none_or(|last| position - last.position >= interval) {
            let timestamp_before = self.max_timestamp;
            self.entries.push(Entry { offset: batch.base_offset, position, timestamp_before });
        }
        self.covered += batch.bytes;
        self.next_offset = batch.last_offset + 1;
        self.max_timestamp = self.max_timestamp.max(batch.max_timestamp);
    }

    /// Where to begin to look for the batch with `offset`.
    pub(super) fn position_of(&self, offset: i64) -> u64 {
        let after = self.entries.partition_point(|entry| entry.offset <= offset);
        self.entry_before(after).map_or(0, |entry| entry.position)
    }

    /// Where to begin to look for the first batch with a timestamp of at least `timestamp`.
    pub(super) fn position_of_time(&self, timestamp: i64) -> u64 {
        let after = self.entries.partition_point(|entry| entry.timestamp_before < timestamp);
        self.entry_before(after).map_or(0, |entry| entry.position)
    }

    fn entry_before(&self, after: usize) -> Option<&Entry> {
        after.checked_sub(1).and_then(|index| self.entries.get(index))
    }

    /// Forgets what lies at `valid_len` and beyond; what is left is covered up to its last entry only.
    pub(super) fn cut(&mut self, base_offset: i64, valid_len: u64) {
        if self.covered <= valid_len {
            return;
        }
        let kept = self.entries.partition_point(|entry| entry.position < valid_len);
        self.entries.truncate(kept);
        // The last entry's own batch must be read again, and is then entered again.
        let last = self.entries.pop();
        self.covered = last.map_or(0, |entry| entry.position);
        self.next_offset = last.map_or(base_offset, |entry| entry.offset);
        self.max_timestamp = last.map_or(-1, |entry| entry.timestamp_before);
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.entries.len() * ENTRY_BYTES);
        let mut writer = Writer(&mut out);
        writer.raw(&MAGIC);
        writer.u8(VERSION);
        writer.u64(self.covered);
        writer.i64(self.next_offset);
        writer.i64(self.max_timestamp);
        writer.count(self.entries.len());
        for entry in &self.entries {
            writer.i64(entry.offset);
            writer.u64(entry.position);
            writer.i64(entry.timestamp_before);
        }
        let crc = crc32c::crc32c(&out);
        Writer(&mut out).u32(crc);
        out
    }

    /// Reads what [`Index::encode`] wrote; `None` when it is anything else.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
            return None;
        }
        Self::decode_body(body).ok().flatten()
    }

    fn decode_body(body: &[u8]) -> Result<Option<Self>, CodecError> {
        let mut reader = Reader::new(body);
        if reader.array()? != MAGIC {
            return Ok(None);
        }
        reader.version(VERSION)?;
        let covered = reader.u64()?;
        let next_offset = reader.i64()?;
        let max_timestamp = reader.i64()?;
        let count = reader.count(ENTRY_BYTES)?;
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            entries.push(Entry {
                offset: reader.i64()?,
                position: reader.u64()?,
                timestamp_before: reader.i64()?,
            });
        }
        reader.finish()?;
        Ok(Some(Self { entries, covered, next_offset, max_timestamp }))
    }
}
