//! Texts with places to fill in, compiled against a route's filter. Part of `bridge`; pure.
//!
//! | written | becomes |
//! |---|---|
//! | `{1}`, `{2}` … | the level that the filter's first, second … `+` stands for |
//! | `{#}` | what the final `#` stands for, with its slashes; nothing when it stands for the parent |
//! | `{topic}` | the topic |
//! | `{clientid}` | the publisher's client identifier |
//! | `{username}` | the publisher's user name; nobody's has none |
//! | `{user:NAME}` | the first user property NAME |
//! | `{json:/pointer}` | a text, number or truth value of a JSON payload (RFC 6901) |
//! | `{{`, `}}` | a brace |
//!
//! A level that `+` stands for has the same place in the topic as in the filter, so a capture compiles to that
//! place and nothing is captured per message.

use crate::bridge::json_pointer::{JsonPointer, PointerError};
use crate::bridge::places::{Piece, json_place, pieces};
use crate::metrics::label::RouteFailure;
use crate::model::property::user_property;
use crate::model::topic::TopicFilter;

/// Longest rendered text, bytes: every topic fits.
pub const RENDERED_BYTES_MAX: usize = 128 << 10;

/// What templates are filled from: one publish, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct RouteContext<'a> {
    /// Matched by the route's filter.
    pub topic: &'a str,
    /// The publisher's client identifier.
    pub client_id: &'a str,
    /// The publisher's user name, if it has logged in.
    pub username: Option<&'a str>,
    /// Property block, see `model::message`.
    pub properties: &'a [u8],
    /// Application data.
    pub payload: &'a [u8],
}

/// Why a template could not be filled from a message: the message's fault, not the broker's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// The publisher has not logged in.
    #[error("the publisher has no user name")]
    NoUserName,
    /// No user property has that name.
    #[error("the message lacks a user property")]
    NoUserProperty,
    /// The topic has fewer levels than the filter: it was not matched by it.
    #[error("the topic does not match the route's filter")]
    NoLevel,
    /// The payload gives no value.
    #[error(transparent)]
    Json(#[from] PointerError),
    /// Longer than [`RENDERED_BYTES_MAX`].
    #[error("the rendered text is too long")]
    TooLong,
    /// What was rendered cannot be a log's name.
    #[error("the rendered log name is not 1 to 249 letters, digits, `.`, `_`, `-`")]
    BadLogName,
    /// The address has no counterpart on the other side.
    #[error("the topic or routing key has no counterpart")]
    Unmapped,
    /// What was rendered is no partition of the log.
    #[error("the rendered partition is no number below the log's partitions")]
    BadPartition,
    /// The record has no key.
    #[error("the record has no key")]
    NoKey,
    /// No header of the record has that name, or it is null.
    #[error("the record lacks a header")]
    NoHeader,
    /// The record has no timestamp.
    #[error("the record has no timestamp")]
    NoTimestamp,
    /// The record's key or header is not UTF-8.
    #[error("the record's key or header is no text")]
    NotText,
}

impl RenderError {
    /// The reason as metrics count it.
    #[must_use]
    pub fn failure(self) -> RouteFailure {
        match self {
            Self::NoUserName
            | Self::NoUserProperty
            | Self::NoLevel
            | Self::NoKey
            | Self::NoHeader
            | Self::NoTimestamp
            | Self::Json(PointerError::Absent) => RouteFailure::MissingValue,
            Self::Json(PointerError::NotJson) => RouteFailure::NotJson,
            Self::TooLong => RouteFailure::TooLong,
            Self::BadLogName => RouteFailure::BadLogName,
            Self::BadPartition => RouteFailure::BadPartition,
            Self::Unmapped => RouteFailure::Unmapped,
            Self::NotText => RouteFailure::NotText,
        }
    }
}

/// A compiled template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// The topic's level at this place, from 0.
    Level(usize),
    /// Everything from the topic's level at this place on.
    Tail(usize),
    Topic,
    ClientId,
    UserName,
    UserProperty(String),
    Json(JsonPointer),
}

