//! What message a log's record becomes on its way out, and which marks keep routes from carrying in circles. The
//! other direction is `carried`. Part of `broker/logs`; pure.
//!
//! The payload is the value, byte for byte; nothing for a null value. A property block (`model::message`) holds:
//!
//! | header | property |
//! |---|---|
//! | `content-type` | content type |
//! | `mqtt-response-topic`, `mqtt-correlation-data` | response topic, correlation data |
//! | `mqtt-payload-format` = `utf-8` | payload format, if the value is UTF-8 indeed |
//! | `mqtt-retain` = `true`, `mqtt-message-expiry`, `mqtt-qos` | none: [`Released`] says it |
//! | `mqtt-user-N`, N begins with `mqtt-` | user property N, as its publisher wrote it |
//! | other N that begins with `mqtt-` or `kafka-` | user property `kafka-header-N` |
//! | N whose value is no text for MQTT | user property `kafka-base64-N` |
//! | any other N | user property N |
//!
//! User properties keep the headers' order and repeats; a null header is an empty one. Of repeated headers that have
//! a property of their own the last counts, which is what Kafka's clients take, and the others are user properties.
//! Behind them stand `kafka-topic`, `kafka-partition`, `kafka-offset`, `kafka-timestamp` (ms since 1970, where there
//! is one) and `kafka-key`, or `kafka-key-base64` for a key that is no text. No header can forge one of those.
//!
//! **Circles.** Last stands a user property [`MARK`] for every route that brought the message out of a log, this one
//! included: `origin/route`. It travels as an MQTT user property, AMQP header and record header alike. A route does
//! not carry what bears its own mark, nor what bears [`MARKS_MAX`] of them; and a route into a log can leave alone
//! what bears the mark of a route out of that log ([`marks`]).

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

use crate::broker::logs::batch::records::Record;
use crate::model::crossing::block::BlockWriter;
use crate::model::crossing::text::{STRING_BYTES_MAX, is_polite};
use crate::model::message::PropertyId;
use crate::model::property::{Property, properties};
use crate::model::qos::QoS;
use crate::model::topic::check_topic_name;

/// Name of the user property, AMQP header and record header that says which routes carried a message out of a log.
pub const MARK: &str = "rialto-route";
/// How many routes out of logs one message goes through.
pub const MARKS_MAX: usize = 8;

const MQTT: &str = "mqtt-";
const KAFKA: &str = "kafka-";
const USER_ESCAPE: &str = "mqtt-user-";
const HEADER_ESCAPE: &str = "kafka-header-";
const BASE64_ESCAPE: &str = "kafka-base64-";

/// Where a record comes from.
#[derive(Clone, Copy, Debug)]
pub struct Whence<'a> {
    /// The log's name.
    pub log: &'a str,
    /// Number of the partition.
    pub partition: u32,
    /// The route's mark: an id of this installation, `/`, the route's name; at most 400 bytes.
    pub mark: &'a str,
}

/// What of a record has no place in a property block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Released<'a> {
    /// The value; empty if it is null.
    pub payload: &'a [u8],
    /// Whether the value is null: in the topic tree, a retained value that is to be forgotten.
    pub is_tombstone: bool,
    /// The retain flag with which it was published to MQTT.
    pub retain: bool,
    /// The promise with which it was published to MQTT, if it was.
    pub qos: Option<QoS>,
    /// When it stops being worth delivering, ms since 1970: its expiry is counted from the record's timestamp.
    pub expires_ms: Option<u64>,
    /// How many properties found no room, or are longer than MQTT's strings.
    pub left_out: usize,
}

/// Why a record is not carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Circle {
    /// The same route brought it out of a log before.
    #[error("this route carried the message before")]
    Own,
    /// Too many routes did.
    #[error("the message went through too many logs")]
    TooFar,
}

