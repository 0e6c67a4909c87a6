//! What the broker holds, counted when somebody asks for metrics. Part of `app`.
//!
//! The names of groups and logs are clients' choice, so the number of their series is bounded: what is beyond is
//! counted, not named.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGauge, IntGaugeVec, Opts};

use crate::broker::Broker;
use crate::broker::groups::verbs::GroupState;
use crate::metrics::MetricsError;

/// Logs whose size is shown.
const LOG_SERIES_MAX: usize = 1_000;

/// Where groups may stand, and how that is called here.
const STATES: [(GroupState, &str); 4] = [
    (GroupState::Empty, "empty"),
    (GroupState::PreparingRebalance, "preparing_rebalance"),
    (GroupState::CompletingRebalance, "completing_rebalance"),
    (GroupState::Stable, "stable"),
];

/// Gauges of groups, logs, queues and exchanges.
pub(super) struct Gauges {
    broker: Weak<Broker>,
    families: Families,
    /// One scrape at a time: the families are cleared and filled anew.
    filling: Mutex<()>,
}

struct Families {
    lag: IntGaugeVec,
    lag_hidden: IntGauge,
    groups: IntGaugeVec,
    members: IntGauge,
    logs: IntGauge,
    partitions: IntGauge,
    log_bytes: IntGaugeVec,
    queues: IntGauge,
    consumers: IntGauge,
    shares: IntGauge,
    share_members: IntGauge,
    exchanges: IntGauge,
    queued_bytes: IntGauge,
    queued_bytes_max: IntGauge,
    retained_bytes: IntGauge,
}

impl Gauges {
    /// # Errors
    /// A name that Prometheus refuses; a fault of this file, found by its test.
    pub(super) fn new(broker: &Arc<Broker>) -> Result<Self, MetricsError> {
        let family = |name: &str, help: &str, labels: &[&str]| {
            IntGaugeVec::new(Opts::new(name, help), labels)
        };
        let families = Families {
            lag: family(
                "rialto_group_lag",
                "Records that a group has not read, over the partitions that it has committed.",
                &["vhost", "group", "log"],
            )?,
            lag_hidden: IntGauge::new(
                "rialto_group_lag_hidden",
                "Groups and logs whose lag has no series of its own.",
            )?,
            groups: family("rialto_groups", "Consumer groups by state.", &["state"])?,
            members: IntGauge::new("rialto_group_members", "Members of all consumer groups.")?,
            logs: IntGauge::new("rialto_logs", "Logs.")?,
            partitions: IntGauge::new("rialto_log_partitions", "Partitions of all logs.")?,
            log_bytes: family(
                "rialto_log_size_bytes",
                "Bytes of a log's files.",
                &["vhost", "log"],
            )?,
            queues: IntGauge::new("rialto_queues", "Declared queues.")?,
            consumers: IntGauge::new("rialto_queue_consumers", "Consumers of all queues.")?,
            shares: IntGauge::new("rialto_shared_groups", "Share groups of MQTT.")?,
            share_members: IntGauge::new(
                "rialto_shared_members",
                "Members of all share groups, connected or not.",
            )?,
            exchanges: IntGauge::new("rialto_exchanges", "Exchanges.")?,
            queued_bytes: IntGauge::new(
                "rialto_queued_bytes",
                "Bytes of durable messages waiting in queues.",
            )?,
            queued_bytes_max: IntGauge::new(
                "rialto_queued_bytes_max",
                "How many bytes may wait; 0 for no bound.",
            )?,
            retained_bytes: IntGauge::new("rialto_retained_bytes", "Bytes of retained messages.")?,
        };
        Ok(Self { broker: Arc::downgrade(broker), families, filling: Mutex::new(()) })
    }
}

impl Families {
    fn all(&self) -> [&dyn Collector; 15] {
        [
            &self.lag,
            &self.lag_hidden,
            &self.groups,
            &self.members,
            &self.logs,
            &self.partitions,
            &self.log_bytes,
            &self.queues,
            &self.consumers,
            &self.shares,
            &self.share_members,
            &self.exchanges,
            &self.queued_bytes,
            &self.queued_bytes_max,
            &self.retained_bytes,
        ]
    }

    fn fill(&self, broker: &Broker) {
        self.fill_groups(broker);
        self.fill_logs(broker);
        let mut queues = broker.declared.all();
        queues.retain(|queue| !queue.settings.share);
        let (groups, members) = broker.shares.count();
        self.shares.set(number(groups));
        self.share_members.set(number(members));
        self.queues.set(number(queues.len()));
        let consumers = queues.iter().map(|queue| queue.counts().consumers).sum::<u64>();
        self.consumers.set(i64::try_from(consumers).unwrap_or(i64::MAX));
        self.exchanges.set(number(broker.exchanges.count()));
        let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.queued_bytes.set(bytes(broker.backlog.bytes()));
        self.queued_bytes_max.set(bytes(broker.backlog.limits().bytes_max));
        self.retained_bytes.set(bytes(broker.retained.bytes()));
    }

