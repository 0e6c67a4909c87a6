//! Reading a segment: by offset, by time, from batch to batch. Part of `store::partition`.
//!
//! What a file does not have yet is read from memory, so nobody sees where the one ends and the other begins.

use std::collections::VecDeque;
use std::io;

use bytes::Bytes;

use crate::store::disk::{DiskFile, read_full};
use crate::store::error::StoreError;
use crate::store::partition::buffers::Buffer;
use crate::store::partition::header::{BATCH_HEADER_BYTES, BatchInfo};

use super::Segment;

/// Bytes read at once when stepping from batch to batch.
const SCAN_BYTES: usize = 64 * 1024;
/// Readers of one segment whose places are remembered.
const ENDS_MAX: usize = 8;

impl Segment {
    /// Whole batches from the one that holds `offset` on, or from the first after it; at least one when there is
    /// one, else as many as fit `max_bytes`. Only batches that lie below `up_to` entirely. Empty when there is
    /// none in this segment.
    pub(in crate::store::partition) fn read(
        &self,
        offset: i64,
        max_bytes: usize,
        up_to: i64,
    ) -> Result<Bytes, StoreError> {
        let (start, length) = {
            let state = self.state.read();
            (state.index.position_of(offset), state.index.covered)
        };
        let file = self.file()?;
        let known = self.ends.lock().position(offset);
        let position = match known {
            Some(position) => position,
            None => match self.find(file.as_ref(), offset, start, length)? {
                Some(position) => position,
                None => return Ok(Bytes::new()),
            },
        };
        let left = usize::try_from(length - position).unwrap_or(usize::MAX);
        let mut buffer = Buffer::take(max_bytes.max(BATCH_HEADER_BYTES).min(left));
        self.fill(file.as_ref(), position, &mut buffer, 0)?;
        let first = BatchInfo::parse(buffer.bytes()).filter(|first| first.bytes <= left as u64);
        let Some(first) = first else { return Err(self.no_batch(position, left as u64)) };
        if first.last_offset >= up_to {
            return Ok(Bytes::new());
        }
        let count = buffer.bytes().len();
        if count < first.bytes as usize {
            buffer.grow(first.bytes as usize);
            self.fill(file.as_ref(), position, &mut buffer, count)?;
        }
        let (end, next_offset) = whole_batches(buffer.bytes(), up_to);
        self.ends.lock().note(next_offset, position + end as u64);
        Ok(buffer.freeze(end))
    }

    /// Where the batch that holds `offset` begins, or the first one after it.
    fn find(
        &self,
        file: &dyn DiskFile,
        offset: i64,
        start: u64,
        length: u64,
    ) -> Result<Option<u64>, StoreError> {
        let mut scan = Scan::new(self, file, start, length);
        while let Some((position, batch)) = scan.next()? {
            if batch.last_offset >= offset {
                return Ok(Some(position));
            }
        }
        Ok(None)
    }

    /// Fills `buffer` from `from` on with what lies at `position` of the segment and beyond.
    fn fill(
        &self,
        file: &dyn DiskFile,
        position: u64,
        buffer: &mut Buffer,
        from: usize,
    ) -> Result<(), StoreError> {
        let position = position + from as u64;
        let buffer = buffer.bytes_mut().get_mut(from..).unwrap_or_default();
        let wanted = buffer.len();
        let count =
            self.read_at(file, position, buffer).map_err(StoreError::io(&self.path(), "read"))?;
        if count == wanted { Ok(()) } else { Err(self.no_batch(position, wanted as u64)) }
    }

    /// Fills `buffer` from the file and from what is still in memory; returns how many bytes there were.
    fn read_at(&self, file: &dyn DiskFile, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let (in_file, in_memory) = {
            let state = self.state.read();
            let written = state.behind.written().saturating_sub(position);
            let in_file = usize::try_from(written).unwrap_or(usize::MAX).min(buffer.len());
            let rest = buffer.get_mut(in_file..).unwrap_or_default();
            (in_file, state.behind.read(position + in_file as u64, rest))
        };
        if let Some(buffer) = buffer.get_mut(..in_file).filter(|buffer| !buffer.is_empty()) {
            let mut count = read_full(file, position, buffer)?;
            if count < in_file {
                // It may have been made since the caller looked for it: what was in memory then is in the file now.
                let made = self.file().map_err(io::Error::other)?;
                count = read_full(made.as_ref(), position, buffer)?;
            }
            if count < in_file {
                return Ok(count);
            }
        }
        Ok(in_file + in_memory)
    }

    fn no_batch(&self, position: u64, left: u64) -> StoreError {
        StoreError::corrupt(
            &self.path(),
            position,
            format!("a record batch within the {left} bytes that the checkpoint counts"),
            "no such batch",
        )
    }

