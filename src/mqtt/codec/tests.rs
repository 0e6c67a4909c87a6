//! Tests of the codec with the packets of `tests/vectors/mqtt.txt`, and with random ones.

use crate::model::qos::QoS;
use crate::mqtt::codec::Version;
use crate::mqtt::codec::ack::{self, Ack};
use crate::mqtt::codec::auth::{self, Auth};
use crate::mqtt::codec::connack::{self, ConnAck};
use crate::mqtt::codec::connect::Connect;
use crate::mqtt::codec::fixed_header::PacketType;
use crate::mqtt::codec::publish::{self, PublishIn, PublishOut};
use crate::mqtt::codec::subscribe::{Subscribe, SubscribeFilter, Unsubscribe};
use crate::mqtt::codec::wire::put_packet;
use crate::mqtt::codec::{session_end, suback, v4};
use crate::mqtt::connection::{Connection, Event, Flow, Limits};
use crate::mqtt::error::ProtocolError;
use crate::mqtt::reason::ReasonCode;
use proptest::prelude::*;
use std::fmt::Write;
use std::num::NonZeroU16;

/// A line of the vector file.
pub(super) struct Vector {
    pub(super) name: &'static str,
    pub(super) version: Version,
    pub(super) to_server: bool,
    pub(super) to_client: bool,
    pub(super) bytes: Vec<u8>,
    pub(super) meaning: &'static str,
}

pub(super) fn vectors() -> Vec<Vector> {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/mqtt.txt"));
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let parse = |line: &'static str| {
        let columns: Vec<_> = line.split(" | ").collect();
        let [name, version, direction, bytes, meaning] = columns[..] else {
            panic!("not five columns: {line}")
        };
        let bytes = bytes.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
        Vector {
            name,
            version: if version == "3" { Version::V311 } else { Version::V5 },
            to_server: direction.contains('<'),
            to_client: direction.contains('>'),
            bytes,
            meaning,
        }
    };
    lines.map(parse).collect()
}

fn limits() -> Limits {
    Limits { topic_alias_max: 4, ..Limits::default() }
}

/// A connection that reads `bytes` as the vector file says.
fn connection(version: Version, bytes: &[u8]) -> Connection {
    let mut connection = Connection::new(limits());
    if bytes.first().is_some_and(|header| header >> 4 == 1) {
        return connection;
    }
    let connect: &[u8] = match version {
        Version::V311 => b"\x10\x0D\0\x04MQTT\x04\x02\0\0\0\x01c",
        Version::V5 => b"\x10\x17\0\x04MQTT\x05\x02\0\0\x09\x11\0\0\0\x64\x15\0\x01M\0\x01c",
    };
    connection.receive(connect, &mut |_| Flow::Stop).unwrap();
    connection.accept();
    connection
}

/// Reads all packets of `bytes`: what they mean, how many bytes they were.
fn read(version: Version, bytes: &[u8]) -> Result<(Vec<String>, usize), ProtocolError> {
    let mut meanings = Vec::new();
    let consumed = connection(version, bytes).receive(bytes, &mut |event| {
        meanings.push(describe(&event));
        Flow::Continue
    })?;
    Ok((meanings, consumed))
}

#[test]
fn client_packets_mean_what_the_vectors_say() {
    for vector in vectors().iter().filter(|vector| vector.to_server) {
        let seen = match read(vector.version, &vector.bytes) {
            Ok((meanings, consumed)) => {
                assert_eq!(consumed, vector.bytes.len(), "{}", vector.name);
                meanings.join(" + ")
            }
            Err(error) => format!("error {:02x}", error.reason.byte()),
        };
        let expected = match vector.meaning.strip_prefix("error ") {
            Some(_) => vector.meaning.split(" [").next().unwrap_or_default(),
            None => vector.meaning,
        };
        assert_eq!(seen, expected, "{} {:?}", vector.name, vector.version);
    }
}

/// What arrives in pieces is what arrives whole: nothing before the last byte, then one event.
#[test]
fn packets_cut_by_the_stream_wait_for_the_rest() {
    for vector in vectors() {
        if !vector.to_server || vector.meaning.starts_with("error") {
            continue;
        }
        for end in 0..vector.bytes.len() {
            let seen = read(vector.version, &vector.bytes[..end]);
            assert_eq!(seen, Ok((vec![], 0)), "{} cut at {end}", vector.name);
        }
    }
}

