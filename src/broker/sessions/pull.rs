//! What a connection's task takes from its queue while its window is open. Part of `broker::sessions`.

use std::num::NonZeroU16;
use std::sync::Arc;

use bytes::Bytes;

use super::super::consumer::{Consumer, Delivered, Encodings, Outgoing};
use super::super::crossing::TopicView;
use super::super::fanout::Drop;
use super::super::message::Message;
use super::super::paging::Paging;
use super::super::queues::entry::{Body, Entry, Unread};
use super::super::queues::queue::{Next, packet_id};
use super::super::via::Via;
use super::session::{Inner, Session};
use crate::model::ids::Lsn;
use crate::model::qos::QoS;
use crate::store::bodies::BodyStore;

/// Messages taken under one hold of the session's lock.
const BATCH_MESSAGES: usize = 64;
/// Bytes of bodies taken under one hold of the lock.
const BATCH_BYTES: u64 = 256 * 1024;

/// What a pull came to.
#[derive(Debug, Default)]
pub struct Pulled {
    /// Messages handed to the connection, by QoS.
    pub delivered: [u64; 3],
    /// Bytes of their application data.
    pub payload_bytes: u64,
    /// Positions that were dropped unsent and must be settled by a record.
    pub dropped: Vec<u64>,
    /// Why messages were dropped, one by one.
    pub reasons: Vec<Drop>,
    /// A QoS 0 message waits for this record to be applied; the caller sees to it that somebody pulls then.
    pub waits_for: Option<Lsn>,
    /// A body could not be read; the connection should end, the message stays queued.
    pub failed: Option<String>,
}

/// An acknowledgement's effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The position is done; for a durable session a record must say so.
    Position(u64),
    /// It was a message of a share group, which is done with it.
    Shared,
    /// No such packet identifier is in flight.
    Unknown,
    /// The message of that identifier waits for an acknowledgement of another kind; nothing changed.
    OutOfTurn,
}

/// How a receiver says that it is done with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledged {
    /// PUBACK, which only QoS 1 has.
    Received,
    /// PUBCOMP, after PUBREL.
    Completed,
    /// A PUBREC that refuses a QoS 2 message.
    Refused,
}

impl Acknowledged {
    /// Whether `entry` waits for it.
    fn ends(self, entry: &Entry) -> bool {
        match self {
            Self::Received => entry.qos() == QoS::AtLeastOnce,
            Self::Completed => entry.qos() == QoS::ExactlyOnce && entry.is_released(),
            Self::Refused => entry.qos() == QoS::ExactlyOnce,
        }
    }
}

struct Item {
    /// `None` for a QoS 0 message.
    position: Option<u64>,
    qos: QoS,
    retain: bool,
    dup: bool,
    release: bool,
    subscription_ids: Vec<u32>,
    via: Option<Arc<Via>>,
    body: Body,
}

impl Session {
    /// Hands queued messages to `epoch`'s connection until its window or buffer is full or nothing waits.
    /// `applied` is the highest LSN applied.
    pub fn pull(
        &self,
        epoch: u64,
        applied: u64,
        now_ms: u64,
        bodies: &BodyStore,
        paging: &Paging,
        encodings: &mut Encodings,
    ) -> Pulled {
        let mut pulled = Pulled::default();
        loop {
            let (consumer, items) = {
                let mut inner = self.inner.lock();
                let Some(link) = inner.link.as_ref().filter(|link| link.epoch == epoch) else {
                    return pulled;
                };
                let consumer = Arc::clone(&link.consumer);
                if !consumer.has_room() {
                    return pulled;
                }
                let items = inner.take_items(applied);
                if items.is_empty()
                    && let Some(page) = inner.wanted_page()
                {
                    let came = paging.page_in(self.id, &mut inner, |it| &mut it.queue, page);
                    pulled.failed = came.err();
                    if pulled.failed.is_some() {
                        return pulled;
                    }
                    continue;
                }
                pulled.waits_for = inner.waits_for(applied).or(pulled.waits_for);
                inner.pulling = !items.is_empty();
                (consumer, items)
            };
            if items.is_empty() {
                return pulled;
            }
            for item in items {
                if pulled.failed.is_some() {
                    break;
                }
                self.send(epoch, &item, &*consumer, now_ms, bodies, encodings, &mut pulled);
            }
            {
                let mut inner = self.inner.lock();
                // After a takeover the mark is the next connection's.
                if inner.is_served_by(epoch) {
                    inner.pulling = false;
                }
            }
            if pulled.failed.is_some() {
                return pulled;
            }
        }
    }

