//! Publishing: authorise, route, submit what is durable, deliver the rest at once. Part of `broker`.
//!
//! - [`route`] what a publisher remembers of an address
//! - [`resolve`] everyone an address reaches, across both worlds
//! - `announce` what the broker says of itself
//! - [`crowd`] what a publisher meets when queues are nearly full
//! - `keeping` publishing what a topic keeps
//! - [`direct`] delivery to everyone who does not wait for the journal
//! - [`exchange`] publishing to an exchange
//! - [`step`] publishing what a route brings out of a log

mod announce;
pub mod crowd;
mod direct;
pub mod exchange;
mod keeping;
pub(crate) mod resolve;
mod route;
pub mod step;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::auth::acl::Action;
use crate::auth::principal::Principal;
use crate::metrics::{DropReason, LocalCounters};
use crate::model::content::Properties;
use crate::model::crossing::{TopicMetadata, topic_to_content};
use crate::model::field_table::FieldTable;
use crate::model::ids::{Lsn, QueueId};
use crate::model::message::Publication;
use crate::model::qos::QoS;
use crate::model::topic::is_system;
use crate::store::journal::SubmitError;

use super::consumer::{Encodings, Waiter};
use super::exchanges::vhost::VhostExchanges;
use super::message::{Message, Publisher as Author};
use super::record::{Condition, Record, RoutedAppend};
use super::routed::Append;
use super::router::VhostRouter;
use super::{Broker, BrokerError};

pub use self::direct::drop_reason;

use self::crowd::Crowd;
use self::resolve::Resolver;
use self::route::{CachedRoute, Recorded, RouteCache};

/// Most bytes of user properties that headers exchanges look at.
const HEADERS_BYTES_MAX: usize = 64 << 10;

/// One that publishes: a connection, or a will.
pub struct Publisher {
    /// Who asks.
    pub principal: Principal,
    /// MQTT client identifier; empty for other protocols.
    pub client_id: Arc<str>,
    /// Its session, for no-local; `registry::NOBODY` without one.
    pub session: QueueId,
    /// Counters that the owner flushes.
    pub counters: LocalCounters,
    router: Arc<VhostRouter>,
    exchanges: Arc<VhostExchanges>,
    routes: RouteCache,
    encodings: Encodings,
    last_lsn: Lsn,
    /// It is a route of the configuration: access rules are for others.
    is_route: bool,
    /// What it publishes was published before and taken back: whoever does not wait for the record has it.
    repeats: bool,
    /// It publishes what the broker kept for somebody, for which there is always room.
    is_executor: bool,
    /// Its protocol, or whoever it is, can be told that a message was refused.
    pub can_be_told: bool,
    crowd: Crowd,
}

/// What a publish came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// Nothing durable hangs on it: acknowledge at once.
    Done {
        /// Whether anybody wanted it.
        matched: bool,
    },
    /// Acknowledge when the waiter is told.
    Waiting {
        /// Whether anybody wanted it.
        matched: bool,
        /// A destination that does not wait for the record did not take it, see [`Self::Refused`].
        refused: bool,
    },
    /// A queue is full and refuses what comes (`reject-publish`), or there is no room for what is not durable: tell
    /// the publisher.
    Refused,
}

impl Published {
    /// Whether anybody wanted it.
    #[must_use]
    pub fn matched(self) -> bool {
        match self {
            Self::Done { matched } | Self::Waiting { matched, .. } => matched,
            Self::Refused => true,
        }
    }
}

impl Publisher {
    /// A publisher in `principal`'s vhost.
    #[must_use]
    pub fn new(
        broker: &Broker,
        principal: Principal,
        client_id: Arc<str>,
        session: QueueId,
        counters: LocalCounters,
    ) -> Self {
        Self {
            router: broker.router.vhost(&principal.vhost),
            exchanges: broker.exchanges.of(&principal.vhost),
            principal,
            client_id,
            session,
            counters,
            routes: RouteCache::default(),
            encodings: Encodings::default(),
            last_lsn: Lsn(0),
            is_route: false,
            repeats: false,
            is_executor: false,
            can_be_told: false,
            crowd: Crowd::default(),
        }
    }

    /// Whether it is a route of the configuration.
    pub(crate) fn is_route(&self) -> bool {
        self.is_route
    }

    fn resolver<'a>(&'a self, headers: Option<FieldTable<'a>>) -> Resolver<'a> {
        let (client_id, username) = (&self.client_id, self.principal.login());
        Resolver::new(&self.router, &self.exchanges, self.session, client_id, username, headers)
    }

