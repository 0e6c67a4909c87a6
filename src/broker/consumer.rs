//! The seam between the broker and a connection. Part of `broker`.
//!
//! Delivery is synchronous: the publisher's thread encodes into the subscriber's buffer. An implementation
//! takes only leaf locks and never routes, closes or reads a disk (design, "Speed").

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::model::qos::QoS;

use super::declared::place::Place;
use super::declared::queue::DeclaredQueue;
use super::logs::verbs::{Appended, LogError};
use super::message::Message;
use super::via::Via;

/// A message on its way to one destination.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// Topic name.
    pub topic: &'a str,
    /// Application data.
    pub payload: &'a [u8],
    /// Property block.
    pub properties: &'a [u8],
    /// Promise towards this destination.
    pub qos: QoS,
    /// Retain flag towards this destination.
    pub retain: bool,
    /// Sent before [MQTT-3.3.1-1].
    pub dup: bool,
    /// Packet identifier when QoS > 0.
    pub packet_id: Option<u16>,
    /// Seconds of life left.
    pub expiry_s: Option<u32>,
    /// Subscriptions it matched, those with an identifier.
    pub subscription_ids: &'a [u32],
    /// Append even over the buffer's limit: the session's window bounds it.
    pub forced: bool,
}

impl<'a> Outgoing<'a> {
    /// `message` as it is at `now_ms`: for the first time, not retained, within the buffer's limit.
    #[must_use]
    pub fn of(
        message: &Message<'a>,
        now_ms: u64,
        qos: QoS,
        packet_id: Option<u16>,
        subscription_ids: &'a [u32],
    ) -> Self {
        Self {
            topic: message.topic,
            payload: message.payload,
            properties: message.properties,
            qos,
            retain: false,
            dup: false,
            packet_id,
            expiry_s: message.remaining_s(now_ms),
            subscription_ids,
            forced: false,
        }
    }
}

/// What came of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// In the connection's buffer.
    Accepted,
    /// The buffer is at its limit.
    Full,
    /// Larger than the peer accepts; it must never be sent [MQTT-3.1.2-24].
    TooLarge,
    /// The connection is going away.
    Closed,
}

/// Why the broker ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// Another connection took the session over.
    TakenOver,
    /// The broker is stopping.
    ShuttingDown,
}

/// A connection that takes messages.
pub trait Consumer: Send + Sync {
    /// Encodes `message` into the connection's buffer and puts the connection on this thread's flush list.
    fn deliver(&self, message: &Outgoing<'_>, encodings: &mut Encodings) -> Delivered;
    /// Sends the release of a QoS 2 message that the receiver already holds.
    fn deliver_release(&self, packet_id: u16);
    /// Whether the buffer is far from its limit; if not, [`Self::ready`] follows when it is.
    fn has_room(&self) -> bool;
    /// Something waits to be pulled.
    fn ready(&self);
    /// The connection shall end; its own task does it.
    fn close(&self, reason: CloseReason);
}

/// A queued message on its way to a consumer of a declared queue.
#[derive(Clone, Copy)]
pub struct Delivery<'a> {
    /// The message, in the form it was published in.
    pub message: &'a Message<'a>,
    /// The address it is delivered under, where a route changed it.
    pub via: Option<&'a Via>,
    /// The queue it is in.
    pub queue: &'a Arc<DeclaredQueue>,
    /// Its place there, to settle or return it by.
    pub place: Place,
    /// Whether it was handed out before.
    pub redelivered: bool,
    /// Now, ms since the epoch.
    pub now_ms: u64,
}

/// What came of an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    /// In the connection's buffer; unless the consumer takes without acknowledging, it answers for the place
    /// from now on.
    Taken,
    /// As many are unacknowledged as it takes at a time: ask again after its next acknowledgement.
    NoCredit,
    /// The connection's buffer is at its limit; its own task dispatches when there is room.
    Full,
    /// The connection is going away.
    Closed,
    /// The consumer may never have this message: it is too large for it.
    Unfit,
}

