//! PUBLISH (MQTT5-3.3): parsed in place, and encoded once for many subscribers. Part of `mqtt::codec`.
//!
//! Topic, payload and properties of an incoming message are slices of the read buffer. Of its properties the
//! message expiry and the topic alias are taken out, since both belong to the hop and not to the message;
//! what is left is the property block of [`crate::model::message`].

use crate::model::message::Publication;
use crate::model::qos::QoS;
use crate::model::topic::{TopicError, check_topic_name};
use crate::mqtt::codec::Version;
use crate::mqtt::codec::fixed_header::PacketType;
use crate::mqtt::codec::properties::{self, Properties, id};
use crate::mqtt::codec::wire::{Reader, TooLong, VARINT_MAX, put_binary, put_varint, varint_len};
use crate::mqtt::error::ProtocolError;
use crate::mqtt::reason::ReasonCode;
use std::num::NonZeroU16;
use std::ops::Range;

/// The DUP flag in a packet's first byte.
pub const DUP: u8 = 0b1000;
const RETAIN: u8 = 0b0001;

/// A message from a client, borrowed from the read buffer (the topic perhaps from the alias table).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishIn<'a> {
    /// Valid topic name.
    pub topic: &'a str,
    /// Application data.
    pub payload: &'a [u8],
    /// Property block of [`crate::model::message`]; always empty with MQTT 3.1.1.
    pub properties: &'a [u8],
    /// Message Expiry Interval, seconds.
    pub expiry_s: Option<u32>,
    /// The publisher's promise.
    pub qos: QoS,
    /// Whether to retain it; with an empty payload: to delete what is retained.
    pub retain: bool,
    /// Whether this may repeat an earlier packet.
    pub dup: bool,
    /// Present exactly if the QoS is above 0.
    pub packet_id: Option<NonZeroU16>,
}

impl<'a> PublishIn<'a> {
    /// The message without what belongs to the protocol.
    #[must_use]
    pub const fn publication(&self) -> Publication<'a> {
        Publication {
            topic: self.topic,
            payload: self.payload,
            properties: self.properties,
            qos: self.qos,
            retain: self.retain,
            expiry_s: self.expiry_s,
        }
    }
}

/// Parses a PUBLISH. The second value is the topic alias, not yet judged; with it the topic may be empty.
///
/// `scratch` is used only when properties had to be taken out from between others; the block is then in it.
///
/// # Errors
/// Malformed for QoS 3 [MQTT-3.3.1-4], DUP with QoS 0 [MQTT-3.3.1-2] and broken fields; protocol error for a
/// packet identifier of 0, a subscription identifier and an empty topic without alias; topic name invalid
/// for wildcards [MQTT-3.3.2-2].
#[inline]
pub fn decode<'a>(
    version: Version,
    header: u8,
    body: &'a [u8],
    scratch: &'a mut Vec<u8>,
) -> Result<(PublishIn<'a>, Option<u16>), ProtocolError> {
    let qos = QoS::from_bits(header >> 1 & 0b11)
        .ok_or(ProtocolError::malformed("PUBLISH with QoS 3 [MQTT-3.3.1-4]"))?;
    let dup = header & DUP != 0;
    if dup && qos == QoS::AtMostOnce {
        return Err(ProtocolError::malformed("DUP with QoS 0 [MQTT-3.3.1-2]"));
    }
    let mut reader = Reader::new(body);
    let topic = reader.binary()?;
    let packet_id = match qos {
        QoS::AtMostOnce => None,
        QoS::AtLeastOnce | QoS::ExactlyOnce => Some(packet_id(&mut reader)?),
    };
    let mut publish = PublishIn {
        topic: "",
        payload: &[],
        properties: &[],
        expiry_s: None,
        qos,
        retain: header & RETAIN != 0,
        dup,
        packet_id,
    };
    let mut alias = None;
    if version == Version::V5 {
        let length = reader.varint()?;
        if length != 0 {
            let section = reader.bytes(length as usize)?;
            let own = scan(section)?;
            publish.expiry_s = own.expiry_s;
            alias = own.alias;
            publish.properties = own.block(section, scratch);
        }
    }
    if !(topic.is_empty() && alias.is_some()) {
        publish.topic = check_topic_name(topic).map_err(topic_error)?;
    }
    publish.payload = reader.rest();
    Ok((publish, alias))
}

