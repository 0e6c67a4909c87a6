//! The properties of MQTT 5 (MQTT5-2.2.2): types, where each may stand, how often. Part of `mqtt::codec`.

use crate::mqtt::codec::wire::{Reader, text};
use crate::mqtt::error::ProtocolError;

/// Property identifiers (MQTT5-2.2.2.2, Table 2-4).
pub mod id {
    /// Byte.
    pub const PAYLOAD_FORMAT: u8 = 0x01;
    /// Four Byte Integer, seconds.
    pub const MESSAGE_EXPIRY: u8 = 0x02;
    /// UTF-8 string.
    pub const CONTENT_TYPE: u8 = 0x03;
    /// UTF-8 string, a topic name.
    pub const RESPONSE_TOPIC: u8 = 0x08;
    /// Binary data.
    pub const CORRELATION_DATA: u8 = 0x09;
    /// Variable Byte Integer, not 0.
    pub const SUBSCRIPTION_IDENTIFIER: u8 = 0x0B;
    /// Four Byte Integer, seconds.
    pub const SESSION_EXPIRY: u8 = 0x11;
    /// UTF-8 string.
    pub const ASSIGNED_CLIENT_IDENTIFIER: u8 = 0x12;
    /// Two Byte Integer, seconds.
    pub const SERVER_KEEP_ALIVE: u8 = 0x13;
    /// UTF-8 string.
    pub const AUTHENTICATION_METHOD: u8 = 0x15;
    /// Binary data.
    pub const AUTHENTICATION_DATA: u8 = 0x16;
    /// Byte.
    pub const REQUEST_PROBLEM_INFORMATION: u8 = 0x17;
    /// Four Byte Integer, seconds.
    pub const WILL_DELAY: u8 = 0x18;
    /// Byte.
    pub const REQUEST_RESPONSE_INFORMATION: u8 = 0x19;
    /// UTF-8 string.
    pub const RESPONSE_INFORMATION: u8 = 0x1A;
    /// UTF-8 string.
    pub const SERVER_REFERENCE: u8 = 0x1C;
    /// UTF-8 string.
    pub const REASON_STRING: u8 = 0x1F;
    /// Two Byte Integer, not 0.
    pub const RECEIVE_MAXIMUM: u8 = 0x21;
    /// Two Byte Integer.
    pub const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    /// Two Byte Integer, not 0.
    pub const TOPIC_ALIAS: u8 = 0x23;
    /// Byte.
    pub const MAXIMUM_QOS: u8 = 0x24;
    /// Byte.
    pub const RETAIN_AVAILABLE: u8 = 0x25;
    /// UTF-8 string pair, repeatable.
    pub const USER_PROPERTY: u8 = 0x26;
    /// Four Byte Integer, not 0.
    pub const MAXIMUM_PACKET_SIZE: u8 = 0x27;
    /// Byte.
    pub const WILDCARD_AVAILABLE: u8 = 0x28;
    /// Byte.
    pub const SUBSCRIPTION_IDENTIFIERS_AVAILABLE: u8 = 0x29;
    /// Byte.
    pub const SHARED_AVAILABLE: u8 = 0x2A;
}

/// A set of property identifiers; all of them are below 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PropertySet(u64);

impl PropertySet {
    /// The set of `ids`.
    #[must_use]
    pub const fn of(ids: &[u8]) -> Self {
        let mut bits = 0;
        let mut index = 0;
        while index < ids.len() {
            bits |= 1 << (ids[index] & 63);
            index += 1;
        }
        Self(bits)
    }

    const fn contains(self, id: u8) -> bool {
        id < 64 && self.0 >> id & 1 == 1
    }

    /// Adds `id`; false when it was there already.
    const fn insert(&mut self, id: u8) -> bool {
        let new = !self.contains(id);
        self.0 |= 1 << (id & 63);
        new
    }
}

