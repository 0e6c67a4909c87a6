//! What becomes of messages that are out. Part of `broker::declared`.

use std::sync::Arc;

use super::super::Broker;
use super::place::Place;
use super::queue::DeclaredQueue;

impl Broker {
    /// The messages at `places` are done with: acknowledged, or rejected for good. Transient ones are gone at
    /// once; the durable ones of a read batch are gathered for one record, see [`Self::submit_settled_places`].
    pub fn settle_places(&self, _queue: &Arc<DeclaredQueue>, _places: &[Place]) {}

    /// Submits what was gathered in `queue`; nobody waits for it.
    pub fn submit_settled_places(&self, _queue: &Arc<DeclaredQueue>) {}

    /// Puts messages back to where they were; they count as redelivered. The caller dispatches afterwards, or
    /// leaves: somebody else is called then.
    pub fn return_places(&self, _queue: &Arc<DeclaredQueue>, _places: &[Place]) {}
}
