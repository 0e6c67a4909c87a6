//! Tables: rows come back as written, a checkpoint is all or nothing. Part of `store::tables`.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use proptest::prelude::*;
use redb::{Database, StorageBackend, TableDefinition};

use crate::model::ids::{LogId, Lsn, QueueId, SHARD, SetId, ShardId};
use crate::store::error::StoreError;
use crate::store::tables::bindings::{BindingKey, BindingRow, Bindings};
use crate::store::tables::bodies::{Bodies, BodyKey, BodyRow, Live};
use crate::store::tables::db::Db;
use crate::store::tables::exchanges::{ExchangeKey, ExchangeRow, Exchanges};
use crate::store::tables::groups::{GroupKey, GroupRow, Groups};
use crate::store::tables::logs::{LogKey, LogRow, Logs};
use crate::store::tables::meta::CheckpointRow;
use crate::store::tables::offsets::{OffsetKey, OffsetRow, Offsets};
use crate::store::tables::partitions::{PartitionKey, PartitionRow, Partitions};
use crate::store::tables::queue_pages::{PageKey, QueuePages};
use crate::store::tables::retained::{Retained, RetainedKey};
use crate::store::tables::sessions::{SessionKey, Sessions};
use crate::store::tables::sets::{SetKey, Sets};
use crate::store::tables::{CheckpointWrite, Row, Table};

const CACHE: usize = 1 << 20;

fn position(next_lsn: u64) -> CheckpointRow {
    CheckpointRow {
        next_lsn: Lsn(next_lsn),
        next_batch: 3,
        next_queue_id: QueueId(4),
        next_log_id: LogId(5),
        next_set_id: SetId(6),
        next_producer_id: 7,
        broker_uuid: [8; 16],
        written_ms: 9,
        queued_messages_max: 10,
        queued_bytes_max: 11,
    }
}

fn round_trip<T: Table>(key: &T::Key, row: &T::Row) -> (T::Key, T::Row) {
    let mut bytes = Vec::new();
    row.encode(&mut bytes);
    let row = T::Row::decode(&bytes).unwrap();
    let mut bytes = Vec::new();
    T::encode_key(key, &mut bytes);
    (T::decode_key(&bytes).unwrap(), row)
}

#[test]
fn a_checkpoint_comes_back_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("meta.redb");
    let db = Db::open(&path, CACHE).unwrap();
    assert_eq!(db.checkpoint().unwrap(), None);
    assert_eq!(db.retained(SHARD, "/", "a/b").unwrap(), None);
    let mut write = CheckpointWrite::new(position(10));
    for queue in [3, 1, 2] {
        let key = SessionKey { shard: SHARD, queue: QueueId(queue) };
        write.sessions.put(key, Bytes::from(vec![queue as u8]));
    }
    let retained =
        |topic: &str| RetainedKey { shard: SHARD, vhost: "/".into(), topic: topic.into() };
    write.retained.put(retained("a/b"), Bytes::from("value"));
    write.retained.put(retained("a/c"), Bytes::from("other"));
    db.commit(&write).unwrap();
    drop(db);

    let db = Db::open(&path, CACHE).unwrap();
    assert_eq!(db.checkpoint().unwrap(), Some(position(10)));
    assert_eq!(db.retained(SHARD, "/", "a/b").unwrap(), Some(Bytes::from("value")));
    assert_eq!(db.retained(SHARD, "", "/a/b").unwrap(), None);
    let mut queues = Vec::new();
    db.for_each::<Sessions>(|key, _| {
        queues.push(key.queue.0);
        Ok(())
    })
    .unwrap();
    assert_eq!(queues, [1, 2, 3]);

    let mut write = CheckpointWrite::new(position(11));
    write.retained.delete(retained("a/b"));
    write.retained.delete(retained("never"));
    db.commit(&write).unwrap();
    let mut lengths = Vec::new();
    db.for_each_raw::<Retained>(|key, row| {
        lengths.push((key.topic, row.len()));
        Ok(())
    })
    .unwrap();
    assert_eq!(lengths, [("a/c".to_owned(), 5)]);
    let queue = SessionKey { shard: SHARD, queue: QueueId(2) };
    assert_eq!(db.read::<Sessions>(&queue).unwrap(), Some(Bytes::from(vec![2])));
}

#[test]
fn what_a_crash_left_of_the_first_start_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("meta.redb");
    std::fs::write(path.with_extension("new"), [0; 8192]).unwrap();
    let db = Db::open(&path, CACHE).unwrap();
    db.commit(&CheckpointWrite::new(position(10))).unwrap();
    drop(db);
    assert_eq!(Db::open(&path, CACHE).unwrap().checkpoint().unwrap(), Some(position(10)));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

