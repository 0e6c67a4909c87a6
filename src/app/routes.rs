//! The routes of `bridge-config/`, put where they catch what they carry. Part of `app`.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use crate::bridge::counters::RouteMetrics;
use crate::bridge::overlap::overlaps;
use crate::bridge::route::{Route, Way};
use crate::bridge::subscriber::{
    ExchangeSubscriber, Identity, LogSource, LogSubscriber, Origins, TreeSubscriber,
};
use crate::broker::carry::reader::Reader;
use crate::broker::carry::{Pace, mark};
use crate::metrics::Metrics;
use crate::net::outbound::{GO_ON, Outbound};
use crate::net::touched;
use crate::server::clock::Clock;
use crate::server::workers::{Workers, flush_soon};

use super::AppError;
use super::storage::Storage;

/// How long a route waits for a subscriber that takes nothing.
const PATIENCE: Duration = Duration::from_secs(1);

/// Makes every route a subscriber, a binding or a reader, and sees to it that the logs and exchanges it names are
/// there. The readers are to be started.
pub(super) fn install(
    storage: &Storage,
    routes: &[Arc<Route>],
    metrics: &Metrics,
    now_ms: u64,
) -> Result<Vec<Reader>, AppError> {
    let broker = &storage.broker;
    overlaps(routes).iter().for_each(|sentence| tracing::warn!("{sentence}"));
    let mut readers = Vec::new();
    let route_metrics = Arc::new(RouteMetrics::new(routes, metrics)?);
    for (index, route) in routes.iter().enumerate() {
        let identity = Identity::new(Arc::clone(&route.name), Arc::clone(&route_metrics), index);
        if let Some((exchange, kind)) = route.exchange() {
            broker.prepare_exchange(&route.vhost, exchange, kind).map_err(|error| {
                AppError::Route { route: route.name.to_string(), reason: error.to_string() }
            })?;
        }
        let tree = broker.router.vhost(&route.vhost);
        match &route.way {
            Way::IntoLog(way) => {
                let filter = way.filter.clone();
                let origins = origins(routes, &route.vhost, &storage.cluster_id);
                tree.add_route(&filter, Arc::new(LogSubscriber(identity, way.clone(), origins)));
            }
            Way::IntoExchange(way) => {
                let filter = way.filter.clone();
                tree.add_route(&filter, Arc::new(ExchangeSubscriber(identity, way.clone())));
            }
            Way::IntoTree(way) => {
                let exchanges = broker.exchanges.of(&route.vhost);
                let (exchange, binding) = (way.exchange.clone(), way.binding.clone());
                let subscriber = Arc::new(TreeSubscriber(identity, way.clone()));
                exchanges.add_route(&exchange, &binding, subscriber);
            }
            Way::OutOfLog(way) => {
                let source = Arc::new(LogSource(identity, way.clone()));
                let vhost = Arc::clone(&route.vhost);
                let origin = &storage.cluster_id;
                readers.push(Reader::new(Arc::clone(broker), source, vhost, origin));
            }
        }
        if let Some((log, partitions)) = route.fixed_log() {
            broker.prepare_log(&route.vhost, log, partitions, now_ms);
        }
    }
    Ok(readers)
}

/// What the routes out of logs of one vhost leave on what they carry, and the log of each.
fn origins(routes: &[Arc<Route>], vhost: &str, origin: &str) -> Origins {
    let of_vhost = routes.iter().filter(|route| *route.vhost == *vhost);
    let marks = of_vhost.filter_map(|route| match &route.way {
        Way::OutOfLog(way) => Some((mark(origin, &route.name).into(), way.log.clone())),
        _ => None,
    });
    marks.collect()
}

/// Runs the routes out of logs, each on a worker.
pub(super) fn start(readers: Vec<Reader>, workers: &Workers, clock: Clock) {
    for reader in readers {
        // What wakes it when those that it flooded have room again.
        let own = Arc::new(Outbound::new(None, 0));
        workers.spawn(reader.run(Turns { own, clock }));
    }
}

/// The time and the turns of a worker.
struct Turns {
    own: Arc<Outbound>,
    clock: Clock,
}

impl Pace for Turns {
    fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    fn pause(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(duration))
    }

    async fn settle(&self) {
        let congested = touched::take_congested();
        if congested.is_empty() {
            flush_soon();
            return;
        }
        touched::flush();
        let by: Vec<_> = congested.into_iter().filter(|one| one.wait_for(&self.own)).collect();
        if by.is_empty() {
            return;
        }
        let told = poll_fn(|cx| {
            let is_told = self.own.take_signals(cx.waker()) & GO_ON != 0;
            if is_told { Poll::Ready(()) } else { Poll::Pending }
        });
        if tokio::time::timeout(PATIENCE, told).await.is_err() {
            by.iter().for_each(|subscriber| subscriber.give_up());
        }
    }
}
