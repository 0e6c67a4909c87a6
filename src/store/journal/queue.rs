//! Where records wait for the writer. Part of `store::journal`.
//!
//! One lock gives a record its place: the LSN, and its bytes at the end of the batch being filled. The bound
//! in bytes is soft: a record is never refused for it, but who submits is told to stop reading.
//!
//! Records that nobody waits for do not wake the writer: a sync of their own would hold up whoever comes next.
//!
//! A sync costs the same for one record as for a hundred. Whoever was answered by the last batch is likely to
//! submit again at once, so with several at work the writer waits a moment for all of them: without that, half of
//! them miss every sync and each half pays for its own.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::model::ids::Lsn;
use crate::store::journal::batch::{HEADER, RECORD_PREFIX};
use crate::store::journal::{JournalState, OnRoom, RECORD_BYTES_MAX, SubmitError};

/// The buffer that a batch starts with unless there is one to fill again. A power of two, as it stays while it grows:
/// the allocator lets such a one begin at a page, which saves a copy (`store::disk::direct`).
const BUFFER_BYTES: usize = 64 * 1024;

/// How long records that nobody waits for may wait for company.
const PATIENCE: Duration = Duration::from_millis(5);

/// How long the writer waits for those who were answered last.
const COMPANY: Duration = Duration::from_micros(100);
/// With fewer at work than this the wait is not worth its price.
const COMPANY_MIN: usize = 4;
/// A batch of so many bytes costs more than its sync.
const COMPANY_BYTES_MAX: usize = 256 * 1024;
/// Batches without a wait after one that was in vain.
const ALONE_BATCHES: u32 = 32;

/// What the writer does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Writer {
    /// It looks for work before it sleeps.
    Awake,
    /// It sleeps for [`COMPANY`] at most, until so many wait for the open batch.
    Gathering { waiters: usize },
    /// It sleeps for [`PATIENCE`] at most, then writes whatever there is.
    Dozing,
    /// It sleeps until it is woken.
    Asleep,
}

/// Records that will be written as one batch.
pub(super) struct Chunk<W> {
    /// Room for the header, then the records.
    pub(super) buffer: Vec<u8>,
    pub(super) first_lsn: u64,
    pub(super) count: u32,
    pub(super) waiters: Vec<(Lsn, W)>,
    /// Bytes of `buffer` that hold whole records; more than that is left of a `fill` that panicked.
    whole: usize,
}

impl<W> Chunk<W> {
    fn new(first_lsn: u64, buffer: Option<Vec<u8>>) -> Self {
        let mut buffer = buffer.unwrap_or_else(|| Vec::with_capacity(BUFFER_BYTES));
        buffer.clear();
        buffer.resize(HEADER, 0);
        Self { buffer, first_lsn, count: 0, waiters: Vec::new(), whole: HEADER }
    }
}

pub(super) struct Queue<W> {
    next_lsn: u64,
    open: Chunk<W>,
    /// An empty buffer for the next one.
    spare: Option<Vec<u8>>,
    /// Full batches before the open one.
    closed: VecDeque<Chunk<W>>,
    writer: Writer,
    /// How many waited for the batch that was taken last.
    answered: usize,
    /// So many batches are written without a wait for company.
    alone: u32,
    /// A record is there that somebody may wait for.
    urgent: bool,
    /// No more submissions; the writer ends when all is written.
    ended: bool,
    failing: Option<(u32, Arc<str>)>,
}

/// Shared between submitters, the writer and the applier.
pub(super) struct Shared<W> {
    queue: Mutex<Queue<W>>,
    work: Condvar,
    durable: AtomicU64,
    pending_bytes: AtomicUsize,
    full: AtomicBool,
    on_room: OnceLock<OnRoom>,
    submit_bytes_max: usize,
    batch_bytes_max: usize,
}

impl<W> Shared<W> {
    pub(super) fn new(next_lsn: Lsn, submit_bytes_max: usize, batch_bytes_max: usize) -> Self {
        Self {
            queue: Mutex::new(Queue {
                next_lsn: next_lsn.0,
                open: Chunk::new(next_lsn.0, None),
                spare: None,
                closed: VecDeque::new(),
                writer: Writer::Awake,
                answered: 0,
                alone: 0,
                urgent: false,
                ended: false,
                failing: None,
            }),
            work: Condvar::new(),
            durable: AtomicU64::new(next_lsn.0.saturating_sub(1)),
            pending_bytes: AtomicUsize::new(0),
            full: AtomicBool::new(false),
            on_room: OnceLock::new(),
            submit_bytes_max,
            batch_bytes_max,
        }
    }

