//! A batch: the records written and synced at once. Part of `store::journal`.
//!
//! On disk a batch begins on a block boundary, so that no write ever touches a sector that holds an
//! acknowledged batch, and so that recovery knows where to look for one. Its header carries the salt of the
//! segment it was written for: what an earlier use of the file left behind, or what a client put into a
//! payload, is never taken for a batch. `docs/storage.md` draws the bytes.

use bytes::Bytes;

use crate::model::ids::Lsn;

/// Batches begin at multiples of this many bytes.
pub(super) const BLOCK: usize = 512;
/// Bytes before a batch's body.
pub(super) const HEADER: usize = 48;
/// Bytes before each record: its length.
pub(super) const RECORD_PREFIX: usize = 4;

const MAGIC: [u8; 4] = *b"RBAT";
const VERSION: u16 = 1;

/// Records that became durable together, in LSN order, with those who wait for them.
#[derive(Debug)]
pub struct Batch<W> {
    /// Place of the batch in the journal, counted from 1.
    pub number: u64,
    /// LSN of the first record; the others follow without gaps.
    pub first_lsn: Lsn,
    /// Number of records.
    pub count: u32,
    /// The records as they lie on disk, each behind its length (u32, little endian).
    pub records: Bytes,
    /// Who waits for which record, in LSN order; empty in a replay.
    pub waiters: Vec<(Lsn, W)>,
}

impl<W> Batch<W> {
    /// The records; each shares this batch's memory.
    #[must_use]
    pub fn iter(&self) -> Records<'_> {
        Records { body: &self.records, at: 0, lsn: self.first_lsn.0, left: self.count }
    }

    /// What this batch counts against the submit bound, for [`super::Journal::applied`].
    #[must_use]
    pub fn submitted_bytes(&self) -> usize {
        self.records.len()
    }

    /// LSN of the record after the last one.
    #[must_use]
    pub fn next_lsn(&self) -> Lsn {
        Lsn(self.first_lsn.0 + u64::from(self.count))
    }
}

/// A batch whose records do not fill it exactly, although its checksum holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("record {lsn} is malformed at byte {at} of its batch")]
pub struct MalformedRecord {
    /// The record's LSN.
    pub lsn: Lsn,
    /// Where in the batch's body.
    pub at: usize,
}

/// The records of a batch; ends after the first error.
#[derive(Debug)]
pub struct Records<'a> {
    body: &'a Bytes,
    at: usize,
    lsn: u64,
    left: u32,
}

impl Iterator for Records<'_> {
    type Item = Result<(Lsn, Bytes), MalformedRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            if self.at == self.body.len() {
                return None;
            }
            // Bytes after the last record: report once.
            let at = std::mem::replace(&mut self.at, self.body.len());
            return Some(Err(MalformedRecord { lsn: Lsn(self.lsn), at }));
        }
        let lsn = Lsn(self.lsn);
        let start = self.at + RECORD_PREFIX;
        let length = self.body.get(self.at..).and_then(|rest| rest.first_chunk::<RECORD_PREFIX>());
        let end = length.and_then(|bytes| start.checked_add(u32::from_le_bytes(*bytes) as usize));
        match end.filter(|end| *end <= self.body.len()) {
            Some(end) => {
                self.at = end;
                self.lsn += 1;
                self.left -= 1;
                Some(Ok((lsn, self.body.slice(start..end))))
            }
            None => {
                let at = std::mem::replace(&mut self.at, self.body.len());
                self.left = 0;
                Some(Err(MalformedRecord { lsn, at }))
            }
        }
    }
}

/// The first bytes of a batch on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BatchHeader {
    pub(super) salt: u64,
    pub(super) number: u64,
    pub(super) first_lsn: u64,
    pub(super) count: u32,
    pub(super) body_bytes: u32,
    pub(super) body_crc: u32,
}

/// Why bytes are not a batch header of this segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoHeader {
    /// Nothing of this segment's: zeros, or what an earlier use left.
    Absent,
    /// This segment's, but damaged or half written.
    Damaged,
    /// Of a newer build.
    Version(u16),
}

