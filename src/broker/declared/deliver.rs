//! Synchronous delivery of what is not journaled. Part of `broker::declared`.
//!
//! Direct only when nothing is in front of the message, else it is kept. A message that goes straight to a consumer
//! who does not acknowledge is never stored.

use std::sync::Arc;

use crate::metrics::DropReason;

use super::super::consumer::{Delivery, QueueConsumer};
use super::super::fanout::{Drop, Fanout, Fate};
use super::super::queues::entry::{Body, Entry, NEVER_MS};
use super::super::via::Via;
use super::consumers::Refusal;
use super::place::Place;
use super::queue::{DeclaredQueue, Held, Inner};

/// What is left to do when the queue's lock is released.
#[derive(Default)]
struct After {
    tidy_at_ms: Option<u64>,
    behind: Option<u64>,
    call: Option<Arc<dyn QueueConsumer>>,
}

impl DeclaredQueue {
    /// Hands a message to a consumer, or keeps it: one that is not journaled for this queue, because it is
    /// transient or the queue is not durable. Takes leaf locks only and reads no disk.
    ///
    /// [`Drop::Rejected`] tells that the publisher must be told (`reject-publish`).
    pub fn deliver(self: &Arc<Self>, via: Option<&Arc<Via>>, fanout: &mut Fanout<'_>) -> Fate {
        let mut after = After::default();
        let fate = {
            let mut inner = self.inner.lock();
            if self.is_gone() {
                return Fate::Dropped(Drop::Gone);
            }
            self.put(&mut inner, via, fanout, &mut after)
        };
        if let Some(behind) = after.behind {
            self.keeping.call_when_applied(behind, self);
            // It may have been applied before the registration.
            if self.keeping.applied() >= behind {
                self.keeping.call_applied();
            }
        }
        if let Some(at_ms) = after.tidy_at_ms {
            self.keeping.tidy_at(at_ms, self.id);
        }
        if let Some(consumer) = after.call {
            consumer.ready();
        }
        self.keeping.scratch.tend();
        fate
    }

    fn put(
        self: &Arc<Self>,
        inner: &mut Inner,
        via: Option<&Arc<Via>>,
        fanout: &mut Fanout<'_>,
        after: &mut After,
    ) -> Fate {
        if self.passes(fanout.message.qos) {
            return self.pass(inner, via, fanout);
        }
        if self.durable && (fanout.behind != 0 || !inner.held.is_empty()) {
            let applied = self.keeping.applied();
            inner.place_held(applied);
            if fanout.behind > applied || !inner.held.is_empty() {
                return self.hold(inner, via, fanout, after);
            }
        }
        if inner.ledger.ready() == 0 && !inner.dispatching && !inner.consumers.is_empty() {
            match self.offer(inner, via, fanout) {
                Ok(fate) => return fate,
                Err(Refusal::GivenUp) => return Fate::Dropped(Drop::NoRoom),
                Err(Refusal::Unfit) => return Fate::Dropped(Drop::TooLarge),
                Err(Refusal::NobodyCan) => {}
            }
        }
        if self.is_full(inner, fanout.limits) {
            return Fate::Dropped(Drop::QueueFull);
        }
        let fate = self.keep(inner, via, fanout, after);
        // Somebody else may be able to take it than the one whom what is in front of it is for.
        let key = inner.consumers.key(&fanout.message);
        after.call = key.and_then(|_| inner.whom_to_call());
        fate
    }

    fn entry(&self, via: Option<&Arc<Via>>, fanout: &Fanout<'_>, body: Body) -> Entry {
        let mut entry = Entry::new(0, body, fanout.message.qos, false);
        entry.via = via.map(Arc::clone);
        entry.expires_ms = self.expires_ms(&fanout.message);
        entry.payload_bytes = u32::try_from(fanout.message.payload.len()).unwrap_or(u32::MAX);
        entry
    }

    /// Straight to a consumer; expiry does not matter, since nothing waits.
    fn offer(
        self: &Arc<Self>,
        inner: &mut Inner,
        via: Option<&Arc<Via>>,
        fanout: &mut Fanout<'_>,
    ) -> Result<Fate, Refusal> {
        let place = inner.ledger.next_place();
        let mut body = None;
        let key = inner.consumers.key(&fanout.message);
        let no_ack = inner.consumers.offer(key, |to| {
            if !to.no_ack && body.is_none() {
                body = Some(self.keeping.keep(fanout)?);
            }
            let delivery = Delivery {
                message: &fanout.message,
                via: via.map(|via| &**via),
                queue: self,
                place,
                redelivered: false,
                now_ms: fanout.now_ms,
            };
            Some(to.consumer.offer(&delivery, fanout.encodings))
        })?;
        if let Some(body) = body.filter(|_| !no_ack) {
            inner.ledger.push_transient(self.entry(via, fanout, body));
            inner.ledger.take(place);
        }
        Ok(Fate::Delivered)
    }

    /// Behind what waits.
    fn keep(
        &self,
        inner: &mut Inner,
        via: Option<&Arc<Via>>,
        fanout: &mut Fanout<'_>,
        after: &mut After,
    ) -> Fate {
        let (ready, bytes) = (inner.ledger.ready(), inner.ledger.ready_bytes());
        if self.refuses(ready, bytes, fanout.message.payload.len() as u64) {
            return Fate::Dropped(Drop::Rejected);
        }
        let Some(body) = self.keeping.keep(fanout) else { return Fate::Dropped(Drop::NoRoom) };
        let entry = self.entry(via, fanout, body);
        let expires_ms = entry.expires_ms;
        let place = inner.ledger.push_transient(entry);
        if expires_ms != NEVER_MS {
            after.tidy_at_ms = inner.plan(expires_ms);
        }
        if self.is_over(inner.ledger.ready(), inner.ledger.ready_bytes()) {
            return self.make_room(inner, place, fanout.now_ms, after);
        }
        Fate::Queued
    }

    /// Drops the oldest; who drops durable ones must submit a record, which is not done here.
    fn make_room(&self, inner: &mut Inner, new: Place, now_ms: u64, after: &mut After) -> Fate {
        if self.durable && inner.ledger.queue.live() > 0 {
            after.tidy_at_ms = inner.plan(now_ms).or(after.tidy_at_ms);
            return Fate::Queued;
        }
        let count = inner.trim(self);
        let is_kept = inner.ledger.get(new).is_some();
        // The new one is counted by whoever published it.
        let others = count - u64::from(!is_kept);
        self.keeping.count_dropped(DropReason::Overflow, others);
        if is_kept { Fate::Queued } else { Fate::Dropped(Drop::Overflow) }
    }

    /// Behind its publisher's own records, or behind a message that is.
    fn hold(
        &self,
        inner: &mut Inner,
        via: Option<&Arc<Via>>,
        fanout: &mut Fanout<'_>,
        after: &mut After,
    ) -> Fate {
        let (ready, bytes) = (inner.counts().ready, inner.ledger.ready_bytes());
        if self.refuses(ready, bytes, fanout.message.payload.len() as u64) {
            return Fate::Dropped(Drop::Rejected);
        }
        let Some(body) = self.keeping.keep(fanout) else { return Fate::Dropped(Drop::NoRoom) };
        let entry = self.entry(via, fanout, body);
        if inner.held.back().is_none_or(|last| last.behind < fanout.behind) {
            after.behind = Some(fanout.behind);
        }
        inner.held.push_back(Held { behind: fanout.behind, entry });
        Fate::Queued
    }
}
