//! Body segments: message bodies that outlived their place in the journal, written once and shared by
//! reference. Part of `store`.
//!
//! - [`segments`] all of them: open, read, unlink
//! - [`writer`] the bodies of one checkpoint
//! - [`check`] every body of a segment, wanted or not
//!
//! Only checkpoints write here, one after the other; queues read. A body is reached through a [`BodyRef`], which
//! checkpointed rows hold. Who counts the references and moves what is left of a mostly dead segment is the
//! checkpoint. `docs/storage.md` draws the bytes.
//!
//! What is moved goes into segments of its own ([`Lane`]): it has outlived others and will outlive more, so it would
//! only be moved again and again from among fresh bodies.

pub mod check;
mod segments;
#[cfg(test)]
mod tests;
mod writer;

pub use crate::store::bodies::segments::BodyStore;
pub use crate::store::bodies::writer::BodyWriter;
use crate::store::codec::{CodecError, Reader, Writer};
use crate::store::disk::{Disk, DiskFile, read_full};
use crate::store::error::StoreError;
use crate::store::journal::RECORD_BYTES_MAX;

const MAGIC: [u8; 8] = *b"RIALTOBS";
const VERSION: u16 = 1;
/// Bytes before the first body of a segment.
const SEGMENT_HEADER: usize = 16;
/// Bytes before each body: length and checksum.
const RECORD_HEADER: usize = 8;
/// Longest body: what a journal record can carry.
const BODY_BYTES_MAX: usize = RECORD_BYTES_MAX;

/// Where a body lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BodyRef {
    /// Number of the file.
    pub segment: u32,
    /// Where in it the body's header begins.
    pub offset: u32,
    /// Length of the body in bytes.
    pub len: u32,
}

impl BodyRef {
    /// Appends its twelve bytes.
    pub fn encode(&self, writer: &mut Writer<'_>) {
        writer.u32(self.segment);
        writer.u32(self.offset);
        writer.u32(self.len);
    }

    /// Takes twelve bytes.
    ///
    /// # Errors
    /// There are fewer.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self { segment: reader.u32()?, offset: reader.u32()?, len: reader.u32()? })
    }
}

/// Which bodies share segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Those that came since the checkpoint before.
    Fresh,
    /// Those that were moved out of mostly dead segments.
    Moved,
}

impl Lane {
    /// How many there are.
    const COUNT: usize = 2;
}

/// Bytes that a body of `len` bytes takes in its segment.
#[must_use]
pub fn stored_bytes(len: u32) -> u64 {
    RECORD_HEADER as u64 + u64::from(len)
}

/// Bytes of a segment of `valid_len` that are bodies.
#[must_use]
pub fn body_bytes(valid_len: u64) -> u64 {
    valid_len.saturating_sub(SEGMENT_HEADER as u64)
}

/// Limits of a [`BodyStore`].
#[derive(Debug, Clone, Copy)]
pub struct BodyOptions {
    /// Length at which a segment is full; a longer body gets one of its own.
    pub segment_bytes: u32,
    /// Files kept open for reading.
    pub handles_max: usize,
}

impl Default for BodyOptions {
    fn default() -> Self {
        Self { segment_bytes: 64 * 1024 * 1024, handles_max: 64 }
    }
}

/// Name of a segment's file.
#[must_use]
pub fn name(segment: u32) -> String {
    format!("{segment:08x}.seg")
}

fn number(name: &str) -> Option<u32> {
    u32::from_str_radix(name.strip_suffix(".seg")?, 16).ok()
}

fn header() -> Vec<u8> {
    let mut out = Vec::with_capacity(SEGMENT_HEADER);
    let mut writer = Writer(&mut out);
    writer.raw(&MAGIC);
    writer.u16(VERSION);
    writer.u16(0);
    let crc = crc32c::crc32c(&out);
    Writer(&mut out).u32(crc);
    out
}

fn check_header(disk: &dyn Disk, name: &str, file: &dyn DiskFile) -> Result<(), StoreError> {
    let path = disk.path(name);
    let mut bytes = [0; SEGMENT_HEADER];
    let count =
        read_full(file, 0, &mut bytes).map_err(StoreError::io(&path, "read the header of"))?;
    if count == SEGMENT_HEADER && bytes[..] == header() {
        return Ok(());
    }
    let version = u16::from_le_bytes([bytes[8], bytes[9]]);
    if bytes[..8] == MAGIC && version > VERSION {
        return Err(StoreError::Version {
            file: path,
            found: version.into(),
            known: VERSION.into(),
        });
    }
    Err(StoreError::corrupt(&path, 0, "the header of a body segment", format!("{bytes:02x?}")))
}