/// A file in memory that can be made to fail.
#[derive(Debug, Clone, Default)]
struct Backend {
    data: Arc<Mutex<Vec<u8>>>,
    failing: Arc<AtomicBool>,
}

impl Backend {
    fn check(&self) -> io::Result<()> {
        match self.failing.load(Ordering::SeqCst) {
            true => Err(io::Error::other("simulated failure")),
            false => Ok(()),
        }
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.data.lock().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let start = offset as usize;
        out.copy_from_slice(&self.data.lock()[start..start + out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check()?;
        self.data.lock().resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        let start = offset as usize;
        self.data.lock()[start..start + data.len()].copy_from_slice(data);
        Ok(())
    }
}

#[test]
fn a_failed_commit_leaves_the_former_checkpoint_and_can_be_repeated() {
    let backend = Backend::default();
    let opened = backend.clone();
    let opener = move || Database::builder().create_with_backend(opened.clone());
    let db = Db::open_with(Path::new("simulated"), Box::new(opener)).unwrap();
    db.commit(&CheckpointWrite::new(position(1))).unwrap();
    let mut write = CheckpointWrite::new(position(2));
    let key = SessionKey { shard: SHARD, queue: QueueId(1) };
    write.sessions.put(key, Bytes::from(vec![1; 100_000]));
    backend.failing.store(true, Ordering::SeqCst);
    assert!(db.commit(&write).is_err());
    assert!(db.commit(&write).is_err());
    backend.failing.store(false, Ordering::SeqCst);
    assert_eq!(db.checkpoint().unwrap(), Some(position(1)));
    assert_eq!(db.read::<Sessions>(&key).unwrap(), None);
    db.commit(&write).unwrap();
    assert_eq!(db.checkpoint().unwrap(), Some(position(2)));
    assert_eq!(db.read::<Sessions>(&key).unwrap().unwrap().len(), 100_000);
}

#[test]
fn a_newer_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("meta.redb");
    drop(Db::open(&path, CACHE).unwrap());
    let database = Database::create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    let meta: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
    transaction.open_table(meta).unwrap().insert("format", 2u32.to_le_bytes().as_slice()).unwrap();
    transaction.commit().unwrap();
    drop(database);
    assert!(matches!(Db::open(&path, CACHE), Err(StoreError::Version { found: 2, known: 1, .. })));
}

#[test]
fn a_row_of_a_newer_version_or_with_more_bytes_is_refused() {
    let mut row = Vec::new();
    BodyRow { valid_len: 1, live_refs: 2, live: Live::Uncounted }.encode(&mut row);
    row.push(0);
    assert!(BodyRow::decode(&row).is_err());
    row.pop();
    row[0] = 2;
    assert!(BodyRow::decode(&row).is_err());
}

/// A data directory of a build that did not know them yet.
#[test]
fn tables_that_came_later_begin_empty() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("meta.redb");
    let db = Db::open(&path, CACHE).unwrap();
    db.commit(&CheckpointWrite::new(position(10))).unwrap();
    drop(db);
    let raw = Database::open(&path).unwrap();
    let transaction = raw.begin_write().unwrap();
    for name in [Exchanges::NAME, Bindings::NAME, Groups::NAME, Offsets::NAME] {
        let table: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new(name);
        assert!(transaction.delete_table(table).unwrap());
    }
    transaction.commit().unwrap();
    drop(raw);
    let db = Db::open(&path, CACHE).unwrap();
    assert_eq!(db.checkpoint().unwrap(), Some(position(10)));
    db.for_each::<Bindings>(|key, _| panic!("{key:?}")).unwrap();
    db.for_each::<Exchanges>(|key, _| panic!("{key:?}")).unwrap();
    db.for_each::<Groups>(|key, _| panic!("{key:?}")).unwrap();
    db.for_each::<Offsets>(|key, _| panic!("{key:?}")).unwrap();
}

