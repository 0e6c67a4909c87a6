//! The threads that apply and checkpoint. Part of `broker`.
//!
//! The journal's writer hands over durable batches; the applier's thread applies them in order and, between
//! two batches, freezes what a checkpoint shall write; the checkpoint's thread writes it while the applier
//! goes on. A small batch with nothing before it is applied by the writer itself: to wake another thread would
//! take longer, and whoever waits for the batch is the one who would send the next.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel, sync_channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::model::ids::Lsn;
use crate::store::error::StoreError;
use crate::store::journal::batch::Batch;

use super::Broker;
use super::apply::Applier;
use super::checkpoint::{Checkpointer, Frozen, Written};
use super::consumer::Waiter;

/// Batches that wait for the applier; the journal's writer waits beyond.
const BATCHES_MAX: usize = 16;

/// Records of the largest batch that the journal's writer applies itself, and bytes of it.
const AT_ONCE_RECORDS: u32 = 64;
const AT_ONCE_BYTES: usize = 128 * 1024;

/// Tells the time, ms since the epoch.
pub type NowMs = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Watches checkpoints, for metrics and readiness.
pub trait Observer: Send + Sync {
    /// A checkpoint was begun.
    fn begun(&self);
    /// It is current.
    fn done(&self, next: Lsn);
    /// It failed. It is tried again until it is done; one that cannot be tried again is the last until a restart.
    fn failed(&self, error: &str);
    /// A journal record could not be applied: nothing more is acknowledged.
    fn stuck(&self, error: &str);
}

/// When a checkpoint is taken without being asked for, whichever comes first, and when it is tried again.
#[derive(Clone, Copy, Debug)]
pub struct Due {
    /// Bytes of journal applied since the last one was begun.
    pub journal_bytes: u64,
    /// Bytes of bodies in memory that a checkpoint would write down.
    pub memory_bytes: u64,
    /// Pause before a checkpoint that failed is tried again.
    pub retry: Duration,
}

enum Work {
    Batch(Batch<Waiter>),
    /// A checkpoint is wanted; the sender is told when one that covers everything applied so far is current.
    Checkpoint(Option<Sender<()>>),
    /// Look whether the checkpoint was written.
    Look,
    Stop,
}

type Outcome = Result<Written, StoreError>;

/// The wait between two attempts at a checkpoint, cut short when the broker stops.
#[derive(Default)]
struct Patience {
    over: Mutex<bool>,
    ended: Condvar,
}

impl Patience {
    /// Waits; false when there is no patience any more.
    fn wait(&self, pause: Duration) -> bool {
        let mut over = self.over.lock();
        if !*over {
            self.ended.wait_for(&mut over, pause);
        }
        !*over
    }

    fn end(&self) {
        *self.over.lock() = true;
        self.ended.notify_all();
    }
}

/// The running threads.
pub struct Engine {
    work: SyncSender<Work>,
    hall: Weak<Hall>,
    patience: Arc<Patience>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// Where batches are applied, by one thread at a time.
struct Hall {
    state: Mutex<Loop>,
    /// Batches handed to the applier's thread and not applied yet.
    waiting: AtomicUsize,
}

/// What whoever applies owns meanwhile.
struct Loop {
    broker: Arc<Broker>,
    applier: Applier,
    frozen: Sender<Frozen>,
    written: Receiver<Outcome>,
    observer: Arc<dyn Observer>,
    due: Due,
    /// Bytes of journal applied since the last checkpoint was begun.
    bytes: u64,
    writing: bool,
    failed: bool,
    stuck: bool,
    /// Told when the checkpoint that is being written, or the next one, is current.
    told: Vec<Sender<()>>,
    next_told: Vec<Sender<()>>,
}

impl Engine {
    /// Starts both threads. A checkpoint is taken when it is `due`, and on request.
    ///
    /// # Errors
    /// A thread cannot be made.
    pub fn start(
        broker: Arc<Broker>,
        applier: Applier,
        checkpointer: Checkpointer,
        due: Due,
        now_ms: NowMs,
        observer: Arc<dyn Observer>,
    ) -> std::io::Result<Self> {
        let (work, works) = sync_channel(BATCHES_MAX);
        let (frozen, freezes) = channel();
        let (done, written) = channel();
        let news = News { done: Some(done), look: work.clone() };
        let patience = Arc::<Patience>::default();
        let mut scribe = Scribe {
            checkpointer,
            news,
            now_ms,
            observer: Arc::clone(&observer),
            patience: Arc::clone(&patience),
            retry: due.retry,
        };
        let checkpoint = std::thread::Builder::new()
            .name("checkpoint".into())
            .spawn(move || scribe.write_all(&freezes))?;
        let state = Loop {
            broker,
            applier,
            frozen,
            written,
            observer,
            due,
            bytes: 0,
            writing: false,
            failed: false,
            stuck: false,
            told: Vec::new(),
            next_told: Vec::new(),
        };
        state.show_state();
        let inside = Arc::new(Hall { state: Mutex::new(state), waiting: AtomicUsize::new(0) });
        // The applier's thread alone keeps it: with its end the checkpoint's thread ends.
        let hall = Arc::downgrade(&inside);
        let apply =
            std::thread::Builder::new().name("applier".into()).spawn(move || inside.run(&works))?;
        Ok(Self { work, hall, patience, threads: Mutex::new(vec![apply, checkpoint]) })
    }

