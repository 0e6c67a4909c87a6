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
    use crate::mqtt::codec::connect;
    use crate::mqtt::codec::fixed_header::frame;
    use crate::mqtt::codec::subscribe::decode_subscribe;
    use crate::mqtt::codec::tests::vectors;
    use bytes::BytesMut;
    use mqttbytes::v5;
    use proptest::prelude::*;

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
    fn any_properties() -> impl Strategy<Value = v5::ConnectProperties> {
        let numbers = (any::<Option<u32>>(), any::<Option<u16>>(), 1..=u16::MAX, 1..=u32::MAX);
        let text = prop::option::of("[a-zé]{0,9}");
        let user = prop::collection::vec(("[a-z]{0,3}", "[a-z]{0,3}"), 0..3);
        (numbers, text, user, any::<bool>()).prop_map(|(numbers, text, user, flag)| {
            let (session_expiry_interval, topic_alias_max, receive, packet) = numbers;
            v5::ConnectProperties {
                session_expiry_interval,
                receive_maximum: flag.then_some(receive),
                max_packet_size: flag.then_some(packet),
                topic_alias_max,
                request_response_info: flag.then_some(1),
                request_problem_info: flag.then_some(0),
                user_properties: user,
                authentication_data: text.clone().map(|text| text.into_bytes().into()),
                authentication_method: text,
            }
        })
    }

    proptest! {
        #[test]
        fn connects_of_mqttbytes_keep_their_values(
            properties in prop::option::of(any_properties()),
            id in "[a-zé]{0,20}",
            login in prop::option::of(("[a-z]{1,5}", "[a-z]{1,5}")),
            will in prop::option::of(("[a-z/]{1,9}", any::<[u8; 3]>(), any::<bool>())),
        ) {
            let mut theirs = v5::Connect::new(id.clone());
            theirs.properties = properties.clone();
            theirs.login = login.clone().map(|(user, password)| v5::Login::new(user, password));
            theirs.last_will = will.clone().map(|(topic, payload, retain)| {
                v5::LastWill::new(topic, payload, mqttbytes::QoS::ExactlyOnce, retain)
            });
            let mut bytes = BytesMut::new();
            theirs.write(&mut bytes).unwrap();
            let frame = frame(&bytes, 10_000).unwrap().unwrap();
            let ours = connect::decode(Version::V5, false, frame.body).unwrap();
            prop_assert_eq!(ours.client_id, id);
            let login = login.map(|(user, password)| (user, password.into_bytes()));
            prop_assert_eq!(ours.username.zip(ours.password), login);
            let seen = ours.will.map(|will| (will.topic, will.payload, will.retain));
            prop_assert_eq!(seen, will.map(|(topic, payload, retain)| (topic, payload.to_vec(), retain)));
            if let Some(properties) = properties {
                prop_assert_eq!(ours.session_expiry_s, properties.session_expiry_interval);
                prop_assert_eq!(ours.packet_bytes_max, properties.max_packet_size);
                prop_assert_eq!(ours.receive_max, properties.receive_maximum.unwrap_or(u16::MAX));
                prop_assert_eq!(ours.topic_alias_max, properties.topic_alias_max.unwrap_or(0));
                prop_assert_eq!(ours.user_properties, properties.user_properties);
                prop_assert_eq!(ours.auth_method, properties.authentication_method);
            }
        }

        #[test]
        fn subscribes_of_mqttbytes_keep_their_values(
            filters in prop::collection::vec(("[a-z]{1,4}(/\\+)?(/#)?", any::<[bool; 2]>()), 1..5),
            subscription in prop::option::of(1..268_435_456_usize),
        ) {
            let theirs = filters.iter().map(|(filter, [no_local, retain])| {
                let mut filter = v5::SubscribeFilter::new(filter.clone(), mqttbytes::QoS::AtLeastOnce);
                filter.set_nolocal(*no_local).set_preserve_retain(*retain);
                filter
            });
            let mut theirs = v5::Subscribe::new_many(theirs);
            theirs.pkid = 7;
            theirs.properties =
                Some(v5::SubscribeProperties { id: subscription, user_properties: vec![] });
            let mut bytes = BytesMut::new();
            theirs.write(&mut bytes).unwrap();
            let frame = frame(&bytes, 10_000).unwrap().unwrap();
            let ours = decode_subscribe(Version::V5, 10, frame.body).unwrap();
            prop_assert_eq!(ours.subscription_id.map(|id| id as usize), subscription);
            let seen: Vec<_> = ours.filters.iter().map(|filter| {
                let text = filter.filter.as_ref().unwrap().as_str().to_owned();
                (text, [filter.no_local, filter.retain_as_published])
            }).collect();
            prop_assert_eq!(seen, filters);
        }
    }
}
