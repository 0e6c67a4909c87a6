//! An MQTT message's metadata as an AMQP content block. Part of `model/crossing`; pure.

use std::borrow::Cow;
use std::collections::HashSet;

use crate::model::content::edit::{Editor, SHORT_STRING_BYTES_MAX};
use crate::model::content::{ContentField, Properties};
use crate::model::crossing::names::{
    MQTT_CLIENT_ID, MQTT_CONTENT_TYPE, MQTT_PAYLOAD_FORMAT, MQTT_RESPONSE_TOPIC, MQTT_RETAIN,
    MQTT_USER_PROPERTIES, MQTT_WILL, Target, UTF_8, X_CORRELATION_ID, X_REPLY_TO_TOPIC,
    is_reserved, target,
};
use crate::model::crossing::text::is_polite;
use crate::model::crossing::to_topic::user_properties;
use crate::model::field_table::FieldValue;
use crate::model::field_table::write::{TableWriter, WriteError};
use crate::model::property::{Property, properties};
use crate::model::qos::QoS;
use crate::model::routing_key::{to_key, to_topic};

/// What an MQTT message says about itself, topic and payload apart.
#[derive(Clone, Copy, Debug)]
pub struct TopicMetadata<'a> {
    /// Property block, valid.
    pub properties: &'a [u8],
    /// The publisher's promise.
    pub qos: QoS,
    /// The retain flag as published.
    pub retain: bool,
    /// Whether it is a will.
    pub will: bool,
    /// What remains of its life.
    pub expires_in_ms: Option<u64>,
    /// Put into the headers where given.
    pub client_id: Option<&'a str>,
    /// The publisher's login: the only one that `amqp-user-id` may name to become `user-id`.
    pub login: Option<&'a str>,
}

/// Appends the content block of a message to `out`, at most `bytes_max` bytes of it, and gives back how many
/// of the user properties and of what else takes a header found no room in them. `bytes_max` below 2,400
/// may be passed by the properties that are no headers; a frame of 4,096 bytes, the smallest there is, has
/// room for all of those.
pub fn topic_to_content(message: &TopicMetadata<'_>, bytes_max: usize, out: &mut Vec<u8>) -> usize {
    let mut crossing = Crossing::default();
    crossing.own(message);
    let headers = Headers::of(message);
    let user = crossing.user(message);
    let room = bytes_max.saturating_sub(crossing.editor.len() + TABLE_LENGTH_BYTES);
    let mut table = Table { bytes: Vec::new(), room, left_out: 0 };
    headers.write(&mut table);
    for (name, value) in &user.headers {
        table.put(|writer| writer.put(name, FieldValue::LongString(value)));
    }
    let from = out.len();
    crossing.write(&table, out);
    let listed = user.repeated
        || user.nowhere > 0
        || (user.suspicious
            && !comes_back(out.get(from..).unwrap_or_default(), message.properties));
    if listed {
        if !table.put(|writer| list(writer, message.properties)) {
            table.left_out += user.nowhere;
        }
        out.truncate(from);
        crossing.write(&table, out);
    }
    table.left_out
}

const TABLE_LENGTH_BYTES: usize = 4;

/// The part that is no header.
#[derive(Default)]
struct Crossing<'a> {
    editor: Editor<'a>,
}

/// The user properties, sorted by where they go.
#[derive(Default)]
struct User<'a> {
    headers: Vec<(Cow<'a, str>, Cow<'a, [u8]>)>,
    /// Two go to the same place.
    repeated: bool,
    /// How many have a name too long for a header.
    nowhere: usize,
    /// Some might come back under another name or in another order.
    suspicious: bool,
}

impl<'a> Crossing<'a> {
    /// MQTT's own properties that have a place among AMQP's.
    fn own(&mut self, message: &TopicMetadata<'a>) {
        self.editor.delivery_mode(if message.qos == QoS::AtMostOnce { 1 } else { 2 });
        for property in properties(message.properties) {
            match property {
                Property::ContentType(text) => {
                    self.short(ContentField::ContentType, text.as_bytes().into());
                }
                Property::CorrelationData(data) if is_correlation_id(data) => {
                    self.short(ContentField::CorrelationId, data.into());
                }
                Property::CorrelationData(_)
                | Property::PayloadFormat(_)
                | Property::ResponseTopic(_)
                | Property::User(..) => {}
            }
        }
        if let Some(remaining) = message.expires_in_ms {
            self.short(ContentField::Expiration, remaining.to_string().into_bytes().into());
        }
    }

    /// Puts a short string; one that is too long has a header instead, see [`Headers`].
    fn short(&mut self, field: ContentField, value: Cow<'a, [u8]>) -> bool {
        self.editor.short_string(field, value).is_ok()
    }

