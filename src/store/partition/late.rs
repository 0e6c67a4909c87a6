//! A folder that is made when it is needed, because it could not be made in time. Part of `store::partition`.
//!
//! A log whose creation is journaled exists, whether its folder could be made or not (design §2, rule 4). What is
//! appended to it waits in memory until the disk is well again.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::store::disk::{Disk, DiskFile};

/// Makes the folder.
type Make = Box<dyn Fn() -> io::Result<Arc<dyn Disk>> + Send + Sync>;

/// A folder that may not be there yet. Whatever lies at its place from before a crash goes when it is made.
pub struct LateFolder {
    make: Make,
    made: Mutex<Option<Arc<dyn Disk>>>,
    place: PathBuf,
}

impl LateFolder {
    /// A folder that `make` makes; `place` is where it will be, for messages.
    #[must_use]
    pub fn new(place: PathBuf, make: Make) -> Self {
        Self { make, made: Mutex::new(None), place }
    }

    fn disk(&self) -> io::Result<Arc<dyn Disk>> {
        let mut made = self.made.lock();
        if let Some(disk) = &*made {
            return Ok(Arc::clone(disk));
        }
        let disk = (self.make)()?;
        for name in disk.list()? {
            disk.remove(&name)?;
        }
        Ok(Arc::clone(made.insert(disk)))
    }

    /// The folder if it is there.
    fn known(&self) -> io::Result<Arc<dyn Disk>> {
        self.made
            .lock()
            .clone()
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the folder is not made yet"))
    }
}

impl Disk for LateFolder {
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.disk()?.create(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.known()?.open(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.known()?.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.known()?.remove(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.known()?.list()
    }

    fn list_folders(&self) -> io::Result<Vec<String>> {
        self.known()?.list_folders()
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.disk()?.sync_dir()
    }

    fn folder(&self, name: &str) -> io::Result<Arc<dyn Disk>> {
        self.disk()?.folder(name)
    }

    fn remove_folder(&self, name: &str) -> io::Result<()> {
        self.known()?.remove_folder(name)
    }

    fn path(&self, name: &str) -> PathBuf {
        match &*self.made.lock() {
            Some(disk) => disk.path(name),
            None => self.place.join(name),
        }
    }
}

impl fmt::Debug for LateFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LateFolder").field("place", &self.place).finish_non_exhaustive()
    }
}
