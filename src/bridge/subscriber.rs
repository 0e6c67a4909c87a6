//! Routes as the broker sees them: subscribers of the topic tree, bindings of an exchange, readers of a log. Part of
//! `bridge`.

use std::cell::RefCell;
use std::sync::Arc;

use crate::broker::carry::{Beginning, OutRoute, Outgoing, Outlet};
use crate::broker::exchanges::hits::ExchangeRoute;
use crate::broker::logs::released::marks;
use crate::broker::router::{PartitionChoice, Route as Subscriber, RouteInput, RouteTarget};
use crate::metrics::label::RouteFailure;

use super::counters::RouteMetrics;
use super::into_exchange::IntoExchange;
use super::into_log::{IntoLog, Target};
use super::into_tree::IntoTree;
use super::out_of_log::OutOfLog;
use super::partitioner::key_hash;
use super::template::{RenderError, RouteContext};

thread_local! {
    /// Buffers that a worker's messages are rendered into, one after the other.
    static TARGET: RefCell<Target> = RefCell::default();
}

/// A route's name and counters.
#[derive(Clone)]
pub struct Identity {
    name: Arc<str>,
    metrics: Arc<RouteMetrics>,
    /// The route's place among all routes, which its counters go by.
    index: usize,
}

impl Identity {
    /// The route at `index` of those that `metrics` was made of.
    #[must_use]
    pub fn new(name: Arc<str>, metrics: Arc<RouteMetrics>, index: usize) -> Self {
        Self { name, metrics, index }
    }

    fn carried(&self) {
        if let Some(counters) = self.metrics.of(self.index) {
            counters.carried.inc();
        }
    }

    fn failed(&self, why: RouteFailure) {
        if let Some(counters) = self.metrics.of(self.index) {
            counters.failed.of(why).inc();
        }
    }

    fn count(&self, carried: bool) {
        if carried { self.carried() } else { self.failed(RouteFailure::Unmapped) }
    }
}

fn context<'a>(message: &RouteInput<'a>) -> RouteContext<'a> {
    RouteContext {
        topic: message.topic,
        client_id: message.client_id,
        username: Some(message.username).filter(|name| !name.is_empty()),
        properties: message.properties,
        payload: message.payload,
    }
}

/// Marks of the routes out of logs of one vhost, and the log that each leads out of.
pub type Origins = Arc<[(Box<str>, Box<str>)]>;

/// From the topic tree into logs; what came out of the log it would go into is left alone.
pub struct LogSubscriber(pub Identity, pub IntoLog, pub Origins);

impl Subscriber for LogSubscriber {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn comes_back(&self, message: &RouteInput<'_>) -> bool {
        let Self(identity, way, origins) = self;
        let mut came_out_of = marks(message.properties).filter_map(|mark| {
            origins.iter().find(|(known, _)| **known == *mark).map(|(_, log)| &**log)
        });
        let comes_back = TARGET.with_borrow_mut(|target| {
            let goes_into = way.aim(&context(message), target).ok().map(|()| target.log());
            goes_into.is_some_and(|log| came_out_of.any(|from| from == log))
        });
        if comes_back {
            identity.failed(RouteFailure::Circle);
        }
        comes_back
    }

    fn target(&self, message: &RouteInput<'_>) -> Result<RouteTarget, String> {
        let Self(identity, way, _) = self;
        TARGET.with_borrow_mut(|target| {
            if let Err(error) = way.aim(&context(message), target) {
                identity.failed(error.failure());
                return Err(error.to_string());
            }
            identity.carried();
            Ok(RouteTarget {
                log: target.log().to_owned(),
                partitions: way.partitions,
                key: target.key().map(<[u8]>::to_vec),
                partition: choice(target),
            })
        })
    }
}

fn choice(target: &Target) -> PartitionChoice {
    match (target.explicit(), target.key()) {
        (Some(partition), _) => PartitionChoice::Explicit(partition),
        (None, Some(key)) => PartitionChoice::Hash(key_hash(key)),
        (None, None) => PartitionChoice::Sticky,
    }
}

