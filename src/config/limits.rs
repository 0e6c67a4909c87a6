//! `[limits]`: how many connections one address and one user may hold and open. Part of `config`.

use serde::{Deserialize, Serialize};

use crate::config::source::Fault;

/// `[limits]`: connections of all protocols. 0 sets no bound: a gateway may speak for thousands of devices, so no number
/// is right for everybody.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSection {
    /// Connections open at once from one IPv4 address or one IPv6 /64 network; more are closed at once. Default 0.
    pub connections_per_address_max: usize,
    /// New connections a second from one address. Default 0.
    pub connection_rate_per_address_max: u32,
    /// Connections of one user, those of one client identifier counted once; a login beyond is refused. Default 0.
    pub connections_per_user_max: usize,
    /// Logins a second under one user's name, before the password is looked at. Default 0.
    pub connection_rate_per_user_max: u32,
    /// How many seconds of a rate may come at once, after as long a rest. Default 5.
    pub connection_burst_s: u32,
}

impl Default for LimitsSection {
    fn default() -> Self {
        Self {
            connections_per_address_max: 0,
            connection_rate_per_address_max: 0,
            connections_per_user_max: 0,
            connection_rate_per_user_max: 0,
            connection_burst_s: 5,
        }
    }
}

/// What happens to a durable or transient session's message beyond `mqtt.queued_messages_max` or
/// `mqtt.queued_bytes_max`. Its publisher hears nothing of either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SessionOverflow {
    /// The session does not get the message.
    #[default]
    DropNewest,
    /// The oldest that was never sent goes.
    DropOldest,
}

/// What happens to a client that publishes faster than `mqtt.message_rate_max` or `mqtt.byte_rate_max`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RateOverflow {
    /// It is not read until it may go on.
    #[default]
    Slow,
    /// Its connection ends, DISCONNECT 0x96 first where there is one.
    Disconnect,
}

impl LimitsSection {
    /// Adds what is out of range.
    pub fn check(&self, faults: &mut Vec<Fault>) {
        let ranges = [
            ("connections_per_address_max", self.connections_per_address_max as u64, 0, 10_000_000),
            (
                "connection_rate_per_address_max",
                self.connection_rate_per_address_max.into(),
                0,
                1_000_000,
            ),
            ("connections_per_user_max", self.connections_per_user_max as u64, 0, 10_000_000),
            (
                "connection_rate_per_user_max",
                self.connection_rate_per_user_max.into(),
                0,
                1_000_000,
            ),
            ("connection_burst_s", self.connection_burst_s.into(), 1, 3_600),
        ];
        for (key, value, min, max) in ranges {
            if value < min || value > max {
                let text = format!("{value} is outside {min} to {max}");
                faults.push(Fault::new(format!("limits.{key}"), text));
            }
        }
    }
}
