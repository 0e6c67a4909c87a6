//! What limits refused, and when it is time to say so again. Part of `metrics`.
//!
//! A peer that runs into a limit does so a thousand times a second. Every time is counted; a line in the log is worth
//! the first few of a while, and those say how many like them were left out.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use prometheus::IntCounter;

use crate::metrics::label::{DropReason, Limit, PerLabel, RateLimit};
use crate::metrics::{Maker, MetricsError};

/// Lines of one kind in one window.
const LINES_MAX: u32 = 5;
/// Length of a window, ms.
const WINDOW_MS: u64 = 10_000;

/// Limits of the configuration that were reached.
#[derive(Debug)]
pub struct LimitMetrics {
    /// What was asked for and refused, by limit.
    pub refused: PerLabel<Limit, IntCounter>,
    /// How often clients were not read for a while, by limit.
    pub slowed: PerLabel<RateLimit, IntCounter>,
    refused_lines: PerLabel<Limit, Lines>,
    slowed_lines: PerLabel<RateLimit, Lines>,
    dropped_lines: PerLabel<DropReason, Lines>,
}

/// Lines that were written of late.
#[derive(Debug, Default)]
struct Lines {
    /// Number of the window.
    window: AtomicU64,
    /// Lines written in it.
    written: AtomicU32,
    /// Lines left out since the last one.
    left_out: AtomicU64,
}

impl Limit {
    /// The key of the configuration that sets it.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Connections => "listeners.connections_max",
            Self::ConnectionsPerAddress => "limits.connections_per_address_max",
            Self::ConnectionRatePerAddress => "limits.connection_rate_per_address_max",
            Self::ConnectionsPerUser => "limits.connections_per_user_max",
            Self::ConnectionRatePerUser => "limits.connection_rate_per_user_max",
            Self::PacketBytes => "mqtt.packet_bytes_max",
            Self::ClientIdBytes => "mqtt.client_id_bytes_max",
            Self::TopicLevels => "mqtt.topic_levels_max",
            Self::Subscriptions => "mqtt.subscriptions_per_session_max",
            Self::ReceiveMax => "mqtt.receive_max",
            Self::MessageRate => "mqtt.message_rate_max",
            Self::ByteRate => "mqtt.byte_rate_max",
            Self::RetainedMessages => "retained.messages_max",
            Self::RetainedBytes => "retained.bytes_max",
        }
    }
}

impl RateLimit {
    /// The same limit, when it ends connections.
    #[must_use]
    pub fn as_limit(self) -> Limit {
        match self {
            Self::Messages => Limit::MessageRate,
            Self::Bytes => Limit::ByteRate,
        }
    }
}

impl LimitMetrics {
    pub(super) fn new(make: &Maker<'_>) -> Result<Self, MetricsError> {
        Ok(Self {
            refused: make.counters(
                "rialto_refused_total",
                "What clients were refused for a limit of the configuration, by limit.",
            )?,
            slowed: make.counters(
                "rialto_rate_pauses_total",
                "Times that a client was not read for a while for its rate, by limit.",
            )?,
            refused_lines: PerLabel::new(|_| Ok::<_, MetricsError>(Lines::default()))?,
            slowed_lines: PerLabel::new(|_| Ok::<_, MetricsError>(Lines::default()))?,
            dropped_lines: PerLabel::new(|_| Ok::<_, MetricsError>(Lines::default()))?,
        })
    }

    /// Counts a refusal. `Some` asks for a line in the log, and is how many like it were left out since the last.
    pub fn refuse(&self, limit: Limit, now_ms: u64) -> Option<u64> {
        self.refused.of(limit).inc();
        self.refused_lines.of(limit).ask(now_ms)
    }

    /// Counts a pause of a client that is too fast; `Some` as with [`Self::refuse`].
    pub fn slow(&self, limit: RateLimit, now_ms: u64) -> Option<u64> {
        self.slowed.of(limit).inc();
        self.slowed_lines.of(limit).ask(now_ms)
    }

    /// `Some`, as with [`Self::refuse`], when a dropped message, which others count, is worth a line.
    pub fn tell_drop(&self, reason: DropReason, now_ms: u64) -> Option<u64> {
        self.dropped_lines.of(reason).ask(now_ms)
    }
}

impl Lines {
    /// Whether one more line may be written at `now_ms`. Two threads at the turn of a window may write one more than
    /// they should, or miss one: nobody counts by lines.
    fn ask(&self, now_ms: u64) -> Option<u64> {
        // From 1: no window was before the first.
        let window = now_ms / WINDOW_MS + 1;
        if self.window.swap(window, Ordering::Relaxed) != window {
            self.written.store(0, Ordering::Relaxed);
        }
        if self.written.load(Ordering::Relaxed) >= LINES_MAX {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        self.written.fetch_add(1, Ordering::Relaxed);
        Some(self.left_out.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::{LINES_MAX, Lines, WINDOW_MS};

    #[test]
    fn a_flood_is_told_a_few_times_and_then_how_much_it_was() {
        let lines = Lines::default();
        for _ in 0..LINES_MAX {
            assert_eq!(lines.ask(0), Some(0));
        }
        for at_ms in 0..100 {
            assert_eq!(lines.ask(at_ms), None);
        }
        assert_eq!(lines.ask(WINDOW_MS), Some(100));
        assert_eq!(lines.ask(WINDOW_MS), Some(0));
    }
}
