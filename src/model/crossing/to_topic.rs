//! An AMQP message's metadata as an MQTT property block. Part of `model/crossing`; pure.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::model::content::{ContentField, Properties, expiration_ms};
use crate::model::crossing::block::BlockWriter;
use crate::model::crossing::names::{
    CARRIED, MQTT_CLIENT_ID, MQTT_CONTENT_TYPE, MQTT_PAYLOAD_FORMAT, MQTT_RESPONSE_TOPIC,
    MQTT_RETAIN, MQTT_USER_PROPERTIES, MQTT_WILL, Target, UTF_8, X_CORRELATION_ID,
    X_REPLY_TO_TOPIC, base64, carried_bytes, is_mqtt_text, target, user_name,
};
use crate::model::crossing::text::{STRING_BYTES_MAX, is_polite, value_bytes};
use crate::model::field_table::{FieldArray, FieldTable, FieldValue};
use crate::model::message::PropertyId;
use crate::model::routing_key;
use crate::model::topic::check_topic_name;

/// What an AMQP message says that has no place in a property block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContentMetadata {
    /// Whether it asks to be retained (header `mqtt-retain`).
    pub retain: bool,
    /// `expiration`, where it is valid.
    pub expires_in_ms: Option<u64>,
    /// How many properties found no room, or are longer than MQTT's strings.
    pub left_out: usize,
}

/// Appends the property block of a message to `out`, at most `bytes_max` bytes of it; delivery mode and
/// expiration are not in it.
pub fn content_to_topic(
    content: &Properties<'_>,
    bytes_max: usize,
    out: &mut Vec<u8>,
) -> ContentMetadata {
    let reading = Reading::of(content);
    let mut block = BlockWriter::new(out, bytes_max);
    if reading.utf8 {
        block.utf8_payload();
    }
    if let Some(text) = reading.content_type {
        block.string(PropertyId::ContentType, text.as_bytes());
    }
    if let Some(topic) = &reading.response {
        block.string(PropertyId::ResponseTopic, topic.as_bytes());
    }
    if let Some(data) = reading.correlation {
        block.string(PropertyId::CorrelationData, data);
    }
    let too_long = user_properties_of(content, &reading, |name, value| block.user(name, value));
    ContentMetadata {
        retain: reading.retain,
        expires_in_ms: content.expiration().and_then(|text| expiration_ms(text).ok()),
        left_out: block.left_out() + too_long,
    }
}

/// Calls `emit` with each user property that `content` becomes, in order; gives back how many are too long.
pub(super) fn user_properties(content: &Properties<'_>, emit: impl FnMut(&str, &str)) -> usize {
    user_properties_of(content, &Reading::of(content), emit)
}

fn user_properties_of(
    content: &Properties<'_>,
    reading: &Reading<'_>,
    emit: impl FnMut(&str, &str),
) -> usize {
    let mut user = User { emit, left_out: 0 };
    let listed = reading.list.map(|list| Listed::new(list, content, reading));
    for (name, value) in listed.iter().flat_map(|listed| listed.pairs(content)) {
        (user.emit)(name, value);
    }
    let covers = |place: &Place<'_>| listed.as_ref().is_some_and(|listed| listed.covers(place));
    for (field, name) in CARRIED {
        let text = field == ContentField::ContentType && reading.content_type_is_own;
        if text || covers(&Place::Field(field)) {
            continue;
        }
        if let Some(bytes) = carried_bytes(content, field) {
            user.bytes(name, &bytes);
        }
    }
    for (name, value) in content.headers().into_iter().flatten() {
        if reading.takes(name, &value) || covers(&Place::Header(name.into())) {
            continue;
        }
        match value_bytes(&value) {
            Some(bytes) => user.bytes(&user_name(name), &bytes),
            None => user.left_out += 1,
        }
    }
    user.left_out
}

/// What of the headers says something of the broker's own.
#[derive(Default)]
struct Reading<'a> {
    content_type: Option<&'a str>,
    /// Whether it is that of the property, not of the header.
    content_type_is_own: bool,
    correlation: Option<&'a [u8]>,
    correlation_is_own: bool,
    response: Option<Cow<'a, str>>,
    /// Which header said the response topic.
    response_from: &'static str,
    utf8: bool,
    retain: bool,
    list: Option<FieldArray<'a>>,
}

impl<'a> Reading<'a> {
    fn of(content: &Properties<'a>) -> Self {
        let text =
            |bytes: &'a [u8]| is_mqtt_text(bytes).then(|| std::str::from_utf8(bytes).ok())?;
        let content_type = content.content_type();
        let mut reading = Self {
            content_type: content_type.and_then(text),
            correlation: content.correlation_id(),
            correlation_is_own: content.correlation_id().is_some(),
            ..Self::default()
        };
        reading.content_type_is_own = reading.content_type.is_some();
        for (name, value) in content.headers().into_iter().flatten() {
            match name {
                MQTT_CONTENT_TYPE if content_type.is_none() && reading.content_type.is_none() => {
                    reading.content_type = value.as_str().and_then(|own| text(own.as_bytes()));
                }
                X_CORRELATION_ID if reading.correlation.is_none() => {
                    reading.correlation =
                        value.as_bytes().filter(|data| data.len() <= STRING_BYTES_MAX);
                }
                X_REPLY_TO_TOPIC | MQTT_RESPONSE_TOPIC if reading.response.is_none() => {
                    reading.response_topic(name, &value);
                }
                MQTT_PAYLOAD_FORMAT => reading.utf8 |= value.as_str() == Some(UTF_8),
                MQTT_RETAIN => reading.retain |= value.as_bool() == Some(true),
                MQTT_USER_PROPERTIES if reading.list.is_none() => reading.list = value.as_array(),
                _ => {}
            }
        }
        reading
    }

