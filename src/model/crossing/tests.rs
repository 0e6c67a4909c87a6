//! Metadata that crosses and comes back.

use proptest::prelude::*;

use super::{ContentMetadata, TopicMetadata, content_to_topic, expiry_s, topic_to_content};
use crate::model::content::edit::Editor;
use crate::model::content::{ContentField, Properties};
use crate::model::field_table::tests::{Sample, entries, table_bytes};
use crate::model::field_table::write::TableWriter;
use crate::model::field_table::{FieldValue, Limits};
use crate::model::property::{Property, properties, tests::block};
use crate::model::qos::QoS;

const ROOM: usize = 1 << 20;

fn message(properties: &[u8]) -> TopicMetadata<'_> {
    TopicMetadata {
        properties,
        qos: QoS::AtLeastOnce,
        retain: false,
        will: false,
        expires_in_ms: None,
        client_id: None,
        login: None,
    }
}

/// The content block of a message; it must be valid.
fn over(message: &TopicMetadata<'_>) -> Vec<u8> {
    let mut content = Vec::new();
    assert_eq!(topic_to_content(message, ROOM, &mut content), 0);
    Properties::scan(&content, Limits { bytes: ROOM, ..Limits::default() }).unwrap();
    content
}

/// The property block of a content block, and the rest of what that says.
fn back(content: &[u8]) -> (Vec<u8>, ContentMetadata) {
    let mut block = Vec::new();
    let rest = content_to_topic(&Properties::stored(content), ROOM, &mut block);
    (block, rest)
}

fn headers(content: &[u8]) -> Vec<(String, String)> {
    let headers = Properties::stored(content).headers().unwrap_or_default();
    headers.iter().map(|(name, value)| (name.to_owned(), value.to_string())).collect()
}

fn users(block: &[u8]) -> Vec<(&str, &str)> {
    properties(block)
        .filter_map(|property| match property {
            Property::User(name, value) => Some((name, value)),
            _ => None,
        })
        .collect()
}

