//! A whole broker without threads or clocks, for tests: a journal in memory that is cut into batches on command,
//! a disk that forgets what was not synced, checkpoints one step at a time. Part of `broker`.

#![allow(clippy::unwrap_used, reason = "who uses it is a test: what fails panics")]

#[cfg(test)]
pub(in crate::broker) mod client;
#[cfg(test)]
pub(in crate::broker) mod produced;
#[cfg(test)]
pub(in crate::broker) mod snapshot;
#[cfg(test)]
pub(in crate::broker) mod stored;
#[cfg(test)]
pub(in crate::broker) mod tampered;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::apply::Applier;
use super::backlog::BacklogLimits;
use super::checkpoint::{Checkpointer, Frozen, Written};
use super::consumer::Waiter;
use super::fanout::QueueLimits;
use super::groups::limits::GroupLimits;
use super::limits::Limits;
use super::logs::settings::LogSettings;
use super::paging::StoredPages;
use super::retained::room::RetainedLimits;
use super::sessions::row::decode_page;
use super::{Broker, Job, Parts, Timers, restore};
use crate::auth::acl::Acl;
use crate::metrics::Metrics;
use crate::model::ids::Lsn;
use crate::model::turns::Turns;
use crate::store::bodies::{BodyOptions, BodyStore, Lane, stored_bytes};
use crate::store::disk::Disk;
use crate::store::disk::simulated::SimulatedDisk;
use crate::store::error::StoreError;
use crate::store::journal::batch::Batch;
use crate::store::journal::{Journal, JournalState, OnRoom, Position, SubmitError};
use crate::store::partition::folders::LogFolders;
use crate::store::scratch::{ScratchOptions, ScratchStore};
use crate::store::tables::bodies::Live;
use crate::store::tables::body_pages::BodyPages;
use crate::store::tables::db::Db;
use crate::store::tables::on_disk;
use crate::store::tables::queue_pages::QueuePages;

/// What was promised and is not so.
pub(in crate::broker) type Violation = String;

/// Says what was promised and is not so.
#[cfg(test)]
macro_rules! ensure {
    ($holds:expr, $($what:tt)+) => {
        if !$holds {
            return Err(format!($($what)+));
        }
    };
}
#[cfg(test)]
pub(in crate::broker) use ensure;

/// When the journal says no.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::broker) enum Refusing {
    #[default]
    Never,
    /// As during a failure of the disk.
    AtOnce,
    /// As for a record that turns out too long.
    AfterFilling,
}

#[derive(Default)]
struct Reel {
    written: Vec<(Lsn, u32, Bytes)>,
    filling: Vec<u8>,
    count: u32,
    waiters: Vec<(Lsn, Waiter)>,
    refusing: Refusing,
    trimmed: u64,
}

/// A journal in memory; what was cut off as a batch counts as synced.
#[derive(Default)]
pub(in crate::broker) struct Tape(Mutex<Reel>);

impl Reel {
    fn first_lsn(&self) -> Lsn {
        self.written.last().map_or(Lsn(1), |(first, count, _)| Lsn(first.0 + u64::from(*count)))
    }
}

impl Tape {
    pub(in crate::broker) fn refuse(&self, refusing: Refusing) {
        self.0.lock().refusing = refusing;
    }

    /// What was submitted since the last call, as one batch.
    pub(in crate::broker) fn cut(&self) -> Option<Batch<Waiter>> {
        let mut reel = self.0.lock();
        if reel.count == 0 {
            return None;
        }
        let (first_lsn, count) = (reel.first_lsn(), reel.count);
        let records = Bytes::from(std::mem::take(&mut reel.filling));
        reel.count = 0;
        reel.written.push((first_lsn, count, records.clone()));
        let number = reel.written.len() as u64;
        let waiters = std::mem::take(&mut reel.waiters);
        Some(Batch { number, first_lsn, count, records, waiters })
    }

