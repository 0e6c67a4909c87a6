//! Synchronous delivery of what is not journaled. Part of `broker::declared`.

use std::sync::Arc;

use super::super::fanout::{Fanout, Fate};
use super::super::via::Via;
use super::queue::DeclaredQueue;

impl DeclaredQueue {
    /// Hands a message to a consumer, or keeps it: one that is not journaled for this queue, because it is
    /// transient or the queue is not durable. Takes leaf locks only and reads no disk.
    ///
    /// [`super::super::fanout::Drop::Rejected`] tells that the publisher must be told (`reject-publish`).
    pub fn deliver(self: &Arc<Self>, _via: Option<&Arc<Via>>, _fanout: &mut Fanout<'_>) -> Fate {
        Fate::Queued
    }
}
