//! CONNACK (MQTT5-3.2, MQTT-3.2). Part of `mqtt::codec`.

use crate::mqtt::codec::Version;
use crate::mqtt::codec::fixed_header::PacketType;
use crate::mqtt::codec::properties::id;
use crate::mqtt::codec::wire::{TooLong, put_binary, put_packet, put_varint};
use crate::mqtt::reason::ReasonCode;

/// The answer to CONNECT. `None` and the default leave a property out; what MQTT 3.1.1 does not have is
/// ignored there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnAck<'a> {
    /// Success, or why the connection is refused.
    pub reason: ReasonCode,
    /// Whether an earlier session goes on; sent as 0 with a refusal [MQTT-3.2.2-6].
    pub session_present: bool,
    /// If other than what the client asked for.
    pub session_expiry_s: Option<u32>,
    /// If below 65,535.
    pub receive_max: Option<u16>,
    /// The highest QoS if not 2, that is 0 or 1.
    pub qos_max: Option<u8>,
    /// False if retained messages are not offered.
    pub retain_available: bool,
    /// The longest packet taken.
    pub packet_bytes_max: Option<u32>,
    /// If the client sent none.
    pub assigned_client_id: Option<&'a str>,
    /// The highest topic alias taken.
    pub topic_alias_max: Option<u16>,
    /// For a person to read.
    pub reason_string: Option<&'a str>,
    /// False if wildcards are not offered.
    pub wildcard_available: bool,
    /// False if subscription identifiers are not offered.
    pub subscription_ids_available: bool,
    /// False if shared subscriptions are not offered.
    pub shared_available: bool,
    /// If other than what the client asked for, seconds.
    pub server_keep_alive_s: Option<u16>,
    /// If asked for.
    pub response_information: Option<&'a str>,
    /// Where to go instead.
    pub server_reference: Option<&'a str>,
    /// The method of the CONNECT, when there was an authentication exchange.
    pub auth_method: Option<&'a str>,
    /// The last data of the exchange.
    pub auth_data: Option<&'a [u8]>,
}

impl ConnAck<'_> {
    /// Success with everything offered, or a refusal.
    #[must_use]
    pub const fn new(reason: ReasonCode) -> Self {
        Self {
            reason,
            session_present: false,
            session_expiry_s: None,
            receive_max: None,
            qos_max: None,
            retain_available: true,
            packet_bytes_max: None,
            assigned_client_id: None,
            topic_alias_max: None,
            reason_string: None,
            wildcard_available: true,
            subscription_ids_available: true,
            shared_available: true,
            server_keep_alive_s: None,
            response_information: None,
            server_reference: None,
            auth_method: None,
            auth_data: None,
        }
    }
}

/// Appends a CONNACK. A refusal that MQTT 3.1.1 has no code for appends nothing: the connection is closed.
///
/// # Errors
/// A string is longer than 65,535 bytes; nothing is appended then.
pub fn encode(out: &mut Vec<u8>, version: Version, connack: &ConnAck<'_>) -> Result<(), TooLong> {
    let present = u8::from(connack.session_present && !connack.reason.is_failure());
    if version == Version::V311 {
        return match connack.reason.connect_return_code() {
            Some(code) => put_packet(out, PacketType::ConnAck.header(), &[present, code]),
            None => Ok(()),
        };
    }
    let properties = properties(connack)?;
    let mut body = vec![present, connack.reason.byte()];
    put_varint(&mut body, properties.len())?;
    body.extend_from_slice(&properties);
    put_packet(out, PacketType::ConnAck.header(), &body)
}

fn properties(connack: &ConnAck<'_>) -> Result<Vec<u8>, TooLong> {
    let mut out = Vec::new();
    let fours = [
        (id::SESSION_EXPIRY, connack.session_expiry_s),
        (id::MAXIMUM_PACKET_SIZE, connack.packet_bytes_max),
    ];
    for (id, value) in fours {
        if let Some(value) = value {
            out.push(id);
            out.extend_from_slice(&value.to_be_bytes());
        }
    }
    let twos = [
        (id::RECEIVE_MAXIMUM, connack.receive_max),
        (id::TOPIC_ALIAS_MAXIMUM, connack.topic_alias_max),
        (id::SERVER_KEEP_ALIVE, connack.server_keep_alive_s),
    ];
    for (id, value) in twos {
        if let Some(value) = value {
            out.push(id);
            out.extend_from_slice(&value.to_be_bytes());
        }
    }
    if let Some(qos @ (0 | 1)) = connack.qos_max {
        out.extend_from_slice(&[id::MAXIMUM_QOS, qos]);
    }
    let offers = [
        (id::RETAIN_AVAILABLE, connack.retain_available),
        (id::WILDCARD_AVAILABLE, connack.wildcard_available),
        (id::SUBSCRIPTION_IDENTIFIERS_AVAILABLE, connack.subscription_ids_available),
        (id::SHARED_AVAILABLE, connack.shared_available),
    ];
    for (id, available) in offers {
        if !available {
            out.extend_from_slice(&[id, 0]);
        }
    }
    let strings = [
        (id::ASSIGNED_CLIENT_IDENTIFIER, connack.assigned_client_id),
        (id::REASON_STRING, connack.reason_string),
        (id::RESPONSE_INFORMATION, connack.response_information),
        (id::SERVER_REFERENCE, connack.server_reference),
        (id::AUTHENTICATION_METHOD, connack.auth_method),
    ];
    let binary = [(id::AUTHENTICATION_DATA, connack.auth_data)];
    for (id, value) in strings.map(|(id, text)| (id, text.map(str::as_bytes))).iter().chain(&binary)
    {
        if let Some(value) = value {
            out.push(*id);
            put_binary(&mut out, value)?;
        }
    }
    Ok(out)
}
