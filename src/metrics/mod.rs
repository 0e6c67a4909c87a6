//! Every counter, gauge and histogram, resolved once: whoever counts holds a handle, never a name. Imports
//! nothing of this crate.
//!
//! - [`limits`] what limits refused, and when to say so
//! - [`label`] the closed sets that labels come from, and families with one handle a value
//! - [`local`] plain counters that a connection bumps by itself and adds up once a read batch
//! - [`mqtt`] what only MQTT counts
//! - [`process`] what the system says of this process, read when somebody asks
//!
//! Names follow Prometheus: `rialto_`, the noun, the unit, `_total` for counters; base units (seconds, bytes).
//! `docs/operations.md` lists them with what to watch; a test keeps that list whole.

pub mod label;
pub mod limits;
pub mod local;
pub mod mqtt;
pub mod process;

use prometheus::core::Collector;
use prometheus::{
    Encoder, Gauge, Histogram, HistogramOpts, IntCounter, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

pub use label::{CloseReason, DropReason, ErrorKind, Limit, Protocol, QosLabel, RateLimit};
use label::{Label, PerLabel, PerPair};
use limits::LimitMetrics;
pub use local::LocalCounters;
use mqtt::MqttMetrics;

/// Sync times from a fast disk's to a failing one's, seconds.
const SYNC_BUCKETS: [f64; 13] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];
/// Checkpoint times, seconds.
const CHECKPOINT_BUCKETS: [f64; 9] = [0.005, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 60.0, 300.0];

/// Why the registry refused a metric: two have one name. A fault of this file, found by its test.
pub type MetricsError = prometheus::Error;

/// All metrics of one broker; shared as `Arc<Metrics>`.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Open connections and their traffic.
    pub connections: ConnectionMetrics,
    /// Messages in and out.
    pub messages: MessageMetrics,
    /// Limits that were reached.
    pub limits: LimitMetrics,
    /// MQTT's own.
    pub mqtt: MqttMetrics,
    /// What the broker holds.
    pub state: StateMetrics,
    /// Share groups.
    pub shares: ShareMetrics,
    /// The write-ahead log.
    pub journal: JournalMetrics,
    /// Checkpoints.
    pub checkpoint: CheckpointMetrics,
    /// Body segments.
    pub bodies: BodyMetrics,
    /// See [`DiskMetrics`].
    pub disk: DiskMetrics,
    /// Partitioned logs and routes.
    pub logs: LogMetrics,
    /// 1 while the broker serves, 0 while it starts, stops or cannot write.
    pub ready: IntGauge,
}

/// Connections.
#[derive(Debug)]
pub struct ConnectionMetrics {
    /// Open now.
    pub open: PerLabel<Protocol, IntGauge>,
    /// Accepted.
    pub opened: PerLabel<Protocol, IntCounter>,
    /// Ended, by reason.
    pub closed: PerPair<Protocol, CloseReason, IntCounter>,
    /// Bytes read from sockets, after TLS.
    pub received_bytes: PerLabel<Protocol, IntCounter>,
    /// Bytes handed to sockets, before TLS.
    pub sent_bytes: PerLabel<Protocol, IntCounter>,
    /// Violations of a protocol by peers.
    pub protocol_errors: PerPair<Protocol, ErrorKind, IntCounter>,
    /// Logins refused.
    pub auth_failures: PerLabel<Protocol, IntCounter>,
}

/// Messages.
#[derive(Debug)]
pub struct MessageMetrics {
    /// Published by clients.
    pub received: PerPair<Protocol, QosLabel, IntCounter>,
    /// Sent to clients, redelivery included.
    pub delivered: PerPair<Protocol, QosLabel, IntCounter>,
    /// Not delivered to a destination, by reason.
    pub dropped: PerLabel<DropReason, IntCounter>,
}

