//! DeleteTopics (20), versions 1–6: deletes logs. Part of `kafka/codec`.
//!
//! | request | versions |
//! |---|---|
//! | names `[s]` | 1–5 |
//! | `[` name `?s`, topic id `uuid`, tags `]`: one of the two | 6– |
//! | timeout `i32` ms | 1– |
//! | tags | 4– |
//!
//! | response | versions |
//! |---|---|
//! | throttle time `i32` ms | 1– |
//! | `[` name `s` (`?` from 6), topic id `uuid` (6–), error `i16`, error message `?s` (5–), tags `]` | 1– |
//! | tags | 4– |

use crate::kafka::codec::primitives::{DecodeError, Reader, Writer};

/// Which logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteTopicsRequest<'a> {
    /// One by one.
    pub topics: Vec<DoomedTopic<'a>>,
    /// How long the client waits.
    pub timeout_ms: i32,
}

/// A log to delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DoomedTopic<'a> {
    /// `None` if named by id. Kafka refuses a request that names a log by both.
    pub name: Option<&'a str>,
    /// All zero if named by name.
    pub id: [u8; 16],
}

impl<'a> DeleteTopicsRequest<'a> {
    /// Reads a body laid out at `version`.
    ///
    /// # Errors
    /// If the body does not follow that layout.
    pub fn decode(mut reader: Reader<'a>, version: i16) -> Result<Self, DecodeError> {
        let topics = reader.array(|reader| {
            if version <= 5 {
                return Ok(DoomedTopic { name: Some(reader.string()?), id: [0; 16] });
            }
            let topic = DoomedTopic { name: reader.nullable_string()?, id: reader.uuid()? };
            reader.end()?;
            Ok(topic)
        })?;
        let timeout_ms = reader.i32()?;
        reader.end()?;
        Ok(Self { topics, timeout_ms })
    }
}

/// What became of one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDeleted {
    /// `None` if an id was asked for that nobody has, or that the client may not know; sent empty below version 6.
    pub name: Option<String>,
    /// All zero if unknown.
    pub id: [u8; 16],
    /// 0, or why it is still there.
    pub error_code: i16,
    /// The reason in words.
    pub error_message: Option<String>,
}

/// Writes the body at `version`.
pub fn encode_response(writer: &mut Writer, version: i16, topics: &[TopicDeleted]) {
    writer.i32(0);
    writer.array(topics, |writer, topic| {
        if version >= 6 {
            writer.nullable_string(topic.name.as_deref());
            writer.uuid(&topic.id);
        } else {
            writer.string(topic.name.as_deref().unwrap_or_default());
        }
        writer.i16(topic.error_code);
        if version >= 5 {
            writer.nullable_string(topic.error_message.as_deref());
        }
        writer.end();
    });
    writer.end();
}
