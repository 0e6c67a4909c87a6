//! The database on a [`Disk`]: what fails or forgets beneath every other file does so beneath this one. Part of
//! `store::tables`, for tests, and for those who look at a directory and leave it as it is.

use std::io;
use std::path::Path;
use std::sync::Arc;

use redb::{Database, StorageBackend};

use crate::store::disk::{Disk, DiskFile, read_exact};
use crate::store::error::StoreError;
use crate::store::tables::db::Db;
use crate::store::tables::renewed::DatabaseFile;

const FILE: &str = "meta.redb";
/// The file while it is made: redb refuses for ever what a power cut left of a file that it began.
const UNFINISHED: &str = "meta.new";

/// Memory for its pages.
const CACHE_BYTES: usize = 8 << 20;

/// Opens the database in `disk`, making it when missing.
///
/// # Errors
/// As [`Db::open`].
pub fn open(disk: &Arc<dyn Disk>) -> Result<Db, StoreError> {
    let io = StoreError::io;
    let path = disk.path(FILE);
    let names = disk.list().map_err(io(&path, "list"))?;
    let is_there = |name: &str| names.iter().any(|known| known == name);
    if !is_there(FILE) {
        if is_there(UNFINISHED) {
            disk.remove(UNFINISHED).map_err(io(&path, "remove what was begun of"))?;
        }
        drop(open_file(disk.create(UNFINISHED).map_err(io(&path, "create"))?)?);
        disk.rename(UNFINISHED, FILE).map_err(io(&path, "name"))?;
        disk.sync_dir().map_err(io(&path, "sync"))?;
    }
    let file = DatabaseFile::new(Arc::clone(disk), FILE);
    Db::open_with(Path::new(FILE), Box::new(move || file.open(CACHE_BYTES)))
}

fn open_file(file: Arc<dyn DiskFile>) -> Result<Db, StoreError> {
    let opener =
        move || Database::builder().create_with_backend(OnDisk { file: Arc::clone(&file) });
    Db::open_with(Path::new(FILE), Box::new(opener))
}

/// Opens the database in `disk` and reads all of it first: every page that is in use must have its checksum.
///
/// # Errors
/// As [`Db::open`]; [`StoreError::Missing`] without a database.
pub fn open_checked(disk: &Arc<dyn Disk>, cache_bytes: usize) -> Result<Db, StoreError> {
    open_read(disk, cache_bytes, true)
}

/// Opens the database in `disk`, which must be there.
///
/// # Errors
/// As [`Db::open`]; [`StoreError::Missing`] without a database.
pub fn open_existing(disk: &Arc<dyn Disk>, cache_bytes: usize) -> Result<Db, StoreError> {
    open_read(disk, cache_bytes, false)
}

fn open_read(disk: &Arc<dyn Disk>, cache_bytes: usize, check: bool) -> Result<Db, StoreError> {
    let path = disk.path(FILE);
    let file = disk.open(FILE).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => {
            StoreError::Missing { file: path.clone(), expected: "the database".to_owned() }
        }
        _ => StoreError::Io { file: path.clone(), doing: "open", source },
    })?;
    let opener = move || {
        Database::builder()
            .set_cache_size(cache_bytes)
            .set_check_integrity_on_open(check)
            .create_with_backend(OnDisk { file: Arc::clone(&file) })
    };
    Db::open_with(&path, Box::new(opener))
}

#[derive(Debug)]
struct OnDisk {
    file: Arc<dyn DiskFile>,
}

impl StorageBackend for OnDisk {
    fn len(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        read_exact(self.file.as_ref(), offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, data)
    }
}