    fn route(&mut self, broker: &Broker, topic: &str) -> Arc<CachedRoute> {
        if let Some(route) = self.routes.get(None, topic, &self.router, &self.exchanges) {
            return route;
        }
        let route = self.resolve(broker, topic, None);
        if route.reach.by_name {
            return Arc::new(route.once());
        }
        let route = Arc::new(route);
        self.routes.put(&route);
        route
    }

    /// The route of `message`, whose topic has `route`: headers exchanges see its user properties as headers. What is
    /// remembered is the route of messages without any.
    fn route_of(
        &self,
        broker: &Broker,
        message: &Message<'_>,
        route: Arc<CachedRoute>,
    ) -> Arc<CachedRoute> {
        if !route.reach.by_headers || message.properties.is_empty() {
            return route;
        }
        let mut content = Vec::new();
        let metadata = TopicMetadata {
            properties: message.properties,
            qos: message.qos,
            retain: message.retain,
            will: message.will,
            expires_in_ms: None,
            client_id: None,
            login: None,
        };
        topic_to_content(&metadata, HEADERS_BYTES_MAX, &mut content);
        let headers = Properties::stored(&content).headers();
        Arc::new(self.resolve(broker, message.topic, headers).once())
    }

    fn resolve(
        &self,
        broker: &Broker,
        topic: &str,
        headers: Option<FieldTable<'_>>,
    ) -> CachedRoute {
        let generation = self.exchanges.generation();
        let allowed = self.may_publish(broker, topic);
        let reach = self.resolver(headers).topic(topic);
        CachedRoute::new(None, topic, generation, allowed, reach)
    }

    /// Whether the rules let it publish in the topic tree.
    fn may_publish(&self, broker: &Broker, topic: &str) -> bool {
        let vhost = &self.principal.vhost;
        let acl = broker.acl.load();
        // Only the broker speaks under `$SYS`.
        let by_rules = || {
            !is_system(topic)
                && acl
                    .allows(&self.principal, &self.client_id, Action::Publish, vhost, topic)
                    .allowed
        };
        !broker.is_too_deep(topic) && (self.is_route || by_rules())
    }

    /// Counts what takes a route into the other world, or finds no way there.
    fn count_crossings(&mut self, route: &CachedRoute) {
        let reach = &route.reach;
        reach.carriers.iter().for_each(|carrier| carrier.count(true));
        reach.failed.iter().for_each(|(carrier, _)| carrier.count(false));
        if !reach.failed.is_empty() {
            let failed = reach.failed.len() as u64;
            self.counters.drop_messages(DropReason::RouteFailed, failed);
        }
        if reach.unmapped > 0 {
            self.counters.drop_messages(DropReason::Unmapped, reach.unmapped);
        }
    }
}

impl Broker {
    /// Publishes. `condition` holds a durable QoS 2 publisher's packet identifier; `waiter` is called when
    /// something durable hangs on the message, and told when it is.
    ///
    /// # Errors
    /// `NotAuthorized`, or the journal's refusal; the message went nowhere then.
    pub fn publish(
        &self,
        publisher: &mut Publisher,
        publication: &Publication<'_>,
        condition: Condition<'_>,
        waiter: impl FnOnce() -> Option<Waiter>,
        now_ms: u64,
    ) -> Result<Published, BrokerError> {
        let route = publisher.route(self, publication.topic);
        if !route.allowed {
            let deep = self.is_too_deep(publication.topic);
            let (reason, error) = if deep {
                (DropReason::TopicLevels, BrokerError::TooManyLevels)
            } else {
                (DropReason::Acl, BrokerError::NotAuthorized)
            };
            publisher.counters.drop_messages(reason, 1);
            return Err(error);
        }
        // The author borrows what outlives this call, not the publisher's changing parts.
        let (principal, client_id) =
            (publisher.principal.clone(), Arc::clone(&publisher.client_id));
        let author = Author { client_id: &client_id, username: principal.login() };
        let message = Message::accepted(publication, author, now_ms);
        let route = publisher.route_of(self, &message, route);
        self.publish_message(publisher, &route, message, condition, waiter, now_ms)
    }

