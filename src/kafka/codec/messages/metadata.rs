//! Metadata (3), versions 0–13: the broker's address and the logs there are. Part of `kafka/codec`.
//!
//! | request | versions |
//! |---|---|
//! | `?[` topic id `uuid` (10–), name `s` (`?` from 10), tags `]`; all topics: empty in 0, null from 1 | 0– |
//! | allow auto-creation `bool` | 4– |
//! | include cluster operations `bool` | 8–10 |
//! | include topic operations `bool` | 8– |
//! | tags | 9– |
//!
//! | response | versions |
//! |---|---|
//! | throttle time `i32` ms | 3– |
//! | `[` node id `i32`, host `s`, port `i32`, rack `?s` (1–), tags `]` | 0– |
//! | cluster id `?s` | 2– |
//! | controller id `i32` | 1– |
//! | `[` error `i16`, name `s` (`?` from 12), topic id `uuid` (10–), internal `bool` (1–), partitions, topic operations `i32` (8–), tags `]` | 0– |
//! | partitions `[` error `i16`, index `i32`, leader `i32`, leader epoch `i32` (7–), replicas `[i32]`, in sync `[i32]`, offline `[i32]` (5–), tags `]` | 0– |
//! | cluster operations `i32` | 8–10 |
//! | error `i16` | 13 |
//! | tags | 9– |

use crate::kafka::codec::messages::keep_once;
use crate::kafka::codec::primitives::{DecodeError, Reader, Writer};

/// "Operations were not asked for" in the bit field of allowed operations.
pub const OPERATIONS_UNKNOWN: i32 = i32::MIN;

/// A log asked for, by name or, from version 10, by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TopicRequest<'a> {
    /// All zero if asked by name.
    pub id: [u8; 16],
    /// `None` if asked by id.
    pub name: Option<&'a str>,
}

/// Which logs, and whether unknown ones may be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataRequest<'a> {
    /// Each once; `None` asks for all.
    pub topics: Option<Vec<TopicRequest<'a>>>,
    /// Versions below 4 always allow it.
    pub allow_auto_creation: bool,
}

impl<'a> MetadataRequest<'a> {
    /// Reads a body laid out at `version`.
    pub fn decode(mut reader: Reader<'a>, version: i16) -> Result<Self, DecodeError> {
        let mut topics = reader.nullable_array(|reader| {
            let id = if version >= 10 { reader.uuid()? } else { [0; 16] };
            let name = reader.nullable_string()?;
            if name.is_none() && version < 10 {
                return Err(DecodeError::Null);
            }
            reader.end()?;
            Ok(TopicRequest { id, name })
        })?;
        if let Some(list) = &mut topics {
            keep_once(list);
        }
        if version == 0 {
            match &topics {
                None => return Err(DecodeError::Null),
                Some(list) if list.is_empty() => topics = None,
                Some(_) => {}
            }
        }
        let allow_auto_creation = if version >= 4 { reader.bool()? } else { true };
        if (8..=10).contains(&version) {
            reader.bool()?;
        }
        if version >= 8 {
            reader.bool()?;
        }
        reader.end()?;
        Ok(Self { topics, allow_auto_creation })
    }
}

/// One log in the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicMetadata {
    /// 0, or why the log is not described.
    pub error_code: i16,
    /// `None` only when an unknown id was asked for, from version 12; below that it is sent empty.
    pub name: Option<String>,
    /// All zero when unknown.
    pub id: [u8; 16],
    /// The leader epoch of each partition, by index.
    pub leader_epochs: Vec<i32>,
}

/// The one broker, and the logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataResponse<'a> {
    /// This broker's number: node, controller, leader and only replica of everything.
    pub node_id: i32,
    /// Where clients reach it.
    pub host: &'a str,
    /// Where clients reach it.
    pub port: u16,
    /// Names the cluster across restarts.
    pub cluster_id: &'a str,
    /// The logs.
    pub topics: Vec<TopicMetadata>,
}

impl MetadataResponse<'_> {
    /// Writes the body at `version`.
    pub fn encode(&self, writer: &mut Writer, version: i16) {
        if version >= 3 {
            writer.i32(0);
        }
        writer.array(&[()], |writer, ()| {
            writer.i32(self.node_id);
            writer.string(self.host);
            writer.i32(self.port.into());
            if version >= 1 {
                writer.nullable_string(None);
            }
            writer.end();
        });
        if version >= 2 {
            writer.nullable_string(Some(self.cluster_id));
        }
        if version >= 1 {
            writer.i32(self.node_id);
        }
        writer.array(&self.topics, |writer, topic| self.encode_topic(writer, version, topic));
        if (8..=10).contains(&version) {
            writer.i32(OPERATIONS_UNKNOWN);
        }
        if version >= 13 {
            writer.i16(0);
        }
        writer.end();
    }

    fn encode_topic(&self, writer: &mut Writer, version: i16, topic: &TopicMetadata) {
        writer.i16(topic.error_code);
        if version >= 12 {
            writer.nullable_string(topic.name.as_deref());
        } else {
            writer.string(topic.name.as_deref().unwrap_or_default());
        }
        if version >= 10 {
            writer.uuid(&topic.id);
        }
        if version >= 1 {
            writer.bool(false);
        }
        let mut index = 0;
        writer.array(&topic.leader_epochs, |writer, epoch| {
            writer.i16(0);
            writer.i32(index);
            writer.i32(self.node_id);
            if version >= 7 {
                writer.i32(*epoch);
            }
            writer.array(&[self.node_id], |writer, id| writer.i32(*id));
            writer.array(&[self.node_id], |writer, id| writer.i32(*id));
            if version >= 5 {
                writer.array(&[], |writer, id| writer.i32(*id));
            }
            writer.end();
            index += 1;
        });
        if version >= 8 {
            writer.i32(OPERATIONS_UNKNOWN);
        }
        writer.end();
    }
}
