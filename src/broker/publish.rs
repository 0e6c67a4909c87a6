//! Publishing: authorise, route, submit what is durable, deliver the rest at once. Part of `broker`.

use std::sync::{Arc, OnceLock};

use ahash::AHashMap;

use crate::auth::acl::Action;
use crate::auth::principal::Principal;
use crate::metrics::{DropReason, LocalCounters};
use crate::model::ids::{Lsn, QueueId};
use crate::model::message::Publication;
use crate::model::qos::QoS;
use crate::store::journal::SubmitError;

use super::consumer::{Encodings, Waiter};
use super::fanout::{Drop, Fanout, Fate};
use super::message::{Message, Publisher as Author};
use super::queues::entry::Stored;
use super::record::{Condition, Record, RoutedAppend, SetMember};
use super::retained::slot::Slot;
use super::routed::Append;
use super::router::generations::Stamp;
use super::router::{Answer, Destination, VhostRouter};
use super::sets::SetHandle;
use super::{Broker, BrokerError};

/// Topics whose route a publisher remembers.
const CACHED_ROUTES_MAX: usize = 512;

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
    last: Option<Arc<CachedRoute>>,
    routes: AHashMap<Arc<str>, Arc<CachedRoute>>,
    encodings: Encodings,
    last_lsn: Lsn,
}

/// The router's answer for a topic, with the verdict of the access rules.
struct CachedRoute {
    topic: Arc<str>,
    stamp: Stamp,
    allowed: bool,
    answer: Answer,
    /// Some destination is a durable session that was granted QoS 1 or 2.
    durable: bool,
    set: OnceLock<Arc<SetHandle>>,
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
    Waiting,
}

fn is_durable(destination: &Destination) -> bool {
    destination.session.durable && destination.qos > QoS::AtMostOnce
}

fn member(destination: &Destination) -> SetMember {
    SetMember {
        queue: destination.session.id,
        qos: destination.qos,
        retain_as_published: destination.retain_as_published,
        subscription_ids: destination.subscription_ids.clone(),
        via: None,
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
            principal,
            client_id,
            session,
            counters,
            last: None,
            routes: AHashMap::new(),
            encodings: Encodings::default(),
            last_lsn: Lsn(0),
        }
    }

    fn route(&mut self, broker: &Broker, topic: &str) -> Arc<CachedRoute> {
        if let Some(route) = &self.last
            && *route.topic == *topic
            && self.router.is_current(route.stamp)
        {
            return Arc::clone(route);
        }
        let known = self.routes.get(topic).filter(|route| self.router.is_current(route.stamp));
        let route = match known {
            Some(route) => Arc::clone(route),
            None => {
                let route = Arc::new(self.resolve(broker, topic));
                if self.routes.len() >= CACHED_ROUTES_MAX {
                    self.routes.clear();
                }
                self.routes.insert(Arc::clone(&route.topic), Arc::clone(&route));
                route
            }
        };
        self.last = Some(Arc::clone(&route));
        route
    }

    fn resolve(&self, broker: &Broker, topic: &str) -> CachedRoute {
        let stamp = self.router.stamp(topic);
        let vhost = &self.principal.vhost;
        let acl = broker.acl.load();
        let levels_max = broker.limits.load().topic_levels_max;
        let allowed = topic.split('/').count() <= levels_max
            && acl.allows(&self.principal, &self.client_id, Action::Publish, vhost, topic).allowed;
        let answer = self.router.resolve(topic, self.session);
        let durable = answer.destinations.iter().any(is_durable);
        CachedRoute { topic: topic.into(), stamp, allowed, answer, durable, set: OnceLock::new() }
    }

    fn count(&mut self, fate: Fate, qos: QoS) {
        match fate {
            Fate::Delivered => self.counters.delivered[qos as usize] += 1,
            Fate::Queued => {}
            Fate::Dropped(why) => self.counters.drop_messages(drop_reason(why), 1),
        }
    }
}

