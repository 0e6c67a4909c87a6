//! The database file. Part of `store::tables`.
//!
//! Reads see the last committed checkpoint and run beside a commit. Nothing is written but whole checkpoints.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use parking_lot::RwLock;
use redb::{
    Builder, Database, DatabaseError, Durability, Error, ReadableDatabase, ReadableTable,
    TableDefinition, TableError, TableHandle, WriteTransaction,
};

use crate::model::ids::ShardId;
use crate::store::codec::CodecError;
use crate::store::disk::folder::Folder;
use crate::store::error::StoreError;
use crate::store::tables::bindings::Bindings;
use crate::store::tables::bodies::Bodies;
use crate::store::tables::body_pages::BodyPages;
use crate::store::tables::declared::Declared;
use crate::store::tables::exchanges::Exchanges;
use crate::store::tables::groups::Groups;
use crate::store::tables::logs::Logs;
use crate::store::tables::meta::{
    CHECKPOINT_KEY, CheckpointRow, FORMAT, FORMAT_KEY, NAME, PAGE_SUMS_KEY,
};
use crate::store::tables::offsets::Offsets;
use crate::store::tables::page_sums::PageSums;
use crate::store::tables::partitions::Partitions;
use crate::store::tables::queue_pages::QueuePages;
use crate::store::tables::renewed::DatabaseFile;
use crate::store::tables::retained::{self, Retained};
use crate::store::tables::sessions::Sessions;
use crate::store::tables::sets::Sets;
use crate::store::tables::snapshot::Snapshot;
use crate::store::tables::view::View;
use crate::store::tables::{Changes, CheckpointWrite, Row, Table};

pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new(NAME);

/// Every table but [`META`].
pub(super) const TABLES: [&str; 14] = [
    Sessions::NAME,
    Declared::NAME,
    QueuePages::NAME,
    PageSums::NAME,
    Sets::NAME,
    Bodies::NAME,
    BodyPages::NAME,
    Logs::NAME,
    Partitions::NAME,
    Retained::NAME,
    Exchanges::NAME,
    Bindings::NAME,
    Groups::NAME,
    Offsets::NAME,
];

fn definition<T: Table>() -> TableDefinition<'static, &'static [u8], &'static [u8]> {
    TableDefinition::new(T::NAME)
}

/// Opens the file; called again after redb took itself out of use.
type Opener = Box<dyn Fn() -> Result<Database, DatabaseError> + Send + Sync>;

/// The metadata of one data directory. Shared freely: reads run beside each other and beside one commit.
pub struct Db {
    /// `None` after a failure, until it could be opened again.
    database: RwLock<Option<Database>>,
    opener: Opener,
    path: PathBuf,
}

