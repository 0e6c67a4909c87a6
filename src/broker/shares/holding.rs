//! What a connection holds of share groups: memory only, it goes back when the connection goes. Part of
//! `broker::shares`.
//!
//! Packet identifiers of these messages are no positions' ones: they are taken from those that no queued message of the
//! session will have for long, and a queued message whose identifier is held here waits.

use std::num::NonZeroU16;
use std::sync::Arc;

use ahash::AHashMap;

use super::super::declared::place::Place;
use super::super::declared::queue::DeclaredQueue;
use super::super::queues::queue::packet_id;
use super::super::sessions::pull::Acknowledged;
use super::super::sessions::session::{Inner, Session};
use super::super::via::Via;
use super::member::Member;
use crate::model::ids::{ConnectionId, QueueId};
use crate::model::qos::QoS;

/// There are so many packet identifiers [MQTT-2.2.1].
const PACKET_IDS: u64 = 65_535;
/// How far beyond the queue's cursor identifiers are looked for.
const AHEAD: u64 = 32_768;

/// A connection's part in share groups.
#[derive(Default)]
pub struct Holding {
    /// The groups that it takes turns in.
    pub memberships: Vec<Membership>,
    /// Messages sent and not acknowledged, by packet identifier.
    pub held: AHashMap<u16, Held>,
    /// QoS 2 messages that a durable session is to take over.
    pub takes: Vec<Taking>,
    /// Those, and the ones whose record is under way.
    pub taking: u32,
    /// Queues where messages were settled in this read batch.
    pub touched: Vec<Arc<DeclaredQueue>>,
    /// What the queues know the connection by.
    pub connection: Option<ConnectionId>,
    next: u64,
}

/// One queue of a group that a connection takes turns at.
pub struct Membership {
    /// The shared filter.
    pub filter: Arc<str>,
    /// The queue.
    pub queue: Arc<DeclaredQueue>,
    /// The connection there.
    pub member: Arc<Member>,
}

/// A message that was sent.
pub struct Held {
    /// Where it came from.
    pub queue: Arc<DeclaredQueue>,
    /// Its place there.
    pub place: Place,
    /// Who holds it.
    pub member: Arc<Member>,
    /// The promise it was sent with.
    pub qos: QoS,
    /// The receiver has it (PUBREC): the group is done with it, only its identifier is not free.
    pub released: bool,
}

/// A QoS 2 message that waits for its record.
pub struct Taking {
    /// Where it is.
    pub queue: Arc<DeclaredQueue>,
    /// Its place there.
    pub place: Place,
    /// The retain flag towards the session.
    pub retain: bool,
    /// Identifier of the subscription.
    pub subscription_id: Option<u32>,
    /// The address it is delivered under, where a route changed it.
    pub via: Option<Arc<Via>>,
}

/// What an acknowledgement of a held message comes to.
pub enum Answered {
    /// The group is done with the message there.
    Done(Arc<DeclaredQueue>, Place),
    /// It was before.
    Again,
    /// No such identifier is held.
    Unknown,
    /// The message waits for an acknowledgement of another kind; nothing changed.
    OutOfTurn,
}

impl Holding {
    /// Whether a queued message has to wait for its identifier.
    #[must_use]
    pub fn has(&self, id: NonZeroU16) -> bool {
        !self.held.is_empty() && self.held.contains_key(&id.get())
    }

    /// Notes that `queue` has something settled.
    pub fn touch(&mut self, queue: &Arc<DeclaredQueue>) {
        if !self.touched.iter().any(|known| known.id == queue.id) {
            self.touched.push(Arc::clone(queue));
        }
    }

    /// The member that stands for this connection at the queue `id`.
    #[must_use]
    pub fn member(&self, id: QueueId) -> Option<&Arc<Member>> {
        self.memberships.iter().find(|one| one.queue.id == id).map(|one| &one.member)
    }
}

impl Inner {
    /// A packet identifier for a message that is not in the queue. `None` when all are in use.
    pub(super) fn free_packet_id(&mut self) -> Option<NonZeroU16> {
        let first = self.cursor.saturating_add(AHEAD);
        for step in 0..PACKET_IDS {
            let id = packet_id(first.wrapping_add(self.shares.next).wrapping_add(step));
            if !self.shares.held.contains_key(&id.get()) && !self.is_in_use(id) {
                self.shares.next = (self.shares.next + step + 1) % PACKET_IDS;
                return Some(id);
            }
        }
        None
    }

    /// Whether a queued message has been sent with `id` and is not done with.
    fn is_in_use(&self, id: NonZeroU16) -> bool {
        let sent_below = self.cursor.max(self.sent).max(self.state.sent);
        self.queue.position_of(id).is_some_and(|position| position < sent_below)
    }

    /// One that was taken over is done with, or the receiver has it.
    pub(in crate::broker) fn taken_is_done(&self, position: u64) {
        let queue = self.state.taken.get(&position).map(|(queue, _)| *queue);
        if let Some(member) = queue.and_then(|queue| self.shares.member(queue)) {
            member.lay_down();
        }
    }
}

impl Held {
    fn is_ended_by(&self, how: Acknowledged) -> bool {
        let is_two = self.qos == QoS::ExactlyOnce;
        match how {
            Acknowledged::Received => !is_two,
            Acknowledged::Completed => is_two && self.released,
            Acknowledged::Refused => is_two,
        }
    }
}

impl Session {
    /// The receiver is done with `id`, which `epoch`'s connection sent out of a group.
    pub(in crate::broker) fn settle_held(
        &self,
        epoch: u64,
        id: NonZeroU16,
        how: Acknowledged,
    ) -> Answered {
        let mut inner = self.inner.lock();
        let known = inner.shares.held.get(&id.get()).map(|held| held.is_ended_by(how));
        match known.filter(|_| inner.is_served_by(epoch)) {
            None => return Answered::Unknown,
            Some(false) => return Answered::OutOfTurn,
            Some(true) => {}
        }
        let Some(held) = inner.shares.held.remove(&id.get()) else { return Answered::Unknown };
        inner.in_flight = inner.in_flight.saturating_sub(1);
        held.member.lay_down();
        if held.released {
            return Answered::Again;
        }
        inner.shares.touch(&held.queue);
        Answered::Done(held.queue, held.place)
    }

    /// The receiver has the QoS 2 message `id` of a group (PUBREC).
    pub(in crate::broker) fn release_held(&self, epoch: u64, id: NonZeroU16) -> Answered {
        let mut inner = self.inner.lock();
        if !inner.is_served_by(epoch) {
            return Answered::Unknown;
        }
        let shares = &mut inner.shares;
        let Some(held) = shares.held.get_mut(&id.get()) else { return Answered::Unknown };
        if held.qos != QoS::ExactlyOnce {
            return Answered::OutOfTurn;
        }
        if std::mem::replace(&mut held.released, true) {
            return Answered::Again;
        }
        let (queue, place) = (Arc::clone(&held.queue), held.place);
        shares.touch(&queue);
        Answered::Done(queue, place)
    }
}
