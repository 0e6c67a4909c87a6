//! Appended bytes that their file does not have yet. Part of `store::partition`.
//!
//! Batches are small and files are many: written one by one they cost more than all the rest of an append, because
//! the system finds, fills and marks each page several times. What is appended is in the journal already, so it
//! may wait in memory until there is enough for one large write, or until a checkpoint wants it on disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

/// What all segments together may take of memory for this, in bytes. Beyond it every append is written at once.
const HELD_BYTES_MAX: usize = 32 * 1024 * 1024;
/// What the buffers that wait for their next use may take, in bytes.
const SPARE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What the buffers of all segments take, filled or not. One number for the process, as memory is.
static HELD_BYTES: AtomicUsize = AtomicUsize::new(0);
/// Empty buffers, for segments that are appended to all the time. Few, for segments are many.
static SPARE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// What all segments together may take while files cannot be written, in bytes. Beyond it a partition whose files
/// fail takes nothing more.
const HELD_FAILING_BYTES_MAX: usize = 2 * HELD_BYTES_MAX;

/// Whether nothing more is to be held.
pub(super) fn is_full() -> bool {
    HELD_BYTES.load(Ordering::Relaxed) >= HELD_BYTES_MAX
}

/// Whether nothing more is to be held even of what cannot be written.
pub(super) fn is_overfull() -> bool {
    HELD_BYTES.load(Ordering::Relaxed) >= HELD_FAILING_BYTES_MAX
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
    /// What [`HELD_BYTES`] knows of these buffers.
    counted: usize,
}

impl Behind {
    /// Nothing waits; the file has `written` bytes.
    pub(super) fn new(written: u64) -> Self {
        Self { written, writing: None, tail: Vec::new(), counted: 0 }
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
            self.tail.extend_from_slice(part);
        }
        self.count();
    }

    /// Notes that `count` bytes were written while nothing waited.
    pub(super) fn wrote_directly(&mut self, count: u64) {
        self.written += count;
    }

    /// What is to be written now, and where; `None` if nothing waits. For whoever alone may write: after a write that
    /// failed it is the same again, for what the file has there is unknown. `goes_on`: more will be appended soon.
    pub(super) fn begin(&mut self, goes_on: bool) -> Option<(u64, Arc<Vec<u8>>)> {
        if let Some(bytes) = &self.writing {
            return Some((self.written, Arc::clone(bytes)));
        }
        if self.tail.is_empty() {
            return None;
        }
        let next = if goes_on { SPARE.lock().pop() } else { None };
        let bytes = Arc::new(std::mem::replace(&mut self.tail, next.unwrap_or_default()));
        self.writing = Some(Arc::clone(&bytes));
        self.count();
        Some((self.written, bytes))
    }

    /// What [`Self::begin`] gave, and the caller no longer holds, is written.
    pub(super) fn done(&mut self) {
        let Some(bytes) = self.writing.take() else { return };
        self.written += bytes.len() as u64;
        self.count();
        let Some(mut buffer) = Arc::into_inner(bytes) else { return };
        let mut spare = SPARE.lock();
        let waiting: usize = spare.iter().map(Vec::capacity).sum();
        if waiting + buffer.capacity() <= SPARE_BYTES_MAX {
            buffer.clear();
            spare.push(buffer);
        }
    }

    /// Tells [`HELD_BYTES`] what changed.
    fn count(&mut self) {
        let writing = self.writing.as_ref().map_or(0, |bytes| bytes.capacity());
        let now = writing + self.tail.capacity();
        match now.checked_sub(self.counted) {
            Some(0) => {}
            Some(more) => {
                HELD_BYTES.fetch_add(more, Ordering::Relaxed);
            }
            None => {
                HELD_BYTES.fetch_sub(self.counted - now, Ordering::Relaxed);
            }
        }
        self.counted = now;
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
        HELD_BYTES.fetch_sub(self.counted, Ordering::Relaxed);
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
        let (at, bytes) = behind.begin(true).unwrap();
        assert_eq!((at, bytes.as_slice()), (100, &b"abc"[..]));
        behind.push([b"defg", b""]);
        assert_eq!(behind.len(), 7);
        assert_eq!(read(&behind, 100, 9), b"abcdefg");
        assert_eq!(read(&behind, 102, 3), b"cde");
        assert_eq!(read(&behind, 104, 2), b"ef");
        assert_eq!(read(&behind, 107, 2), b"");
        drop(bytes);
        behind.done();
        assert_eq!((behind.written(), behind.len()), (103, 4));
        assert_eq!(read(&behind, 103, 9), b"defg");
    }

    #[test]
    fn a_failed_write_leaves_its_bytes_readable_and_is_made_again() {
        let mut behind = Behind::new(0);
        behind.push([b"ab", b""]);
        drop(behind.begin(true));
        behind.push([b"", b"c"]);
        assert_eq!(read(&behind, 0, 9), b"abc");
        let (at, bytes) = behind.begin(false).unwrap();
        assert_eq!((at, bytes.as_slice()), (0, &b"ab"[..]));
        drop(bytes);
        behind.done();
        let (at, bytes) = behind.begin(false).unwrap();
        assert_eq!((at, bytes.as_slice()), (2, &b"c"[..]));
    }

    /// A segment that is full, or that nothing comes to any more, is one of thousands.
    #[test]
    fn what_is_written_keeps_no_memory() {
        let mut behind = Behind::new(0);
        for goes_on in [true, true, false] {
            behind.push([&[7; 100_000], b""]);
            assert!(behind.counted >= 100_000);
            drop(behind.begin(goes_on));
            behind.done();
        }
        assert_eq!((behind.written(), behind.len()), (300_000, 0));
        assert_eq!((behind.tail.capacity(), behind.counted), (0, 0));
    }
}
