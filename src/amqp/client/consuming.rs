//! Consumers, single messages, prefetch. Part of `amqp::client`.

use std::sync::Arc;

use crate::amqp::codec::basic::{Cancel, Consume, Get, Qos};
use crate::amqp::codec::content::GetOk;
use crate::amqp::codec::reply::Reply;
use crate::amqp::connection::Flow;
use crate::amqp::consumer::{ReplyTaker, Taker};
use crate::amqp::error::{Fault, ReplyCode};
use crate::amqp::outgoing;
use crate::amqp::refusal;
use crate::broker::consumer::{Delivery, Encodings};
use crate::broker::declared::consumers::Registration;
use crate::broker::declared::queue::DeclaredQueue;
use crate::broker::declared::verbs::Cancelled;
use crate::broker::replies::REPLY_TO;
use crate::model::field_table::FieldValue;
use crate::model::ids::ConsumerId;
use crate::net::touched;

use super::channel::{Channel, Replying};
use super::working::{Worked, not_implemented, unmet};
use super::{Client, Serving};

/// The queue that the empty name stands for.
pub(super) fn named(name: &str, channel: &Channel) -> Result<Arc<str>, Fault> {
    if !name.is_empty() {
        return Ok(name.into());
    }
    let missing = || Fault::new(ReplyCode::NotFound, "no previously declared queue");
    channel.last_queue.clone().ok_or_else(missing)
}

fn not_allowed(why: String) -> Fault {
    Fault::new(ReplyCode::NotAllowed, why)
}

impl Client {
    /// The queue that a method of `number` names, if this connection may use it.
    pub(super) fn find_queue(
        &self,
        serving: &Serving,
        number: u16,
        name: &str,
    ) -> Result<Arc<DeclaredQueue>, Fault> {
        let channel = serving.channels.get(&number);
        let name = match channel {
            Some(channel) => named(name, channel)?,
            None => name.into(),
        };
        let who = &serving.publisher.principal;
        self.shared
            .broker
            .find_queue(who, serving.id, &name)
            .map_err(|error| refusal::topology(&error))
    }

    pub(super) fn limit_prefetch(&mut self, number: u16, qos: Qos) -> Worked {
        if qos.prefetch_bytes != 0 {
            return Err(not_implemented(format!("prefetch_size!=0 ({})", qos.prefetch_bytes)));
        }
        let Some(serving) = &mut self.serving else { return Ok(Flow::Continue) };
        let Serving { channels, relieved, .. } = &mut **serving;
        if let Some(channel) = channels.get_mut(&number) {
            let prefetch = u32::from(qos.prefetch_count);
            let mut book = channel.lane.ledger.book();
            if qos.global {
                book.limit(prefetch);
            } else {
                // As RabbitMQ: a limit of the channel goes, whatever it was.
                book.limit(0);
                channel.prefetch = prefetch;
                if self.traits.paper_qos {
                    book.limit_consumers(prefetch);
                }
            }
            drop(book);
            if !std::mem::replace(&mut channel.settled, true) {
                relieved.push(number);
            }
        }
        Ok(self.answer(number, false, false, Reply::QosOk))
    }

