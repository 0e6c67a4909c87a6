//! MQTT 5 packets as `mqttbytes` models them, turned into ours. Part of `mqtt::codec`.
//!
//! Bodies come here only after the strict check of [`super::connect`] or [`super::subscribe`]. UNSUBSCRIBE
//! does not: `mqttbytes` 0.6 prints each packet identifier of one to standard error.

use crate::mqtt::codec::Version;
use crate::mqtt::codec::connect::{Connect, Will, blank};
use crate::mqtt::codec::fixed_header::PacketType;
use crate::mqtt::codec::subscribe::{RetainHandling, SubscribeFilter};
use crate::mqtt::codec::v4::{packet, qos, refused};
use crate::mqtt::error::ProtocolError;
use mqttbytes::v5;

/// A CONNECT without its password; of the will without properties.
pub(super) fn connect(body: &[u8]) -> Result<Connect, ProtocolError> {
    let (header, packet) = packet(PacketType::Connect, body);
    let read = v5::Connect::read(header, packet).map_err(refused)?;
    let mut connect = blank(Version::V5, read.clean_session, read.keep_alive);
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
    if let Some(properties) = read.properties {
        connect.session_expiry_s = properties.session_expiry_interval;
        connect.receive_max = properties.receive_maximum.unwrap_or(u16::MAX);
        connect.packet_bytes_max = properties.max_packet_size;
        connect.topic_alias_max = properties.topic_alias_max.unwrap_or(0);
        connect.request_response_information = properties.request_response_info == Some(1);
        connect.request_problem_information = properties.request_problem_info != Some(0);
        connect.user_properties = properties.user_properties;
        connect.auth_method = properties.authentication_method;
        connect.auth_data = properties.authentication_data.map(Into::into);
    }
    Ok(connect)
}

/// The filters and the subscription identifier of a SUBSCRIBE.
pub(super) fn subscribe(body: &[u8]) -> Result<(Vec<SubscribeFilter>, Option<u32>), ProtocolError> {
    let (header, packet) = packet(PacketType::Subscribe, body);
    let read = v5::Subscribe::read(header, packet).map_err(refused)?;
    let filters = read.filters.iter().map(|filter| {
        let retain_handling = match filter.retain_forward_rule {
            v5::RetainForwardRule::OnEverySubscribe => RetainHandling::Always,
            v5::RetainForwardRule::OnNewSubscribe => RetainHandling::IfNew,
            v5::RetainForwardRule::Never => RetainHandling::Never,
        };
        SubscribeFilter::new(
            &filter.path,
            qos(filter.qos),
            filter.nolocal,
            filter.preserve_retain,
            retain_handling,
        )
    });
    let filters = filters.collect();
    let id = read.properties.and_then(|properties| properties.id);
    Ok((filters, id.and_then(|id| u32::try_from(id).ok())))
}

#[cfg(test)]
mod tests {
    use crate::mqtt::codec::Version;
    use crate::mqtt::codec::tests::vectors;
    use mqttbytes::v5;

    /// Where the vectors accept a packet, or write one, the model of `mqttbytes` takes the same bytes.
    #[test]
    fn accepted_packets_are_known_to_mqttbytes() {
        for vector in vectors() {
            // It knows no AUTH and no empty DISCONNECT, prints at UNSUBSCRIBE, and takes an UNSUBACK's codes
            // for other values.
            let unknown = ["auth", "unsub", "disconnect"];
            let unknown = unknown.iter().any(|name| vector.name.starts_with(name));
            let ours = vector.version == Version::V5 && !vector.meaning.starts_with("error");
            if unknown || !ours {
                continue;
            }
            let read = v5::read(&mut vector.bytes[..].into(), 1 << 20);
            assert!(read.is_ok(), "{} {read:?}", vector.name);
            if let Ok(v5::Packet::Publish(publish)) = read {
                let topic = format!("PUBLISH {} q{} ", publish.topic, publish.qos as u8);
                assert!(!vector.to_server || vector.meaning.starts_with(&topic), "{}", vector.name);
            }
        }
    }
}