fn content_of(fill: impl FnOnce(&mut TableWriter<'_>)) -> Vec<u8> {
    let mut table = Vec::new();
    fill(&mut TableWriter::new(&mut table));
    let mut content = Vec::new();
    Editor::default().headers(table).write(&mut content);
    content
}

#[test]
fn a_plain_message_says_its_delivery_mode_only() {
    assert_eq!(over(&message(&[])), [0x10, 0, 2]);
    assert_eq!(over(&TopicMetadata { qos: QoS::AtMostOnce, ..message(&[]) }), [0x10, 0, 1]);
    assert_eq!(over(&TopicMetadata { qos: QoS::ExactlyOnce, ..message(&[]) }), [0x10, 0, 2]);
}

#[test]
fn metadata_arrives_under_the_names_of_amqp() {
    let block = block(&[
        Property::PayloadFormat(true),
        Property::ContentType("text/plain"),
        Property::ResponseTopic("plant.1/answers"),
        Property::CorrelationData(b"id-7"),
        Property::User("k", "v"),
    ]);
    let content = over(&TopicMetadata {
        retain: true,
        will: true,
        expires_in_ms: Some(1_500),
        client_id: Some("dev"),
        ..message(&block)
    });
    let read = Properties::stored(&content);
    assert_eq!(read.content_type(), Some(&b"text/plain"[..]));
    assert_eq!(read.correlation_id(), Some(&b"id-7"[..]));
    assert_eq!(read.expiration(), Some(&b"1500"[..]));
    assert_eq!(read.reply_to(), None);
    let expected = [
        ("x-reply-to-topic", "plant/1.answers"),
        ("mqtt-payload-format", "utf-8"),
        ("mqtt-retain", "true"),
        ("mqtt-will", "true"),
        ("mqtt-client-id", "dev"),
        ("k", "v"),
    ];
    assert_eq!(headers(&content), expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
    let (again, rest) = back(&content);
    assert_eq!(
        properties(&again).collect::<Vec<_>>(),
        [
            Property::PayloadFormat(true),
            Property::ContentType("text/plain"),
            Property::ResponseTopic("plant.1/answers"),
            Property::CorrelationData(b"id-7"),
            Property::User("k", "v"),
        ]
    );
    assert_eq!(rest, ContentMetadata { retain: true, expires_in_ms: Some(1_500), left_out: 0 });
}

#[test]
fn repeated_user_properties_keep_order_and_number() {
    let block =
        block(&[Property::User("k", "1"), Property::User("other", "x"), Property::User("k", "2")]);
    let content = over(&message(&block));
    let found = headers(&content);
    assert_eq!(found[0], ("k".to_owned(), "1".to_owned()));
    assert_eq!(found[1], ("other".to_owned(), "x".to_owned()));
    assert_eq!((found.len(), found[2].0.as_str()), (3, "mqtt-user-properties"));
    assert_eq!(back(&content).0, block);
}

/// An AMQP service that sends a message on counts, not what the message was once.
#[test]
fn a_changed_header_wins_over_the_list() {
    let block = block(&[
        Property::User("k", "1"),
        Property::User("gone", "x"),
        Property::User("k", "2"),
        Property::User("kept", "y"),
    ]);
    let content = over(&message(&block));
    let table = Properties::stored(&content).headers().unwrap();
    let mut changed = Vec::new();
    table.retain(|name, _| name != "k" && name != "gone", &mut changed);
    TableWriter::new(&mut changed).string("k", "new").unwrap();
    TableWriter::new(&mut changed).string("added", "z").unwrap();
    let mut sent_on = Vec::new();
    Editor::new(Properties::stored(&content)).headers(changed).write(&mut sent_on);
    let (again, _) = back(&sent_on);
    assert_eq!(users(&again), [("kept", "y"), ("k", "new"), ("added", "z")]);
}

#[test]
fn what_is_too_long_for_amqp_takes_another_place() {
    let (long, longer) = ("t/".repeat(150), "n".repeat(300));
    let block = block(&[
        Property::ContentType(&longer),
        Property::ResponseTopic(&long),
        Property::CorrelationData(longer.as_bytes()),
        Property::User(&longer, "v"),
    ]);
    let content = over(&message(&block));
    let names: Vec<_> = headers(&content).into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        ["x-correlation-id", "mqtt-response-topic", "mqtt-content-type", "mqtt-user-properties"]
    );
    assert_eq!(back(&content).0, block);
}

#[test]
fn what_the_broker_names_is_not_forged() {
    let block = block(&[
        Property::User("mqtt-retain", "true"),
        Property::User("mqtt-client-id", "admin"),
        Property::User("x-reply-to-topic", "secret"),
        Property::User("amqp-user-id", "admin"),
        Property::User("amqp-priority", "high"),
    ]);
    let content = over(&TopicMetadata { login: Some("device"), ..message(&block) });
    let read = Properties::stored(&content);
    assert_eq!((read.user_id(), read.priority()), (None, None));
    let names: Vec<_> = headers(&content).into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        [
            "mqtt-user-mqtt-retain",
            "mqtt-user-mqtt-client-id",
            "mqtt-user-x-reply-to-topic",
            "mqtt-user-amqp-user-id",
            "mqtt-user-amqp-priority",
        ]
    );
    let (again, rest) = back(&content);
    assert_eq!((again, rest.retain), (block, false));
    let honest = self::block(&[Property::User("amqp-user-id", "device")]);
    let content = over(&TopicMetadata { login: Some("device"), ..message(&honest) });
    assert_eq!(Properties::stored(&content).user_id(), Some(&b"device"[..]));
}

#[test]
fn headers_of_any_type_become_text() {
    let content = content_of(|table| {
        table.put("int", FieldValue::I32(-5)).unwrap();
        table.put("flag", FieldValue::Bool(true)).unwrap();
        table.put("none", FieldValue::Void).unwrap();
        table.put("raw", FieldValue::Bytes(&[0xFF])).unwrap();
        table.string("trace", "one\ntwo").unwrap();
        table.string("na\nme", "v").unwrap();
        table.array("CC", |array| array.string("a.b")).unwrap();
        table.string("mqtt-topic", "x").unwrap();
        table.string("amqp-priority", "5").unwrap();
    });
    let (block, rest) = back(&content);
    assert_eq!(
        users(&block),
        [
            ("int", "-5"),
            ("flag", "true"),
            ("none", ""),
            ("amqp-base64-raw", "/w=="),
            ("amqp-base64-trace", "b25lCnR3bw=="),
            ("na%0Ame", "v"),
            ("CC", "[\"a.b\"]"),
            ("amqp-header-mqtt-topic", "x"),
            ("amqp-header-amqp-priority", "5"),
        ]
    );
    assert_eq!(rest, ContentMetadata::default());
    let again = over(&message(&block));
    let read = Properties::stored(&again);
    assert_eq!(read.priority(), None);
    let table = read.headers().unwrap();
    assert_eq!(table.get("trace").unwrap().as_str(), Some("one\ntwo"));
    assert_eq!(table.get("raw").unwrap().as_bytes(), Some(&[0xFF][..]));
    assert_eq!(table.get("mqtt-topic").unwrap().as_str(), Some("x"));
    assert_eq!(table.get("amqp-priority").unwrap().as_str(), Some("5"));
}