impl Template {
    /// Compiles `text` for messages that `filter` matches.
    ///
    /// # Errors
    /// What is wrong with it, in the user's words.
    pub fn parse(text: &str, filter: &TopicFilter) -> Result<Self, String> {
        let parts = pieces(text)?.into_iter().map(|piece| match piece {
            Piece::Text(text) => Ok(Part::Text(text)),
            Piece::Place(name) => Part::parse(name, filter),
        });
        Ok(Self { parts: parts.collect::<Result<_, String>>()? })
    }

    /// The text, if it is the same for every message.
    #[must_use]
    pub fn fixed(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Whether it is the same for every message of a topic and a publisher.
    #[must_use]
    pub fn is_of_address(&self) -> bool {
        !self.parts.iter().any(|part| matches!(part, Part::UserProperty(_) | Part::Json(_)))
    }

    /// Whether it asks who published.
    #[must_use]
    pub fn asks_publisher(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::ClientId | Part::UserName))
    }

    /// The parts that are the same for every message.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        self.parts
            .iter()
            .filter_map(|part| if let Part::Text(text) = part { Some(text.as_str()) } else { None })
    }

    /// Appends the filled text to `out`.
    ///
    /// # Errors
    /// The message lacks a value; what `out` then holds beyond its former end is of no use.
    pub fn render(&self, message: &RouteContext<'_>, out: &mut Vec<u8>) -> Result<(), RenderError> {
        self.render_with(message, out, |value, out| {
            out.extend_from_slice(value.as_bytes());
            Ok(())
        })
    }

    /// The same, with what is filled in put through `fill`.
    ///
    /// # Errors
    /// As [`Self::render`], and those of `fill`.
    pub fn render_with(
        &self,
        message: &RouteContext<'_>,
        out: &mut Vec<u8>,
        fill: impl Fn(&str, &mut Vec<u8>) -> Result<(), RenderError>,
    ) -> Result<(), RenderError> {
        let before = out.len();
        for part in &self.parts {
            let text = match part {
                Part::Text(text) => {
                    out.extend_from_slice(text.as_bytes());
                    continue;
                }
                Part::Level(place) => {
                    message.topic.split('/').nth(*place).ok_or(RenderError::NoLevel)?
                }
                Part::Tail(0) | Part::Topic => message.topic,
                // Nothing follows the parent that a final `#` stands for too [MQTT-4.7.1-2].
                Part::Tail(place) => {
                    message.topic.splitn(place + 1, '/').nth(*place).unwrap_or_default()
                }
                Part::ClientId => message.client_id,
                Part::UserName => message.username.ok_or(RenderError::NoUserName)?,
                Part::UserProperty(name) => {
                    user_property(message.properties, name).ok_or(RenderError::NoUserProperty)?
                }
                Part::Json(pointer) => {
                    pointer.find(message.payload, out)?;
                    ""
                }
            };
            fill(text, out)?;
            if out.len() - before > RENDERED_BYTES_MAX {
                return Err(RenderError::TooLong);
            }
        }
        Ok(())
    }
}

impl Part {
    fn parse(name: &str, filter: &TopicFilter) -> Result<Self, String> {
        if let Some(property) = name.strip_prefix("user:").filter(|name| !name.is_empty()) {
            return Ok(Self::UserProperty(property.to_owned()));
        }
        if let Some(pointer) = json_place(name)? {
            return Ok(Self::Json(pointer));
        }
        match name {
            "topic" => Ok(Self::Topic),
            "clientid" => Ok(Self::ClientId),
            "username" => Ok(Self::UserName),
            "#" => {
                let place = filter.levels().position(|level| level == "#").map(Self::Tail);
                place.ok_or_else(|| format!("`{{#}}`: the filter `{filter}` has no `#`"))
            }
            _ => {
                let number: usize = name.parse().map_err(|_| unknown(name))?;
                let mut wild = filter.levels().enumerate().filter(|(_, level)| *level == "+");
                let place = number.checked_sub(1).and_then(|index| wild.nth(index));
                place
                    .map(|(place, _)| Self::Level(place))
                    .ok_or_else(|| format!("`{{{number}}}`: the filter `{filter}` has no such `+`"))
            }
        }
    }
}

fn unknown(name: &str) -> String {
    format!(
        "`{{{name}}}` is unknown: expected {{1}}, {{2}} …, {{#}}, {{topic}}, {{clientid}}, {{username}}, \
         {{user:NAME}} or {{json:/pointer}}"
    )
}

