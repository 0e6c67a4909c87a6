//! The database's file, and another one in its place when a sync of it failed. Part of `store::tables`.
//!
//! After a failed sync nobody knows what the platter has. The system may count pages as clean that it never wrote: a
//! later sync would not write them either, and whatever is committed on top of them would be lost with them (design §2,
//! rule 4). So that file is never written again. All of it is copied, as the system gives it back, into a new one; redb
//! opens that as after a crash, when checksums tell which commit is whole. The one that failed may be in it or not:
//! whoever wanted it was told that it failed, and comes again with the same.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::{Builder, Database, DatabaseError, StorageBackend, StorageError};

use crate::store::disk::{Disk, DiskFile, read_exact};

/// Bytes copied at once.
const COPY_BYTES: u64 = 1024 * 1024;
/// Suffix of a copy that is not whole.
const UNFINISHED: &str = ".copy";

/// A database file by its name.
pub(super) struct DatabaseFile {
    disk: Arc<dyn Disk>,
    name: String,
    /// A sync failed.
    broken: Arc<AtomicBool>,
}

impl DatabaseFile {
    /// The file `name` in `disk`, which must be there.
    pub(super) fn new(disk: Arc<dyn Disk>, name: &str) -> Self {
        Self { disk, name: name.to_owned(), broken: Arc::default() }
    }

    /// Opens the database, after a failed sync in a new file.
    ///
    /// # Errors
    /// What redb or the disk says; to be tried again.
    pub(super) fn open(&self, cache_bytes: usize) -> Result<Database, DatabaseError> {
        let file = self.file().map_err(|error| DatabaseError::Storage(StorageError::Io(error)))?;
        let backend = Guarded { file, broken: Arc::clone(&self.broken) };
        Builder::new().set_cache_size(cache_bytes).create_with_backend(backend)
    }

    fn file(&self) -> io::Result<Arc<dyn DiskFile>> {
        if self.broken.load(Ordering::Acquire) {
            self.renew()?;
            self.broken.store(false, Ordering::Release);
        }
        self.disk.open(&self.name)
    }

    fn renew(&self) -> io::Result<()> {
        let unfinished = format!("{}{UNFINISHED}", self.name);
        let copied = self.copy(&unfinished);
        match &copied {
            Ok(()) => {
                tracing::warn!(
                    file = %self.disk.path(&self.name).display(),
                    "a sync of the database failed; it is in a new file now"
                );
            }
            // What came to nothing may take the very room that the next attempt needs.
            Err(_) => self.disk.remove(&unfinished).unwrap_or_default(),
        }
        copied
    }

    fn copy(&self, unfinished: &str) -> io::Result<()> {
        let old = self.disk.open(&self.name)?;
        let length = old.length()?;
        // What a crash left of an attempt has the room that this one needs.
        match self.disk.remove(unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // Readers ask for this as often as they read: what cannot come to an end is not begun.
        if self.disk.free_bytes()?.is_some_and(|free| free < length) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let new = self.disk.create(unfinished)?;
        let mut position = 0;
        while position < length {
            let mut bytes = vec![0; (length - position).min(COPY_BYTES) as usize];
            read_exact(old.as_ref(), position, &mut bytes)?;
            new.write_at(position, &bytes)?;
            position += bytes.len() as u64;
        }
        new.sync_data()?;
        self.disk.rename(unfinished, &self.name)?;
        // Until its name is durable nothing may be committed to it.
        self.disk.sync_dir()
    }
}

/// A file that is not written any more once a sync of it failed.
#[derive(Debug)]
struct Guarded {
    file: Arc<dyn DiskFile>,
    broken: Arc<AtomicBool>,
}

impl Guarded {
    fn check(&self) -> io::Result<()> {
        match self.broken.load(Ordering::Acquire) {
            true => Err(io::Error::other("an earlier sync of this file failed")),
            false => Ok(()),
        }
    }
}

impl StorageBackend for Guarded {
    fn len(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        read_exact(self.file.as_ref(), offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check()?;
        self.file.sync_data().inspect_err(|_| self.broken.store(true, Ordering::Release))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        self.file.write_at(offset, data)
    }
}