    fn user(&mut self, message: &TopicMetadata<'a>) -> User<'a> {
        let mut user = User::default();
        let mut names: HashSet<Cow<'a, str>> = HashSet::new();
        for property in properties(message.properties) {
            let Property::User(name, value) = property else { continue };
            user.suspicious |= is_reserved(name) || !is_polite(name) || !is_polite(value);
            match target(name, value, message.login.map(str::as_bytes)) {
                Target::Field(field, value) => {
                    user.repeated |= self.editor.has(field) || !self.field(field, value);
                }
                Target::Header(name, value) if names.insert(name.clone()) => {
                    user.headers.push((name, value));
                }
                Target::Header(..) => user.repeated = true,
                Target::Nowhere => user.nowhere += 1,
            }
        }
        user
    }

    fn field(&mut self, field: ContentField, value: Cow<'a, [u8]>) -> bool {
        let number = || std::str::from_utf8(&value).ok()?.parse::<u64>().ok();
        match field {
            ContentField::Priority => {
                let Some(priority) = number().and_then(|number| u8::try_from(number).ok()) else {
                    return false;
                };
                self.editor.priority(priority);
                true
            }
            ContentField::Timestamp => {
                let Some(seconds) = number() else { return false };
                self.editor.timestamp(seconds);
                true
            }
            field => self.short(field, value),
        }
    }

    fn write(&self, headers: &Table, out: &mut Vec<u8>) {
        if headers.bytes.is_empty() {
            self.editor.write(out);
        } else {
            let mut editor = self.editor.clone();
            editor.headers(headers.bytes.as_slice()).write(out);
        }
    }
}

/// What the broker itself puts into the headers.
#[derive(Default)]
struct Headers<'a> {
    content_type: Option<&'a str>,
    correlation: Option<&'a [u8]>,
    response: Option<&'a str>,
    utf8: bool,
    retain: bool,
    will: bool,
    client_id: Option<&'a str>,
}

impl<'a> Headers<'a> {
    fn of(message: &TopicMetadata<'a>) -> Self {
        let mut headers = Self {
            retain: message.retain,
            will: message.will,
            client_id: message.client_id,
            ..Self::default()
        };
        for property in properties(message.properties) {
            match property {
                Property::ContentType(text) if text.len() > SHORT_STRING_BYTES_MAX => {
                    headers.content_type = Some(text);
                }
                Property::CorrelationData(data) if !is_correlation_id(data) => {
                    headers.correlation = Some(data);
                }
                Property::ResponseTopic(topic) => headers.response = Some(topic),
                Property::PayloadFormat(utf8) => headers.utf8 = utf8,
                Property::ContentType(_) | Property::CorrelationData(_) | Property::User(..) => {}
            }
        }
        headers
    }

    fn write(&self, table: &mut Table) {
        if let Some(data) = self.correlation {
            table.put(|writer| writer.put(X_CORRELATION_ID, FieldValue::Bytes(data)));
        }
        if let Some(topic) = self.response {
            let key = to_key(topic).ok().filter(|key| to_topic(key).as_deref() == Ok(topic));
            let (name, value) = match &key {
                Some(key) => (X_REPLY_TO_TOPIC, key.as_ref()),
                None => (MQTT_RESPONSE_TOPIC, topic),
            };
            table.put(|writer| writer.string(name, value));
        }
        if let Some(text) = self.content_type {
            table.put(|writer| writer.string(MQTT_CONTENT_TYPE, text));
        }
        if self.utf8 {
            table.put(|writer| writer.string(MQTT_PAYLOAD_FORMAT, UTF_8));
        }
        for (name, _) in
            [(MQTT_RETAIN, self.retain), (MQTT_WILL, self.will)].into_iter().filter(|(_, set)| *set)
        {
            table.put(|writer| writer.put(name, FieldValue::Bool(true)));
        }
        if let Some(id) = self.client_id {
            table.put(|writer| writer.string(MQTT_CLIENT_ID, id));
        }
    }
}

/// The headers as far as they fit.
struct Table {
    bytes: Vec<u8>,
    room: usize,
    left_out: usize,
}

impl Table {
    /// Whether what `write` appends fits.
    fn put(&mut self, write: impl FnOnce(&mut TableWriter<'_>) -> Result<(), WriteError>) -> bool {
        let from = self.bytes.len();
        let written = write(&mut TableWriter::new(&mut self.bytes));
        let fits = written.is_ok() && self.bytes.len() <= self.room;
        if !fits {
            self.bytes.truncate(from);
            self.left_out += 1;
        }
        fits
    }
}

/// Whether correlation data can be a short string that every client can read.
fn is_correlation_id(data: &[u8]) -> bool {
    data.len() <= SHORT_STRING_BYTES_MAX && std::str::from_utf8(data).is_ok()
}

/// Whether the user properties of `block` are, in their order, what `content` gives back.
fn comes_back(content: &[u8], block: &[u8]) -> bool {
    let mut expected = properties(block).filter_map(|property| match property {
        Property::User(name, value) => Some((name, value)),
        _ => None,
    });
    let mut same = true;
    let content = Properties::stored(content);
    user_properties(&content, |name, value| same &= expected.next() == Some((name, value)));
    same && expected.next().is_none()
}

fn list(writer: &mut TableWriter<'_>, block: &[u8]) -> Result<(), WriteError> {
    writer.array(MQTT_USER_PROPERTIES, |array| {
        for property in properties(block) {
            let Property::User(name, value) = property else { continue };
            array.array(|pair| {
                pair.string(name)?;
                pair.string(value)
            })?;
        }
        Ok(())
    })
}
