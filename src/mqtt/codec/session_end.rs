//! DISCONNECT (MQTT5-3.14, MQTT-3.14). Part of `mqtt::codec`.

use crate::mqtt::codec::Version;
use crate::mqtt::codec::fixed_header::PacketType;
use crate::mqtt::codec::properties::{self, Properties, id};
use crate::mqtt::codec::wire::{Reader, TooLong, put_binary, put_packet, put_varint};
use crate::mqtt::error::ProtocolError;
use crate::mqtt::reason::ReasonCode;

/// A client's DISCONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnect {
    /// Only success deletes the will [MQTT-3.14.4-3]; MQTT 3.1.1 always says success.
    pub reason: ReasonCode,
    /// A new session expiry, seconds.
    pub session_expiry_s: Option<u32>,
}

/// Parses the body of a DISCONNECT, which in MQTT 5 may be empty.
///
/// # Errors
/// Malformed for a body in MQTT 3.1.1 and for broken fields; protocol error for a reason code that clients do
/// not send.
pub fn decode(version: Version, body: &[u8]) -> Result<Disconnect, ProtocolError> {
    let mut disconnect = Disconnect { reason: ReasonCode::Success, session_expiry_s: None };
    let mut reader = Reader::new(body);
    if reader.is_empty() {
        return Ok(disconnect);
    }
    if version == Version::V311 {
        return Err(ProtocolError::malformed("DISCONNECT with a body"));
    }
    disconnect.reason = ReasonCode::from_byte(reader.u8()?)
        .filter(|&reason| client_may_send(reason))
        .ok_or(ProtocolError::protocol("reason code does not belong in a client's DISCONNECT"))?;
    if reader.is_empty() {
        return Ok(disconnect);
    }
    let mut properties = Properties::take(&mut reader, properties::DISCONNECT)?;
    while let Some(property) = properties.next_property()? {
        if property.id == id::SESSION_EXPIRY {
            disconnect.session_expiry_s = Some(property.value.number());
        }
    }
    if !reader.is_empty() {
        return Err(ProtocolError::malformed("bytes after the properties"));
    }
    Ok(disconnect)
}

/// Appends a server's DISCONNECT; MQTT 3.1.1 has none, and nothing is appended. A reason string that would
/// make the packet longer than `packet_bytes_max` is left out [MQTT-3.14.2-3].
///
/// # Errors
/// The reason string is longer than 65,535 bytes.
pub fn encode(
    out: &mut Vec<u8>,
    version: Version,
    reason: ReasonCode,
    reason_string: Option<&str>,
    packet_bytes_max: usize,
) -> Result<(), TooLong> {
    if version == Version::V311 {
        return Ok(());
    }
    let mut properties = Vec::new();
    if let Some(text) = reason_string {
        properties.push(id::REASON_STRING);
        put_binary(&mut properties, text.as_bytes())?;
    }
    // Fixed header and property length take at most 5 and 4 bytes.
    if properties.len() + 10 > packet_bytes_max {
        properties.clear();
    }
    let mut body = vec![reason.byte()];
    // The length may be left out where there are none, but not every client reads it then.
    put_varint(&mut body, properties.len())?;
    body.extend_from_slice(&properties);
    put_packet(out, PacketType::Disconnect.header(), &body)
}

fn client_may_send(reason: ReasonCode) -> bool {
    use ReasonCode as R;
    matches!(
        reason,
        R::Success
            | R::DisconnectWithWill
            | R::UnspecifiedError
            | R::MalformedPacket
            | R::ProtocolError
            | R::ImplementationSpecificError
            | R::TopicNameInvalid
            | R::ReceiveMaximumExceeded
            | R::TopicAliasInvalid
            | R::PacketTooLarge
            | R::MessageRateTooHigh
            | R::QuotaExceeded
            | R::AdministrativeAction
            | R::PayloadFormatInvalid
    )
}
