//! Every batch of a partition, its checksum and its place. Part of `store::partition`.

use crate::store::disk::listed::{Listed, open_listed};
use crate::store::disk::{Disk, checksum, read_full};
use crate::store::error::StoreError;
use crate::store::partition::header::{BATCH_HEADER_BYTES, BatchInfo};
use crate::store::partition::index::Index;
use crate::store::partition::segment::{index_name, log_name, stored_index};
use crate::store::tables::partitions::PartitionRow;
use crate::store::verify::{Fault, Inspector};

/// Where a batch's checksum stands, and where what it covers begins (KIP-98).
const CRC_AT: usize = 17;
const COVERED_AT: u64 = 21;

/// Format version, which the names of segments carry.
const VERSION: u32 = 1;

/// Opens a segment of which `valid_len` bytes count.
///
/// # Errors
/// [`StoreError::Missing`] for a missing or short file, [`StoreError::Version`] when a newer build wrote it, under
/// a name of its own; [`StoreError::Io`].
pub(super) fn open_segment(
    disk: &dyn Disk,
    base_offset: i64,
    valid_len: u64,
) -> Result<Listed, StoreError> {
    let opened = open_listed(disk, &log_name(base_offset), "log segment", valid_len);
    let Err(StoreError::Missing { .. }) = &opened else { return opened };
    let version_of = |name: &str| -> Option<u32> {
        let rest = name.strip_prefix(&format!("{base_offset:020}.v"))?;
        rest.strip_suffix(".log")?.parse().ok().filter(|version| *version > VERSION)
    };
    let names = disk.list().unwrap_or_default();
    match names.iter().find_map(|name| Some((name, version_of(name)?))) {
        Some((name, found)) => {
            Err(StoreError::Version { file: disk.path(name), found, known: VERSION })
        }
        None => opened,
    }
}

/// Reads what the checkpoint's row counts of a partition; returns how many batches that is.
pub fn check(disk: &dyn Disk, row: &PartitionRow, inspector: &mut dyn Inspector) -> u64 {
    let mut batches = 0;
    let mut next = None;
    for (base, valid_len) in &row.segments {
        if let Some(expected) = next.filter(|next| next != base) {
            let file = disk.path(&log_name(*base)).display().to_string();
            let expected = format!("offset {expected} to begin this segment");
            inspector.fault(Fault::at(file, 0, expected, format!("{base}")));
        }
        match segment(disk, *base, *valid_len, &mut batches, inspector) {
            Ok(end) => next = Some(end),
            Err(error) => {
                inspector.fault(error.into());
                next = None;
            }
        }
    }
    let row_of = || format!("row of {}", disk.path("").display());
    if let Some(end) = next.filter(|end| *end != row.next_offset) {
        let expected = format!("the last segment to end before offset {}", row.next_offset);
        inspector.fault(Fault::of(row_of(), expected, format!("{end}")));
    }
    let first = row.segments.first().map_or(row.next_offset, |(base, _)| *base);
    if row.log_start < first || row.log_start > row.next_offset {
        let expected = format!("a start between offsets {first} and {}", row.next_offset);
        inspector.fault(Fault::of(row_of(), expected, format!("{}", row.log_start)));
    }
    batches
}

/// One segment; returns the offset after it.
fn segment(
    disk: &dyn Disk,
    base: i64,
    valid_len: u64,
    batches: &mut u64,
    inspector: &mut dyn Inspector,
) -> Result<i64, StoreError> {
    let listed = open_segment(disk, base, valid_len)?;
    let (file, path) = (listed.file.as_ref(), listed.path);
    let name = path.display().to_string();
    let mut compared = Compared::load(disk, base, inspector);
    let (mut position, mut next) = (0, base);
    while position < valid_len {
        let mut header = [0; BATCH_HEADER_BYTES];
        let count = read_full(file, position, &mut header)
            .map_err(StoreError::io(&path, "read a batch"))?;
        let left = valid_len - position;
        let batch = BatchInfo::parse(header.get(..count).unwrap_or_default());
        let Some(batch) = batch.filter(|batch| batch.bytes <= left) else {
            // Where the next one would begin is not known.
            let expected = format!("a record batch within the {left} bytes that count");
            return Err(StoreError::corrupt(&path, position, expected, "no such batch"));
        };
        let stored = header.get(CRC_AT..).and_then(|rest| rest.first_chunk());
        let stored = stored.map_or(0, |bytes| u32::from_be_bytes(*bytes));
        let crc = checksum(file, position + COVERED_AT, position + batch.bytes)
            .map_err(StoreError::io(&path, "read a batch"))?;
        if crc != stored {
            let expected = format!("a batch with checksum {stored:08x}");
            inspector.fault(Fault::at(name.clone(), position, expected, format!("{crc:08x}")));
        }
        if batch.base_offset != next {
            let expected = format!("a batch that begins with offset {next}");
            let found = format!("{}", batch.base_offset);
            inspector.fault(Fault::at(name.clone(), position, expected, found));
        }
        compared.batch(position, &batch, inspector);
        inspector.read(batch.bytes);
        *batches += 1;
        position += batch.bytes;
        next = batch.last_offset.saturating_add(1);
    }
    Ok(next)
}

/// The index of a segment beside its batches. One that is damaged is made anew at the next start; one that is
/// whole and wrong would mislead readers.
struct Compared {
    name: String,
    index: Option<Index>,
    /// Entries seen.
    at: usize,
    timestamp_before: i64,
}

impl Compared {
    fn load(disk: &dyn Disk, base: i64, inspector: &mut dyn Inspector) -> Self {
        let name = disk.path(&index_name(base)).display().to_string();
        let index = match stored_index(disk, base) {
            None => None,
            Some(bytes) => {
                let index = Index::decode(&bytes);
                if index.is_none() {
                    inspector.note(format!("{name}: damaged; it is made anew at the next start"));
                }
                index
            }
        };
        Self { name, index, at: 0, timestamp_before: -1 }
    }

    fn batch(&mut self, position: u64, batch: &BatchInfo, inspector: &mut dyn Inspector) {
        let before = self.timestamp_before;
        self.timestamp_before = before.max(batch.max_timestamp);
        let Some(entry) = self.index.as_ref().and_then(|index| index.entries.get(self.at)) else {
            return;
        };
        if entry.position > position {
            return;
        }
        let found = format!("offset {} at byte {}", entry.offset, entry.position);
        let is_right = entry.position == position
            && entry.offset == batch.base_offset
            && entry.timestamp_before == before;
        if !is_right {
            let expected = format!("an entry for offset {} at byte {position}", batch.base_offset);
            inspector.fault(Fault::of(self.name.clone(), expected, found));
            self.index = None;
        }
        self.at += 1;
    }
}