    fn send(
        &self,
        epoch: u64,
        item: &Item,
        consumer: &dyn Consumer,
        now_ms: u64,
        bodies: &BodyStore,
        encodings: &mut Encodings,
        pulled: &mut Pulled,
    ) {
        let id = item.position.map(|position| packet_id(position).get());
        if item.release {
            consumer.deliver_release(id.unwrap_or_default());
            return;
        }
        let bytes = match self.read(epoch, item, bodies) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return,
            Err(Unread::Corrupt(error)) => {
                tracing::error!(%error, client_id = &*self.key.client_id, "a queued message is lost");
                self.drop_unsent(epoch, item.position, Drop::Corrupt, pulled);
                return;
            }
            Err(error) => {
                pulled.failed = Some(error.to_string());
                return;
            }
        };
        let message = match Message::decode(&bytes) {
            Ok(message) => message,
            Err(error) => {
                pulled.failed = Some(format!("queued message does not decode: {error}"));
                return;
            }
        };
        let mut view = TopicView::default();
        let Ok(message) = view.of(&message, item.via.as_deref()) else {
            self.drop_unsent(epoch, item.position, Drop::Unmapped, pulled);
            return;
        };
        // What was sent before is in the middle of its handshake and must go on [MQTT-4.4.0-1].
        if message.is_expired(now_ms) && !item.dup {
            self.drop_unsent(epoch, item.position, Drop::Expired, pulled);
            return;
        }
        encodings.reset(false);
        let delivered = consumer.deliver(
            &Outgoing {
                retain: item.retain,
                dup: item.dup,
                forced: true,
                ..Outgoing::of(&message, now_ms, item.qos, id, &item.subscription_ids)
            },
            encodings,
        );
        match delivered {
            Delivered::Accepted => {
                pulled.delivered[item.qos as usize] += 1;
                pulled.payload_bytes += message.payload.len() as u64;
            }
            Delivered::TooLarge => self.drop_unsent(epoch, item.position, Drop::TooLarge, pulled),
            // Offline again: what has a position stays queued.
            Delivered::Full | Delivered::Closed => {}
        }
    }

    /// The encoded message; `None` when it is done with by now. A checkpoint may move its body while nobody holds the
    /// lock.
    fn read(&self, epoch: u64, item: &Item, bodies: &BodyStore) -> Result<Option<Bytes>, Unread> {
        let mut body = item.body.clone();
        loop {
            let error = match body.read(bodies) {
                Err(error @ Unread::Gone(_)) => error,
                other => return other.map(Some),
            };
            let Some(position) = item.position else { return Err(error) };
            let inner = self.inner.lock();
            match inner.queue.get(position).filter(|_| inner.is_served_by(epoch)) {
                None => return Ok(None),
                Some(entry) if Body::has_moved(&body, &entry.body) => body = entry.body.clone(),
                Some(_) => return Err(error),
            }
        }
    }

    fn drop_unsent(&self, epoch: u64, position: Option<u64>, why: Drop, pulled: &mut Pulled) {
        let Some(position) = position else {
            pulled.reasons.push(why);
            return;
        };
        let mut inner = self.inner.lock();
        if !inner.is_served_by(epoch) {
            // Taken over meanwhile: the next connection comes to the same verdict and counts it.
            return;
        }
        pulled.reasons.push(why);
        inner.in_flight = inner.in_flight.saturating_sub(1);
        inner.taken_is_done(position);
        if self.durable {
            if let Some(entry) = inner.queue.get_volatile(position) {
                entry.settle();
            }
            pulled.dropped.push(position);
        } else {
            inner.queue.remove(position);
        }
    }

    /// The receiver acknowledged `id` for good.
    pub fn settle(&self, epoch: u64, id: NonZeroU16, how: Acknowledged) -> Settled {
        let mut inner = self.inner.lock();
        let Some(position) = inner.in_flight_position(epoch, id) else {
            return Settled::Unknown;
        };
        if !inner.queue.get(position).is_some_and(|entry| how.ends(entry)) {
            return Settled::OutOfTurn;
        }
        inner.in_flight = inner.in_flight.saturating_sub(1);
        inner.taken_is_done(position);
        if self.durable {
            if let Some(entry) = inner.queue.get_volatile(position) {
                entry.settle();
            }
        } else {
            inner.queue.remove(position);
        }
        Settled::Position(position)
    }

    /// The receiver holds QoS 2 message `id` (PUBREC).
    pub fn release(&self, epoch: u64, id: NonZeroU16) -> Settled {
        let mut inner = self.inner.lock();
        let Some(position) = inner.in_flight_position(epoch, id) else {
            return Settled::Unknown;
        };
        if inner.queue.get(position).is_none_or(|entry| entry.qos() != QoS::ExactlyOnce) {
            return Settled::OutOfTurn;
        }
        if !self.durable
            && let Some(entry) = inner.queue.get_mut(position)
        {
            entry.release();
        }
        Settled::Position(position)
    }

    /// Whether a pull would find something to send.
    #[must_use]
    pub fn has_waiting(&self) -> bool {
        let inner = self.inner.lock();
        !inner.volatile.is_empty() || inner.cursor < inner.queue.tail()
    }
}

impl Inner {
    fn in_flight_position(&self, epoch: u64, id: NonZeroU16) -> Option<u64> {
        self.link.as_ref().filter(|link| link.epoch == epoch)?;
        let position = self.queue.position_of(id)?;
        let entry = self.queue.get(position)?;
        let ahead = position < self.released_to && entry.is_released();
        let sent = (position < self.cursor || ahead) && !entry.is_settled();
        sent.then_some(position)
    }

