//! Finds offsets by time. Part of `broker/logs`.

use std::cmp::Reverse;

use crate::broker::logs::batch::header::BatchHeader;
use crate::broker::logs::batch::records::{Opened, Record};
use crate::broker::logs::partition::{FetchError, Partition};

/// Which offset of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetQuery {
    /// The first that is still there.
    Start,
    /// The one that the next record gets.
    End,
    /// The record of the highest timestamp.
    Newest,
    /// The first record at or after a time, ms since 1970.
    AtOrAfter(i64),
}

/// An offset found, with its record's timestamp where one was looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundOffset {
    /// The offset.
    pub offset: i64,
    /// Milliseconds since 1970.
    pub timestamp_ms: Option<i64>,
}

impl Partition {
    /// The offset that `query` asks for, or `None` if no record fits. A compressed batch is unpacked to find it.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn find(&self, query: OffsetQuery) -> Result<Option<FoundOffset>, FetchError> {
        let plain = |offset| Ok(Some(FoundOffset { offset, timestamp_ms: None }));
        match query {
            OffsetQuery::Start => plain(self.log_start()),
            OffsetQuery::End => plain(self.end()),
            OffsetQuery::Newest => self.find_newest(),
            OffsetQuery::AtOrAfter(timestamp) => {
                if self.newest().is_none_or(|(highest, _)| highest < timestamp) {
                    return Ok(None);
                }
                self.find_from(timestamp, self.log_start())
            }
        }
    }

    /// The record of the highest timestamp among those still there; the first, if several have it.
    fn find_newest(&self) -> Result<Option<FoundOffset>, FetchError> {
        let start = self.log_start();
        let Some((timestamp, base)) = self.newest() else { return Ok(None) };
        if base >= start {
            return Ok(self.look_into(base, timestamp)?.found);
        }
        // It was given up, or its batch begins before the start: what is left says which is the highest now.
        let first = self.read(start, 1)?.records;
        let Some(header) = BatchHeader::read(&first) else { return Ok(None) };
        let inside = Opened::new(&first).ok().and_then(|opened| {
            let left = opened.records().filter_map(Result::ok).filter(|it| it.offset >= start);
            left.map(found).min_by_key(|one| (Reverse(one.timestamp_ms), one.offset))
        });
        let next = header.last_offset().saturating_add(1);
        match self.files.highest_timestamp(next)? {
            Some(highest) if inside.is_none_or(|found| found.timestamp_ms < Some(highest)) => {
                self.find_from(highest, next)
            }
            _ => Ok(inside),
        }
    }

    /// The first record from offset `from` on with at least this timestamp.
    fn find_from(&self, timestamp: i64, from: i64) -> Result<Option<FoundOffset>, FetchError> {
        let mut from = from;
        while let Some(base) = self.files.first_at_or_after(timestamp, from)? {
            let looked = self.look_into(base, timestamp)?;
            if looked.found.is_some() {
                return Ok(looked.found);
            }
            // What fitted in it lies before the start.
            from = looked.next;
        }
        Ok(None)
    }

    /// Looks into the batch that begins at `base`, whose highest timestamp is at least `timestamp`, for the first
    /// record at or after that.
    fn look_into(&self, base: i64, timestamp: i64) -> Result<Looked, FetchError> {
        let start = self.log_start();
        let slice = self.read(base.max(start), 1)?;
        let Some(header) = BatchHeader::read(&slice.records) else {
            return Ok(Looked { found: None, next: i64::MAX });
        };
        let next = header.last_offset().saturating_add(1);
        let whole = FoundOffset {
            offset: header.base_offset.max(start),
            timestamp_ms: Some(header.max_timestamp),
        };
        // All its records have one time; and one that cannot be opened is given as a whole.
        if header.is_append_time() {
            return Ok(Looked { found: Some(whole), next });
        }
        let Ok(opened) = Opened::new(&slice.records) else {
            return Ok(Looked { found: Some(whole), next });
        };
        let mut records = opened.records().filter_map(Result::ok).map(found);
        let first = records.find(|r| r.timestamp_ms >= Some(timestamp) && r.offset >= start);
        Ok(Looked { found: first, next })
    }
}

/// What looking into a batch gave.
struct Looked {
    found: Option<FoundOffset>,
    /// Where the next batch may begin.
    next: i64,
}

fn found(record: Record<'_>) -> FoundOffset {
    FoundOffset { offset: record.offset, timestamp_ms: Some(record.timestamp_ms) }
}
