//! CreatePartitions (37), versions 0–3: adds partitions to logs. Part of `kafka/codec`.
//!
//! | request | versions |
//! |---|---|
//! | `[` name `s`, count `i32`, assignments `?[` brokers `[i32]`, tags `]`, tags `]` | 0– |
//! | timeout `i32` ms, validate only `bool` | 0– |
//! | tags | 2– |
//!
//! | response | versions |
//! |---|---|
//! | throttle time `i32` ms | 0– |
//! | `[` name `s`, error `i16`, error message `?s`, tags `]` | 0– |
//! | tags | 2– |

use crate::kafka::codec::primitives::{DecodeError, Reader, Writer};

/// Which logs grow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatePartitionsRequest<'a> {
    /// One by one.
    pub topics: Vec<GrownTopic<'a>>,
    /// How long the client waits.
    pub timeout_ms: i32,
    /// Check, change nothing.
    pub validate_only: bool,
}

/// A log to grow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrownTopic<'a> {
    /// Its name.
    pub name: &'a str,
    /// The partitions that it shall have, old and new.
    pub count: i32,
    /// The brokers of each new partition; `None` leaves that to this broker.
    pub assignments: Option<Vec<Vec<i32>>>,
}

impl<'a> CreatePartitionsRequest<'a> {
    /// Reads a body; every version has the same fields.
    ///
    /// # Errors
    /// If the body does not follow the layout.
    pub fn decode(mut reader: Reader<'a>) -> Result<Self, DecodeError> {
        let topics = reader.array(|reader| {
            let name = reader.string()?;
            let count = reader.i32()?;
            let assignments = reader.nullable_array(|reader| {
                let brokers = reader.array(Reader::i32)?;
                reader.end()?;
                Ok(brokers)
            })?;
            reader.end()?;
            Ok(GrownTopic { name, count, assignments })
        })?;
        let timeout_ms = reader.i32()?;
        let validate_only = reader.bool()?;
        reader.end()?;
        Ok(Self { topics, timeout_ms, validate_only })
    }
}

/// What became of one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicGrown {
    /// Its name.
    pub name: String,
    /// 0, or why it has not grown.
    pub error_code: i16,
    /// The reason in words.
    pub error_message: Option<String>,
}

/// Writes the body; every version has the same fields.
pub fn encode_response(writer: &mut Writer, topics: &[TopicGrown]) {
    writer.i32(0);
    writer.array(topics, |writer, topic| {
        writer.string(&topic.name);
        writer.i16(topic.error_code);
        writer.nullable_string(topic.error_message.as_deref());
        writer.end();
    });
    writer.end();
}
