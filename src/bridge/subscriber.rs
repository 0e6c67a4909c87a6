//! A route as the router sees it: one more subscriber. Part of `bridge`.

use std::cell::RefCell;
use std::sync::Arc;

use crate::broker::router::{PartitionChoice, Route as Subscriber, RouteInput, RouteTarget};

use super::partitioner::murmur2;
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
        (None, Some(key)) => PartitionChoice::Hash(murmur2(key) & 0x7fff_ffff),
        (None, None) => PartitionChoice::Sticky,
    }
}