/// Allowed in a client's PUBLISH; a subscription identifier is not [MQTT-3.3.4-6].
pub const PUBLISH: PropertySet = PropertySet::of(&[
    id::PAYLOAD_FORMAT,
    id::MESSAGE_EXPIRY,
    id::CONTENT_TYPE,
    id::RESPONSE_TOPIC,
    id::CORRELATION_DATA,
    id::TOPIC_ALIAS,
    id::USER_PROPERTY,
]);
/// Allowed in PUBACK, PUBREC, PUBREL and PUBCOMP.
pub const ACK: PropertySet = PropertySet::of(&[id::REASON_STRING, id::USER_PROPERTY]);
/// Allowed in CONNECT.
pub const CONNECT: PropertySet = PropertySet::of(&[
    id::SESSION_EXPIRY,
    id::RECEIVE_MAXIMUM,
    id::MAXIMUM_PACKET_SIZE,
    id::TOPIC_ALIAS_MAXIMUM,
    id::REQUEST_RESPONSE_INFORMATION,
    id::REQUEST_PROBLEM_INFORMATION,
    id::USER_PROPERTY,
    id::AUTHENTICATION_METHOD,
    id::AUTHENTICATION_DATA,
]);
/// Allowed among the will properties of CONNECT.
pub const WILL: PropertySet = PropertySet::of(&[
    id::WILL_DELAY,
    id::PAYLOAD_FORMAT,
    id::MESSAGE_EXPIRY,
    id::CONTENT_TYPE,
    id::RESPONSE_TOPIC,
    id::CORRELATION_DATA,
    id::USER_PROPERTY,
]);
/// Allowed in SUBSCRIBE.
pub const SUBSCRIBE: PropertySet =
    PropertySet::of(&[id::SUBSCRIPTION_IDENTIFIER, id::USER_PROPERTY]);
/// Allowed in UNSUBSCRIBE.
pub const UNSUBSCRIBE: PropertySet = PropertySet::of(&[id::USER_PROPERTY]);
/// Allowed in a client's DISCONNECT.
pub const DISCONNECT: PropertySet =
    PropertySet::of(&[id::SESSION_EXPIRY, id::REASON_STRING, id::USER_PROPERTY]);
/// Allowed in AUTH.
pub const AUTH: PropertySet = PropertySet::of(&[
    id::AUTHENTICATION_METHOD,
    id::AUTHENTICATION_DATA,
    id::REASON_STRING,
    id::USER_PROPERTY,
]);

/// A property's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A byte or an integer of any width.
    Number(u32),
    /// A UTF-8 string.
    Text(&'a str),
    /// Binary data.
    Binary(&'a [u8]),
    /// A UTF-8 string pair.
    Pair(&'a str, &'a str),
}

impl<'a> Value<'a> {
    /// The number, or 0 for what is none.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Number(number) => number,
            Self::Text(_) | Self::Binary(_) | Self::Pair(..) => 0,
        }
    }

    /// The text, or nothing for what is none.
    #[must_use]
    pub const fn text(self) -> &'a str {
        match self {
            Self::Text(text) => text,
            Self::Number(_) | Self::Binary(_) | Self::Pair(..) => "",
        }
    }

    /// The binary data, or nothing for what is none.
    #[must_use]
    pub const fn binary(self) -> &'a [u8] {
        match self {
            Self::Binary(bytes) => bytes,
            Self::Number(_) | Self::Text(_) | Self::Pair(..) => &[],
        }
    }
}

/// One property of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Property<'a> {
    /// One of [`id`].
    pub id: u8,
    /// Its value, of the type its identifier asks for.
    pub value: Value<'a>,
    /// Where its identifier stands in the section.
    pub start: usize,
    /// Where the next property begins.
    pub end: usize,
}

/// Walks over a property section and checks it: known identifiers, allowed here, once each but for user
/// properties, whole values of the right type and range.
#[derive(Clone, Debug)]
pub struct Properties<'a> {
    section: &'a [u8],
    reader: Reader<'a>,
    allowed: PropertySet,
    seen: PropertySet,
}

impl<'a> Properties<'a> {
    /// Walks over `section`, the bytes after the property length.
    #[must_use]
    pub const fn new(section: &'a [u8], allowed: PropertySet) -> Self {
        Self { section, reader: Reader::new(section), allowed, seen: PropertySet::of(&[]) }
    }

    /// Takes the section, with its length before it, off `reader`.
    ///
    /// # Errors
    /// Malformed when the length is, or exceeds what is left of the packet.
    pub fn take(reader: &mut Reader<'a>, allowed: PropertySet) -> Result<Self, ProtocolError> {
        let length = reader.varint()?;
        Ok(Self::new(reader.bytes(length as usize)?, allowed))
    }

    /// The bytes of `property`, identifier included.
    #[must_use]
    pub fn raw(&self, property: &Property<'_>) -> &'a [u8] {
        self.section.get(property.start..property.end).unwrap_or_default()
    }

    /// The next property, `None` at the end.
    ///
    /// # Errors
    /// See the type.
    #[inline]
    pub fn next_property(&mut self) -> Result<Option<Property<'a>>, ProtocolError> {
        let start = self.section.len() - self.reader.rest().len();
        if self.reader.is_empty() {
            return Ok(None);
        }
        let id = self.reader.u8()?;
        if !self.allowed.contains(id) {
            return Err(self.not_allowed(id));
        }
        if !self.seen.insert(id) && id != id::USER_PROPERTY {
            return Err(ProtocolError::protocol("property occurs more than once"));
        }
        let value = read_value(id, &mut self.reader)?;
        let end = self.section.len() - self.reader.rest().len();
        Ok(Some(Property { id, value, start, end }))
    }

