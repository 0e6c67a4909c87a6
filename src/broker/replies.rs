//! Direct reply-to: answers that go straight to the channel that asked, through no queue. Part of `broker`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ahash::AHashMap;
use parking_lot::RwLock;

use super::message::Message;

/// The name that a requester consumes from and puts into reply-to.
pub const REPLY_TO: &str = "amq.rabbitmq.reply-to";

/// A channel that waits for answers.
pub trait ReplyConsumer: Send + Sync {
    /// Encodes an answer into the connection's buffer; false when the connection is going away or its buffer is
    /// full.
    fn reply(&self, message: &Message<'_>, now_ms: u64) -> bool;
}

/// Channels that wait for answers, by the name that answers are sent to.
#[derive(Default)]
pub struct Replies {
    waiting: RwLock<AHashMap<Box<str>, Arc<dyn ReplyConsumer>>>,
    next: AtomicU64,
}

impl Replies {
    /// Registers a channel; returns the routing key, in the default exchange, that answers are sent to. `secret`
    /// keeps it from being guessed.
    pub fn register(&self, consumer: Arc<dyn ReplyConsumer>, secret: u64) -> Box<str> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let name: Box<str> = format!("{REPLY_TO}.{number:x}.{secret:016x}").into();
        self.waiting.write().insert(name.clone(), consumer);
        name
    }

    /// The channel is gone, or consumes no more.
    pub fn forget(&self, name: &str) {
        self.waiting.write().remove(name);
    }

    /// Whoever waits for answers under `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<dyn ReplyConsumer>> {
        self.waiting.read().get(name).cloned()
    }

    /// Whether `key` is a name of this kind.
    #[must_use]
    pub fn is_reply_key(key: &str) -> bool {
        key.strip_prefix(REPLY_TO).is_some_and(|rest| rest.starts_with('.'))
    }
}
