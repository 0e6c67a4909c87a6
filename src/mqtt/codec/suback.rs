//! SUBACK and UNSUBACK (MQTT5-3.9, MQTT5-3.11). Part of `mqtt::codec`.

use crate::mqtt::codec::Version;
use crate::mqtt::codec::fixed_header::PacketType;
use crate::mqtt::codec::wire::{TooLong, put_packet};
use crate::mqtt::reason::ReasonCode;
use std::num::NonZeroU16;

/// Appends a SUBACK with one code for each filter, in the SUBSCRIBE's order [MQTT-3.8.4-6]. MQTT 3.1.1 gets
/// the granted QoS or 0x80.
///
/// # Errors
/// More codes than fit a packet.
pub fn encode_suback(
    out: &mut Vec<u8>,
    version: Version,
    packet_id: NonZeroU16,
    reasons: &[ReasonCode],
) -> Result<(), TooLong> {
    let mut body = packet_id.get().to_be_bytes().to_vec();
    match version {
        Version::V311 => body.extend(reasons.iter().map(|reason| reason.subscribe_return_code())),
        Version::V5 => {
            body.push(0);
            body.extend(reasons.iter().map(|reason| reason.byte()));
        }
    }
    put_packet(out, PacketType::SubAck.header(), &body)
}

/// Appends an UNSUBACK with one code for each filter, in the UNSUBSCRIBE's order; MQTT 3.1.1 has no codes.
///
/// # Errors
/// More codes than fit a packet.
pub fn encode_unsuback(
    out: &mut Vec<u8>,
    version: Version,
    packet_id: NonZeroU16,
    reasons: &[ReasonCode],
) -> Result<(), TooLong> {
    let mut body = packet_id.get().to_be_bytes().to_vec();
    if version == Version::V5 {
        body.push(0);
        body.extend(reasons.iter().map(|reason| reason.byte()));
    }
    put_packet(out, PacketType::UnsubAck.header(), &body)
}
