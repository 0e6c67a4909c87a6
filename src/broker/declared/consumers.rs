//! Who takes turns at a queue. Part of `broker::declared`.

use std::sync::Arc;

use crate::model::ids::{ConnectionId, ConsumerId};

use super::super::consumer::QueueConsumer;

/// A consumer as it registers.
pub struct Registration {
    /// Its id.
    pub id: ConsumerId,
    /// Where messages go.
    pub consumer: Arc<dyn QueueConsumer>,
    /// Its connection, which dispatches when the consumer can take again.
    pub connection: ConnectionId,
    /// Messages are gone when they are handed out.
    pub no_ack: bool,
    /// Nobody else may consume.
    pub exclusive: bool,
    /// Higher ones go first.
    pub priority: i32,
}
