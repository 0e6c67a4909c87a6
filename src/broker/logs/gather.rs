//! The routes' messages of one sync, gathered into one batch a partition. Part of `broker/logs`.
//!
//! Lives in the applier. A partition's gathered batch is written before anything else is appended to that
//! partition, when it is large, and at the end of the journal's batch: so offsets follow the journal's order,
//! and replay, which sees the same journal batches, makes the same ones.

use std::sync::Arc;

use ahash::AHashMap;

use crate::broker::logs::batch::build::{BatchBuilder, NewRecord};
use crate::broker::logs::partition::{AppendOutcome, Partition};
use crate::broker::logs::waiters::Touched;
use crate::model::ids::LogId;

/// From this size a gathered batch is written at once: below every limit that a client has by default.
const BATCH_BYTES: usize = 512 * 1024;

/// Batches being filled, in the order in which their partitions first got a message.
#[derive(Debug, Default)]
pub struct RouteGather {
    filling: Vec<(Arc<Partition>, BatchBuilder)>,
    places: AHashMap<(LogId, u32), usize>,
}

impl RouteGather {
    /// Adds `record` to what `partition` will get. `now_ms` is the journal record's time.
    pub fn push(
        &mut self,
        partition: &Arc<Partition>,
        now_ms: u64,
        record: &NewRecord<'_>,
        touched: &mut Touched,
    ) {
        let key = (partition.log(), partition.index());
        let place = *self.places.entry(key).or_insert(self.filling.len());
        if place == self.filling.len() {
            self.filling.push((Arc::clone(partition), BatchBuilder::default()));
        }
        let Some((partition, builder)) = self.filling.get_mut(place) else { return };
        builder.push(record);
        if builder.len() >= BATCH_BYTES {
            write(partition, builder, now_ms, touched);
        }
    }

    /// Writes what was gathered for `partition`, because something else is about to be appended to it.
    pub fn settle(&mut self, partition: &Partition, now_ms: u64, touched: &mut Touched) {
        let place = self.places.get(&(partition.log(), partition.index()));
        if let Some((partition, builder)) = place.and_then(|at| self.filling.get_mut(*at)) {
            write(partition, builder, now_ms, touched);
        }
    }

    /// Writes everything gathered, at the end of a journal batch.
    pub fn flush(&mut self, now_ms: u64, touched: &mut Touched) {
        self.places.clear();
        for (partition, mut builder) in self.filling.drain(..) {
            write(&partition, &mut builder, now_ms, touched);
        }
    }
}

fn write(
    partition: &Arc<Partition>,
    builder: &mut BatchBuilder,
    now_ms: u64,
    touched: &mut Touched,
) {
    let Some(batch) = builder.finish() else { return };
    match partition.append_batch(now_ms, &batch) {
        AppendOutcome::Appended { .. } => touched.note(partition, batch.len()),
        // Batches without a producer id have no sequence, and the builder's are well-formed.
        AppendOutcome::Duplicate { .. } | AppendOutcome::Refused(_) | AppendOutcome::Malformed => {}
    }
}