/// A body shorter or longer than its fields is an error, or another packet; never a panic, never the same.
/// Packets whose last fields may be left out have vectors of their own for that.
#[test]
fn packets_cut_within_their_body_do_not_keep_their_meaning() {
    for vector in vectors() {
        let optional = ["puback", "pubrec", "pubrel", "pubcomp", "disconnect"];
        let optional = optional.iter().any(|name| vector.name.starts_with(name));
        let ours = vector.to_server && !vector.meaning.starts_with("error");
        if optional || !ours || vector.bytes.len() > 127 {
            continue;
        }
        let padded = vector.name.ends_with("padded-length");
        let body = &vector.bytes[if padded { 3 } else { 2 }..];
        let with_body = |body: &[u8]| {
            let mut packet = Vec::new();
            put_packet(&mut packet, vector.bytes[0], body).unwrap();
            read(vector.version, &packet)
        };
        for end in 0..body.len() {
            if let Ok((meanings, _)) = with_body(&body[..end]) {
                assert_ne!(meanings, [vector.meaning], "{} at {end}", vector.name);
            }
        }
        let longer = with_body(&[body, &[0]].concat());
        if let Ok((meanings, _)) = longer {
            assert_ne!(meanings, [vector.meaning], "{} and a byte", vector.name);
        }
    }
}

#[test]
fn messages_and_acknowledgements_are_written_as_they_are_read() {
    for vector in vectors().iter().filter(|vector| vector.to_server && vector.to_client) {
        let mut out = Vec::new();
        let version = vector.version;
        connection(version, &vector.bytes)
            .receive(&vector.bytes, &mut |event| {
                match event {
                    Event::Publish(publish) => {
                        publish::encode(&mut out, version, &outgoing(&publish)).unwrap();
                    }
                    Event::PubAck(ack) => ack::encode(&mut out, version, PacketType::PubAck, ack),
                    Event::PubRec(ack) => ack::encode(&mut out, version, PacketType::PubRec, ack),
                    Event::PubRel(ack) => ack::encode(&mut out, version, PacketType::PubRel, ack),
                    Event::PubComp(ack) => ack::encode(&mut out, version, PacketType::PubComp, ack),
                    other => panic!("no encoder for {other:?}"),
                }
                Flow::Continue
            })
            .unwrap();
        assert_eq!(out, vector.bytes, "{}", vector.name);
    }
}

fn outgoing<'a>(publish: &PublishIn<'a>) -> PublishOut<'a> {
    PublishOut {
        topic: publish.topic,
        payload: publish.payload,
        properties: publish.properties,
        expiry_s: publish.expiry_s,
        qos: publish.qos,
        retain: publish.retain,
        dup: publish.dup,
        packet_id: publish.packet_id,
        ..PublishOut::default()
    }
}

#[test]
fn server_packets_are_the_bytes_of_the_vectors() {
    for vector in vectors().iter().filter(|vector| !vector.to_server) {
        assert_eq!(write(vector.name, vector.version), vector.bytes, "{}", vector.name);
    }
}

fn refused_connack<'a>(version: Version) -> ConnAck<'a> {
    let reason = match version {
        Version::V311 => ReasonCode::BadUserNameOrPassword,
        Version::V5 => ReasonCode::NotAuthorized,
    };
    // [MQTT-3.2.2-6]: no session present with a refusal.
    ConnAck { session_present: true, ..ConnAck::new(reason) }
}