    fn response_topic(&mut self, name: &str, value: &FieldValue<'a>) {
        let Some(text) = value.as_str() else { return };
        if name == X_REPLY_TO_TOPIC {
            self.response = routing_key::to_topic(text).ok();
            self.response_from = X_REPLY_TO_TOPIC;
        } else {
            self.response = check_topic_name(text.as_bytes()).ok().map(Cow::Borrowed);
            self.response_from = MQTT_RESPONSE_TOPIC;
        }
    }

    /// Whether a header of this name is no user property.
    fn takes(&self, name: &str, value: &FieldValue<'_>) -> bool {
        match name {
            MQTT_CONTENT_TYPE => !self.content_type_is_own && self.content_type.is_some(),
            X_CORRELATION_ID => !self.correlation_is_own && self.correlation.is_some(),
            X_REPLY_TO_TOPIC | MQTT_RESPONSE_TOPIC => {
                self.response.is_some() && self.response_from == name
            }
            MQTT_PAYLOAD_FORMAT => value.as_str() == Some(UTF_8),
            MQTT_RETAIN | MQTT_WILL => value.as_bool().is_some(),
            MQTT_CLIENT_ID => value.as_str().is_some(),
            MQTT_USER_PROPERTIES => value.as_array().is_some(),
            _ => false,
        }
    }
}

/// A place in AMQP that a user property may come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Place<'a> {
    Field(ContentField),
    Header(Cow<'a, str>),
}

/// The array of all user properties, and which of its pairs still count.
struct Listed<'a> {
    list: FieldArray<'a>,
    /// For each place that the list speaks of, whether it still holds what the first pair for it says.
    live: HashMap<Place<'a>, bool>,
}

impl<'a> Listed<'a> {
    fn new(list: FieldArray<'a>, content: &Properties<'a>, reading: &Reading<'a>) -> Self {
        let headers = first_headers(content.headers().unwrap_or_default(), reading);
        let mut live: HashMap<Place<'a>, bool> = HashMap::new();
        for (name, value) in pairs(list) {
            let (place, said) = match target(name, value, content.user_id()) {
                Target::Field(field, said) => (Place::Field(field), said),
                Target::Header(header, said) => (Place::Header(header), said),
                Target::Nowhere => continue,
            };
            live.entry(place).or_insert_with_key(|place| match place {
                Place::Field(field) => carried_bytes(content, *field).as_ref() == Some(&said),
                Place::Header(name) => {
                    headers.get(name.as_ref()).and_then(|value| value.as_bytes()) == Some(&said)
                }
            });
        }
        Self { list, live }
    }

    fn covers(&self, place: &Place<'_>) -> bool {
        self.live.get(place).copied().unwrap_or(false)
    }

    /// The pairs that count. One whose name is too long for a header always does.
    fn pairs(&self, content: &Properties<'a>) -> impl Iterator<Item = (&'a str, &'a str)> {
        let login = content.user_id();
        pairs(self.list).filter(move |(name, value)| match target(name, value, login) {
            Target::Field(field, _) => self.covers(&Place::Field(field)),
            Target::Header(header, _) => self.covers(&Place::Header(header)),
            Target::Nowhere => true,
        })
    }
}

/// The first header of each name that is a user property.
fn first_headers<'a>(
    headers: FieldTable<'a>,
    reading: &Reading<'a>,
) -> HashMap<&'a str, FieldValue<'a>> {
    let mut first = HashMap::new();
    for (name, value) in headers.iter().filter(|(name, value)| !reading.takes(name, value)) {
        first.entry(name).or_insert(value);
    }
    first
}

/// The pairs of the array that MQTT can carry.
fn pairs(list: FieldArray<'_>) -> impl Iterator<Item = (&str, &str)> {
    list.iter().filter_map(|pair| {
        let mut pair = pair.as_array()?.iter();
        let (name, value) = (pair.next()?.as_str()?, pair.next()?.as_str()?);
        let valid = is_mqtt_text(name.as_bytes()) && is_mqtt_text(value.as_bytes());
        (valid && pair.next().is_none()).then_some((name, value))
    })
}

/// Emits user properties whose values may be any bytes.
struct User<F> {
    emit: F,
    left_out: usize,
}

impl<F: FnMut(&str, &str)> User<F> {
    fn bytes(&mut self, name: &str, bytes: &[u8]) {
        if let Ok(text) = std::str::from_utf8(bytes)
            && is_polite(text)
        {
            return (self.emit)(name, text);
        }
        let (name, text) = base64(name, bytes);
        if text.len() > STRING_BYTES_MAX {
            self.left_out += 1;
        } else {
            (self.emit)(&name, &text);
        }
    }
}
