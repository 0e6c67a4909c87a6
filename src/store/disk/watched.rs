//! A folder whose syncs are watched: the store has no clock, whoever composes it has. Part of `store::disk`.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::store::disk::{Disk, DiskFile};

/// Is told of every sync; one thread syncs at a time.
pub trait SyncWatch: std::fmt::Debug + Send + Sync {
    /// A sync begins.
    fn begun(&self);
    /// It ended, well or not.
    fn ended(&self);
}

/// A folder whose files' syncs are watched.
#[derive(Debug)]
pub struct WatchedDisk {
    /// The folder.
    pub disk: Arc<dyn Disk>,
    /// Who is told.
    pub watch: Arc<dyn SyncWatch>,
}

#[derive(Debug)]
struct WatchedFile {
    file: Arc<dyn DiskFile>,
    watch: Arc<dyn SyncWatch>,
}

impl WatchedDisk {
    fn file(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(WatchedFile { file, watch: Arc::clone(&self.watch) })
    }
}

impl Disk for WatchedDisk {
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.create(name).map(|file| self.file(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open(name).map(|file| self.file(file))
    }

    fn open_direct(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open_direct(name).map(|file| self.file(file))
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

impl DiskFile for WatchedFile {
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
        self.watch.begun();
        let outcome = self.file.sync_data();
        self.watch.ended();
        outcome
    }
}
