//! What connections ask of declared queues. Part of `broker::declared`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::auth::acl::Action;
use crate::auth::principal::Principal;
use crate::model::ids::{ConnectionId, ConsumerId, QueueId};
use crate::store::journal::SubmitError;

use super::super::Broker;
use super::super::consumer::Waiter;
use super::super::exchanges::error::Entity;
use super::super::record::Record;
use super::consumers::Registration;
use super::paged::Emptied;
use super::queue::{DeclaredQueue, QueueCounts};
use super::settle::ranges;

/// Between two attempts to delete an idle queue, ms.
const RETRY_MS: u64 = 1_000;

/// Why messages of a queue are not to be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConsumeError {
    /// The access rules say no; a sentence of RabbitMQ's (403).
    #[error("{0}")]
    NotAuthorized(String),
    /// It is another connection's own (405).
    #[error("the queue is exclusive to another connection")]
    Locked,
    /// There is an exclusive consumer, or one wants to be beside others (403).
    #[error("the queue is in exclusive use")]
    ExclusiveInUse,
    /// It was deleted (404).
    #[error("the queue is gone")]
    Gone,
    /// The journal takes nothing at the moment.
    #[error(transparent)]
    Journal(#[from] SubmitError),
    /// A message cannot be read; it stays.
    #[error("a message cannot be read: {0}")]
    Storage(String),
}

/// What became of a consumer that left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// There was none of that id.
    Unknown,
    /// It left.
    Left,
    /// It left, and with it goes the queue: the caller calls `auto_delete_queue`.
    Last,
}

/// What a purge came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purged {
    /// Messages that are gone.
    pub count: u64,
    /// The waiter will be told; the answer waits until then.
    pub waits: bool,
}

impl Broker {
    /// A number for a connection.
    pub fn next_connection_id(&self) -> ConnectionId {
        ConnectionId(self.declared.next_connection.fetch_add(1, Ordering::Relaxed))
    }

    /// A number for a consumer.
    pub fn next_consumer_id(&self) -> ConsumerId {
        ConsumerId(self.declared.next_consumer.fetch_add(1, Ordering::Relaxed))
    }

    pub(super) fn may_consume(
        &self,
        who: &Principal,
        queue: &DeclaredQueue,
        connection: ConnectionId,
    ) -> Result<(), ConsumeError> {
        self.check_access(who, Action::Subscribe, Entity::Queue, &queue.name)
            .map_err(|error| ConsumeError::NotAuthorized(error.to_string()))?;
        if queue.is_gone() {
            return Err(ConsumeError::Gone);
        }
        if queue.settings.exclusive.is_some_and(|owner| owner != connection) {
            return Err(ConsumeError::Locked);
        }
        Ok(())
    }

    /// Registers a consumer; the caller dispatches once its answer is on the way.
    ///
    /// # Errors
    /// [`ConsumeError`].
    pub fn consume(
        &self,
        who: &Principal,
        queue: &Arc<DeclaredQueue>,
        registration: Registration,
        now_ms: u64,
    ) -> Result<(), ConsumeError> {
        self.may_consume(who, queue, registration.connection)?;
        let mut inner = queue.inner.lock();
        let consumers = &mut inner.consumers;
        if consumers.is_exclusive() || (registration.exclusive && !consumers.is_empty()) {
            return Err(ConsumeError::ExclusiveInUse);
        }
        // Looked at again: whoever ends a queue takes the consumers off under this lock.
        if queue.is_gone() {
            return Err(ConsumeError::Gone);
        }
        consumers.add(registration);
        inner.used_ms = now_ms;
        Ok(())
    }

    /// Takes a consumer off. What is out with it stays with its channel.
    pub fn cancel(&self, queue: &Arc<DeclaredQueue>, id: ConsumerId, now_ms: u64) -> Cancelled {
        self.cancel_all(queue, |one| one == id, now_ms)
    }