/// What the line `name` of the vector file shows.
fn write(name: &str, version: Version) -> Vec<u8> {
    let mut out = Vec::new();
    let id = |id| NonZeroU16::new(id).unwrap();
    match name {
        "connack-accepted" => {
            let connack = ConnAck { session_present: true, ..ConnAck::new(ReasonCode::Success) };
            connack::encode(&mut out, version, &connack).unwrap();
        }
        "connack-refused" => {
            connack::encode(&mut out, version, &refused_connack(version)).unwrap();
        }
        "connack-all" => connack::encode(&mut out, version, &full_connack()).unwrap(),
        "publish-for-subscriber" => {
            let publish = PublishOut {
                topic: "t",
                payload: b"x",
                properties: b"\x26\0\x01k\0\x01v",
                expiry_s: Some(5),
                subscription_ids: &[1, 300],
                topic_alias: Some(id(2)),
                qos: QoS::AtLeastOnce,
                retain: true,
                dup: true,
                packet_id: None,
            };
            let at = publish::encode(&mut out, version, &publish).unwrap().unwrap();
            publish::set_packet_id(&mut out, at, id(9));
            assert_eq!(out.len(), publish.encoded_len(version));
        }
        "suback" => {
            use ReasonCode::{GrantedQos1, GrantedQos2, NotAuthorized, Success};
            let codes = [Success, GrantedQos1, GrantedQos2, NotAuthorized];
            suback::encode_suback(&mut out, version, id(1), &codes, None).unwrap();
        }
        "unsuback" => {
            let reasons = [ReasonCode::Success, ReasonCode::NoSubscriptionExisted];
            suback::encode_unsuback(&mut out, version, id(1), &reasons, None).unwrap();
        }
        "puback-explained" | "puback-explained-too-long" => {
            let ack = Ack { packet_id: id(10), reason: ReasonCode::NotAuthorized };
            let bytes_max = if name == "puback-explained" { 17 } else { 16 };
            ack::encode_explained(&mut out, PacketType::PubAck, ack, "no", bytes_max).unwrap();
        }
        "suback-explained" => {
            let reasons = [ReasonCode::QuotaExceeded];
            suback::encode_suback(&mut out, version, id(1), &reasons, Some("no")).unwrap();
        }
        "unsuback-explained" => {
            let reasons = [ReasonCode::ImplementationSpecificError];
            suback::encode_unsuback(&mut out, version, id(1), &reasons, Some("no")).unwrap();
        }
        "disconnect-server" => {
            let taken_over = ReasonCode::SessionTakenOver;
            session_end::encode(&mut out, version, taken_over, None, 100).unwrap();
        }
        "disconnect-server-text" => {
            let stopping = ReasonCode::ServerShuttingDown;
            session_end::encode(&mut out, version, stopping, Some("bye"), 100).unwrap();
        }
        "auth-server" => {
            let reason = ReasonCode::ContinueAuthentication;
            let step = Auth { reason, method: "M", data: Some(b"d") };
            auth::encode(&mut out, &step).unwrap();
        }
        other => panic!("no encoder for {other}"),
    }
    out
}

fn full_connack() -> ConnAck<'static> {
    ConnAck {
        reason: ReasonCode::Success,
        session_present: false,
        session_expiry_s: Some(120),
        receive_max: Some(1024),
        qos_max: Some(1),
        retain_available: false,
        packet_bytes_max: Some(1_048_576),
        assigned_client_id: Some("auto"),
        topic_alias_max: Some(32),
        reason_string: Some("r"),
        wildcard_available: false,
        subscription_ids_available: false,
        shared_available: false,
        server_keep_alive_s: Some(30),
        response_information: Some("i"),
        server_reference: Some("s"),
        auth_method: Some("M"),
        auth_data: Some(b"d"),
    }
}

#[test]
fn what_cannot_be_written_leaves_nothing_behind() {
    let long = "x".repeat(65_536);
    let mut out = Vec::new();
    let publish = PublishOut { topic: &long, ..PublishOut::default() };
    assert!(publish::encode(&mut out, Version::V5, &publish).is_err());
    let publish = PublishOut { subscription_ids: &[u32::MAX], ..PublishOut::default() };
    assert!(publish::encode(&mut out, Version::V5, &publish).is_err());
    let connack = ConnAck { reason_string: Some(&long), ..ConnAck::new(ReasonCode::Success) };
    assert!(connack::encode(&mut out, Version::V5, &connack).is_err());
    assert!(out.is_empty());
}

fn any_version() -> impl Strategy<Value = Version> {
    prop_oneof![Just(Version::V311), Just(Version::V5)]
}