/// The label of a drop.
#[must_use]
pub fn drop_reason(why: Drop) -> DropReason {
    match why {
        Drop::Offline => DropReason::Qos0Offline,
        Drop::QueueFull => DropReason::QueueFull,
        Drop::SlowConsumer => DropReason::OutboundFull,
        Drop::TooLarge => DropReason::PacketTooLarge,
        Drop::Expired => DropReason::Expired,
        Drop::Rejected => DropReason::QueueFull,
        Drop::Overflow => DropReason::Overflow,
        Drop::Gone => DropReason::NoSubscriber,
        Drop::NoRoom => DropReason::NoRoom,
    }
}

impl CachedRoute {
    /// The set of durable destinations that a message of `qos` has, if it has any.
    fn set_for(&self, broker: &Broker, qos: QoS) -> Result<Option<Arc<SetHandle>>, SubmitError> {
        let wanted = self.durable && qos > QoS::AtMostOnce;
        if wanted { self.set(broker).map(Some) } else { Ok(None) }
    }

    fn set(&self, broker: &Broker) -> Result<Arc<SetHandle>, SubmitError> {
        if let Some(set) = self.set.get() {
            return Ok(Arc::clone(set));
        }
        let members =
            self.answer.destinations.iter().filter(|to| is_durable(to)).map(member).collect();
        let set = broker.intern(members)?;
        Ok(Arc::clone(self.set.get_or_init(|| set)))
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
        condition: Condition,
        waiter: impl FnOnce() -> Option<Waiter>,
        now_ms: u64,
    ) -> Result<Published, BrokerError> {
        let route = publisher.route(self, publication.topic);
        if !route.allowed {
            publisher.counters.drop_messages(DropReason::Acl, 1);
            return Err(BrokerError::NotAuthorized);
        }
        // The author borrows what outlives this call, not the publisher's changing parts.
        let (principal, client_id) =
            (publisher.principal.clone(), Arc::clone(&publisher.client_id));
        let username = if principal.anonymous { "" } else { &*principal.name };
        let author = Author { client_id: &client_id, username };
        let message = Message::accepted(publication, author, now_ms);
        self.publish_message(publisher, &route, message, condition, waiter, now_ms)
    }

    fn publish_message(
        &self,
        publisher: &mut Publisher,
        route: &Arc<CachedRoute>,
        message: Message<'_>,
        condition: Condition,
        waiter: impl FnOnce() -> Option<Waiter>,
        now_ms: u64,
    ) -> Result<Published, BrokerError> {
        if message.retain {
            let vhost = Arc::clone(&publisher.principal.vhost);
            let slot = self.retained.slot(&vhost, message.topic);
            let published =
                self.publish_retained(&slot, publisher, route, message, condition, waiter, now_ms);
            drop(slot);
            if published.is_err() {
                // A topic that was refused takes no memory.
                self.retained.release(&vhost, message.topic);
            }
            return published;
        }
        let answer = &route.answer;
        let set = route.set_for(self, message.qos)?;
        let mut published = Published::Done { matched: !answer.is_unroutable() };
        let behind = self.unapplied(publisher);
        if set.is_some() || condition != Condition::None || !answer.routes.is_empty() {
            let appends = self.routed_appends(publisher, &answer.routes, &message);
            if set.is_some() || condition != Condition::None || !appends.is_empty() {
                let record = Record::Publish {
                    vhost: &publisher.principal.vhost,
                    condition,
                    set: set.as_ref().map(|set| set.id),
                    members: Vec::new(),
                    retained: false,
                    appends: borrow(&appends),
                    message: &[],
                };
                let lsn = self.journal.submit_with(waiter(), &mut |_, out| {
                    record.encode(out);
                    message.encode(out);
                })?;
                publisher.last_lsn = lsn;
                published = Published::Waiting;
            }
        }
        self.deliver_direct(publisher, answer, message, None, behind, now_ms);
        Ok(published)
    }

    /// The publisher's newest record while it is not applied.
    fn unapplied(&self, publisher: &Publisher) -> Option<Lsn> {
        Some(publisher.last_lsn).filter(|last| *last > self.applied_lsn())
    }

