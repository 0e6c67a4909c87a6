//! The logs of a broker as its verbs see them: the applied table, what is under way, files. Part of
//! `broker/logs`.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use ahash::{AHashMap, AHashSet};
use parking_lot::Mutex;

use crate::broker::logs::files::SegmentFiles;
use crate::broker::logs::log::{LogState, LogTable};
use crate::broker::logs::producer_ids::ProducerIds;
use crate::broker::logs::settings::LogSettings;
use crate::model::ids::LogId;

/// Where partitions keep their batches.
pub trait PartitionStore: Send + Sync {
    /// Files for a new partition; whatever lies at their place from before a crash is removed.
    ///
    /// # Errors
    /// What the disk said.
    fn create(
        &self,
        log: (LogId, &str),
        partition: u32,
        settings: &LogSettings,
    ) -> io::Result<Box<dyn SegmentFiles>>;

    /// Removes the files of all partitions of a log that no checkpoint names any more.
    ///
    /// # Errors
    /// What the disk said; what is left goes at the next start.
    fn remove(&self, log: LogId) -> io::Result<()>;
}

/// Messages that go to one partition before a route without a key moves on.
const STICKY_MESSAGES: u64 = 256;
/// Between two log lines about routes that fail, ms.
const COMPLAINT_PAUSE_MS: u64 = 5_000;

/// A log whose creation is submitted and not yet applied.
#[derive(Clone, Copy, Debug)]
pub struct Creating {
    /// Its id.
    pub id: LogId,
    /// Its partitions.
    pub partitions: u32,
}

/// What is submitted about logs and not yet applied: verbs decide over it, under one lock, so that the order of
/// the records is the order of the decisions.
#[derive(Debug, Default)]
pub struct Underway {
    /// Logs being created, by vhost and name.
    pub creating: AHashMap<(String, String), Creating>,
    deleting: AHashSet<LogId>,
    /// Settings that are about to be in force, and how many records say so.
    pub configuring: AHashMap<LogId, (u32, Vec<(String, String)>)>,
}

impl Underway {
    /// How many logs are being deleted.
    #[must_use]
    pub fn going(&self) -> usize {
        self.deleting.len()
    }

    /// One record less is to be applied about the settings of `log`.
    pub fn configured(&mut self, log: LogId) {
        if let Some((records, _)) = self.configuring.get_mut(&log) {
            *records = records.saturating_sub(1);
            if *records == 0 {
                self.configuring.remove(&log);
            }
        }
    }
}

/// All logs.
pub struct Logs {
    /// What is applied.
    pub table: LogTable,
    /// Where files come from.
    pub store: Arc<dyn PartitionStore>,
    /// Settings of a log that does not say: file sizes and limits of the configuration, nothing that applied
    /// state depends on.
    pub defaults: LogSettings,
    /// Numbers for idempotent producers.
    pub producer_ids: ProducerIds,
    /// Held while a change of logs is decided and submitted.
    pub underway: Mutex<Underway>,
    /// How many logs are being deleted.
    going: AtomicUsize,
    next_id: AtomicU32,
    next_producer: AtomicI64,
    turns: AtomicU64,
    complained_ms: AtomicU64,
}

impl Logs {
    /// None yet.
    #[must_use]
    pub fn new(store: Arc<dyn PartitionStore>, defaults: LogSettings) -> Self {
        Self {
            table: LogTable::default(),
            store,
            defaults,
            producer_ids: ProducerIds::default(),
            underway: Mutex::default(),
            going: AtomicUsize::new(0),
            next_id: AtomicU32::new(1),
            next_producer: AtomicI64::new(0),
            turns: AtomicU64::new(0),
            complained_ms: AtomicU64::new(0),
        }
    }

    /// Notes that a log is being deleted, so that its name is free; false if it is being deleted already.
    pub fn begin_deletion(&self, underway: &mut Underway, log: LogId) -> bool {
        let is_new = underway.deleting.insert(log);
        self.going.store(underway.deleting.len(), Ordering::Release);
        is_new
    }

    /// It is deleted, or will not be.
    pub fn end_deletion(&self, underway: &mut Underway, log: LogId) {
        underway.deleting.remove(&log);
        self.going.store(underway.deleting.len(), Ordering::Release);
    }

    /// Whether some log is being deleted.
    #[must_use]
    pub fn is_any_going(&self) -> bool {
        self.going.load(Ordering::Acquire) > 0
    }

    /// The log called `name` in `vhost`, unless it is about to go.
    #[must_use]
    pub fn lasting(&self, underway: &Underway, vhost: &str, name: &str) -> Option<Arc<LogState>> {
        let found = self.table.by_name(vhost, name);
        found.filter(|log| !underway.deleting.contains(&log.id))
    }

    /// The next log id; also what a checkpoint keeps.
    #[must_use]
    pub fn next_id(&self) -> u32 {
        self.next_id.load(Ordering::Acquire)
    }

    /// Takes an id.
    pub fn take_id(&self) -> LogId {
        LogId(self.next_id.fetch_add(1, Ordering::AcqRel))
    }

    /// Sees to it that no id below `next` is given out.
    pub fn raise_next_id(&self, next: u32) {
        self.next_id.fetch_max(next, Ordering::AcqRel);
    }

    /// The first producer id that the journal has not given away; also what a checkpoint keeps.
    #[must_use]
    pub fn next_producer(&self) -> i64 {
        self.next_producer.load(Ordering::Acquire)
    }

    /// Producer ids below `next` are given away.
    pub fn raise_next_producer(&self, next: i64) {
        self.next_producer.fetch_max(next, Ordering::AcqRel);
    }

    /// The partition for a message without a key: one for a while, then the next.
    pub fn sticky_partition(&self, log: LogId, partitions: u32) -> u32 {
        let turn = self.turns.fetch_add(1, Ordering::Relaxed) / STICKY_MESSAGES;
        let turn = turn.wrapping_add(u64::from(log.0));
        u32::try_from(turn % u64::from(partitions.max(1))).unwrap_or(0)
    }

    /// Whether enough time has passed since the last log line about a failing route.
    pub fn may_complain(&self, now_ms: u64) -> bool {
        let last = self.complained_ms.load(Ordering::Relaxed);
        now_ms >= last + COMPLAINT_PAUSE_MS
            && self
                .complained_ms
                .compare_exchange(last, now_ms, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}
