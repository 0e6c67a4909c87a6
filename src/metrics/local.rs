//! Counters of one connection or worker, without atomics. Part of `metrics`.

use crate::metrics::Metrics;
use crate::metrics::label::{DropReason, Label, Protocol, QosLabel};

const REASONS: usize = DropReason::ALL.len();

/// What happened since the last [`flush_into`](Self::flush_into): bumped for each message, added to the shared
/// counters once a read batch, so that two busy connections do not fight over one cache line.
#[derive(Clone, Debug)]
pub struct LocalCounters {
    protocol: Protocol,
    /// Bytes read.
    pub received_bytes: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Messages published by clients, by quality of service.
    pub received: [u64; 3],
    /// Messages sent to clients, by quality of service.
    pub delivered: [u64; 3],
    /// MQTT packets received, but for PUBLISH.
    pub control_received: u64,
    /// MQTT packets sent, but for PUBLISH.
    pub control_sent: u64,
    /// Bytes of application data published by clients.
    pub payload_received: u64,
    /// Bytes of application data sent to MQTT clients.
    pub payload_sent: u64,
    dropped: [u64; REASONS],
    any_dropped: bool,
}

impl LocalCounters {
    /// All zero.
    #[must_use]
    pub fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            received_bytes: 0,
            sent_bytes: 0,
            received: [0; 3],
            delivered: [0; 3],
            control_received: 0,
            control_sent: 0,
            payload_received: 0,
            payload_sent: 0,
            dropped: [0; REASONS],
            any_dropped: false,
        }
    }

    /// Counts `count` messages that did not reach a destination.
    pub fn drop_messages(&mut self, reason: DropReason, count: u64) {
        self.dropped[reason.index()] += count;
        self.any_dropped = true;
    }

    /// Adds everything to `metrics` and begins again at zero.
    pub fn flush_into(&mut self, metrics: &Metrics) {
        let add = |counter: &prometheus::IntCounter, count: u64| {
            if count > 0 {
                counter.inc_by(count);
            }
        };
        add(metrics.connections.received_bytes.of(self.protocol), self.received_bytes);
        add(metrics.connections.sent_bytes.of(self.protocol), self.sent_bytes);
        for qos in QosLabel::ALL {
            add(metrics.messages.received.of(self.protocol, *qos), self.received[qos.index()]);
            add(metrics.messages.delivered.of(self.protocol, *qos), self.delivered[qos.index()]);
        }
        add(&metrics.mqtt.control_received, self.control_received);
        add(&metrics.mqtt.control_sent, self.control_sent);
        add(&metrics.mqtt.payload_received, self.payload_received);
        add(&metrics.mqtt.payload_sent, self.payload_sent);
        if self.any_dropped {
            for reason in DropReason::ALL {
                add(metrics.messages.dropped.of(*reason), self.dropped[reason.index()]);
            }
        }
        *self = Self::new(self.protocol);
    }
}