#[cfg(test)]
mod tests {
    use super::{RENDERED_BYTES_MAX, RenderError, RouteContext, Template};
    use crate::bridge::json_pointer::PointerError;
    use crate::model::property::{Property, tests::block};
    use crate::model::topic::TopicFilter;

    fn template(text: &str, filter: &str) -> Result<Template, String> {
        Template::parse(text, &TopicFilter::parse(filter).unwrap())
    }

    fn render(text: &str, filter: &str, message: &RouteContext<'_>) -> Result<String, RenderError> {
        let mut out = b"kept:".to_vec();
        template(text, filter).unwrap().render(message, &mut out)?;
        Ok(String::from_utf8(out.split_off(5)).unwrap())
    }

    const MESSAGE: RouteContext<'_> = RouteContext {
        topic: "factory/7/telemetry/oven/left",
        client_id: "dev-1",
        username: Some("ann"),
        properties: &[],
        payload: br#"{"id": 42, "at": {"line": "A"}}"#,
    };

    #[test]
    fn every_place_is_filled() {
        let block = block(&[Property::User("tenant", "t1"), Property::User("tenant", "t2")]);
        let message = RouteContext { properties: &block, ..MESSAGE };
        let filter = "factory/+/telemetry/#";
        for (text, filled) in [
            ("{1}", "7"),
            ("{#}", "oven/left"),
            ("{topic}", "factory/7/telemetry/oven/left"),
            ("{clientid}:{username}", "dev-1:ann"),
            ("x-{user:tenant}-y", "x-t1-y"),
            ("{json:/id}/{json:/at/line}", "42/A"),
            ("{{{1}}}", "{7}"),
            ("", ""),
            ("é{1}ü", "é7ü"),
        ] {
            assert_eq!(render(text, filter, &message).as_deref(), Ok(filled), "{text}");
        }
        assert_eq!(render("{2}{1}", "+/+/#", &message).as_deref(), Ok("7factory"));
        assert_eq!(render("{#}", "#", &message).as_deref(), Ok(MESSAGE.topic));
        assert_eq!(
            render("[{#}]", "factory/7/telemetry/oven/left/#", &message).as_deref(),
            Ok("[]")
        );
        assert_eq!(
            render("[{#}]", "a/#", &RouteContext { topic: "a/", ..MESSAGE }).as_deref(),
            Ok("[]")
        );
        assert_eq!(
            render("[{1}]", "a/+", &RouteContext { topic: "a/", ..MESSAGE }).as_deref(),
            Ok("[]")
        );
    }

    #[test]
    fn a_missing_value_is_an_error_not_an_empty_text() {
        let nobody = RouteContext { username: None, payload: b"plain", ..MESSAGE };
        assert_eq!(render("{username}", "#", &nobody), Err(RenderError::NoUserName));
        assert_eq!(render("{user:x}", "#", &nobody), Err(RenderError::NoUserProperty));
        assert_eq!(
            render("{json:/x}", "#", &nobody),
            Err(RenderError::Json(PointerError::NotJson))
        );
        assert_eq!(
            render("{json:/x}", "#", &MESSAGE),
            Err(RenderError::Json(PointerError::Absent))
        );
        let long = RouteContext { topic: &"x".repeat(RENDERED_BYTES_MAX / 2), ..MESSAGE };
        assert_eq!(render("{topic}{topic}{topic}", "#", &long), Err(RenderError::TooLong));
    }

    #[test]
    fn what_cannot_be_filled_is_refused_at_load() {
        for (text, filter) in [
            ("{2}", "a/+"),
            ("{0}", "+"),
            ("{1}", "#"),
            ("{#}", "a/+"),
            ("{", "#"),
            ("}", "#"),
            ("{1", "+"),
            ("{1}}", "+"),
            ("{}", "#"),
            ("{user:}", "#"),
            ("{json:x}", "#"),
            ("{Topic}", "#"),
            ("{-1}", "+"),
        ] {
            assert!(template(text, filter).is_err(), "{text} for {filter}");
        }
    }

    #[test]
    fn a_text_without_places_is_fixed() {
        assert_eq!(template("a{{b", "#").unwrap().fixed(), Some("a{b"));
        assert_eq!(template("", "#").unwrap().fixed(), Some(""));
        assert_eq!(template("a{topic}", "#").unwrap().fixed(), None);
    }
}
