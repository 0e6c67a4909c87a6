//! AUTH, the exchange of enhanced authentication (MQTT5-3.15). Part of `mqtt::codec`.

use crate::mqtt::codec::fixed_header::PacketType;
use crate::mqtt::codec::properties::{self, Properties, id};
use crate::mqtt::codec::wire::{Reader, TooLong, put_binary, put_packet, put_varint};
use crate::mqtt::error::ProtocolError;
use crate::mqtt::reason::ReasonCode;

/// One step of an authentication exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Auth<'a> {
    /// Continue or, from the client, re-authenticate; from the server also success.
    pub reason: ReasonCode,
    /// The method, the same as in CONNECT.
    pub method: &'a str,
    /// What the method wants said.
    pub data: Option<&'a [u8]>,
}

/// Parses the body of a client's AUTH.
///
/// # Errors
/// Protocol error for a reason code that clients do not send and without a method.
pub fn decode(body: &[u8]) -> Result<Auth<'_>, ProtocolError> {
    let mut reader = Reader::new(body);
    // An empty AUTH means success (MQTT5-3.15.2.1), which is the server's to say.
    let byte = if reader.is_empty() { 0 } else { reader.u8()? };
    let reason = ReasonCode::from_byte(byte)
        .filter(|reason| {
            matches!(reason, ReasonCode::ContinueAuthentication | ReasonCode::ReAuthenticate)
        })
        .ok_or(ProtocolError::protocol("reason code does not belong in a client's AUTH"))?;
    let (mut method, mut data) = (None, None);
    if !reader.is_empty() {
        let mut properties = Properties::take(&mut reader, properties::AUTH)?;
        while let Some(property) = properties.next_property()? {
            match property.id {
                id::AUTHENTICATION_METHOD => method = Some(property.value.text()),
                id::AUTHENTICATION_DATA => data = Some(property.value.binary()),
                _ => {}
            }
        }
    }
    if !reader.is_empty() {
        return Err(ProtocolError::malformed("bytes after the properties"));
    }
    let method = method.ok_or(ProtocolError::protocol("AUTH without a method"))?;
    Ok(Auth { reason, method, data })
}

/// Appends a server's AUTH.
///
/// # Errors
/// Method or data are longer than 65,535 bytes; nothing is appended then.
pub fn encode(out: &mut Vec<u8>, auth: &Auth<'_>) -> Result<(), TooLong> {
    let mut properties = vec![id::AUTHENTICATION_METHOD];
    put_binary(&mut properties, auth.method.as_bytes())?;
    if let Some(data) = auth.data {
        properties.push(id::AUTHENTICATION_DATA);
        put_binary(&mut properties, data)?;
    }
    let mut body = vec![auth.reason.byte()];
    put_varint(&mut body, properties.len())?;
    body.extend_from_slice(&properties);
    put_packet(out, PacketType::Auth.header(), &body)
}
