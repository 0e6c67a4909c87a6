//! Brokers that break the promise: each is found out by the checks of these tests. Part of the crash tests of `broker`.
//!
//! A fault sits between the journal and the applier, or in the applied state; [`Lie`]s of the disk are the others.

use std::sync::Arc;

use bytes::Bytes;

use super::steps::{Scenario, cut_everywhere};
use crate::broker::Broker;
use crate::broker::consumer::Waiter;
use crate::broker::record::Record;
use crate::store::disk::simulated::Lie;
use crate::store::journal::Sink;
use crate::store::journal::batch::Batch;

/// A fault of the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mutation {
    None,
    /// Of every third batch with a publish one is not applied, and acknowledged.
    DropRecord,
    /// Two publishes of a batch are applied in the wrong order.
    SwapRecords,
    /// Who published with QoS 2 is forgotten, and with which identifier.
    ForgetInbound,
    /// Sequences of producers are forgotten.
    ForgetProducers,
}

impl Mutation {
    /// `sink` with the fault.
    pub(super) fn over(self, mut sink: Sink<Waiter>, broker: &Arc<Broker>) -> Sink<Waiter> {
        if self == Self::None {
            return sink;
        }
        let broker = Arc::clone(broker);
        let mut batches = 0;
        Box::new(move |batch| {
            batches += 1;
            match self {
                Self::None => sink(batch),
                Self::DropRecord if batches % 3 == 0 => sink(with(batch, drop_publish)),
                Self::DropRecord => sink(batch),
                Self::SwapRecords => sink(with(batch, swap_publishes)),
                Self::ForgetInbound => {
                    for session in broker.sessions.all() {
                        session.inner.lock().state.inbound.clear();
                    }
                    sink(batch);
                }
                Self::ForgetProducers => {
                    let logs = broker.logs.table.all();
                    logs.iter()
                        .flat_map(|log| &log.partitions)
                        .for_each(|one| one.forget_producers());
                    sink(batch);
                }
            }
        })
    }
}

fn with(batch: Batch<Waiter>, change: fn(&mut Vec<Bytes>)) -> Batch<Waiter> {
    let Batch { number, first_lsn, count, records, waiters } = batch;
    let batch = Batch::<Waiter> { number, first_lsn, count, records, waiters: Vec::new() };
    let mut all: Vec<Bytes> = batch.iter().map(|record| record.unwrap().1).collect();
    change(&mut all);
    let mut records = Vec::new();
    for record in all {
        records.extend(u32::try_from(record.len()).unwrap().to_le_bytes());
        records.extend_from_slice(&record);
    }
    Batch { number, first_lsn, count, records: records.into(), waiters }
}

fn is_publish(record: &Bytes) -> bool {
    matches!(Record::decode(record), Ok(Record::Publish { retained: false, .. }))
}

fn drop_publish(records: &mut Vec<Bytes>) {
    if let Some(record) = records.iter_mut().find(|record| is_publish(record)) {
        let mut bytes = Vec::new();
        Record::Barrier.encode(&mut bytes);
        *record = bytes.into();
    }
}

fn swap_publishes(records: &mut Vec<Bytes>) {
    let both = |at: &usize| records[*at - 1..=*at].iter().all(is_publish);
    if let Some(at) = (1..records.len()).find(both) {
        records.swap(at - 1, at);
    }
}

/// The check that every other test of cuts makes finds the fault within a few scenarios.
fn is_caught(mutation: Mutation, lie: Option<Lie>) {
    let found = (0..12).find_map(|seed| {
        let scenario = Scenario { mutation, lie, every: 7, cuts: 2, ..Scenario::new(seed) };
        cut_everywhere(&scenario).err()
    });
    assert!(found.is_some(), "{mutation:?} {lie:?} goes unnoticed");
}

#[test]
fn a_sync_of_the_journal_that_is_skipped_is_found_out() {
    is_caught(Mutation::None, Some(Lie::Syncs("journal")));
}

#[test]
fn an_acknowledgement_before_the_sync_is_found_out() {
    is_caught(Mutation::None, Some(Lie::LateSyncs("journal")));
}

#[test]
fn syncs_that_a_checkpoint_skips_are_found_out() {
    for folder in ["bodies", "logs", "meta"] {
        is_caught(Mutation::None, Some(Lie::Syncs(folder)));
    }
}

#[test]
fn names_that_are_not_synced_are_found_out() {
    for folder in ["journal", "bodies", "logs"] {
        is_caught(Mutation::None, Some(Lie::FolderSyncs(folder)));
    }
}

#[test]
fn a_dropped_record_is_found_out() {
    is_caught(Mutation::DropRecord, None);
}

#[test]
fn records_out_of_order_are_found_out() {
    is_caught(Mutation::SwapRecords, None);
}

#[test]
fn a_forgotten_identifier_of_qos_2_is_found_out() {
    is_caught(Mutation::ForgetInbound, None);
}

#[test]
fn a_forgotten_sequence_of_a_producer_is_found_out() {
    is_caught(Mutation::ForgetProducers, None);
}