proptest! {
    #[test]
    fn opaque_rows_round_trip(shard: u16, id: u64, page: u64, row: Vec<u8>, vhost: String, topic: String) {
        let shard = ShardId(shard);
        let row = Bytes::from(row);
        let key = SessionKey { shard, queue: QueueId(id) };
        prop_assert_eq!(round_trip::<Sessions>(&key, &row), (key, row.clone()));
        let key = SetKey { shard, set: SetId(id) };
        prop_assert_eq!(round_trip::<Sets>(&key, &row), (key, row.clone()));
        let key = PageKey { shard, queue: QueueId(id), page };
        prop_assert_eq!(round_trip::<QueuePages>(&key, &row), (key, row.clone()));
        let key = RetainedKey { shard, vhost, topic };
        prop_assert_eq!(round_trip::<Retained>(&key, &row), (key.clone(), row.clone()));
    }

    #[test]
    fn typed_rows_round_trip(
        shard: u16, log: u32, partition: u32, a: u64, b: u64, uuid: [u8; 16],
        name: String, config: Vec<(String, String)>, segments: Vec<(i64, u64)>,
        next_offset: i64, log_start: i64, leader_epoch: i32, producers: Vec<u8>,
    ) {
        let shard = ShardId(shard);
        let key = BodyKey { shard, segment: partition };
        let live = Live::Bytes { bytes: a, is_shared: b > a };
        let row = BodyRow { valid_len: a, live_refs: b, live };
        prop_assert_eq!(round_trip::<Bodies>(&key, &row), (key, row));
        let key = LogKey { shard, log: LogId(log) };
        let row = LogRow {
            vhost: "/".into(), name, uuid, created_ms: a, partitions: partition, config,
        };
        prop_assert_eq!(round_trip::<Logs>(&key, &row), (key, row.clone()));
        let key = PartitionKey { shard, log: LogId(log), partition };
        let row = PartitionRow {
            segments, next_offset, log_start, leader_epoch, producers: producers.into(),
        };
        prop_assert_eq!(round_trip::<Partitions>(&key, &row), (key, row.clone()));
        let mut row = position(a);
        row.broker_uuid = uuid;
        row.next_producer_id = next_offset;
        let mut bytes = Vec::new();
        row.encode(&mut bytes);
        prop_assert_eq!(CheckpointRow::decode(&bytes)?, row);
    }

    #[test]
    fn the_topology_round_trips(
        shard: u16, names: [String; 4], flags: [bool; 2], arguments: Vec<u8>,
    ) {
        let shard = ShardId(shard);
        let [vhost, source, destination, key] = names;
        let exchange = ExchangeKey { shard, vhost: vhost.clone(), name: source.clone() };
        let row = ExchangeRow {
            kind: key.clone(),
            auto_delete: flags[0],
            internal: flags[1],
            arguments: arguments.clone(),
        };
        prop_assert_eq!(round_trip::<Exchanges>(&exchange, &row), (exchange.clone(), row.clone()));
        let to_exchange = flags[0];
        let binding = BindingKey { shard, vhost, source, to_exchange, destination, key, arguments };
        prop_assert_eq!(round_trip::<Bindings>(&binding, &BindingRow), (binding.clone(), BindingRow));
        let first = BindingKey::first_of(shard, &binding.vhost, &binding.source);
        prop_assert!(first <= binding);
    }

    #[test]
    fn groups_and_offsets_round_trip(
        shard: u16, vhost: String, group: String, log: u32, partition: u32,
        at_ms: u64, snapshot: Vec<u8>, offset: i64, leader_epoch: i32, metadata: String,
    ) {
        let shard = ShardId(shard);
        let key = GroupKey { shard, vhost: vhost.clone(), group: group.clone() };
        let row = GroupRow { put_ms: at_ms, snapshot: snapshot.into() };
        prop_assert_eq!(round_trip::<Groups>(&key, &row), (key.clone(), row.clone()));
        let key = OffsetKey { shard, vhost, group, log: LogId(log), partition };
        let row = OffsetRow { offset, leader_epoch, metadata, committed_ms: at_ms };
        prop_assert_eq!(round_trip::<Offsets>(&key, &row), (key.clone(), row.clone()));
    }

    #[test]
    fn arbitrary_rows_and_keys_never_panic(bytes: Vec<u8>) {
        assert!(matches!(GroupRow::decode(&bytes), Ok(_) | Err(_)));
        assert!(matches!(OffsetRow::decode(&bytes), Ok(_) | Err(_)));
        assert!(matches!(Groups::decode_key(&bytes), Ok(_) | Err(_)));
        assert!(matches!(Offsets::decode_key(&bytes), Ok(_) | Err(_)));
        assert!(matches!(ExchangeRow::decode(&bytes), Ok(_) | Err(_)));
        assert!(matches!(BindingRow::decode(&bytes), Ok(_) | Err(_)));
        assert!(matches!(Exchanges::decode_key(&bytes), Ok(_) | Err(_)));
        assert!(matches!(Bindings::decode_key(&bytes), Ok(_) | Err(_)));
        assert!(matches!(LogRow::decode(&bytes), Ok(_) | Err(_)));
        assert!(matches!(PartitionRow::decode(&bytes), Ok(_) | Err(_)));
        assert!(matches!(CheckpointRow::decode(&bytes), Ok(_) | Err(_)));
        assert!(matches!(Retained::decode_key(&bytes), Ok(_) | Err(_)));
        assert!(matches!(Partitions::decode_key(&bytes), Ok(_) | Err(_)));
    }
}
