//! `[amqp]`: what the broker tells AMQP 0-9-1 clients about itself, and what bounds them. Part of `config`.

use serde::{Deserialize, Serialize};

use crate::config::byte_size;
use crate::config::source::Fault;

/// `[amqp]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AmqpSection {
    /// Product named in the server properties; some clients choose their ways by it. Default `Rialto`.
    pub product: String,
    /// Version named there, three numbers; empty is this broker's own. Default empty.
    pub version: String,
    /// Largest frame, bytes; clients may agree on less. Default 128 KiB.
    #[serde(deserialize_with = "byte_size::deserialize")]
    pub frame_bytes_max: u32,
    /// Channels of one connection open at once. Default 2,047.
    pub channels_max: u16,
    /// Heartbeat interval proposed to clients, seconds; 0 proposes none. Default 60.
    pub heartbeat_s: u16,
    /// How long a connection may take to log in and open its vhost, ms. Default 10,000.
    pub login_timeout_ms: u64,
    /// Largest message body, bytes. Default 16 MiB.
    #[serde(deserialize_with = "byte_size::deserialize")]
    pub message_bytes_max: usize,
    /// Consumers of one channel. Default 10,000.
    pub consumers_per_channel_max: usize,
    /// Messages sent on one channel and not yet acknowledged, whatever prefetch the client asked for. Default
    /// 100,000.
    pub unacked_per_channel_max: usize,
    /// Messages published on one channel in confirm mode and not yet confirmed; then its connection is not read.
    /// Default 65,536.
    pub unconfirmed_per_channel_max: usize,
    /// Bytes that wait in a durable queue declared without `x-max-length-bytes`; `queues.overflow` says what happens
    /// beyond. 0 sets no bound. Default 0.
    #[serde(deserialize_with = "byte_size::deserialize")]
    pub queue_bytes_max: u64,
    /// Bytes of encoded frames that wait for a slow client's socket; its queues keep the rest. Default 1 MiB.
    #[serde(deserialize_with = "byte_size::deserialize")]
    pub outbound_buffer_bytes_max: usize,
    /// Bodies of transient messages that wait in memory; what is more waits on disk. Default 32 MiB.
    #[serde(deserialize_with = "byte_size::deserialize")]
    pub memory_bytes_max: usize,
    /// Bodies of transient messages that wait on disk; what is more is dropped and counted. Default 8 GiB.
    #[serde(deserialize_with = "byte_size::deserialize")]
    pub scratch_bytes_max: u64,
    /// Most queues of a vhost. Default 100,000.
    pub queues_max: usize,
    /// Most exchanges of a vhost. Default 10,000.
    pub exchanges_max: usize,
    /// Most bindings of a vhost. Default 1,000,000.
    pub bindings_max: usize,
}

impl Default for AmqpSection {
    fn default() -> Self {
        Self {
            product: "Rialto".to_owned(),
            version: String::new(),
            frame_bytes_max: 128 << 10,
            channels_max: 2047,
            heartbeat_s: 60,
            login_timeout_ms: 10_000,
            message_bytes_max: 16 << 20,
            consumers_per_channel_max: 10_000,
            unacked_per_channel_max: 100_000,
            unconfirmed_per_channel_max: 65_536,
            queue_bytes_max: 0,
            outbound_buffer_bytes_max: 1 << 20,
            memory_bytes_max: 32 << 20,
            scratch_bytes_max: 8 << 30,
            queues_max: 100_000,
            exchanges_max: 10_000,
            bindings_max: 1_000_000,
        }
    }
}

impl AmqpSection {
    /// Adds what is out of range.
    pub fn check(&self, faults: &mut Vec<Fault>) {
        const KIB: u64 = 1 << 10;
        const GIB: u64 = 1 << 30;
        let mut range = |key: &str, value: u64, min: u64, max: u64| {
            if value < min || value > max {
                let text = format!("{value} is outside {min} to {max}");
                faults.push(Fault::new(format!("amqp.{key}"), text));
            }
        };
        // The smallest that the specification lets a peer insist on [AMQP 4.2.3].
        range("frame_bytes_max", self.frame_bytes_max.into(), 4 * KIB, 16 << 20);
        range("channels_max", self.channels_max.into(), 1, 65_535);
        range("login_timeout_ms", self.login_timeout_ms, 100, 600_000);
        range("message_bytes_max", self.message_bytes_max as u64, KIB, GIB / 2);
        range("consumers_per_channel_max", self.consumers_per_channel_max as u64, 1, 1_000_000);
        range("unacked_per_channel_max", self.unacked_per_channel_max as u64, 1, 10_000_000);
        range(
            "unconfirmed_per_channel_max",
            self.unconfirmed_per_channel_max as u64,
            1,
            10_000_000,
        );
        range("queue_bytes_max", self.queue_bytes_max, 0, 1024 * 1024 * GIB);
        let outbound = self.outbound_buffer_bytes_max as u64;
        range("outbound_buffer_bytes_max", outbound, 4 * KIB, GIB);
        range("memory_bytes_max", self.memory_bytes_max as u64, 0, 1024 * GIB);
        range("scratch_bytes_max", self.scratch_bytes_max, 0, 1024 * 1024 * GIB);
        range("queues_max", self.queues_max as u64, 1, 100_000_000);
        range("exchanges_max", self.exchanges_max as u64, 16, 100_000_000);
        range("bindings_max", self.bindings_max as u64, 1, 1_000_000_000);
        if self.product.is_empty() || self.product.len() > 255 {
            let text = "1 to 255 bytes".to_owned();
            faults.push(Fault::new("amqp.product", text));
        }
        let numbers = self.version.split('.').map(str::parse::<u32>).collect::<Result<Vec<_>, _>>();
        if !self.version.is_empty() && !numbers.is_ok_and(|numbers| numbers.len() == 3) {
            let text = format!("`{}` is not of the form 1.2.3", self.version);
            faults.push(Fault::new("amqp.version", text));
        }
    }
}