    pub(super) fn submit(
        &self,
        waiter: Option<W>,
        fill: impl FnOnce(Lsn, &mut Vec<u8>),
    ) -> Result<Lsn, SubmitError> {
        self.put(waiter, true, fill)
    }

    pub(super) fn submit_in_time(
        &self,
        fill: impl FnOnce(Lsn, &mut Vec<u8>),
    ) -> Result<Lsn, SubmitError> {
        self.put(None, false, fill)
    }

    fn put(
        &self,
        waiter: Option<W>,
        urgent: bool,
        fill: impl FnOnce(Lsn, &mut Vec<u8>),
    ) -> Result<Lsn, SubmitError> {
        let mut queue = self.queue.lock();
        if queue.ended {
            return Err(SubmitError::Closed);
        }
        if let Some((_, reason)) = &queue.failing {
            return Err(SubmitError::Unavailable { reason: reason.clone() });
        }
        let lsn = Lsn(queue.next_lsn);
        let bytes = queue.append(lsn, fill, self.batch_bytes_max)?;
        if let Some(waiter) = waiter {
            queue.open.waiters.push((lsn, waiter));
        }
        queue.next_lsn += 1;
        // Counted before the writer can see the record, so that the applier never gives back more than there is.
        let pending = self.pending_bytes.fetch_add(bytes, Ordering::AcqRel) + bytes;
        if pending > self.submit_bytes_max {
            self.full.store(true, Ordering::SeqCst);
        }
        queue.urgent |= urgent || !queue.closed.is_empty();
        let wake = match queue.writer {
            Writer::Awake => false,
            Writer::Gathering { waiters } => {
                queue.open.waiters.len() >= waiters || queue.open.whole >= COMPANY_BYTES_MAX
            }
            Writer::Dozing => queue.urgent,
            Writer::Asleep => true,
        };
        if wake {
            queue.writer = Writer::Awake;
        }
        drop(queue);
        if wake {
            self.work.notify_one();
        }
        Ok(lsn)
    }

    pub(super) fn last_lsn(&self) -> Lsn {
        Lsn(self.queue.lock().next_lsn - 1)
    }

    pub(super) fn at_last_lsn(&self, action: &mut dyn FnMut(Lsn)) {
        let queue = self.queue.lock();
        action(Lsn(queue.next_lsn - 1));
    }

    pub(super) fn durable_lsn(&self) -> Lsn {
        Lsn(self.durable.load(Ordering::Acquire))
    }

    pub(super) fn set_durable(&self, lsn: Lsn) {
        self.durable.store(lsn.0, Ordering::Release);
    }

    pub(super) fn is_full(&self) -> bool {
        self.full.load(Ordering::SeqCst)
    }

    pub(super) fn on_room(&self, callback: OnRoom) {
        if self.on_room.set(callback).is_err() {
            tracing::debug!("a second on_room callback was ignored");
        }
    }

