//! From a data directory to a broker that takes records, and back. Part of `app`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prometheus::Histogram;

use crate::admin::readiness::{Condition, Readiness};
use crate::broker::Broker;
use crate::broker::Parts;
use crate::broker::apply::Applier;
use crate::broker::backlog::BacklogLimits;
use crate::broker::checkpoint::Checkpointer;
use crate::broker::checkpoint::pins::Pins;
use crate::broker::consumer::Waiter;
use crate::broker::engine::{Due, Engine, NowMs, Observer};
use crate::broker::exchanges::TopologyLimits;
use crate::broker::fanout::QueueLimits;
use crate::broker::groups::limits::GroupLimits;
use crate::broker::limits::Limits;
use crate::broker::logs::settings::LogSettings;
use crate::broker::paging::StoredPages;
use crate::broker::restore;
use crate::broker::retained::room::RetainedLimits;
use crate::config::Config;
use crate::config::limits::SessionOverflow;
use crate::config::live::Bundle;
use crate::config::queues::Overflow;
use crate::config::sections::Durability as Configured;
use crate::metrics::Metrics;
use crate::model::ids::Lsn;
use crate::store::bodies::{BodyOptions, BodyStore};
use crate::store::disk::Disk;
use crate::store::disk::faulty::{self, FaultyDisk};
use crate::store::disk::folder::Folder;
use crate::store::disk::watched::{SyncWatch, WatchedDisk};
use crate::store::error::StoreError;
use crate::store::journal::embedded::EmbeddedJournal;
use crate::store::journal::{Durability, Journal, JournalOptions};
use crate::store::partition::folders::LogFolders;
use crate::store::scratch::{ScratchOptions, ScratchStore};
use crate::store::tables::bodies::BodyRow;
use crate::store::tables::db::Db;
use crate::store::tables::meta::CheckpointRow;
use crate::store::tables::on_disk;
use crate::store::{DirLock, lock_dir};

use super::AppError;
use super::disk_watch::DiskWatch;
use super::timers::{BrokerTimers, Handle};

/// Memory for pages of the metadata database.
const DATABASE_CACHE_BYTES: usize = 8 << 20;
/// QoS 0 messages that wait behind a session's queue, and their bytes.
const VOLATILE_MAX: usize = 10_000;
const VOLATILE_BYTES_MAX: usize = 4 << 20;
/// Between two attempts at a checkpoint that fails.
const CHECKPOINT_RETRY: Duration = Duration::from_secs(1);
/// Between two log lines about a long replay.
const PROGRESS_BATCHES: u64 = 2_000;

/// A broker over its data directory.
pub(super) struct Storage {
    pub(super) broker: Arc<Broker>,
    pub(super) engine: Arc<Engine>,
    pub(super) cluster_id: String,
    pub(super) db: Arc<Db>,
    /// What backups keep files by.
    pub(super) pins: Arc<Pins>,
    journal: Arc<EmbeddedJournal<Waiter>>,
    root: Arc<dyn Disk>,
    _lock: DirLock,
}

/// What starting needs besides the directory.
pub(super) struct Surroundings<'a> {
    pub(super) bundle: &'a Bundle,
    pub(super) metrics: &'a Arc<Metrics>,
    pub(super) readiness: &'a Arc<Readiness>,
    pub(super) timers: &'a Arc<BrokerTimers>,
    pub(super) now_ms: NowMs,
}

fn folder(root: &Arc<dyn Disk>, name: &str) -> Result<Arc<dyn Disk>, StoreError> {
    let path = root.path(name);
    root.folder(name).map_err(|source| StoreError::Io { file: path, doing: "create", source })
}

/// The data directory and its database; on a disk that fails on demand where a test wants one.
fn open_disk(data_dir: &Path, root: Arc<dyn Disk>) -> Result<(Arc<dyn Disk>, Arc<Db>), StoreError> {
    let Some(faults) = std::env::var_os(faulty::VARIABLE) else {
        let db = Db::open(&data_dir.join("meta.redb"), DATABASE_CACHE_BYTES)?;
        return Ok((root, Arc::new(db)));
    };
    tracing::warn!(?faults, "{} is set: this disk fails on demand", faulty::VARIABLE);
    let root = FaultyDisk::over(root, Path::new(&faults));
    let db = on_disk::open(&root)?;
    Ok((root, Arc::new(db)))
}

