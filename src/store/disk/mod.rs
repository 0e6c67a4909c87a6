//! The one seam to the file system: everything `store` writes, redb apart, goes through [`Disk`]. Part of
//! `store`.
//!
//! A `Disk` is one folder. It exists so that faults (failed syncs, torn writes, power cuts) can be put
//! beneath the real code; [`folder`] is the operating system (`direct` without its cache), [`faulty`] the same failing on
//! demand, `simulated` one in memory for tests, [`watched`] tells of every sync, [`overlay`] keeps writes in memory over a
//! folder that is only read.

mod direct;
pub mod faulty;
pub mod folder;
pub(in crate::store) mod listed;
pub mod overlay;
#[cfg(any(test, feature = "fuzzing"))]
#[cfg_attr(
    not(test),
    allow(dead_code, unused_imports, unreachable_pub, reason = "the rest is for tests")
)]
pub(crate) mod simulated;
pub mod watched;

use std::fmt::Debug;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Bytes read at once for a checksum.
const CHECKED_BYTES: usize = 1 << 20;

/// One folder of files. Names are plain, without separators.
pub trait Disk: Send + Sync + Debug {
    /// Creates a file that must not exist yet, empty, for reading and writing.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens an existing file for reading and writing.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// [`Disk::open`] for a file that is written front to back in whole blocks of 512 bytes, and rarely read: where
    /// that is possible such writes leave no copy in the system's cache.
    fn open_direct(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.open(name)
    }
    /// Renames a file, replacing the target. Durable after [`Disk::sync_dir`].
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file. Durable after [`Disk::sync_dir`].
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Names of the files in this folder, in no order; folders are not among them.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Names of the folders in this folder, in no order.
    fn list_folders(&self) -> io::Result<Vec<String>>;
    /// Makes creations, renames and removals durable.
    fn sync_dir(&self) -> io::Result<()>;
    /// A folder within this one, created (and made durable) when missing.
    fn folder(&self, name: &str) -> io::Result<Arc<dyn Disk>>;
    /// Removes a folder within this one and everything in it; one that is missing is no error.
    fn remove_folder(&self, name: &str) -> io::Result<()>;
    /// Where a file would be, for messages.
    fn path(&self, name: &str) -> PathBuf;
    /// Bytes that may still be written to the file system, where that can be told.
    fn free_bytes(&self) -> io::Result<Option<u64>> {
        Ok(None)
    }
}

/// An open file.
pub trait DiskFile: Send + Sync + Debug {
    /// Writes all of `bytes` at `offset`, growing the file when needed.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Reads up to `buffer.len()` bytes; 0 at and beyond the end.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
    /// Reserves room for `len` bytes and sets the length to at least that.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// Cuts or extends the file.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Length in bytes.
    fn length(&self) -> io::Result<u64>;
    /// Makes everything written so far durable. After an error what was unsynced is lost: never try again.
    fn sync_data(&self) -> io::Result<()>;
}

/// Fills `buffer` as far as the file reaches; returns how many bytes that is.
pub(crate) fn read_full(file: &dyn DiskFile, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(offset + filled as u64, rest)? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

/// Fills all of `buffer`.
pub(in crate::store) fn read_exact(
    file: &dyn DiskFile,
    offset: u64,
    buffer: &mut [u8],
) -> io::Result<()> {
    match read_full(file, offset, buffer)? == buffer.len() {
        true => Ok(()),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// CRC-32C of the bytes from `offset` to `end`, or to where the file ends.
pub(in crate::store) fn checksum(
    file: &dyn DiskFile,
    mut offset: u64,
    end: u64,
) -> io::Result<u32> {
    let mut buffer = vec![0; CHECKED_BYTES.min((end - offset) as usize)];
    let mut crc = 0;
    while offset < end {
        let wanted = buffer.len().min((end - offset) as usize);
        let part = buffer.get_mut(..wanted).unwrap_or_default();
        let count = read_full(file, offset, part)?;
        crc = crc32c::crc32c_append(crc, part.get(..count).unwrap_or_default());
        if count < wanted {
            break;
        }
        offset += count as u64;
    }
    Ok(crc)
}
