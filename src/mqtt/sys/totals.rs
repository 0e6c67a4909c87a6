//! What was counted since the broker started. Part of `mqtt::sys`.

use crate::broker::Broker;
use crate::metrics::label::Label;
use crate::metrics::{DropReason, Protocol, QosLabel};

/// Counters of the whole broker, all protocols together, and what it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// MQTT packets and messages of other protocols that clients sent.
    pub packets_received: u64,
    /// The same that clients got.
    pub packets_sent: u64,
    /// Messages that clients published.
    pub messages_received: u64,
    /// Messages that clients got.
    pub messages_sent: u64,
    /// Messages that a limit kept from a client.
    pub messages_dropped: u64,
    /// Bytes of application data that clients published.
    pub payload_received: u64,
    /// Bytes of application data that clients got.
    pub payload_sent: u64,
    /// Bytes that clients sent.
    pub bytes_received: u64,
    /// Bytes that clients got.
    pub bytes_sent: u64,
    /// Sockets opened.
    pub sockets: u64,
    /// CONNECT packets taken.
    pub connects: u64,
    /// Sessions whose expiry interval ran out.
    pub expired: u64,
    /// Messages that wait in durable queues, or are retained.
    pub stored: u64,
    /// Bytes of those in queues.
    pub stored_bytes: u64,
    /// Topics with a retained message.
    pub retained: u64,
}

/// Drops for a limit, as mosquitto counts them; others are somebody's wish, or nobody's loss.
const LIMITS: [DropReason; 6] = [
    DropReason::QueueFull,
    DropReason::OutboundFull,
    DropReason::RetainedFull,
    DropReason::NoRoom,
    DropReason::QueuesFull,
    DropReason::Overflow,
];

impl Totals {
    /// Reads the counters.
    #[must_use]
    pub fn read(broker: &Broker) -> Self {
        let (connections, messages) = (&broker.metrics.connections, &broker.metrics.messages);
        let mqtt = &broker.metrics.mqtt;
        let mut totals = Self {
            payload_received: mqtt.payload_received.get(),
            payload_sent: mqtt.payload_sent.get(),
            connects: mqtt.connects.get(),
            expired: mqtt.sessions_expired.get(),
            stored_bytes: broker.backlog.bytes(),
            retained: broker.retained.len() as u64,
            ..Self::default()
        };
        for protocol in Protocol::ALL {
            for qos in QosLabel::ALL {
                totals.messages_received += messages.received.of(*protocol, *qos).get();
                totals.messages_sent += messages.delivered.of(*protocol, *qos).get();
            }
            totals.bytes_received += connections.received_bytes.of(*protocol).get();
            totals.bytes_sent += connections.sent_bytes.of(*protocol).get();
            totals.sockets += connections.opened.of(*protocol).get();
        }
        totals.packets_received = totals.messages_received + mqtt.control_received.get();
        totals.packets_sent = totals.messages_sent + mqtt.control_sent.get();
        totals.messages_dropped = LIMITS.iter().map(|why| messages.dropped.of(*why).get()).sum();
        let queued = u64::try_from(broker.metrics.state.queued.get()).unwrap_or(0);
        totals.stored = queued + totals.retained;
        totals
    }
}
