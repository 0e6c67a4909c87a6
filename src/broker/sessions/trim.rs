//! Sessions that hold more than they may and drop the oldest. Part of `broker::sessions`.
//!
//! What was sent stays: its receiver may be about to acknowledge it, and its place in the window is given back by that
//! only. A session that is not durable makes room before it takes a message. Apply cannot do that for a durable one: what
//! was sent is no applied state, and the oldest may be on disk (rules 3 and 9 of the design). It lets the queue grow by
//! a bounded piece, and a job submits a record that names exactly what goes.

use parking_lot::MutexGuard;

use crate::metrics::DropReason;
use crate::model::ids::QueueId;

use super::super::Broker;
use super::super::fanout::QueueLimits;
use super::super::queues::queue::Next;
use super::super::record::Record;
use super::session::{Inner, Session};

/// Messages that one record takes out.
const RECORD_MESSAGES: usize = 4096;
/// Pages that one pass reads.
const PASS_PAGES: usize = 64;
/// Between two passes while a record is under way, ms.
const AGAIN_MS: u64 = 50;
/// Between two attempts when the journal or the disk refuses, ms.
const RETRY_MS: u64 = 1000;

/// What one look at a queue came to.
#[derive(Debug, Default)]
struct Oldest {
    positions: Vec<u64>,
    /// This page comes before the next one to go.
    page: Option<u64>,
    /// More is to go.
    more: bool,
}

impl Inner {
    /// Every position below was sent at least once.
    fn sent_below(&self) -> u64 {
        self.cursor.max(self.sent).max(self.state.sent)
    }

    /// Takes the oldest messages that were not sent out of a queue without records, until one more fits; how many.
    pub(super) fn displace(&mut self, limits: &QueueLimits) -> u64 {
        let mut count = 0;
        while limits.is_full(self.queue.live(), self.queue.bytes())
            && let Some(position) = self.queue.next_here(self.sent_below())
            && self.queue.remove(position).is_some()
        {
            count += 1;
        }
        count
    }

    /// Finds the oldest messages that are too many and were not sent.
    fn find_oldest(&self, limits: &QueueLimits) -> Oldest {
        let (mut live, mut bytes) = (self.queue.live(), self.queue.bytes());
        let sent_below = self.sent_below();
        let mut oldest = Oldest::default();
        let mut from = self.queue.head();
        while limits.is_over(live, bytes) {
            let position = match self.queue.next(from) {
                Some(Next::Here(position)) => position,
                Some(Next::Out(page)) => {
                    oldest.page = Some(page);
                    break;
                }
                None => break,
            };
            from = position + 1;
            let Some(entry) = self.queue.get(position) else { continue };
            let is_going = if entry.is_settled() {
                // Its record is on the way.
                true
            } else if position >= sent_below && oldest.positions.len() < RECORD_MESSAGES {
                oldest.positions.push(position);
                true
            } else {
                oldest.more |= position >= sent_below;
                false
            };
            if is_going {
                live = live.saturating_sub(1);
                bytes = bytes.saturating_sub(entry.body.len());
            } else if oldest.more {
                break;
            }
        }
        oldest
    }

    /// Marks those of `positions` as done with that were neither sent nor acknowledged since they were found; which
    /// these are.
    fn part_with(&mut self, positions: &[u64]) -> Vec<u64> {
        let sent_below = self.sent_below();
        let mut going = Vec::with_capacity(positions.len());
        for position in positions.iter().copied().filter(|position| *position >= sent_below) {
            let entry = self.queue.get_volatile(position).filter(|entry| !entry.is_settled());
            if let Some(entry) = entry {
                entry.settle();
                going.push(position);
            }
        }
        going
    }

    fn untake(&mut self, positions: &[u64]) {
        for position in positions {
            if let Some(entry) = self.queue.get_volatile(*position) {
                entry.unsettle();
            }
        }
    }
}

