//! One subscription's options. Part of `broker::sessions`.

use crate::model::ids::Lsn;
use crate::model::qos::QoS;
use crate::store::codec::{CodecError, Reader, Writer};

/// Options of a subscription (MQTT5-3.8.3.1), and where it stands against retained messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscription {
    /// Highest promise granted.
    pub qos: QoS,
    /// The session's own messages are not sent back [MQTT-3.8.3-3].
    pub no_local: bool,
    /// The publisher's retain flag is kept on live messages.
    pub retain_as_published: bool,
    /// Subscription identifier (MQTT5-3.8.2.1.2).
    pub id: Option<u32>,
    /// Retained values with an LSN up to this come by replay only, newer ones live only.
    pub since: Lsn,
    /// A replay of retained messages that is not complete: the last topic replayed, empty at first.
    pub replay_after: Option<String>,
}

const NO_LOCAL: u8 = 1 << 2;
const RETAIN_AS_PUBLISHED: u8 = 1 << 3;

impl Subscription {
    /// Appends the bytes.
    pub fn encode(&self, w: &mut Writer<'_>) {
        let mut flags = self.qos as u8;
        if self.no_local {
            flags |= NO_LOCAL;
        }
        if self.retain_as_published {
            flags |= RETAIN_AS_PUBLISHED;
        }
        w.u8(flags);
        w.option(self.id, Writer::u32);
        w.varint(self.since.0);
        w.option(self.replay_after.as_deref(), Writer::str);
    }

    /// Reads the bytes.
    ///
    /// # Errors
    /// [`CodecError`] naming what does not fit.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, CodecError> {
        let at = r.position();
        let flags = r.u8()?;
        let qos = QoS::from_bits(flags & 0b11).ok_or(CodecError::Value {
            what: "subscription options",
            found: u64::from(flags),
            at,
        })?;
        Ok(Self {
            qos,
            no_local: flags & NO_LOCAL != 0,
            retain_as_published: flags & RETAIN_AS_PUBLISHED != 0,
            id: r.option(Reader::u32)?,
            since: Lsn(r.varint()?),
            replay_after: r.option(Reader::str)?.map(str::to_owned),
        })
    }
}