    /// The first batch that reaches to `from` or beyond, with a record of at least `timestamp`.
    pub(in crate::store::partition) fn find_time(
        &self,
        timestamp: i64,
        from: i64,
    ) -> Result<Option<BatchInfo>, StoreError> {
        let (start, length, latest) = {
            let state = self.state.read();
            let index = &state.index;
            let start = index.position_of_time(timestamp).max(index.position_of(from));
            (start, index.covered, index.max_timestamp)
        };
        if latest < timestamp {
            return Ok(None);
        }
        let file = self.file()?;
        let mut scan = Scan::new(self, file.as_ref(), start, length);
        while let Some((_, batch)) = scan.next()? {
            if batch.max_timestamp >= timestamp && batch.last_offset >= from {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }

    /// The highest timestamp of the batches that begin at `from` or beyond. Reads only if some do and some do not.
    pub(in crate::store::partition) fn highest_timestamp(
        &self,
        from: i64,
    ) -> Result<Option<i64>, StoreError> {
        let info = self.info();
        if info.bytes == 0 || info.next_offset <= from {
            return Ok(None);
        }
        if self.base_offset >= from {
            return Ok(Some(info.max_timestamp));
        }
        let start = self.state.read().index.position_of(from);
        let file = self.file()?;
        let mut scan = Scan::new(self, file.as_ref(), start, info.bytes);
        let mut highest = None;
        while let Some((_, batch)) = scan.next()? {
            if batch.base_offset >= from {
                highest = highest.max(Some(batch.max_timestamp));
            }
        }
        Ok(highest)
    }
}

/// The end of the last whole batch in `bytes` below `up_to`, and the offset after it.
fn whole_batches(bytes: &[u8], up_to: i64) -> (usize, i64) {
    let (mut end, mut next_offset) = (0, 0);
    while let Some(batch) = bytes.get(end..).and_then(BatchInfo::parse) {
        let next = end as u64 + batch.bytes;
        if next > bytes.len() as u64 || batch.last_offset >= up_to {
            break;
        }
        end = next as usize;
        next_offset = batch.last_offset.saturating_add(1);
    }
    (end, next_offset)
}

/// Where the latest reads ended: who reads on begins there, and need not look for the place.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// Offset after a read and its place, the oldest first.
    known: VecDeque<(i64, u64)>,
}

impl Ends {
    /// The place of the batch with `offset`, if a read ended before it. It is forgotten: the read that follows
    /// ends elsewhere.
    fn position(&mut self, offset: i64) -> Option<u64> {
        let at = self.known.iter().position(|(known, _)| *known == offset)?;
        self.known.remove(at).map(|(_, position)| position)
    }

    fn note(&mut self, next_offset: i64, position: u64) {
        if self.known.len() >= ENDS_MAX {
            self.known.pop_front();
        }
        self.known.push_back((next_offset, position));
    }
}

/// Steps from batch to batch.
pub(super) struct Scan<'a> {
    segment: &'a Segment,
    file: &'a dyn DiskFile,
    position: u64,
    end: u64,
    window: Vec<u8>,
    /// Where in the file the window begins.
    window_at: u64,
}

impl<'a> Scan<'a> {
    pub(super) fn new(
        segment: &'a Segment,
        file: &'a dyn DiskFile,
        position: u64,
        end: u64,
    ) -> Self {
        Self { segment, file, position, end, window: Vec::new(), window_at: position }
    }

    /// The next batch with its place; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u64, BatchInfo)>, StoreError> {
        if self.position >= self.end {
            return Ok(None);
        }
        let mut skip = self.position - self.window_at;
        if skip + BATCH_HEADER_BYTES as u64 > self.window.len() as u64 {
            let wanted = (self.end - self.position).min(SCAN_BYTES as u64);
            self.window.resize(wanted as usize, 0);
            let count = self
                .segment
                .read_at(self.file, self.position, &mut self.window)
                .map_err(StoreError::io(&self.segment.path(), "read"))?;
            self.window.truncate(count);
            self.window_at = self.position;
            skip = 0;
        }
        let left = self.end - self.position;
        let batch = self.window.get(skip as usize..).and_then(BatchInfo::parse);
        let Some(batch) = batch.filter(|batch| batch.bytes <= left) else {
            return Err(self.segment.no_batch(self.position, left));
        };
        let position = self.position;
        self.position += batch.bytes;
        Ok(Some((position, batch)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::Segment;
    use crate::store::disk::simulated::SimulatedDisk;
    use crate::store::partition::PartitionOptions;

    #[test]
    fn a_file_that_is_made_while_it_is_looked_for_is_read() {
        let disk = SimulatedDisk::default();
        let segment = Segment::create(disk.shared(), 0, Arc::default());
        segment.append(&PartitionOptions::default(), 0, 0, 0, [&b"abc"[..], b""]).unwrap();
        let file = segment.file().unwrap();
        segment.sync(false).unwrap();
        let mut buffer = [0; 3];
        assert_eq!(segment.read_at(file.as_ref(), 0, &mut buffer).unwrap(), 3);
        assert_eq!(&buffer, b"abc");
    }
}