impl Broker {
    /// Drops the oldest of what a durable session holds too much of, as planned.
    pub(in crate::broker) fn trim_session(&self, id: QueueId, now_ms: u64) {
        let Some(session) = self.sessions.by_id(id) else { return };
        let limits = self.limits.load().queue;
        let mut inner = session.inner.lock();
        inner.trim_planned = false;
        if inner.ended || !limits.drops_oldest {
            return;
        }
        if inner.trimmed > self.applied_lsn() {
            // Until then nobody can tell what is left.
            return self.plan_trim(&session, &mut inner, now_ms + AGAIN_MS);
        }
        let found = self.find_oldest(&session, &mut inner, &limits);
        let Ok(oldest) = found.inspect_err(|error| {
            tracing::error!(
                error,
                client_id = &*session.key.client_id,
                "a queue cannot be shortened"
            );
        }) else {
            return self.plan_trim(&session, &mut inner, now_ms + RETRY_MS);
        };
        drop(inner);
        if oldest.positions.is_empty() {
            return;
        }
        // Marked where the record gets its place, not before: a pull goes past what is marked, and would leave behind
        // what a journal that refuses gives back.
        let mut going = Vec::new();
        let submitted = self.journal.submit_with(None, &mut |_, out| {
            going = session.inner.lock().part_with(&oldest.positions);
            Record::Settle { queue: id, positions: going.clone() }.encode(out);
        });
        let mut inner = session.inner.lock();
        match submitted {
            Ok(lsn) => {
                inner.trimmed = lsn;
                let is_less = going.len() < oldest.positions.len();
                if is_less || oldest.more || oldest.page.is_some() {
                    self.plan_trim(&session, &mut inner, now_ms + AGAIN_MS);
                }
                drop(inner);
                if !going.is_empty() {
                    self.count_trimmed(&session, going.len() as u64, now_ms);
                }
            }
            Err(_) => {
                inner.untake(&going);
                self.plan_trim(&session, &mut inner, now_ms + RETRY_MS);
            }
        }
    }

    /// Has a session shortened that a restart finds too long: what was to do that was lost with the power.
    pub(in crate::broker) fn look_at_length(&self, session: &Session, now_ms: u64) {
        let limits = self.limits.load().queue;
        if !session.durable || !limits.drops_oldest {
            return;
        }
        let mut inner = session.inner.lock();
        if limits.is_over(inner.queue.live(), inner.queue.bytes()) {
            self.plan_trim(session, &mut inner, now_ms);
        }
    }

    /// Has [`Self::trim_session`] called, unless it will be anyway.
    fn plan_trim(&self, session: &Session, inner: &mut Inner, at_ms: u64) {
        if !std::mem::replace(&mut inner.trim_planned, true) {
            self.declared.keeping.tidy_at(at_ms, session.id);
        }
    }

    /// Brings in pages until one of the oldest is found, or there are too many of them.
    fn find_oldest(
        &self,
        session: &Session,
        inner: &mut MutexGuard<'_, Inner>,
        limits: &QueueLimits,
    ) -> Result<Oldest, String> {
        for _ in 0..PASS_PAGES {
            let oldest = inner.find_oldest(limits);
            let Some(page) = oldest.page.filter(|_| oldest.positions.is_empty()) else {
                return Ok(oldest);
            };
            self.paging.page_in(session.id, inner, |inner| &mut inner.queue, page)?;
        }
        Ok(Oldest { more: true, ..Oldest::default() })
    }

    fn count_trimmed(&self, session: &Session, count: u64, now_ms: u64) {
        self.metrics.messages.dropped.of(DropReason::Overflow).inc_by(count);
        self.tell_full(session, DropReason::Overflow, now_ms);
    }

