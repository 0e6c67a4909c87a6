//! SUBACK and UNSUBACK (MQTT5-3.9, MQTT5-3.11). Part of `mqtt::codec`.

use crate::mqtt::codec::Version;
use crate::mqtt::codec::fixed_header::PacketType;
use crate::mqtt::codec::properties::id;
use crate::mqtt::codec::wire::{TooLong, put_binary, put_packet, put_varint};
use crate::mqtt::reason::ReasonCode;
use std::num::NonZeroU16;

/// Appends a SUBACK with one code for each filter, in the SUBSCRIBE's order [MQTT-3.8.4-6]. MQTT 3.1.1 gets
/// the granted QoS or 0x80, and never the reason string.
///
/// # Errors
/// More codes than fit a packet, or a reason string of more than 65,535 bytes; nothing is appended then.
pub fn encode_suback(
    out: &mut Vec<u8>,
    version: Version,
    packet_id: NonZeroU16,
    reasons: &[ReasonCode],
    reason_string: Option<&str>,
) -> Result<(), TooLong> {
    let mut body = packet_id.get().to_be_bytes().to_vec();
    match version {
        Version::V311 => body.extend(reasons.iter().map(|reason| reason.subscribe_return_code())),
        Version::V5 => {
            put_properties(&mut body, reason_string)?;
            body.extend(reasons.iter().map(|reason| reason.byte()));
        }
    }
    put_packet(out, PacketType::SubAck.header(), &body)
}

/// Appends an UNSUBACK with one code for each filter, in the UNSUBSCRIBE's order; MQTT 3.1.1 has no codes.
///
/// # Errors
/// As for [`encode_suback`].
pub fn encode_unsuback(
    out: &mut Vec<u8>,
    version: Version,
    packet_id: NonZeroU16,
    reasons: &[ReasonCode],
    reason_string: Option<&str>,
) -> Result<(), TooLong> {
    let mut body = packet_id.get().to_be_bytes().to_vec();
    if version == Version::V5 {
        put_properties(&mut body, reason_string)?;
        body.extend(reasons.iter().map(|reason| reason.byte()));
    }
    put_packet(out, PacketType::UnsubAck.header(), &body)
}

fn put_properties(body: &mut Vec<u8>, reason_string: Option<&str>) -> Result<(), TooLong> {
    let mut properties = Vec::new();
    if let Some(text) = reason_string {
        properties.push(id::REASON_STRING);
        put_binary(&mut properties, text.as_bytes())?;
    }
    put_varint(body, properties.len())?;
    body.extend_from_slice(&properties);
    Ok(())
}
