//! PUBACK, PUBREC, PUBREL and PUBCOMP (MQTT5-3.4 to 3.7), which share one form. Part of `mqtt::codec`.

use crate::mqtt::codec::Version;
use crate::mqtt::codec::fixed_header::PacketType;
use crate::mqtt::codec::properties::{self, Properties, id};
use crate::mqtt::codec::publish::packet_id;
use crate::mqtt::codec::wire::{Reader, TooLong, put_binary, put_packet, put_varint};
use crate::mqtt::error::ProtocolError;
use crate::mqtt::reason::ReasonCode;
use std::num::NonZeroU16;

/// One of the four acknowledgements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Which exchange.
    pub packet_id: NonZeroU16,
    /// How it went; always success with MQTT 3.1.1.
    pub reason: ReasonCode,
}

/// Parses the body of an acknowledgement of type `kind`.
///
/// # Errors
/// Protocol error for a packet identifier of 0 and for a reason code that this packet cannot carry;
/// malformed for anything after the fields.
pub fn decode(version: Version, kind: PacketType, body: &[u8]) -> Result<Ack, ProtocolError> {
    let mut reader = Reader::new(body);
    let packet_id = packet_id(&mut reader)?;
    let mut ack = Ack { packet_id, reason: ReasonCode::Success };
    if reader.is_empty() {
        return Ok(ack);
    }
    if version == Version::V311 {
        return Err(ProtocolError::malformed("acknowledgement is longer than 2 bytes"));
    }
    let byte = reader.u8()?;
    ack.reason = ReasonCode::from_byte(byte)
        .filter(|&reason| may_carry(kind, reason))
        .ok_or(ProtocolError::protocol("reason code does not belong in this packet"))?;
    // [MQTT-3.4.2.2.1]: below a Remaining Length of 4 there is no property length.
    if !reader.is_empty() {
        Properties::take(&mut reader, properties::ACK)?.finish()?;
    }
    if !reader.is_empty() {
        return Err(ProtocolError::malformed("bytes after the properties"));
    }
    Ok(ack)
}

/// Appends an acknowledgement in its shortest form: MQTT 5 omits the reason code when it is 0, MQTT 3.1.1
/// has none.
#[inline]
pub fn encode(out: &mut Vec<u8>, version: Version, kind: PacketType, ack: Ack) {
    let [high, low] = ack.packet_id.get().to_be_bytes();
    if version == Version::V311 || ack.reason == ReasonCode::Success {
        out.extend_from_slice(&[kind.header(), 2, high, low]);
    } else {
        out.extend_from_slice(&[kind.header(), 3, high, low, ack.reason.byte()]);
    }
}

/// Appends an acknowledgement with a reason string, for MQTT 5 clients that asked for it. Without the string where the
/// packet would be longer than `packet_bytes_max` [MQTT-3.4.2-2].
///
/// # Errors
/// The string is longer than 65,535 bytes; nothing is appended then.
pub fn encode_explained(
    out: &mut Vec<u8>,
    kind: PacketType,
    ack: Ack,
    reason_string: &str,
    packet_bytes_max: usize,
) -> Result<(), TooLong> {
    let mut properties = vec![id::REASON_STRING];
    put_binary(&mut properties, reason_string.as_bytes())?;
    let mut body = ack.packet_id.get().to_be_bytes().to_vec();
    body.push(ack.reason.byte());
    // Fixed header and property length take at most 5 and 4 bytes.
    if body.len() + properties.len() + 9 > packet_bytes_max {
        encode(out, Version::V5, kind, ack);
        return Ok(());
    }
    put_varint(&mut body, properties.len())?;
    body.extend_from_slice(&properties);
    put_packet(out, kind.header(), &body)
}

fn may_carry(kind: PacketType, reason: ReasonCode) -> bool {
    use ReasonCode as R;
    match kind {
        PacketType::PubAck | PacketType::PubRec => matches!(
            reason,
            R::Success
                | R::NoMatchingSubscribers
                | R::UnspecifiedError
                | R::ImplementationSpecificError
                | R::NotAuthorized
                | R::TopicNameInvalid
                | R::PacketIdentifierInUse
                | R::QuotaExceeded
                | R::PayloadFormatInvalid
        ),
        _ => matches!(reason, R::Success | R::PacketIdentifierNotFound),
    }
}