#[test]
fn an_amqp_publisher_asks_for_retaining_and_names_a_response_topic() {
    let content = content_of(|table| {
        table.put("mqtt-retain", FieldValue::Bool(true)).unwrap();
        table.string("x-reply-to-topic", "a.b").unwrap();
        table.put("x-correlation-id", FieldValue::Bytes(&[0, 1])).unwrap();
    });
    let (block, rest) = back(&content);
    assert_eq!(
        properties(&block).collect::<Vec<_>>(),
        [Property::ResponseTopic("a/b"), Property::CorrelationData(&[0, 1])]
    );
    assert!(rest.retain);
}

#[test]
fn headers_of_the_brokers_names_that_say_nothing_are_carried() {
    let content = content_of(|table| {
        table.string("mqtt-retain", "perhaps").unwrap();
        table.string("x-reply-to-topic", "a.#").unwrap();
        table.string("mqtt-response-topic", "a/+").unwrap();
        table.put("x-correlation-id", FieldValue::I8(1)).unwrap();
        table.string("mqtt-user-properties", "none").unwrap();
    });
    let (block, rest) = back(&content);
    assert_eq!(
        users(&block),
        [
            ("amqp-header-mqtt-retain", "perhaps"),
            ("amqp-header-x-reply-to-topic", "a.#"),
            ("amqp-header-mqtt-response-topic", "a/+"),
            ("amqp-header-x-correlation-id", "1"),
            ("amqp-header-mqtt-user-properties", "none"),
        ]
    );
    assert!(!rest.retain);
}

#[test]
fn output_is_bounded_and_counts_what_it_leaves_out() {
    let value = "v".repeat(1_000);
    let names: Vec<String> = (0..100).map(|number| format!("n{number}")).collect();
    let pairs: Vec<_> = names.iter().map(|name| Property::User(name, &value)).collect();
    let many = block(&pairs);
    let mut content = vec![9];
    assert_eq!(topic_to_content(&message(&many), 4_074, &mut content), 96);
    assert!(content.len() <= 4_075 && content[0] == 9);
    assert!(Properties::scan(&content[1..], Limits::default()).is_ok());
    let (_, rest) = back(&over(&message(&many)));
    assert_eq!(rest.left_out, 0);
    let mut cut = vec![9];
    let all = over(&message(&many));
    let rest = content_to_topic(&Properties::stored(&all), 5_000, &mut cut);
    assert_eq!(rest.left_out, 96);
    assert!(cut.len() <= 5_001 && users(&cut[1..]).len() == 4);
    let huge = content_of(|table| table.string("huge", &"v".repeat(70_000)).unwrap());
    assert_eq!(back(&huge), (vec![], ContentMetadata { left_out: 1, ..Default::default() }));
}

#[test]
fn expiry_never_rounds_to_nothing() {
    assert_eq!([1, 999, 1_000, 1_001].map(expiry_s), [1, 1, 1, 2]);
    assert_eq!((expiry_s(0), expiry_s(u64::MAX)), (1, u32::MAX));
}

