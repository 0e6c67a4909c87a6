//! What keeps files that checkpoints gave up: a backup that still copies them. Part of `broker::checkpoint`.
//!
//! A checkpoint looks for pins after its commit, and a backup reads what is current after it set its pin. So
//! either the backup sees that checkpoint, or the checkpoint sees the pin and leaves to a later one to remove what
//! it gave up.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::broker::Broker;
use crate::broker::logs::frozen::FrozenLogs;

/// Counts the pins of one data directory.
#[derive(Debug, Default)]
pub struct Pins {
    held: AtomicUsize,
}

impl Pins {
    /// Keeps every file that is named by what is current from now on, until the pin is dropped.
    #[must_use]
    pub fn set(self: &Arc<Self>) -> Pin {
        self.held.fetch_add(1, Ordering::SeqCst);
        Pin { pins: Arc::clone(self) }
    }

    /// Whether files must stay.
    #[must_use]
    pub fn are_held(&self) -> bool {
        self.held.load(Ordering::SeqCst) > 0
    }
}

/// As long as it lives, no file goes.
#[derive(Debug)]
pub struct Pin {
    pins: Arc<Pins>,
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.pins.held.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What a checkpoint does not name any more.
pub(super) struct GivenUp {
    /// Body segments.
    pub(super) segments: Vec<u32>,
    /// Files of partitions.
    pub(super) logs: FrozenLogs,
    /// The journal's batches before this one.
    pub(super) first_kept: u64,
}

impl GivenUp {
    /// Removes it; what cannot be removed goes at the next start.
    pub(super) fn remove(self, broker: &Broker) {
        for segment in self.segments {
            if let Err(error) = broker.bodies.unlink(segment) {
                tracing::warn!(%error, "a body segment without references could not be removed");
            }
        }
        self.logs.give_back(&*broker.logs.store);
        if let Err(error) = broker.journal.trim(self.first_kept) {
            tracing::warn!(%error, "the journal could not be trimmed");
        }
    }
}
