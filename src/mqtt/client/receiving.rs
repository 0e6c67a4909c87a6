//! Subscriptions, and the messages the client gets. Part of `mqtt::client`.

use crate::broker::BrokerError;
use crate::broker::replay::Progress;
use crate::broker::sessions::pull::{Acknowledged, Settled};
use crate::broker::sessions::subscription::Subscription;
use crate::broker::settle::Released;
use crate::broker::subscribe::{Refusal, RetainedWanted, Wish};
use crate::metrics::{CloseReason, Limit};
use crate::model::qos::QoS;
use crate::model::topic::TopicFilter;
use crate::mqtt::codec::Version;
use crate::mqtt::codec::ack::Ack;
use crate::mqtt::codec::fixed_header::PacketType;
use crate::mqtt::codec::subscribe::{RetainHandling, Subscribe, SubscribeFilter, Unsubscribe};
use crate::mqtt::error::ProtocolError;
use crate::mqtt::reason::ReasonCode;
use crate::mqtt::replies::Reply;
use crate::net::outbound::READY;

use super::Client;

/// An acknowledgement that its message does not wait for: to take it as the right one would lose the promise.
const OUT_OF_TURN: ProtocolError =
    ProtocolError::protocol("acknowledgement of another kind than the message waits for");

/// Replays of retained messages that get a step before other connections have their turn.
const REPLAYS_A_TURN: usize = 32;

fn granted(qos: QoS) -> ReasonCode {
    match qos {
        QoS::AtMostOnce => ReasonCode::Success,
        QoS::AtLeastOnce => ReasonCode::GrantedQos1,
        QoS::ExactlyOnce => ReasonCode::GrantedQos2,
    }
}

fn refused(refusal: Refusal) -> ReasonCode {
    match refusal {
        Refusal::NotAuthorized => ReasonCode::NotAuthorized,
        Refusal::QuotaExceeded => ReasonCode::QuotaExceeded,
        Refusal::InvalidFilter => ReasonCode::TopicFilterInvalid,
    }
}

fn wish(filter: &SubscribeFilter, id: Option<u32>, bridge: bool) -> Option<Wish> {
    let parsed = filter.filter.as_ref().ok()?.clone();
    let is_shared = parsed.share_group().is_some();
    Some(Wish {
        filter: parsed,
        options: Subscription {
            qos: filter.qos,
            // A bridge (protocol level 0x84) expects what MQTT 5 made explicit.
            no_local: (filter.no_local || bridge) && !is_shared,
            retain_as_published: filter.retain_as_published || bridge,
            id,
            ..Subscription::default()
        },
        retained: match filter.retain_handling {
            RetainHandling::Always => RetainedWanted::Always,
            RetainHandling::IfNew => RetainedWanted::IfNew,
            RetainHandling::Never => RetainedWanted::Never,
        },
    })
}

impl Client {
    pub(super) fn subscribe(&mut self, subscribe: Subscribe, now_ms: u64) {
        let bridge = self.connect.as_ref().is_some_and(|connect| connect.bridge);
        let wishes: Vec<Option<Wish>> = subscribe
            .filters
            .iter()
            .map(|filter| wish(filter, subscribe.subscription_id, bridge))
            .collect();
        let (valid, places): (Vec<Wish>, Vec<usize>) = wishes
            .into_iter()
            .enumerate()
            .filter_map(|(place, wish)| wish.map(|wish| (wish, place)))
            .unzip();
        let mut reasons = vec![ReasonCode::TopicFilterInvalid; subscribe.filters.len()];
        let (Some(serving), Some(principal)) = (&self.serving, &self.principal) else { return };
        let handle = serving.handle.clone();
        let subscribed =
            match self.shared.broker.subscribe(principal, &handle, &valid, self.waiter()) {
                Ok(subscribed) => subscribed,
                Err(BrokerError::Journal(error)) => {
                    tracing::debug!(%error, "a subscription could not be made durable");
                    reasons.fill(ReasonCode::QuotaExceeded);
                    return self.reply(Reply::SubAck(subscribe.packet_id, reasons, Vec::new()));
                }
                Err(error) => return self.end_unsubscribed(&error),
            };
        for (place, grant) in places.into_iter().zip(&subscribed.granted) {
            if let Some(reason) = reasons.get_mut(place) {
                *reason = match grant {
                    Ok(qos) => granted(*qos),
                    Err(refusal) => refused(*refusal),
                };
            }
            match grant {
                Err(Refusal::QuotaExceeded) => self.note_limit(Limit::Subscriptions, now_ms),
                Err(Refusal::InvalidFilter) => self.note_limit(Limit::TopicLevels, now_ms),
                Err(Refusal::NotAuthorized) | Ok(_) => {}
            }
        }
        let reply = Reply::SubAck(subscribe.packet_id, reasons, subscribed.replays);
        if subscribed.waits { self.replies.owe(reply) } else { self.reply(reply) }
    }