    /// The batches from `from` on, as a restart reads them.
    pub(in crate::broker) fn history(&self, from: Position) -> Vec<Batch<Waiter>> {
        let reel = self.0.lock();
        assert!(reel.trimmed <= from.batch, "trimmed beyond the checkpoint");
        let batch = |(at, (first_lsn, count, records)): (usize, &(Lsn, u32, Bytes))| Batch {
            number: at as u64 + 1,
            first_lsn: *first_lsn,
            count: *count,
            records: records.clone(),
            waiters: Vec::new(),
        };
        let skipped = usize::try_from(from.batch - 1).unwrap();
        reel.written.iter().enumerate().skip(skipped).map(batch).collect()
    }

    /// The same past, with nothing trimmed and nothing waiting.
    pub(in crate::broker) fn copy(&self) -> Arc<Self> {
        let written = self.0.lock().written.clone();
        Arc::new(Self(Mutex::new(Reel { written, ..Reel::default() })))
    }

    /// Loses a batch that was synced, as no journal may.
    pub(in crate::broker) fn lose_last(&self) {
        let mut reel = self.0.lock();
        // One that a checkpoint covers is not missed.
        if reel.written.len() as u64 >= reel.trimmed.max(1) {
            reel.written.pop();
        }
    }

    fn lose_unsynced(&self) {
        let mut reel = self.0.lock();
        reel.filling.clear();
        reel.waiters.clear();
        reel.count = 0;
    }
}

impl Journal<Waiter> for Tape {
    fn submit_with(
        &self,
        waiter: Option<Waiter>,
        fill: &mut dyn FnMut(Lsn, &mut Vec<u8>),
    ) -> Result<Lsn, SubmitError> {
        let mut reel = self.0.lock();
        if reel.refusing == Refusing::AtOnce {
            return Err(SubmitError::Unavailable { reason: "refused by the test".into() });
        }
        let lsn = Lsn(reel.first_lsn().0 + u64::from(reel.count));
        let at = reel.filling.len();
        reel.filling.extend([0; 4]);
        fill(lsn, &mut reel.filling);
        let length = reel.filling.len() - at - 4;
        if reel.refusing == Refusing::AfterFilling {
            reel.filling.truncate(at);
            return Err(SubmitError::TooLarge { bytes: length });
        }
        let prefix = u32::try_from(length).unwrap().to_le_bytes();
        reel.filling[at..at + 4].copy_from_slice(&prefix);
        reel.count += 1;
        reel.waiters.extend(waiter.map(|waiter| (lsn, waiter)));
        Ok(lsn)
    }

    fn last_lsn(&self) -> Lsn {
        let reel = self.0.lock();
        Lsn(reel.first_lsn().0 + u64::from(reel.count) - 1)
    }

    fn at_last_lsn(&self, action: &mut dyn FnMut(Lsn)) {
        let reel = self.0.lock();
        action(Lsn(reel.first_lsn().0 + u64::from(reel.count) - 1));
    }

    fn durable_lsn(&self) -> Lsn {
        Lsn(self.0.lock().first_lsn().0 - 1)
    }

    fn is_full(&self) -> bool {
        false
    }

    fn on_room(&self, _: OnRoom) {}

    fn applied(&self, _: usize) {}

    fn trim(&self, first_kept: u64) -> Result<(), StoreError> {
        self.0.lock().trimmed = first_kept;
        Ok(())
    }

    fn state(&self) -> JournalState {
        JournalState::Ok
    }
}

/// Deadlines, run when the test says so.
#[derive(Default)]
pub(in crate::broker) struct Deadlines(Mutex<Vec<(u64, Job)>>);

impl Timers for Deadlines {
    fn at(&self, deadline_ms: u64, job: Job) {
        self.0.lock().push((deadline_ms, job));
    }
}

enum Phase {
    Idle,
    Frozen(Box<Frozen>),
    Written(Written),
}

