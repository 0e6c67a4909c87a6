//! One message in one queue. Part of `broker::queues`.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::broker::via::Via;
use crate::model::qos::QoS;
use crate::store::bodies::BodyRef;

/// A message's encoded body, shared by every queue that holds it.
#[derive(Debug)]
pub struct Stored {
    /// See `broker::message` for the encoding.
    pub bytes: Bytes,
    /// Where a checkpoint wrote it; set once.
    pub disk: OnceLock<BodyRef>,
}

impl Stored {
    /// A body that is in memory alone.
    #[must_use]
    pub fn new(bytes: Bytes) -> Arc<Self> {
        Arc::new(Self { bytes, disk: OnceLock::new() })
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
}

impl Body {
    /// Bytes of the encoded message; 0 when there is none.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Sent => 0,
            Self::Memory(stored) => stored.bytes.len() as u64,
            Self::Disk(reference) => u64::from(reference.len),
        }
    }

    /// Whether there is no body.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

const QOS: u8 = 0b11;
const RETAIN: u8 = 1 << 2;
const RELEASED: u8 = 1 << 3;
const SETTLED: u8 = 1 << 4;
/// In a page on disk only: an address follows.
pub const HAS_VIA: u8 = 1 << 5;

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
    flags: u8,
}

impl Entry {
    /// A message not yet sent.
    #[must_use]
    pub fn new(order: u64, body: Body, qos: QoS, retain: bool) -> Self {
        let flags = qos as u8 | if retain { RETAIN } else { 0 };
        Self { order, body, subscription_ids: None, via: None, flags }
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

    /// The flags that a checkpoint keeps.
    #[must_use]
    pub fn durable_flags(&self) -> u8 {
        let via = if self.via.is_some() { HAS_VIA } else { 0 };
        self.flags & !SETTLED | via
    }

    /// An entry as a checkpoint kept it.
    #[must_use]
    pub fn restored(
        order: u64,
        body: BodyRef,
        flags: u8,
        subscription_ids: Option<Arc<[u32]>>,
        via: Option<Arc<Via>>,
    ) -> Self {
        let flags = flags & !(SETTLED | HAS_VIA);
        Self { order, body: Body::Disk(body), subscription_ids, via, flags }
    }
}
