//! The whole database at one moment, row by row, and a database made of such rows. Part of `store::tables`.
//!
//! A backup copies rows, not the file: the file changes with every checkpoint, a read transaction does not. What is
//! copied is as opaque as it is on disk, so a copy is of the same format.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use redb::{
    Builder, Database, Durability, Error, ReadTransaction, ReadableTable, TableDefinition,
    TableError, WriteTransaction,
};

use crate::store::codec::CodecError;
use crate::store::error::StoreError;
use crate::store::tables::db::{META, TABLES, failure};
use crate::store::tables::meta::{CHECKPOINT_KEY, CheckpointRow, NAME};

/// Memory for pages of a database being made.
const CACHE_BYTES: usize = 16 << 20;
/// Rows are committed in portions of so many bytes.
const PORTION_BYTES: usize = 8 << 20;

/// One row of one table, as it lies in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawRow {
    /// Name of the table.
    pub table: String,
    /// Bytes of the key.
    pub key: Bytes,
    /// Bytes of the row.
    pub row: Bytes,
}

/// What was current when it was taken.
pub struct Snapshot {
    transaction: ReadTransaction,
    path: PathBuf,
}

impl Snapshot {
    pub(super) fn new(transaction: ReadTransaction, path: PathBuf) -> Self {
        Self { transaction, path }
    }

    /// The checkpoint; `None` before the first.
    ///
    /// # Errors
    /// [`StoreError::Row`], [`StoreError::Table`].
    pub fn checkpoint(&self) -> Result<Option<CheckpointRow>, StoreError> {
        let read = || {
            let table = self.transaction.open_table(META)?;
            let row = table.get(CHECKPOINT_KEY)?;
            Ok(row.map(|row| CheckpointRow::decode(row.value())))
        };
        let row: Option<Result<_, CodecError>> = read().map_err(self.failed())?;
        row.transpose().map_err(|source| StoreError::Row {
            table: NAME,
            key: CHECKPOINT_KEY.into(),
            source,
        })
    }

    /// Calls `each` with the table, key and bytes of every row, table by table.
    ///
    /// # Errors
    /// What `each` returns; [`StoreError::Table`].
    pub fn for_each<E: From<StoreError>>(
        &self,
        mut each: impl FnMut(&str, &[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let meta = self.transaction.open_table(META).map_err(|e| self.failed()(e.into()))?;
        for entry in meta.iter().map_err(|e| self.failed()(e.into()))? {
            let (key, row) = entry.map_err(|e| self.failed()(e.into()))?;
            each(NAME, key.value().as_bytes(), row.value())?;
        }
        for name in TABLES {
            let table: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new(name);
            let table = match self.transaction.open_table(table) {
                Ok(table) => table,
                Err(TableError::TableDoesNotExist(_)) => continue,
                Err(error) => return Err(self.failed()(error.into()).into()),
            };
            for entry in table.iter().map_err(|e| self.failed()(e.into()))? {
                let (key, row) = entry.map_err(|e| self.failed()(e.into()))?;
                each(name, key.value(), row.value())?;
            }
        }
        Ok(())
    }

    fn failed(&self) -> impl FnOnce(Error) -> StoreError {
        failure(&self.path, "read a table")
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("path", &self.path).finish_non_exhaustive()
    }
}

/// A database being made of rows. It is one once [`Copy::finish`] has returned.
pub struct Copy {
    database: Database,
    path: PathBuf,
    waiting: Vec<RawRow>,
    bytes: usize,
}

impl Copy {
    /// Begins a database in a file that must not exist.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Table`].
    pub fn create(path: &Path) -> Result<Self, StoreError> {
        if path.exists() {
            let reason = "there is a file already".to_owned();
            return Err(StoreError::Refused { file: path.to_owned(), reason });
        }
        let database = Builder::new()
            .set_cache_size(CACHE_BYTES)
            .create(path)
            .map_err(failure(path, "create"))?;
        Ok(Self { database, path: path.to_owned(), waiting: Vec::new(), bytes: 0 })
    }

    /// Adds a row; those of one table best one after the other.
    ///
    /// # Errors
    /// [`StoreError::Table`].
    pub fn put(&mut self, row: RawRow) -> Result<(), StoreError> {
        self.bytes += row.table.len() + row.key.len() + row.row.len();
        self.waiting.push(row);
        if self.bytes >= PORTION_BYTES {
            self.write()?;
        }
        Ok(())
    }

    /// Writes what is left; every table is there afterwards, and all is on disk.
    ///
    /// # Errors
    /// [`StoreError::Table`].
    pub fn finish(mut self) -> Result<(), StoreError> {
        self.write()?;
        self.database.close().map_err(failure(&self.path, "close"))
    }

    fn write(&mut self) -> Result<(), StoreError> {
        let rows = std::mem::take(&mut self.waiting);
        self.bytes = 0;
        put_all(&self.database, &rows).map_err(failure(&self.path, "write rows"))
    }
}

impl std::fmt::Debug for Copy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Copy").field("path", &self.path).finish_non_exhaustive()
    }
}

