//! What a publisher meets when durable queues are nearly full. Part of `broker::publish`.
//!
//! From nine tenths of a bound on, who publishes into durable queues is read with pauses. At the bound the message is
//! refused and its publisher told, where its protocol has a word for that; others get in with what they had sent and are
//! not read any more. With `queues.overflow = "drop-newest"` queues go without the message instead.
//!
//! A connection that is not read cannot acknowledge either, and perhaps it is its own acknowledgements that would make
//! room: one that has messages to acknowledge is read once a second all the same.

use std::sync::Arc;

use crate::metrics::DropReason;

use super::super::backlog::Crowding;
use super::super::declared::queue::DeclaredQueue;
use super::super::{Broker, BrokerError};
use super::Publisher;
use super::route::{CachedRoute, is_durable};

/// How long a slowed publisher is not read after each read, ms.
const SLOW_MS: u64 = 100;
/// How often one that is not read looks for room, ms.
const LOOK_MS: u64 = 500;
/// How often one is read that has something to acknowledge, ms.
const TRICKLE_MS: u64 = 1000;

/// Room in the queues a publisher lately published into.
#[derive(Default)]
pub(super) struct Crowd {
    /// It published into a durable queue since it was last let read.
    burdens: bool,
    /// One of those was at its own bound, or near it.
    queue: Option<Arc<DeclaredQueue>>,
}

/// How a connection that publishes is held back.
#[derive(Debug, Default)]
pub struct Brake {
    until_ms: u64,
    /// At a bound since then.
    since_ms: Option<u64>,
}

impl Brake {
    /// When to look again at a connection whose `publisher` must not be read now; `None` if it may be.
    /// `acknowledges` says whether messages were sent on it that it has not acknowledged.
    pub fn holds(
        &mut self,
        broker: &Broker,
        publisher: &mut Publisher,
        acknowledges: impl FnOnce() -> bool,
        now_ms: u64,
    ) -> Option<u64> {
        if now_ms < self.until_ms {
            return Some(self.until_ms);
        }
        if !publisher.crowd.burdens {
            return None;
        }
        let crowding = broker.crowding(publisher);
        let is_settled = publisher.can_be_told || broker.backlog.limits().drops_newest;
        let waits_for_room = crowding == Crowding::Full && !is_settled;
        let since_ms = *self.since_ms.get_or_insert(now_ms);
        if waits_for_room && !(now_ms >= since_ms + TRICKLE_MS && acknowledges()) {
            self.until_ms = now_ms + LOOK_MS;
            return Some(self.until_ms);
        }
        self.since_ms = None;
        publisher.crowd = Crowd::default();
        if crowding == Crowding::Free || waits_for_room {
            return None;
        }
        self.until_ms = now_ms + SLOW_MS;
        Some(self.until_ms)
    }
}

impl Broker {
    /// How close to a bound the queues are that `publisher` lately published into.
    #[must_use]
    pub fn crowding(&self, publisher: &Publisher) -> Crowding {
        let own = publisher.crowd.queue.as_ref().map(|queue| self.crowding_of(queue));
        self.backlog.crowding().max(own.unwrap_or(Crowding::Free))
    }

    fn crowding_of(&self, queue: &DeclaredQueue) -> Crowding {
        let max = self.backlog.limits().queue_bytes_max;
        let says_itself = queue.settings.arguments.length_bytes_max.is_some();
        // A share group's queue has a session's bounds, and goes without what is too much.
        let is_bounded = says_itself || queue.settings.share;
        if max == 0 || is_bounded || !queue.durable || queue.is_gone() {
            return Crowding::Free;
        }
        Crowding::of(queue.inner.lock().ledger.durable_bytes(), max)
    }

    /// Whether durable queues get a message on `route`.
    ///
    /// # Errors
    /// There is no room, and the publisher is to be told.
    pub(super) fn admits(
        &self,
        publisher: &mut Publisher,
        route: &CachedRoute,
    ) -> Result<bool, BrokerError> {
        let limits = self.backlog.limits();
        publisher.crowd.burdens = true;
        let mut crowding = self.backlog.crowding();
        if limits.queue_bytes_max > 0 {
            for target in &route.reach.queues {
                let own = self.crowding_of(&target.queue);
                if own > Crowding::Free {
                    publisher.crowd.queue = Some(Arc::clone(&target.queue));
                }
                crowding = crowding.max(own);
            }
        }
        if crowding < Crowding::Full {
            return Ok(true);
        }
        if limits.drops_newest {
            let sessions = route.reach.sessions.iter().filter(|to| is_durable(to)).count();
            let queues = route.reach.queues.iter().filter(|to| to.queue.durable).count();
            let left_out = (sessions + queues) as u64;
            publisher.counters.drop_messages(DropReason::QueuesFull, left_out);
            return Ok(false);
        }
        if !publisher.can_be_told {
            return Ok(true);
        }
        publisher.counters.drop_messages(DropReason::QueuesFull, 1);
        Err(BrokerError::Limit("bytes in queues"))
    }
}
