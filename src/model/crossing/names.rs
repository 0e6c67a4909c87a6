//! Which MQTT user property is which AMQP header or property, both ways. Part of `model/crossing`; pure.
//!
//! Two prefixes keep the worlds apart: headers that begin with `mqtt-` are the broker's, user properties that
//! begin with `amqp-` are. A publisher's own name that looks like one of those is escaped on its way over and
//! comes back as it was.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::model::content::{ContentField, Properties};
use crate::model::crossing::text::is_polite;
use crate::model::field_table::write::NAME_BYTES_MAX;

/// Correlation data that is no short string.
pub const X_CORRELATION_ID: &str = "x-correlation-id";
/// The response topic's routing key.
pub const X_REPLY_TO_TOPIC: &str = "x-reply-to-topic";
/// A response topic that has no routing key.
pub const MQTT_RESPONSE_TOPIC: &str = "mqtt-response-topic";
/// A content type that is no short string.
pub const MQTT_CONTENT_TYPE: &str = "mqtt-content-type";
/// `utf-8` when the payload says it is.
pub const MQTT_PAYLOAD_FORMAT: &str = "mqtt-payload-format";
/// What [`MQTT_PAYLOAD_FORMAT`] says.
pub const UTF_8: &str = "utf-8";
/// True when published with the retain flag. What AMQP publishers put there is not acted on.
pub const MQTT_RETAIN: &str = "mqtt-retain";
/// True when it is a will.
pub const MQTT_WILL: &str = "mqtt-will";
/// The publisher's client identifier.
pub const MQTT_CLIENT_ID: &str = "mqtt-client-id";
/// All user properties in order.
pub const MQTT_USER_PROPERTIES: &str = "mqtt-user-properties";

const MQTT: &str = "mqtt-";
const AMQP: &str = "amqp-";
const USER_ESCAPE: &str = "mqtt-user-";
const HEADER_ESCAPE: &str = "amqp-header-";
const BASE64_ESCAPE: &str = "amqp-base64-";

/// AMQP properties that have no place of their own in MQTT, and the user properties that carry them. The
/// content type is among them for the case that it is no text.
pub(super) const CARRIED: [(ContentField, &str); 10] = [
    (ContentField::ContentType, "amqp-content-type"),
    (ContentField::ContentEncoding, "amqp-content-encoding"),
    (ContentField::Priority, "amqp-priority"),
    (ContentField::ReplyTo, "amqp-reply-to"),
    (ContentField::MessageId, "amqp-message-id"),
    (ContentField::Timestamp, "amqp-timestamp"),
    (ContentField::Type, "amqp-type"),
    (ContentField::UserId, "amqp-user-id"),
    (ContentField::AppId, "amqp-app-id"),
    (ContentField::ClusterId, "amqp-cluster-id"),
];

/// Where a user property goes in AMQP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target<'a> {
    /// A property, and what it says as [`carried_bytes`] gives it.
    Field(ContentField, Cow<'a, [u8]>),
    /// A header and its value.
    Header(Cow<'a, str>, Cow<'a, [u8]>),
    /// Its name is too long for a header.
    Nowhere,
}

/// The place of the user property `name`; `login` is whom a `user-id` may name.
pub(super) fn target<'a>(name: &'a str, value: &'a str, login: Option<&[u8]>) -> Target<'a> {
    let decoded = name.strip_prefix(BASE64_ESCAPE).and_then(|inner| Some((inner, decode(value)?)));
    let (name, value) = match decoded {
        Some((inner, bytes)) => (inner, Cow::Owned(bytes)),
        None => (name, Cow::Borrowed(value.as_bytes())),
    };
    let field = CARRIED.iter().find(|(_, own)| *own == name).map(|(field, _)| *field);
    if let Some(field) = field.filter(|field| is_field(*field, &value, login)) {
        return Target::Field(field, value);
    }
    let header = match name.strip_prefix(HEADER_ESCAPE) {
        Some(header) if is_escaped_header(header) => Cow::Borrowed(header),
        _ if is_reserved(name) => Cow::Owned(format!("{USER_ESCAPE}{name}")),
        _ => Cow::Borrowed(name),
    };
    if header.len() > NAME_BYTES_MAX { Target::Nowhere } else { Target::Header(header, value) }
}