/// Appends the property block of the message that `record` becomes to `out`, at most `bytes_max` bytes of it; the
/// marks always fit.
///
/// # Errors
/// The message goes in a circle; `out` is as it was.
pub fn release<'a>(
    whence: &Whence<'_>,
    record: &Record<'a>,
    bytes_max: usize,
    out: &mut Vec<u8>,
) -> Result<Released<'a>, Circle> {
    let special = Special::of(record);
    let marked = count_marks(whence, record)?;
    let marks_bytes = (marked + 1) * MARK_BYTES_MAX;
    let mut block = BlockWriter::new(out, bytes_max);
    special.write(&mut block);
    for (at, (name, value)) in record.headers().enumerate() {
        if !special.takes(at) && name != MARK.as_bytes() {
            header(&mut block, name, value.unwrap_or_default());
        }
    }
    coordinates(&mut block, whence, record);
    block.widen(marks_bytes);
    for (_, value) in record.headers().filter(|(name, _)| *name == MARK.as_bytes()) {
        block.user(MARK, std::str::from_utf8(value.unwrap_or_default()).unwrap_or_default());
    }
    block.user(MARK, whence.mark);
    Ok(Released {
        payload: record.value.unwrap_or_default(),
        is_tombstone: record.value.is_none(),
        retain: special.retain.is_some(),
        qos: special.qos.map(|(_, qos)| qos),
        expires_ms: special.expires_ms(record.timestamp_ms),
        left_out: block.left_out(),
    })
}

/// The marks that a message with these properties bears.
pub fn marks(block: &[u8]) -> impl Iterator<Item = &str> {
    properties(block).filter_map(|property| match property {
        Property::User(MARK, value) => Some(value),
        _ => None,
    })
}

/// A mark that is longer is not this broker's, and counts as one all the same.
const MARK_BYTES_MAX: usize = 512;

fn count_marks(whence: &Whence<'_>, record: &Record<'_>) -> Result<usize, Circle> {
    let mut count = 0;
    for (_, value) in record.headers().filter(|(name, _)| *name == MARK.as_bytes()) {
        if value == Some(whence.mark.as_bytes()) {
            return Err(Circle::Own);
        }
        count += 1;
    }
    if count < MARKS_MAX { Ok(count) } else { Err(Circle::TooFar) }
}

/// The headers that say something of MQTT's own, each with its place among the headers.
#[derive(Debug, Default)]
struct Special<'a> {
    content_type: Option<(usize, &'a str)>,
    response: Option<(usize, &'a str)>,
    correlation: Option<(usize, &'a [u8])>,
    utf8: Option<usize>,
    retain: Option<usize>,
    expiry_s: Option<(usize, u32)>,
    qos: Option<(usize, QoS)>,
}

impl<'a> Special<'a> {
    fn of(record: &Record<'a>) -> Self {
        let mut found = Self::default();
        for (at, (name, value)) in record.headers().enumerate() {
            let Some(value) = value else { continue };
            match name {
                b"content-type" => {
                    found.content_type = text(value).map(|text| (at, text)).or(found.content_type);
                }
                b"mqtt-response-topic" => {
                    let topic = check_topic_name(value).ok().filter(|topic| is_polite(topic));
                    found.response = topic.map(|topic| (at, topic)).or(found.response);
                }
                b"mqtt-correlation-data" if value.len() <= STRING_BYTES_MAX => {
                    found.correlation = Some((at, value));
                }
                b"mqtt-payload-format" if value == b"utf-8" => found.utf8 = Some(at),
                b"mqtt-retain" if value == b"true" => found.retain = Some(at),
                b"mqtt-message-expiry" => {
                    found.expiry_s = decimal(value).map(|seconds| (at, seconds)).or(found.expiry_s);
                }
                b"mqtt-qos" => {
                    let qos = decimal(value).and_then(|number| u8::try_from(number).ok());
                    found.qos = qos.and_then(QoS::from_bits).map(|qos| (at, qos)).or(found.qos);
                }
                _ => {}
            }
        }
        if std::str::from_utf8(record.value.unwrap_or_default()).is_err() {
            found.utf8 = None;
        }
        found
    }

    fn takes(&self, at: usize) -> bool {
        let places = [
            self.content_type.map(|(at, _)| at),
            self.response.map(|(at, _)| at),
            self.correlation.map(|(at, _)| at),
            self.utf8,
            self.retain,
            self.expiry_s.map(|(at, _)| at),
            self.qos.map(|(at, _)| at),
        ];
        places.contains(&Some(at))
    }

    fn write(&self, block: &mut BlockWriter<'_>) {
        if self.utf8.is_some() {
            block.utf8_payload();
        }
        if let Some((_, text)) = self.content_type {
            block.string(PropertyId::ContentType, text.as_bytes());
        }
        if let Some((_, topic)) = self.response {
            block.string(PropertyId::ResponseTopic, topic.as_bytes());
        }
        if let Some((_, data)) = self.correlation {
            block.string(PropertyId::CorrelationData, data);
        }
    }

    fn expires_ms(&self, timestamp_ms: i64) -> Option<u64> {
        let (_, seconds) = self.expiry_s?;
        let from = u64::try_from(timestamp_ms).ok()?;
        Some(from.saturating_add(u64::from(seconds) * 1000))
    }
}

fn header(block: &mut BlockWriter<'_>, name: &[u8], value: &[u8]) {
    let name = printable(name);
    match text(value) {
        Some(text) => block.user(&user_name(&name), text),
        None => block.user(&format!("{BASE64_ESCAPE}{name}"), &STANDARD.encode(value)),
    }
}

fn coordinates(block: &mut BlockWriter<'_>, whence: &Whence<'_>, record: &Record<'_>) {
    block.user("kafka-topic", whence.log);
    block.user("kafka-partition", &whence.partition.to_string());
    block.user("kafka-offset", &record.offset.to_string());
    if record.timestamp_ms >= 0 {
        block.user("kafka-timestamp", &record.timestamp_ms.to_string());
    }
    match record.key.map(|key| (key, text(key))) {
        None => {}
        Some((_, Some(text))) => block.user("kafka-key", text),
        Some((key, None)) => block.user("kafka-key-base64", &STANDARD.encode(key)),
    }
}

/// The user property that a header with text becomes.
fn user_name(header: &str) -> Cow<'_, str> {
    match header.strip_prefix(USER_ESCAPE) {
        Some(own) if own.starts_with(MQTT) => own.into(),
        _ if header.starts_with(MQTT) || header.starts_with(KAFKA) => {
            format!("{HEADER_ESCAPE}{header}").into()
        }
        _ => header.into(),
    }
}

/// `bytes` as a string that every MQTT client must take, if they are one.
fn text(bytes: &[u8]) -> Option<&str> {
    let short = bytes.len() <= STRING_BYTES_MAX;
    std::str::from_utf8(bytes).ok().filter(|text| short && is_polite(text))
}

/// A header's name; what MQTT lets a receiver refuse as `%` and two hexadecimal digits an octet.
fn printable(name: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(name)
        && is_polite(text)
    {
        return text.into();
    }
    let mut out = String::with_capacity(name.len() + 8);
    for chunk in name.utf8_chunks() {
        for character in chunk.valid().chars() {
            let mut bytes = [0; 4];
            let encoded = &*character.encode_utf8(&mut bytes);
            if character != '%' && is_polite(encoded) {
                out.push(character);
            } else {
                percent(&mut out, encoded.as_bytes());
            }
        }
        percent(&mut out, chunk.invalid());
    }
    out.into()
}

fn percent(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        out.push_str(&format!("%{byte:02X}"));
    }
}

