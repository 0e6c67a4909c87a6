//! Decides where a message goes: topic filters of sessions and of routes, in one tree a vhost.
//!
//! - [`tree`] the filters of one vhost
//! - [`generations`] which cached answers still hold
//!
//! The answer names destinations with their options, share groups, routes, or is unroutable. Part of `broker`.

pub mod generations;
#[cfg(test)]
mod tests;
pub mod tree;

use std::sync::Arc;

use ahash::AHashMap;
use parking_lot::RwLock;

use crate::model::ids::{Lsn, QueueId};
use crate::model::qos::QoS;
use crate::model::topic::TopicFilter;

use self::generations::{Generations, Stamp};
use self::tree::{Matches, Tree};
use super::declared::queue::DeclaredQueue;
use super::sessions::session::Session;
use super::sessions::subscription::Subscription;
use super::via::Via;

/// A bridge route as the router sees it: one more subscriber. It goes into logs, message by message, or into an
/// exchange, address by address.
pub trait Route: Send + Sync {
    /// Its name, unique, from the configuration.
    fn name(&self) -> &str;
    /// Whether it goes into logs.
    fn is_to_log(&self) -> bool {
        true
    }
    /// The exchange and routing key that messages of a topic and publisher go to; `input` has neither payload nor
    /// properties.
    ///
    /// # Errors
    /// A sentence when the topic cannot be a key; every message is then counted, never silent.
    fn exchange(&self, input: &RouteInput<'_>) -> Result<(String, String), String> {
        Err(format!("route {} does not carry {} to an exchange", self.name(), input.topic))
    }
    /// Counts a message that went, or could not go, into an exchange.
    fn count(&self, _carried: bool) {}
    /// Whether a message that a route brought out of a log would go back into that log, or into one that it came out of
    /// before: it is counted and left alone.
    fn comes_back(&self, _message: &RouteInput<'_>) -> bool {
        false
    }
    /// The log, key and partition that a message goes to.
    ///
    /// # Errors
    /// A sentence when the message lacks what a template names; it is counted, never silent.
    fn target(&self, message: &RouteInput<'_>) -> Result<RouteTarget, String>;
}

/// What a route's templates may use.
#[derive(Clone, Copy, Debug)]
pub struct RouteInput<'a> {
    /// Topic name.
    pub topic: &'a str,
    /// Application data.
    pub payload: &'a [u8],
    /// Property block.
    pub properties: &'a [u8],
    /// Publisher's client identifier.
    pub client_id: &'a str,
    /// Publisher's user name.
    pub username: &'a str,
}

/// Where a route sends a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteTarget {
    /// Name of the log.
    pub log: String,
    /// Partitions it is created with when it is unknown; `None` leaves the broker's default.
    pub partitions: Option<u32>,
    /// Record key.
    pub key: Option<Vec<u8>>,
    /// The partition for a log of `n` partitions.
    pub partition: PartitionChoice,
}

/// How a route chooses the partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionChoice {
    /// This one.
    Explicit(u32),
    /// By this hash of the key.
    Hash(u32),
    /// No key: stay on one for a while, then the next.
    Sticky,
}

/// One session a message goes to, with the options of all its matching subscriptions merged.
#[derive(Clone)]
pub struct Destination {
    /// The session.
    pub session: Arc<Session>,
    /// Highest promise among the matching subscriptions [MQTT-3.3.5-1].
    pub qos: QoS,
    /// Whether the publisher's retain flag is kept.
    pub retain_as_published: bool,
    /// Identifiers of the matching subscriptions.
    pub subscription_ids: Vec<u32>,
    /// The latest subscription's place against retained messages.
    pub since: Lsn,
    /// The topic it is delivered under, where that is not the message's own.
    pub via: Option<Arc<Via>>,
}

/// The router's answer for one topic and publisher.
#[derive(Default)]
pub struct Answer {
    /// Sessions.
    pub destinations: Vec<Destination>,
    /// Queues of share groups: one member of each gets the message (MQTT5-4.8.2).
    pub shares: Vec<Arc<DeclaredQueue>>,
    /// Bridge routes.
    pub routes: Vec<Arc<dyn Route>>,
}