    fn fill_groups(&self, broker: &Broker) {
        let groups = broker.groups.live.survey();
        for (state, name) in STATES {
            let count = groups.iter().filter(|(_, _, found, _)| *found == state).count();
            self.groups.with_label_values(&[name]).set(number(count));
        }
        self.members.set(number(groups.iter().map(|(_, _, _, members)| members).sum()));
        let lags = broker.group_lags(broker.limits().groups.lag_series_max);
        self.lag.reset();
        for lag in &lags.shown {
            let labels = [&*lag.vhost, &*lag.group, &*lag.log];
            self.lag.with_label_values(&labels).set(lag.records);
        }
        self.lag_hidden.set(number(lags.hidden));
    }

    fn fill_logs(&self, broker: &Broker) {
        let mut logs = broker.logs.table.all();
        logs.sort_by_key(|log| log.id);
        self.logs.set(number(logs.len()));
        self.partitions.set(number(logs.iter().map(|log| log.partitions.len()).sum()));
        self.log_bytes.reset();
        for log in logs.iter().take(LOG_SERIES_MAX) {
            let bytes = log.partitions.iter().map(|partition| partition.bytes()).sum::<u64>();
            let series = self.log_bytes.with_label_values(&[&*log.vhost, &*log.name]);
            series.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl Collector for Gauges {
    fn desc(&self) -> Vec<&Desc> {
        self.families.all().iter().flat_map(|family| family.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Some(broker) = self.broker.upgrade() else { return Vec::new() };
        let _filling = self.filling.lock();
        self.families.fill(&broker);
        self.families.all().iter().flat_map(|family| family.collect()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Gauges;
    use crate::auth::principal::Principal;
    use crate::broker::logs::verbs::CreateLog;
    use crate::broker::record::{Committed, GroupRecord, Record};
    use crate::broker::testbed::Bed;
    use crate::metrics::Metrics;

    fn bed_with_a_log() -> Bed {
        let mut bed = Bed::new();
        let broker = bed.broker.clone();
        let spec = CreateLog {
            name: "readings".to_owned(),
            partitions: Some(2),
            config: Vec::new(),
            validate_only: false,
        };
        let who = Principal::anonymous();
        let mut created = Box::pin(broker.create_log(&who, spec, 1));
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(created.as_mut().poll(&mut cx).is_pending());
        drop(created);
        bed.sync();
        bed
    }

    #[test]
    fn groups_beyond_the_bound_are_counted_and_every_gauge_is_in_the_handbook() {
        let mut bed = bed_with_a_log();
        let log = bed.broker.logs.table.by_name("/", "readings").unwrap().id;
        // The bed shows three.
        for group in ["a", "b", "c\"\n", "d", "e"] {
            let offset =
                Committed { log, partition: 1, offset: -7, leader_epoch: -1, metadata: "" };
            let (vhost, time_ms, offsets) = ("/", 1, vec![offset]);
            let record = GroupRecord::Commit { vhost, group, time_ms, offsets };
            bed.broker.submit(None, &Record::Group(record)).unwrap();
        }
        bed.sync();
        let metrics = Metrics::new(0.0).unwrap();
        metrics.register(Gauges::new(&bed.broker).unwrap()).unwrap();
        for _ in 0..2 {
            let text = String::from_utf8(metrics.render().unwrap()).unwrap();
            let shown = "rialto_group_lag{group=\"a\",log=\"readings\",vhost=\"/\"} 7\n";
            assert!(text.contains(shown), "{text}");
            assert_eq!(text.matches("\nrialto_group_lag{").count(), 3);
            assert!(text.contains("\nrialto_group_lag_hidden 2\n"));
            assert!(text.contains("\nrialto_logs 1\n"));
            assert!(text.contains("\nrialto_log_partitions 2\n"));
            assert!(text.contains("\nrialto_groups{state=\"stable\"} 0\n"));
        }
        let handbook = include_str!("../../docs/operations.md");
        let gauges = Gauges::new(&bed.broker).unwrap();
        for family in gauges.families.all() {
            for desc in family.desc() {
                assert!(handbook.contains(&format!("`{}`", desc.fq_name)), "{}", desc.fq_name);
            }
        }
    }
}
