//! `[kafka]`: the Kafka listener and what its connections may hold in memory. Part of `config`.

use serde::{Deserialize, Serialize};

use crate::config::byte_size;
use crate::config::source::Fault;

/// `[kafka]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaSection {
    /// `host:port` that Metadata tells clients to connect to; empty tells each the address it used. Default empty.
    pub advertised: String,
    /// Largest Produce request, bytes. Default 100 MiB.
    #[serde(deserialize_with = "byte_size::deserialize")]
    pub request_bytes_max: usize,
    /// Largest request of any other kind, bytes; the assignments of a group are the largest. Default 2 MiB.
    #[serde(deserialize_with = "byte_size::deserialize")]
    pub other_request_bytes_max: usize,
    /// Bytes of requests in memory, of all connections; who would exceed it is not read. Default 256 MiB.
    #[serde(deserialize_with = "byte_size::deserialize")]
    pub requests_bytes_max: usize,
    /// Largest record batch, bytes. Default 1 MiB.
    #[serde(deserialize_with = "byte_size::deserialize")]
    pub batch_bytes_max: usize,
    /// Most bytes one Fetch answers, whatever it asks for. Default 2 MiB.
    #[serde(deserialize_with = "byte_size::deserialize")]
    pub fetch_bytes_max: usize,
    /// Bytes of Fetch answers in memory, of all connections; further ones wait. Default 256 MiB.
    #[serde(deserialize_with = "byte_size::deserialize")]
    pub fetches_bytes_max: usize,
    /// Requests of one connection being answered at once; then it is not read. Default 64.
    pub requests_in_flight_max: usize,
}

impl Default for KafkaSection {
    fn default() -> Self {
        Self {
            advertised: String::new(),
            request_bytes_max: 100 << 20,
            other_request_bytes_max: 2 << 20,
            requests_bytes_max: 256 << 20,
            batch_bytes_max: 1 << 20,
            fetch_bytes_max: 2 << 20,
            fetches_bytes_max: 256 << 20,
            requests_in_flight_max: 64,
        }
    }
}

impl KafkaSection {
    /// Adds what is out of range.
    pub fn check(&self, faults: &mut Vec<Fault>) {
        const KIB: u64 = 1 << 10;
        const MIB: u64 = 1 << 20;
        const GIB: u64 = 1 << 30;
        let mut range = |key: &str, value: usize, min: u64, max: u64| {
            let value = value as u64;
            if value < min || value > max {
                let text = format!("{value} is outside {min} to {max}");
                faults.push(Fault::new(format!("kafka.{key}"), text));
            }
        };
        range("request_bytes_max", self.request_bytes_max, 64 * KIB, GIB);
        range("other_request_bytes_max", self.other_request_bytes_max, 64 * KIB, 64 * MIB);
        // One request of any size is read in any case, beyond it if need be.
        range("requests_bytes_max", self.requests_bytes_max, MIB, 1024 * GIB);
        range("batch_bytes_max", self.batch_bytes_max, KIB, 256 * MIB);
        range("fetch_bytes_max", self.fetch_bytes_max, 64 * KIB, GIB);
        range("fetches_bytes_max", self.fetches_bytes_max, MIB, 1024 * GIB);
        range("requests_in_flight_max", self.requests_in_flight_max, 1, 10_000);
        if self.batch_bytes_max > self.request_bytes_max {
            let text = "larger than kafka.request_bytes_max";
            faults.push(Fault::new("kafka.batch_bytes_max", text));
        }
    }
}
