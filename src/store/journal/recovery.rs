//! The verdict over what a crash left. Reads only. Part of `store::journal`.
//!
//! Segments are taken in the order of their generation; each counts from its first batch up to where a later
//! one begins. Within that range every batch must be whole: a batch is written only after the one before it
//! was synced, so a bad one before a good one is corruption. At the very end a bad batch is a torn tail, never
//! acknowledged, and is left out. Exception: in a segment whose durability was left to the system a power cut
//! may lose any page, so there the first bad batch is the end.

use crate::model::ids::Lsn;
use crate::store::disk::{Disk, DiskFile, read_full};
use crate::store::error::StoreError;
use crate::store::journal::Position;
use crate::store::journal::batch::{BLOCK, BatchHeader, HEADER, NoHeader, known_version};
use crate::store::journal::replay::Span;
use crate::store::journal::segment::{SEGMENT_HEADER, SegmentHeader, parse_name};
use crate::store::journal::segments::Named;

/// Bytes read at once while checking.
const CHUNK_BYTES: usize = 1024 * 1024;

/// What the journal's folder holds.
#[derive(Debug)]
pub(super) struct Recovery {
    /// Where the batches to replay lie.
    pub(super) spans: Vec<Span>,
    /// Every named segment, oldest generation first.
    pub(super) chain: Vec<Named>,
    /// Files without a segment's name.
    pub(super) others: Vec<String>,
    /// Number and first LSN of the next batch.
    pub(super) next: Position,
    pub(super) next_generation: u64,
    /// The last whole batch.
    pub(super) last: Option<Span>,
    /// Segments that count and were left to the system to write: what was read may be in its cache alone.
    pub(super) unsynced: Vec<String>,
}

/// A segment with the number of the first batch that no longer counts in it.
struct Candidate {
    name: String,
    header: SegmentHeader,
    limit: u64,
}

/// Every segment by its generation, and the names of other files.
fn candidates(disk: &dyn Disk) -> Result<(Vec<Candidate>, Vec<String>), StoreError> {
    let names = disk.list().map_err(StoreError::io(&disk.path(""), "list the journal"))?;
    let (segments, others): (Vec<_>, Vec<_>) =
        names.into_iter().partition(|name| parse_name(name).is_some());
    let mut found = Vec::with_capacity(segments.len());
    for name in segments {
        let header = SegmentHeader::read(disk, &name)?;
        found.push(Candidate { name, header, limit: u64::MAX });
    }
    found.sort_by_key(|candidate| candidate.header.generation);
    let mut limit = u64::MAX;
    for candidate in found.iter_mut().rev() {
        candidate.limit = limit;
        limit = limit.min(candidate.header.first_batch);
    }
    Ok((found, others))
}

/// Reads the batches before `from`, which a start only steps over; returns their bytes and what is damaged. A segment
/// whose durability was left to the system may lack any page of them.
///
/// # Errors
/// The folder or a segment's header cannot be read.
pub fn check_covered(
    disk: &dyn Disk,
    from: Position,
) -> Result<(u64, Vec<StoreError>), StoreError> {
    let mut bytes = 0;
    let mut damaged = Vec::new();
    for mut candidate in candidates(disk)?.0 {
        candidate.limit = candidate.limit.min(from.batch);
        let header = candidate.header;
        if header.first_batch >= candidate.limit || header.unsynced {
            continue;
        }
        let first = Position { batch: header.first_batch, lsn: Lsn(header.first_lsn) };
        let mut walk = Walk::open(disk, &candidate, first)?;
        damaged.extend(walk.run().err());
        bytes += walk.offset;
    }
    Ok((bytes, damaged))
}

/// Checks everything from `from` on.
pub(super) fn recover(disk: &dyn Disk, from: Position) -> Result<Recovery, StoreError> {
    let (mut found, others) = candidates(disk)?;
    let chain = found
        .iter()
        .map(|candidate| Named {
            name: candidate.name.clone(),
            first_batch: candidate.header.first_batch,
            file_bytes: candidate.header.file_bytes,
            prepared: candidate.header.prepared,
        })
        .collect();
    let next_generation = found.last().map_or(1, |last| last.header.generation + 1);
    found.retain(|candidate| candidate.header.first_batch < candidate.limit);

    let mut recovery = Recovery {
        spans: Vec::new(),
        chain,
        others,
        next: from,
        next_generation,
        last: None,
        unsynced: Vec::new(),
    };
    let Some(start) = found.iter().rposition(|c| c.header.first_batch <= from.batch) else {
        return match found.first() {
            None if from == Position::START => Ok(recovery),
            None => Err(missing(disk, from, "there is no segment".into())),
            Some(first) => {
                let begins = format!("it begins with batch {}", first.header.first_batch);
                Err(missing(disk, from, begins))
            }
        };
    };
    check(disk, from, found.get(start..).unwrap_or_default(), &mut recovery)?;
    Ok(recovery)
}

