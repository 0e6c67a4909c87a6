//! One publish on its way to everyone who does not wait for the journal, and what became of each. Part of `broker`.

use std::sync::Arc;

use super::apply::AppliedLimits;
use super::consumer::Encodings;
use super::message::Message;
use super::queues::entry::Stored;
use super::queues::meter::Meter;

/// Bounds of what one session holds in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// Messages in a queue.
    pub messages_max: u64,
    /// Bytes in a queue.
    pub bytes_max: u64,
    /// Beyond these the oldest message goes that was not sent, instead of the newest.
    pub drops_oldest: bool,
    /// QoS 0 messages behind a queue.
    pub volatile_max: usize,
    /// Their bytes.
    pub volatile_bytes_max: usize,
}

/// Beyond the limit of a durable queue that drops the oldest, messages that may wait until these are gone.
const TRIMMED_LATER: u64 = 1024;

impl QueueLimits {
    /// Whether a queue of `messages` and `bytes` takes no more.
    #[must_use]
    pub fn is_full(&self, messages: u64, bytes: u64) -> bool {
        messages >= self.messages_max || bytes >= self.bytes_max
    }

    /// Whether a queue of `messages` and `bytes` holds more than it may.
    #[must_use]
    pub fn is_over(&self, messages: u64, bytes: u64) -> bool {
        messages > self.messages_max || bytes > self.bytes_max
    }

    /// Where apply drops the newest of a durable queue. A queue that drops the oldest does so by records of its own, which
    /// need time: until then it holds more.
    #[must_use]
    pub fn applied(&self) -> AppliedLimits {
        if !self.drops_oldest {
            return AppliedLimits { messages_max: self.messages_max, bytes_max: self.bytes_max };
        }
        AppliedLimits {
            messages_max: self.messages_max.saturating_mul(2).saturating_add(TRIMMED_LATER),
            bytes_max: self.bytes_max.saturating_mul(2),
        }
    }
}

/// What became of one destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// In the connection's buffer.
    Delivered,
    /// Behind other messages.
    Queued,
    /// Behind other messages, of which so many, the oldest, went to make room.
    Displaced(u64),
    /// Not delivered, for this reason.
    Dropped(Drop),
}

/// Why a message did not reach a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drop {
    /// QoS 0 and no connection.
    Offline,
    /// The queue is at its limit.
    QueueFull,
    /// QoS 0 and the connection's buffer is at its limit.
    SlowConsumer,
    /// Larger than the subscriber accepts.
    TooLarge,
    /// Its time was over.
    Expired,
    /// Its address has no counterpart in the world of the destination.
    Unmapped,
    /// The queue is at its limit and refuses: the publisher must be told.
    Rejected,
    /// No memory or disk is left for transient messages.
    NoRoom,
    /// The queue is at its limit, which this message alone exceeds.
    Overflow,
    /// The queue was deleted.
    Gone,
    /// Its body on disk is damaged.
    Corrupt,
}

/// One publish on its way to sessions.
pub struct Fanout<'a> {
    /// The message.
    pub message: Message<'a>,
    /// Now, ms since the epoch.
    pub now_ms: u64,
    /// The publisher's highest submitted LSN that is not applied, else 0: what is not durable goes behind it.
    pub behind: u64,
    /// Bounds.
    pub limits: QueueLimits,
    /// Memory for what sessions hold that no record keeps.
    pub memory: &'a Arc<Meter>,
    /// Encodings shared by destinations.
    pub encodings: &'a mut Encodings,
    /// The encoded body, made when the first destination must queue it.
    pub stored: Option<Arc<Stored>>,
}

impl Fanout<'_> {
    /// The encoded body, shared by everyone who queues it.
    pub fn store(&mut self) -> Arc<Stored> {
        let message = &self.message;
        Arc::clone(self.stored.get_or_insert_with(|| {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            Stored::new(bytes.into())
        }))
    }

    /// The same for a session that holds it in memory; `None` when there is no room.
    pub fn store_in_memory(&mut self) -> Option<Arc<Stored>> {
        let stored = self.store();
        stored.charge(self.memory).then_some(stored)
    }
}