fn any_packet() -> impl Strategy<Value = (Version, Vec<u8>)> {
    prop::sample::select(vectors().iter().map(|v| (v.version, v.bytes.clone())).collect::<Vec<_>>())
}

fn any_publish() -> impl Strategy<Value = (String, Vec<u8>, Option<u32>, u8, bool, u16)> {
    let payload = prop::collection::vec(any::<u8>(), 0..300);
    ("[a-zé/$]{1,40}", payload, any::<Option<u32>>(), 0..3u8, any::<bool>(), 1..=u16::MAX)
}

/// What the strict check lets pass, `mqttbytes` takes.
fn never_left_to_mqttbytes<T>(read: Result<T, ProtocolError>) -> Result<(), TestCaseError> {
    match read {
        Err(error) => {
            prop_assert_ne!(error.text, v4::REFUSED);
            Ok(())
        }
        Ok(_) => Ok(()),
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(
        version in any_version(),
        header in any::<u8>(),
        body in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        let mut packet = vec![header, body.len() as u8];
        packet.extend_from_slice(&body);
        never_left_to_mqttbytes(read(version, &packet))?;
        never_left_to_mqttbytes(read(version, &body))?;
    }

    #[test]
    fn changed_packets_never_panic(
        (version, mut packet) in any_packet(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        for (at, byte) in changes {
            *at.get_mut(&mut packet) = byte;
        }
        never_left_to_mqttbytes(read(version, &packet))?;
    }

    #[test]
    fn written_messages_are_read_back(
        version in any_version(),
        (topic, payload, expiry_s, qos, retain, id) in any_publish(),
        users in prop::collection::vec(("[a-z]{0,5}", "[a-zé]{0,5}"), 0..4),
    ) {
        let qos = QoS::from_bits(qos).unwrap();
        let properties: Vec<u8> = users.iter().flat_map(|(key, value)| {
            let mut pair = vec![0x26, 0, key.len() as u8];
            pair.extend_from_slice(key.as_bytes());
            pair.extend_from_slice(&[0, value.len() as u8]);
            pair.extend_from_slice(value.as_bytes());
            pair
        }).collect();
        let v5 = version == Version::V5;
        let expected = PublishIn {
            topic: &topic,
            payload: &payload,
            properties: if v5 { &properties } else { &[] },
            expiry_s: expiry_s.filter(|_| v5),
            qos,
            retain,
            dup: false,
            packet_id: NonZeroU16::new(id).filter(|_| qos != QoS::AtMostOnce),
        };
        let out = PublishOut { properties: &properties, expiry_s, ..outgoing(&expected) };
        let mut bytes = Vec::new();
        publish::encode(&mut bytes, version, &out).unwrap();
        prop_assert_eq!(bytes.len(), out.encoded_len(version));
        let mut seen = 0;
        let consumed = connection(version, &bytes).receive(&bytes, &mut |event| {
            assert!(matches!(event, Event::Publish(publish) if publish == expected));
            seen += 1;
            Flow::Continue
        });
        prop_assert_eq!((consumed, seen), (Ok(bytes.len()), 1));
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// The event in the words of the vector file.
fn describe(event: &Event<'_>) -> String {
    match event {
        Event::Connect(connect) => connect_words(connect),
        Event::Publish(publish) => publish_words(publish),
        Event::PubAck(ack) => ack_words("PUBACK", ack),
        Event::PubRec(ack) => ack_words("PUBREC", ack),
        Event::PubRel(ack) => ack_words("PUBREL", ack),
        Event::PubComp(ack) => ack_words("PUBCOMP", ack),
        Event::Subscribe(subscribe) => subscribe_words(subscribe),
        Event::Unsubscribe(Unsubscribe { packet_id, filters }) => {
            let filters = filters.iter().map(|filter| match filter {
                Ok(filter) => format!(" filter={filter}"),
                Err(_) => " filter=invalid".to_owned(),
            });
            format!("UNSUBSCRIBE id={packet_id}{}", filters.collect::<String>())
        }
        Event::PingReq => "PINGREQ".to_owned(),
        Event::Disconnect(disconnect) => {
            let mut words = format!("DISCONNECT{}", reason_words(disconnect.reason));
            option(&mut words, "expiry", disconnect.session_expiry_s);
            words
        }
        Event::Auth(step) => {
            let mut words = format!("AUTH{} method={}", reason_words(step.reason), step.method);
            option(&mut words, "data", step.data.map(hex));
            words
        }
    }
}

fn option(words: &mut String, name: &str, value: Option<impl std::fmt::Display>) {
    if let Some(value) = value {
        write!(words, " {name}={value}").unwrap();
    }
}

fn flag(words: &mut String, name: &str, set: bool) {
    if set {
        words.push(' ');
        words.push_str(name);
    }
}

fn reason_words(reason: ReasonCode) -> String {
    match reason {
        ReasonCode::Success => String::new(),
        other => format!(" reason={:02x}", other.byte()),
    }
}

fn ack_words(name: &str, ack: &Ack) -> String {
    format!("{name} id={}{}", ack.packet_id, reason_words(ack.reason))
}

fn publish_words(publish: &PublishIn<'_>) -> String {
    let mut words = format!("PUBLISH {} q{}", publish.topic, publish.qos as u8);
    flag(&mut words, "retain", publish.retain);
    flag(&mut words, "dup", publish.dup);
    option(&mut words, "id", publish.packet_id);
    option(&mut words, "expiry", publish.expiry_s);
    let properties = (!publish.properties.is_empty()).then(|| hex(publish.properties));
    option(&mut words, "properties", properties);
    option(&mut words, "payload", Some(hex(publish.payload)));
    words
}

fn subscribe_words(subscribe: &Subscribe) -> String {
    let mut words = format!("SUBSCRIBE id={}", subscribe.packet_id);
    option(&mut words, "subscription", subscribe.subscription_id);
    for SubscribeFilter { filter, qos, no_local, retain_as_published, retain_handling } in
        &subscribe.filters
    {
        let text = filter.as_ref().map_or("invalid", |filter| filter.as_str());
        write!(words, " filter={text},q{}", *qos as u8).unwrap();
        words.push_str(if *no_local { ",no_local" } else { "" });
        words.push_str(if *retain_as_published { ",rap" } else { "" });
        words.push_str(["", ",rh1", ",rh2"][*retain_handling as usize]);
    }
    words
}

fn connect_words(connect: &Connect) -> String {
    let mut words = format!("CONNECT client={}", connect.client_id);
    flag(&mut words, "clean", connect.clean_start);
    flag(&mut words, "bridge", connect.bridge);
    flag(&mut words, "mqtt31", connect.mqtt31);
    option(&mut words, "keep_alive", Some(connect.keep_alive_s).filter(|&seconds| seconds > 0));
    option(&mut words, "user", connect.username.as_deref());
    option(&mut words, "password", connect.password.as_deref().map(hex));
    option(&mut words, "expiry", connect.session_expiry_s);
    option(&mut words, "receive", Some(connect.receive_max).filter(|&max| max < u16::MAX));
    option(&mut words, "packet", connect.packet_bytes_max);
    option(&mut words, "aliases", Some(connect.topic_alias_max).filter(|&max| max > 0));
    flag(&mut words, "response_info", connect.request_response_information);
    flag(&mut words, "no_problem_info", !connect.request_problem_information);
    for (key, value) in &connect.user_properties {
        option(&mut words, "user_property", Some(format!("{key}:{value}")));
    }
    option(&mut words, "auth", connect.auth_method.as_deref());
    option(&mut words, "auth_data", connect.auth_data.as_deref().map(hex));
    if let Some(will) = &connect.will {
        write!(words, " will={},{}", will.topic, hex(&will.payload)).unwrap();
        words.push_str(["", ",q1", ",q2"][will.qos as usize]);
        words.push_str(if will.retain { ",retain" } else { "" });
        if will.delay_s > 0 {
            write!(words, ",delay{}", will.delay_s).unwrap();
        }
        if let Some(expiry_s) = will.expiry_s {
            write!(words, ",expiry{expiry_s}").unwrap();
        }
        if !will.properties.is_empty() {
            write!(words, ",{}", hex(&will.properties)).unwrap();
        }
    }
    words
}