/// Limits that a few steps reach.
pub(in crate::broker) fn limits() -> Limits {
    let queue = QueueLimits {
        messages_max: 12,
        bytes_max: 1 << 20,
        drops_oldest: false,
        volatile_max: 4,
        volatile_bytes_max: 1 << 16,
    };
    Limits {
        queue,
        subscriptions_max: 8,
        topic_levels_max: 8,
        share_turns: Turns::LeastOutstanding,
        retained: RetainedLimits { messages_max: 6, bytes_max: 1 << 20 },
        session_expiry_s_max: u32::MAX,
        logs_max: 4,
        partitions_max: 4,
        default_partitions: 2,
        retention_check_ms: 60_000,
        transient_bytes_max: 2_000,
        volatile_bytes_max: 1 << 30,
        // Less than anything takes: what may go out goes out.
        queue_index_bytes_max: 0,
        backlog: BacklogLimits::default(),
        groups: GroupLimits {
            initial_rebalance_delay_ms: 100,
            session_timeout_ms_min: 1_000,
            session_timeout_ms_max: 60_000,
            members_max: 5,
            groups_max: 6,
            bytes_max: 1 << 20,
            offset_metadata_bytes_max: 16,
            offsets_retention_ms: 10_000,
            offsets_check_ms: 1_000,
            lag_series_max: 3,
        },
    }
}

/// A broker with everything beneath it.
pub(crate) struct Bed {
    pub(crate) broker: Arc<Broker>,
    pub(in crate::broker) applier: Applier,
    pub(in crate::broker) tape: Arc<Tape>,
    timers: Arc<Deadlines>,
    checkpointer: Checkpointer,
    db: Arc<Db>,
    phase: Phase,
    pub(super) disk: SimulatedDisk,
    /// Where the database is: it does not fail when the rest does.
    meta: SimulatedDisk,
}

impl Bed {
    /// An empty broker; the limits are in force once [`Self::resume`] and [`Self::sync`] were called.
    pub(crate) fn new() -> Self {
        Self::over(Arc::default())
    }

    /// An empty broker whose limits nothing reaches.
    pub(crate) fn roomy() -> Self {
        let bed = Self::new();
        bed.give_room();
        bed
    }

    fn give_room(&self) {
        let mut limits = limits();
        limits.queue.messages_max = 100_000;
        limits.queue.volatile_max = 100_000;
        limits.queue.volatile_bytes_max = 1 << 30;
        limits.retained = RetainedLimits { messages_max: 100_000, bytes_max: 1 << 30 };
        self.broker.limits.store(Arc::new(limits));
    }

    /// The next start of a broker without limits, after [`Self::cut`].
    pub(crate) fn restarted(self, seed: u64) -> Self {
        let bed = self.cut(seed);
        bed.give_room();
        bed
    }

    /// A broker that replays all of `tape`.
    pub(in crate::broker) fn over(tape: Arc<Tape>) -> Self {
        Self::open(SimulatedDisk::default(), SimulatedDisk::default(), tape)
    }

