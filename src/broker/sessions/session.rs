//! A session: durable state, queue, sending window, link to its connection. Part of `broker::sessions`.
//!
//! Everything sits under one leaf lock. What only [`super::super::apply`] changes is [`Durable`] and, for a
//! durable session, the queue's positions; what a connection changes is the rest. A session is durable or
//! not for its whole life: one whose expiry is 0 ends with its connection and never touches the journal.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::model::ids::{Lsn, QueueId};

use super::super::consumer::Consumer;
use super::super::queues::entry::Stored;
use super::super::queues::meter::Meter;
use super::super::queues::queue::Queue;
use super::super::shares::holding::Holding;
use super::subscription::Subscription;

/// Expiry interval of a session that never expires (MQTT5-3.1.2.11.2).
pub const NEVER_EXPIRES_S: u32 = u32::MAX;

/// What a session is found by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey {
    /// vhost / mount point.
    pub vhost: Arc<str>,
    /// Client identifier.
    pub client_id: Arc<str>,
}

/// A session.
pub struct Session {
    /// Its queue's id, never reused.
    pub id: QueueId,
    /// What it is found by.
    pub key: SessionKey,
    /// Whether its state goes through the journal.
    pub durable: bool,
    /// All that changes.
    pub inner: Mutex<Inner>,
}

/// State that only applied records change.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Durable {
    /// An open record was applied and no end record since.
    pub exists: bool,
    /// Counts the connections that opened it.
    pub epoch: u64,
    /// A connection holds it.
    pub connected: bool,
    /// Session expiry interval, seconds.
    pub expiry_s: u32,
    /// When its last connection left, ms since the epoch.
    pub closed_ms: u64,
    /// How many messages its last connection took at a time.
    pub receive_max: u16,
    /// Positions below this were sent at least once before its last connection left.
    pub sent: u64,
    /// Its will.
    pub will: Option<Will>,
    /// Its subscriptions by filter.
    pub subscriptions: BTreeMap<Arc<str>, Subscription>,
    /// Inbound QoS 2 packet identifiers received and not released.
    pub inbound: BTreeSet<u16>,
    /// QoS 2 messages that it took over from share groups and has not got yet: by position here, the group's queue and
    /// the position there.
    pub taken: BTreeMap<u64, (QueueId, u64)>,
}

/// A will that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// Will Delay Interval, seconds.
    pub delay_s: u32,
    /// When it is due, once the connection is gone.
    pub due_ms: Option<u64>,
    /// The encoded message.
    pub message: Vec<u8>,
}

/// The connection that serves a session now.
#[derive(Clone)]
pub struct Link {
    /// Which opening of the session it is.
    pub epoch: u64,
    /// Where messages go.
    pub consumer: Arc<dyn Consumer>,
}

/// Tells a connection that the session it waits for is free.
pub type Successor = Box<dyn FnOnce() + Send>;

/// A QoS 0 message that waits its turn behind queued ones; memory only.
pub struct Volatile {
    /// Its publisher's newest record, which must be applied first (design, rule 8); 0 when there is none.
    pub behind: u64,
    /// While the window is open it goes after every queued message whose order is not greater.
    pub after: u64,
    /// Not even while the window is shut may it pass the queue.
    pub keeps_place: bool,
    /// Retain flag towards this destination.
    pub retain: bool,
    /// Identifiers of the matching subscriptions.
    pub subscription_ids: Vec<u32>,
    /// The encoded message.
    pub stored: Arc<Stored>,
}

