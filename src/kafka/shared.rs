//! What all Kafka connections share: the broker, the configuration, the clock, budgets. Part of `kafka`.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::kafka::budget::Budget;

/// What the configuration says of Kafka listeners.
#[derive(Clone, Debug)]
pub struct KafkaConfig {
    /// Largest Produce request, in bytes. 100 MiB.
    pub request_bytes_max: usize,
    /// Largest request of any other kind, in bytes. 2 MiB.
    pub other_request_bytes_max: usize,
    /// Bytes of requests in memory, of all connections. 256 MiB.
    pub requests_bytes_max: usize,
    /// Bytes of Fetch answers in memory, of all connections. 256 MiB.
    pub fetches_bytes_max: usize,
    /// Where clients are told to go; by default the address that they used.
    pub advertised: Option<(String, u16)>,
    /// Names the cluster, across restarts.
    pub cluster_id: String,
    /// Whether Metadata may create logs.
    pub auto_create: bool,
    /// Whether a replication factor above 1 is accepted, though there is one copy.
    pub any_replication_factor: bool,
    /// Largest answer to a Fetch, in bytes, but for a single larger batch. 2 MiB.
    pub fetch_bytes_max: usize,
    /// Longest hold of a Fetch, in milliseconds. 30 s.
    pub fetch_wait_ms_max: u64,
    /// A connection on which nothing moved for so long is closed, as Kafka does; clients open another. 10 min.
    pub idle_ms_max: u64,
    /// Produce requests of one connection that wait for their acks, 64.
    pub produce_waiting_max: usize,
    /// Bytes of the same. One request may be larger when it is alone. 16 MiB.
    pub produce_waiting_bytes_max: usize,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            request_bytes_max: 100 * 1024 * 1024,
            other_request_bytes_max: 2 * 1024 * 1024,
            requests_bytes_max: 256 * 1024 * 1024,
            fetches_bytes_max: 256 * 1024 * 1024,
            advertised: None,
            cluster_id: "rialto".to_owned(),
            auto_create: true,
            any_replication_factor: false,
            fetch_bytes_max: 2 * 1024 * 1024,
            fetch_wait_ms_max: 30_000,
            idle_ms_max: 600_000,
            produce_waiting_max: 64,
            produce_waiting_bytes_max: 16 * 1024 * 1024,
        }
    }
}

/// Where time comes from: `server` has the only clock.
pub trait Timer: Send + Sync {
    /// Completes after `duration`.
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// What all Kafka connections share.
pub struct Shared<B> {
    /// The verbs.
    pub broker: Arc<B>,
    /// The configuration.
    pub config: KafkaConfig,
    /// The clock.
    pub timer: Arc<dyn Timer>,
    /// Memory for requests.
    pub(super) requests: Arc<Budget>,
    /// Memory for answers to Fetch.
    pub(super) fetches: Arc<Budget>,
}

impl<B> Shared<B> {
    /// What connections to `broker` share.
    #[must_use]
    pub fn new(broker: Arc<B>, config: KafkaConfig, timer: Arc<dyn Timer>) -> Self {
        let requests = Budget::new(config.requests_bytes_max);
        let fetches = Budget::new(config.fetches_bytes_max);
        Self { broker, config, timer, requests, fetches }
    }
}

impl<B> std::fmt::Debug for Shared<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("config", &self.config).finish_non_exhaustive()
    }
}
