//! One message in one queue. Part of `broker::queues`.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::broker::via::Via;
use crate::model::qos::QoS;
use crate::store::bodies::{BodyRef, BodyStore};
use crate::store::error::StoreError;
use crate::store::scratch::ScratchBody;

use super::meter::{Charge, Meter};

/// What a body in memory takes beside its bytes, about.
const OVERHEAD_BYTES: usize = 192;

/// A message's encoded body, shared by every queue that holds it.
#[derive(Debug)]
pub struct Stored {
    /// See `broker::message` for the encoding.
    pub bytes: Bytes,
    /// Where a checkpoint wrote it; set once.
    pub disk: OnceLock<BodyRef>,
    /// Where it went because no memory was left for it; set once.
    pub spilled: OnceLock<Arc<ScratchBody>>,
    charge: OnceLock<Charge>,
}

impl Stored {
    /// A body that is in memory alone.
    #[must_use]
    pub fn new(bytes: Bytes) -> Arc<Self> {
        Arc::new(Self {
            bytes,
            disk: OnceLock::new(),
            spilled: OnceLock::new(),
            charge: OnceLock::new(),
        })
    }

    /// A body that counts in `meter` as long as it is in memory.
    #[must_use]
    pub fn counted(bytes: Bytes, meter: &Arc<Meter>) -> Arc<Self> {
        let charge = OnceLock::from(Charge::forced(meter, Self::cost(&bytes)));
        Arc::new(Self { bytes, disk: OnceLock::new(), spilled: OnceLock::new(), charge })
    }

    /// What a body takes: of a short one, more than its bytes.
    fn cost(bytes: &Bytes) -> usize {
        bytes.len() + OVERHEAD_BYTES
    }

    /// Has the body count in `meter` unless it does in some. False when that has no room.
    #[must_use]
    pub fn charge(&self, meter: &Arc<Meter>) -> bool {
        if self.charge.get().is_some() {
            return true;
        }
        let charge = Charge::new(meter, Self::cost(&self.bytes));
        // Another thread's charge is as good; this one's is then given back.
        charge.is_some_and(|charge| self.charge.set(charge).is_ok() || self.charge.get().is_some())
    }
}

/// Where an entry's body is.
#[derive(Clone, Debug)]
pub enum Body {
    /// Nowhere: sent at once to a session that ends with its connection, so never sent again.
    Sent,
    /// In memory, perhaps on disk as well.
    Memory(Arc<Stored>),
    /// In a body segment.
    Disk(BodyRef),
    /// In the scratch folder, until a restart.
    Scratch(Arc<ScratchBody>),
}

impl Body {
    /// Bytes of the encoded message; 0 when there is none.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Sent => 0,
            Self::Memory(stored) => stored.bytes.len() as u64,
            Self::Disk(reference) => u64::from(reference.len),
            Self::Scratch(body) => u64::from(body.len()),
        }
    }

    /// The encoded message, from wherever it is.
    ///
    /// # Errors
    /// It cannot be read; says why.
    pub fn read(&self, bodies: &BodyStore) -> Result<Bytes, Unread> {
        match self {
            Self::Memory(stored) => Ok(stored.bytes.clone()),
            Self::Disk(reference) => match bodies.read(*reference) {
                // Once more: to take it for lost cannot be taken back.
                Err(StoreError::Corrupt { .. }) => bodies.read(*reference).map_err(Unread::from),
                other => other.map_err(Unread::from),
            },
            Self::Scratch(body) => body.read().map_err(|error| Unread::Failed(error.to_string())),
            Self::Sent => Err(Unread::Failed("a message without a body is queued".to_owned())),
        }
    }

    /// Whether a checkpoint moved this body to `now` since it was looked up as `before`.
    #[must_use]
    pub fn has_moved(before: &Self, now: &Self) -> bool {
        match (before, now) {
            (Self::Disk(before), Self::Disk(now)) => before != now,
            _ => false,
        }
    }

    /// Whether there is no body.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Why a body cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// Its segment was removed: the body was moved meanwhile, or its message is done with. The entry tells.
    #[error("{0}")]
    Gone(String),
    /// Other bytes stand there than were written: it is lost for good.
    #[error("{0}")]
    Corrupt(String),
    /// The disk refuses for now.
    #[error("{0}")]
    Failed(String),
}

impl From<StoreError> for Unread {
    fn from(error: StoreError) -> Self {
        let reason = error.to_string();
        if let StoreError::Missing { .. } = error {
            Self::Gone(reason)
        } else if let StoreError::Corrupt { .. } = error {
            Self::Corrupt(reason)
        } else {
            Self::Failed(reason)
        }
    }
}

