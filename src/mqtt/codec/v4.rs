//! MQTT 3.1.1 packets as `mqttbytes` models them, turned into ours. Part of `mqtt::codec`.
//!
//! Bodies come here only after the strict check of [`super::connect`] or [`super::subscribe`].

use crate::model::qos::QoS;
use crate::mqtt::codec::Version;
use crate::mqtt::codec::connect::{Connect, Will, blank};
use crate::mqtt::codec::fixed_header::PacketType;
use crate::mqtt::codec::subscribe::{RetainHandling, SubscribeFilter};
use crate::mqtt::error::ProtocolError;
use bytes::Bytes;
use mqttbytes::{Error, FixedHeader, v4};

/// A CONNECT without its password.
pub(super) fn connect(body: &[u8]) -> Result<Connect, ProtocolError> {
    let (header, packet) = packet(PacketType::Connect, body);
    let read = v4::Connect::read(header, packet).map_err(refused)?;
    let mut connect = blank(Version::V311, read.clean_session, read.keep_alive);
    connect.client_id = read.client_id;
    connect.will = read.last_will.map(|will| Will {
        topic: will.topic,
        payload: will.message.to_vec(),
        properties: Vec::new(),
        qos: qos(will.qos),
        retain: will.retain,
        delay_s: 0,
        expiry_s: None,
    });
    Ok(connect)
}

/// The filters of a SUBSCRIBE.
pub(super) fn subscribe(body: &[u8]) -> Result<Vec<SubscribeFilter>, ProtocolError> {
    let (header, packet) = packet(PacketType::Subscribe, body);
    let read = v4::Subscribe::read(header, packet).map_err(refused)?;
    let filters = read.filters.iter().map(|filter| {
        SubscribeFilter::new(&filter.path, qos(filter.qos), false, false, RetainHandling::Always)
    });
    Ok(filters.collect())
}

/// The filters of an UNSUBSCRIBE.
pub(super) fn unsubscribe(body: &[u8]) -> Result<Vec<String>, ProtocolError> {
    let (header, packet) = packet(PacketType::Unsubscribe, body);
    Ok(v4::Unsubscribe::read(header, packet).map_err(refused)?.topics)
}

/// `body` as the whole packet that `mqttbytes` wants, with a fixed header of one byte that it skips.
pub(super) fn packet(kind: PacketType, body: &[u8]) -> (FixedHeader, Bytes) {
    let mut packet = Vec::with_capacity(1 + body.len());
    packet.push(kind.header());
    packet.extend_from_slice(body);
    (FixedHeader::new(kind.header(), 0, body.len()), packet.into())
}

pub(super) fn qos(qos: mqttbytes::QoS) -> QoS {
    match qos {
        mqttbytes::QoS::AtMostOnce => QoS::AtMostOnce,
        mqttbytes::QoS::AtLeastOnce => QoS::AtLeastOnce,
        mqttbytes::QoS::ExactlyOnce => QoS::ExactlyOnce,
    }
}

pub(super) const REFUSED: &str = "packet cannot be parsed";

/// After the strict check nothing should be left to refuse; if something is, it is malformed.
pub(super) fn refused(_: Error) -> ProtocolError {
    ProtocolError::malformed(REFUSED)
}

#[cfg(test)]
mod tests {
    use crate::mqtt::codec::Version;
    use crate::mqtt::codec::tests::vectors;
    use mqttbytes::v4;

    /// Where the vectors accept a packet, or write one, the model of `mqttbytes` takes the same bytes.
    #[test]
    fn accepted_packets_are_known_to_mqttbytes() {
        for vector in vectors() {
            // It takes a password for text, and knows no bridge bit, no padded length and no MQTT 3.1.
            let unknown = ["connect-full", "connect-bridge"].contains(&vector.name)
                || vector.name.starts_with("connect-mqisdp");
            let ours = vector.version == Version::V311 && !vector.meaning.starts_with("error");
            if unknown || !ours {
                continue;
            }
            let read = v4::read(&mut vector.bytes[..].into(), 1 << 20);
            assert!(read.is_ok(), "{} {read:?}", vector.name);
            if let Ok(v4::Packet::Publish(publish)) = read {
                let id = Some(publish.pkid).filter(|&id| id > 0).map(|id| format!("id={id} "));
                let topic = format!("PUBLISH {} q{} ", publish.topic, publish.qos as u8);
                assert!(!vector.to_server || vector.meaning.starts_with(&topic), "{}", vector.name);
                assert!(!vector.to_server || vector.meaning.contains(&id.unwrap_or_default()));
            }
        }
    }
}