/// A consumer of a declared queue. All of it takes leaf locks only: the channel's, then the outbound buffer's.
pub trait QueueConsumer: Send + Sync {
    /// Encodes `delivery` into the connection's buffer, if there is credit and room.
    fn offer(&self, delivery: &Delivery<'_>, encodings: &mut Encodings) -> Offered;
    /// Whether an offer would be taken now, as far as that can be told without asking for a message.
    fn has_credit(&self) -> bool;
    /// Messages of this queue that it holds and has not acknowledged, where they are spread by that.
    fn outstanding(&self) -> usize {
        0
    }
    /// What stays the same when it comes back, where messages are spread by that.
    fn identity(&self) -> u64 {
        0
    }
    /// The queue has something for it: the connection's own task shall dispatch.
    fn ready(&self);
    /// The queue is gone; the consumer with it (basic.cancel from the server).
    fn cancelled(&self);
}

/// One publish, encoded once for each kind of destination and then copied.
#[derive(Debug, Default)]
pub struct Encodings {
    kinds: Vec<Encoding>,
    used: usize,
    /// With one destination the detour over a copy is not worth it.
    pub shared: bool,
}

/// An encoding and what it depends on.
#[derive(Debug, Default)]
pub struct Encoding {
    key: u64,
    /// The packet.
    pub bytes: Vec<u8>,
    /// Where its packet identifier stands, if it has one.
    pub packet_id_at: Option<usize>,
}

impl Encodings {
    /// Kinds kept for one message; further ones are encoded each time.
    const MAX: usize = 8;

    /// Starts on another message.
    pub fn reset(&mut self, shared: bool) {
        self.used = 0;
        self.shared = shared;
    }

    /// The encoding for `key`, made by `encode` the first time; `None` when there are too many kinds.
    pub fn get(
        &mut self,
        key: u64,
        encode: impl FnOnce(&mut Vec<u8>) -> Option<usize>,
    ) -> Option<&Encoding> {
        let known = self.kinds.iter().take(self.used).position(|kind| kind.key == key);
        let at = match known {
            Some(at) => at,
            None if self.used == Self::MAX => return None,
            None => {
                if self.used == self.kinds.len() {
                    self.kinds.push(Encoding::default());
                }
                let kind = self.kinds.get_mut(self.used)?;
                kind.key = key;
                kind.bytes.clear();
                kind.packet_id_at = encode(&mut kind.bytes);
                self.used += 1;
                self.used - 1
            }
        };
        self.kinds.get(at)
    }
}

/// What applying a record came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done as asked.
    Done,
    /// The record's condition did not hold: another connection owns the session. Nothing changed.
    Stale,
    /// An earlier record already did this (QoS 2 duplicate). Nothing changed.
    Duplicate,
    /// A session's state at the moment its connection opened it.
    Opened {
        /// Earlier state was found [MQTT-3.2.2-2].
        present: bool,
    },
    /// A batch is in a partition.
    Appended(Appended),
    /// A record about a log was refused with this cause; nothing changed.
    Refused(LogError),
    /// A queue of the record's destinations is at its limit and refuses (`reject-publish`). Nothing changed.
    Rejected,
}

/// A connection that waits for records.
pub trait Completer: Send + Sync {
    /// Notes the outcome of the record submitted with `token`; true when [`Completer::wake`] must follow.
    fn complete(&self, token: u64, outcome: Outcome) -> bool;
    /// Wakes the connection's task; called once a batch.
    fn wake(&self);
    /// Leaves a queue for the connection's task to dispatch, which saves waking a consumer's; [`Completer::wake`]
    /// follows. False when it will not.
    fn lend(&self, _queue: &Arc<DeclaredQueue>) -> bool {
        false
    }
}

/// Who is told of a record's outcome.
pub enum Waiter {
    /// A connection, with its own token.
    Connection(Arc<dyn Completer>, u64),
    /// A call that waits.
    Call(oneshot::Sender<Outcome>),
}