    /// Takes all consumers off that `leaves` names, at once: one by one takes a time that grows with the square of
    /// their number. [`Cancelled::Unknown`] when there is none.
    pub fn cancel_all(
        &self,
        queue: &Arc<DeclaredQueue>,
        leaves: impl Fn(ConsumerId) -> bool,
        now_ms: u64,
    ) -> Cancelled {
        let (is_last, whom) = {
            let mut inner = queue.inner.lock();
            if !inner.consumers.remove(leaves) {
                return Cancelled::Unknown;
            }
            inner.used_ms = now_ms;
            // It may have been called and not have dispatched yet: the turn passes on.
            (inner.consumers.is_empty(), inner.whom_to_call())
        };
        if let Some(consumer) = whom {
            consumer.ready();
        }
        if is_last && queue.settings.auto_delete { Cancelled::Last } else { Cancelled::Left }
    }

    /// What is in the queue, without what expired or is too much.
    pub fn queue_counts(&self, queue: &Arc<DeclaredQueue>, now_ms: u64) -> QueueCounts {
        let mut inner = queue.inner.lock();
        inner.place_held(queue.keeping.applied());
        // As good as what can be read.
        let (dropped, _) = self.tidy_to_head(queue, &mut inner, now_ms);
        let counts = inner.counts();
        let has_settled = !inner.to_settle.is_empty();
        drop(inner);
        self.after_tidying(queue, dropped, None, has_settled);
        counts
    }

    /// Removes all ready messages; what expired or is too much by now does not count.
    ///
    /// # Errors
    /// [`ConsumeError`]; of durable messages those of pages that were on disk may be gone.
    pub fn purge(
        &self,
        who: &Principal,
        queue: &Arc<DeclaredQueue>,
        connection: ConnectionId,
        waiter: impl FnOnce() -> Waiter,
        now_ms: u64,
    ) -> Result<Purged, ConsumeError> {
        self.may_consume(who, queue, connection)?;
        let mut inner = queue.inner.lock();
        inner.place_held(queue.keeping.applied());
        let dropped = inner.tidy(queue, now_ms);
        let emptied = self.empty(queue, &mut inner);
        let has_settled = !inner.to_settle.is_empty();
        drop(inner);
        self.after_tidying(queue, dropped, None, has_settled);
        if emptied.is_err() {
            // Whoever looked meanwhile found nothing.
            queue.call();
        }
        let Emptied { count, mut positions, submitted } = emptied?;
        if positions.is_empty() {
            if submitted {
                self.tell_when_applied(waiter())?;
            }
            return Ok(Purged { count, waits: submitted });
        }
        let record = Record::SettleRanges { queue: queue.id, ranges: ranges(&mut positions) };
        if let Err(error) = self.submit(Some(waiter()), &record) {
            queue.inner.lock().unsettle(&positions);
            queue.call();
            return Err(error.into());
        }
        Ok(Purged { count, waits: true })
    }

    /// Somebody looks whether a queue was used: one that was not for as long as it was declared to wait is deleted.
    pub(in crate::broker) fn look_for_use(&self, id: QueueId, now_ms: u64) {
        let Some(queue) = self.declared.by_id(id) else { return };
        let Some(expires_ms) = queue.settings.arguments.expires_ms else { return };
        let due_ms = {
            let mut inner = queue.inner.lock();
            if !inner.consumers.is_empty() {
                inner.used_ms = now_ms;
            }
            inner.used_ms.saturating_add(expires_ms)
        };
        if queue.is_gone() {
            return;
        }
        if due_ms > now_ms {
            queue.keeping.look_at(due_ms, id);
        } else if !self.auto_delete_queue(&queue) && !queue.is_gone() {
            // Somebody came meanwhile, or the journal takes nothing at the moment.
            queue.keeping.look_at(now_ms.saturating_add(RETRY_MS), id);
        }
    }
}