impl Db {
    /// Opens the database file, creating it when missing. `cache_bytes` bounds redb's page cache.
    ///
    /// # Errors
    /// [`StoreError::Version`] for a newer format, [`StoreError::Table`] for what redb refuses.
    pub fn open(path: &Path, cache_bytes: usize) -> Result<Self, StoreError> {
        let opener = |file: PathBuf| -> Opener {
            Box::new(move || Builder::new().set_cache_size(cache_bytes).create(&file))
        };
        if !path.exists() {
            // Made whole under another name: redb refuses for ever what a crash left of a file it began.
            let unfinished = path.with_extension("new");
            match std::fs::remove_file(&unfinished) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(StoreError::io(&unfinished, "remove")(error));
                }
                _ => {}
            }
            drop(Self::open_with(&unfinished, opener(unfinished.clone()))?);
            std::fs::rename(&unfinished, path).map_err(StoreError::io(path, "name"))?;
            if let Some(folder) = path.parent() {
                File::open(folder)
                    .and_then(|folder| folder.sync_all())
                    .map_err(StoreError::io(folder, "sync"))?;
            }
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or_else(|| Path::new("."));
        let disk = Folder::open(folder).map_err(StoreError::io(folder, "open"))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let file = DatabaseFile::new(disk, &name);
        Self::open_with(path, Box::new(move || file.open(cache_bytes)))
    }

    pub(crate) fn open_with(path: &Path, opener: Opener) -> Result<Self, StoreError> {
        let database = opener().map_err(failure(path, "open"))?;
        let db = Self { database: RwLock::new(Some(database)), opener, path: path.to_owned() };
        match db.format()? {
            None => db.create_tables()?,
            // Tables that came with a later build of the same format begin empty.
            Some(FORMAT) if db.misses_tables()? => db.create_tables()?,
            Some(FORMAT) => {}
            Some(found) => {
                return Err(StoreError::Version { file: db.path, found, known: FORMAT });
            }
        }
        Ok(db)
    }

    /// Runs `op`. After an I/O error redb refuses everything until it is opened again; then that is done, and `op`
    /// runs once more.
    fn with<R>(
        &self,
        doing: &'static str,
        op: impl Fn(&Database) -> Result<R, Error>,
    ) -> Result<R, StoreError> {
        let attempt = self.database.read().as_ref().map(&op);
        match attempt {
            None | Some(Err(Error::PreviousIo)) => {}
            Some(result) => return result.map_err(failure(&self.path, doing)),
        }
        self.reopen()?;
        match self.database.read().as_ref().map(op) {
            Some(result) => result.map_err(failure(&self.path, doing)),
            None => Err(failure(&self.path, doing)(Error::PreviousIo)),
        }
    }

    fn reopen(&self) -> Result<(), StoreError> {
        let mut database = self.database.write();
        // Closed first: the file is locked.
        *database = None;
        *database = Some((self.opener)().map_err(failure(&self.path, "open again"))?);
        tracing::info!(file = %self.path.display(), "database opened again after a failure");
        Ok(())
    }

    fn format(&self) -> Result<Option<u32>, StoreError> {
        let Some(bytes) = self.meta(FORMAT_KEY)? else { return Ok(None) };
        match bytes.first_chunk().filter(|_| bytes.len() == 4) {
            Some(format) => Ok(Some(u32::from_le_bytes(*format))),
            None => Err(StoreError::corrupt(
                &self.path,
                0,
                "a format number of 4 bytes",
                format!("{} bytes", bytes.len()),
            )),
        }
    }

    /// Creates every table, so that no reader ever meets a missing one.
    fn create_tables(&self) -> Result<(), StoreError> {
        self.with("create tables", |database| {
            let transaction = database.begin_write()?;
            transaction.open_table(META)?.insert(FORMAT_KEY, FORMAT.to_le_bytes().as_slice())?;
            for name in TABLES {
                let table: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new(name);
                transaction.open_table(table)?;
            }
            Ok(transaction.commit()?)
        })
    }

    fn misses_tables(&self) -> Result<bool, StoreError> {
        self.with("list tables", |database| {
            let known: Vec<_> = database.begin_read()?.list_tables()?.collect();
            let is_known = |name: &&str| known.iter().any(|table| table.name() == *name);
            Ok(!TABLES.iter().all(is_known))
        })
    }

    fn meta(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.with("read meta", |database| {
            let table = match database.begin_read()?.open_table(META) {
                Ok(table) => table,
                Err(TableError::TableDoesNotExist(_)) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            Ok(table.get(key)?.map(|value| value.value().to_vec()))
        })
    }

    /// The current checkpoint; `None` before the first.
    ///
    /// # Errors
    /// [`StoreError::Row`] for a row of a newer build or a damaged one, [`StoreError::Table`].
    pub fn checkpoint(&self) -> Result<Option<CheckpointRow>, StoreError> {
        let Some(bytes) = self.meta(CHECKPOINT_KEY)? else { return Ok(None) };
        let row = CheckpointRow::decode(&bytes).map_err(|source| StoreError::Row {
            table: NAME,
            key: CHECKPOINT_KEY.into(),
            source,
        })?;
        Ok(Some(row))
    }

    /// Calls `each` with every row of a table, in key order. Stops at its first error.
    ///
    /// # Errors
    /// What `each` returns, [`StoreError::Row`], [`StoreError::Table`].
    pub fn for_each<T: Table>(
        &self,
        mut each: impl FnMut(T::Key, T::Row) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.for_each_raw::<T>(|key, bytes| {
            let row = T::Row::decode(bytes).map_err(|source| row_error::<T>(&key, source))?;
            each(key, row)
        })
    }

    /// [`Db::for_each`] with the row's bytes as they lie in the page: for who needs their length only.
    ///
    /// # Errors
    /// See there.
    pub fn for_each_raw<T: Table>(
        &self,
        mut each: impl FnMut(T::Key, &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let failed = |error: Error| failure(&self.path, "read a table")(error);
        let guard = self.database.read();
        let Some(database) = guard.as_ref() else { return Err(failed(Error::PreviousIo)) };
        let transaction = database.begin_read().map_err(|error| failed(error.into()))?;
        let table =
            transaction.open_table(definition::<T>()).map_err(|error| failed(error.into()))?;
        for entry in table.iter().map_err(|error| failed(error.into()))? {
            let (key, row) = entry.map_err(|error| failed(error.into()))?;
            let key = T::decode_key(key.value()).map_err(|source| StoreError::Row {
                table: T::NAME,
                key: format!("{:02x?}", key.value()),
                source,
            })?;
            each(key, row.value())?;
        }
        Ok(())
    }

    /// One row by its key.
    ///
    /// # Errors
    /// [`StoreError::Row`], [`StoreError::Table`].
    pub fn read<T: Table>(&self, key: &T::Key) -> Result<Option<T::Row>, StoreError> {
        let mut bytes = Vec::with_capacity(32);
        T::encode_key(key, &mut bytes);
        self.read_with::<T, _>(&bytes, |row| {
            T::Row::decode(row).map_err(|source| row_error::<T>(key, source))
        })?
        .transpose()
    }

    /// Opens the file again if a failure took it out of use: [`Db::view`] and [`Db::for_each`] do not by themselves.
    ///
    /// # Errors
    /// It still fails.
    pub fn heal(&self) -> Result<(), StoreError> {
        self.with("look after a failure", |database| Ok(database.try_begin_write()?.abort()?))
    }

    /// A table as of the last checkpoint.
    ///
    /// # Errors
    /// [`StoreError::Table`].
    pub fn view<T: Table>(&self) -> Result<View<T>, StoreError> {
        let table = self.with("read a table", |database| {
            Ok(database.begin_read()?.open_table(definition::<T>())?)
        })?;
        Ok(View::new(table, self.path.clone()))
    }

    /// A retained message as of the last checkpoint.
    ///
    /// # Errors
    /// [`StoreError::Table`].
    pub fn retained(
        &self,
        shard: ShardId,
        vhost: &str,
        topic: &str,
    ) -> Result<Option<Bytes>, StoreError> {
        let mut key = Vec::with_capacity(4 + vhost.len() + topic.len());
        retained::encode_key(shard, vhost, topic, &mut key);
        self.read_with::<Retained, _>(&key, Bytes::copy_from_slice)
    }

    fn read_with<T: Table, R>(
        &self,
        key: &[u8],
        decode: impl Fn(&[u8]) -> R,
    ) -> Result<Option<R>, StoreError> {
        self.with("read a row", |database| {
            let table = database.begin_read()?.open_table(definition::<T>())?;
            Ok(table.get(key)?.map(|row| decode(row.value())))
        })
    }

    /// What is current now, whatever is committed later.
    ///
    /// # Errors
    /// [`StoreError::Table`].
    pub fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let transaction = self.with("begin a read", |database| Ok(database.begin_read()?))?;
        Ok(Snapshot::new(transaction, self.path.clone()))
    }

    /// Makes a checkpoint current: all of it, on disk, or none.
    ///
    /// # Errors
    /// [`StoreError::Table`]; the checkpoint before stays current, and the same can be tried again.
    pub fn commit(&self, write: &CheckpointWrite) -> Result<(), StoreError> {
        self.with("commit a checkpoint", |database| {
            let mut transaction = database.begin_write()?;
            transaction.set_durability(Durability::Immediate)?;
            change(&transaction, &write.sessions)?;
            change(&transaction, &write.declared)?;
            change(&transaction, &write.queue_pages)?;
            change(&transaction, &write.page_sums)?;
            change(&transaction, &write.sets)?;
            change(&transaction, &write.bodies)?;
            change(&transaction, &write.body_pages)?;
            change(&transaction, &write.logs)?;
            change(&transaction, &write.partitions)?;
            change(&transaction, &write.retained)?;
            change(&transaction, &write.exchanges)?;
            change(&transaction, &write.bindings)?;
            change(&transaction, &write.groups)?;
            change(&transaction, &write.offsets)?;
            let mut row = Vec::new();
            write.checkpoint.encode(&mut row);
            let mut meta = transaction.open_table(META)?;
            meta.insert(CHECKPOINT_KEY, row.as_slice())?;
            let lsn = write.checkpoint.next_lsn.0.to_le_bytes();
            meta.insert(PAGE_SUMS_KEY, lsn.as_slice())?;
            drop(meta);
            Ok(transaction.commit()?)
        })
    }

    /// Whether the sums of all pages are there and right: every commit of this build says that it kept them, one of an
    /// earlier build does not.
    ///
    /// # Errors
    /// [`StoreError::Row`], [`StoreError::Table`].
    pub fn has_page_sums(&self) -> Result<bool, StoreError> {
        let Some(checkpoint) = self.checkpoint()? else { return Ok(true) };
        let kept = self.meta(PAGE_SUMS_KEY)?;
        Ok(kept.is_some_and(|lsn| lsn == checkpoint.next_lsn.0.to_le_bytes()))
    }

    /// Replaces the sums of all pages by `sums`, which were taken from the pages.
    ///
    /// # Errors
    /// [`StoreError::Row`], [`StoreError::Table`].
    pub fn put_page_sums(&self, sums: &Changes<PageSums>) -> Result<(), StoreError> {
        let Some(checkpoint) = self.checkpoint()? else { return Ok(()) };
        self.with("write sums of pages", |database| {
            let mut transaction = database.begin_write()?;
            transaction.set_durability(Durability::Immediate)?;
            transaction.delete_table(definition::<PageSums>())?;
            drop(transaction.open_table(definition::<PageSums>())?);
            change(&transaction, sums)?;
            let lsn = checkpoint.next_lsn.0.to_le_bytes();
            transaction.open_table(META)?.insert(PAGE_SUMS_KEY, lsn.as_slice())?;
            Ok(transaction.commit()?)
        })
    }
}

