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
    let mut block = Block { from: out.len(), bytes_max, out, left_out: 0 };
    special.write(&mut block);
    for (at, (name, value)) in record.headers().enumerate() {
        if !special.takes(at) && name != MARK.as_bytes() {
            block.header(name, value.unwrap_or_default());
        }
    }
    block.coordinates(whence, record);
    block.bytes_max = bytes_max.saturating_add(marks_bytes);
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
        left_out: block.left_out,
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

    fn write(&self, block: &mut Block<'_>) {
        if self.utf8.is_some() {
            block.put(|out| {
                out.extend_from_slice(&[PropertyId::PayloadFormat as u8, 1]);
                Some(())
            });
        }
        if let Some((_, text)) = self.content_type {
            block.put(|out| string(out, PropertyId::ContentType, text.as_bytes()));
        }
        if let Some((_, topic)) = self.response {
            block.put(|out| string(out, PropertyId::ResponseTopic, topic.as_bytes()));
        }
        if let Some((_, data)) = self.correlation {
            block.put(|out| string(out, PropertyId::CorrelationData, data));
        }
    }

    fn expires_ms(&self, timestamp_ms: i64) -> Option<u64> {
        let (_, seconds) = self.expiry_s?;
        let from = u64::try_from(timestamp_ms).ok()?;
        Some(from.saturating_add(u64::from(seconds) * 1000))
    }
}

/// The property block as far as it fits.
struct Block<'o> {
    out: &'o mut Vec<u8>,
    from: usize,
    bytes_max: usize,
    left_out: usize,
}

impl Block<'_> {
    fn put(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Option<()>) {
        let before = self.out.len();
        let written = write(self.out);
        if written.is_none() || self.out.len() - self.from > self.bytes_max {
            self.out.truncate(before);
            self.left_out += 1;
        }
    }

    fn user(&mut self, name: &str, value: &str) {
        self.put(|out| {
            string(out, PropertyId::UserProperty, name.as_bytes())?;
            length_and_bytes(out, value.as_bytes())
        });
    }

    fn header(&mut self, name: &[u8], value: &[u8]) {
        let name = printable(name);
        match text(value) {
            Some(text) => self.user(&user_name(&name), text),
            None => self.user(&format!("{BASE64_ESCAPE}{name}"), &STANDARD.encode(value)),
        }
    }

    fn coordinates(&mut self, whence: &Whence<'_>, record: &Record<'_>) {
        self.user("kafka-topic", whence.log);
        self.user("kafka-partition", &whence.partition.to_string());
        self.user("kafka-offset", &record.offset.to_string());
        if record.timestamp_ms >= 0 {
            self.user("kafka-timestamp", &record.timestamp_ms.to_string());
        }
        match record.key.map(|key| (key, text(key))) {
            None => {}
            Some((_, Some(text))) => self.user("kafka-key", text),
            Some((key, None)) => self.user("kafka-key-base64", &STANDARD.encode(key)),
        }
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

fn string(out: &mut Vec<u8>, id: PropertyId, bytes: &[u8]) -> Option<()> {
    out.push(id as u8);
    length_and_bytes(out, bytes)
}

fn length_and_bytes(out: &mut Vec<u8>, bytes: &[u8]) -> Option<()> {
    out.extend_from_slice(&u16::try_from(bytes.len()).ok()?.to_be_bytes());
    out.extend_from_slice(bytes);
    Some(())
}
