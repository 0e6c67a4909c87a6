//! What waits in durable queues, all of them together, against its bound. Part of `broker`.
//!
//! Counted where apply puts messages into queues and takes them out; a message that waits in several counts in each.
//! Publishes ask before they submit ([`crate::broker::publish::crowd`]), never apply: a record that is in the journal
//! is carried out (design §2, rule 3), so what is on its way when the bound is reached goes beyond it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::metrics::Metrics;

use super::Broker;

/// Bounds on what waits. None of them is used by apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BacklogLimits {
    /// Bytes in all durable queues; 0 is no bound.
    pub bytes_max: u64,
    /// Bytes in a declared queue that says nothing of its own; 0 is no bound.
    pub queue_bytes_max: u64,
    /// At a bound queues do not get the message, and its publisher hears nothing of it.
    pub drops_newest: bool,
}

/// How close to a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Crowding {
    /// There is room.
    Free,
    /// Publishers are slowed: from nine tenths of the bound on until it is less than eight.
    Slow,
    /// At the bound.
    Full,
}

impl Crowding {
    /// How close `bytes` are to `max`; 0 is no bound.
    #[must_use]
    pub fn of(bytes: u64, max: u64) -> Self {
        match max {
            0 => Self::Free,
            max if bytes >= max => Self::Full,
            max if bytes >= max - max / 10 => Self::Slow,
            _ => Self::Free,
        }
    }
}

/// Messages and bytes in durable queues.
#[derive(Debug)]
pub struct Backlog {
    bytes_max: AtomicU64,
    queue_bytes_max: AtomicU64,
    drops_newest: AtomicBool,
    metrics: Arc<Metrics>,
    bytes: AtomicU64,
    /// Nine tenths were reached and it was not less than eight since.
    is_slow: AtomicBool,
}

impl Backlog {
    /// An empty one.
    #[must_use]
    pub fn new(limits: BacklogLimits, metrics: Arc<Metrics>) -> Self {
        Self {
            bytes_max: AtomicU64::new(limits.bytes_max),
            queue_bytes_max: AtomicU64::new(limits.queue_bytes_max),
            drops_newest: AtomicBool::new(limits.drops_newest),
            metrics,
            bytes: AtomicU64::new(0),
            is_slow: AtomicBool::new(false),
        }
    }

    /// The bounds.
    #[must_use]
    pub fn limits(&self) -> BacklogLimits {
        BacklogLimits {
            bytes_max: self.bytes_max.load(Ordering::Relaxed),
            queue_bytes_max: self.queue_bytes_max.load(Ordering::Relaxed),
            drops_newest: self.drops_newest.load(Ordering::Relaxed),
        }
    }

    /// Puts other bounds in force; what waits is held against them when the next message comes or goes.
    #[cfg(test)]
    pub(super) fn set_limits(&self, limits: BacklogLimits) {
        self.bytes_max.store(limits.bytes_max, Ordering::Relaxed);
        self.queue_bytes_max.store(limits.queue_bytes_max, Ordering::Relaxed);
        self.drops_newest.store(limits.drops_newest, Ordering::Relaxed);
    }

    /// Bytes that wait.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// A message of `bytes` came into a queue.
    pub(super) fn enter(&self, bytes: u64) {
        self.metrics.state.queued.inc();
        let sum = self.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let bound = self.bytes_max.load(Ordering::Relaxed);
        if Crowding::of(sum, bound) > Crowding::Free && !self.is_slow.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(bytes = sum, bound, "queues are nearly full: publishers are slowed");
        }
    }

    /// `count` messages of `bytes` left theirs.
    pub(super) fn leave(&self, count: u64, bytes: u64) {
        self.metrics.state.queued.sub(i64::try_from(count).unwrap_or(i64::MAX));
        let before = self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if self.is_slow.load(Ordering::Relaxed)
            && before.saturating_sub(bytes) < self.bytes_max.load(Ordering::Relaxed) / 5 * 4
            && self.is_slow.swap(false, Ordering::Relaxed)
        {
            tracing::info!(bytes = self.bytes(), "queues have room again");
        }
    }

    /// How close to the bound.
    #[must_use]
    pub fn crowding(&self) -> Crowding {
        if !self.is_slow.load(Ordering::Relaxed) {
            return Crowding::Free;
        }
        let bound = self.bytes_max.load(Ordering::Relaxed);
        Crowding::of(self.bytes(), bound).max(Crowding::Slow)
    }
}

impl Broker {
    /// Counts what a restart found in the queues.
    pub(super) fn count_backlog(&self) {
        let sessions = self.sessions.all().into_iter().map(|session| {
            let inner = session.inner.lock();
            if session.durable { (inner.queue.live(), inner.queue.bytes()) } else { (0, 0) }
        });
        let declared = self.declared.all().into_iter().map(|queue| {
            let inner = queue.inner.lock();
            let messages = &inner.ledger.queue;
            if queue.durable { (messages.live(), messages.bytes()) } else { (0, 0) }
        });
        let (count, bytes) = sessions
            .chain(declared)
            .fold((0_u64, 0), |(count, bytes), more| (count + more.0, bytes + more.1));
        // Replay took away what it had not counted.
        self.backlog.bytes.store(0, Ordering::Relaxed);
        self.backlog.is_slow.store(false, Ordering::Relaxed);
        self.backlog.enter(bytes);
        self.metrics.state.queued.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::{Backlog, BacklogLimits, Crowding};
    use crate::metrics::Metrics;

    fn backlog(bytes_max: u64) -> Backlog {
        let limits = BacklogLimits { bytes_max, ..BacklogLimits::default() };
        Backlog::new(limits, Metrics::new(0.0).unwrap().into())
    }

    #[test]
    fn slowed_from_nine_tenths_until_less_than_eight() {
        let backlog = backlog(100);
        backlog.enter(89);
        assert_eq!(backlog.crowding(), Crowding::Free);
        backlog.enter(1);
        assert_eq!(backlog.crowding(), Crowding::Slow);
        backlog.enter(10);
        assert_eq!(backlog.crowding(), Crowding::Full);
        backlog.leave(1, 20);
        assert_eq!(backlog.crowding(), Crowding::Slow);
        backlog.leave(1, 1);
        assert_eq!((backlog.crowding(), backlog.bytes()), (Crowding::Free, 79));
        backlog.enter(10);
        assert_eq!(backlog.crowding(), Crowding::Free);
    }

    #[test]
    fn without_a_bound_there_is_always_room() {
        let backlog = backlog(0);
        backlog.enter(u64::MAX / 2);
        assert_eq!(backlog.crowding(), Crowding::Free);
    }
}