    /// What the journal's writer hands batches to.
    #[must_use]
    pub fn sink(&self) -> Box<dyn FnMut(Batch<Waiter>) + Send> {
        let (work, hall) = (self.work.clone(), self.hall.clone());
        Box::new(move |batch| {
            let Some(hall) = hall.upgrade() else { return };
            let Some(batch) = hall.apply_at_once(batch, &work) else { return };
            hall.waiting.fetch_add(1, Ordering::AcqRel);
            // The applier ends only after the journal was closed.
            drop(work.send(Work::Batch(batch)));
        })
    }

    /// Asks for a checkpoint and returns at once.
    pub fn request_checkpoint(&self) {
        // A full queue means that the applier is busy; the interval asks again.
        drop(self.work.try_send(Work::Checkpoint(None)));
    }

    /// Asks for a checkpoint that covers everything applied so far. Told when it is current; the sender is dropped
    /// when none can be taken.
    #[must_use]
    pub fn checkpoint(&self) -> Receiver<()> {
        let (sender, done) = channel();
        // After the end the sender is dropped with what could not be sent.
        drop(self.work.send(Work::Checkpoint(Some(sender))));
        done
    }

    /// A checkpoint that fails is not tried again from now on: to be called before the journal is closed, which may
    /// wait for the applier, and that for the checkpoint.
    pub fn hasten(&self) {
        self.patience.end();
    }

    /// Takes a last checkpoint and ends both threads. The journal must be closed before.
    pub fn stop(&self) {
        self.hasten();
        // A failed checkpoint drops the sender: a restart replays instead.
        self.checkpoint().recv().ok();
        drop(self.work.send(Work::Stop));
        for thread in self.threads.lock().drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the broker panicked");
            }
        }
    }
}

impl Hall {
    fn run(&self, works: &Receiver<Work>) {
        while let Ok(work) = works.recv() {
            let mut state = self.state.lock();
            match work {
                Work::Batch(batch) => {
                    state.apply(batch);
                    self.waiting.fetch_sub(1, Ordering::AcqRel);
                }
                Work::Checkpoint(told) => state.wish(told),
                Work::Look => {}
                Work::Stop => return,
            }
            state.look();
        }
    }

    /// Applies a small batch in the writer's thread unless something is in its way; gives it back then.
    fn apply_at_once(
        &self,
        batch: Batch<Waiter>,
        work: &SyncSender<Work>,
    ) -> Option<Batch<Waiter>> {
        let is_small = batch.count <= AT_ONCE_RECORDS && batch.records.len() <= AT_ONCE_BYTES;
        // Only the writer adds to what waits, and this is the writer: nothing can come before the batch.
        if !is_small || self.waiting.load(Ordering::Acquire) > 0 {
            return Some(batch);
        }
        let Some(mut state) = self.state.try_lock() else { return Some(batch) };
        if state.writing && state.is_full() {
            return Some(batch);
        }
        state.apply_now(batch);
        let is_due = state.is_due() && !state.writing;
        drop(state);
        if is_due {
            // To freeze takes longer than a sync may wait. A full queue means that the applier looks anyway.
            drop(work.try_send(Work::Look));
        }
        None
    }
}

