//! What only MQTT counts, and what `$SYS` needs besides the rest. Part of `metrics`.

use prometheus::IntCounter;

use crate::metrics::{Maker, MetricsError};

/// MQTT's own counters.
#[derive(Debug)]
pub struct MqttMetrics {
    /// CONNECT packets taken.
    pub connects: IntCounter,
    /// Control packets received, but for PUBLISH.
    pub control_received: IntCounter,
    /// Control packets sent, but for PUBLISH.
    pub control_sent: IntCounter,
    /// Bytes of application data that MQTT and AMQP clients published.
    pub payload_received: IntCounter,
    /// Bytes of application data sent to MQTT clients.
    pub payload_sent: IntCounter,
    /// Durable sessions whose expiry interval ran out.
    pub sessions_expired: IntCounter,
}

impl MqttMetrics {
    pub(super) fn new(make: &Maker<'_>) -> Result<Self, MetricsError> {
        Ok(Self {
            connects: make.counter("rialto_mqtt_connects_total", "CONNECT packets taken.")?,
            control_received: make.counter(
                "rialto_mqtt_control_received_total",
                "Packets received from MQTT clients, but for PUBLISH.",
            )?,
            control_sent: make.counter(
                "rialto_mqtt_control_sent_total",
                "Packets sent to MQTT clients, but for PUBLISH.",
            )?,
            payload_received: make.counter(
                "rialto_payload_received_bytes_total",
                "Bytes of application data published by MQTT and AMQP clients.",
            )?,
            payload_sent: make.counter(
                "rialto_payload_sent_bytes_total",
                "Bytes of application data sent to MQTT clients.",
            )?,
            sessions_expired: make.counter(
                "rialto_sessions_expired_total",
                "Durable sessions ended because nobody came back in time.",
            )?,
        })
    }
}