    pub(super) fn consume(&mut self, number: u16, consume: &Consume<'_>, now_ms: u64) -> Worked {
        let Some(serving) = &self.serving else { return Ok(Flow::Continue) };
        let Some(channel) = serving.channels.get(&number) else { return Ok(Flow::Continue) };
        let tag = consume.consumer_tag;
        if channel.has_tag(tag) {
            return Err(not_allowed(format!("attempt to reuse consumer tag '{tag}'")));
        }
        let consumers_max = self.limits.consumers_per_channel_max;
        if channel.takers.len() >= consumers_max {
            let text = format!("reached maximum ({consumers_max}) of consumers per channel");
            return Err(not_allowed(text));
        }
        let tag: Arc<str> = if tag.is_empty() { generated_tag()?.into() } else { tag.into() };
        if consume.queue == REPLY_TO {
            return self.consume_replies(number, consume, tag);
        }
        let queue = self.find_queue(serving, number, consume.queue)?;
        let priority = priority_of(consume, &queue)?;
        let broker = &self.shared.broker;
        let id = broker.next_consumer_id();
        let lane = channel.lane.clone();
        lane.ledger.book().add(id, Arc::clone(&queue), channel.prefetch);
        let taker = Taker::new(id, tag, Arc::clone(&queue), consume.no_ack, lane);
        let taker = Arc::new(taker);
        let registration = Registration {
            id,
            consumer: taker.clone(),
            connection: serving.id,
            no_ack: consume.no_ack,
            exclusive: consume.exclusive,
            priority,
        };
        let who = &serving.publisher.principal;
        if let Err(error) = broker.consume(who, &queue, registration, now_ms) {
            channel.lane.ledger.book().remove(id);
            return Err(refusal::consuming(&error, &queue));
        }
        // Whoever dispatches is refused until the answer is in the buffer.
        let flow = self.answer(number, consume.no_wait, false, Reply::ConsumeOk(&taker.tag));
        let Some(serving) = &mut self.serving else { return Ok(flow) };
        if let Some(channel) = serving.channels.get_mut(&number) {
            channel.lane.ledger.book().start(id);
            channel.tags.insert(id, Arc::clone(&taker.tag));
            channel.takers.insert(Arc::clone(&taker.tag), taker);
            serving.due.push(queue);
        }
        Ok(flow)
    }

    /// A consumer of direct replies, one a channel.
    fn consume_replies(&mut self, number: u16, consume: &Consume<'_>, tag: Arc<str>) -> Worked {
        if !consume.no_ack {
            return Err(unmet("reply consumer cannot acknowledge"));
        }
        let flow = {
            let Some(serving) = &mut self.serving else { return Ok(Flow::Continue) };
            let Some(channel) = serving.channels.get_mut(&number) else {
                return Ok(Flow::Continue);
            };
            if channel.replying.is_some() {
                return Err(unmet("reply consumer already set"));
            }
            let secret = u64::from_ne_bytes(random()?);
            let taker = ReplyTaker { tag: Arc::clone(&tag), lane: channel.lane.clone() };
            let name = self.shared.broker.replies.register(Arc::new(taker), secret);
            channel.replying = Some(Replying { tag: Arc::clone(&tag), name });
            Flow::Continue
        };
        if !consume.no_wait {
            self.send(number, Reply::ConsumeOk(&tag));
        }
        Ok(flow)
    }

    pub(super) fn cancel(&mut self, number: u16, cancel: &Cancel<'_>, now_ms: u64) -> Worked {
        let tag = cancel.consumer_tag;
        let Some(serving) = &mut self.serving else { return Ok(Flow::Continue) };
        if let Some(channel) = serving.channels.get_mut(&number) {
            if channel.replying.as_ref().is_some_and(|replying| *replying.tag == *tag) {
                if let Some(replying) = channel.replying.take() {
                    self.shared.broker.replies.forget(&replying.name);
                }
            } else if let Some(taker) = channel.remove(tag) {
                self.withdraw(&taker, now_ms);
            }
        }
        Ok(self.answer(number, cancel.no_wait, false, Reply::CancelOk(tag)))
    }

    /// Takes a consumer off its queue, and the queue away if it goes with its last one.
    pub(super) fn withdraw(&self, taker: &Taker, now_ms: u64) {
        let broker = &self.shared.broker;
        if broker.cancel(&taker.queue, taker.id, now_ms) == Cancelled::Last {
            broker.auto_delete_queue(&taker.queue);
        }
    }

