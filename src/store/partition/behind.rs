//! Appended bytes that their file does not have yet. Part of `store::partition`.
//!
//! Batches are small and files are many: written one by one they cost more than all the rest of an append, because
//! the system finds, fills and marks each page several times. What is appended is in the journal already, so it
//! may wait in memory until there is enough for one large write, or until a checkpoint wants it on disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What all segments together may hold in memory, in bytes. Beyond it every append is written at once.
const HELD_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What all segments hold. One number for the process, as memory is.
static HELD_BYTES: AtomicUsize = AtomicUsize::new(0);

/// Whether nothing more is to be held.
pub(super) fn is_full() -> bool {
    HELD_BYTES.load(Ordering::Relaxed) >= HELD_BYTES_MAX
}

/// The end of a segment: what was written, and what waits to be.
#[derive(Debug)]
pub(super) struct Behind {
    /// Bytes that the file has.
    written: u64,
    /// What a thread is writing just now, or failed to write. It follows the written bytes.
    writing: Option<Arc<Vec<u8>>>,
    /// What follows that.
    tail: Vec<u8>,
    /// An empty buffer for the next tail.
    spare: Vec<u8>,
}

impl Behind {
    /// Nothing waits; the file has `written` bytes.
    pub(super) fn new(written: u64) -> Self {
        Self { written, writing: None, tail: Vec::new(), spare: Vec::new() }
    }

    /// Bytes that the file has.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.writing.as_ref().map_or(0, |bytes| bytes.len()) + self.tail.len()
    }

    /// Adds `parts` to what waits.
    pub(super) fn push(&mut self, parts: [&[u8]; 2]) {
        for part in parts {
            HELD_BYTES.fetch_add(part.len(), Ordering::Relaxed);
            self.tail.extend_from_slice(part);
        }
    }

    /// Notes that `count` bytes were written while nothing waited.
    pub(super) fn wrote_directly(&mut self, count: u64) {
        self.written += count;
    }

    /// What is to be written now, and where; `None` if nothing waits, or if an earlier write failed: the place of
    /// what would come next is unknown then.
    pub(super) fn begin(&mut self) -> Option<(u64, Arc<Vec<u8>>)> {
        if self.writing.is_some() || self.tail.is_empty() {
            return None;
        }
        let next = std::mem::take(&mut self.spare);
        let bytes = Arc::new(std::mem::replace(&mut self.tail, next));
        self.writing = Some(Arc::clone(&bytes));
        Some((self.written, bytes))
    }

    /// What [`Self::begin`] gave, and the caller no longer holds, is written. `keep`: more will come soon.
    pub(super) fn done(&mut self, keep: bool) {
        let Some(bytes) = self.writing.take() else { return };
        HELD_BYTES.fetch_sub(bytes.len(), Ordering::Relaxed);
        self.written += bytes.len() as u64;
        if let Some(mut buffer) = Arc::into_inner(bytes).filter(|_| keep) {
            buffer.clear();
            self.spare = buffer;
        }
    }

    /// Copies what waits from `position` of the segment on; returns how many bytes that is.
    pub(super) fn read(&self, position: u64, buffer: &mut [u8]) -> usize {
        let mut start = self.written;
        let mut filled = 0;
        for part in [self.writing.as_ref().map(|bytes| bytes.as_slice()), Some(&self.tail)] {
            let part = part.unwrap_or_default();
            let skip = (position + filled as u64).saturating_sub(start);
            let rest = usize::try_from(skip).ok().and_then(|skip| part.get(skip..));
            let room = buffer.get_mut(filled..).unwrap_or_default();
            let count = rest.map_or(0, <[u8]>::len).min(room.len());
            if let (Some(from), Some(to)) =
                (rest.and_then(|r| r.get(..count)), room.get_mut(..count))
            {
                to.copy_from_slice(from);
                filled += count;
            }
            start += part.len() as u64;
        }
        filled
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        HELD_BYTES.fetch_sub(self.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::Behind;

    fn read(behind: &Behind, position: u64, length: usize) -> Vec<u8> {
        let mut buffer = vec![0; length];
        let count = behind.read(position, &mut buffer);
        buffer.truncate(count);
        buffer
    }

    #[test]
    fn what_waits_is_read_across_a_write_under_way() {
        let mut behind = Behind::new(100);
        behind.push([b"a", b"bc"]);
        let (at, bytes) = behind.begin().unwrap();
        assert_eq!((at, bytes.as_slice()), (100, &b"abc"[..]));
        behind.push([b"defg", b""]);
        assert_eq!(behind.len(), 7);
        assert_eq!(read(&behind, 100, 9), b"abcdefg");
        assert_eq!(read(&behind, 102, 3), b"cde");
        assert_eq!(read(&behind, 104, 2), b"ef");
        assert_eq!(read(&behind, 107, 2), b"");
        assert!(behind.begin().is_none(), "one write at a time");
        drop(bytes);
        behind.done(true);
        assert_eq!((behind.written(), behind.len()), (103, 4));
        assert_eq!(read(&behind, 103, 9), b"defg");
    }

    #[test]
    fn a_failed_write_leaves_its_bytes_readable() {
        let mut behind = Behind::new(0);
        behind.push([b"ab", b""]);
        drop(behind.begin());
        behind.push([b"", b"c"]);
        assert!(behind.begin().is_none());
        assert_eq!(read(&behind, 0, 9), b"abc");
    }
}
