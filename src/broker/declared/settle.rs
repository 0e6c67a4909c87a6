//! What becomes of messages that are out. Part of `broker::declared`.

use std::sync::Arc;

use crate::model::ids::QueueId;

use super::super::Broker;
use super::super::record::Record;
use super::place::Place;
use super::queue::DeclaredQueue;

/// The runs in `positions`, each as its first position and its length.
pub(super) fn ranges(positions: &mut Vec<u64>) -> Vec<(u64, u64)> {
    positions.sort_unstable();
    positions.dedup();
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for position in &*positions {
        match ranges.last_mut() {
            Some((first, count)) if *first + *count == *position => *count += 1,
            _ => ranges.push((*position, 1)),
        }
    }
    ranges
}

impl Broker {
    /// The messages at `places` are done with: acknowledged, or rejected for good. Transient ones are gone at
    /// once; the durable ones of a read batch are gathered for one record, see [`Self::submit_settled_places`].
    pub fn settle_places(&self, queue: &Arc<DeclaredQueue>, places: &[Place]) {
        let mut inner = queue.inner.lock();
        if queue.is_gone() {
            return;
        }
        for place in places {
            inner.finish(*place);
        }
        drop(inner);
        queue.keeping.scratch.tend();
    }

    /// Submits what was gathered in `queue`; nobody waits for it.
    pub fn submit_settled_places(&self, queue: &Arc<DeclaredQueue>) {
        let mut positions = std::mem::take(&mut queue.inner.lock().to_settle);
        if positions.is_empty() {
            return;
        }
        let record = Record::SettleRanges { queue: queue.id, ranges: ranges(&mut positions) };
        if self.submit_in_time(&record).is_err() && !queue.is_gone() {
            // Kept for the next time: without the record a restart would hand these out again.
            queue.inner.lock().to_settle.append(&mut positions);
        }
    }

    /// Puts messages back to where they were; they count as redelivered, and a consumer that can take is called.
    /// The caller's own ones had better dispatch afterwards, since they may have got credit.
    pub fn return_places(&self, queue: &Arc<DeclaredQueue>, places: &[Place]) {
        let mut inner = queue.inner.lock();
        if queue.is_gone() {
            return;
        }
        for place in places {
            inner.ledger.give_back(*place);
        }
        let whom = inner.whom_to_call();
        let over = queue.is_over(inner.ledger.ready(), inner.ledger.ready_bytes());
        let tidy_at_ms = if over { inner.plan(0) } else { inner.plan_head() };
        drop(inner);
        if let Some(at_ms) = tidy_at_ms {
            queue.keeping.tidy_at(at_ms, queue.id);
        }
        if let Some(consumer) = whom {
            consumer.ready();
        }
    }

    /// Drops what a queue, a session's too, holds too long or too much of, as planned.
    pub(in crate::broker) fn tidy_queue(&self, id: QueueId, now_ms: u64) {
        let Some(queue) = self.declared.by_id(id) else { return self.trim_session(id, now_ms) };
        let mut inner = queue.inner.lock();
        if queue.is_gone() {
            return;
        }
        inner.tidy_at_ms = super::super::queues::entry::NEVER_MS;
        inner.place_held(queue.keeping.applied());
        let (dropped, tidy_at_ms) = self.tidy_some(&queue, &mut inner, now_ms);
        let has_settled = !inner.to_settle.is_empty();
        drop(inner);
        self.after_tidying(&queue, dropped, tidy_at_ms, has_settled);
    }
}

#[cfg(test)]
mod tests {
    use super::ranges;

    #[test]
    fn positions_become_runs() {
        assert_eq!(ranges(&mut vec![]), []);
        assert_eq!(ranges(&mut vec![7, 3, 4, 5, 9, 8, 4]), [(3, 3), (7, 3)]);
        assert_eq!(ranges(&mut vec![u64::MAX, 0]), [(0, 1), (u64::MAX, 1)]);
    }
}