fn journal_options(config: &Config) -> JournalOptions {
    JournalOptions {
        segment_bytes: config.journal.segment_bytes,
        submit_bytes_max: config.journal.submit_bytes_max,
        batch_bytes_max: config.journal.batch_bytes_max,
        durability: match config.journal.durability {
            Configured::Fsync => Durability::Fsync,
            Configured::Os => Durability::Os,
        },
        ..JournalOptions::default()
    }
}

fn log_defaults(config: &Config) -> LogSettings {
    LogSettings {
        retention_ms: u64::try_from(config.logs.retention_ms).ok(),
        retention_bytes: u64::try_from(config.logs.retention_bytes).ok(),
        segment_bytes: config.logs.segment_bytes,
        segment_ms: config.logs.segment_ms,
        batch_bytes_max: config.kafka.batch_bytes_max,
        unpacked_bytes_max: config.logs.unpacked_bytes_max,
        ..LogSettings::default()
    }
}

fn limits(config: &Config) -> Limits {
    Limits {
        queue: QueueLimits {
            messages_max: config.mqtt.queued_messages_max as u64,
            bytes_max: config.mqtt.queued_bytes_max as u64,
            drops_oldest: config.mqtt.queue_overflow == SessionOverflow::DropOldest,
            volatile_max: VOLATILE_MAX,
            volatile_bytes_max: VOLATILE_BYTES_MAX,
        },
        subscriptions_max: config.mqtt.subscriptions_per_session_max,
        topic_levels_max: config.mqtt.topic_levels_max,
        share_turns: config.mqtt.shared_strategy,
        retained: RetainedLimits {
            messages_max: config.retained.messages_max as u64,
            bytes_max: config.retained.bytes_max,
        },
        session_expiry_s_max: config.mqtt.session_expiry_s_max,
        logs_max: config.logs.logs_max,
        partitions_max: config.logs.partitions_max,
        default_partitions: config.logs.default_partitions,
        retention_check_ms: config.logs.retention_check_ms,
        transient_bytes_max: config.amqp.memory_bytes_max,
        volatile_bytes_max: config.mqtt.memory_bytes_max,
        queue_index_bytes_max: config.memory.queue_index_bytes_max,
        backlog: backlog_limits(config),
        groups: group_limits(config),
    }
}

fn backlog_limits(config: &Config) -> BacklogLimits {
    BacklogLimits {
        bytes_max: config.queues.bytes_max,
        queue_bytes_max: config.amqp.queue_bytes_max,
        drops_newest: config.queues.overflow == Overflow::DropNewest,
    }
}

fn group_limits(config: &Config) -> GroupLimits {
    let groups = &config.groups;
    GroupLimits {
        initial_rebalance_delay_ms: groups.initial_rebalance_delay_ms,
        session_timeout_ms_min: groups.session_timeout_ms_min,
        session_timeout_ms_max: groups.session_timeout_ms_max,
        members_max: groups.members_max,
        groups_max: groups.groups_max,
        bytes_max: groups.bytes_max,
        offset_metadata_bytes_max: groups.offset_metadata_bytes_max,
        offsets_retention_ms: groups.offsets_retention_ms,
        offsets_check_ms: groups.offsets_check_ms,
        lag_series_max: groups.lag_series_max,
    }
}

fn topology_limits(config: &Config) -> TopologyLimits {
    let amqp = &config.amqp;
    TopologyLimits {
        queues_max: amqp.queues_max,
        exchanges_max: amqp.exchanges_max,
        bindings_max: amqp.bindings_max,
    }
}

fn body_options(config: &Config) -> BodyOptions {
    let segment_bytes = u32::try_from(config.checkpoint.body_segment_bytes).unwrap_or(u32::MAX);
    BodyOptions { segment_bytes, ..BodyOptions::default() }
}

fn scratch_options(config: &Config) -> ScratchOptions {
    ScratchOptions { bytes_max: config.amqp.scratch_bytes_max, ..ScratchOptions::default() }
}