    pub(super) fn applied(&self, bytes: usize) {
        // Saturating: a replayed batch given back by mistake must not look like a full journal.
        let before = self
            .pending_bytes
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |pending| {
                Some(pending.saturating_sub(bytes))
            })
            .unwrap_or_default();
        // Room returns at three quarters, so that it does not flicker with every batch.
        let low = self.submit_bytes_max / 4 * 3;
        if before.saturating_sub(bytes) <= low
            && self.full.swap(false, Ordering::SeqCst)
            && let Some(callback) = self.on_room.get()
        {
            callback();
        }
    }

    pub(super) fn state(&self) -> JournalState {
        match &self.queue.lock().failing {
            None => JournalState::Ok,
            Some((attempts, reason)) => {
                JournalState::Failing { attempts: *attempts, reason: reason.clone() }
            }
        }
    }

    /// Refuses further submissions; the writer goes on until all is written.
    pub(super) fn end(&self) {
        self.queue.lock().ended = true;
        self.work.notify_all();
    }

    /// What is to be written next; waits for it, `None` when there will be nothing more.
    pub(super) fn take(&self) -> Option<Chunk<W>> {
        let mut queue = self.queue.lock();
        let mut rested = false;
        // Those who came during the last sync, and those whom it answered.
        let mut at_work = queue.open.waiters.len() + queue.answered;
        loop {
            if queue.closed.is_empty() && queue.urgent && !queue.ended {
                self.gather(&mut queue, std::mem::take(&mut at_work));
            }
            if let Some(chunk) = queue.closed.pop_front() {
                queue.answered = chunk.waiters.len();
                return Some(chunk);
            }
            if queue.open.count > 0 && (queue.urgent || queue.ended || rested) {
                queue.urgent = false;
                queue.answered = queue.open.waiters.len();
                return Some(queue.replace_open());
            }
            if queue.ended {
                return None;
            }
            if rested {
                queue.writer = Writer::Asleep;
                self.work.wait(&mut queue);
                rested = false;
            } else {
                queue.writer = Writer::Dozing;
                rested = self.work.wait_for(&mut queue, PATIENCE).timed_out();
            }
            queue.writer = Writer::Awake;
        }
    }

    /// Waits a moment for those whom the last batch answered, if that is worth it.
    fn gather(&self, queue: &mut MutexGuard<'_, Queue<W>>, at_work: usize) {
        let here = queue.open.waiters.len();
        let is_worth_it = at_work >= COMPANY_MIN && queue.open.whole < COMPANY_BYTES_MAX;
        if !is_worth_it || here >= at_work {
            return;
        }
        if queue.alone > 0 {
            queue.alone -= 1;
            return;
        }
        queue.writer = Writer::Gathering { waiters: at_work };
        self.work.wait_for(queue, COMPANY);
        queue.writer = Writer::Awake;
        let came = queue.open.waiters.len().saturating_sub(here);
        if came * 2 < at_work - here {
            queue.alone = ALONE_BATCHES;
        }
    }

    /// Gives a buffer back.
    pub(super) fn refill(&self, buffer: Option<Vec<u8>>) {
        if let Some(buffer) = buffer {
            self.queue.lock().spare.get_or_insert(buffer);
        }
    }

    /// Records written but not by this writer's last batch: still waiting when the journal gives up.
    pub(super) fn waiting(&self) -> u64 {
        let queue = self.queue.lock();
        let closed: u64 = queue.closed.iter().map(|chunk| u64::from(chunk.count)).sum();
        closed + u64::from(queue.open.count)
    }

    /// Refuses submissions until [`Shared::recovered`] and waits a while, unless the journal is being closed.
    pub(super) fn failed(&self, attempts: u32, reason: &str, pause: Duration) {
        let mut queue = self.queue.lock();
        queue.failing = Some((attempts, reason.into()));
        if !queue.ended {
            // Woken early by `end` only: nobody else notifies while submissions are refused.
            self.work.wait_for(&mut queue, pause);
        }
    }

    /// The journal is being closed.
    pub(super) fn is_ended(&self) -> bool {
        self.queue.lock().ended
    }

    pub(super) fn recovered(&self) {
        self.queue.lock().failing = None;
    }
}

impl<W> Queue<W> {
    /// Appends a record to the open batch, or to a new one when it no longer fits. Returns its bytes.
    fn append(
        &mut self,
        lsn: Lsn,
        fill: impl FnOnce(Lsn, &mut Vec<u8>),
        batch_bytes_max: usize,
    ) -> Result<usize, SubmitError> {
        let chunk = &mut self.open;
        let start = chunk.whole;
        chunk.buffer.truncate(start);
        chunk.buffer.extend_from_slice(&[0; RECORD_PREFIX]);
        fill(lsn, &mut chunk.buffer);
        let length = chunk.buffer.len().saturating_sub(start + RECORD_PREFIX);
        if length > RECORD_BYTES_MAX {
            chunk.buffer.truncate(start);
            return Err(SubmitError::TooLarge { bytes: length });
        }
        let prefix = (length as u32).to_le_bytes();
        if let Some(room) = chunk.buffer.get_mut(start..start + RECORD_PREFIX) {
            room.copy_from_slice(&prefix);
        }
        if chunk.count > 0 && chunk.buffer.len() - HEADER > batch_bytes_max {
            let record = chunk.buffer.split_off(start);
            let full = self.replace_open();
            self.closed.push_back(full);
            self.open.first_lsn = lsn.0;
            self.open.buffer.extend_from_slice(&record);
        }
        self.open.count += 1;
        self.open.whole = self.open.buffer.len();
        Ok(RECORD_PREFIX + length)
    }

    fn replace_open(&mut self) -> Chunk<W> {
        let next = Chunk::new(self.next_lsn, self.spare.take());
        let mut chunk = std::mem::replace(&mut self.open, next);
        chunk.buffer.truncate(chunk.whole);
        chunk
    }
}
