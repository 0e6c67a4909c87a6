//! CreateTopics (19), versions 2–7: creates logs. Part of `kafka/codec`.
//!
//! | request | versions |
//! |---|---|
//! | `[` name `s`, partitions `i32`, replication factor `i16`, assignments, configs, tags `]` | 2– |
//! | assignments `[` partition `i32`, brokers `[i32]`, tags `]` | 2– |
//! | configs `[` name `s`, value `?s`, tags `]` | 2– |
//! | timeout `i32` ms, validate only `bool` | 2– |
//! | tags | 5– |
//!
//! Partitions and replication factor may be −1, "the broker's default", from version 4 (KIP-464).
//!
//! | response | versions |
//! |---|---|
//! | throttle time `i32` ms | 2– |
//! | `[` name `s`, topic id `uuid` (7–), error `i16`, error message `?s` | 2– |
//! | … partitions `i32`, replication factor `i16`, configs `?[` name `s`, value `?s`, read only `bool`, source `i8`, sensitive `bool`, tags `]` | 5– |
//! | … tags `]`, tags | 5– |

use crate::kafka::codec::primitives::{DecodeError, Reader, Writer};

/// A config value that the log sets for itself (`DYNAMIC_TOPIC_CONFIG`).
pub const SOURCE_TOPIC: i8 = 1;
/// A config value that is the default (`DEFAULT_CONFIG`).
pub const SOURCE_DEFAULT: i8 = 5;

/// The logs to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateTopicsRequest<'a> {
    /// One by one.
    pub topics: Vec<NewTopic<'a>>,
    /// How long the client waits.
    pub timeout_ms: i32,
    /// Check, change nothing.
    pub validate_only: bool,
}

/// A log to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic<'a> {
    /// Its name.
    pub name: &'a str,
    /// −1 for the default, or when `assignments` say.
    pub partitions: i32,
    /// −1 for the default, or when `assignments` say.
    pub replication_factor: i16,
    /// Which brokers hold which partition; usually empty.
    pub assignments: Vec<Assignment>,
    /// Its settings.
    pub configs: Vec<(&'a str, Option<&'a str>)>,
}

/// The brokers of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The partition.
    pub partition: i32,
    /// Its replicas.
    pub brokers: Vec<i32>,
}

impl<'a> CreateTopicsRequest<'a> {
    /// Reads a body; the layout is one from version 2 to 7.
    pub fn decode(mut reader: Reader<'a>) -> Result<Self, DecodeError> {
        let topics = reader.array(|reader| {
            let name = reader.string()?;
            let partitions = reader.i32()?;
            let replication_factor = reader.i16()?;
            let assignments = reader.array(|reader| {
                let assignment =
                    Assignment { partition: reader.i32()?, brokers: reader.array(Reader::i32)? };
                reader.end()?;
                Ok(assignment)
            })?;
            let configs = reader.array(|reader| {
                let config = (reader.string()?, reader.nullable_string()?);
                reader.end()?;
                Ok(config)
            })?;
            reader.end()?;
            Ok(NewTopic { name, partitions, replication_factor, assignments, configs })
        })?;
        let timeout_ms = reader.i32()?;
        let validate_only = reader.bool()?;
        reader.end()?;
        Ok(Self { topics, timeout_ms, validate_only })
    }
}

/// A setting of a created log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedConfig {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// [`SOURCE_TOPIC`] or [`SOURCE_DEFAULT`].
    pub source: i8,
}

/// What became of one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicResult {
    /// Its name.
    pub name: String,
    /// All zero if it was not created.
    pub id: [u8; 16],
    /// 0, or why it was not created.
    pub error_code: i16,
    /// The reason in words.
    pub error_message: Option<String>,
    /// −1 if it was not created.
    pub partitions: i32,
    /// −1 if it was not created.
    pub replication_factor: i16,
    /// The settings in force.
    pub configs: Vec<CreatedConfig>,
}

/// Writes the body at `version`.
pub fn encode_response(writer: &mut Writer, version: i16, topics: &[TopicResult]) {
    writer.i32(0);
    writer.array(topics, |writer, topic| {
        writer.string(&topic.name);
        if version >= 7 {
            writer.uuid(&topic.id);
        }
        writer.i16(topic.error_code);
        writer.nullable_string(topic.error_message.as_deref());
        if version >= 5 {
            writer.i32(topic.partitions);
            writer.i16(topic.replication_factor);
            writer.array(&topic.configs, |writer, config| {
                writer.string(&config.name);
                writer.nullable_string(Some(&config.value));
                writer.bool(false);
                writer.i8(config.source);
                writer.bool(false);
                writer.end();
            });
        }
        writer.end();
    });
    writer.end();
}