impl Loop {
    /// Sees to checkpoints that were written, and to one that is due.
    fn look(&mut self) {
        loop {
            match self.written.try_recv() {
                Ok(outcome) => self.settle(outcome),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    self.fail("the checkpoint's thread is gone");
                    break;
                }
            }
        }
        if self.is_due() {
            self.checkpoint();
        }
    }

    fn apply(&mut self, batch: Batch<Waiter>) {
        // Both layers are at their budget: the journal fills up behind this, and publishers are not read.
        while self.writing && self.is_full() {
            match self.written.recv() {
                Ok(outcome) => self.settle(outcome),
                Err(_) => self.fail("the checkpoint's thread is gone"),
            }
        }
        self.apply_now(batch);
    }

    fn apply_now(&mut self, batch: Batch<Waiter>) {
        if self.stuck {
            return;
        }
        self.bytes += batch.submitted_bytes() as u64;
        self.count(&batch);
        if let Err(error) = self.applier.apply_batch(batch) {
            tracing::error!(%error, "nothing more is acknowledged");
            self.observer.stuck(&error.to_string());
            self.stuck = true;
        }
        if self.failed {
            self.broker.note_clogged(self.is_memory_full());
        }
        self.show_state();
    }

    fn is_due(&self) -> bool {
        let memory = self.broker.memory.used() as u64;
        // A checkpoint that found little to write down would give little back.
        let has_news = self.bytes >= self.due.memory_bytes / 4;
        self.bytes >= self.due.journal_bytes || (has_news && memory >= self.due.memory_bytes)
    }

    /// What is being written and what came since are as much as there may be.
    fn is_full(&self) -> bool {
        self.bytes >= self.due.journal_bytes || self.is_memory_full()
    }

    fn is_memory_full(&self) -> bool {
        self.broker.memory.used() as u64 >= self.due.memory_bytes.saturating_mul(2)
    }

    fn count(&self, batch: &Batch<Waiter>) {
        let journal = &self.broker.metrics.journal;
        journal.batches.inc();
        journal.records.inc_by(u64::from(batch.count));
        journal.bytes.inc_by(batch.records.len() as u64);
        let last = i64::try_from(batch.next_lsn().0.saturating_sub(1)).unwrap_or(i64::MAX);
        journal.durable_lsn.set(last);
        journal.applied_lsn.set(last);
    }

    /// Shows what there is after a batch.
    fn show_state(&self) {
        let state = &self.broker.metrics.state;
        state.sessions.set(i64::try_from(self.broker.sessions.len()).unwrap_or(0));
        state.retained.set(i64::try_from(self.broker.retained.len()).unwrap_or(0));
    }

    fn wish(&mut self, told: Option<Sender<()>>) {
        if self.failed || self.stuck {
            return;
        }
        // One that is being written does not cover what was applied since it was frozen.
        self.next_told.extend(told);
        self.checkpoint();
    }

    fn checkpoint(&mut self) {
        if self.writing || self.failed || self.stuck {
            return;
        }
        let Some(frozen) = Frozen::take(&self.broker, &mut self.applier) else {
            self.fail("the files of a log failed; the journal keeps everything until a restart");
            return;
        };
        self.bytes = 0;
        self.told.append(&mut self.next_told);
        self.writing = self.frozen.send(frozen).is_ok();
        if !self.writing {
            self.fail("the checkpoint's thread is gone");
        }
    }

    /// No more checkpoints until a restart; whoever waits for one gives up.
    fn fail(&mut self, error: &str) {
        self.writing = false;
        self.told.clear();
        self.next_told.clear();
        if !self.failed {
            self.failed = true;
            tracing::error!(
                error,
                "no further checkpoint is taken; a restart replays the journal instead"
            );
            self.observer.failed(error);
        }
    }

    fn settle(&mut self, outcome: Outcome) {
        self.writing = false;
        match outcome {
            Ok(written) => {
                Checkpointer::settle(&self.broker, written);
                for told in self.told.drain(..) {
                    // Whoever gave up waiting needs no news.
                    told.send(()).ok();
                }
                if !self.next_told.is_empty() || self.is_due() {
                    self.checkpoint();
                }
            }
            Err(error) => self.fail(&error.to_string()),
        }
    }
}

/// What the checkpoint's thread works with.
struct Scribe {
    checkpointer: Checkpointer,
    news: News,
    now_ms: NowMs,
    observer: Arc<dyn Observer>,
    patience: Arc<Patience>,
    retry: Duration,
}

impl Scribe {
    fn write_all(&mut self, freezes: &Receiver<Frozen>) {
        while let Ok(frozen) = freezes.recv() {
            self.observer.begun();
            let next = frozen.position().lsn;
            let outcome = self.write(frozen);
            if outcome.is_ok() {
                self.observer.done(next);
            }
            if !self.news.tell(outcome) {
                return;
            }
        }
    }

    /// Writes one checkpoint, however often that takes: the changes it carries are in no other one, and until it is
    /// current the journal keeps everything. Gives up when the broker stops.
    fn write(&mut self, mut frozen: Frozen) -> Outcome {
        let mut attempts = 0u64;
        loop {
            let error = match self.checkpointer.write(&mut frozen, (self.now_ms)()) {
                Ok(written) => {
                    if attempts > 0 {
                        tracing::info!(attempts, "checkpoints are written again");
                    }
                    return Ok(written);
                }
                Err(error) => error,
            };
            attempts += 1;
            if attempts == 1 {
                tracing::error!(%error, "a checkpoint failed; the journal keeps everything until one is written");
                self.observer.failed(&error.to_string());
            } else {
                tracing::debug!(%error, attempts, "the checkpoint failed again");
            }
            if frozen.is_hopeless() || !self.patience.wait(self.retry) {
                return Err(error);
            }
        }
    }
}

/// How the checkpoint's thread speaks to the applier's.
struct News {
    done: Option<Sender<Outcome>>,
    look: SyncSender<Work>,
}

impl News {
    /// False when nobody listens any more.
    fn tell(&self, outcome: Outcome) -> bool {
        let told = self.done.as_ref().is_some_and(|done| done.send(outcome).is_ok());
        // An applier with a full queue looks by itself.
        drop(self.look.try_send(Work::Look));
        told
    }
}

impl Drop for News {
    /// However the thread ends, the applier learns of it: first the end, then the call to look.
    fn drop(&mut self) {
        self.done = None;
        drop(self.look.try_send(Work::Look));
    }
}
