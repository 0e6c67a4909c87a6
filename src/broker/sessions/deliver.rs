//! Synchronous delivery of what is not durable. Part of `broker::sessions`.
//!
//! Direct only when the session's queue is empty and its window open, else the message waits its turn; a
//! destination names the session, and takeover swaps the link under the session's lock.
//!
//! A window that the receiver keeps shut holds nothing of QoS 0 back (MQTT5-3.3.4): such a message then passes
//! what is queued for the window, though not what its own publisher has under way in the journal, and not
//! when it is retained, since the newest value of a topic comes last.

use super::super::consumer::{Delivered, Outgoing};
use super::super::fanout::{Drop, Fanout, Fate};
use super::super::message::Message;
use super::super::queues::entry::{Body, Entry};
use super::super::queues::queue::packet_id;
use super::super::router::Destination;
use super::session::{Inner, Session, Volatile};
use crate::model::qos::QoS;

/// `message` towards `to`.
fn outgoing<'m>(
    message: &Message<'m>,
    now_ms: u64,
    to: &'m Destination,
    qos: QoS,
    packet_id: Option<u16>,
) -> Outgoing<'m> {
    Outgoing {
        retain: message.retain && to.retain_as_published,
        ..Outgoing::of(message, now_ms, qos, packet_id, &to.subscription_ids)
    }
}

fn fate(delivered: Delivered) -> Fate {
    match delivered {
        Delivered::Accepted => Fate::Delivered,
        Delivered::Full => Fate::Dropped(Drop::SlowConsumer),
        Delivered::TooLarge => Fate::Dropped(Drop::TooLarge),
        Delivered::Closed => Fate::Dropped(Drop::Offline),
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
        if qos == QoS::AtMostOnce {
            let behind = if self.durable { fanout.behind } else { 0 };
            if behind == 0 && inner.lets_through(fanout.message.retain) {
                let outgoing = outgoing(&fanout.message, fanout.now_ms, to, qos, None);
                return fate(link.consumer.deliver(&outgoing, fanout.encodings));
            }
            return inner.keep_behind(to, behind, fanout);
        }
        inner.in_window(to, qos, fanout)
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
}

fn outgoing_retain(to: &Destination, fanout: &Fanout<'_>) -> bool {
    fanout.message.retain && to.retain_as_published
}

impl Inner {
    /// Whether a QoS 0 message may leave at once: nothing is in its way but a window that is shut, which it
    /// passes unless it must `keep_place`.
    fn lets_through(&self, keep_place: bool) -> bool {
        let passes =
            self.is_window_shut() && !keep_place && !self.pulling && self.volatile.is_empty();
        passes || self.is_drained()
    }

    /// Queues a QoS 0 message behind what goes before it.
    fn keep_behind(&mut self, to: &Destination, behind: u64, fanout: &mut Fanout<'_>) -> Fate {
        let full = self.volatile.len() >= fanout.limits.volatile_max
            || self.volatile_bytes >= fanout.limits.volatile_bytes_max;
        if full {
            return Fate::Dropped(Drop::SlowConsumer);
        }
        let Some(stored) = fanout.store_in_memory() else { return Fate::Dropped(Drop::NoRoom) };
        self.volatile_bytes += stored.bytes.len();
        let after = behind.max(self.queue.newest().unwrap_or(0));
        self.volatile.push_back(Volatile {
            behind,
            after,
            keeps_place: fanout.message.retain,
            retain: outgoing_retain(to, fanout),
            subscription_ids: to.subscription_ids.clone(),
            stored,
        });
        self.call();
        Fate::Queued
    }

    /// Delivers a QoS 1 or 2 message of a session that is not durable, or queues it.
    fn in_window(&mut self, to: &Destination, qos: QoS, fanout: &mut Fanout<'_>) -> Fate {
        let position = self.queue.tail();
        let open = self.is_drained()
            && !self.is_window_shut()
            && !self.shares.has(packet_id(position))
            && (self.queue.live() == 0 || self.queue.has_packet_id(position));
        let Some(link) = self.link.as_ref().filter(|_| open) else {
            return self.enqueue(to, qos, fanout);
        };
        let id = Some(packet_id(position).get());
        let outgoing = outgoing(&fanout.message, fanout.now_ms, to, qos, id);
        let delivered = link.consumer.deliver(&outgoing, fanout.encodings);
        match delivered {
            Delivered::Accepted => {
                // The session ends with its connection: the body is never needed again.
                let retain = outgoing_retain(to, fanout);
                self.queue.push(Entry::new(position, Body::Sent, qos, retain));
                self.cursor = self.queue.tail();
                self.sent = self.cursor;
                self.in_flight += 1;
            }
            Delivered::Full => {
                let fate = self.enqueue(to, qos, fanout);
                // No acknowledgement need come that would have it pulled: the buffer's room must.
                self.call();
                return fate;
            }
            Delivered::TooLarge | Delivered::Closed => {}
        }
        fate(delivered)
    }

    /// Has the connection's task pull.
    fn call(&self) {
        if let Some(link) = &self.link {
            link.consumer.ready();
        }
    }

    fn enqueue(&mut self, to: &Destination, qos: QoS, fanout: &mut Fanout<'_>) -> Fate {
        let limits = &fanout.limits;
        let displaced = if limits.drops_oldest { self.displace(limits) } else { 0 };
        if limits.is_full(self.queue.live(), self.queue.bytes()) {
            return Fate::Dropped(Drop::QueueFull);
        }
        let Some(stored) = fanout.store_in_memory() else { return Fate::Dropped(Drop::NoRoom) };
        let order = self.queue.tail();
        let retain = outgoing_retain(to, fanout);
        let mut entry = Entry::new(order, Body::Memory(stored), qos, retain);
        if !to.subscription_ids.is_empty() {
            entry.subscription_ids = Some(to.subscription_ids.clone().into());
        }
        self.queue.push(entry);
        if displaced > 0 { Fate::Displaced(displaced) } else { Fate::Queued }
    }
}
