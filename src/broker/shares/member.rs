//! A member as the queue of its group sees it: one connection of one session. Part of `broker::shares`.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::consumer::{
    Consumer, Delivered, Delivery, Encodings, Offered, Outgoing, QueueConsumer,
};
use super::super::crossing::TopicView;
use super::super::message::Message;
use super::super::sessions::session::{Inner, Session};
use super::super::sessions::subscription::Subscription;
use super::holding::{Held, Taking};
use crate::model::ids::ConsumerId;
use crate::model::qos::QoS;
use crate::model::turns::hash;

/// A member that is connected.
pub struct Member {
    /// What the queue knows it by.
    pub id: ConsumerId,
    session: Arc<Session>,
    epoch: u64,
    link: Arc<dyn Consumer>,
    options: Subscription,
    identity: u64,
    outstanding: AtomicUsize,
}

impl Member {
    /// The connection `epoch` of `session`, which holds `outstanding` messages of the group already.
    #[must_use]
    pub fn new(
        id: ConsumerId,
        session: &Arc<Session>,
        epoch: u64,
        link: Arc<dyn Consumer>,
        options: Subscription,
        outstanding: usize,
    ) -> Arc<Self> {
        let identity = hash(&session.key.client_id);
        let (session, outstanding) = (Arc::clone(session), AtomicUsize::new(outstanding));
        Arc::new(Self { id, session, epoch, link, options, identity, outstanding })
    }

    /// One message less is outstanding.
    pub(super) fn lay_down(&self) {
        // Those of the connection before may not all have been counted.
        let less = |count: usize| count.checked_sub(1);
        self.outstanding
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, less)
            .unwrap_or_default();
    }

    fn outgoing<'m>(
        &self,
        message: &Message<'m>,
        now_ms: u64,
        qos: QoS,
        packet_id: Option<NonZeroU16>,
        subscription_ids: &'m [u32],
    ) -> Outgoing<'m> {
        // The first time towards this receiver, whoever had it before.
        let id = packet_id.map(NonZeroU16::get);
        Outgoing {
            retain: message.retain && self.options.retain_as_published,
            ..Outgoing::of(message, now_ms, qos, id, subscription_ids)
        }
    }

    fn send(&self, outgoing: &Outgoing<'_>, encodings: &mut Encodings) -> Offered {
        // What is encoded for others of this publish may be under another topic.
        let shared = std::mem::replace(&mut encodings.shared, false);
        let delivered = self.link.deliver(outgoing, encodings);
        encodings.shared = shared;
        match delivered {
            Delivered::Accepted => Offered::Taken,
            Delivered::TooLarge => Offered::Unfit,
            Delivered::Closed => Offered::Closed,
            Delivered::Full => {
                // Asks for the call that follows when the buffer has drained; it may have done so already.
                if self.link.has_room() {
                    self.link.ready();
                }
                Offered::Full
            }
        }
    }

    /// A message that must be acknowledged: sent and held, or to be taken over by the session's record.
    fn hand_over(
        self: &Arc<Self>,
        inner: &mut Inner,
        delivery: &Delivery<'_>,
        message: &Message<'_>,
        qos: QoS,
        encodings: &mut Encodings,
    ) -> Offered {
        if !inner.has_credit() {
            return Offered::NoCredit;
        }
        if !self.link.has_room() {
            return Offered::Full;
        }
        let (queue, place) = (Arc::clone(delivery.queue), delivery.place);
        if qos == QoS::ExactlyOnce && self.session.durable {
            let retain = message.retain && self.options.retain_as_published;
            let via = delivery.via.cloned().map(Arc::new);
            let subscription_id = self.options.id;
            inner.shares.takes.push(Taking { queue, place, retain, subscription_id, via });
            inner.shares.taking += 1;
            self.outstanding.fetch_add(1, Ordering::AcqRel);
            self.link.ready();
            return Offered::Taken;
        }
        let Some(id) = inner.free_packet_id() else { return Offered::NoCredit };
        let ids = self.options.id.as_slice();
        let outgoing = self.outgoing(message, delivery.now_ms, qos, Some(id), ids);
        let offered = self.send(&outgoing, encodings);
        if offered == Offered::Taken {
            let (member, released) = (Arc::clone(self), false);
            inner.shares.held.insert(id.get(), Held { queue, place, member, qos, released });
            inner.in_flight += 1;
            self.outstanding.fetch_add(1, Ordering::AcqRel);
        }
        offered
    }
}

/// A member on the list of its queue.
pub struct Seat(pub Arc<Member>);

impl QueueConsumer for Seat {
    fn offer(&self, delivery: &Delivery<'_>, encodings: &mut Encodings) -> Offered {
        let member = &self.0;
        let mut view = TopicView::default();
        let Ok(message) = view.of(delivery.message, delivery.via) else { return Offered::Unfit };
        let qos = message.qos.min(member.options.qos);
        let mut inner = member.session.inner.lock();
        if !inner.is_served_by(member.epoch) {
            return Offered::Closed;
        }
        if qos > QoS::AtMostOnce {
            return member.hand_over(&mut inner, delivery, &message, qos, encodings);
        }
        if !member.link.has_room() {
            return Offered::Full;
        }
        let ids = member.options.id.as_slice();
        member.send(&member.outgoing(&message, delivery.now_ms, qos, None, ids), encodings)
    }

    fn has_credit(&self) -> bool {
        let inner = self.0.session.inner.lock();
        inner.is_served_by(self.0.epoch) && inner.has_credit()
    }

    fn outstanding(&self) -> usize {
        self.0.outstanding.load(Ordering::Acquire)
    }

    fn identity(&self) -> u64 {
        self.0.identity
    }

    fn ready(&self) {
        self.0.link.ready();
    }

    /// Whoever ends a group has taken its members off before.
    fn cancelled(&self) {}
}
