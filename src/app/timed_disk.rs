//! The journal's folder with a stopwatch on every sync: the store has no clock. Part of `app`.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use prometheus::Histogram;

use crate::store::disk::{Disk, DiskFile};

/// A folder whose files' syncs are observed.
#[derive(Debug)]
pub(super) struct TimedDisk {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) seconds: Histogram,
}

#[derive(Debug)]
struct TimedFile {
    file: Arc<dyn DiskFile>,
    seconds: Histogram,
}

impl TimedDisk {
    fn file(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(TimedFile { file, seconds: self.seconds.clone() })
    }
}

impl Disk for TimedDisk {
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.create(name).map(|file| self.file(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open(name).map(|file| self.file(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn list_folders(&self) -> io::Result<Vec<String>> {
        self.disk.list_folders()
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.disk.sync_dir()
    }

    fn folder(&self, name: &str) -> io::Result<Arc<dyn Disk>> {
        self.disk.folder(name)
    }

    fn remove_folder(&self, name: &str) -> io::Result<()> {
        self.disk.remove_folder(name)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.disk.path(name)
    }
}

impl DiskFile for TimedFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, bytes)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buffer)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.file.allocate(len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn sync_data(&self) -> io::Result<()> {
        let begun = Instant::now();
        let outcome = self.file.sync_data();
        self.seconds.observe(begun.elapsed().as_secs_f64());
        outcome
    }
}
