//! What the routes have carried and what not. Part of `bridge`.

use std::sync::Arc;

use prometheus::core::Collector;
use prometheus::{IntCounter, IntCounterVec, Opts};

use crate::bridge::route::Route;
use crate::metrics::label::{Label, PerLabel, RouteFailure};
use crate::metrics::{Metrics, MetricsError};

/// What the routes have carried and what not; one handle a route, in the order of the routes.
#[derive(Debug)]
pub struct RouteMetrics {
    routes: Vec<RouteCounters>,
}

/// The counters of one route.
#[derive(Debug)]
pub struct RouteCounters {
    /// Messages carried.
    pub carried: IntCounter,
    /// Messages not carried, by reason.
    pub failed: PerLabel<RouteFailure, IntCounter>,
}

impl RouteMetrics {
    /// Resolves a handle for each of `routes` and shows them with the rest of `metrics`.
    ///
    /// # Errors
    /// The names are taken: called twice for one registry.
    pub fn new(routes: &[Arc<Route>], metrics: &Metrics) -> Result<Self, MetricsError> {
        let carried =
            family("rialto_route_messages_total", "Messages a route carried.", &["route"])?;
        let failed = family(
            "rialto_route_failures_total",
            "Messages a route could not carry, by reason.",
            &["route", RouteFailure::KEY],
        )?;
        let counters = routes.iter().map(|route| {
            Ok(RouteCounters {
                carried: carried.get_metric_with_label_values(&[&*route.name])?,
                failed: PerLabel::new(|why: RouteFailure| {
                    failed.get_metric_with_label_values(&[&*route.name, why.name()])
                })?,
            })
        });
        let counters = counters.collect::<Result<_, MetricsError>>()?;
        register(metrics, [carried, failed])?;
        Ok(Self { routes: counters })
    }

    /// The counters of the route at `index` in the slice that this was made of.
    #[must_use]
    pub fn of(&self, index: usize) -> Option<&RouteCounters> {
        self.routes.get(index)
    }
}

fn family(name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, MetricsError> {
    IntCounterVec::new(Opts::new(name, help), labels)
}

fn register(
    metrics: &Metrics,
    families: impl IntoIterator<Item = impl Collector + 'static>,
) -> Result<(), MetricsError> {
    families.into_iter().try_for_each(|family| metrics.register(family))
}