impl Storage {
    /// Locks `data_dir`, reads the last checkpoint, replays the journal, and starts the threads.
    pub(super) fn open(data_dir: &Path, around: &Surroundings<'_>) -> Result<Self, AppError> {
        let config = &around.bundle.started;
        let lock = lock_dir(data_dir)?;
        let root = Folder::open(data_dir).map_err(|source| StoreError::Io {
            file: data_dir.to_owned(),
            doing: "open",
            source,
        })?;
        let (root, db) = open_disk(data_dir, root)?;
        let Restored { broker, applier, db, checkpoint, segments, journal, is_behind } =
            Restored::read(Arc::clone(&root), db, around)?;
        restore::keep_page_sums(&db)?;
        restore::revive(&broker, &applier)?;
        around.timers.serve(&broker);
        let applied = applier.limits();
        let broker_uuid = checkpoint.map_or_else(new_uuid, |row| Ok(row.broker_uuid))?;
        let checkpointer =
            Checkpointer::new(Arc::clone(&broker), Arc::clone(&db), broker_uuid, segments)
                .compacting(config.checkpoint.compaction_bytes_max);
        let pins = checkpointer.pins();
        let engine = Engine::start(
            Arc::clone(&broker),
            applier,
            checkpointer,
            Due {
                journal_bytes: config.checkpoint.journal_bytes,
                memory_bytes: config.checkpoint.memory_bytes,
                retry: CHECKPOINT_RETRY,
            },
            Arc::clone(&around.now_ms),
            Arc::new(Watch::new(around.metrics, around.readiness)),
        )?;
        announce_room(&journal, &broker);
        journal.start(engine.sink())?;
        restore::resume(&broker, applied, (around.now_ms)());
        if is_behind {
            // What was replayed is not to be replayed again, however often this process is killed early.
            engine.request_checkpoint();
        }
        let cluster_id = broker_uuid.iter().map(|byte| format!("{byte:02x}")).collect();
        let engine = Arc::new(engine);
        Ok(Self { broker, engine, cluster_id, db, pins, journal, root, _lock: lock })
    }

    /// Writes what waits, takes a last checkpoint, ends the threads.
    pub(super) fn close(&self) {
        self.engine.hasten();
        if let Err(error) = self.journal.close() {
            tracing::error!(%error, "the journal was not written to its end");
        }
        self.engine.stop();
    }

    /// A watch over the disk, for the time that this is open.
    pub(super) fn watch(&self, free_bytes_min: u64) -> DiskWatch {
        DiskWatch::new(Arc::clone(&self.root), free_bytes_min)
    }
}

/// What a data directory says: its last checkpoint, and the journal applied to it. Nothing lives in memory alone yet.
pub(super) struct Restored {
    pub(super) broker: Arc<Broker>,
    pub(super) applier: Applier,
    pub(super) db: Arc<Db>,
    pub(super) checkpoint: Option<CheckpointRow>,
    /// The body segments that the checkpoint names.
    pub(super) segments: BTreeMap<u32, BodyRow>,
    /// Not started.
    pub(super) journal: Arc<EmbeddedJournal<Waiter>>,
    /// Whether the journal went beyond the checkpoint, or there is none.
    pub(super) is_behind: bool,
}

impl Restored {
    /// Judges the journal, reads the checkpoint, cuts files back to it, replays.
    pub(super) fn read(
        root: Arc<dyn Disk>,
        db: Arc<Db>,
        around: &Surroundings<'_>,
    ) -> Result<Self, AppError> {
        let config = &around.bundle.started;
        let checkpoint = db.checkpoint()?;
        let journal_disk = Arc::new(WatchedDisk {
            disk: folder(&root, "journal")?,
            watch: Arc::new(Stopwatch {
                seconds: around.metrics.journal.sync_seconds.clone(),
                begun: Mutex::new(None),
            }),
        });
        // Judged before anything else is touched: a corrupt journal leaves every file as it is.
        let opened = EmbeddedJournal::<Waiter>::open(
            journal_disk,
            journal_options(config),
            restore::position(checkpoint.as_ref()),
        )?;
        let segments = restore::segments(&db)?;
        let lengths: Vec<_> = segments.iter().map(|(id, row)| (*id, row.valid_len)).collect();
        let bodies = BodyStore::open(folder(&root, "bodies")?, body_options(config), lengths)?;
        let parts = Parts {
            journal: opened.journal.clone(),
            bodies,
            scratch: ScratchStore::open(folder(&root, "scratch")?, scratch_options(config))?,
            metrics: Arc::clone(around.metrics),
            retained: restore::retained(&db)?,
            logs: restore::logs(
                &db,
                LogFolders::new(folder(&root, "logs")?),
                log_defaults(config),
            )?,
            pages: Arc::new(StoredPages(Arc::clone(&db))),
            acl: around.bundle.live().acl.clone(),
            limits: limits(config),
            timers: Arc::new(Handle(Arc::clone(around.timers))),
        };
        let (broker, mut applier) = restore::broker(parts, &db, checkpoint.as_ref())?;
        broker.exchanges.set_limits(topology_limits(config));
        let is_behind =
            replay(&mut applier, opened.replay, around.readiness)? > 0 || checkpoint.is_none();
        let journal = opened.journal;
        Ok(Self { broker, applier, db, checkpoint, segments, journal, is_behind })
    }
}