/// What the broker holds.
#[derive(Debug)]
pub struct StateMetrics {
    /// MQTT sessions, connected or not.
    pub sessions: IntGauge,
    /// Subscriptions of all sessions.
    pub subscriptions: IntGauge,
    /// Topics with a retained message.
    pub retained: IntGauge,
    /// Messages waiting in queues.
    pub queued: IntGauge,
}

/// Share groups of MQTT.
#[derive(Debug)]
pub struct ShareMetrics {
    /// Messages that members left unacknowledged and that went back to their groups.
    pub returned: IntCounter,
}

/// The journal.
#[derive(Debug)]
pub struct JournalMetrics {
    /// Batches written.
    pub batches: IntCounter,
    /// Records written.
    pub records: IntCounter,
    /// Bytes written.
    pub bytes: IntCounter,
    /// Time of each sync.
    pub sync_seconds: Histogram,
    /// Last record that survives a power cut.
    pub durable_lsn: IntGauge,
    /// Last record applied.
    pub applied_lsn: IntGauge,
    /// 1 while the disk refuses and nothing more is acknowledged.
    pub failing: IntGauge,
}

/// The file system beneath it all.
#[derive(Debug)]
pub struct DiskMetrics {
    /// Bytes that may still be written.
    pub free_bytes: IntGauge,
    /// 1 while publishers are refused for want of room.
    pub short: IntGauge,
}

/// Checkpoints.
#[derive(Debug)]
pub struct CheckpointMetrics {
    /// Taken.
    pub taken: IntCounter,
    /// Time of each.
    pub seconds: Histogram,
    /// Last record that a restart need not read.
    pub lsn: IntGauge,
    /// 1 while the disk refuses them.
    pub failing: IntGauge,
}

/// Body segments, as of the last checkpoint.
#[derive(Debug)]
pub struct BodyMetrics {
    /// Files.
    pub segments: IntGauge,
    /// Bytes of them that count.
    pub bytes: IntGauge,
    /// Bytes of bodies that a queue refers to.
    pub live_bytes: IntGauge,
    /// Bytes that were copied out of sparse ones.
    pub compacted_bytes: IntCounter,
}

/// Logs.
#[derive(Debug)]
pub struct LogMetrics {
    /// Record batches appended.
    pub appends: IntCounter,
    /// Bytes appended.
    pub bytes: IntCounter,
}

impl Metrics {
    /// Registers everything. `started_s` is when this process started, in seconds since the Unix epoch.
    ///
    /// # Errors
    /// Two metrics have one name.
    pub fn new(started_s: f64) -> Result<Self, MetricsError> {
        let registry = Registry::new();
        let make = Maker { registry: &registry };
        let metrics = Self {
            connections: ConnectionMetrics::new(&make)?,
            messages: MessageMetrics::new(&make)?,
            limits: LimitMetrics::new(&make)?,
            mqtt: MqttMetrics::new(&make)?,
            state: StateMetrics::new(&make)?,
            shares: ShareMetrics::new(&make)?,
            journal: JournalMetrics::new(&make)?,
            checkpoint: CheckpointMetrics::new(&make)?,
            bodies: BodyMetrics::new(&make)?,
            disk: DiskMetrics::new(&make)?,
            logs: LogMetrics::new(&make)?,
            ready: make.gauge("rialto_ready", "Whether the broker serves: 1 yes, 0 no.")?,
            registry: registry.clone(),
        };
        let build = IntGaugeVec::new(
            Opts::new("rialto_build_info", "Always 1; the label is the version that runs."),
            &["version"],
        )?;
        build.get_metric_with_label_values(&[env!("CARGO_PKG_VERSION")])?.set(1);
        registry.register(Box::new(build))?;
        let start = Gauge::new(
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds.",
        )?;
        start.set(started_s);
        registry.register(Box::new(start))?;
        registry.register(Box::new(process::ProcessMetrics::new()?))?;
        Ok(metrics)
    }