    fn take_items(&mut self, applied: u64) -> Vec<Item> {
        let mut items = Vec::new();
        let mut bytes = 0;
        while items.len() < BATCH_MESSAGES && bytes < BATCH_BYTES {
            let next = match self.queue.next(self.cursor) {
                // What comes before it goes out first, see `wanted_page`.
                Some(Next::Out(_)) => break,
                Some(Next::Here(position)) => Some(position),
                None => None,
            };
            let order = next.and_then(|at| self.queue.get(at)).map(|entry| entry.order);
            let item = match self.take_volatile(applied, order) {
                Some(item) => item,
                None => match next {
                    Some(position) => match self.take_position(position) {
                        Some(Some(item)) => item,
                        Some(None) => continue,
                        None => match self.take_release() {
                            Some(release) => release,
                            None => break,
                        },
                    },
                    None => {
                        self.cursor = self.queue.tail();
                        break;
                    }
                },
            };
            bytes += item.body.len();
            items.push(item);
        }
        items
    }

    /// The page on disk without which nobody knows what goes out next, unless nothing can.
    fn wanted_page(&self) -> Option<u64> {
        // What is queued waits for the window, but QoS 0 messages may have to wait for what is queued.
        if self.is_window_shut() && self.volatile.is_empty() {
            return None;
        }
        match self.queue.next(self.cursor)? {
            Next::Out(page) => Some(page),
            Next::Here(_) => None,
        }
    }

    /// The record that the first QoS 0 message waits for, told once.
    fn waits_for(&mut self, applied: u64) -> Option<Lsn> {
        let behind = self.volatile.front()?.behind;
        let is_news = behind > applied && behind != self.waited_for;
        is_news.then(|| {
            self.waited_for = behind;
            Lsn(behind)
        })
    }

    /// The first QoS 0 message, when every queued one that goes before it has gone. `next` is the order of
    /// the first queued message.
    fn take_volatile(&mut self, applied: u64, next: Option<u64>) -> Option<Item> {
        let first = self.volatile.front()?;
        let passes = self.is_window_shut() && !first.keeps_place;
        let waits_for_queue = !passes && next.is_some_and(|order| order <= first.after);
        // Records are applied in order: a later one's message in the queue says that this one's publisher has
        // nothing under way any more, though the batch of both may not be applied to its end.
        let is_applied = first.behind <= applied || next.is_some_and(|order| order > first.behind);
        if !is_applied || waits_for_queue {
            return None;
        }
        let first = self.volatile.pop_front()?;
        self.volatile_bytes = self.volatile_bytes.saturating_sub(first.stored.bytes.len());
        Some(Item {
            position: None,
            qos: QoS::AtMostOnce,
            retain: first.retain,
            dup: false,
            release: false,
            subscription_ids: first.subscription_ids,
            via: None,
            body: Body::Memory(first.stored),
        })
    }

    /// `None`: the window is shut. `Some(None)`: nothing to send at this position.
    fn take_position(&mut self, position: u64) -> Option<Option<Item>> {
        let entry = self.queue.get(position)?;
        let released = entry.is_released();
        if entry.is_settled() || (released && position < self.released_to) {
            self.cursor = position + 1;
            return Some(None);
        }
        // Only PUBLISH waits for the window [MQTT-3.3.4-10].
        if self.is_window_shut() && !released {
            return None;
        }
        if self.shares.has(packet_id(position)) {
            // Out of a share group; its acknowledgement is followed by a pull.
            return None;
        }
        if !self.queue.has_packet_id(position) {
            // Everything in between may be acknowledged already: no packet of the receiver need follow.
            self.waits_for_head = true;
            return None;
        }
        let item = Item {
            position: Some(position),
            qos: entry.qos(),
            retain: entry.retain(),
            dup: position < self.sent,
            release: entry.is_released(),
            subscription_ids: entry.subscription_ids.as_deref().unwrap_or_default().to_vec(),
            via: entry.via.clone(),
            body: entry.body.clone(),
        };
        self.cursor = position + 1;
        self.sent = self.sent.max(self.cursor);
        self.in_flight += 1;
        Some(Some(item))
    }

    /// The next release of a resumed session beyond a message that waits for the window, which holds back no PUBREL
    /// [MQTT-3.3.4-10].
    fn take_release(&mut self) -> Option<Item> {
        let mut at = self.released_to.max(self.cursor);
        while at < self.sent {
            // What is on disk only is told of when its turn comes.
            let Some(Next::Here(position)) = self.queue.next(at) else { break };
            at = position + 1;
            let Some(entry) = self.queue.get(position) else { break };
            if position < self.sent && entry.is_released() && !entry.is_settled() {
                self.released_to = at;
                self.in_flight += 1;
                return Some(Item {
                    position: Some(position),
                    qos: entry.qos(),
                    retain: false,
                    dup: false,
                    release: true,
                    subscription_ids: Vec::new(),
                    via: None,
                    body: entry.body.clone(),
                });
            }
        }
        self.released_to = self.released_to.max(at);
        None
    }
}