    /// The queue of a consumer is gone.
    pub(super) fn cancel_by_broker(&mut self, number: u16, id: ConsumerId) {
        let Some(serving) = &mut self.serving else { return };
        let Some(channel) = serving.channels.get_mut(&number) else { return };
        let Some(tag) = channel.tags.get(&id).cloned() else { return };
        channel.remove(&tag);
        if self.traits.consumer_cancel_notify {
            self.send(number, Reply::Cancel(&tag));
        }
    }

    pub(super) fn get(&mut self, number: u16, get: &Get<'_>, now_ms: u64) -> Worked {
        let Some(serving) = &self.serving else { return Ok(Flow::Continue) };
        let queue = self.find_queue(serving, number, get.queue)?;
        let Some(serving) = &mut self.serving else { return Ok(Flow::Continue) };
        let Serving { channels, publisher, id, .. } = &mut **serving;
        let Some(channel) = channels.get(&number) else { return Ok(Flow::Continue) };
        let lane = &channel.lane;
        let no_ack = get.no_ack;
        let unacked_max = self.limits.unacked_per_channel_max;
        if !no_ack && lane.ledger.book().unacked() >= unacked_max {
            let text = format!(
                "the channel holds as many unacknowledged messages as it may ({unacked_max})"
            );
            return Err(unmet(text));
        }
        let who = publisher.principal.clone();
        let counters = &mut publisher.counters;
        let take = |delivery: &Delivery<'_>, ready: u64| {
            let mut book = lane.ledger.book();
            let address = outgoing::address(delivery.message, delivery.via);
            let answer = GetOk {
                delivery_tag: book.next_tag(),
                redelivered: delivery.redelivered,
                exchange: address.exchange,
                routing_key: &address.routing_key,
                message_count: u32::try_from(ready).unwrap_or(u32::MAX),
            };
            let (message, frame_bytes_max) = (delivery.message, lane.frame_bytes_max);
            let mut alone = Encodings::default();
            outgoing::with_content(message, now_ms, frame_bytes_max, &mut alone, |content| {
                lane.link
                    .outbound
                    .push_reply(|out| answer.put(number, content, frame_bytes_max, out));
            });
            if no_ack {
                book.pass();
            } else {
                book.hold(delivery.queue, delivery.place, None);
            }
        };
        let taken = self.shared.broker.fetch(&who, &queue, *id, no_ack, counters, now_ms, take);
        match taken {
            Ok(Some(())) => {}
            Ok(None) => self.send(number, Reply::GetEmpty),
            Err(error) => return Err(refusal::consuming(&error, &queue)),
        }
        // What was written by the way, a drop by expiry for example, is nobody's flood.
        touched::forgive_congested();
        // Each may be a large message: the next ones wait until this one has left.
        let overrun = self.link.outbound.is_overrun();
        Ok(if overrun { Flow::Stop } else { Flow::Continue })
    }
}

/// `x-priority` of a consumer.
fn priority_of(consume: &Consume<'_>, queue: &DeclaredQueue) -> Result<i32, Fault> {
    let Some(value) = consume.arguments.get("x-priority") else { return Ok(0) };
    let whole = value.as_i64().or_else(|| match value {
        FieldValue::Timestamp(seconds) => i64::try_from(seconds).ok(),
        _ => None,
    });
    match whole {
        Some(priority) => {
            Ok(i32::try_from(priority).unwrap_or(if priority < 0 { i32::MIN } else { i32::MAX }))
        }
        None => Err(unmet(format!(
            "invalid arg 'x-priority' for queue '{}' in vhost '{}': \"expected integer, got {}\"",
            queue.name,
            queue.vhost,
            value.type_name()
        ))),
    }
}

fn random<const N: usize>() -> Result<[u8; N], Fault> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|_| Fault::new(ReplyCode::InternalError, "no randomness to be had"))?;
    Ok(bytes)
}

/// A name for a consumer that has none.
fn generated_tag() -> Result<String, Fault> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let letters = random::<22>()?.map(|byte| char::from(ALPHABET[usize::from(byte & 63)]));
    Ok(format!("amq.ctag-{}", String::from_iter(letters)))
}
