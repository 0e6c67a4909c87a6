//! One declared queue. Part of `broker::declared`.

use std::sync::Arc;

use crate::model::ids::QueueId;

/// A queue that clients find by name.
pub struct DeclaredQueue {
    /// Its id, never reused.
    pub id: QueueId,
    /// vhost.
    pub vhost: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// Whether its declaration and its persistent messages go through the journal.
    pub durable: bool,
}