/// A packet identifier.
///
/// # Errors
/// Protocol error when it is 0 [MQTT-2.2.1-3].
#[inline]
pub fn packet_id(reader: &mut Reader<'_>) -> Result<NonZeroU16, ProtocolError> {
    NonZeroU16::new(reader.u16()?).ok_or(ProtocolError::protocol("packet identifier is 0"))
}

/// What a peer is told about a topic it should not have sent.
#[cold]
pub(crate) fn topic_error(error: TopicError) -> ProtocolError {
    match error {
        TopicError::Empty => ProtocolError::protocol("topic is empty [MQTT-4.7.3-1]"),
        TopicError::TooLong => ProtocolError::malformed("topic is too long"),
        TopicError::NotUtf8 => ProtocolError::malformed("topic is not UTF-8"),
        TopicError::Nul => ProtocolError::malformed("topic contains U+0000"),
        TopicError::WildcardInName => ProtocolError::new(
            ReasonCode::TopicNameInvalid,
            "topic name contains a wildcard [MQTT-3.3.2-2]",
        ),
        TopicError::MisplacedWildcard | TopicError::Share => {
            ProtocolError::new(ReasonCode::TopicFilterInvalid, "topic filter is not valid")
        }
    }
}

/// The properties that belong to the hop, and where they stand.
#[derive(Default)]
struct HopProperties {
    expiry_s: Option<u32>,
    alias: Option<u16>,
    /// Sections to leave out, in ascending order; empty ranges where there is none.
    cuts: [Range<usize>; 2],
}

#[inline]
fn scan(section: &[u8]) -> Result<HopProperties, ProtocolError> {
    let mut properties = Properties::new(section, properties::PUBLISH);
    let mut own = HopProperties::default();
    let mut count = 0;
    while let Some(property) = properties.next_property()? {
        let number = property.value.number();
        match property.id {
            id::MESSAGE_EXPIRY => own.expiry_s = Some(number),
            id::TOPIC_ALIAS => own.alias = u16::try_from(number).ok(),
            _ => continue,
        }
        // At most two get here, each being allowed once.
        if let Some(cut) = own.cuts.get_mut(count) {
            *cut = property.start..property.end;
            count += 1;
        }
    }
    Ok(own)
}

impl HopProperties {
    /// `section` without the cuts.
    #[inline]
    fn block<'a>(&self, section: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
        let [first, second] = &self.cuts;
        if first.is_empty() {
            return section;
        }
        let resume = if second.is_empty() { section.len() } else { second.start };
        let part = |range: Range<usize>| section.get(range).unwrap_or_default();
        let parts = [
            part(0..first.start),
            part(first.end..resume),
            part(second.end.max(resume)..section.len()),
        ];
        let mut filled = parts.iter().filter(|part| !part.is_empty());
        match (filled.next(), filled.next()) {
            (None, _) => &[],
            (Some(only), None) => only,
            (Some(_), Some(_)) => {
                scratch.clear();
                parts.iter().for_each(|part| scratch.extend_from_slice(part));
                scratch
            }
        }
    }
}

/// A message to a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PublishOut<'a> {
    /// Valid topic name; empty only with a topic alias the client knows already.
    pub topic: &'a str,
    /// Application data.
    pub payload: &'a [u8],
    /// Property block, identifiers of MQTT only; not sent to MQTT 3.1.1 clients.
    pub properties: &'a [u8],
    /// What is left of the message's life, seconds; MQTT 5 only.
    pub expiry_s: Option<u32>,
    /// Identifiers of all matching subscriptions that have one, each 1 to 268,435,455; MQTT 5 only.
    pub subscription_ids: &'a [u32],
    /// Topic alias to use or to introduce; MQTT 5 only.
    pub topic_alias: Option<NonZeroU16>,
    /// At which QoS it is delivered.
    pub qos: QoS,
    /// The retain flag as the subscriber shall see it.
    pub retain: bool,
    /// Whether it is a redelivery.
    pub dup: bool,
    /// Needed above QoS 0, ignored at QoS 0. To encode once for many, give any and patch each copy.
    pub packet_id: Option<NonZeroU16>,
}