#[cfg(test)]
impl Db {
    /// Leaves the database as an earlier build would, which keeps no sums of pages, or wrong ones.
    pub(crate) fn forget_page_sums(&self) {
        let mut wrong = Changes::default();
        let sum = crate::store::tables::page_sums::PageSum { live: 7, ..Default::default() };
        self.for_each::<PageSums>(|key, _| {
            wrong.put(key, sum);
            Ok(())
        })
        .unwrap();
        self.put_page_sums(&wrong).unwrap();
        self.with("forget", |database| {
            let transaction = database.begin_write()?;
            transaction.open_table(META)?.remove(PAGE_SUMS_KEY)?;
            Ok(transaction.commit()?)
        })
        .unwrap();
    }
}

impl std::fmt::Debug for Db {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Db").field("path", &self.path).finish_non_exhaustive()
    }
}

fn change<T: Table>(transaction: &WriteTransaction, changes: &Changes<T>) -> Result<(), Error> {
    if changes.puts.is_empty() && changes.deletes.is_empty() {
        return Ok(());
    }
    let mut table = transaction.open_table(definition::<T>())?;
    let (mut key, mut row) = (Vec::new(), Vec::new());
    for deleted in &changes.deletes {
        key.clear();
        T::encode_key(deleted, &mut key);
        table.remove(key.as_slice())?;
    }
    for (put, value) in &changes.puts {
        key.clear();
        row.clear();
        T::encode_key(put, &mut key);
        value.encode(&mut row);
        table.insert(key.as_slice(), row.as_slice())?;
    }
    Ok(())
}

pub(super) fn failure<E: Into<Error>>(
    path: &Path,
    doing: &'static str,
) -> impl FnOnce(E) -> StoreError {
    move |error| StoreError::Table { file: path.to_owned(), doing, source: Box::new(error.into()) }
}

fn row_error<T: Table>(key: &T::Key, source: CodecError) -> StoreError {
    StoreError::Row { table: T::NAME, key: format!("{key:?}"), source }
}
