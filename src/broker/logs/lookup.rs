//! Finds offsets by time. Part of `broker/logs`.

use crate::broker::logs::batch::header::BatchHeader;
use crate::broker::logs::batch::records::Opened;
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
            OffsetQuery::Newest => match self.newest() {
                Some((timestamp, base)) if base >= self.log_start() => {
                    self.find_in_batch(base, timestamp)
                }
                _ => Ok(None),
            },
            OffsetQuery::AtOrAfter(timestamp) => {
                if self.newest().is_none_or(|(highest, _)| highest < timestamp) {
                    return Ok(None);
                }
                match self.files.first_at_or_after(timestamp)? {
                    Some(base) => self.find_in_batch(base, timestamp),
                    None => Ok(None),
                }
            }
        }
    }

    /// Looks into the batch that begins at `base`, whose highest timestamp is at least `timestamp`, for the first
    /// record at or after that.
    fn find_in_batch(&self, base: i64, timestamp: i64) -> Result<Option<FoundOffset>, FetchError> {
        let start = self.log_start();
        let slice = self.read(base.max(start), 1)?;
        let Some(header) = BatchHeader::read(&slice.records) else { return Ok(None) };
        let whole = FoundOffset {
            offset: header.base_offset.max(start),
            timestamp_ms: Some(header.max_timestamp),
        };
        // All its records have one time; and one that cannot be opened is given as a whole.
        if header.is_append_time() {
            return Ok(Some(whole));
        }
        let Ok(opened) = Opened::new(&slice.records) else { return Ok(Some(whole)) };
        let mut records = opened.records().filter_map(Result::ok);
        let first = records.find(|r| r.timestamp_ms >= timestamp && r.offset >= start);
        Ok(Some(first.map_or(whole, |record| FoundOffset {
            offset: record.offset,
            timestamp_ms: Some(record.timestamp_ms),
        })))
    }
}
