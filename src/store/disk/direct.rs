//! A file that is written past the system's cache. Part of `store::disk`.
//!
//! What is synced at once gains nothing from the cache: it would be copied there, marked, looked for and written in
//! pieces larger than what changed. Past it a block is written as it is, for two thirds of the CPU, and a batch of 512
//! bytes writes 512 bytes instead of 16 KiB. The device reads memory only from the begin of a block on: bytes that lie
//! elsewhere are gathered in a buffer that begins at a page.
//!
//! The system keeps both ways to a file in step: whatever does not fit (parts of a block, reads) goes through the cache,
//! and so does everything where a file system or its device wants larger blocks.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

use crate::store::disk::DiskFile;
use crate::store::disk::folder::RealFile;

/// Offsets and lengths are multiples of this.
const BLOCK: usize = 512;
/// Where the buffer begins in memory.
const PAGE: usize = 4096;
/// What is gathered for one call.
const STAGE_BYTES_MAX: usize = 1024 * 1024;

/// A way to a file past the cache.
#[derive(Debug)]
pub(super) struct DirectFile {
    file: File,
}

/// A file with both ways to it.
#[derive(Debug)]
pub(super) struct Both {
    direct: File,
    cached: RealFile,
    stage: Mutex<Stage>,
    /// The device did not take whole blocks of [`BLOCK`] bytes.
    refused: AtomicBool,
}

impl DirectFile {
    /// `None` where the file system has no such way.
    pub(super) fn open(path: &Path) -> io::Result<Option<Self>> {
        match open(path, OFlags::RDWR | OFlags::DIRECT | OFlags::CLOEXEC, Mode::empty()) {
            Ok(file) => Ok(Some(Self { file: file.into() })),
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// With the way through the cache beside it.
    pub(super) fn over(self, cached: RealFile) -> Both {
        Both { direct: self.file, cached, stage: Mutex::default(), refused: AtomicBool::new(false) }
    }
}

/// Memory that begins at a page, somewhere in a longer piece.
#[derive(Debug, Default)]
struct Stage {
    bytes: Vec<u8>,
}

impl Stage {
    /// As much of `bytes` as is written at once, where the device may read it.
    fn fill<'a>(&'a mut self, bytes: &'a [u8]) -> &'a [u8] {
        if bytes.as_ptr().align_offset(PAGE) == 0 {
            return bytes;
        }
        let length = bytes.len().min(STAGE_BYTES_MAX);
        if self.bytes.len() < length + PAGE {
            self.bytes = vec![0; length.next_power_of_two() + PAGE];
        }
        let start = self.bytes.as_ptr().align_offset(PAGE);
        // An offset that cannot be told is beyond the end: nothing is staged then, and nothing written past the cache.
        let room = start.checked_add(length).and_then(|end| self.bytes.get_mut(start..end));
        match (room, bytes.get(..length)) {
            (Some(room), Some(part)) => {
                room.copy_from_slice(part);
                room
            }
            _ => &[],
        }
    }
}

impl Both {
    /// Writes whole blocks from the front of `bytes`; returns how many bytes were.
    fn write_blocks(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let whole = bytes.len() / BLOCK * BLOCK;
        let mut done = 0;
        if !offset.is_multiple_of(BLOCK as u64) || self.refused.load(Ordering::Relaxed) {
            return Ok(0);
        }
        let mut stage = self.stage.lock();
        while let Some(rest) = bytes.get(done..whole).filter(|rest| !rest.is_empty()) {
            match self.direct.write_at(stage.fill(rest), offset + done as u64) {
                Ok(count) => {
                    done += count;
                    if count == 0 || !count.is_multiple_of(BLOCK) {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => {
                    self.refused.store(true, Ordering::Relaxed);
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }
}

impl DiskFile for Both {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let done = self.write_blocks(offset, bytes)?;
        match bytes.get(done..) {
            None | Some([]) => Ok(()),
            Some(rest) => self.cached.write_at(offset + done as u64, rest),
        }
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.cached.read_at(offset, buffer)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.cached.allocate(len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.cached.set_len(len)
    }

    fn length(&self) -> io::Result<u64> {
        self.cached.length()
    }

    fn sync_data(&self) -> io::Result<()> {
        // Of the file, whichever way its bytes came: what went past the cache may still be in the device's.
        self.cached.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::STAGE_BYTES_MAX;
    use crate::store::disk::folder::Folder;
    use crate::store::disk::read_full;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        /// Writes of every alignment, past the cache where they fit and through it where not, make one file.
        #[test]
        fn both_ways_write_one_file(
            writes in prop::collection::vec(
                (0..40_usize, prop_oneof![Just(0), 0..512_usize], 0..40_usize, prop_oneof![Just(0), 0..512_usize]),
                1..12,
            ),
        ) {
            let home = tempfile::tempdir().unwrap();
            let disk = Folder::open(home.path()).unwrap();
            disk.create("a").unwrap().allocate(64 * 1024).unwrap();
            let (direct, cached) = (disk.open_direct("a").unwrap(), disk.open("a").unwrap());
            let mut model = vec![0; 64 * 1024];
            for (number, (block, more, blocks, rest)) in writes.into_iter().enumerate() {
                let (offset, length) = (block * 512 + more, blocks * 512 + rest);
                let bytes: Vec<u8> = (0..length).map(|at| (at + number * 7 + 1) as u8).collect();
                direct.write_at(offset as u64, &bytes).unwrap();
                model[offset..offset + length].copy_from_slice(&bytes);
                let mut found = vec![0; model.len()];
                let file = if number % 2 == 0 { &cached } else { &direct };
                prop_assert_eq!(read_full(file.as_ref(), 0, &mut found).unwrap(), model.len());
                prop_assert!(found == model);
            }
            direct.sync_data().unwrap();
        }
    }

    #[test]
    fn more_than_one_call_takes_is_written_whole() {
        let home = tempfile::tempdir().unwrap();
        let disk = Folder::open(home.path()).unwrap();
        drop(disk.create("a").unwrap());
        let direct = disk.open_direct("a").unwrap();
        let bytes: Vec<u8> = (0..2 * STAGE_BYTES_MAX + 512).map(|at| (at / 512) as u8).collect();
        direct.write_at(512, &bytes).unwrap();
        assert_eq!(direct.length().unwrap(), 512 + bytes.len() as u64);
        let mut found = vec![0; bytes.len()];
        assert_eq!(read_full(direct.as_ref(), 512, &mut found).unwrap(), bytes.len());
        assert!(found == bytes);
    }

    #[test]
    fn a_missing_file_is_an_error() {
        let home = tempfile::tempdir().unwrap();
        assert!(Folder::open(home.path()).unwrap().open_direct("absent").is_err());
    }
}
