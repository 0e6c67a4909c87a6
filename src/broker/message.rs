//! A message's encoded form: what a journal record, a queue's body and a retained row hold. Part of `broker`.
//!
//! | bytes | field |
//! |---|---|
//! | 1 | version, 1 |
//! | 1 | bits 0–1 QoS, 2 retain flag, 3 expiry present, 4 published as a will, 5 published to an exchange |
//! | 8 | accepted at, ms since the epoch |
//! | 0 or 8 | expires at, ms since the epoch |
//! | varint + n | topic; published to an exchange: routing key |
//! | varint + n | property block (`model::message`); published to an exchange: `model::content` |
//! | varint + n | client id of the publisher |
//! | varint + n | user name of the publisher |
//! | 0 or varint + n | name of the exchange |
//! | rest | payload |

use crate::model::message::Publication;
use crate::model::qos::QoS;
use crate::store::codec::{CodecError, Reader, Writer};

const VERSION: u8 = 1;
const RETAIN: u8 = 1 << 2;
const EXPIRES: u8 = 1 << 3;
const WILL: u8 = 1 << 4;
const EXCHANGE: u8 = 1 << 5;

/// The world a message was published in. It is stored as it came and converted only where it is delivered in the
/// other one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form<'a> {
    /// To a topic: `topic` is a topic name, `properties` a block of `model::message`.
    #[default]
    Topic,
    /// To the exchange of this name: `topic` is the routing key, `properties` a block of `model::content`.
    Exchange(&'a str),
}

/// Who published, as far as the message carries it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Publisher<'a> {
    /// MQTT client identifier; empty for other protocols.
    pub client_id: &'a str,
    /// Authenticated name.
    pub username: &'a str,
}

/// A message as stored, borrowed from its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// When the broker accepted it, ms since the epoch.
    pub time_ms: u64,
    /// When it stops being worth delivering.
    pub expires_ms: Option<u64>,
    /// Topic name or routing key, see [`Form`].
    pub topic: &'a str,
    /// Property block, see [`Form`].
    pub properties: &'a [u8],
    /// Publisher's client identifier.
    pub client_id: &'a str,
    /// Publisher's user name.
    pub username: &'a str,
    /// Application data.
    pub payload: &'a [u8],
    /// The publisher's promise.
    pub qos: QoS,
    /// The publisher's retain flag.
    pub retain: bool,
    /// Whether it is somebody's will.
    pub will: bool,
    /// Where it was published.
    pub form: Form<'a>,
}

impl<'a> Message<'a> {
    /// The message that `publication` makes when accepted at `now_ms`.
    #[must_use]
    pub fn accepted(publication: &Publication<'a>, publisher: Publisher<'a>, now_ms: u64) -> Self {
        let expires = publication.expiry_s.map(|s| now_ms.saturating_add(u64::from(s) * 1000));
        Self {
            time_ms: now_ms,
            expires_ms: expires,
            topic: publication.topic,
            properties: publication.properties,
            client_id: publisher.client_id,
            username: publisher.username,
            payload: publication.payload,
            qos: publication.qos,
            retain: publication.retain,
            will: false,
            form: Form::Topic,
        }
    }

