//! Synchronous delivery of what is not durable. Part of `broker::sessions`.
//!
//! Direct only when the session's queue is empty and its window open, else the message waits its turn; a
//! destination names the session, and takeover swaps the link under the session's lock.
//!
//! A window that the receiver keeps shut holds nothing of QoS 0 back (MQTT5-3.3.4): such a message then passes
//! what is queued for the window, though not what its own publisher has under way in the journal, and not
//! when it is retained, since the newest value of a topic comes last.

use std::sync::Arc;

use super::super::consumer::{Consumer, Delivered, Encodings, Outgoing};
use super::super::message::Message;
use super::super::queues::entry::{Body, Entry, Stored};
use super::super::queues::queue::packet_id;
use super::super::router::Destination;
use super::session::{Inner, Session, Volatile};
use crate::model::qos::QoS;

/// Bounds of what one session holds in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// Messages in a queue.
    pub messages_max: u64,
    /// Bytes in a queue.
    pub bytes_max: u64,
    /// QoS 0 messages behind a queue.
    pub volatile_max: usize,
    /// Their bytes.
    pub volatile_bytes_max: usize,
}

/// What became of one destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// In the connection's buffer.
    Delivered,
    /// Behind other messages.
    Queued,
    /// Not delivered, for this reason.
    Dropped(Drop),
}

/// Why a message did not reach a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drop {
    /// QoS 0 and no connection.
    Offline,
    /// The queue is at its limit.
    QueueFull,
    /// QoS 0 and the connection's buffer is at its limit.
    SlowConsumer,
    /// Larger than the subscriber accepts.
    TooLarge,
    /// Its time was over.
    Expired,
}

/// One publish on its way to sessions.
pub struct Fanout<'a> {
    /// The message.
    pub message: Message<'a>,
    /// Now, ms since the epoch.
    pub now_ms: u64,
    /// The publisher's highest submitted LSN that is not applied, else 0: what is not durable goes behind it.
    pub behind: u64,
    /// Bounds.
    pub limits: QueueLimits,
    /// Encodings shared by destinations.
    pub encodings: &'a mut Encodings,
    /// The encoded body, made when the first destination must queue it.
    pub stored: Option<Arc<Stored>>,
}

impl Fanout<'_> {
    fn store(&mut self) -> Arc<Stored> {
        let message = &self.message;
        Arc::clone(self.stored.get_or_insert_with(|| {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            Stored::new(bytes.into())
        }))
    }

    fn outgoing<'m>(&'m self, to: &'m Destination, qos: QoS, id: Option<u16>) -> Outgoing<'m> {
        Outgoing {
            topic: self.message.topic,
            payload: self.message.payload,
            properties: self.message.properties,
            qos,
            retain: self.message.retain && to.retain_as_published,
            dup: false,
            packet_id: id,
            expiry_s: self.message.remaining_s(self.now_ms),
            subscription_ids: &to.subscription_ids,
            forced: false,
        }
    }
}

impl Session {
    /// Delivers or queues one message for `to`, which is this session.
    pub fn deliver(&self, to: &Destination, fanout: &mut Fanout<'_>) -> Fate {
        let qos = fanout.message.qos.min(to.qos);
        let mut inner = self.inner.lock();
        let Some(link) = &inner.link else {
            return self.offline(&mut inner, to, qos, fanout);
        };
        let consumer = Arc::clone(&link.consumer);
        if qos == QoS::AtMostOnce {
            return self.at_most_once(&mut inner, &*consumer, to, fanout);
        }
        self.in_window(&mut inner, &*consumer, to, qos, fanout)
    }

    /// A session that is not durable holds messages only between its CONNECT and CONNACK.
    fn offline(
        &self,
        inner: &mut Inner,
        to: &Destination,
        qos: QoS,
        fanout: &mut Fanout<'_>,
    ) -> Fate {
        if self.durable || inner.ended || qos == QoS::AtMostOnce {
            return Fate::Dropped(Drop::Offline);
        }
        inner.enqueue(to, qos, fanout)
    }