    /// Adds metrics of another part to what [`render`](Self::render) shows, as routes do at load.
    ///
    /// # Errors
    /// A name is taken.
    pub fn register(&self, collector: impl Collector + 'static) -> Result<(), MetricsError> {
        self.registry.register(Box::new(collector))
    }

    /// Everything in Prometheus' text format.
    ///
    /// # Errors
    /// A metric cannot be encoded.
    pub fn render(&self) -> Result<Vec<u8>, MetricsError> {
        let mut text = Vec::with_capacity(16 << 10);
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    /// The media type of [`render`](Self::render).
    pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
}

impl ConnectionMetrics {
    fn new(make: &Maker<'_>) -> Result<Self, MetricsError> {
        Ok(Self {
            open: make.gauges("rialto_connections", "Connections open now.")?,
            opened: make.counters("rialto_connections_opened_total", "Connections accepted.")?,
            closed: make.counter_pairs(
                "rialto_connections_closed_total",
                "Connections ended, by reason.",
            )?,
            received_bytes: make
                .counters("rialto_received_bytes_total", "Bytes read from clients, after TLS.")?,
            sent_bytes: make
                .counters("rialto_sent_bytes_total", "Bytes sent to clients, before TLS.")?,
            protocol_errors: make.counter_pairs(
                "rialto_protocol_errors_total",
                "Violations of the protocol by clients, by kind; each closed its connection.",
            )?,
            auth_failures: make.counters("rialto_auth_failures_total", "Logins refused.")?,
        })
    }
}

impl MessageMetrics {
    fn new(make: &Maker<'_>) -> Result<Self, MetricsError> {
        Ok(Self {
            received: make.counter_pairs(
                "rialto_messages_received_total",
                "Messages published by clients.",
            )?,
            delivered: make.counter_pairs(
                "rialto_messages_delivered_total",
                "Messages sent to clients, redelivery included.",
            )?,
            dropped: make.counters(
                "rialto_messages_dropped_total",
                "Messages not delivered to a destination, by reason.",
            )?,
        })
    }
}

impl StateMetrics {
    fn new(make: &Maker<'_>) -> Result<Self, MetricsError> {
        Ok(Self {
            sessions: make.gauge("rialto_sessions", "MQTT sessions, connected or not.")?,
            subscriptions: make.gauge("rialto_subscriptions", "Subscriptions of all sessions.")?,
            retained: make.gauge("rialto_retained_messages", "Topics with a retained message.")?,
            queued: make.gauge("rialto_queued_messages", "Messages waiting in queues.")?,
        })
    }
}

impl JournalMetrics {
    fn new(make: &Maker<'_>) -> Result<Self, MetricsError> {
        Ok(Self {
            batches: make.counter("rialto_journal_batches_total", "Batches written, one sync each.")?,
            records: make.counter("rialto_journal_records_total", "Records written.")?,
            bytes: make.counter("rialto_journal_bytes_total", "Bytes written to the journal.")?,
            sync_seconds: make.histogram(
                "rialto_journal_sync_seconds",
                "Time until a batch was on stable storage.",
                &SYNC_BUCKETS,
            )?,
            durable_lsn: make
                .gauge("rialto_journal_durable_lsn", "Last record that survives a power cut.")?,
            applied_lsn: make.gauge("rialto_journal_applied_lsn", "Last record applied.")?,
            failing: make.gauge(
                "rialto_journal_failing",
                "Whether the disk refuses the journal, so that nothing is acknowledged: 1 yes, 0 no.",
            )?,
        })
    }
}

impl DiskMetrics {
    fn new(make: &Maker<'_>) -> Result<Self, MetricsError> {
        Ok(Self {
            free_bytes: make.gauge(
                "rialto_disk_free_bytes",
                "Room on the file system of the data directory; 0 where that cannot be told.",
            )?,
            short: make.gauge(
                "rialto_disk_short",
                "Whether publishers are refused for want of room on disk: 1 yes, 0 no.",
            )?,
        })
    }
}

impl CheckpointMetrics {
    fn new(make: &Maker<'_>) -> Result<Self, MetricsError> {
        Ok(Self {
            taken: make.counter("rialto_checkpoints_total", "Checkpoints taken.")?,
            seconds: make.histogram(
                "rialto_checkpoint_seconds",
                "Time of a checkpoint, from freezing to trimming.",
                &CHECKPOINT_BUCKETS,
            )?,
            lsn: make
                .gauge("rialto_checkpoint_lsn", "Last record that a restart need not read.")?,
            failing: make.gauge(
                "rialto_checkpoint_failing",
                "Whether the disk refuses checkpoints, so that the journal grows: 1 yes, 0 no.",
            )?,
        })
    }
}

impl ShareMetrics {
    fn new(make: &Maker<'_>) -> Result<Self, MetricsError> {
        Ok(Self {
            returned: make.counter(
                "rialto_shared_returned_total",
                "Messages of share groups that members left unacknowledged.",
            )?,
        })
    }
}

impl BodyMetrics {
    fn new(make: &Maker<'_>) -> Result<Self, MetricsError> {
        Ok(Self {
            segments: make
                .gauge("rialto_body_segments", "Files of checkpointed message bodies.")?,
            bytes: make
                .gauge("rialto_body_bytes", "Bytes in files of checkpointed message bodies.")?,
            live_bytes: make.gauge(
                "rialto_body_live_bytes",
                "Bytes of checkpointed message bodies that a queue still holds.",
            )?,
            compacted_bytes: make.counter(
                "rialto_compacted_bytes_total",
                "Bytes of message bodies copied out of mostly dead files.",
            )?,
        })
    }
}

impl LogMetrics {
    fn new(make: &Maker<'_>) -> Result<Self, MetricsError> {
        Ok(Self {
            appends: make
                .counter("rialto_log_appends_total", "Record batches appended to logs.")?,
            bytes: make.counter("rialto_log_bytes_total", "Bytes appended to logs.")?,
        })
    }
}

/// Makes metrics and registers them.
struct Maker<'a> {
    registry: &'a Registry,
}

