//! What of a journal belongs into a copy of it that is taken while it is written. Part of `store::journal`.
//!
//! Everything up to a durable record lies whole on disk; what follows may be half written. So a copy takes the
//! segments from the checkpoint's batch on, the last one of them up to that record, and is a journal like any other.

use crate::model::ids::Lsn;
use crate::store::disk::{Disk, DiskFile, read_full};
use crate::store::error::StoreError;
use crate::store::journal::Position;
use crate::store::journal::batch::{BatchHeader, HEADER};
use crate::store::journal::recovery::missing;
use crate::store::journal::segment::{SEGMENT_HEADER, SegmentHeader, parse_name};

/// The beginning of a segment that a copy needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Name of the file.
    pub name: String,
    /// How many bytes of it.
    pub bytes: u64,
    /// How long the file is; the rest are zeros in a copy.
    pub file_bytes: u64,
}

/// The segments that hold the batches from `from` on up to the record `last`, which is durable. Nothing that holds
/// them may be trimmed meanwhile.
///
/// # Errors
/// [`StoreError::Missing`] when the journal does not reach from the one to the other, [`StoreError::Corrupt`],
/// [`StoreError::Version`], [`StoreError::Io`].
pub fn extents(disk: &dyn Disk, from: Position, last: Lsn) -> Result<Vec<Extent>, StoreError> {
    let names = disk.list().map_err(StoreError::io(&disk.path(""), "list the journal"))?;
    let mut segments: Vec<(u64, u64, String)> = names
        .into_iter()
        .filter_map(|name| parse_name(&name).map(|(first, generation)| (generation, first, name)))
        .collect();
    segments.sort_unstable();
    // A later segment overrides earlier ones from its first batch on.
    let mut limit = u64::MAX;
    let mut wanted = Vec::new();
    for (_, first, name) in segments.into_iter().rev() {
        if first < limit {
            wanted.push((name, limit));
            limit = first;
        }
        if first <= from.batch {
            break;
        }
    }
    wanted.reverse();
    if limit > from.batch {
        return match last.0 < from.lsn.0 && from == Position::START {
            true => Ok(Vec::new()),
            false => Err(missing(disk, from, "no segment reaches back to it".into())),
        };
    }
    let mut extents = Vec::new();
    let mut reached = Lsn(0);
    for (name, limit) in wanted {
        let (extent, end) = walk(disk, name, limit, last)?;
        // A segment always begins with a batch: one whose first came after `last` is no part of the copy.
        if extent.bytes > SEGMENT_HEADER {
            extents.push(extent);
        }
        reached = end;
        if end > last {
            break;
        }
    }
    if reached <= last {
        return Err(missing(disk, from, format!("it ends before record {reached}")));
    }
    Ok(extents)
}

/// Steps over the batches before `limit` that begin up to `last`; returns the record after them too.
fn walk(disk: &dyn Disk, name: String, limit: u64, last: Lsn) -> Result<(Extent, Lsn), StoreError> {
    let path = disk.path(&name);
    let head = SegmentHeader::read(disk, &name)?;
    let file = disk.open(&name).map_err(StoreError::io(&path, "open"))?;
    let (mut batch, mut lsn, mut offset) = (head.first_batch, head.first_lsn, SEGMENT_HEADER);
    while batch < limit && lsn <= last.0 {
        let header = read_header(file.as_ref(), head.salt, offset)
            .map_err(StoreError::io(&path, "read a journal segment"))?
            .filter(|header| header.number == batch && header.first_lsn == lsn);
        let Some(header) = header else {
            let expected = format!("batch {batch}, record {lsn}");
            return Err(StoreError::corrupt(&path, offset, expected, "another or none"));
        };
        offset += header.disk_bytes();
        batch += 1;
        lsn += u64::from(header.count);
    }
    Ok((Extent { name, bytes: offset, file_bytes: head.file_bytes.max(offset) }, Lsn(lsn)))
}

fn read_header(
    file: &dyn DiskFile,
    salt: u64,
    offset: u64,
) -> std::io::Result<Option<BatchHeader>> {
    let mut bytes = [0; HEADER];
    let count = read_full(file, offset, &mut bytes)?;
    Ok(BatchHeader::decode(&bytes, salt).ok().filter(|_| count == HEADER))
}
