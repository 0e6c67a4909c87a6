//! The file of a segment that has none yet: its bytes are in memory. Part of `store::partition::segment`.

use std::io;

use crate::store::disk::DiskFile;

/// A file without a byte, which takes none.
#[derive(Debug)]
pub(super) struct Absent;

fn absent() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "the file is not made yet")
}

impl DiskFile for Absent {
    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(absent())
    }

    fn read_at(&self, _: u64, _: &mut [u8]) -> io::Result<usize> {
        Ok(0)
    }

    fn allocate(&self, _: u64) -> io::Result<()> {
        Err(absent())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(absent())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(0)
    }

    fn sync_data(&self) -> io::Result<()> {
        Err(absent())
    }
}