    /// An identifier that is none, or not of this packet, is malformed (MQTT5-2.2.2.2). A subscription identifier does
    /// belong to PUBLISH, but only servers send it.
    #[cold]
    fn not_allowed(&self, id: u8) -> ProtocolError {
        match kind(id) {
            Some(_) if id == id::SUBSCRIPTION_IDENTIFIER && self.allowed == PUBLISH => {
                ProtocolError::protocol("subscription identifier from a client [MQTT-3.3.4-6]")
            }
            Some(_) => ProtocolError::malformed("property is not allowed in this packet"),
            None => ProtocolError::malformed("unknown property identifier"),
        }
    }

    /// Checks all properties that are left.
    ///
    /// # Errors
    /// See the type.
    pub fn finish(mut self) -> Result<(), ProtocolError> {
        while self.next_property()?.is_some() {}
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Kind {
    /// 0 or 1.
    Flag,
    Two,
    /// Two Byte Integer that is not 0.
    TwoNonZero,
    Four,
    FourNonZero,
    VarintNonZero,
    Text,
    /// Text that is a topic name [MQTT-3.3.2-14].
    TopicName,
    Binary,
    Pair,
}

const fn kind(id: u8) -> Option<Kind> {
    Some(match id {
        id::PAYLOAD_FORMAT
        | id::REQUEST_PROBLEM_INFORMATION
        | id::REQUEST_RESPONSE_INFORMATION
        | id::MAXIMUM_QOS
        | id::RETAIN_AVAILABLE
        | id::WILDCARD_AVAILABLE
        | id::SUBSCRIPTION_IDENTIFIERS_AVAILABLE
        | id::SHARED_AVAILABLE => Kind::Flag,
        id::SERVER_KEEP_ALIVE | id::TOPIC_ALIAS_MAXIMUM | id::TOPIC_ALIAS => Kind::Two,
        id::RECEIVE_MAXIMUM => Kind::TwoNonZero,
        id::MESSAGE_EXPIRY | id::SESSION_EXPIRY | id::WILL_DELAY => Kind::Four,
        id::MAXIMUM_PACKET_SIZE => Kind::FourNonZero,
        id::SUBSCRIPTION_IDENTIFIER => Kind::VarintNonZero,
        id::CONTENT_TYPE
        | id::ASSIGNED_CLIENT_IDENTIFIER
        | id::AUTHENTICATION_METHOD
        | id::RESPONSE_INFORMATION
        | id::SERVER_REFERENCE
        | id::REASON_STRING => Kind::Text,
        id::RESPONSE_TOPIC => Kind::TopicName,
        id::CORRELATION_DATA | id::AUTHENTICATION_DATA => Kind::Binary,
        id::USER_PROPERTY => Kind::Pair,
        _ => return None,
    })
}

#[inline]
fn read_value<'a>(id: u8, reader: &mut Reader<'a>) -> Result<Value<'a>, ProtocolError> {
    let kind = kind(id).ok_or(ProtocolError::malformed("unknown property identifier"))?;
    let non_zero = |number: u32| {
        (number != 0).then_some(number).ok_or(ProtocolError::protocol("property must not be 0"))
    };
    Ok(match kind {
        Kind::Flag => match reader.u8()? {
            flag @ (0 | 1) => Value::Number(u32::from(flag)),
            _ => return Err(ProtocolError::protocol("property must be 0 or 1")),
        },
        Kind::Two => Value::Number(u32::from(reader.u16()?)),
        Kind::TwoNonZero => Value::Number(non_zero(u32::from(reader.u16()?))?),
        Kind::Four => Value::Number(reader.u32()?),
        Kind::FourNonZero => Value::Number(non_zero(reader.u32()?)?),
        Kind::VarintNonZero => Value::Number(non_zero(reader.varint()?)?),
        Kind::Text => Value::Text(reader.string()?),
        Kind::TopicName => {
            let topic = text(reader.binary()?)?;
            if topic.is_empty() || topic.contains(['+', '#']) {
                return Err(ProtocolError::protocol("response topic is not a topic name"));
            }
            Value::Text(topic)
        }
        Kind::Binary => Value::Binary(reader.binary()?),
        Kind::Pair => Value::Pair(reader.string()?, reader.string()?),
    })
}
