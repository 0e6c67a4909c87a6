//! One journal file. Part of `store::journal`.
//!
//! A segment gets its name only when its header and its first batch are synced, so a named segment always
//! begins with a whole batch. It is as long as it will ever be from the start: syncing a batch then changes
//! data only, no file metadata.

use std::io;
use std::sync::Arc;

use crate::store::disk::{Disk, DiskFile, read_full};
use crate::store::error::StoreError;
use crate::store::journal::Durability;
use crate::store::journal::batch::{BLOCK, Image};

/// Bytes before the first batch.
pub(super) const SEGMENT_HEADER: u64 = BLOCK as u64;

const MAGIC: [u8; 8] = *b"RIALTOJS";
const VERSION: u16 = 1;
const FLAG_UNSYNCED: u16 = 1;
const FLAG_PREPARED: u16 = 2;

/// The first block of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// Written without syncs: after a power cut pages may be missing in any order.
    pub(super) unsynced: bool,
    /// Every byte was written before: syncing a batch changes no file metadata.
    pub(super) prepared: bool,
    /// Random; every batch of this use of the file repeats it.
    pub(super) salt: u64,
    /// Rises with every segment; a higher one overrides a lower one from its first batch on.
    pub(super) generation: u64,
    pub(super) first_batch: u64,
    pub(super) first_lsn: u64,
    /// Length of the file; what lies beyond it is not ours.
    pub(super) file_bytes: u64,
}

impl SegmentHeader {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(BLOCK);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        let unsynced = if self.unsynced { FLAG_UNSYNCED } else { 0 };
        let prepared = if self.prepared { FLAG_PREPARED } else { 0 };
        out.extend_from_slice(&(unsynced | prepared).to_le_bytes());
        out.extend_from_slice(&(SEGMENT_HEADER as u32).to_le_bytes());
        for value in [self.salt, self.generation, self.first_batch, self.first_lsn, self.file_bytes]
        {
            out.extend_from_slice(&value.to_le_bytes());
        }
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out.resize(BLOCK, 0);
        out
    }

    /// Reads and checks the header of the file `name`.
    pub(super) fn read(disk: &dyn Disk, name: &str) -> Result<Self, StoreError> {
        let path = disk.path(name);
        let file = disk.open(name).map_err(StoreError::io(&path, "open"))?;
        let mut bytes = [0; 60];
        let count = read_full(file.as_ref(), 0, &mut bytes)
            .map_err(StoreError::io(&path, "read the segment header"))?;
        if count < bytes.len() || bytes[..8] != MAGIC {
            return Err(StoreError::corrupt(
                &path,
                0,
                "a journal segment header",
                format!("{count} bytes that are not one"),
            ));
        }
        let version = u16::from_le_bytes([bytes[8], bytes[9]]);
        if version != VERSION {
            return Err(StoreError::Version {
                file: path,
                found: version.into(),
                known: VERSION.into(),
            });
        }
        let stored = u32::from_le_bytes([bytes[56], bytes[57], bytes[58], bytes[59]]);
        let actual = crc32c::crc32c(&bytes[..56]);
        if stored != actual {
            return Err(StoreError::corrupt(
                &path,
                56,
                format!("header checksum {actual:08x}"),
                format!("{stored:08x}"),
            ));
        }
        let flags = u16::from_le_bytes([bytes[10], bytes[11]]);
        let field = |at: usize| {
            bytes.get(at..).and_then(|r| r.first_chunk()).map_or(0, |b| u64::from_le_bytes(*b))
        };
        let header = Self {
            unsynced: flags & FLAG_UNSYNCED != 0,
            prepared: flags & FLAG_PREPARED != 0,
            salt: field(16),
            generation: field(24),
            first_batch: field(32),
            first_lsn: field(40),
            file_bytes: field(48),
        };
        if parse_name(name) != Some((header.first_batch, header.generation)) {
            return Err(StoreError::corrupt(
                &path,
                32,
                "the first batch and generation that the file name says",
                format!("batch {}, generation {}", header.first_batch, header.generation),
            ));
        }
        Ok(header)
    }
}

/// Name of a segment: first batch number and generation, in hexadecimal.
pub(super) fn segment_name(first_batch: u64, generation: u64) -> String {
    format!("{first_batch:016x}-{generation:08x}.seg")
}

/// First batch number and generation of a segment's name.
pub(super) fn parse_name(name: &str) -> Option<(u64, u64)> {
    let (first, generation) = name.strip_suffix(".seg")?.split_once('-')?;
    Some((u64::from_str_radix(first, 16).ok()?, u64::from_str_radix(generation, 16).ok()?))
}

/// The segment being written.
#[derive(Debug)]
pub(super) struct Segment {
    file: Arc<dyn DiskFile>,
    header: SegmentHeader,
    offset: u64,
}

/// What a new segment starts from.
pub(super) struct Fresh<'a> {
    /// An empty file of `file_bytes`, under a name that recovery ignores.
    pub(super) temporary: &'a str,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) file_bytes: u64,
    /// See [`SegmentHeader::prepared`].
    pub(super) prepared: bool,
    pub(super) generation: u64,
    pub(super) durability: Durability,
}

impl Segment {
    /// Writes header and first batch, syncs them, and only then gives the file its name.
    pub(super) fn begin(
        disk: &dyn Disk,
        fresh: Fresh<'_>,
        image: &mut Image,
    ) -> io::Result<(Self, String)> {
        let first = image.header();
        let header = SegmentHeader {
            unsynced: fresh.durability == Durability::Os,
            prepared: fresh.prepared,
            salt: getrandom::u64().map_err(io::Error::other)?,
            generation: fresh.generation,
            first_batch: first.number,
            first_lsn: first.first_lsn,
            file_bytes: fresh.file_bytes,
        };
        fresh.file.write_at(0, &header.encode())?;
        fresh.file.write_at(SEGMENT_HEADER, image.for_segment(header.salt))?;
        fresh.file.sync_data()?;
        let name = segment_name(first.number, fresh.generation);
        disk.rename(fresh.temporary, &name)?;
        if let Err(error) = disk.sync_dir() {
            // The name may or may not be durable. Either way a later generation overrides it.
            if let Err(second) = disk.remove(&name) {
                tracing::warn!(file = %disk.path(&name).display(), error = %second, "left behind");
            }
            return Err(error);
        }
        let offset = SEGMENT_HEADER + image.len();
        Ok((Self { file: fresh.file, header, offset }, name))
    }

    /// See [`SegmentHeader::prepared`].
    pub(super) fn is_prepared(&self) -> bool {
        self.header.prepared
    }

    /// True when `image` can be appended.
    pub(super) fn fits(&self, image: &Image) -> bool {
        self.offset + image.len() <= self.header.file_bytes
    }

    /// Appends a batch and, unless durability is left to the system, syncs it. After an error this segment
    /// must not be written again.
    pub(super) fn append(&mut self, image: &mut Image, durability: Durability) -> io::Result<()> {
        self.file.write_at(self.offset, image.for_segment(self.header.salt))?;
        if durability == Durability::Fsync {
            self.file.sync_data()?;
        }
        self.offset += image.len();
        Ok(())
    }

    /// Syncs what was left to the system.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}
