//! Texts with places that a log's record fills in. Part of `bridge`; pure.
//!
//! | written | becomes |
//! |---|---|
//! | `{key}` | the record's key, which must be text |
//! | `{partition}` | the number of its partition |
//! | `{offset}` | its offset |
//! | `{log}` | the log's name |
//! | `{timestamp}` | its timestamp, ms since 1970 |
//! | `{header:NAME}` | the last header NAME, which must be text |
//! | `{json:/pointer}` | a text, number or truth value of a JSON value (RFC 6901) |
//! | `{{`, `}}` | a brace |

use std::io::Write;

use crate::bridge::json_pointer::JsonPointer;
use crate::bridge::places::{Piece, json_place, pieces};
use crate::bridge::template::{RENDERED_BYTES_MAX, RenderError};
use crate::broker::carry::Outgoing;

/// A compiled template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordTemplate {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Key,
    Partition,
    Offset,
    Log,
    Timestamp,
    Header(String),
    Json(JsonPointer),
}

impl RecordTemplate {
    /// Compiles `text`.
    ///
    /// # Errors
    /// What is wrong with it, in the user's words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts = pieces(text)?.into_iter().map(|piece| match piece {
            Piece::Text(text) => Ok(Part::Text(text)),
            Piece::Place(name) => Part::parse(name),
        });
        Ok(Self { parts: parts.collect::<Result<_, String>>()? })
    }

    /// The text, if it is the same for every record.
    #[must_use]
    pub fn fixed(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The parts that are the same for every record; what is filled in between is `None`.
    pub fn texts(&self) -> impl Iterator<Item = Option<&str>> {
        self.parts.iter().map(|part| if let Part::Text(text) = part { Some(&**text) } else { None })
    }

    /// Appends the filled text to `out`.
    ///
    /// # Errors
    /// The record lacks a value; what `out` then holds beyond its former end is of no use.
    pub fn render(&self, outgoing: &Outgoing<'_>, out: &mut Vec<u8>) -> Result<(), RenderError> {
        let (before, record) = (out.len(), outgoing.record);
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Key => out.extend_from_slice(text(record.key.ok_or(RenderError::NoKey)?)?),
                Part::Partition => number(out, i64::from(outgoing.partition)),
                Part::Offset => number(out, record.offset),
                Part::Log => out.extend_from_slice(outgoing.log.as_bytes()),
                Part::Timestamp if record.timestamp_ms < 0 => return Err(RenderError::NoTimestamp),
                Part::Timestamp => number(out, record.timestamp_ms),
                Part::Header(name) => {
                    let mut named = record.headers().filter(|(own, _)| *own == name.as_bytes());
                    let last = named.by_ref().last().and_then(|(_, value)| value);
                    out.extend_from_slice(text(last.ok_or(RenderError::NoHeader)?)?);
                }
                Part::Json(pointer) => pointer.find(record.value.unwrap_or_default(), out)?,
            }
            if out.len() - before > RENDERED_BYTES_MAX {
                return Err(RenderError::TooLong);
            }
        }
        Ok(())
    }
}

fn text(bytes: &[u8]) -> Result<&[u8], RenderError> {
    std::str::from_utf8(bytes).map(str::as_bytes).map_err(|_| RenderError::NotText)
}

fn number(out: &mut Vec<u8>, number: i64) {
    // Writing into memory does not fail.
    write!(out, "{number}").ok();
}

impl Part {
    fn parse(name: &str) -> Result<Self, String> {
        if let Some(header) = name.strip_prefix("header:").filter(|name| !name.is_empty()) {
            return Ok(Self::Header(header.to_owned()));
        }
        if let Some(pointer) = json_place(name)? {
            return Ok(Self::Json(pointer));
        }
        match name {
            "key" => Ok(Self::Key),
            "partition" => Ok(Self::Partition),
            "offset" => Ok(Self::Offset),
            "log" => Ok(Self::Log),
            "timestamp" => Ok(Self::Timestamp),
            _ => Err(format!(
                "`{{{name}}}` is unknown: expected {{key}}, {{partition}}, {{offset}}, {{log}}, \
                 {{timestamp}}, {{header:NAME}} or {{json:/pointer}}"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::RecordTemplate;
    use crate::bridge::template::RenderError;
    use crate::broker::carry::Outgoing;
    use crate::broker::logs::batch::build::{BatchBuilder, NewRecord};
    use crate::broker::logs::batch::records::records;

    fn render(text: &str, record: &NewRecord<'_>) -> Result<String, RenderError> {
        let mut builder = BatchBuilder::default();
        builder.push(record);
        let batch = builder.finish().unwrap();
        let record = records(&batch).unwrap().next().unwrap().unwrap();
        let outgoing = Outgoing { log: "orders", partition: 3, record: &record };
        let mut out = b"kept:".to_vec();
        RecordTemplate::parse(text).unwrap().render(&outgoing, &mut out)?;
        Ok(String::from_utf8(out.split_off(5)).unwrap())
    }

    const HEADERS: &[(&str, &[u8])] = &[("h", b"1"), ("h", b"2"), ("raw", &[0xff])];

    const RECORD: NewRecord<'_> = NewRecord {
        timestamp_ms: 1_700_000_000_000,
        key: Some(b"dev/7"),
        value: Some(br#"{"id": 42}"#),
        headers: HEADERS,
    };

    #[test]
    fn every_place_is_filled() {
        for (text, filled) in [
            ("{key}", "dev/7"),
            ("{log}/{partition}/{offset}", "orders/3/0"),
            ("{timestamp}", "1700000000000"),
            ("{header:h}", "2"),
            ("{json:/id}", "42"),
            ("{{{key}}}", "{dev/7}"),
            ("", ""),
        ] {
            assert_eq!(render(text, &RECORD).as_deref(), Ok(filled), "{text}");
        }
    }

    #[test]
    fn what_a_record_lacks_is_an_error_not_an_empty_text() {
        assert_eq!(render("{key}", &NewRecord { key: None, ..RECORD }), Err(RenderError::NoKey));
        let binary = NewRecord { key: Some(&[0xc3]), ..RECORD };
        assert_eq!(render("{key}", &binary), Err(RenderError::NotText));
        assert_eq!(render("{header:x}", &RECORD), Err(RenderError::NoHeader));
        assert_eq!(render("{header:raw}", &RECORD), Err(RenderError::NotText));
        assert!(render("{json:/x}", &RECORD).is_err());
        assert!(render("{json:/x}", &NewRecord { value: None, ..RECORD }).is_err());
        let never = NewRecord { timestamp_ms: -1, ..RECORD };
        assert_eq!(render("{timestamp}", &never), Err(RenderError::NoTimestamp));
        let long = "x".repeat(100 << 10);
        let long = NewRecord { key: Some(long.as_bytes()), ..RECORD };
        assert_eq!(render("{key}{key}", &long), Err(RenderError::TooLong));
    }

    #[test]
    fn unknown_places_are_refused() {
        for text in ["{1}", "{topic}", "{Key}", "{header:}", "{json:id}", "{", "}", "{}"] {
            assert!(RecordTemplate::parse(text).is_err(), "{text}");
        }
    }
}
