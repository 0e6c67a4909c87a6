//! What connections ask of declared queues. Part of `broker::declared`.

use std::sync::Arc;

use crate::auth::principal::Principal;
use crate::model::ids::{ConnectionId, ConsumerId};
use crate::store::journal::SubmitError;

use super::super::Broker;
use super::super::consumer::Waiter;
use super::consumers::Registration;
use super::queue::{DeclaredQueue, QueueCounts};

/// Why messages of a queue are not to be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConsumeError {
    /// The access rules say no.
    #[error("not authorised")]
    NotAuthorized,
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
        ConnectionId(0)
    }

    /// A number for a consumer.
    pub fn next_consumer_id(&self) -> ConsumerId {
        ConsumerId(0)
    }

    /// Registers a consumer; the caller dispatches once its answer is on the way.
    ///
    /// # Errors
    /// [`ConsumeError`].
    pub fn consume(
        &self,
        _who: &Principal,
        _queue: &Arc<DeclaredQueue>,
        _registration: Registration,
        _now_ms: u64,
    ) -> Result<(), ConsumeError> {
        Ok(())
    }

    /// Takes a consumer off. What is out with it stays with its channel.
    pub fn cancel(&self, _queue: &Arc<DeclaredQueue>, _id: ConsumerId, _now_ms: u64) -> Cancelled {
        Cancelled::Unknown
    }

    /// What is in the queue, without what expired.
    pub fn queue_counts(&self, queue: &Arc<DeclaredQueue>, _now_ms: u64) -> QueueCounts {
        queue.counts()
    }

    /// Removes all ready messages.
    ///
    /// # Errors
    /// [`ConsumeError`]; nothing was removed.
    pub fn purge(
        &self,
        _who: &Principal,
        _queue: &Arc<DeclaredQueue>,
        _connection: ConnectionId,
        _waiter: impl FnOnce() -> Waiter,
        _now_ms: u64,
    ) -> Result<Purged, ConsumeError> {
        Ok(Purged { count: 0, waits: false })
    }
}
