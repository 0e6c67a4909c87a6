//! Everyone a message goes to, in both worlds: the topic tree, exchanges, and the routes between them. Part of
//! `broker::publish`.
//!
//! The tree is tied to `amq.topic` in both directions, once a message; a route carries a message once, so that no
//! circle of routes goes round (design §4). What is found depends on the address and the publisher alone and is
//! remembered, unless a headers exchange was asked.

use std::sync::Arc;

use crate::model::field_table::FieldTable;
use crate::model::ids::QueueId;
use crate::model::routing_key::{to_key, to_topic};

use super::super::declared::queue::DeclaredQueue;
use super::super::exchanges::hits::{ExchangeRoute, Hits, RouteError};
use super::super::exchanges::vhost::{TREE, VhostExchanges};
use super::super::router::generations::Stamp;
use super::super::router::{Destination, Route, RouteInput, VhostRouter};
use super::super::via::Via;

/// A declared queue that a message goes to.
#[derive(Clone)]
pub(crate) struct QueueTarget {
    /// The queue.
    pub queue: Arc<DeclaredQueue>,
    /// The address it is delivered under, where that is not the message's own.
    pub via: Option<Arc<Via>>,
}

/// A route into logs that a message takes.
#[derive(Clone)]
pub(crate) struct LogTarget {
    /// The route.
    pub route: Arc<dyn Route>,
    /// The topic it is carried under, where that is not the message's own.
    pub via: Option<Arc<Via>>,
}

/// A route that carried a message from one world into the other.
#[derive(Clone)]
pub(crate) enum Carrier {
    /// From the tree to an exchange.
    ToExchange(Arc<dyn Route>),
    /// From an exchange to the tree.
    ToTree(Arc<dyn ExchangeRoute>),
}

/// Everyone a message goes to.
#[derive(Default)]
pub(crate) struct Reach {
    /// Sessions; those with the same address stand together.
    pub sessions: Vec<Destination>,
    /// Declared queues, each once.
    pub queues: Vec<QueueTarget>,
    /// Routes into logs.
    pub logs: Vec<LogTarget>,
    /// Some share group wants it.
    pub shared: bool,
    /// Routes between the worlds that it takes.
    pub carriers: Vec<Carrier>,
    /// Routes that could not carry it.
    pub failed: Vec<(Carrier, String)>,
    /// Ways into the other world that its address has no counterpart for.
    pub unmapped: u64,
    /// The topic that it has in the tree because it passed [`TREE`].
    pub tied_topic: Option<String>,
    /// State of the tree when it was asked.
    pub stamps: Vec<Stamp>,
    /// The answer depends on the message's headers.
    pub by_headers: bool,
}

impl Reach {
    /// Whether nobody wants the message.
    pub(crate) fn is_unroutable(&self) -> bool {
        self.sessions.is_empty() && self.queues.is_empty() && self.logs.is_empty() && !self.shared
    }
}

/// Looks for everyone, from one starting point.
pub(crate) struct Resolver<'a> {
    router: &'a VhostRouter,
    exchanges: &'a VhostExchanges,
    publisher: QueueId,
    client_id: &'a str,
    username: &'a str,
    /// Published to an exchange: then an address of the tree differs from the message's own form.
    from_exchange: bool,
    headers: Option<FieldTable<'a>>,
    tied: bool,
    reach: Reach,
}

impl<'a> Resolver<'a> {
    /// A search for the messages of one publisher.
    pub(crate) fn new(
        router: &'a VhostRouter,
        exchanges: &'a VhostExchanges,
        publisher: QueueId,
        client_id: &'a str,
        username: &'a str,
    ) -> Self {
        Self {
            router,
            exchanges,
            publisher,
            client_id,
            username,
            from_exchange: false,
            headers: None,
            tied: false,
            reach: Reach::default(),
        }
    }

    /// Everyone whom a message published to `topic` reaches.
    pub(crate) fn topic(mut self, topic: &str) -> Reach {
        self.walk_topic(topic, None);
        self.reach
    }

    /// Everyone whom a message published to `exchange` with any of `keys` reaches.
    ///
    /// # Errors
    /// There is no such exchange, or it is not for publishers.
    pub(crate) fn exchange(
        mut self,
        exchange: &str,
        keys: &[&str],
        headers: Option<FieldTable<'a>>,
    ) -> Result<Reach, RouteError> {
        self.from_exchange = true;
        self.headers = headers;
        for (turn, key) in keys.iter().enumerate() {
            let mut hits = Hits::default();
            self.exchanges.route(exchange, &[key], || self.headers, &mut hits)?;
            // Under a key of CC or BCC the tree sees another topic than the message's own key gives.
            self.take_hits(exchange, key, None, turn == 0, hits);
        }
        Ok(self.reach)
    }

