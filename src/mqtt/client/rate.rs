//! How fast a client may send. Part of `mqtt::client`; time is an argument.
//!
//! A message is charged when it is handled, everything else that was read at the end of its batch. A client in debt is
//! not read: the network, not a queue of ours, keeps what it sends meanwhile. The wheel wakes it, so that no message has
//! a timer.

use crate::config::limits::RateOverflow;
use crate::config::sections::MqttSection;
use crate::metrics::RateLimit;
use crate::mqtt::codec::publish::PublishIn;
use crate::mqtt::reason::ReasonCode;
use crate::server::bucket::{Bucket, Rate};

use super::Client;

/// Packet header, length of the topic, packet identifier: about what a PUBLISH has beside its parts.
const HEAD_BYTES: u64 = 6;

/// What is left of one rate.
struct Kept {
    rate: Rate,
    bucket: Bucket,
}

impl Kept {
    fn new(per_s: u64, now_ms: u64) -> Option<Self> {
        let rate = Rate::new(per_s, 1)?;
        Some(Self { rate, bucket: Bucket::full(rate, now_ms) })
    }

    fn owes_until_ms(&self) -> Option<u64> {
        self.bucket.owes_until_ms(self.rate)
    }
}

/// The rates that bound one client.
pub(super) struct Pace {
    messages: Option<Kept>,
    bytes: Option<Kept>,
    overflow: RateOverflow,
    /// Bytes of this batch that messages were charged for.
    charged: u64,
    /// Until when it is not read, as last told.
    until_ms: u64,
}

fn bytes_of(publish: &PublishIn<'_>) -> u64 {
    let parts = publish.publication();
    (parts.topic.len() + parts.properties.len() + parts.payload.len()) as u64 + HEAD_BYTES
}

impl Pace {
    /// `None` when no rate is bounded.
    pub(super) fn new(limits: &MqttSection, now_ms: u64) -> Option<Box<Self>> {
        let messages = Kept::new(limits.message_rate_max.into(), now_ms);
        let bytes = Kept::new(limits.byte_rate_max, now_ms);
        let overflow = limits.rate_overflow;
        let bounded = messages.is_some() || bytes.is_some();
        bounded.then(|| Box::new(Self { messages, bytes, overflow, charged: 0, until_ms: 0 }))
    }

    fn charge(&mut self, messages: u64, bytes: u64, now_ms: u64) {
        for (kept, tokens) in [(&mut self.messages, messages), (&mut self.bytes, bytes)] {
            if let Some(kept) = kept.as_mut().filter(|_| tokens > 0) {
                kept.bucket.spend(kept.rate, tokens, now_ms);
            }
        }
    }

    fn give_back(&mut self, messages: u64, bytes: u64) {
        for (kept, tokens) in [(&mut self.messages, messages), (&mut self.bytes, bytes)] {
            if let Some(kept) = kept {
                kept.bucket.give_back(kept.rate, tokens);
            }
        }
    }

    /// The rate that is longest exceeded, and until when.
    fn owes(&self, now_ms: u64) -> Option<(RateLimit, u64)> {
        let until = |kept: &Option<Kept>, which| {
            let until_ms = kept.as_ref().and_then(Kept::owes_until_ms)?;
            (until_ms > now_ms).then_some((which, until_ms))
        };
        let owed =
            [until(&self.messages, RateLimit::Messages), until(&self.bytes, RateLimit::Bytes)];
        owed.into_iter().flatten().max_by_key(|(_, until_ms)| *until_ms)
    }

    fn ends(&self) -> bool {
        self.overflow == RateOverflow::Disconnect
    }
}

impl Client {
    /// Charges for `publish`. True when it was too much and the connection ends before it is looked at.
    pub(super) fn charge(&mut self, publish: &PublishIn<'_>, now_ms: u64) -> bool {
        let Some(pace) = &mut self.pace else { return false };
        let bytes = bytes_of(publish);
        pace.charge(1, bytes, now_ms);
        pace.charged += bytes;
        self.end_if_too_fast(now_ms)
    }

    /// `publish` was not dealt with; it comes again.
    pub(super) fn uncharge(&mut self, publish: &PublishIn<'_>) {
        let Some(pace) = &mut self.pace else { return };
        let bytes = bytes_of(publish);
        pace.give_back(1, bytes);
        pace.charged = pace.charged.saturating_sub(bytes);
    }

    /// Charges for what a batch had beside messages.
    pub(super) fn charge_rest(&mut self, bytes: u64, now_ms: u64) {
        let Some(pace) = &mut self.pace else { return };
        let rest = bytes.saturating_sub(std::mem::take(&mut pace.charged));
        pace.charge(0, rest, now_ms);
        if self.stage == super::Stage::Connected {
            self.end_if_too_fast(now_ms);
        }
    }

    fn end_if_too_fast(&mut self, now_ms: u64) -> bool {
        let Some(pace) = self.pace.as_ref().filter(|pace| pace.ends()) else { return false };
        let Some((which, _)) = pace.owes(now_ms) else { return false };
        self.end_at(which.as_limit(), ReasonCode::MessageRateTooHigh, now_ms);
        true
    }

    /// Whether it must not be read now for its rate.
    pub(super) fn owes_time(&self, now_ms: u64) -> bool {
        self.pace.as_ref().is_some_and(|pace| pace.owes(now_ms).is_some())
    }

    /// Until when it is not read for its rate; the wheel wakes it then.
    pub(super) fn paced_until_ms(&mut self, now_ms: u64) -> Option<u64> {
        let pace = self.pace.as_mut()?;
        let (which, until_ms) = pace.owes(now_ms)?;
        if std::mem::replace(&mut pace.until_ms, until_ms) != until_ms {
            self.schedule(until_ms);
            if let Some(left_out) = self.shared.broker.metrics.limits.slow(which, now_ms) {
                let key = which.as_limit().key();
                tracing::warn!(peer = %self.peer, client_id = self.client_id(), left_out,
                    "an MQTT client is not read for {} ms: {key} is reached", until_ms - now_ms);
            }
        }
        Some(until_ms)
    }
}
