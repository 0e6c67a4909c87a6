//! What all declared queues share: room for bodies, deadlines, how far records are applied. Part of
//! `broker::declared`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::metrics::{DropReason, Metrics};
use crate::model::ids::QueueId;
use crate::store::scratch::ScratchStore;

use super::super::fanout::Fanout;
use super::super::queues::entry::Body;
use super::super::queues::meter::Meter;
use super::super::{Job, Timers};
use super::queue::DeclaredQueue;

/// Shared by all declared queues of a broker.
pub struct Keeping {
    /// Memory for bodies of transient messages.
    pub memory: Arc<Meter>,
    /// Where they go beyond it.
    pub scratch: Arc<ScratchStore>,
    timers: Arc<dyn Timers>,
    metrics: Arc<Metrics>,
    applied: AtomicU64,
    /// Queues where a message waits for this LSN to be applied.
    behind: Mutex<Vec<(u64, Arc<DeclaredQueue>)>>,
}

impl Keeping {
    /// Room for `memory_bytes_max` bytes of bodies, and what `scratch` has.
    #[must_use]
    pub fn new(
        memory_bytes_max: usize,
        scratch: Arc<ScratchStore>,
        timers: Arc<dyn Timers>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let memory = Meter::new(memory_bytes_max);
        let (applied, behind) = (AtomicU64::new(0), Mutex::default());
        Arc::new(Self { memory, scratch, timers, metrics, applied, behind })
    }

    /// Keeps the body of a message on its way, in memory or beyond; `None` when there is no room. All queues that
    /// keep it share it.
    pub(super) fn keep(&self, fanout: &mut Fanout<'_>) -> Option<Body> {
        let stored = fanout.store();
        if let Some(spilled) = stored.spilled.get() {
            return Some(Body::Scratch(Arc::clone(spilled)));
        }
        if stored.charge(&self.memory) {
            return Some(Body::Memory(stored));
        }
        let body = Arc::new(self.scratch.append(&stored.bytes)?);
        Some(Body::Scratch(Arc::clone(stored.spilled.get_or_init(|| body))))
    }

    /// Counts messages that nobody's connection counts.
    pub(super) fn count_dropped(&self, reason: DropReason, count: u64) {
        if count > 0 {
            self.metrics.messages.dropped.of(reason).inc_by(count);
        }
    }

    /// Has a queue tidied up at `deadline_ms`.
    pub(in crate::broker) fn tidy_at(&self, deadline_ms: u64, queue: QueueId) {
        self.timers.at(deadline_ms, Job::TidyQueue(queue));
    }

    /// Has somebody look at `deadline_ms` whether a queue is used at all.
    pub(super) fn look_at(&self, deadline_ms: u64, queue: QueueId) {
        self.timers.at(deadline_ms, Job::IdleQueue(queue));
    }

    /// Highest LSN applied.
    pub(super) fn applied(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    pub(crate) fn set_applied(&self, lsn: u64) {
        self.applied.store(lsn, Ordering::Release);
    }

    /// Has somebody called at `queue` once `lsn` is applied.
    pub(super) fn call_when_applied(&self, lsn: u64, queue: &Arc<DeclaredQueue>) {
        self.behind.lock().push((lsn, Arc::clone(queue)));
    }

    /// Calls at the queues whose wait is over.
    pub(crate) fn call_applied(&self) {
        let applied = self.applied();
        let due: Vec<_> = {
            let mut behind = self.behind.lock();
            if behind.is_empty() {
                return;
            }
            behind.extract_if(.., |(lsn, _)| *lsn <= applied).collect()
        };
        for (_, queue) in due {
            queue.call();
        }
    }
}