/// The user property that a header, which holds nothing of the broker's, becomes.
pub(super) fn user_name(header: &str) -> Cow<'_, str> {
    let name: Cow<'_, str> = if is_escaped_header(header) {
        format!("{HEADER_ESCAPE}{header}").into()
    } else {
        header.strip_prefix(USER_ESCAPE).unwrap_or(header).into()
    };
    if is_polite(&name) { name } else { percent(&name).into() }
}

/// Name and value of the user property that carries bytes which are no text.
pub(super) fn base64(name: &str, bytes: &[u8]) -> (String, String) {
    (format!("{BASE64_ESCAPE}{name}"), STANDARD.encode(bytes))
}

/// What a property says, in bytes that a user property can carry.
pub(super) fn carried_bytes<'a>(
    content: &Properties<'a>,
    field: ContentField,
) -> Option<Cow<'a, [u8]>> {
    match field {
        ContentField::Priority => content.priority().map(|value| decimal(value.into())),
        ContentField::Timestamp => content.timestamp().map(decimal),
        field => content.short_string(field).map(Cow::Borrowed),
    }
}

/// Whether a user property of this name would need an escape as a header.
pub(super) fn is_reserved(name: &str) -> bool {
    name.starts_with(AMQP)
        || name.starts_with(MQTT)
        || name == X_CORRELATION_ID
        || name == X_REPLY_TO_TOPIC
}

fn is_escaped_header(header: &str) -> bool {
    let escape = header.starts_with(USER_ESCAPE) && header != MQTT_USER_PROPERTIES;
    is_reserved(header) && !escape
}

fn is_field(field: ContentField, value: &[u8], login: Option<&[u8]>) -> bool {
    let number = std::str::from_utf8(value).ok().and_then(|text| text.parse::<u64>().ok());
    let canonical = number.filter(|number| number.to_string().as_bytes() == value);
    match field {
        ContentField::Priority => canonical.is_some_and(|number| u8::try_from(number).is_ok()),
        ContentField::Timestamp => canonical.is_some(),
        ContentField::UserId => login == Some(value),
        // As text it is the Content Type property of MQTT.
        ContentField::ContentType => !is_mqtt_text(value) && value.len() <= NAME_BYTES_MAX,
        _ => value.len() <= NAME_BYTES_MAX,
    }
}

/// Whether MQTT lets `bytes` be a string [MQTT-1.5.4-1, MQTT-1.5.4-2].
pub(super) fn is_mqtt_text(bytes: &[u8]) -> bool {
    bytes.len() <= usize::from(u16::MAX)
        && !bytes.contains(&0)
        && std::str::from_utf8(bytes).is_ok()
}

/// The bytes of `text`, only if that is how [`base64`] would write them.
fn decode(text: &str) -> Option<Vec<u8>> {
    let bytes = STANDARD.decode(text).ok()?;
    let needed = !std::str::from_utf8(&bytes).is_ok_and(is_polite);
    (needed && STANDARD.encode(&bytes) == text).then_some(bytes)
}

fn decimal(number: u64) -> Cow<'static, [u8]> {
    number.to_string().into_bytes().into()
}

/// What MQTT lets a receiver refuse, and `%`, as `%` and two hexadecimal digits an octet. It does not come back.
fn percent(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 8);
    for character in name.chars() {
        let mut bytes = [0; 4];
        let encoded = character.encode_utf8(&mut bytes);
        if character != '%' && is_polite(encoded) {
            out.push(character);
        } else {
            for byte in encoded.bytes() {
                out.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    out
}
