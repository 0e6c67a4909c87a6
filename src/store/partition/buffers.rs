//! Buffers that large reads fill, kept for the next one. Part of `store::partition`.
//!
//! A fetch reads a megabyte at a time. Memory that is new each time is cleared by the allocator, and page by page
//! by the system: a fifth of what a fetch costs. A buffer comes back when the last piece of what was read in it is
//! sent.

use bytes::Bytes;
use parking_lot::Mutex;

/// Smaller buffers are cheaper made than kept.
const BYTES_MIN: usize = 64 * 1024;
/// Larger ones are rare.
const BYTES_MAX: usize = 2 * 1024 * 1024;
/// What all that wait for their next use may take, in bytes.
const SPARE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Those that wait, the last one used at the end: it is the likeliest to be in a cache.
static SPARE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// Initialised memory to read into.
#[derive(Debug)]
pub(super) struct Buffer {
    /// At least `length` bytes.
    bytes: Vec<u8>,
    length: usize,
}

impl Buffer {
    /// A buffer of `length` bytes; what is in them is left of an earlier use.
    pub(super) fn take(length: usize) -> Self {
        let found = if length < BYTES_MIN {
            None
        } else {
            let mut spare = SPARE.lock();
            let at = spare.iter().rposition(|bytes| bytes.len() >= length);
            at.map(|at| spare.remove(at))
        };
        let fresh =
            || vec![0; length.next_multiple_of(if length < BYTES_MIN { 1 } else { BYTES_MIN })];
        Self { bytes: found.unwrap_or_else(fresh), length }
    }

    /// Makes it `length` bytes long; those that it had stay.
    pub(super) fn grow(&mut self, length: usize) {
        if length > self.bytes.len() {
            self.bytes.resize(length, 0);
        }
        self.length = length;
    }

    /// The bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// The bytes, to be filled.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..self.length).unwrap_or_default()
    }

    /// The first `end` bytes, shared; the buffer is free again when the last share is dropped.
    pub(super) fn freeze(self, end: usize) -> Bytes {
        if end == 0 {
            return Bytes::new();
        }
        if end < BYTES_MIN {
            // Who keeps little shall not keep much from being used.
            return Bytes::copy_from_slice(self.bytes.get(..end).unwrap_or_default());
        }
        let end = end.min(self.length);
        Bytes::from_owner(self).slice(..end)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if !(BYTES_MIN..=BYTES_MAX).contains(&bytes.len()) {
            return;
        }
        let mut spare = SPARE.lock();
        let waiting: usize = spare.iter().map(Vec::len).sum();
        if waiting + bytes.len() <= SPARE_BYTES_MAX {
            spare.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BYTES_MIN, Buffer};

    #[test]
    fn a_buffer_is_as_long_as_asked_whatever_it_was_before() {
        for length in [0, 1, 100, BYTES_MIN, BYTES_MIN + 1, BYTES_MIN - 1, 3 * BYTES_MIN] {
            let mut buffer = Buffer::take(length);
            assert_eq!(buffer.bytes_mut().len(), length);
            buffer.bytes_mut().fill(7);
            buffer.grow(length + 5);
            assert_eq!(buffer.bytes().len(), length + 5);
            assert!(buffer.bytes()[..length].iter().all(|byte| *byte == 7));
            let shared = buffer.freeze(length);
            assert_eq!(shared.len(), length);
            assert!(shared.iter().all(|byte| *byte == 7));
        }
    }

    #[test]
    fn what_is_shared_is_not_written_over() {
        let mut one = Buffer::take(2 * BYTES_MIN);
        one.bytes_mut().fill(1);
        let shared = one.freeze(2 * BYTES_MIN);
        let mut two = Buffer::take(2 * BYTES_MIN);
        two.bytes_mut().fill(2);
        assert!(shared.iter().all(|byte| *byte == 1));
    }
}