impl BatchHeader {
    pub(super) fn encode(&self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        out[..4].copy_from_slice(&MAGIC);
        out[4..6].copy_from_slice(&VERSION.to_le_bytes());
        out[8..16].copy_from_slice(&self.salt.to_le_bytes());
        out[16..24].copy_from_slice(&self.number.to_le_bytes());
        out[24..32].copy_from_slice(&self.first_lsn.to_le_bytes());
        out[32..36].copy_from_slice(&self.count.to_le_bytes());
        out[36..40].copy_from_slice(&self.body_bytes.to_le_bytes());
        out[40..44].copy_from_slice(&self.body_crc.to_le_bytes());
        let crc = crc32c::crc32c(&out[..44]);
        out[44..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a header that must belong to the segment with this `salt`.
    pub(super) fn decode(bytes: &[u8; HEADER], salt: u64) -> Result<Self, NoHeader> {
        if bytes[..4] != MAGIC || u64_at(bytes, 8) != salt {
            return Err(NoHeader::Absent);
        }
        if crc32c::crc32c(&bytes[..44]) != u32_at(bytes, 44) {
            return Err(NoHeader::Damaged);
        }
        match u16::from_le_bytes([bytes[4], bytes[5]]) {
            VERSION => {}
            other => return Err(NoHeader::Version(other)),
        }
        Ok(Self {
            salt,
            number: u64_at(bytes, 16),
            first_lsn: u64_at(bytes, 24),
            count: u32_at(bytes, 32),
            body_bytes: u32_at(bytes, 36),
            body_crc: u32_at(bytes, 40),
        })
    }

    /// Bytes this batch takes on disk, padding included.
    pub(super) fn disk_bytes(&self) -> u64 {
        padded(HEADER + self.body_bytes as usize) as u64
    }
}

/// `bytes` rounded up to whole blocks.
pub(super) fn padded(bytes: usize) -> usize {
    bytes.div_ceil(BLOCK) * BLOCK
}

/// The newest batch format this build reads.
pub(super) fn known_version() -> u32 {
    VERSION.into()
}

fn u64_at(bytes: &[u8; HEADER], at: usize) -> u64 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |b| u64::from_le_bytes(*b))
}

fn u32_at(bytes: &[u8; HEADER], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |b| u32::from_le_bytes(*b))
}

/// A batch on its way to disk: header room, body and padding in one buffer, written in one call.
#[derive(Debug)]
pub(super) struct Image {
    bytes: Vec<u8>,
    header: BatchHeader,
}

/// The largest buffer that is filled again.
const BUFFER_BYTES_MAX: usize = 2 * 1024 * 1024;

impl Image {
    /// Takes a buffer of [`HEADER`] free bytes followed by the body.
    pub(super) fn new(mut bytes: Vec<u8>, number: u64, first_lsn: u64, count: u32) -> Self {
        let body = bytes.get(HEADER..).unwrap_or_default();
        let header = BatchHeader {
            salt: 0,
            number,
            first_lsn,
            count,
            // The queue keeps a batch's body below RECORD_BYTES_MAX and a record prefix.
            body_bytes: body.len() as u32,
            body_crc: crc32c::crc32c(body),
        };
        bytes.resize(padded(HEADER + header.body_bytes as usize), 0);
        Self { bytes, header }
    }

    pub(super) fn header(&self) -> BatchHeader {
        self.header
    }

    /// Length on disk.
    pub(super) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The bytes to write into the segment with this salt.
    pub(super) fn for_segment(&mut self, salt: u64) -> &[u8] {
        self.header.salt = salt;
        let header = self.header.encode();
        if let Some(room) = self.bytes.first_chunk_mut::<HEADER>() {
            *room = header;
        }
        &self.bytes
    }

    /// The batch as the applier gets it, and its buffer if that may be filled again.
    ///
    /// Messages may keep the records long: they are copied out of a buffer that grew by doubling, and the buffer's
    /// memory stays warm.
    pub(super) fn into_batch<W>(self, waiters: Vec<(Lsn, W)>) -> (Batch<W>, Option<Vec<u8>>) {
        let end = HEADER + self.header.body_bytes as usize;
        let records = self.bytes.get(HEADER..end).unwrap_or_default();
        let (records, buffer) = if self.bytes.capacity() <= BUFFER_BYTES_MAX {
            (Bytes::copy_from_slice(records), Some(self.bytes))
        } else if self.bytes.capacity() > end + end / 4 {
            (Bytes::copy_from_slice(records), None)
        } else {
            (Bytes::from(self.bytes).slice(HEADER..end), None)
        };
        let batch = Batch {
            number: self.header.number,
            first_lsn: Lsn(self.header.first_lsn),
            count: self.header.count,
            records,
            waiters,
        };
        (batch, buffer)
    }
}