    /// Appends the encoded form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(
            40 + self.topic.len()
                + self.properties.len()
                + self.client_id.len()
                + self.username.len()
                + self.payload.len(),
        );
        let mut writer = Writer(out);
        writer.u8(VERSION);
        let mut flags = self.qos as u8;
        if self.retain {
            flags |= RETAIN;
        }
        if self.expires_ms.is_some() {
            flags |= EXPIRES;
        }
        if self.will {
            flags |= WILL;
        }
        if matches!(self.form, Form::Exchange(_)) {
            flags |= EXCHANGE;
        }
        writer.u8(flags);
        writer.u64(self.time_ms);
        if let Some(expires_ms) = self.expires_ms {
            writer.u64(expires_ms);
        }
        writer.str(self.topic);
        writer.bytes(self.properties);
        writer.str(self.client_id);
        writer.str(self.username);
        if let Form::Exchange(exchange) = self.form {
            writer.str(exchange);
        }
        writer.raw(self.payload);
    }

    /// Reads the encoded form.
    ///
    /// # Errors
    /// [`CodecError`] naming the field that does not fit.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8()?;
        if version != VERSION {
            return Err(CodecError::Version { found: version, known: VERSION });
        }
        let flags = reader.u8()?;
        let qos = QoS::from_bits(flags & 0b11).unwrap_or(QoS::ExactlyOnce);
        let time_ms = reader.u64()?;
        let expires_ms = if flags & EXPIRES != 0 { Some(reader.u64()?) } else { None };
        let (topic, properties) = (reader.str()?, reader.bytes()?);
        let (client_id, username) = (reader.str()?, reader.str()?);
        let form = if flags & EXCHANGE != 0 { Form::Exchange(reader.str()?) } else { Form::Topic };
        Ok(Self {
            time_ms,
            expires_ms,
            topic,
            properties,
            client_id,
            username,
            form,
            payload: reader.rest(),
            qos,
            retain: flags & RETAIN != 0,
            will: flags & WILL != 0,
        })
    }

    /// Whether the message is past its expiry at `now_ms`.
    #[must_use]
    pub fn is_expired(&self, now_ms: u64) -> bool {
        self.expires_ms.is_some_and(|at| at <= now_ms)
    }

    /// Seconds of life left at `now_ms`, as MQTT 5 forwards them [MQTT-3.3.2-6].
    #[must_use]
    pub fn remaining_s(&self, now_ms: u64) -> Option<u32> {
        self.expires_ms
            .map(|at| u32::try_from(at.saturating_sub(now_ms).div_ceil(1000)).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::{Form, Message, Publisher};
    use crate::model::message::Publication;
    use crate::model::qos::QoS;

    proptest! {
        #[test]
        fn a_message_survives_its_bytes(
            (time_ms, expires_ms, qos) in (any::<u64>(), option::of(any::<u64>()), 0u8..3),
            (topic, client_id, username) in (".{0,9}", ".{0,9}", ".{0,9}"),
            (properties, payload) in (vec(any::<u8>(), 0..20), vec(any::<u8>(), 0..200)),
            (retain, will) in any::<(bool, bool)>(),
            exchange in option::of(".{0,9}"),
        ) {
            let message = Message {
                time_ms,
                expires_ms,
                topic: &topic,
                properties: &properties,
                client_id: &client_id,
                username: &username,
                payload: &payload,
                qos: QoS::from_bits(qos).unwrap(),
                retain,
                will,
                form: exchange.as_deref().map_or(Form::Topic, Form::Exchange),
            };
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            prop_assert_eq!(Message::decode(&bytes), Ok(message));
            let head = bytes.len() - payload.len();
            for cut in 0..bytes.len() {
                prop_assert_eq!(Message::decode(&bytes[..cut]).is_ok(), cut >= head);
            }
        }

        #[test]
        fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..64)) {
            std::hint::black_box(Message::decode(&bytes)).ok();
            let body: Vec<u8> = [1].into_iter().chain(bytes).collect();
            std::hint::black_box(Message::decode(&body)).ok();
        }
    }

    /// [MQTT5-3.3.2-5] [MQTT5-3.3.2-6]: what is left of its life, rounded up so that it is never over too soon.
    #[test]
    fn life_is_counted_from_acceptance() {
        let publication = Publication {
            topic: "t",
            payload: b"",
            properties: &[],
            qos: QoS::AtLeastOnce,
            retain: false,
            expiry_s: Some(2),
        };
        let message = Message::accepted(&publication, Publisher::default(), 10_000);
        assert_eq!(message.expires_ms, Some(12_000));
        assert_eq!(
            [10_000, 10_001, 11_500].map(|now| message.remaining_s(now)),
            [Some(2), Some(2), Some(1)]
        );
        assert!(!message.is_expired(11_999) && message.is_expired(12_000));
        let endless = Publication { expiry_s: None, ..publication };
        let endless = Message::accepted(&endless, Publisher::default(), u64::MAX);
        assert_eq!((endless.remaining_s(u64::MAX), endless.is_expired(u64::MAX)), (None, false));
        let long = Publication { expiry_s: Some(u32::MAX), ..publication };
        let long = Message::accepted(&long, Publisher::default(), u64::MAX - 5);
        assert_eq!(long.expires_ms, Some(u64::MAX));
    }
}