    /// Tells the operator that a session went without a message, now and then.
    pub(in crate::broker) fn tell_full(&self, session: &Session, why: DropReason, now_ms: u64) {
        let Some(left_out) = self.metrics.limits.tell_drop(why, now_ms) else { return };
        let client_id = &*session.key.client_id;
        let what = match why {
            DropReason::Overflow => "a full session lost its oldest message",
            DropReason::OutboundFull => "a slow client goes without a message of QoS 0",
            DropReason::NoRoom => "there is no room to keep a message in memory for a session",
            _ => "a full session goes without a message",
        };
        let key = match why {
            DropReason::OutboundFull => "mqtt.outbound_buffer_bytes_max",
            DropReason::NoRoom => "mqtt.memory_bytes_max",
            _ => "mqtt.queued_messages_max or mqtt.queued_bytes_max",
        };
        tracing::warn!(client_id, left_out, "{what}: {key} is reached");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::super::fanout::QueueLimits;
    use super::super::super::queues::entry::{Body, Entry, Stored};
    use super::super::super::queues::queue::Queue;
    use super::Inner;
    use crate::model::qos::QoS;

    const LIMITS: QueueLimits = QueueLimits {
        messages_max: 4,
        bytes_max: 100,
        drops_oldest: true,
        volatile_max: 0,
        volatile_bytes_max: 0,
    };

    fn inner(count: u64, bytes: usize) -> Inner {
        let mut inner = Inner { queue: Queue::volatile(), ..Inner::default() };
        for order in 0..count {
            let stored: Arc<Stored> = Stored::new(vec![0; bytes].into());
            inner.queue.push(Entry::new(order, Body::Memory(stored), QoS::AtLeastOnce, false));
        }
        inner
    }

    fn positions(inner: &Inner) -> Vec<u64> {
        inner.queue.iter_here().map(|(position, _)| position).collect()
    }

    #[test]
    fn room_is_made_behind_what_was_sent() {
        let mut queue = inner(4, 1);
        queue.cursor = 1;
        queue.sent = 2;
        assert_eq!(queue.displace(&LIMITS), 1);
        assert_eq!(positions(&queue), [0, 1, 3]);
        assert_eq!(queue.displace(&LIMITS), 0);
        let mut sent = inner(4, 1);
        sent.sent = 4;
        assert_eq!(sent.displace(&LIMITS), 0, "all of it is under way");
        let mut large = inner(3, 60);
        assert_eq!(large.displace(&LIMITS), 2);
        assert_eq!(positions(&large), [2]);
    }

    #[test]
    fn what_is_too_much_is_named_oldest_first_and_once() {
        let mut queue = inner(9, 1);
        queue.sent = 2;
        if let Some(entry) = queue.queue.get_volatile(0) {
            entry.settle();
        }
        let oldest = queue.find_oldest(&LIMITS);
        // The one that is acknowledged goes by its own record.
        assert_eq!(oldest.positions, [2, 3, 4, 5]);
        assert!(oldest.page.is_none() && !oldest.more);
        assert_eq!(queue.part_with(&oldest.positions), [2, 3, 4, 5]);
        assert!(queue.find_oldest(&LIMITS).positions.is_empty());
        queue.untake(&[2, 3, 4, 5]);
        assert_eq!(queue.find_oldest(&LIMITS).positions, [2, 3, 4, 5]);
    }

    #[test]
    fn what_was_sent_before_its_record_had_a_place_stays() {
        let mut queue = inner(9, 1);
        let oldest = queue.find_oldest(&LIMITS);
        assert_eq!(oldest.positions, [0, 1, 2, 3, 4]);
        let marked =
            |queue: &Inner| queue.queue.iter_here().filter(|(_, entry)| entry.is_settled()).count();
        assert_eq!(marked(&queue), 0, "a pull goes past none of them");
        queue.cursor = 2;
        assert_eq!(queue.part_with(&oldest.positions), [2, 3, 4]);
        assert_eq!(marked(&queue), 3);
        assert_eq!(queue.part_with(&oldest.positions), [0_u64; 0]);
    }

    #[test]
    fn nothing_is_named_when_all_was_sent() {
        let mut queue = inner(9, 50);
        queue.cursor = 9;
        assert!(queue.find_oldest(&LIMITS).positions.is_empty());
    }
}
