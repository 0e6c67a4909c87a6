//! Names and values of `$SYS`, as mosquitto 2.0 publishes them. Part of `mqtt::sys`.
//!
//! | below `$SYS/broker/` | value |
//! |---|---|
//! | `version` | `rialto version 0.1.0` |
//! | `uptime` | `62 seconds` |
//! | `clients/total`, `clients/connected`, `clients/disconnected` | sessions, those with a connection, those without |
//! | `clients/active`, `clients/inactive` | the same as the last two, by older names |
//! | `clients/maximum`, `clients/expired` | most connected at a time, as seen each interval; sessions that ran out |
//! | `load/…/1min`, `5min`, `15min` | what happens a minute, see [`load`](super::load) |
//! | `messages/received`, `messages/sent` | packets of every kind |
//! | `messages/inflight` | sent at QoS 1 or 2 and not acknowledged |
//! | `messages/stored`, `store/messages/count` | waiting in durable queues, or retained |
//! | `store/messages/bytes` | bytes of those waiting |
//! | `publish/messages/…`, `publish/bytes/…` | messages and their application data |
//! | `bytes/received`, `bytes/sent` | bytes on the wire, without TLS |
//! | `subscriptions/count`, `shared_subscriptions/count` | of all sessions |
//! | `retained messages/count` | topics with a retained message, these not among them |
//! | `heap/current`, `heap/maximum` | resident memory of the process now and at its most, bytes |

use crate::broker::census::Census;
use crate::metrics::process;

use super::load::{Loads, SERIES, SPANS};
use super::totals::Totals;

/// Where all topics begin.
pub const PREFIX: &str = "$SYS/broker/";

/// Everything there is to say in one vhost.
#[derive(Clone, Copy, Debug)]
pub struct Figures<'a> {
    /// Since the start.
    pub uptime_s: u64,
    /// The vhost's clients.
    pub census: Census,
    /// Most of them connected at a time.
    pub connected_max: u64,
    /// The broker's counters.
    pub totals: &'a Totals,
    /// The broker's averages.
    pub loads: &'a Loads,
    /// Of the process, where the system tells.
    pub memory: Option<process::Memory>,
}

/// Topics and what stands there, always in the same order.
#[must_use]
pub fn values(figures: &Figures<'_>) -> Vec<(String, String)> {
    let mut all = vec![
        topic("version", concat!("rialto version ", env!("CARGO_PKG_VERSION")).to_owned()),
        topic("uptime", format!("{} seconds", figures.uptime_s)),
    ];
    let Figures { census, totals, .. } = figures;
    let disconnected = census.sessions.saturating_sub(census.connected);
    all.extend(numbers(&[
        ("clients/total", census.sessions),
        ("clients/inactive", disconnected),
        ("clients/disconnected", disconnected),
        ("clients/active", census.connected),
        ("clients/connected", census.connected),
        ("clients/maximum", figures.connected_max),
        ("clients/expired", totals.expired),
    ]));
    for ((series, _), averages) in SERIES.iter().zip(figures.loads.0) {
        for ((_, span), average) in SPANS.iter().zip(averages) {
            all.push(topic(&format!("load/{series}/{span}"), format!("{average:.2}")));
        }
    }
    all.extend(numbers(&[
        ("messages/stored", totals.stored),
        ("messages/received", totals.packets_received),
        ("messages/sent", totals.packets_sent),
        ("messages/inflight", census.in_flight),
        ("store/messages/count", totals.stored),
        ("store/messages/bytes", totals.stored_bytes),
        ("subscriptions/count", census.subscriptions),
        ("shared_subscriptions/count", census.shared),
        ("retained messages/count", totals.retained),
        ("publish/messages/dropped", totals.messages_dropped),
        ("publish/messages/received", totals.messages_received),
        ("publish/messages/sent", totals.messages_sent),
        ("publish/bytes/received", totals.payload_received),
        ("publish/bytes/sent", totals.payload_sent),
        ("bytes/received", totals.bytes_received),
        ("bytes/sent", totals.bytes_sent),
    ]));
    if let Some(memory) = figures.memory {
        all.extend(numbers(&[
            ("heap/current", memory.resident_bytes),
            ("heap/maximum", memory.peak_bytes),
        ]));
    }
    all
}

fn topic(name: &str, value: String) -> (String, String) {
    (format!("{PREFIX}{name}"), value)
}

fn numbers(pairs: &[(&str, u64)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| topic(name, value.to_string())).collect()
}