    fn walk_topic(&mut self, topic: &str, via: Option<&Arc<Via>>) {
        // Read before the walk: what changes meanwhile makes the answer stale.
        self.reach.stamps.push(self.router.stamp(topic));
        let answer = self.router.resolve(topic, self.publisher);
        self.reach.shared |= !answer.groups.is_empty();
        for mut destination in answer.destinations {
            destination.via = via.cloned();
            let known = |other: &Destination| {
                other.session.id == destination.session.id && other.via == destination.via
            };
            if via.is_none() || !self.reach.sessions.iter().any(known) {
                self.reach.sessions.push(destination);
            }
        }
        for route in answer.routes {
            if route.is_to_log() {
                self.reach.logs.push(LogTarget { route, via: via.cloned() });
            } else {
                self.take_route(topic, route);
            }
        }
        self.tie_to_exchange(topic, via.is_none());
    }

    fn carries_already(&self, name: &str) -> bool {
        let mut carriers =
            self.reach.carriers.iter().chain(self.reach.failed.iter().map(|(route, _)| route));
        carriers.any(|carrier| carrier.name() == name)
    }

    /// A route from the tree to an exchange.
    fn take_route(&mut self, topic: &str, route: Arc<dyn Route>) {
        if self.carries_already(route.name()) {
            return;
        }
        let input = RouteInput {
            topic,
            payload: &[],
            properties: &[],
            client_id: self.client_id,
            username: self.username,
        };
        let carrier = Carrier::ToExchange(Arc::clone(&route));
        let (exchange, key) = match route.exchange(&input) {
            Ok(address) => address,
            Err(why) => {
                self.reach.failed.push((carrier, why));
                return;
            }
        };
        let mut hits = Hits::default();
        if self.exchanges.route(&exchange, &[&key], || self.headers, &mut hits).is_err() {
            self.reach.failed.push((carrier, format!("there is no exchange {exchange:?}")));
            return;
        }
        self.reach.carriers.push(carrier);
        let via = Via::Exchange { exchange: (&*exchange).into(), key: (&*key).into() };
        self.take_hits(&exchange, &key, Some(Arc::new(via)), false, hits);
    }

    /// Bindings of `amq.topic` see what is published in the tree.
    fn tie_to_exchange(&mut self, topic: &str, as_published: bool) {
        if self.tied || !self.exchanges.is_tree_bound() || topic.starts_with('$') {
            return;
        }
        self.tied = true;
        let Ok(key) = to_key(topic) else {
            self.reach.unmapped += 1;
            return;
        };
        let mut hits = Hits::default();
        self.exchanges.route_from_tree(&key, || self.headers, &mut hits);
        let own = !self.from_exchange && as_published;
        let via =
            (!own).then(|| Arc::new(Via::Exchange { exchange: TREE.into(), key: (&*key).into() }));
        self.take_hits(TREE, &key, via, own, hits);
    }

    /// What an exchange answered. `own`: the address is the message's own, seen from the other world.
    fn take_hits(
        &mut self,
        exchange: &str,
        key: &str,
        via: Option<Arc<Via>>,
        own: bool,
        hits: Hits,
    ) {
        self.reach.by_headers |= hits.by_headers;
        for queue in hits.queues {
            if !self.reach.queues.iter().any(|known| known.queue.id == queue.id) {
                self.reach.queues.push(QueueTarget { queue, via: via.clone() });
            }
        }
        if hits.reached_tree && !self.tied {
            self.tied = true;
            match to_topic(key) {
                Ok(topic) => {
                    let own = own && self.from_exchange;
                    self.enter_tree(&topic, !own);
                    self.reach.tied_topic = Some(topic.into());
                }
                Err(_) => self.reach.unmapped += 1,
            }
        }
        for route in hits.routes {
            if self.carries_already(route.name()) {
                continue;
            }
            let carrier = Carrier::ToTree(Arc::clone(&route));
            match route.topic(exchange, key) {
                Ok(topic) => {
                    self.reach.carriers.push(carrier);
                    self.enter_tree(&topic, true);
                }
                Err(why) => self.reach.failed.push((carrier, why)),
            }
        }
    }

    fn enter_tree(&mut self, topic: &str, needs_via: bool) {
        let via = needs_via.then(|| Arc::new(Via::Topic(topic.into())));
        self.walk_topic(topic, via.as_ref());
    }
}

impl Carrier {
    /// The route's name.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::ToExchange(route) => route.name(),
            Self::ToTree(route) => route.name(),
        }
    }

    /// Counts a message that took the route.
    pub(crate) fn count(&self, carried: bool) {
        match self {
            Self::ToExchange(route) => route.count(carried),
            Self::ToTree(route) => route.count(carried),
        }
    }
}
