//! The routes of `bridge-config/`, put where they catch what they carry. Part of `app`.

use std::sync::Arc;

use crate::bridge::counters::RouteMetrics;
use crate::bridge::route::{Route, Way};
use crate::bridge::subscriber::{ExchangeSubscriber, Identity, LogSubscriber, TreeSubscriber};
use crate::broker::Broker;
use crate::metrics::Metrics;

use super::AppError;

/// Makes every route a subscriber or a binding, and sees to it that the logs and exchanges it names are there.
pub(super) fn install(
    broker: &Arc<Broker>,
    routes: &[Arc<Route>],
    metrics: &Metrics,
    now_ms: u64,
) -> Result<(), AppError> {
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
                tree.add_route(&filter, Arc::new(LogSubscriber(identity, way.clone())));
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
        }
        if let Some((log, partitions)) = route.fixed_log() {
            broker.prepare_log(&route.vhost, log, partitions, now_ms);
        }
    }
    Ok(())
}