    fn publish_message(
        &self,
        publisher: &mut Publisher,
        route: &Arc<CachedRoute>,
        message: Message<'_>,
        condition: Condition<'_>,
        waiter: impl FnOnce() -> Option<Waiter>,
        now_ms: u64,
    ) -> Result<Published, BrokerError> {
        if message.retain
            && let Some((slot, kept)) = self.keeps(publisher, &message, now_ms)?
        {
            let (vhost, topic) = (Arc::clone(&slot.vhost), message.topic);
            let place = (&*slot, kept);
            let published =
                self.publish_retained(place, publisher, route, message, condition, waiter, now_ms);
            drop(slot);
            if published.is_err() {
                // A topic that was refused takes no memory.
                self.retained.release(&vhost, topic);
            }
            return published;
        }
        let reach = &route.reach;
        let mut recorded = route.recorded(self, message.qos)?;
        if !recorded.is_empty() && !self.admits(publisher, route)? {
            recorded = Recorded::default();
        }
        let matched = !reach.is_unroutable();
        let mut published = Published::Done { matched };
        let mut overtaken = false;
        let behind = self.unapplied(publisher);
        let has_record = !recorded.is_empty() || condition != Condition::None;
        if has_record || !reach.logs.is_empty() {
            let appends = match self.routed_appends(publisher, &reach.logs, &message) {
                // Without a promise, whoever can have it gets it.
                Err(_) if !has_record && message.qos == QoS::AtMostOnce => Vec::new(),
                appends => appends?,
            };
            if has_record || !appends.is_empty() {
                let record = Record::Publish {
                    vhost: &publisher.principal.vhost,
                    condition,
                    set: recorded.set.as_ref().map(|set| set.id),
                    members: std::mem::take(&mut recorded.members),
                    retained: false,
                    appends: borrow(&appends),
                    message: &[],
                };
                let submitted = self.admitted(publisher).and_then(|()| {
                    self.journal.submit_with(waiter(), &mut |_, out| {
                        overtaken = self.is_overtaken(condition);
                        record.encode(out);
                        message.encode(out);
                    })
                });
                match submitted {
                    Ok(lsn) => {
                        publisher.last_lsn = lsn;
                        published = Published::Waiting { matched, refused: false };
                    }
                    // Only logs wait for it, and nobody was promised anything.
                    Err(SubmitError::Unavailable { .. })
                        if !has_record && message.qos == QoS::AtMostOnce =>
                    {
                        publisher.counters.drop_messages(DropReason::Journal, 1);
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        if overtaken || publisher.repeats {
            return Ok(published);
        }
        let refused = self.deliver_direct(publisher, reach, message, None, behind, now_ms);
        publisher.count_crossings(route);
        Ok(match published {
            Published::Waiting { matched, .. } => Published::Waiting { matched, refused },
            _ if refused => Published::Refused,
            other => other,
        })
    }

    fn is_too_deep(&self, topic: &str) -> bool {
        topic.split('/').count() > self.limits.load().topic_levels_max
    }

    fn admitted(&self, publisher: &Publisher) -> Result<(), SubmitError> {
        if publisher.is_executor { Ok(()) } else { self.admit() }
    }

    /// Whether something that it published is not where it belongs yet.
    #[must_use]
    pub fn is_behind(&self, publisher: &Publisher) -> bool {
        self.unapplied(publisher).is_some()
    }

    /// The publisher's newest record while it is not applied.
    fn unapplied(&self, publisher: &Publisher) -> Option<Lsn> {
        Some(publisher.last_lsn).filter(|last| *last > self.applied_lsn())
    }

    /// Publishes an encoded message that the broker kept for somebody (a will). The author's rights were
    /// checked when it was left.
    pub(crate) fn publish_kept(
        &self,
        publisher: &mut Publisher,
        encoded: &[u8],
        condition: Condition<'_>,
        now_ms: u64,
    ) -> Result<Published, BrokerError> {
        let Ok(mut message) = Message::decode(encoded) else {
            return Ok(Published::Done { matched: false });
        };
        // Its life begins when it is published [MQTT5-3.1.3.2.4].
        message.expires_ms =
            message.expires_ms.map(|at| now_ms.saturating_add(at.saturating_sub(message.time_ms)));
        message.time_ms = now_ms;
        publisher.is_executor = true;
        let route = publisher.route(self, message.topic);
        let route = publisher.route_of(self, &message, route);
        self.publish_message(publisher, &route, message, condition, || None, now_ms)
    }
}

fn borrow(appends: &[Append]) -> Vec<RoutedAppend<'_>> {
    appends
        .iter()
        .map(|append| RoutedAppend {
            log: append.log,
            partition: append.partition,
            key: append.key.as_deref(),
            via: append.via.clone(),
        })
        .collect()
}