    fn open(meta: SimulatedDisk, disk: SimulatedDisk, tape: Arc<Tape>) -> Self {
        let db = Arc::new(on_disk::open(&meta.shared()).unwrap());
        let checkpoint = db.checkpoint().unwrap();
        let segments = restore::segments(&db).unwrap();
        check_references(&db);
        let lengths: Vec<_> = segments.iter().map(|(id, row)| (*id, row.valid_len)).collect();
        let options = BodyOptions { segment_bytes: 1024, handles_max: 2 };
        let scratch = ScratchOptions { segment_bytes: 4096, ..ScratchOptions::default() };
        let timers = Arc::<Deadlines>::default();
        let parts = Parts {
            journal: tape.clone(),
            bodies: BodyStore::open(disk.folder("bodies").unwrap(), options, lengths).unwrap(),
            scratch: ScratchStore::open(disk.folder("scratch").unwrap(), scratch).unwrap(),
            metrics: Arc::new(Metrics::new(0.0).unwrap()),
            retained: restore::retained(&db).unwrap(),
            logs: restore::logs(
                &db,
                LogFolders::new(disk.folder("logs").unwrap()),
                LogSettings::default(),
            )
            .unwrap(),
            pages: Arc::new(StoredPages(Arc::clone(&db))),
            acl: Acl::default(),
            limits: limits(),
            timers: timers.clone(),
        };
        let (broker, mut applier) = restore::broker(parts, &db, checkpoint.as_ref()).unwrap();
        for batch in tape.history(applier.next()) {
            applier.replay_batch(batch).unwrap();
        }
        restore::keep_page_sums(&db).unwrap();
        restore::revive(&broker, &applier).unwrap();
        let checkpointer =
            Checkpointer::new(Arc::clone(&broker), Arc::clone(&db), [7; 16], segments);
        let phase = Phase::Idle;
        Self { broker, applier, tape, timers, checkpointer, db, phase, disk, meta }
    }

    /// The same, copying at most about `bytes_max` bytes out of sparse body segments with each checkpoint.
    pub(in crate::broker) fn compacting(self, bytes_max: u64) -> Self {
        Self { checkpointer: self.checkpointer.compacting(bytes_max), ..self }
    }

    /// Folder of the body segments.
    pub(in crate::broker) fn body_folder(&self) -> Arc<dyn Disk> {
        self.disk.folder("bodies").unwrap()
    }

    /// For who takes a checkpoint apart.
    pub(in crate::broker) fn checkpointing(
        &mut self,
    ) -> (&Arc<Broker>, &mut Applier, &mut Checkpointer) {
        (&self.broker, &mut self.applier, &mut self.checkpointer)
    }

    /// What a start does once the journal takes records.
    pub(crate) fn resume(&self, now_ms: u64) {
        restore::resume(&self.broker, self.applier.limits(), now_ms);
    }

    /// Everything submitted is synced and applied.
    pub(crate) fn sync(&mut self) {
        self.sync_tampered(|batch| batch);
    }

    /// The same of a broker that does something to batches before it applies them.
    pub(in crate::broker) fn sync_tampered(
        &mut self,
        tamper: impl FnOnce(Batch<Waiter>) -> Batch<Waiter>,
    ) {
        if let Some(batch) = self.tape.cut() {
            self.applier.apply_batch(tamper(batch)).unwrap();
        }
    }