    /// Delivers to everyone who does not wait for the journal, in durable sessions behind the record `behind`.
    /// A retained message's `lsn` decides who gets it by replay instead.
    fn deliver_direct(
        &self,
        publisher: &mut Publisher,
        answer: &Answer,
        message: Message<'_>,
        lsn: Option<Lsn>,
        behind: Option<Lsn>,
        now_ms: u64,
    ) {
        if answer.destinations.is_empty() {
            if answer.is_unroutable() {
                publisher.counters.drop_messages(DropReason::NoSubscriber, 1);
            }
            return;
        }
        let mut encodings = std::mem::take(&mut publisher.encodings);
        encodings.reset(answer.destinations.len() > 1);
        let limits = self.limits.load().queue;
        let mut fanout = Fanout {
            message,
            now_ms,
            behind: behind.unwrap_or_default().0,
            limits,
            encodings: &mut encodings,
            stored: None,
        };
        for to in &answer.destinations {
            let by_record = message.qos > QoS::AtMostOnce && is_durable(to);
            let by_replay = lsn.is_some_and(|lsn| to.since >= lsn);
            if by_record || by_replay {
                continue;
            }
            let fate = to.session.deliver(to, &mut fanout);
            publisher.count(fate, message.qos.min(to.qos));
        }
        publisher.encodings = encodings;
    }

    /// A retained publish: the topic's slot is held from taking the LSN to the last direct delivery, and the
    /// route that counts is the one read after the LSN was taken (design, "Retained").
    fn publish_retained(
        &self,
        slot: &Slot,
        publisher: &mut Publisher,
        route: &Arc<CachedRoute>,
        message: Message<'_>,
        condition: Condition,
        waiter: impl FnOnce() -> Option<Waiter>,
        now_ms: u64,
    ) -> Result<Published, BrokerError> {
        let vhost = Arc::clone(&publisher.principal.vhost);
        let mut contents = slot.hold();
        let keeps = !message.payload.is_empty();
        if keeps && !contents.is_taken() && self.retained.len() >= self.limits.load().retained_max {
            publisher.counters.drop_messages(DropReason::RetainedFull, 1);
            return Err(BrokerError::Limit("retained messages"));
        }
        let stored = keeps.then(|| {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            Stored::new(bytes.into())
        });
        let appends = self.routed_appends(publisher, &route.answer.routes, &message);
        let set = route.set_for(self, message.qos)?;
        let mut current = Arc::clone(route);
        let mut taken = Lsn(0);
        let submitted = self.journal.submit_with(waiter(), &mut |lsn, out| {
            taken = lsn;
            contents.put(lsn, stored.clone());
            if !publisher.router.is_current(route.stamp) {
                current = Arc::new(publisher.resolve(self, message.topic));
            }
            let by_record = |to: &&Destination| is_durable(to) && to.since < lsn;
            let same = Arc::ptr_eq(&current, route)
                && route.answer.destinations.iter().all(|to| to.since < lsn);
            let members = if same || message.qos == QoS::AtMostOnce {
                Vec::new()
            } else {
                current.answer.destinations.iter().filter(by_record).map(member).collect()
            };
            let record = Record::Publish {
                vhost: &vhost,
                condition,
                set: set.as_ref().filter(|_| same).map(|set| set.id),
                members,
                retained: true,
                appends: borrow(&appends),
                message: &[],
            };
            record.encode(out);
            message.encode(out);
        });
        match submitted {
            Ok(lsn) => {
                publisher.last_lsn = lsn;
                // Behind its own record too: an older value may be on its way to a subscriber by replay.
                let behind = self.unapplied(publisher);
                self.deliver_direct(publisher, &current.answer, message, Some(lsn), behind, now_ms);
                Ok(Published::Waiting)
            }
            Err(error) => {
                contents.take_back(taken);
                Err(error.into())
            }
        }
    }

    /// Publishes an encoded message that the broker kept for somebody (a will). The author's rights were
    /// checked when it was left.
    pub(crate) fn publish_kept(
        &self,
        publisher: &mut Publisher,
        encoded: &[u8],
        condition: Condition,
        now_ms: u64,
    ) -> Result<Published, BrokerError> {
        let Ok(mut message) = Message::decode(encoded) else {
            return Ok(Published::Done { matched: false });
        };
        // Its life begins when it is published [MQTT5-3.1.3.2.4].
        message.expires_ms =
            message.expires_ms.map(|at| now_ms.saturating_add(at.saturating_sub(message.time_ms)));
        message.time_ms = now_ms;
        let route = publisher.route(self, message.topic);
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
        })
        .collect()
}
