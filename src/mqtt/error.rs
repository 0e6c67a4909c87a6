//! What a peer did wrong: the one error of the MQTT codec and connection. Part of `mqtt`.

use crate::mqtt::codec::fixed_header::PacketType;
use crate::mqtt::reason::ReasonCode;

/// A violation of the protocol or of a limit of ours. It always ends the connection; which bytes are sent
/// first says [`Connection::error_reply`](crate::mqtt::connection::Connection::error_reply).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} in {}: {text}", .reason.name(), .packet.map_or("a packet", PacketType::name))]
pub struct ProtocolError {
    /// What an MQTT 5 peer is told.
    pub reason: ReasonCode,
    /// What happened, for the log and for the MQTT 5 reason string.
    pub text: &'static str,
    /// The packet it happened in, once its type is known.
    pub packet: Option<PacketType>,
}

impl ProtocolError {
    /// An error with `reason`; the packet is filled in by the connection.
    #[must_use]
    pub const fn new(reason: ReasonCode, text: &'static str) -> Self {
        Self { reason, text, packet: None }
    }

    /// Bytes that cannot be parsed: 0x81.
    #[must_use]
    pub const fn malformed(text: &'static str) -> Self {
        Self::new(ReasonCode::MalformedPacket, text)
    }

    /// A well-formed packet that is not allowed here: 0x82.
    #[must_use]
    pub const fn protocol(text: &'static str) -> Self {
        Self::new(ReasonCode::ProtocolError, text)
    }

    /// The same error, seen in a packet of type `packet`.
    #[must_use]
    pub const fn within(self, packet: PacketType) -> Self {
        Self { packet: Some(packet), ..self }
    }
}
