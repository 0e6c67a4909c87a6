//! What a publisher remembers of an address: everyone a message to it reaches, and the verdict of the access rules.
//! Part of `broker::publish`.

use std::sync::{Arc, OnceLock};

use ahash::AHashMap;

use crate::model::qos::QoS;
use crate::store::journal::SubmitError;

use super::super::Broker;
use super::super::exchanges::vhost::VhostExchanges;
use super::super::record::SetMember;
use super::super::router::{Destination, VhostRouter};
use super::super::sets::SetHandle;
use super::resolve::{QueueTarget, Reach};

/// Addresses whose route a publisher remembers.
const CACHED_ROUTES_MAX: usize = 512;

/// A resolved address.
pub(super) struct CachedRoute {
    /// Topic name; with an exchange, routing key.
    pub(super) address: Arc<str>,
    /// The exchange, for a message published to one.
    pub(super) exchange: Option<Arc<str>>,
    /// State of the exchanges.
    pub(super) generation: u64,
    pub(super) allowed: bool,
    pub(super) reach: Reach,
    /// Some destination keeps messages of QoS 1 and 2 durably.
    pub(super) durable: bool,
    /// Good for one message: its durable destinations are named one by one, for a set would be defined and retired
    /// with each message.
    once: bool,
    set: OnceLock<Arc<SetHandle>>,
}

/// The durable destinations of a message, as its record names them.
#[derive(Default)]
pub(super) struct Recorded {
    /// As a set, which stays defined until this is dropped.
    pub(super) set: Option<Arc<SetHandle>>,
    /// Or one by one.
    pub(super) members: Vec<SetMember>,
}

impl Recorded {
    pub(super) fn is_empty(&self) -> bool {
        self.set.is_none() && self.members.is_empty()
    }
}

/// Whether messages of QoS 1 and 2 reach it by record.
pub(super) fn is_durable(destination: &Destination) -> bool {
    destination.session.durable && destination.qos > QoS::AtMostOnce
}

pub(super) fn member(destination: &Destination) -> SetMember {
    SetMember {
        queue: destination.session.id,
        qos: destination.qos,
        retain_as_published: destination.retain_as_published,
        subscription_ids: destination.subscription_ids.clone(),
        via: destination.via.clone(),
    }
}

pub(super) fn queue_member(target: &QueueTarget) -> SetMember {
    SetMember {
        queue: target.queue.id,
        qos: QoS::AtLeastOnce,
        retain_as_published: false,
        subscription_ids: Vec::new(),
        via: target.via.clone(),
    }
}

impl CachedRoute {
    /// An answer; `generation` was read before it was looked for.
    pub(super) fn new(
        exchange: Option<&str>,
        address: &str,
        generation: u64,
        allowed: bool,
        reach: Reach,
    ) -> Self {
        let durable = reach.sessions.iter().any(is_durable)
            || reach.queues.iter().any(|target| target.queue.durable);
        Self {
            address: address.into(),
            exchange: exchange.map(Arc::from),
            generation,
            allowed,
            reach,
            durable,
            once: false,
            set: OnceLock::new(),
        }
    }

    /// The same for one message only.
    pub(super) fn once(self) -> Self {
        Self { once: true, ..self }
    }

    /// Whether it is good for other messages to the same address: of those with headers nobody knows, and a queue
    /// that only its name leads to comes without a new generation.
    pub(super) fn may_be_kept(&self) -> bool {
        !self.reach.by_headers && !self.reach.by_name
    }

    fn is_for(&self, exchange: Option<&str>, address: &str) -> bool {
        *self.address == *address && self.exchange.as_deref() == exchange
    }

    pub(super) fn is_current(&self, router: &VhostRouter, exchanges: &VhostExchanges) -> bool {
        self.generation == exchanges.generation()
            && self.reach.stamps.iter().all(|stamp| router.is_current(*stamp))
            // A queue that only its name leads to comes and goes without a new generation.
            && !self.reach.queues.iter().any(|target| target.queue.is_gone())
    }

    /// The durable destinations that a message of `qos` has.
    pub(super) fn recorded(&self, broker: &Broker, qos: QoS) -> Result<Recorded, SubmitError> {
        if !self.durable || qos == QoS::AtMostOnce {
            return Ok(Recorded::default());
        }
        if self.once {
            return Ok(Recorded { set: None, members: self.members(|_| true) });
        }
        self.set(broker).map(|set| Recorded { set: Some(set), members: Vec::new() })
    }

    fn set(&self, broker: &Broker) -> Result<Arc<SetHandle>, SubmitError> {
        if let Some(set) = self.set.get() {
            return Ok(Arc::clone(set));
        }
        let set = broker.intern(self.members(|_| true))?;
        Ok(Arc::clone(self.set.get_or_init(|| set)))
    }

    /// Durable destinations; of sessions those that `wanted` chooses.
    pub(super) fn members(&self, wanted: impl Fn(&Destination) -> bool) -> Vec<SetMember> {
        let sessions = self.reach.sessions.iter().filter(|to| is_durable(to) && wanted(to));
        let queues = self.reach.queues.iter().filter(|target| target.queue.durable);
        sessions.map(member).chain(queues.map(queue_member)).collect()
    }
}

/// The addresses that a publisher used lately.
#[derive(Default)]
pub(super) struct RouteCache {
    last: Option<Arc<CachedRoute>>,
    routes: AHashMap<Box<str>, Arc<CachedRoute>>,
    /// Exchange and key in one, or a topic, to look up by.
    key: String,
}

impl RouteCache {
    /// The remembered route of an address, while it holds.
    pub(super) fn get(
        &mut self,
        exchange: Option<&str>,
        address: &str,
        router: &VhostRouter,
        exchanges: &VhostExchanges,
    ) -> Option<Arc<CachedRoute>> {
        if let Some(route) = &self.last
            && route.is_for(exchange, address)
            && route.is_current(router, exchanges)
        {
            return Some(Arc::clone(route));
        }
        let known = match exchange {
            None => self.routes.get(address),
            Some(_) => {
                self.compose(exchange, address);
                self.routes.get(&*self.key)
            }
        };
        // Two pairs of exchange and key may make the same text.
        let known = known
            .filter(|one| one.is_for(exchange, address) && one.is_current(router, exchanges))?;
        self.last = Some(Arc::clone(known));
        Some(Arc::clone(known))
    }

    /// Remembers a route.
    pub(super) fn put(&mut self, route: &Arc<CachedRoute>) {
        self.compose(route.exchange.as_deref(), &route.address);
        if self.routes.len() >= CACHED_ROUTES_MAX {
            self.routes.clear();
        }
        self.routes.insert(self.key.as_str().into(), Arc::clone(route));
        self.last = Some(Arc::clone(route));
    }

    fn compose(&mut self, exchange: Option<&str>, address: &str) {
        self.key.clear();
        if let Some(exchange) = exchange {
            self.key.push_str(exchange);
            // No topic has it: the worlds stay apart.
            self.key.push('\0');
        }
        self.key.push_str(address);
    }
}
