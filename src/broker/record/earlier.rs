//! Bytes as builds before AMQP wrote them: an upgrade reads them, and writes what it read in the same way. Tests of
//! `broker::record`.

use super::{Condition, Record, RoutedAppend, SetMember};
use crate::broker::message::{Form, Message};
use crate::broker::queues::entry::NEVER_MS;
use crate::broker::sessions::row::{decode_page, encode_page};
use crate::model::ids::{LogId, QueueId, SetId};
use crate::model::qos::QoS;
use crate::store::bodies::BodyRef;

/// Version, QoS 1 with an expiry, accepted at, expires at, topic, properties, client, user, payload.
const MESSAGE: &[u8] =
    b"\x01\x09\xe8\x03\0\0\0\0\0\0\xd0\x07\0\0\0\0\0\0\x03a/b\x02\x01\x01\x01c\x01uxyz";
/// Version, kind, vhost, no condition, set 5, a member with a subscription identifier, not retained, two appends.
const PUBLISH: &[u8] = b"\x01\x01\x01/\0\x01\x05\x01\xac\x02\x01\x01\x01\x07\0\0\0\0\x02\
    \x01\0\0\0\x02\0\0\0\x01\x01k\x03\0\0\0\x04\0\0\0\0";
/// Version, kind, id, two members.
const DEFINE_SET: &[u8] = b"\x01\x02\x05\x02\x09\x02\0\0\x0a\x01\x01\0";
/// Version, two entries: offset, order, body, flags (retained QoS 2 that was released; QoS 1), identifiers.
const PAGE: &[u8] = b"\x01\x02\x03\xac\x02\x01\0\0\0\x10\0\0\0\x20\0\0\0\x0e\x01\x07\0\0\0\
    \x04\xad\x02\x01\0\0\0\x30\0\0\0\x21\0\0\0\x01\0";

fn member(queue: u64, qos: QoS, retain_as_published: bool, ids: &[u32]) -> SetMember {
    let (queue, subscription_ids) = (QueueId(queue), ids.to_vec());
    SetMember { queue, qos, retain_as_published, subscription_ids, via: None }
}

fn encoded(record: &Record<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    bytes
}

#[test]
fn a_publish_is_read() {
    let bytes = [PUBLISH, MESSAGE].concat();
    let expected = Record::Publish {
        vhost: "/",
        condition: Condition::None,
        set: Some(SetId(5)),
        members: vec![member(300, QoS::AtLeastOnce, true, &[7])],
        retained: false,
        appends: vec![
            RoutedAppend { log: LogId(1), partition: 2, key: Some(b"k"), via: None },
            RoutedAppend { log: LogId(3), partition: 4, key: None, via: None },
        ],
        message: MESSAGE,
    };
    assert_eq!(Record::decode(&bytes), Ok(expected.clone()));
    assert_eq!(encoded(&expected), bytes);
}

#[test]
fn a_message_is_read() {
    let expected = Message {
        time_ms: 1000,
        expires_ms: Some(2000),
        topic: "a/b",
        properties: &[1, 1],
        client_id: "c",
        username: "u",
        payload: b"xyz",
        qos: QoS::AtLeastOnce,
        retain: false,
        will: false,
        form: Form::Topic,
    };
    assert_eq!(Message::decode(MESSAGE), Ok(expected));
    let mut bytes = Vec::new();
    expected.encode(&mut bytes);
    assert_eq!(bytes, MESSAGE);
}

#[test]
fn a_set_is_read() {
    let members =
        vec![member(9, QoS::ExactlyOnce, false, &[]), member(10, QoS::AtLeastOnce, true, &[])];
    let expected = Record::DefineSet { id: SetId(5), members };
    assert_eq!(Record::decode(DEFINE_SET), Ok(expected.clone()));
    assert_eq!(encoded(&expected), DEFINE_SET);
}

#[test]
fn a_page_of_a_queue_is_read() {
    let page = decode_page(QueueId(1), 0, PAGE).unwrap();
    let entries: Vec<_> =
        page.into_iter().map(|entry| (entry.position, entry.body, entry.restored())).collect();
    let views: Vec<_> = entries
        .iter()
        .map(|(position, body, entry)| {
            let ids = entry.subscription_ids.as_deref().unwrap_or_default().to_vec();
            (*position, *body, entry.order, entry.qos(), entry.retain(), entry.is_released(), ids)
        })
        .collect();
    let body = |offset, len| BodyRef { segment: 1, offset, len };
    let expected = [
        (3, body(16, 32), 300, QoS::ExactlyOnce, true, true, vec![7]),
        (4, body(48, 33), 301, QoS::AtLeastOnce, false, false, vec![]),
    ];
    assert_eq!(views, expected);
    let plain = |entry: &crate::broker::queues::entry::Entry| {
        entry.via.is_none() && entry.expires_ms == NEVER_MS && !entry.is_out()
    };
    assert!(entries.iter().all(|(_, _, entry)| plain(entry)));
    let again = encode_page(0, entries.iter().map(|(at, body, entry)| (*at, entry, *body)));
    assert_eq!(again, PAGE);
}
