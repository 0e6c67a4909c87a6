//! What checking passwords costs, read when somebody asks for metrics. Part of `app`.

use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts};

use crate::auth::checks::{CheckCounts, PasswordChecks};
use crate::metrics::MetricsError;

/// Counters of the threads that check passwords.
pub(super) struct Logins {
    checks: Arc<PasswordChecks>,
    hashed: IntCounter,
    remembered: IntCounter,
    postponed: IntCounterVec,
    waiting: IntGauge,
    /// What the counters have been told already; one scrape at a time.
    told: Mutex<Option<CheckCounts>>,
}

impl Logins {
    /// # Errors
    /// A name that Prometheus refuses; a fault of this file, found by its test.
    pub(super) fn new(checks: Arc<PasswordChecks>) -> Result<Self, MetricsError> {
        Ok(Self {
            checks,
            hashed: IntCounter::new("rialto_password_hashes_total", "Passwords hashed.")?,
            remembered: IntCounter::new(
                "rialto_logins_remembered_total",
                "Logins that took no hash: they were right a short while before.",
            )?,
            postponed: IntCounterVec::new(
                Opts::new(
                    "rialto_logins_postponed_total",
                    "Logins refused without a look at the password, to be tried again.",
                ),
                &["reason"],
            )?,
            waiting: IntGauge::new(
                "rialto_password_hashes_waiting",
                "Different logins that wait to be hashed.",
            )?,
            told: Mutex::new(None),
        })
    }

    fn all(&self) -> [&dyn Collector; 4] {
        [&self.hashed, &self.remembered, &self.postponed, &self.waiting]
    }
}

impl Collector for Logins {
    fn desc(&self) -> Vec<&Desc> {
        self.all().iter().flat_map(|family| family.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut told = self.told.lock();
        let now = self.checks.counts();
        let grown = |count: fn(&CheckCounts) -> u64| {
            count(&now).saturating_sub(told.as_ref().map_or(0, count))
        };
        self.hashed.inc_by(grown(|counts| counts.hashed));
        self.remembered.inc_by(grown(|counts| counts.remembered));
        let postponed = |reason: &str| self.postponed.with_label_values(&[reason]);
        postponed("busy").inc_by(grown(|counts| counts.busy));
        postponed("failures").inc_by(grown(|counts| counts.held_back));
        self.waiting.set(i64::try_from(now.waiting).unwrap_or(i64::MAX));
        *told = Some(now);
        drop(told);
        self.all().iter().flat_map(|family| family.collect()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use prometheus::core::Collector;

    use super::Logins;
    use crate::auth::checks::{CheckSettings, PasswordChecks};
    use crate::metrics::Metrics;

    #[test]
    fn all_of_them_are_shown() {
        let checks = Arc::new(PasswordChecks::new(CheckSettings::default()).unwrap());
        let metrics = Metrics::new(0.0).unwrap();
        let logins = Logins::new(checks).unwrap();
        let handbook = include_str!("../../docs/operations.md");
        for desc in logins.desc() {
            assert!(handbook.contains(&format!("`{}`", desc.fq_name)), "{}", desc.fq_name);
        }
        metrics.register(logins).unwrap();
        let text = String::from_utf8(metrics.render().unwrap()).unwrap();
        for line in [
            "rialto_password_hashes_total 0",
            "rialto_logins_remembered_total 0",
            "rialto_logins_postponed_total{reason=\"busy\"} 0",
            "rialto_logins_postponed_total{reason=\"failures\"} 0",
            "rialto_password_hashes_waiting 0",
        ] {
            assert!(text.contains(line), "{line}");
        }
    }
}
