//! What exchanges answer for one message. Part of `broker::exchanges`.

use std::sync::Arc;

use super::super::declared::queue::DeclaredQueue;

/// A bridge route from an exchange into the topic tree: one more destination of the exchange.
pub trait ExchangeRoute: Send + Sync {
    /// Name of the route, unique, for counters and log lines.
    fn name(&self) -> &str;
    /// The topic that a message published to `exchange` under `key` goes to.
    ///
    /// # Errors
    /// A sentence when the key has no counterpart among topics; it is counted, never silent.
    fn topic(&self, exchange: &str, key: &str) -> Result<String, String>;
    /// Counts a message that went, or could not go, into the tree.
    fn count(&self, _carried: bool) {}
}

/// Where a message goes. May be filled by several calls; the answers add up.
#[derive(Clone, Default)]
pub struct Hits {
    /// Queues, each once.
    pub queues: Vec<Arc<DeclaredQueue>>,
    /// Routes into the topic tree, each once.
    pub routes: Vec<Arc<dyn ExchangeRoute>>,
    /// The message passed `amq.topic`: the topic tree sees it under the mapped routing key.
    pub reached_tree: bool,
    /// Headers had a say: the answer holds for this message only.
    pub by_headers: bool,
    /// The default exchange was asked for a queue that is not there; it may come without a new generation.
    pub by_name: bool,
}

impl Hits {
    /// Whether no queue and no route takes the message; the topic tree may.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queues.is_empty() && self.routes.is_empty()
    }

    /// Starts on another message, keeping the memory.
    pub fn clear(&mut self) {
        self.queues.clear();
        self.routes.clear();
        self.reached_tree = false;
        self.by_headers = false;
        self.by_name = false;
    }

    /// Each queue and each route once: a message that comes by two ways is delivered once.
    pub(super) fn settle(&mut self) {
        if self.queues.len() > 1 {
            self.queues.sort_unstable_by_key(|queue| queue.id);
            self.queues.dedup_by_key(|queue| queue.id);
        }
        if self.routes.len() > 1 {
            self.routes.sort_unstable_by(|one, other| one.name().cmp(other.name()));
            self.routes.dedup_by(|one, other| one.name() == other.name());
        }
    }
}

/// Why a message can go nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// There is no such exchange.
    #[error("no such exchange")]
    NoExchange,
    /// The exchange takes messages from other exchanges only.
    #[error("the exchange is internal")]
    Internal,
}