    fn at_most_once(
        &self,
        inner: &mut Inner,
        consumer: &dyn Consumer,
        to: &Destination,
        fanout: &mut Fanout<'_>,
    ) -> Fate {
        let behind = if self.durable { fanout.behind } else { 0 };
        let keeps_place = fanout.message.retain;
        let passes = inner.is_window_shut()
            && !keeps_place
            && !inner.pulling
            && inner.volatile.is_empty();
        if behind == 0 && (passes || inner.is_drained()) {
            let mut encodings = std::mem::take(fanout.encodings);
            let outgoing = fanout.outgoing(to, QoS::AtMostOnce, None);
            let delivered = consumer.deliver(&outgoing, &mut encodings);
            *fanout.encodings = encodings;
            return match delivered {
                Delivered::Accepted => Fate::Delivered,
                Delivered::Full => Fate::Dropped(Drop::SlowConsumer),
                Delivered::TooLarge => Fate::Dropped(Drop::TooLarge),
                Delivered::Closed => Fate::Dropped(Drop::Offline),
            };
        }
        let stored = fanout.store();
        let full = inner.volatile.len() >= fanout.limits.volatile_max
            || inner.volatile_bytes >= fanout.limits.volatile_bytes_max;
        if full {
            return Fate::Dropped(Drop::SlowConsumer);
        }
        inner.volatile_bytes += stored.bytes.len();
        let after = behind.max(inner.queue.newest().map_or(0, |entry| entry.order));
        inner.volatile.push_back(Volatile {
            behind,
            after,
            keeps_place,
            retain: fanout.message.retain && to.retain_as_published,
            subscription_ids: to.subscription_ids.clone(),
            stored,
        });
        consumer.ready();
        Fate::Queued
    }

    fn in_window(
        &self,
        inner: &mut Inner,
        consumer: &dyn Consumer,
        to: &Destination,
        qos: QoS,
        fanout: &mut Fanout<'_>,
    ) -> Fate {
        let position = inner.queue.tail();
        let open = inner.is_drained()
            && !inner.is_window_shut()
            && (inner.queue.live() == 0 || inner.queue.has_packet_id(position));
        if !open {
            return inner.enqueue(to, qos, fanout);
        }
        let mut encodings = std::mem::take(fanout.encodings);
        let outgoing = fanout.outgoing(to, qos, Some(packet_id(position).get()));
        let delivered = consumer.deliver(&outgoing, &mut encodings);
        *fanout.encodings = encodings;
        match delivered {
            Delivered::Accepted => {
                // The session ends with its connection: the body is never needed again.
                inner.queue.push(Entry::new(position, Body::Sent, qos, outgoing_retain(to, fanout)));
                inner.cursor = inner.queue.tail();
                inner.sent = inner.cursor;
                inner.in_flight += 1;
                Fate::Delivered
            }
            Delivered::Full => {
                let fate = inner.enqueue(to, qos, fanout);
                // No acknowledgement need come that would have it pulled: the buffer's room must.
                consumer.ready();
                fate
            }
            Delivered::TooLarge => Fate::Dropped(Drop::TooLarge),
            Delivered::Closed => Fate::Dropped(Drop::Offline),
        }
    }
}

fn outgoing_retain(to: &Destination, fanout: &Fanout<'_>) -> bool {
    fanout.message.retain && to.retain_as_published
}

impl Inner {
    fn enqueue(&mut self, to: &Destination, qos: QoS, fanout: &mut Fanout<'_>) -> Fate {
        if self.queue.live() >= fanout.limits.messages_max
            || self.queue.bytes() >= fanout.limits.bytes_max
        {
            return Fate::Dropped(Drop::QueueFull);
        }
        let order = self.queue.tail();
        let retain = outgoing_retain(to, fanout);
        let mut entry = Entry::new(order, Body::Memory(fanout.store()), qos, retain);
        if !to.subscription_ids.is_empty() {
            entry.subscription_ids = Some(to.subscription_ids.clone().into());
        }
        self.queue.push(entry);
        Fate::Queued
    }
}
