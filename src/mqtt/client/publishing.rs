//! The client's own messages: PUBLISH, PUBREL. Part of `mqtt::client`.

use std::num::NonZeroU16;
use std::sync::Arc;

use crate::broker::BrokerError;
use crate::broker::consumer::{Completer, Waiter};
use crate::broker::publish::Published;
use crate::broker::record::Condition;
use crate::metrics::{CloseReason, DropReason, Limit};
use crate::model::qos::QoS;
use crate::mqtt::codec::Version;
use crate::mqtt::codec::ack::Ack;
use crate::mqtt::codec::publish::PublishIn;
use crate::mqtt::reason::ReasonCode;
use crate::mqtt::replies::Reply;

use super::{Client, Inbound};

fn reason_of(matched: bool) -> ReasonCode {
    if matched { ReasonCode::Success } else { ReasonCode::NoMatchingSubscribers }
}

/// Between two attempts at a message that the disk does not take, ms.
const HOLD_MS: u64 = 1000;

/// Whether a message was dealt with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It was, one way or another.
    Now,
    /// It is to be given again later, as if it had not come yet.
    Later,
}

impl Client {
    pub(super) fn publish(&mut self, publish: &PublishIn<'_>, now_ms: u64) -> Taken {
        let Some(serving) = &mut self.serving else { return Taken::Now };
        serving.publisher.counters.received[publish.qos as usize] += 1;
        serving.publisher.counters.payload_received += publish.payload.len() as u64;
        let mut condition = Condition::None;
        if let (QoS::ExactlyOnce, Some(id)) = (publish.qos, publish.packet_id) {
            if let Some(known) = serving.inbound.get(&id.get()) {
                // A duplicate that arrives while the original waits is answered with it [MQTT-4.3.3-10].
                let answered = *known == Inbound::Received;
                self.window.done();
                if answered {
                    self.reply(Reply::PubRec(id, ReasonCode::Success));
                }
                return Taken::Now;
            }
            if serving.handle.session.durable {
                condition = Condition::Inbound {
                    session: serving.handle.session.id,
                    epoch: serving.handle.epoch,
                    packet_id: id.get(),
                };
            }
            serving.inbound.insert(id.get(), Inbound::Submitted);
        }
        let token = self.replies.next_token();
        let link = &self.link;
        let acknowledged = publish.qos > QoS::AtMostOnce;
        let waiter = || {
            let completer: Arc<dyn Completer> = link.clone();
            acknowledged.then_some(Waiter::Connection(completer, token))
        };
        let outcome = self.shared.broker.publish(
            &mut serving.publisher,
            &publish.publication(),
            condition,
            waiter,
            now_ms,
        );
        if let Err(BrokerError::TooManyLevels) = outcome {
            self.note_limit(Limit::TopicLevels, now_ms);
        }
        let Some(id) = publish.packet_id else {
            if let Err(BrokerError::Journal(error)) = outcome
                && let Some(serving) = &mut self.serving
            {
                // QoS 0 has no answer to carry the refusal.
                serving.publisher.counters.drop_messages(DropReason::Journal, 1);
                tracing::debug!(%error, "a retained QoS 0 message was dropped");
            }
            return Taken::Now;
        };
        match outcome {
            Ok(Published::Done { matched }) => {
                let reply = acknowledgement(publish.qos, id, reason_of(matched));
                self.reply(reply);
            }
            Ok(Published::Waiting { .. }) => {
                let reply = acknowledgement(publish.qos, id, ReasonCode::Success);
                self.replies.owe(reply);
            }
            Ok(Published::Refused) => {
                let error = BrokerError::Limit("messages in a queue");
                self.refuse_publish(publish.qos, id, &error);
            }
            Err(error) if error.is_unavailable() && self.version == Version::V311 => {
                self.hold(publish.qos, id, now_ms);
                return Taken::Later;
            }
            Err(error) => self.refuse_publish(publish.qos, id, &error),
        }
        Taken::Now
    }

    /// MQTT 3.1.1 has no word for "not now": an acknowledgement would be a lie, and whoever is sent away comes back at
    /// once with the same message. So the message stays where it is, and the connection is not read until the disk
    /// takes it.
    fn hold(&mut self, qos: QoS, id: NonZeroU16, now_ms: u64) {
        self.window.done();
        if let Some(serving) = &mut self.serving {
            if qos == QoS::ExactlyOnce {
                serving.inbound.remove(&id.get());
            }
            if let Some(received) = serving.publisher.counters.received.get_mut(qos as usize) {
                *received = received.saturating_sub(1);
            }
        }
        self.held_until_ms = Some(now_ms + HOLD_MS);
        self.schedule(now_ms + HOLD_MS);
    }

    /// MQTT 5 says why; MQTT 3.1.1 can only acknowledge what is not carried out, or close [MQTT-3.3.5-2].
    fn refuse_publish(&mut self, qos: QoS, id: NonZeroU16, error: &BrokerError) {
        let reason = match error {
            BrokerError::NotAuthorized => ReasonCode::NotAuthorized,
            BrokerError::TooManyLevels => ReasonCode::TopicNameInvalid,
            BrokerError::Limit(_) | BrokerError::Journal(_) => ReasonCode::QuotaExceeded,
            BrokerError::TakenOver => {
                self.end(CloseReason::TakenOver);
                return;
            }
        };
        if matches!(error, BrokerError::Journal(_))
            && let Some(serving) = &mut self.serving
        {
            serving.publisher.counters.drop_messages(DropReason::Journal, 1);
        }
        if self.version == Version::V311 {
            if matches!(error, BrokerError::Journal(_)) {
                // Not stored: an acknowledgement would be a lie.
                self.end(CloseReason::Broker);
            } else {
                self.reply(acknowledgement(qos, id, ReasonCode::Success));
            }
            return;
        }
        self.reply(acknowledgement(qos, id, reason));
    }

    /// PUBREL: the client will not repeat the message.
    pub(super) fn released(&mut self, ack: Ack) {
        let id = ack.packet_id;
        let Some(serving) = &mut self.serving else { return };
        let durable = serving.handle.session.durable;
        match serving.inbound.get_mut(&id.get()) {
            // Answered already, or about to be.
            Some(Inbound::Releasing) => {}
            Some(state) if durable => {
                *state = Inbound::Releasing;
                let handle = serving.handle.clone();
                let waiter = self.waiter();
                match self.shared.broker.forget_inbound(&handle, id, waiter) {
                    Ok(()) => self.replies.owe(Reply::PubComp(id)),
                    Err(_) => self.end(CloseReason::Broker),
                }
            }
            Some(_) | None => self.reply(Reply::PubComp(id)),
        }
    }
}

fn acknowledgement(qos: QoS, id: NonZeroU16, reason: ReasonCode) -> Reply {
    if qos == QoS::ExactlyOnce { Reply::PubRec(id, reason) } else { Reply::PubAck(id, reason) }
}