pub(super) fn missing(disk: &dyn Disk, from: Position, found: String) -> StoreError {
    StoreError::Missing {
        file: disk.path(""),
        expected: format!(
            "the journal from batch {} (record {}) on; {found}",
            from.batch, from.lsn
        ),
    }
}

/// Walks the segments and decides where the journal ends.
fn check(
    disk: &dyn Disk,
    from: Position,
    segments: &[Candidate],
    recovery: &mut Recovery,
) -> Result<(), StoreError> {
    let mut next: Option<Position> = None;
    let mut unsynced = false;
    for candidate in segments {
        let mut walk = Walk::open(disk, candidate, from)?;
        if let Some(expected) = next
            && expected != walk.next
        {
            return Err(StoreError::corrupt(
                &walk.path(),
                32,
                format!("batch {}, record {}", expected.batch, expected.lsn),
                format!("batch {}, record {}", walk.next.batch, walk.next.lsn),
            ));
        }
        walk.run()?;
        unsynced = candidate.header.unsynced;
        if unsynced {
            recovery.unsynced.push(candidate.name.clone());
        }
        next = Some(walk.next);
        recovery.spans.extend(walk.span);
        recovery.last = walk.last.or(recovery.last.take());
    }
    let end = next.unwrap_or(from);
    recovery.next = end;
    if end.batch >= from.batch {
        return Ok(());
    }
    if !unsynced {
        return Err(missing(disk, from, format!("it ends before batch {}", end.batch)));
    }
    tracing::warn!(
        journal_ends = end.batch,
        checkpoint = from.batch,
        "the journal's unsynced tail is gone; the checkpoint covers it"
    );
    recovery.next = from;
    recovery.last = None;
    Ok(())
}

/// Steps from batch to batch in one segment.
struct Walk<'a> {
    disk: &'a dyn Disk,
    candidate: &'a Candidate,
    file: std::sync::Arc<dyn DiskFile>,
    /// Where the file, or our part of it, ends.
    bound: u64,
    from: Position,
    next: Position,
    offset: u64,
    span: Option<Span>,
    last: Option<Span>,
}

/// What stands where a batch should.
enum Place {
    Whole(BatchHeader),
    /// Nothing of ours.
    Nothing,
    /// Something of ours, unfinished or damaged.
    Bad(String),
}

impl<'a> Walk<'a> {
    fn open(
        disk: &'a dyn Disk,
        candidate: &'a Candidate,
        from: Position,
    ) -> Result<Self, StoreError> {
        let path = disk.path(&candidate.name);
        let file = disk.open(&candidate.name).map_err(StoreError::io(&path, "open"))?;
        let length = file.length().map_err(StoreError::io(&path, "read the length of"))?;
        let header = candidate.header;
        if length != header.file_bytes {
            tracing::warn!(
                file = %path.display(), length, expected = header.file_bytes,
                "journal segment has another length than it was made with; what is beyond is ignored"
            );
        }
        Ok(Self {
            disk,
            candidate,
            file,
            bound: length.min(header.file_bytes),
            from,
            next: Position { batch: header.first_batch, lsn: Lsn(header.first_lsn) },
            offset: SEGMENT_HEADER,
            span: None,
            last: None,
        })
    }

    fn path(&self) -> std::path::PathBuf {
        self.disk.path(&self.candidate.name)
    }

    /// Goes on to the segment's limit or the journal's end.
    fn run(&mut self) -> Result<(), StoreError> {
        while self.next.batch < self.candidate.limit {
            match self.look()? {
                Place::Whole(header) => self.step(header)?,
                Place::Nothing => return self.end(None),
                Place::Bad(found) => return self.end(Some(found)),
            }
        }
        Ok(())
    }

    fn step(&mut self, header: BatchHeader) -> Result<(), StoreError> {
        if self.next.batch == self.from.batch && self.next.lsn != self.from.lsn {
            return Err(StoreError::corrupt(
                &self.path(),
                self.offset,
                format!("batch {} to begin with record {}", self.from.batch, self.from.lsn),
                format!("record {}", self.next.lsn),
            ));
        }
        let end = self.offset + header.disk_bytes();
        let here =
            Span { name: self.candidate.name.clone(), salt: header.salt, offset: self.offset, end };
        if self.next.batch >= self.from.batch {
            match &mut self.span {
                Some(span) => span.end = end,
                None => self.span = Some(here.clone()),
            }
        }
        self.last = Some(here);
        self.offset = end;
        self.next.batch += 1;
        self.next.lsn.0 += u64::from(header.count);
        Ok(())
    }