/// A body's new place on disk, for the entry at a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// Position in its queue.
    pub position: u64,
    /// Where its body was.
    pub old: BodyRef,
    /// Where it is.
    pub new: BodyRef,
}

const QOS: u8 = 0b11;
const RETAIN: u8 = 1 << 2;
const RELEASED: u8 = 1 << 3;
const SETTLED: u8 = 1 << 4;
/// In a page on disk only: an address follows.
pub const HAS_VIA: u8 = 1 << 5;
/// In a page on disk only: payload length and expiry follow.
pub const HAS_DETAILS: u8 = 1 << 6;
const OUT: u8 = 1 << 7;
/// What a checkpoint does not keep, or keeps in another form.
const VOLATILE: u8 = SETTLED | HAS_VIA | HAS_DETAILS | OUT;

/// [`Entry::expires_ms`] of a message that never expires.
pub const NEVER_MS: u64 = u64::MAX;

/// A queued message: its body, and how it goes to this destination.
#[derive(Clone, Debug)]
pub struct Entry {
    /// LSN of the record that put it here; in a queue without records, its position.
    pub order: u64,
    /// The encoded message.
    pub body: Body,
    /// Identifiers of the subscriptions it matched (MQTT5-3.3.2.3.8).
    pub subscription_ids: Option<Arc<[u32]>>,
    /// The address it is delivered under, where a route changed it.
    pub via: Option<Arc<Via>>,
    /// In a declared queue: when it is not worth delivering any more, ms since the epoch; else [`NEVER_MS`].
    pub expires_ms: u64,
    /// In a declared queue: bytes of its payload, for the queue's limit.
    pub payload_bytes: u32,
    flags: u8,
}

impl Entry {
    /// A message not yet sent.
    #[must_use]
    pub fn new(order: u64, body: Body, qos: QoS, retain: bool) -> Self {
        let flags = qos as u8 | if retain { RETAIN } else { 0 };
        Self {
            order,
            body,
            subscription_ids: None,
            via: None,
            expires_ms: NEVER_MS,
            payload_bytes: 0,
            flags,
        }
    }

    /// Bytes of memory it has elsewhere, its body apart, about.
    #[must_use]
    pub fn bytes_beside(&self) -> usize {
        let ids = self.subscription_ids.as_ref().map_or(0, |ids| 16 + 4 * ids.len());
        ids + self.via.as_ref().map_or(0, |via| via.bytes())
    }

    /// The promise towards this destination.
    #[must_use]
    pub fn qos(&self) -> QoS {
        QoS::from_bits(self.flags & QOS).unwrap_or(QoS::AtLeastOnce)
    }

    /// The retain flag towards this destination.
    #[must_use]
    pub fn retain(&self) -> bool {
        self.flags & RETAIN != 0
    }

    /// The receiver holds it (PUBREC); only the release is still owed.
    #[must_use]
    pub fn is_released(&self) -> bool {
        self.flags & RELEASED != 0
    }

    /// Notes the receiver's PUBREC.
    pub fn release(&mut self) {
        self.flags |= RELEASED;
    }

    /// Acknowledged by the receiver; its record is on the way.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.flags & SETTLED != 0
    }

    /// Notes the receiver's acknowledgement.
    pub fn settle(&mut self) {
        self.flags |= SETTLED;
    }

    /// Forgets the acknowledgement.
    pub fn unsettle(&mut self) {
        self.flags &= !SETTLED;
    }

    /// Out with a consumer that must acknowledge it.
    #[must_use]
    pub fn is_out(&self) -> bool {
        self.flags & OUT != 0
    }

    /// Notes whether it is out.
    pub fn set_out(&mut self, is_out: bool) {
        self.flags = if is_out { self.flags | OUT } else { self.flags & !OUT };
    }

    /// Whether it is not worth delivering any more.
    #[must_use]
    pub fn is_expired(&self, now_ms: u64) -> bool {
        self.expires_ms <= now_ms
    }

    /// The flags that a checkpoint keeps.
    #[must_use]
    pub fn durable_flags(&self) -> u8 {
        let via = if self.via.is_some() { HAS_VIA } else { 0 };
        let has_details = self.expires_ms != NEVER_MS || self.payload_bytes != 0;
        let details = if has_details { HAS_DETAILS } else { 0 };
        self.flags & !VOLATILE | via | details
    }

    /// An entry as a checkpoint kept it.
    #[must_use]
    pub fn restored(order: u64, body: BodyRef, flags: u8) -> Self {
        Self {
            flags: flags & !VOLATILE,
            ..Self::new(order, Body::Disk(body), QoS::AtMostOnce, false)
        }
    }
}