    /// The next step of a checkpoint: freeze, write, give memory back.
    pub(crate) fn checkpoint_step(&mut self, now_ms: u64) {
        self.phase = match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Idle => {
                Phase::Frozen(Box::new(Frozen::take(&self.broker, &mut self.applier).unwrap()))
            }
            Phase::Frozen(mut frozen) => {
                Phase::Written(self.checkpointer.write(&mut frozen, now_ms).unwrap())
            }
            Phase::Written(written) => {
                Checkpointer::settle(&self.broker, written);
                Phase::Idle
            }
        };
    }

    /// The same, and everything else that the checkpoint wants; what was frozen before is written first.
    pub(in crate::broker) fn checkpoint(&mut self, now_ms: u64) {
        while !matches!(self.phase, Phase::Idle) {
            self.checkpoint_step(now_ms);
        }
        for _ in 0..3 {
            self.checkpoint_step(now_ms);
        }
    }

    /// References into each body segment, as the last checkpoint has them.
    pub(in crate::broker) fn body_references(&self) -> BTreeMap<u32, u64> {
        let segments = restore::segments(&self.db).unwrap();
        segments.into_iter().map(|(segment, row)| (segment, row.live_refs)).collect()
    }

    /// The database.
    pub(in crate::broker) fn db(&self) -> Arc<Db> {
        Arc::clone(&self.db)
    }

    /// See [`check_references`].
    pub(in crate::broker) fn check_references(&self) {
        check_references(&self.db);
    }

    /// Every segment has references, or is written to, for the checkpoint before gave up the others.
    pub(in crate::broker) fn check_bodies(&self) {
        check_references(&self.db);
        let kept = self.body_references();
        let fresh = self.broker.bodies.current(Lane::Fresh);
        let dead: Vec<u32> = kept
            .iter()
            .filter(|(segment, references)| **references == 0 && Some(**segment) != fresh)
            .map(|(segment, _)| *segment)
            .collect();
        assert!(dead.is_empty(), "{dead:?} of {kept:?}");
    }

    /// Has the disk fail, or be well again.
    pub(in crate::broker) fn fail_disk(&self, fails: bool) {
        self.disk.inject(|faults| faults.everything = fails);
    }

    /// Leaves the database as an earlier build would.
    #[cfg(test)]
    pub(in crate::broker) fn forget_page_sums(&self) {
        self.db.forget_page_sums();
    }

    /// Power goes. Of each file's unsynced bytes `keep` says how many reached the disk; records that were not
    /// synced are lost.
    pub(in crate::broker) fn restart(self, keep: &mut dyn FnMut(&str, usize) -> usize) -> Self {
        let Self { broker, applier, tape, checkpointer, db, disk, meta, phase, timers } = self;
        drop((broker, applier, checkpointer, phase, timers, db));
        tape.lose_unsynced();
        Self::open(meta.crash(&mut |_, _| 0), disk.crash(keep), tape)
    }

    /// The same, by page and name, as `seed` decides.
    pub(in crate::broker) fn cut(self, seed: u64) -> Self {
        let Self { broker, applier, tape, checkpointer, db, disk, meta, phase, timers } = self;
        drop((broker, applier, checkpointer, phase, timers, db));
        tape.lose_unsynced();
        Self::open(meta.cut(seed), disk.cut(seed), tape)
    }

    /// What an [`super::engine::Engine`] is made of; the files are in memory.
    pub(super) fn into_parts(self) -> (Arc<Broker>, Applier, Checkpointer) {
        (self.broker, self.applier, self.checkpointer)
    }

    /// Runs what is due.
    pub(crate) fn run_jobs(&self, now_ms: u64) {
        let mut deadlines = std::mem::take(&mut *self.timers.0.lock());
        deadlines.sort_by_key(|(deadline_ms, _)| *deadline_ms);
        for (deadline_ms, job) in deadlines {
            if deadline_ms <= now_ms {
                self.broker.run_job(job, now_ms);
            } else {
                self.timers.at(deadline_ms, job);
            }
        }
    }
}

/// A checkpoint counts as many references to each body segment as its pages hold, and their bytes; whoever looks for
/// the pages that refer to a segment finds them.
pub(super) fn check_references(db: &Db) {
    let mut counted = BTreeMap::<u32, (u64, u64)>::new();
    let mut pages = BTreeSet::new();
    db.for_each::<QueuePages>(|key, bytes| {
        for entry in decode_page(key.queue, key.page, &bytes).unwrap() {
            let (references, live) = counted.entry(entry.body.segment).or_default();
            *references += 1;
            *live += stored_bytes(entry.body.len);
            pages.insert((entry.body.segment, key));
        }
        Ok(())
    })
    .unwrap();
    let rows = restore::segments(db).unwrap();
    let stored: BTreeMap<u32, (u64, u64)> = rows
        .iter()
        .map(|(segment, row)| {
            let Live::Bytes { bytes, .. } = row.live else { panic!("{row:?} of an earlier build") };
            (*segment, (row.live_refs, bytes))
        })
        .filter(|(_, (references, _))| *references > 0)
        .collect();
    assert_eq!(stored, counted);
    let mut found = BTreeSet::new();
    db.for_each::<BodyPages>(|key, _| {
        found.insert((key.segment, key.page));
        Ok(())
    })
    .unwrap();
    assert_eq!(found, pages);
}
