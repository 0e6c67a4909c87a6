//! The fixed header (MQTT5-2.1): finds one packet in a stream. Part of `mqtt::codec`.

use crate::mqtt::codec::wire::varint_len;
use crate::mqtt::error::ProtocolError;
use crate::mqtt::reason::ReasonCode;

/// Control packet types (MQTT5-2.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PacketType {
    /// Client: the first packet.
    Connect = 1,
    /// Server: its answer.
    ConnAck = 2,
    /// Both: a message.
    Publish = 3,
    /// Both: QoS 1 acknowledged.
    PubAck = 4,
    /// Both: QoS 2, step 2.
    PubRec = 5,
    /// Both: QoS 2, step 3.
    PubRel = 6,
    /// Both: QoS 2, step 4.
    PubComp = 7,
    /// Client: subscribe.
    Subscribe = 8,
    /// Server: its answer.
    SubAck = 9,
    /// Client: unsubscribe.
    Unsubscribe = 10,
    /// Server: its answer.
    UnsubAck = 11,
    /// Client: keep alive.
    PingReq = 12,
    /// Server: its answer.
    PingResp = 13,
    /// Both (MQTT 3.1.1: client): the last packet.
    Disconnect = 14,
    /// Both, MQTT 5: authentication exchange.
    Auth = 15,
}

impl PacketType {
    /// The type in the upper half of a packet's first byte; `None` for 0, which is reserved.
    #[must_use]
    #[inline]
    pub const fn from_header(header: u8) -> Option<Self> {
        Some(match header >> 4 {
            1 => Self::Connect,
            2 => Self::ConnAck,
            3 => Self::Publish,
            4 => Self::PubAck,
            5 => Self::PubRec,
            6 => Self::PubRel,
            7 => Self::PubComp,
            8 => Self::Subscribe,
            9 => Self::SubAck,
            10 => Self::Unsubscribe,
            11 => Self::UnsubAck,
            12 => Self::PingReq,
            13 => Self::PingResp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return None,
        })
    }

    /// The lower half of the first byte as the specification fixes it [MQTT-2.1.3-1]; PUBLISH, whose flags
    /// are its own, has none.
    #[must_use]
    pub const fn flags(self) -> Option<u8> {
        match self {
            Self::Publish => None,
            Self::PubRel | Self::Subscribe | Self::Unsubscribe => Some(0b0010),
            Self::Connect
            | Self::ConnAck
            | Self::PubAck
            | Self::PubRec
            | Self::PubComp
            | Self::SubAck
            | Self::UnsubAck
            | Self::PingReq
            | Self::PingResp
            | Self::Disconnect
            | Self::Auth => Some(0),
        }
    }

    /// The first byte of a packet of this type; of a PUBLISH without its flags.
    #[must_use]
    pub const fn header(self) -> u8 {
        let flags = match self.flags() {
            Some(flags) => flags,
            None => 0,
        };
        (self as u8) << 4 | flags
    }

    /// The name of the specification, for logs and metric labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::ConnAck => "CONNACK",
            Self::Publish => "PUBLISH",
            Self::PubAck => "PUBACK",
            Self::PubRec => "PUBREC",
            Self::PubRel => "PUBREL",
            Self::PubComp => "PUBCOMP",
            Self::Subscribe => "SUBSCRIBE",
            Self::SubAck => "SUBACK",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::UnsubAck => "UNSUBACK",
            Self::PingReq => "PINGREQ",
            Self::PingResp => "PINGRESP",
            Self::Disconnect => "DISCONNECT",
            Self::Auth => "AUTH",
        }
    }
}

/// One whole packet at the front of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The first byte: type and flags.
    pub header: u8,
    /// What follows the Remaining Length.
    pub body: &'a [u8],
    /// Length of the packet with its fixed header.
    pub total_len: usize,
    /// Whether the Remaining Length used more bytes than it needs: devices with MQTT 3.1.1 do, which allows
    /// it; MQTT 5 does not [MQTT-1.5.5-1].
    pub padded: bool,
}

/// The packet at the front of `buf`; `None` when more bytes are needed. The length is judged as soon as it
/// is known, before the body has arrived.
///
/// # Errors
/// Malformed for a Remaining Length of more than four bytes; packet too large when the whole packet exceeds
/// `packet_bytes_max`.
#[inline]
pub fn frame(buf: &[u8], packet_bytes_max: usize) -> Result<Option<Frame<'_>>, ProtocolError> {
    // Packets below 128 bytes are the rule.
    let (header, length, at) = match *buf {
        [header, length, ..] if length < 0x80 => (header, usize::from(length), 2),
        [header, ref rest @ ..] => match remaining_length(rest)? {
            Some((length, bytes)) => (header, length, 1 + bytes),
            None => return Ok(None),
        },
        [] => return Ok(None),
    };
    let total_len = at + length;
    let padded = at > 2 && at > 1 + varint_len(length);
    if total_len > packet_bytes_max {
        return Err(ProtocolError::new(
            ReasonCode::PacketTooLarge,
            "packet exceeds the maximum size",
        ));
    }
    Ok(buf.get(at..total_len).map(|body| Frame { header, body, total_len, padded }))
}

#[cold]
fn remaining_length(bytes: &[u8]) -> Result<Option<(usize, usize)>, ProtocolError> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((value as usize, index + 1)));
        }
    }
    if bytes.len() < 4 {
        return Ok(None);
    }
    Err(ProtocolError::malformed("remaining length has a fifth byte"))
}

#[cfg(test)]
mod tests {
    use super::{Frame, PacketType, frame};
    use crate::mqtt::reason::ReasonCode;

    #[test]
    fn a_packet_is_framed_only_when_whole() {
        let bytes = [0x30, 0x03, 1, 2, 3, 0xC0];
        for end in 0..5 {
            assert_eq!(frame(&bytes[..end], 100), Ok(None));
        }
        assert_eq!(
            frame(&bytes, 100),
            Ok(Some(Frame { header: 0x30, body: &[1, 2, 3], total_len: 5, padded: false }))
        );
    }

    #[test]
    fn long_lengths_are_framed() {
        let mut bytes = vec![0x30, 0x80, 0x01];
        bytes.resize(3 + 128, 7);
        assert_eq!(frame(&bytes, 131).unwrap().unwrap().total_len, 131);
        assert_eq!(frame(&bytes, 130).unwrap_err().reason, ReasonCode::PacketTooLarge);
    }

    #[test]
    fn bad_lengths_are_malformed() {
        let fifth = [0x30, 0xFF, 0xFF, 0xFF, 0xFF];
        assert_eq!(frame(&fifth, usize::MAX).unwrap_err().reason, ReasonCode::MalformedPacket);
        assert_eq!(frame(&fifth[..4], usize::MAX), Ok(None));
        assert!(frame(&[0xC0, 0x80, 0x00], usize::MAX).unwrap().unwrap().padded);
    }

    #[test]
    fn packet_types_survive_their_header() {
        assert_eq!(PacketType::from_header(0x0F), None);
        for bits in 1..=15u8 {
            let kind = PacketType::from_header(bits << 4).unwrap();
            assert_eq!(PacketType::from_header(kind.header()), Some(kind));
        }
    }
}