impl PublishOut<'_> {
    fn properties_len(&self) -> usize {
        let ids = self.subscription_ids.iter().map(|&id| 1 + varint_len(id as usize));
        self.properties.len()
            + self.expiry_s.map_or(0, |_| 5)
            + self.topic_alias.map_or(0, |_| 3)
            + ids.sum::<usize>()
    }

    fn remaining_len(&self, version: Version) -> usize {
        let properties = match version {
            Version::V311 => 0,
            Version::V5 => {
                let length = self.properties_len();
                varint_len(length) + length
            }
        };
        let packet_id = if self.qos == QoS::AtMostOnce { 0 } else { 2 };
        2 + self.topic.len() + packet_id + properties + self.payload.len()
    }

    /// Length of the whole packet, to be held against the client's Maximum Packet Size [MQTT-3.1.2-24].
    #[must_use]
    pub fn encoded_len(&self, version: Version) -> usize {
        let remaining = self.remaining_len(version);
        1 + varint_len(remaining) + remaining
    }
}

/// Appends a PUBLISH to `out`. Returns where in `out` the packet identifier stands, for
/// [`set_packet_id`]; `None` at QoS 0.
///
/// # Errors
/// The topic exceeds 65,535 bytes, the packet or a subscription identifier 268,435,455; `out` is unchanged.
#[inline]
pub fn encode(
    out: &mut Vec<u8>,
    version: Version,
    publish: &PublishOut<'_>,
) -> Result<Option<usize>, TooLong> {
    let remaining = publish.remaining_len(version);
    let oversize = remaining > VARINT_MAX as usize
        || publish.topic.len() > usize::from(u16::MAX)
        || publish.subscription_ids.iter().any(|&id| id > VARINT_MAX);
    if oversize {
        return Err(TooLong);
    }
    out.reserve(5 + remaining);
    let mut header = PacketType::Publish.header() | (publish.qos as u8) << 1;
    if publish.retain {
        header |= RETAIN;
    }
    // [MQTT-3.3.1-2]: never with QoS 0.
    if publish.dup && publish.qos != QoS::AtMostOnce {
        header |= DUP;
    }
    out.push(header);
    put_varint(out, remaining)?;
    put_binary(out, publish.topic.as_bytes())?;
    let mut packet_id_at = None;
    if publish.qos != QoS::AtMostOnce {
        packet_id_at = Some(out.len());
        out.extend_from_slice(&publish.packet_id.map_or(0, NonZeroU16::get).to_be_bytes());
    }
    if version == Version::V5 {
        put_varint(out, publish.properties_len())?;
        if let Some(expiry_s) = publish.expiry_s {
            out.push(id::MESSAGE_EXPIRY);
            out.extend_from_slice(&expiry_s.to_be_bytes());
        }
        if let Some(alias) = publish.topic_alias {
            out.push(id::TOPIC_ALIAS);
            out.extend_from_slice(&alias.get().to_be_bytes());
        }
        out.extend_from_slice(publish.properties);
        for &subscription in publish.subscription_ids {
            out.push(id::SUBSCRIPTION_IDENTIFIER);
            put_varint(out, subscription as usize)?;
        }
    }
    out.extend_from_slice(publish.payload);
    Ok(packet_id_at)
}

/// Writes a packet identifier where [`encode`] said, in `bytes` or a copy of them.
#[inline]
pub fn set_packet_id(bytes: &mut [u8], at: usize, packet_id: NonZeroU16) {
    if let Some(field) = bytes.get_mut(at..at + 2) {
        field.copy_from_slice(&packet_id.get().to_be_bytes());
    }
}
