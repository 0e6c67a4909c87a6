//! Batches that a broker with a fault would apply. Part of `broker::testbed`.

use bytes::Bytes;

use crate::broker::consumer::Waiter;
use crate::broker::record::Record;
use crate::store::journal::batch::Batch;

/// `batch` without its first publish: in its place stands a record that does nothing.
pub(in crate::broker) fn drop_publish(batch: Batch<Waiter>) -> Batch<Waiter> {
    with(batch, |records| {
        if let Some(record) = records.iter_mut().find(|record| is_publish(record)) {
            let mut bytes = Vec::new();
            Record::Barrier.encode(&mut bytes);
            *record = bytes.into();
        }
    })
}

/// `batch` with its first two publishes that follow each other in the wrong order.
pub(in crate::broker) fn swap_publishes(batch: Batch<Waiter>) -> Batch<Waiter> {
    with(batch, |records| {
        let both = |at: &usize| records[*at - 1..=*at].iter().all(is_publish);
        if let Some(at) = (1..records.len()).find(both) {
            records.swap(at - 1, at);
        }
    })
}

fn is_publish(record: &Bytes) -> bool {
    matches!(Record::decode(record), Ok(Record::Publish { retained: false, .. }))
}

fn with(batch: Batch<Waiter>, change: fn(&mut [Bytes])) -> Batch<Waiter> {
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