fn put_all(database: &Database, rows: &[RawRow]) -> Result<(), Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    for rows in rows.chunk_by(|one, next| one.table == next.table) {
        put_table(&transaction, rows)?;
    }
    for name in TABLES {
        let table: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new(name);
        transaction.open_table(table)?;
    }
    Ok(transaction.commit()?)
}

fn put_table(transaction: &WriteTransaction, rows: &[RawRow]) -> Result<(), Error> {
    let Some(first) = rows.first() else { return Ok(()) };
    if first.table == NAME {
        let mut table = transaction.open_table(META)?;
        for row in rows {
            table.insert(&*String::from_utf8_lossy(&row.key), &row.row[..])?;
        }
        return Ok(());
    }
    let definition: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new(&first.table);
    let mut table = transaction.open_table(definition)?;
    for row in rows {
        table.insert(&row.key[..], &row.row[..])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{Copy, RawRow};
    use crate::model::ids::{LogId, Lsn, QueueId, SHARD, SetId};
    use crate::store::error::StoreError;
    use crate::store::tables::CheckpointWrite;
    use crate::store::tables::db::Db;
    use crate::store::tables::meta::CheckpointRow;
    use crate::store::tables::sessions::{SessionKey, Sessions};

    fn row(next_lsn: u64) -> CheckpointRow {
        CheckpointRow {
            next_lsn: Lsn(next_lsn),
            next_batch: 2,
            next_queue_id: QueueId(3),
            next_log_id: LogId(4),
            next_set_id: SetId(5),
            next_producer_id: 6,
            broker_uuid: [7; 16],
            written_ms: 8,
            queued_messages_max: 9,
            queued_bytes_max: 10,
        }
    }

    #[test]
    fn a_copy_holds_what_was_current_when_it_was_begun() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&dir.path().join("meta.redb"), 1 << 20).unwrap();
        let mut write = CheckpointWrite::new(row(11));
        for queue in 0..5_000 {
            let key = SessionKey { shard: SHARD, queue: QueueId(queue) };
            write.sessions.put(key, Bytes::from(vec![queue as u8; 3_000]));
        }
        db.commit(&write).unwrap();
        let snapshot = db.snapshot().unwrap();
        let mut later = CheckpointWrite::new(row(12));
        later.sessions.delete(SessionKey { shard: SHARD, queue: QueueId(0) });
        db.commit(&later).unwrap();

        let path = dir.path().join("copy.redb");
        let mut copy = Copy::create(&path).unwrap();
        snapshot
            .for_each::<StoreError>(|table, key, row| {
                copy.put(RawRow {
                    table: table.to_owned(),
                    key: Bytes::copy_from_slice(key),
                    row: Bytes::copy_from_slice(row),
                })
            })
            .unwrap();
        copy.finish().unwrap();
        assert_eq!(snapshot.checkpoint().unwrap(), Some(row(11)));
        let db = Db::open(&path, 1 << 20).unwrap();
        assert_eq!(db.checkpoint().unwrap(), Some(row(11)));
        let mut count = 0;
        db.for_each::<Sessions>(|key, bytes| {
            assert_eq!(bytes, vec![key.queue.0 as u8; 3_000]);
            count += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(count, 5_000);
        assert!(Copy::create(&path).is_err());
    }
}