impl Answer {
    /// Whether nobody wants the message.
    #[must_use]
    pub fn is_unroutable(&self) -> bool {
        self.destinations.is_empty() && self.shares.is_empty() && self.routes.is_empty()
    }
}

/// Filters of one vhost.
pub struct VhostRouter {
    tree: RwLock<Tree>,
    generations: Generations,
}

impl VhostRouter {
    fn new() -> Self {
        Self { tree: RwLock::new(Tree::default()), generations: Generations::default() }
    }

    /// The stamp to keep with a cached answer for `topic`; read it before [`Self::resolve`].
    #[must_use]
    pub fn stamp(&self, topic: &str) -> Stamp {
        self.generations.stamp(topic)
    }

    /// Whether an answer cached under `stamp` still holds.
    #[must_use]
    pub fn is_current(&self, stamp: Stamp) -> bool {
        self.generations.is_current(stamp)
    }

    /// Makes every cached answer stale (access rules changed).
    pub fn invalidate(&self) {
        self.generations.bump_all();
    }

    /// Where a message of `publisher` to `topic` goes.
    #[must_use]
    pub fn resolve(&self, topic: &str, publisher: QueueId) -> Answer {
        let tree = self.tree.read();
        let mut matches = Matches::default();
        tree.collect(topic, &mut matches);
        matches.into_answer(publisher)
    }

    /// Adds or replaces a session's subscription. It is seen by every publish that takes its LSN after this
    /// returns.
    pub fn subscribe(
        &self,
        filter: &TopicFilter,
        session: &Arc<Session>,
        subscription: &Subscription,
    ) {
        self.tree.write().subscribe(filter, session, subscription);
        self.generations.bump(filter.filter());
    }

    /// Notes up to which LSN retained values come by replay.
    pub fn set_since(&self, filter: &TopicFilter, session: QueueId, since: Lsn) {
        self.tree.write().set_since(filter, session, since);
        self.generations.bump(filter.filter());
    }

    /// Takes a session's subscription out; false when there was none.
    pub fn unsubscribe(&self, filter: &TopicFilter, session: QueueId) -> bool {
        let removed = self.tree.write().unsubscribe(filter, session);
        self.generations.bump(filter.filter());
        removed
    }

    /// Has the messages for the group of a shared filter go to `queue` from now on.
    pub fn share(&self, filter: &TopicFilter, queue: &Arc<DeclaredQueue>) {
        self.tree.write().share(filter, queue);
        self.generations.bump(filter.filter());
    }

    /// Takes the group of a shared filter out; false when there was none.
    pub fn unshare(&self, filter: &TopicFilter) -> bool {
        let removed = self.tree.write().unshare(filter);
        self.generations.bump(filter.filter());
        removed
    }

    /// Adds a route; routes live as long as the process.
    pub fn add_route(&self, filter: &TopicFilter, route: Arc<dyn Route>) {
        self.tree.write().add_route(filter, route);
        self.generations.bump(filter.filter());
    }
}

/// Every vhost's filters.
#[derive(Default)]
pub struct Router {
    vhosts: RwLock<AHashMap<Arc<str>, Arc<VhostRouter>>>,
}

impl Router {
    /// The filters of `vhost`, made on first use.
    pub fn vhost(&self, vhost: &str) -> Arc<VhostRouter> {
        if let Some(known) = self.vhosts.read().get(vhost) {
            return Arc::clone(known);
        }
        let mut vhosts = self.vhosts.write();
        Arc::clone(vhosts.entry(Arc::from(vhost)).or_insert_with(|| Arc::new(VhostRouter::new())))
    }

    /// Makes every cached answer stale, in all vhosts.
    pub fn invalidate(&self) {
        for vhost in self.vhosts.read().values() {
            vhost.invalidate();
        }
    }
}
