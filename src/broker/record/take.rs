//! A message that a session takes over from a share group. Part of `broker::record`.

use std::sync::Arc;

use super::{CodecError, QueueId, Reader, Via, Writer};
use crate::broker::declared::place::Place;

const RETAIN: u8 = 1;
const HAS_VIA: u8 = 1 << 1;

/// One message of [`super::Record::Take`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenItem<'a> {
    /// The group's queue.
    pub queue: QueueId,
    /// The message's place there.
    pub place: Place,
    /// The retain flag towards the session.
    pub retain: bool,
    /// Identifier of its subscription.
    pub subscription_id: Option<u32>,
    /// The address it is delivered under, where a route changed it.
    pub via: Option<Arc<Via>>,
    /// The encoded message.
    pub message: &'a [u8],
}

impl<'a> TakenItem<'a> {
    pub(super) fn encode(&self, w: &mut Writer<'_>) {
        w.varint(self.queue.0);
        w.varint(self.place.position);
        // Most stand at a position of their own.
        w.option((self.place.turn != Place::ON).then_some(self.place.turn), Writer::varint);
        let via = if self.via.is_some() { HAS_VIA } else { 0 };
        w.u8(via | if self.retain { RETAIN } else { 0 });
        w.option(self.subscription_id, Writer::u32);
        if let Some(via) = &self.via {
            via.encode(w);
        }
        w.bytes(self.message);
    }

    pub(super) fn decode(r: &mut Reader<'a>) -> Result<Self, CodecError> {
        let (queue, position) = (QueueId(r.varint()?), r.varint()?);
        let turn = r.option(Reader::varint)?.unwrap_or(Place::ON);
        let at = r.position();
        let flags = r.u8()?;
        if flags > RETAIN | HAS_VIA {
            return Err(CodecError::Value { what: "flags of a message", found: flags.into(), at });
        }
        Ok(Self {
            queue,
            place: Place { position, turn },
            retain: flags & RETAIN != 0,
            subscription_id: r.option(Reader::u32)?,
            via: if flags & HAS_VIA != 0 { Some(Arc::new(Via::decode(r)?)) } else { None },
            message: r.bytes()?,
        })
    }
}