    pub(super) fn unsubscribe(&mut self, unsubscribe: Unsubscribe) {
        let Some(serving) = &self.serving else { return };
        let handle = serving.handle.clone();
        let filters: Vec<TopicFilter> =
            unsubscribe.filters.iter().filter_map(|filter| filter.as_ref().ok().cloned()).collect();
        let waiter = self.waiter();
        let (known, waits) = match self.shared.broker.unsubscribe(&handle, &filters, waiter) {
            Ok(done) => done,
            // MQTT 5 can say that all is as before.
            Err(BrokerError::Journal(error)) if self.version == Version::V5 => {
                tracing::debug!(%error, "subscriptions could not be given up durably");
                let reasons =
                    vec![ReasonCode::ImplementationSpecificError; unsubscribe.filters.len()];
                return self.reply(Reply::UnsubAck(unsubscribe.packet_id, reasons));
            }
            Err(error) => return self.end_unsubscribed(&error),
        };
        let mut known = known.into_iter();
        let reasons = unsubscribe
            .filters
            .iter()
            .map(|filter| match filter {
                Err(_) => ReasonCode::TopicFilterInvalid,
                Ok(_) if known.next() == Some(true) => ReasonCode::Success,
                Ok(_) => ReasonCode::NoSubscriptionExisted,
            })
            .collect();
        let reply = Reply::UnsubAck(unsubscribe.packet_id, reasons);
        if waits { self.replies.owe(reply) } else { self.reply(reply) }
    }

    /// A change of subscriptions came to nothing; no answer says that truly in every version.
    fn end_unsubscribed(&mut self, error: &BrokerError) {
        if *error == BrokerError::TakenOver {
            self.end(CloseReason::TakenOver);
            return;
        }
        tracing::warn!(%error, "a change of subscriptions could not be made durable");
        self.end(CloseReason::Broker);
    }

    /// PUBACK, PUBCOMP or a PUBREC that refuses: the client is done with a message.
    pub(super) fn settled(&mut self, ack: Ack, how: Acknowledged) {
        let Some(serving) = &mut self.serving else { return };
        let broker = &self.shared.broker;
        match broker.acknowledge(&serving.handle, ack.packet_id, how, &mut serving.settled) {
            Settled::Position(_) | Settled::Shared => serving.pull = true,
            // Perhaps of an earlier connection: nothing waits for it.
            Settled::Unknown => {}
            Settled::OutOfTurn => self.breach(OUT_OF_TURN),
        }
    }

    /// PUBREC: the client holds a message, or refuses it for good.
    pub(super) fn received(&mut self, ack: Ack) {
        if ack.reason.is_failure() {
            self.settled(ack, Acknowledged::Refused);
            return;
        }
        let Some(serving) = &self.serving else { return };
        let handle = serving.handle.clone();
        match self.shared.broker.release(&handle, ack.packet_id, self.waiter()) {
            Ok(Released::Waits) => self.replies.owe(Reply::PubRel(ack.packet_id)),
            Ok(Released::AtOnce) => self.reply(Reply::PubRel(ack.packet_id)),
            Ok(Released::OutOfTurn) => self.breach(OUT_OF_TURN),
            Ok(Released::Unknown) if self.version == Version::V5 => self.send_ack(
                PacketType::PubRel,
                ack.packet_id,
                ReasonCode::PacketIdentifierNotFound,
            ),
            // MQTT 3.1.1 has no other way to let the client forget the identifier.
            Ok(Released::Unknown) => self.reply(Reply::PubRel(ack.packet_id)),
            Err(_) => self.end(CloseReason::Broker),
        }
    }

    /// Sends retained messages that are due, then what the queue holds and the window allows.
    pub(super) fn serve_queue(&mut self, now_ms: u64) {
        let Some(serving) = &mut self.serving else { return };
        if !std::mem::take(&mut serving.pull) {
            return;
        }
        let broker = &self.shared.broker;
        let mut progress = Progress::Done;
        let mut begun = 0;
        while let Some(replay) = serving.replays.front_mut() {
            if begun == REPLAYS_A_TURN {
                progress = Progress::More;
                break;
            }
            begun += 1;
            let counters = &mut serving.publisher.counters;
            let encodings = &mut serving.encodings;
            progress = broker.replay_step(&serving.handle, replay, encodings, counters, now_ms);
            if progress != Progress::Done {
                break;
            }
            serving.replays.pop_front();
        }
        // The session's own first: nobody else can have those, and what was sent before goes out again before anything
        // new. A group's backlog would take every place in the window.
        let pulled = broker.pull(
            &serving.handle,
            &mut serving.encodings,
            &mut serving.publisher.counters,
            &mut serving.settled,
            now_ms,
        );
        let pulled = pulled.and_then(|()| {
            broker.serve_shares(
                &serving.handle,
                &mut serving.encodings,
                &mut serving.publisher.counters,
                now_ms,
            )
        });
        if let Err(error) = pulled {
            let client_id = &*serving.handle.session.key.client_id;
            tracing::error!(client_id, error, "queued messages cannot be read");
            self.end(CloseReason::Broker);
            return;
        }
        let goes_on = match progress {
            Progress::Done | Progress::Unapplied => false,
            Progress::More => true,
            // If not, an acknowledgement or the buffer's room brings the next turn.
            Progress::Full => serving.handle.session.takes_more(1),
        };
        if goes_on {
            // In the next turn: other connections come first.
            serving.pull = true;
            self.link.outbound.signal(READY);
        }
    }
}
