//! Everyone a message goes to, in both worlds: the topic tree, exchanges, and the routes between them. Part of
//! `broker::publish`.
//!
//! The tree is tied to `amq.topic` in both directions: under whatever topic a message comes into the tree, bindings
//! see it under the mapped key, and the other way round. Each topic is entered once and a route carries a message
//! once, so no circle of routes goes round (design §4). What is found depends on the address and the publisher
//! alone and is remembered, but for what [`Reach::by_headers`] and [`Reach::by_name`] say.

use std::sync::Arc;

use ahash::AHashSet;

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
    /// Declared queues and those of share groups, each once.
    pub queues: Vec<QueueTarget>,
    /// Routes into logs.
    pub logs: Vec<LogTarget>,
    /// Routes between the worlds that it takes.
    pub carriers: Vec<Carrier>,
    /// Routes that could not carry it.
    pub failed: Vec<(Carrier, String)>,
    /// Ways into the other world that its address has no counterpart for.
    pub unmapped: u64,
    /// Topics that it has in the tree because its publisher's exchange led to [`TREE`].
    pub tied_topics: Vec<Box<str>>,
    /// State of the tree when it was asked.
    pub stamps: Vec<Stamp>,
    /// The answer depends on the message's headers.
    pub by_headers: bool,
    /// A queue that the default exchange would know by its name is not there; it comes without a new generation.
    pub by_name: bool,
}

impl Reach {
    /// Whether nobody wants the message.
    pub(crate) fn is_unroutable(&self) -> bool {
        self.sessions.is_empty() && self.queues.is_empty() && self.logs.is_empty()
    }
}

/// Looks for everyone, from one starting point.
pub(crate) struct Resolver<'a> {
    router: &'a VhostRouter,
    exchanges: &'a VhostExchanges,
    publisher: QueueId,
    client_id: &'a str,
    username: &'a str,
    headers: Option<FieldTable<'a>>,
    /// Topics under which the message came into the tree.
    topics: Vec<Box<str>>,
    /// Those of the queues that were found.
    queues: AHashSet<QueueId>,
    reach: Reach,
}

impl<'a> Resolver<'a> {
    /// A search for the messages of one publisher that have these headers.
    pub(crate) fn new(
        router: &'a VhostRouter,
        exchanges: &'a VhostExchanges,
        publisher: QueueId,
        client_id: &'a str,
        username: &'a str,
        headers: Option<FieldTable<'a>>,
    ) -> Self {
        let (topics, queues, reach) = (Vec::new(), AHashSet::new(), Reach::default());
        Self { router, exchanges, publisher, client_id, username, headers, topics, queues, reach }
    }

    /// Everyone whom a message published to `topic` reaches.
    pub(crate) fn topic(mut self, topic: &str) -> Reach {
        let routes = self.walk_topic(topic, None);
        self.tie_to_exchange(topic, None);
        self.take_routes(topic, routes);
        self.reach
    }

    /// Everyone whom a message published to `exchange` with any of `keys` reaches.
    ///
    /// # Errors
    /// There is no such exchange, or it is not for publishers.
    pub(crate) fn exchange(mut self, exchange: &str, keys: &[&str]) -> Result<Reach, RouteError> {
        for (turn, key) in keys.iter().enumerate() {
            let mut hits = Hits::default();
            self.exchanges.route(exchange, &[key], || self.headers, &mut hits)?;
            // Under a key of CC or BCC the tree sees another topic than the message's own key gives.
            let is_own = turn == 0;
            if hits.reached_tree
                && let Ok(topic) = to_topic(key)
            {
                self.reach.tied_topics.push((&*topic).into());
            }
            self.take_hits(exchange, key, None, is_own, hits);
        }
        Ok(self.reach)
    }

