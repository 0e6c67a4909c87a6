//! Queues that clients declare. Part of `broker::apply`.

use std::sync::Arc;

use crate::metrics::DropReason;
use crate::model::ids::{Lsn, QueueId};

use super::super::consumer::Outcome;
use super::super::declared::queue::DeclaredQueue;
use super::super::declared::settings::QueueSettings;
use super::super::message::Message;
use super::super::queues::ended::EndedQueue;
use super::super::queues::entry::{Body, Entry, NEVER_MS, Stored};
use super::super::record::{Record, SetMember};
use super::super::via::Via;
use super::Applier;

impl Applier {
    pub(super) fn change_declared(&mut self, record: &Record<'_>) -> Outcome {
        match record {
            Record::DeclareQueue { id, vhost, name, auto_delete, arguments } => {
                self.declare_queue(*id, vhost, name, || {
                    QueueSettings::restored(*auto_delete, arguments)
                })
            }
            Record::DeclareShare { id, vhost, filter } => {
                self.declare_queue(*id, vhost, filter, || QueueSettings::share(true))
            }
            Record::DeleteQueue { id } => self.delete_queue(*id),
            Record::SettleRanges { queue, ranges } => self.settle_ranges(*queue, ranges),
            // Everything else is not about declared queues.
            _ => Outcome::Stale,
        }
    }

    fn declare_queue(
        &mut self,
        id: QueueId,
        vhost: &str,
        name: &str,
        settings: impl FnOnce() -> QueueSettings,
    ) -> Outcome {
        if self.broker.sessions.by_id(id).is_some() {
            return Outcome::Stale;
        }
        self.broker.sessions.raise_next_id(id.0.saturating_add(1));
        let make = || (Arc::from(vhost), Arc::from(name), settings());
        let queue = self.broker.declared.by_id_or_new(id, make);
        if !queue.durable {
            return Outcome::Stale;
        }
        let mut inner = queue.inner.lock();
        if !inner.exists {
            inner.exists = true;
            self.refusing += usize::from(queue.may_refuse());
        }
        if !std::mem::replace(&mut inner.dirty, true) {
            self.delta.declared.push(Arc::clone(&queue));
        }
        Outcome::Done
    }

    fn delete_queue(&mut self, id: QueueId) -> Outcome {
        let Some(queue) = self.broker.declared.by_id(id) else { return Outcome::Stale };
        // Whoever asked has done this before, unless this is a restart.
        let ended = queue.end();
        let mut inner = queue.inner.lock();
        if !std::mem::replace(&mut inner.exists, false) {
            return Outcome::Stale;
        }
        self.refusing -= usize::from(queue.may_refuse());
        let entries = inner.ledger.take_durable();
        let written = std::mem::take(&mut inner.persisted).into_iter().collect();
        drop(inner);
        self.broker.backlog.leave(entries.live(), entries.bytes());
        self.delta.ended_declared.push(EndedQueue { queue: id, written });
        self.broker.declared.forget(id);
        for consumer in ended.consumers {
            consumer.cancelled();
        }
        Outcome::Done
    }

    fn settle_ranges(&mut self, id: QueueId, ranges: &[(u64, u64)]) -> Outcome {
        let Some(queue) = self.broker.declared.by_id(id) else { return Outcome::Stale };
        let mut inner = queue.inner.lock();
        if !inner.exists {
            return Outcome::Stale;
        }
        for (first, count) in ranges {
            let end = first.saturating_add(*count);
            self.bring_in(id, &mut inner.ledger.queue, *first, end);
            let mut next = inner.ledger.queue.next_here(*first);
            while let Some(position) = next.filter(|position| *position < end) {
                if let Some(entry) = inner.ledger.remove(position) {
                    self.broker.backlog.leave(1, entry.body.len());
                }
                next = inner.ledger.queue.next_here(position.saturating_add(1));
            }
        }
        if !std::mem::replace(&mut inner.dirty, true) {
            self.delta.declared.push(Arc::clone(&queue));
        }
        Outcome::Done
    }

    /// Puts a durable message into a declared queue; false when there is none with this id.
    pub(super) fn enqueue_declared(
        &mut self,
        lsn: Lsn,
        stored: &Arc<Stored>,
        message: &Message<'_>,
        id: QueueId,
        via: Option<&Arc<Via>>,
    ) -> bool {
        let Some(queue) = self.broker.declared.by_id(id) else { return false };
        let mut inner = queue.inner.lock();
        if !inner.exists {
            return true;
        }
        let is_full = inner.ledger.queue.live() >= self.limits.messages_max
            || inner.ledger.queue.bytes() >= self.limits.bytes_max;
        if queue.settings.share && is_full {
            drop(inner);
            self.broker.metrics.messages.dropped.of(DropReason::QueueFull).inc();
            return true;
        }
        // What a publisher sent before this record and after the one it waits for.
        inner.place_held(lsn.0.saturating_sub(1));
        let body = Body::Memory(Arc::clone(stored));
        self.broker.backlog.enter(body.len());
        let mut entry = Entry::new(lsn.0, body, message.qos, false);
        entry.via = via.map(Arc::clone);
        entry.expires_ms = queue.expires_ms(message);
        entry.payload_bytes = u32::try_from(message.payload.len()).unwrap_or(u32::MAX);
        let expires_ms = entry.expires_ms;
        inner.ledger.push_durable(entry);
        if !std::mem::replace(&mut inner.dirty, true) {
            self.delta.declared.push(Arc::clone(&queue));
        }
        let has_too_much = queue.has_too_much(&inner);
        let tidy_ms = if has_too_much { 0 } else { expires_ms };
        if tidy_ms != NEVER_MS
            && let Some(at_ms) = inner.plan(tidy_ms)
        {
            self.to_tidy.push((at_ms, id));
        }
        drop(inner);
        if self.woken.insert(id) {
            self.to_call.push((queue, None));
        }
        true
    }

    /// Whether a queue among `members` is at its limit and refuses. Counted are its durable messages, those
    /// that are out included: nothing else is applied state (rule 3).
    pub(super) fn is_refused<'m>(
        &self,
        mut members: impl Iterator<Item = &'m SetMember>,
        payload: u64,
    ) -> bool {
        self.refusing > 0
            && members.any(|member| {
                let Some(queue) = self.broker.declared.by_id(member.queue) else { return false };
                if !queue.may_refuse() {
                    return false;
                }
                let inner = queue.inner.lock();
                let (held, bytes) = (inner.ledger.queue.live(), inner.ledger.durable_bytes());
                inner.exists && queue.refuses(held, bytes, payload)
            })
    }

    /// Calls consumers and leaves deadlines, when everything of a batch is applied.
    pub(super) fn call_consumers(&mut self) {
        for (queue, lend_to) in self.to_call.drain(..) {
            match lend_to.filter(|publisher| publisher.lend(&queue)) {
                // Always: it may have taken the outcome of its record already.
                Some(publisher) => publisher.wake(),
                None => queue.call(),
            }
        }
        for (at_ms, id) in self.to_tidy.drain(..) {
            self.broker.declared.keeping.tidy_at(at_ms, id);
        }
    }

    /// Queues that refuse, after a restart.
    pub(in crate::broker) fn count_refusing(&mut self, queues: &[Arc<DeclaredQueue>]) {
        self.refusing = queues.iter().filter(|queue| queue.may_refuse()).count();
    }
}