/// A session's changing parts.
#[derive(Default)]
pub struct Inner {
    /// Applied state.
    pub state: Durable,
    /// Changed since the last checkpoint.
    pub dirty: bool,
    /// Numbers of the queue's pages that a checkpoint wrote.
    pub persisted: BTreeSet<u64>,
    /// What waits or is in flight.
    pub queue: Queue,
    /// The connection, from CONNACK on.
    pub link: Option<Link>,
    /// The connection that owns the session, from CONNECT on.
    pub owner_epoch: u64,
    /// Connections that wait for the one that is linked to leave.
    pub successors: Vec<Successor>,
    /// Session expiry interval that the owner asked for, seconds.
    pub expiry_s: u32,
    /// The owner's will.
    pub will: Option<Will>,
    /// Every position below was sent to this link, or is gone.
    pub cursor: u64,
    /// Every position below was sent to some link.
    pub sent: u64,
    /// Every release below was sent to this link.
    pub released_to: u64,
    /// Messages in flight at a time.
    pub window: u32,
    /// Messages in flight.
    pub in_flight: u32,
    /// A pull ran out of packet identifiers: it goes on when records move the queue's head.
    pub waits_for_head: bool,
    /// QoS 0 messages behind the queue.
    pub volatile: VecDeque<Volatile>,
    /// Their bytes.
    pub volatile_bytes: usize,
    /// The record that the first of them was last found waiting for.
    pub waited_for: u64,
    /// Somebody will take out what is too much.
    pub trim_planned: bool,
    /// The record that took something out last.
    pub trimmed: Lsn,
    /// A pull has taken messages that are not encoded yet.
    pub pulling: bool,
    /// Live subscriptions by filter; for a durable session they run ahead of `state`.
    pub subscriptions: BTreeMap<Arc<str>, Subscription>,
    /// The session is over; nothing more goes in.
    pub ended: bool,
    /// What its connection has to do with share groups.
    pub shares: Holding,
}

impl Session {
    /// An empty session: a durable one, whose index counts in `memory`, or one without.
    #[must_use]
    pub fn new(id: QueueId, key: SessionKey, memory: Option<&Arc<Meter>>) -> Arc<Self> {
        let queue = memory.map_or_else(Queue::volatile, Queue::counted);
        let durable = memory.is_some();
        Arc::new(Self { id, key, durable, inner: Mutex::new(Inner { queue, ..Inner::default() }) })
    }

    /// Whether fewer than `ahead_max` messages wait to be sent and the connection's buffer has room. If not,
    /// an acknowledgement or [`Consumer::ready`] follows when the connection has taken some.
    #[must_use]
    pub fn takes_more(&self, ahead_max: u64) -> bool {
        let inner = self.inner.lock();
        let ahead = inner.queue.tail().saturating_sub(inner.cursor) + inner.volatile.len() as u64;
        ahead < ahead_max && inner.link.as_ref().is_some_and(|link| link.consumer.has_room())
    }
}

impl Inner {
    /// Everything queued has been handed to the link.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        !self.pulling
            && self.volatile.is_empty()
            && (self.cursor >= self.queue.tail() || self.queue.live() == 0)
    }

    /// Whether it may be given another message of a share group.
    #[must_use]
    pub fn has_credit(&self) -> bool {
        // What it took over and was not sent yet will be in flight.
        let unsent = self.state.taken.range(self.cursor..).count();
        let unsent = u32::try_from(unsent).unwrap_or(u32::MAX);
        self.in_flight.saturating_add(self.shares.taking).saturating_add(unsent) < self.window
    }

    /// As many messages are in flight as the receiver takes at a time.
    #[must_use]
    pub fn is_window_shut(&self) -> bool {
        self.in_flight >= self.window
    }

    /// Begins serving a new link: what is in flight goes out again, in order.
    pub fn attach(&mut self, link: Link, window: u16) {
        self.cursor = self.queue.head();
        self.released_to = self.cursor;
        self.in_flight = 0;
        self.window = u32::from(window);
        self.pulling = false;
        self.link = Some(link);
        // Acknowledgements whose records were submitted are applied by now; any other never will be.
        self.queue.unsettle(self.sent);
    }

    /// Whether `epoch` is the connection that owns the session.
    #[must_use]
    pub fn is_owned_by(&self, epoch: u64) -> bool {
        self.owner_epoch == epoch && !self.ended
    }

    /// Whether `epoch`'s connection is linked.
    #[must_use]
    pub fn is_served_by(&self, epoch: u64) -> bool {
        self.link.as_ref().is_some_and(|link| link.epoch == epoch)
    }

    /// Takes the link off if it is `epoch`'s.
    pub fn detach(&mut self, epoch: u64) -> Option<Link> {
        if self.is_served_by(epoch) {
            self.volatile.clear();
            self.volatile_bytes = 0;
            return self.link.take();
        }
        None
    }
}