    /// Collects who subscribed to `topic`; gives back the routes to exchanges that are to be taken.
    fn walk_topic(&mut self, topic: &str, via: Option<&Arc<Via>>) -> Vec<Arc<dyn Route>> {
        self.topics.push(topic.into());
        // Read before the walk: what changes meanwhile makes the answer stale.
        self.reach.stamps.push(self.router.stamp(topic));
        let answer = self.router.resolve(topic, self.publisher);
        let via_of = |destination| Destination { via: via.cloned(), ..destination };
        self.reach.sessions.extend(answer.destinations.into_iter().map(via_of));
        for queue in answer.shares {
            if self.queues.insert(queue.id) {
                self.reach.queues.push(QueueTarget { queue, via: via.cloned() });
            }
        }
        let (logs, routes): (Vec<_>, Vec<_>) =
            answer.routes.into_iter().partition(|route| route.is_to_log());
        for route in logs {
            if !self.reach.logs.iter().any(|known| known.route.name() == route.name()) {
                self.reach.logs.push(LogTarget { route, via: via.cloned() });
            }
        }
        routes
    }

    fn carries_already(&self, name: &str) -> bool {
        let mut carriers =
            self.reach.carriers.iter().chain(self.reach.failed.iter().map(|(route, _)| route));
        carriers.any(|carrier| carrier.name() == name)
    }

    fn take_routes(&mut self, topic: &str, routes: Vec<Arc<dyn Route>>) {
        for route in routes {
            if !self.carries_already(route.name()) {
                self.take_route(topic, route);
            }
        }
    }

    /// A route from the tree to an exchange.
    fn take_route(&mut self, topic: &str, route: Arc<dyn Route>) {
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
        let routed = self.exchanges.route(&exchange, &[&key], || self.headers, &mut hits);
        if let Err(why) = routed {
            self.reach.failed.push((carrier, format!("exchange {exchange:?}: {why}")));
            return;
        }
        self.reach.carriers.push(carrier);
        let via = Arc::new(Via::Exchange { exchange: (&*exchange).into(), key: (&*key).into() });
        self.take_hits(&exchange, &key, Some(&via), false, hits);
    }

    /// Bindings of `amq.topic` see what comes into the tree. `via` is the address there that is not the message's
    /// own.
    fn tie_to_exchange(&mut self, topic: &str, via: Option<&Arc<Via>>) {
        if !self.exchanges.is_tree_bound() || topic.starts_with('$') {
            return;
        }
        let Ok(key) = to_key(topic) else {
            self.reach.unmapped += 1;
            return;
        };
        let mut hits = Hits::default();
        self.exchanges.route_from_tree(&key, || self.headers, &mut hits);
        let via =
            via.map(|_| Arc::new(Via::Exchange { exchange: TREE.into(), key: (&*key).into() }));
        self.take_hits(TREE, &key, via.as_ref(), false, hits);
    }

    /// What an exchange answered. `via` is the address of its queues, unless it is the message's own; `is_own` says
    /// that `key` is the one it was published under.
    fn take_hits(
        &mut self,
        exchange: &str,
        key: &str,
        via: Option<&Arc<Via>>,
        is_own: bool,
        hits: Hits,
    ) {
        self.reach.by_headers |= hits.by_headers;
        self.reach.by_name |= hits.by_name;
        for queue in hits.queues {
            if self.queues.insert(queue.id) {
                self.reach.queues.push(QueueTarget { queue, via: via.cloned() });
            }
        }
        if hits.reached_tree {
            match to_topic(key) {
                // Its bindings were asked on the way.
                Ok(topic) => self.enter_tree(&topic, is_own, true),
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
                    self.enter_tree(&topic, false, false);
                }
                Err(why) => self.reach.failed.push((carrier, why)),
            }
        }
    }

    /// A message that was published, or carried, to an exchange comes into the tree, once under each topic.
    fn enter_tree(&mut self, topic: &str, is_own: bool, is_tied: bool) {
        if self.topics.iter().any(|known| **known == *topic) {
            return;
        }
        let via = (!is_own).then(|| Arc::new(Via::Topic(topic.into())));
        let routes = self.walk_topic(topic, via.as_ref());
        if !is_tied {
            self.tie_to_exchange(topic, via.as_ref());
        }
        self.take_routes(topic, routes);
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
