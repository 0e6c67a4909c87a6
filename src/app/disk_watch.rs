//! What the disk lets publishers do, looked at once a second. Part of `app`.

use std::sync::Arc;

use crate::admin::readiness::{Condition, Readiness};
use crate::broker::Broker;
use crate::metrics::Metrics;
use crate::store::disk::Disk;
use crate::store::journal::JournalState;

/// Why publishers are refused though the disk has room.
const CLOGGED: &str = "no checkpoint can be taken until a restart, and memory holds all that may wait for \
    one: publishers are refused";

/// Keeps the broker, the readiness and the metrics true to the disk.
pub(super) struct DiskWatch {
    disk: Arc<dyn Disk>,
    /// With less room than this publishers are refused; 0 never.
    free_bytes_min: u64,
    short: bool,
}

impl DiskWatch {
    /// Watches the file system of `disk`.
    pub(super) fn new(disk: Arc<dyn Disk>, free_bytes_min: u64) -> Self {
        Self { disk, free_bytes_min, short: false }
    }

    /// Looks.
    pub(super) fn look(&mut self, broker: &Broker, metrics: &Metrics, readiness: &Readiness) {
        let failing = match broker.journal.state() {
            JournalState::Ok => None,
            JournalState::Failing { reason, .. } => Some(reason),
        };
        metrics.journal.failing.set(i64::from(failing.is_some()));
        match &failing {
            None => readiness.clear(Condition::Journal),
            Some(reason) => readiness.set(Condition::Journal, &**reason),
        }
        let short = self.look_for_room(metrics);
        metrics.disk.short.set(i64::from(short.is_some()));
        let short = short.or_else(|| broker.is_clogged().then(|| CLOGGED.to_owned()));
        match &short {
            None => readiness.clear(Condition::Room),
            Some(why) => readiness.set(Condition::Room, &**why),
        }
        broker.note_disk(failing.as_deref(), short.as_deref());
    }

    /// Why there is too little room, if so.
    fn look_for_room(&mut self, metrics: &Metrics) -> Option<String> {
        let free = match self.disk.free_bytes() {
            Ok(Some(free)) => free,
            Ok(None) => return None,
            Err(error) => {
                tracing::debug!(%error, "the free space of the disk could not be read");
                // As it was, until that can be told.
                return self.short.then(|| format!("the free space is not known: {error}"));
            }
        };
        metrics.disk.free_bytes.set(i64::try_from(free).unwrap_or(i64::MAX));
        // A little more is wanted for going on than for stopping, so that it does not flicker.
        let min = self.free_bytes_min;
        let wanted = if self.short { min.saturating_add(min / 8) } else { min };
        let short = free < wanted;
        if short != self.short {
            self.short = short;
            if short {
                tracing::error!(
                    free,
                    free_bytes_min = min,
                    "the disk is nearly full; publishers are refused"
                );
            } else {
                tracing::info!(free, "the disk has room again; publishers are taken");
            }
        }
        short.then(|| {
            format!("{free} bytes are free on disk, below store.free_bytes_min = {min}: publishers are refused")
        })
    }
}