impl Maker<'_> {
    fn keep<T: Collector + Clone + 'static>(&self, metric: T) -> Result<T, MetricsError> {
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, MetricsError> {
        self.keep(IntGauge::new(name, help)?)
    }

    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, MetricsError> {
        self.keep(IntCounter::new(name, help)?)
    }

    fn histogram(
        &self,
        name: &str,
        help: &str,
        buckets: &[f64],
    ) -> Result<Histogram, MetricsError> {
        self.keep(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()))?)
    }

    fn gauges<A: Label>(
        &self,
        name: &str,
        help: &str,
    ) -> Result<PerLabel<A, IntGauge>, MetricsError> {
        let family = self.keep(IntGaugeVec::new(Opts::new(name, help), &[A::KEY])?)?;
        PerLabel::new(|a: A| family.get_metric_with_label_values(&[a.name()]))
    }

    fn counters<A: Label>(
        &self,
        name: &str,
        help: &str,
    ) -> Result<PerLabel<A, IntCounter>, MetricsError> {
        let family =
            self.keep(prometheus::IntCounterVec::new(Opts::new(name, help), &[A::KEY])?)?;
        PerLabel::new(|a: A| family.get_metric_with_label_values(&[a.name()]))
    }

    fn counter_pairs<A: Label, B: Label>(
        &self,
        name: &str,
        help: &str,
    ) -> Result<PerPair<A, B, IntCounter>, MetricsError> {
        let labels = [A::KEY, B::KEY];
        let family = self.keep(prometheus::IntCounterVec::new(Opts::new(name, help), &labels)?)?;
        PerPair::new(|a: A, b: B| family.get_metric_with_label_values(&[a.name(), b.name()]))
    }
}

#[cfg(test)]
mod tests;