/// Has whoever waits for room in the journal told when there is some.
fn announce_room(journal: &EmbeddedJournal<Waiter>, broker: &Arc<Broker>) {
    let waiting = Arc::downgrade(broker);
    journal.on_room(Arc::new(move || {
        if let Some(broker) = waiting.upgrade() {
            broker.announce_room();
        }
    }));
}

/// Applies what the checkpoint does not cover; returns how many batches that was.
fn replay(
    applier: &mut Applier,
    mut replay: crate::store::journal::replay::Replay<Waiter>,
    readiness: &Readiness,
) -> Result<u64, AppError> {
    let mut batches = 0u64;
    while let Some(batch) = replay.next() {
        let batch = batch?;
        let number = batch.number;
        applier.replay_batch(batch)?;
        batches += 1;
        if batches.is_multiple_of(PROGRESS_BATCHES) {
            let percent = replay.percent();
            tracing::info!(batches, number, percent, "replaying the journal");
            readiness.set(Condition::Start, format!("replaying the journal, {percent} %"));
        }
    }
    if batches > 0 {
        let lsn = applier.next().lsn.0.saturating_sub(1);
        tracing::info!(batches, lsn, "replayed the journal");
    }
    Ok(batches)
}

fn new_uuid() -> Result<[u8; 16], AppError> {
    let mut uuid = [0; 16];
    getrandom::fill(&mut uuid)
        .map_err(|error| AppError::Io(std::io::Error::other(error.to_string())))?;
    Ok(uuid)
}

/// Times the journal's syncs.
#[derive(Debug)]
struct Stopwatch {
    seconds: Histogram,
    begun: Mutex<Option<Instant>>,
}

impl SyncWatch for Stopwatch {
    fn begun(&self) {
        *self.begun.lock() = Some(Instant::now());
    }

    fn ended(&self) {
        if let Some(begun) = self.begun.lock().take() {
            self.seconds.observe(begun.elapsed().as_secs_f64());
        }
    }
}

/// Checkpoints as operators see them.
struct Watch {
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
    begun: Mutex<Option<Instant>>,
}

impl Watch {
    fn new(metrics: &Arc<Metrics>, readiness: &Arc<Readiness>) -> Self {
        Self {
            metrics: Arc::clone(metrics),
            readiness: Arc::clone(readiness),
            begun: Mutex::new(None),
        }
    }
}

impl Observer for Watch {
    fn begun(&self) {
        *self.begun.lock() = Some(Instant::now());
    }

    fn done(&self, next: Lsn) {
        let checkpoint = &self.metrics.checkpoint;
        checkpoint.taken.inc();
        checkpoint.failing.set(0);
        self.readiness.clear(Condition::Checkpoint);
        checkpoint.lsn.set(i64::try_from(next.0.saturating_sub(1)).unwrap_or(i64::MAX));
        if let Some(begun) = self.begun.lock().take() {
            checkpoint.seconds.observe(begun.elapsed().as_secs_f64());
        }
    }

    fn failed(&self, error: &str) {
        self.metrics.checkpoint.failing.set(1);
        self.readiness.set(Condition::Checkpoint, error);
    }

    fn stuck(&self, error: &str) {
        self.readiness.set(Condition::Journal, error);
    }
}