/// Names that mean something here, and others.
fn name() -> impl Strategy<Value = String> {
    let meant = [
        "amqp-message-id",
        "amqp-priority",
        "amqp-timestamp",
        "amqp-user-id",
        "amqp-content-type",
        "amqp-header-a",
        "amqp-header-amqp-a",
        "amqp-header-mqtt-a",
        "amqp-base64-a",
        "amqp-base64-amqp-message-id",
        "amqp-a",
        "mqtt-retain",
        "mqtt-user-properties",
        "mqtt-user-a",
        "mqtt-user-mqtt-retain",
        "mqtt-a",
        "x-correlation-id",
        "x-reply-to-topic",
    ];
    prop_oneof![
        4 => "[ab]{0,2}",
        4 => prop::sample::select(meant.to_vec()).prop_map(str::to_owned),
        1 => "[^\u{0}]{0,8}",
        1 => "[a]{254,257}",
    ]
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-c]{0,3}",
        2 => "[0-9]{1,4}",
        1 => Just("/w==".to_owned()),
        1 => Just("b25lCg==".to_owned()),
        1 => "[^\u{0}]{0,8}",
        1 => "[a]{254,257}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn mqtt_metadata_comes_back(
        pairs in prop::collection::vec((name(), value()), 0..8),
        content_type in prop::option::of("[^\u{0}]{0,6}|a{254,257}"),
        correlation in prop::option::of(prop::collection::vec(any::<u8>(), 0..300)),
        response in prop::option::of("[ab/.*%$é]{1,8}|(a/){120,130}"),
        (utf8, retain, will) in any::<(bool, bool, bool)>(),
        expires_in_ms in prop::option::of(0..315_360_000_000_u64),
        login in prop::option::of("[a-c]{1,2}"),
    ) {
        let mut own: Vec<Property<'_>> = Vec::new();
        own.extend(utf8.then_some(Property::PayloadFormat(true)));
        own.extend(content_type.as_deref().map(Property::ContentType));
        own.extend(response.as_deref().map(Property::ResponseTopic));
        own.extend(correlation.as_deref().map(Property::CorrelationData));
        own.extend(pairs.iter().map(|(name, value)| Property::User(name, value)));
        let block = block(&own);
        let content = over(&TopicMetadata {
            properties: &block,
            qos: QoS::AtMostOnce,
            retain,
            will,
            expires_in_ms,
            client_id: Some("client"),
            login: login.as_deref(),
        });
        let (again, rest) = back(&content);
        prop_assert_eq!(properties(&again).collect::<Vec<_>>(), own);
        prop_assert_eq!(rest, ContentMetadata { retain, expires_in_ms, left_out: 0 });
    }

    #[test]
    fn amqp_metadata_comes_back(
        texts in prop::collection::vec(prop::option::of("[a-cé/.]{0,5}|a{255}|[\u{1}-\u{1f}]"), 10),
        raw in prop::option::of(prop::collection::vec(1_u8.., 0..8)),
        headers in prop::collection::btree_map("[ab]{1,3}|amqp-(a|priority|header-a)|mqtt-[ab]|x-a", "[a-z]{0,4}|[^\u{0}]{0,5}", 0..6),
        priority in prop::option::of(any::<u8>()),
        timestamp in prop::option::of(any::<u64>()),
    ) {
        let mut editor = Editor::default();
        let fields = ContentField::ALL.into_iter().filter(|field| {
            *field != ContentField::Expiration
                && Editor::default().short_string(*field, vec![]).is_ok()
        });
        for (field, text) in fields.zip(texts) {
            if let Some(text) = text {
                editor.short_string(field, text.into_bytes()).unwrap();
            }
        }
        if let Some(raw) = raw {
            editor.short_string(ContentField::MessageId, raw).unwrap();
        }
        let entries: Vec<_> = headers.into_iter()
            .map(|(name, text)| (name, Sample::Text(text.into_bytes())))
            .collect();
        editor.headers(table_bytes(&entries)).delivery_mode(2);
        if let Some(priority) = priority {
            editor.priority(priority);
        }
        if let Some(timestamp) = timestamp {
            editor.timestamp(timestamp);
        }
        let mut content = Vec::new();
        editor.write(&mut content);
        let before = Properties::stored(&content);
        let (block, rest) = back(&content);
        prop_assert_eq!(rest.left_out, 0);
        let login = before.user_id().and_then(|login| std::str::from_utf8(login).ok());
        let again = over(&TopicMetadata { login, ..message(&block) });
        let after = Properties::stored(&again);
        for field in ContentField::ALL {
            if field == ContentField::Headers {
                let headers = |content: &Properties<'_>| format!("{:?}", content.headers().unwrap_or_default());
                prop_assert_eq!(headers(&after), headers(&before));
            } else {
                prop_assert_eq!(
                    after.short_string(field), before.short_string(field), "{:?}", field
                );
            }
        }
        prop_assert_eq!(after.priority(), before.priority());
        prop_assert_eq!(after.timestamp(), before.timestamp());
        prop_assert_eq!(after.delivery_mode(), before.delivery_mode());
    }

    #[test]
    fn any_headers_cross_into_a_valid_block(entries in entries(), room in 0..400_usize) {
        let bytes = table_bytes(&entries);
        let mut content = Vec::new();
        Editor::default().headers(bytes.as_slice()).write(&mut content);
        let mut block = Vec::new();
        let rest = content_to_topic(&Properties::stored(&content), room, &mut block);
        prop_assert!(block.len() <= room);
        prop_assert_eq!(users(&block).len() + rest.left_out, entries.len());
        let again: usize = properties(&block).map(|property| match property {
            Property::User(name, value) => 5 + name.len() + value.len(),
            _ => 0,
        }).sum();
        prop_assert_eq!(again, block.len());
    }

    #[test]
    fn arbitrary_blocks_never_panic(
        block in prop::collection::vec(any::<u8>(), 0..120),
        room in 0..200_usize,
    ) {
        let mut out = Vec::new();
        content_to_topic(&Properties::stored(&block), room, &mut out);
        prop_assert!(out.len() <= room);
        topic_to_content(&message(&block), room, &mut out);
    }

    /// A list that is hostile, or was made by a service that does not know what it is.
    #[test]
    fn arbitrary_lists_never_panic(entries in entries(), more in entries()) {
        let inner: Vec<_> = more.into_iter().map(|(_, value)| value).collect();
        let mut entries = entries;
        entries.push(("mqtt-user-properties".to_owned(), Sample::Array(inner)));
        let mut content = Vec::new();
        Editor::default().headers(table_bytes(&entries)).write(&mut content);
        std::hint::black_box(back(&content));
    }
}