    /// Reads what stands at the current place.
    fn look(&self) -> Result<Place, StoreError> {
        let mut bytes = [0; HEADER];
        let room = self.bound.saturating_sub(self.offset);
        if room < HEADER as u64 || self.read(self.offset, &mut bytes)? < HEADER {
            return Ok(Place::Nothing);
        }
        let header = match BatchHeader::decode(&bytes, self.candidate.header.salt) {
            Ok(header) => header,
            Err(NoHeader::Absent) => return Ok(Place::Nothing),
            Err(NoHeader::Damaged) => return Ok(Place::Bad("a damaged batch header".into())),
            Err(NoHeader::Version(found)) => {
                return Err(StoreError::Version {
                    file: self.path(),
                    found: found.into(),
                    known: known_version(),
                });
            }
        };
        if header.number != self.next.batch || header.first_lsn != self.next.lsn.0 {
            // No crash writes this: the header is whole and says something else.
            return Err(StoreError::corrupt(
                &self.path(),
                self.offset,
                format!("batch {}, record {}", self.next.batch, self.next.lsn),
                format!("batch {}, record {}", header.number, header.first_lsn),
            ));
        }
        let length = u64::from(header.body_bytes);
        if HEADER as u64 + length > room {
            return Ok(Place::Bad("a batch longer than its segment".into()));
        }
        // What the checkpoint covers is only stepped over.
        if header.number >= self.from.batch {
            let crc = self.body_crc(self.offset + HEADER as u64, length)?;
            if crc != header.body_crc {
                let stored = header.body_crc;
                return Ok(Place::Bad(format!("a body with checksum {crc:08x}, not {stored:08x}")));
            }
        }
        Ok(Place::Whole(header))
    }

    fn body_crc(&self, mut offset: u64, length: u64) -> Result<u32, StoreError> {
        let end = offset + length;
        let mut buffer = vec![0; CHUNK_BYTES.min(length as usize)];
        let mut crc = 0;
        while offset < end {
            let wanted = ((end - offset) as usize).min(buffer.len());
            let part = buffer.get_mut(..wanted).unwrap_or_default();
            let count = self.read(offset, part)?;
            if count == 0 {
                break;
            }
            crc = crc32c::crc32c_append(crc, part.get(..count).unwrap_or_default());
            offset += count as u64;
        }
        Ok(crc)
    }

    /// Decides what it means that there is no whole batch here.
    fn end(&self, found: Option<String>) -> Result<(), StoreError> {
        let batch = self.next.batch;
        let corrupt = |why: String| {
            Err(StoreError::corrupt(
                &self.path(),
                self.offset,
                format!("a whole batch {batch}, since {why}"),
                found.clone().unwrap_or_else(|| "nothing of this segment".into()),
            ))
        };
        if self.candidate.limit != u64::MAX {
            return corrupt(format!("a later segment goes on at batch {}", self.candidate.limit));
        }
        if batch == self.candidate.header.first_batch {
            return corrupt("a segment is named only after its first batch was synced".into());
        }
        if !self.candidate.header.unsynced
            && let Some((offset, later)) = self.find_later()?
        {
            return corrupt(format!("batch {later} follows at byte {offset}"));
        }
        if let Some(found) = found {
            tracing::warn!(
                file = %self.path().display(), offset = self.offset, batch, found,
                "torn tail: the journal ends here; nothing beyond was acknowledged"
            );
        }
        Ok(())
    }

    /// Looks for a batch beyond the current place. Its header is proof enough: it was written after the sync
    /// of every batch before it.
    fn find_later(&self) -> Result<Option<(u64, u64)>, StoreError> {
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut offset = self.offset + BLOCK as u64;
        while offset < self.bound {
            let count = self.read(offset, &mut buffer)?;
            if count == 0 {
                break;
            }
            for (index, block) in buffer.chunks(BLOCK).enumerate().take(count.div_ceil(BLOCK)) {
                let header = block
                    .first_chunk()
                    .and_then(|b| BatchHeader::decode(b, self.candidate.header.salt).ok());
                if let Some(header) = header.filter(|header| header.number > self.next.batch) {
                    return Ok(Some((offset + (index * BLOCK) as u64, header.number)));
                }
            }
            offset += CHUNK_BYTES as u64;
        }
        Ok(None)
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, StoreError> {
        read_full(self.file.as_ref(), offset, buffer)
            .map_err(StoreError::io(&self.path(), "read a journal segment"))
    }
}
