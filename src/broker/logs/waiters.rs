//! Who waits for appends. Part of `broker/logs`.
//!
//! A fetch over many partitions is one [`Waiter`] registered with all of them. The applier appends without
//! waking anybody, notes the partitions it touched, and after each sync publishes them: a waiter is woken
//! when enough bytes came together, once, however many partitions moved.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::broker::logs::partition::Partition;

/// One who waits until some bytes are appended to any of some partitions.
#[derive(Debug)]
pub struct Waiter {
    missing: AtomicI64,
    enough: Notify,
}

impl Waiter {
    /// Waits for `bytes`.
    #[must_use]
    pub fn new(bytes: usize) -> Arc<Self> {
        let missing = AtomicI64::new(i64::try_from(bytes).unwrap_or(i64::MAX));
        Arc::new(Self { missing, enough: Notify::new() })
    }

    /// Completes when the bytes have come. Safe to drop and call again.
    pub async fn woken(&self) {
        self.enough.notified().await;
    }

    fn count(&self, bytes: i64) {
        if self.missing.fetch_sub(bytes, Ordering::Relaxed) <= bytes {
            self.enough.notify_one();
        }
    }
}

/// The waiters of one partition.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    waiters: Vec<Arc<Waiter>>,
    /// Appended since the last publication.
    unpublished: i64,
}

impl Waiters {
    /// Registers `waiter` unless `moved` says, under the lock that publication takes, that what it waits for
    /// has come already.
    pub(super) fn register(&self, waiter: &Arc<Waiter>, moved: impl FnOnce() -> bool) -> bool {
        let mut waiting = self.waiting.lock();
        if moved() {
            return false;
        }
        waiting.waiters.push(Arc::clone(waiter));
        true
    }

    pub(super) fn remove(&self, waiter: &Arc<Waiter>) {
        let mut waiting = self.waiting.lock();
        if let Some(at) = waiting.waiters.iter().position(|other| Arc::ptr_eq(other, waiter)) {
            waiting.waiters.swap_remove(at);
        }
    }

    /// Counts appended bytes; true if they are the first since the last publication.
    pub(super) fn appended(&self, bytes: usize) -> bool {
        let mut waiting = self.waiting.lock();
        let first = waiting.unpublished == 0;
        waiting.unpublished += i64::try_from(bytes).unwrap_or(i64::MAX);
        first
    }

    pub(super) fn publish(&self) {
        let mut waiting = self.waiting.lock();
        let bytes = std::mem::take(&mut waiting.unpublished);
        for waiter in &waiting.waiters {
            waiter.count(bytes);
        }
    }

    /// Wakes everyone, however little has come.
    pub(super) fn wake(&self) {
        for waiter in &self.waiting.lock().waiters {
            waiter.enough.notify_one();
        }
    }
}

/// A waiter's registrations; dropping it takes them back.
#[derive(Debug)]
pub struct Registrations {
    waiter: Arc<Waiter>,
    at: Vec<Arc<Partition>>,
}

impl Registrations {
    /// None yet.
    #[must_use]
    pub fn new(waiter: Arc<Waiter>) -> Self {
        Self { waiter, at: Vec::new() }
    }

    /// Waits for `partition` to move beyond `seen_end` too. False if it has moved already: the caller reads
    /// again instead of waiting.
    pub fn add(&mut self, partition: &Arc<Partition>, seen_end: i64) -> bool {
        let registered = partition.register(&self.waiter, seen_end);
        if registered {
            self.at.push(Arc::clone(partition));
        }
        registered
    }
}

impl Drop for Registrations {
    fn drop(&mut self) {
        for partition in &self.at {
            partition.unregister(&self.waiter);
        }
    }
}

/// The partitions that the applier appended to since the last sync it told of.
#[derive(Debug, Default)]
pub struct Touched {
    partitions: Vec<Arc<Partition>>,
    appends: u64,
    bytes: u64,
}

impl Touched {
    /// Notes an append of `bytes` to `partition`.
    pub fn note(&mut self, partition: &Arc<Partition>, bytes: usize) {
        self.appends += 1;
        self.bytes += bytes as u64;
        if partition.count_appended(bytes) {
            self.partitions.push(Arc::clone(partition));
        }
    }

    /// Appends noted so far, and their bytes.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.appends, self.bytes)
    }

    /// Wakes whoever waits for what was noted. Called once a sync.
    pub fn publish(&mut self) {
        for partition in self.partitions.drain(..) {
            partition.publish();
        }
    }
}
