//! A route as the router sees it: one more subscriber. Part of `bridge`.

use std::cell::RefCell;
use std::sync::Arc;

use crate::broker::router::{PartitionChoice, Route as Subscriber, RouteInput, RouteTarget};

use super::partitioner::key_hash;
use super::route::{Route, RouteMetrics, Target};
use super::template::RouteContext;

thread_local! {
    /// Buffers that a worker's messages are rendered into, one after the other.
    static TARGET: RefCell<Target> = RefCell::default();
}

/// A compiled route with its counters.
pub struct RouteSubscriber {
    route: Arc<Route>,
    metrics: Arc<RouteMetrics>,
    /// The route's place among all routes, which its counters go by.
    index: usize,
}

impl RouteSubscriber {
    /// The route at `index` of those that `metrics` was made of.
    #[must_use]
    pub fn new(route: Arc<Route>, metrics: Arc<RouteMetrics>, index: usize) -> Self {
        Self { route, metrics, index }
    }
}

impl Subscriber for RouteSubscriber {
    fn name(&self) -> &str {
        &self.route.name
    }

    fn target(&self, message: &RouteInput<'_>) -> Result<RouteTarget, String> {
        let context = RouteContext {
            topic: message.topic,
            client_id: message.client_id,
            username: Some(message.username).filter(|name| !name.is_empty()),
            properties: message.properties,
            payload: message.payload,
        };
        TARGET.with_borrow_mut(|target| {
            let counters = self.metrics.of(self.index);
            if let Err(error) = self.route.aim(&context, target) {
                if let Some(counters) = counters {
                    counters.failed.of(error.failure()).inc();
                }
                return Err(error.to_string());
            }
            if let Some(counters) = counters {
                counters.carried.inc();
            }
            Ok(RouteTarget {
                log: target.log().to_owned(),
                partitions: self.route.partitions,
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::RouteSubscriber;
    use crate::bridge::file::parse;
    use crate::bridge::partitioner::key_hash;
    use crate::bridge::route::RouteMetrics;
    use crate::broker::router::{PartitionChoice, Route, RouteInput, RouteTarget};
    use crate::config::source::Source;
    use crate::metrics::Metrics;

    fn target(to: &str, topic: &str) -> Result<RouteTarget, String> {
        let from = "[[route]]\nname = \"r\"\nfrom = { mqtt = \"f/+\" }\n";
        let routes = parse(Source::named("r.toml", format!("{from}to = {{ {to} }}\n"))).unwrap();
        let metrics = RouteMetrics::new(&routes, &Metrics::new(0.0).unwrap()).unwrap();
        let route = RouteSubscriber::new(Arc::clone(&routes[0]), Arc::new(metrics), 0);
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