/// Digits as they are written without zeros in front.
fn decimal(bytes: &[u8]) -> Option<u32> {
    let number: u32 = std::str::from_utf8(bytes).ok()?.parse().ok()?;
    (number.to_string().as_bytes() == bytes).then_some(number)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::{Circle, MARK, MARKS_MAX, Released, Whence, is_polite, marks, release};
    use crate::broker::logs::batch::build::{BatchBuilder, NewRecord};
    use crate::broker::logs::batch::records::records;
    use crate::broker::logs::carried;
    use crate::model::message::Publication;
    use crate::model::property::{Property, properties, tests::block};
    use crate::model::qos::QoS;

    type Header<'a> = (&'a str, &'a [u8]);

    const ROOM: usize = 1 << 16;
    const WHENCE: Whence<'_> = Whence { log: "l", partition: 3, mark: "here/r" };

    struct Sample<'a> {
        key: Option<&'a [u8]>,
        value: Option<&'a [u8]>,
        headers: &'a [Header<'a>],
        room: usize,
    }

    /// What a record at time 1,000 becomes: properties, and the rest.
    fn released<R>(
        sample: &Sample<'_>,
        look: impl FnOnce(&[Property<'_>], Released<'_>) -> R,
    ) -> Result<R, Circle> {
        let mut builder = BatchBuilder::default();
        let Sample { key, value, headers, room } = *sample;
        builder.push(&NewRecord { timestamp_ms: 1000, key, value, headers });
        let batch = builder.finish().unwrap();
        let record = records(&batch).unwrap().next().unwrap().unwrap();
        let mut out = vec![0xee];
        let released = release(&WHENCE, &record, room, &mut out);
        assert!(released.is_ok() || out == [0xee]);
        let found: Vec<_> = properties(&out[1..]).collect();
        Ok(look(&found, released?))
    }

    /// The properties of a record with these headers, without the coordinates and the mark.
    fn user(headers: &[Header<'_>]) -> Vec<(String, String)> {
        let sample = Sample { key: None, value: Some(b""), headers, room: ROOM };
        released(&sample, |found, _| {
            let own = &found[..found.len() - 5];
            own.iter()
                .map(|property| match property {
                    Property::User(name, value) => ((*name).to_owned(), (*value).to_owned()),
                    other => (String::new(), format!("{other:?}")),
                })
                .collect()
        })
        .unwrap()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_plain_record_says_where_it_came_from() {
        let sample = Sample { key: Some(b"k"), value: Some(b"v"), headers: &[], room: ROOM };
        released(&sample, |found, rest| {
            let expected = [
                Property::User("kafka-topic", "l"),
                Property::User("kafka-partition", "3"),
                Property::User("kafka-offset", "0"),
                Property::User("kafka-timestamp", "1000"),
                Property::User("kafka-key", "k"),
                Property::User(MARK, "here/r"),
            ];
            assert_eq!(found, expected);
            let expected = Released {
                payload: b"v",
                is_tombstone: false,
                retain: false,
                qos: None,
                expires_ms: None,
                left_out: 0,
            };
            assert_eq!(rest, expected);
        })
        .unwrap();
        let sample = Sample { key: Some(&[0xff]), value: None, headers: &[], room: ROOM };
        released(&sample, |found, rest| {
            assert!(found.contains(&Property::User("kafka-key-base64", "/w==")));
            assert!(rest.is_tombstone && rest.payload.is_empty());
        })
        .unwrap();
    }

    #[test]
    fn headers_keep_order_and_repeats() {
        let found = user(&[("k", b"1"), ("other", b"x"), ("k", b"2"), ("", b"")]);
        assert_eq!(found, pairs(&[("k", "1"), ("other", "x"), ("k", "2"), ("", "")]));
    }

    #[test]
    fn names_that_would_mislead_are_escaped() {
        let found = user(&[
            ("kafka-offset", b"7"),
            ("kafka-header-kafka-offset", b"8"),
            ("mqtt-topic", b"a/b"),
            ("mqtt-user-mqtt-topic", b"own"),
            ("mqtt-user-kafka-offset", b"9"),
            ("amqp-message-id", b"id"),
            ("mqtt-qos", b"3"),
            ("mqtt-retain", b"yes"),
            ("mqtt-response-topic", b"a/#"),
            ("mqtt-message-expiry", b"+1"),
        ]);
        let expected = pairs(&[
            ("kafka-header-kafka-offset", "7"),
            ("kafka-header-kafka-header-kafka-offset", "8"),
            ("kafka-header-mqtt-topic", "a/b"),
            ("mqtt-topic", "own"),
            ("kafka-header-mqtt-user-kafka-offset", "9"),
            ("amqp-message-id", "id"),
            ("kafka-header-mqtt-qos", "3"),
            ("kafka-header-mqtt-retain", "yes"),
            ("kafka-header-mqtt-response-topic", "a/#"),
            ("kafka-header-mqtt-message-expiry", "+1"),
        ]);
        assert_eq!(found, expected);
    }

    /// MQTT5-1.5.4 lets a receiver close the connection over a control character.
    #[test]
    fn what_is_no_text_is_carried_as_base64_and_names_are_made_printable() {
        let found = user(&[("raw", &[0xff, 0]), ("line", b"a\nb"), ("tab\t%", b"x"), ("é", b"y")]);
        let expected = [
            ("kafka-base64-raw", "/wA="),
            ("kafka-base64-line", "YQpi"),
            ("tab%09%25", "x"),
            ("é", "y"),
        ];
        assert_eq!(found, pairs(&expected));
    }

    #[test]
    fn the_last_of_a_repeated_header_counts_as_in_kafkas_clients() {
        let found = user(&[("content-type", b"own"), ("content-type", b"text/plain")]);
        let expected = [("", "ContentType(\"text/plain\")"), ("content-type", "own")];
        assert_eq!(found, pairs(&expected));
    }

    #[test]
    fn payload_format_is_believed_of_text_only() {
        for (value, believed) in [(&b"text"[..], true), (&[0xff], false)] {
            let headers: &[Header<'_>] = &[("mqtt-payload-format", b"utf-8")];
            let sample = Sample { key: None, value: Some(value), headers, room: ROOM };
            let first = released(&sample, |found, _| found[0] == Property::PayloadFormat(true));
            assert_eq!(first, Ok(believed));
        }
    }

    #[test]
    fn a_route_carries_a_message_once_and_none_goes_through_too_many() {
        let marked = |own: &[&str]| {
            let headers: Vec<Header<'_>> = own.iter().map(|mark| (MARK, mark.as_bytes())).collect();
            let sample = Sample { key: None, value: None, headers: &headers, room: 10 };
            released(&sample, |found, rest| {
                // Coordinates have no room; marks always do.
                assert_eq!(rest.left_out, 4);
                let block = block(found);
                marks(&block).map(str::to_owned).collect::<Vec<_>>()
            })
        };
        assert_eq!(marked(&[]).unwrap(), ["here/r"]);
        assert_eq!(marked(&["there/r", "here/q"]).unwrap(), ["there/r", "here/q", "here/r"]);
        assert_eq!(marked(&["there/r", "here/r", "here/q"]), Err(Circle::Own));
        assert_eq!(marked(&["x"; MARKS_MAX - 1]).unwrap().len(), MARKS_MAX);
        assert_eq!(marked(&["x"; MARKS_MAX]), Err(Circle::TooFar));
    }

    fn texts() -> impl Strategy<Value = Vec<(String, String)>> {
        vec(("[a-z-]{0,8}|mqtt-[a-z]{0,5}|mqtt-user-x", ".{0,9}"), 0..6)
    }

    proptest! {
        /// From MQTT into a log and out of it again, nothing of a message is lost but names of the logs' own.
        #[test]
        fn a_message_comes_back_out_of_a_log(
            user in texts(), utf8: bool, retain: bool, qos in 0_u8..3,
            content_type in prop::option::of("[a-z/]{0,9}"),
            response in prop::option::of("[a-z/]{1,9}"),
            correlation in prop::option::of(vec(any::<u8>(), 0..9)),
            expiry_s in prop::option::of(0_u32..1 << 31),
        ) {
            let simple = |(name, value): &(String, String)| {
                is_polite(value) && name != "content-type"
            };
            prop_assume!(user.iter().all(simple));
            let mut told = Vec::new();
            told.extend(utf8.then_some(Property::PayloadFormat(true)));
            told.extend(content_type.as_deref().map(Property::ContentType));
            told.extend(response.as_deref().map(Property::ResponseTopic));
            told.extend(correlation.as_deref().map(Property::CorrelationData));
            told.extend(user.iter().map(|(name, value)| Property::User(name, value)));
            let block = block(&told);
            let qos = QoS::from_bits(qos).unwrap();
            let publication = Publication {
                topic: "t", payload: b"text", properties: &block, qos, retain, expiry_s,
            };
            let mut owned = Vec::new();
            carried::headers(&publication, "c", |name, value| {
                owned.push((name.to_owned(), value.to_vec()));
            });
            let headers: Vec<_> = owned.iter().map(|(name, value)| (&**name, &**value)).collect();
            let sample = Sample { key: None, value: Some(b"text"), headers: &headers, room: ROOM };
            released(&sample, |found, rest| {
                assert_eq!(&found[..told.len()], told);
                let expected = [
                    Property::User("kafka-header-mqtt-topic", "t"),
                    Property::User("kafka-header-mqtt-client-id", "c"),
                    Property::User("kafka-topic", "l"),
                ];
                assert_eq!(&found[told.len()..told.len() + 3], expected);
                assert_eq!((rest.qos, rest.retain), (Some(qos), retain));
                let expires_ms = expiry_s.map(|seconds| 1000 + u64::from(seconds) * 1000);
                assert_eq!((rest.expires_ms, rest.left_out), (expires_ms, 0));
            }).unwrap();
        }

        #[test]
        fn any_headers_become_a_valid_block_within_its_room(
            headers in vec((".{0,12}", vec(any::<u8>(), 0..30)), 0..20), room in 0_usize..400,
        ) {
            let headers: Vec<_> = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
            let sample = Sample { key: Some(b"k"), value: None, headers: &headers, room };
            released(&sample, |found, rest| {
                let bytes = block(found).len();
                assert!(bytes <= room + 5 + MARK.len() + WHENCE.mark.len());
                assert_eq!(found.len() + rest.left_out, headers.len() + 6);
            }).unwrap();
        }
    }
}