/// From the topic tree into an exchange.
pub struct ExchangeSubscriber(pub Identity, pub IntoExchange);

impl Subscriber for ExchangeSubscriber {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn is_to_log(&self) -> bool {
        false
    }

    fn exchange(&self, input: &RouteInput<'_>) -> Result<(String, String), String> {
        let key = self.1.key(&context(input)).map_err(|error| error.to_string())?;
        Ok((self.1.exchange.to_string(), key))
    }

    fn count(&self, carried: bool) {
        self.0.count(carried);
    }

    fn target(&self, _: &RouteInput<'_>) -> Result<RouteTarget, String> {
        Err("this route goes into an exchange".to_owned())
    }
}

/// From an exchange into the topic tree.
pub struct TreeSubscriber(pub Identity, pub IntoTree);

impl ExchangeRoute for TreeSubscriber {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn topic(&self, _exchange: &str, key: &str) -> Result<String, String> {
        self.1.topic(key).map_err(|error| error.to_string())
    }

    fn count(&self, carried: bool) {
        self.0.count(carried);
    }
}

/// Out of a log.
pub struct LogSource(pub Identity, pub OutOfLog);

impl OutRoute for LogSource {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn log(&self) -> &str {
        &self.1.log
    }

    fn beginning(&self) -> Beginning {
        self.1.beginning
    }

    fn outlet(&self) -> Outlet<'_> {
        self.1.outlet()
    }

    fn address(&self, outgoing: &Outgoing<'_>, out: &mut Vec<u8>) -> Result<(), RouteFailure> {
        self.1.address(outgoing, out).map_err(RenderError::failure)
    }

    fn carried(&self, records: u64) {
        if let Some(counters) = self.0.metrics.of(self.0.index) {
            counters.carried.inc_by(records);
        }
    }

    fn failed(&self, why: RouteFailure, records: u64) {
        if let Some(counters) = self.0.metrics.of(self.0.index) {
            counters.failed.of(why).inc_by(records);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Identity, LogSubscriber};
    use crate::bridge::counters::RouteMetrics;
    use crate::bridge::file::parse;
    use crate::bridge::partitioner::key_hash;
    use crate::bridge::route::Way;
    use crate::broker::router::{PartitionChoice, Route, RouteInput, RouteTarget};
    use crate::config::source::Source;
    use crate::metrics::Metrics;

    fn target(to: &str, topic: &str) -> Result<RouteTarget, String> {
        let from = "[[route]]\nname = \"r\"\nfrom = { mqtt = \"f/+\" }\n";
        let routes = parse(Source::named("r.toml", format!("{from}to = {{ {to} }}\n"))).unwrap();
        let metrics = RouteMetrics::new(&routes, &Metrics::new(0.0).unwrap()).unwrap();
        let Way::IntoLog(way) = routes[0].way.clone() else { panic!("not into a log") };
        let identity = Identity::new(Arc::clone(&routes[0].name), Arc::new(metrics), 0);
        let route = LogSubscriber(identity, way, Arc::default());
        let (client_id, username) = ("c", "");
        route.target(&RouteInput { topic, payload: b"{}", properties: &[], client_id, username })
    }

    #[test]
    fn an_explicit_partition_wins_over_the_key_and_the_key_over_taking_turns() {
        let both = target("log = \"l\", key = \"k\", partition = \"{1}\"", "f/3").unwrap();
        assert_eq!(both.partition, PartitionChoice::Explicit(3));
        assert_eq!(both.key.as_deref(), Some(b"k".as_slice()));
        let key = target("log = \"l\", key = \"{1}\", partitions = 4", "f/3").unwrap();
        assert_eq!(key.partition, PartitionChoice::Hash(key_hash(b"3")));
        assert_eq!(key.partitions, Some(4));
        let none = target("log = \"l\", key = \"\"", "f/3").unwrap();
        assert_eq!((none.partition, none.key), (PartitionChoice::Sticky, None));
        assert!(target("log = \"l\", partition = \"{1}\"", "f/x").is_err());
    }
}
