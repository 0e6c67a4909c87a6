//! The client's own messages: publishes, returns, confirms. Part of `amqp::client`.

use std::fmt::Display;
use std::sync::Arc;

use crate::amqp::codec::basic::PublishHead;
use crate::amqp::codec::content::{Content, Return};
use crate::amqp::codec::method_id::MethodId;
use crate::amqp::codec::reply::Reply;
use crate::amqp::confirms::Confirms;
use crate::amqp::connection::{Flow, Published as Message};
use crate::amqp::error::{Fault, ReplyCode};
use crate::amqp::owing::{Owed, Owing};
use crate::amqp::prepared::{Author, prepare};
use crate::amqp::refusal;
use crate::broker::Broker;
use crate::broker::consumer::{Completer, Waiter};
use crate::broker::publish::Published;
use crate::broker::publish::exchange::{ExchangePublication, PublishError};
use crate::metrics::DropReason;

use super::working::not_implemented;
use super::{Client, Serving};

/// What became of a publish that the journal did not take.
fn refused(broker: &Broker, error: &impl Display, now_ms: u64) -> Published {
    if broker.logs.may_complain(now_ms) {
        tracing::warn!(%error, "a publish was refused");
    }
    Published::Refused
}

impl Client {
    pub(super) fn select_confirms(&mut self, number: u16, no_wait: bool) -> Flow {
        let channel = self.serving.as_mut().and_then(|serving| serving.channels.get_mut(&number));
        if let Some(channel) = channel {
            channel.confirms.get_or_insert_with(|| Box::new(Confirms::default()));
        }
        self.answer(number, no_wait, false, Reply::ConfirmSelectOk)
    }

    pub(super) fn publish(
        &mut self,
        number: u16,
        published: &Message<'_>,
        now_ms: u64,
    ) -> Result<(), Fault> {
        let head = &published.head;
        self.publishing = true;
        if head.immediate {
            return Err(not_implemented("immediate=true").at(MethodId::BASIC_PUBLISH));
        }
        let Some(serving) = &mut self.serving else { return Ok(()) };
        let Serving { channels, publisher, owing, telling, frame_bytes_max, unconfirmed, .. } =
            &mut **serving;
        let Some(channel) = channels.get_mut(&number) else { return Ok(()) };
        let reply_name = channel.replying.as_ref().map(|replying| &*replying.name);
        let author = Author { login: &self.login, reply_name };
        let prepared = prepare(&published.properties, author)
            .map_err(|fault| fault.at(MethodId::BASIC_PUBLISH))?;
        let all_keys;
        let mut keys: &[&str] = &[head.routing_key];
        if !prepared.more_keys.is_empty() {
            all_keys = [keys, &*prepared.more_keys].concat();
            keys = &all_keys;
        }
        let publication = ExchangePublication {
            exchange: head.exchange,
            keys,
            properties: &prepared.properties,
            payload: published.body,
            persistent: prepared.persistent,
            expires_in_ms: prepared.expires_in_ms,
        };
        let confirmed = channel.confirms.is_some();
        publisher.can_be_told = confirmed;
        publisher.counters.received[usize::from(confirmed)] += 1;
        publisher.counters.payload_received += published.body.len() as u64;
        self.trusts |= prepared.persistent && !confirmed;
        let (link, token) = (&self.link, owing.next_token());
        let waiter = || {
            let completer: Arc<dyn Completer> = link.clone();
            confirmed.then_some(Waiter::Connection(completer, token))
        };
        let broker = &self.shared.broker;
        let outcome = match broker.publish_to_exchange(publisher, &publication, waiter, now_ms) {
            Ok(outcome) => outcome,
            // Never handed to the journal: the publisher is told, and may try again.
            Err(PublishError::Journal(error)) if confirmed => {
                publisher.counters.drop_messages(DropReason::Journal, 1);
                refused(broker, &error, now_ms)
            }
            // Counted where it was refused.
            Err(PublishError::Limit(_)) if confirmed => Published::Refused,
            Err(error) => {
                let vhost = &publisher.principal.vhost;
                let fault = refusal::publishing(&error, head.exchange, vhost, &self.login);
                return Err(fault.at(MethodId::BASIC_PUBLISH));
            }
        };
        if head.mandatory && !outcome.matched() {
            let content = Content { properties: &prepared.properties, body: published.body };
            let back = unroutable(head);
            self.link.outbound.push_reply(|out| back.put(number, &content, *frame_bytes_max, out));
        }
        let Some(confirms) = &mut channel.confirms else { return Ok(()) };
        let publish = confirms.begin();
        *unconfirmed |= confirms.open() >= self.limits.unconfirmed_per_channel_max;
        let at = (number, channel.opening);
        if !may_tell(confirms, publish, at, &outcome, owing) {
            return Ok(());
        }
        if !std::mem::replace(&mut channel.telling, true) {
            telling.push(number);
        }
        Ok(())
    }

    /// Sends the confirms that may leave, those of one channel in one piece.
    pub(super) fn tell_confirms(&mut self) {
        let Some(serving) = &mut self.serving else { return };
        let Serving { channels, telling, .. } = &mut **serving;
        for number in telling.drain(..) {
            if let Some(channel) = channels.get_mut(&number) {
                channel.tell(&self.link.outbound);
            }
        }
    }
}

/// A mandatory message on its way back; before its confirm, if it gets one.
fn unroutable<'a>(head: &PublishHead<'a>) -> Return<'a> {
    let PublishHead { exchange, routing_key, .. } = *head;
    Return { code: ReplyCode::NoRoute, exchange, routing_key }
}

impl Serving {
    /// The record of a publish was applied.
    pub(super) fn confirm(&mut self, number: u16, opening: u32, publish: u64, stored: bool) {
        let channel = self.channels.get_mut(&number).filter(|channel| channel.opening == opening);
        let Some(channel) = channel else { return };
        let Some(confirms) = &mut channel.confirms else { return };
        if stored {
            confirms.store(publish);
        } else {
            confirms.refuse(publish);
        }
        if !std::mem::replace(&mut channel.telling, true) {
            self.telling.push(number);
        }
    }
}

/// Notes what became of the publish `publish` of a channel (its number and opening); false while its record is awaited.
fn may_tell(
    confirms: &mut Confirms,
    publish: u64,
    (channel, opening): (u16, u32),
    outcome: &Published,
    owing: &mut Owing,
) -> bool {
    match outcome {
        Published::Waiting { refused: true, .. } => {
            // Whatever becomes of the record: not all destinations have the message.
            owing.owe(Owed::Nothing);
            confirms.refuse(publish);
        }
        Published::Waiting { .. } => {
            owing.owe(Owed::Confirm { channel, opening, number: publish });
            return false;
        }
        Published::Done { .. } => confirms.store(publish),
        Published::Refused => confirms.refuse(publish),
    }
    true
}
