//! FindCoordinator (10), versions 0–6: who coordinates a group or a transaction. Part of `kafka/codec`.
//!
//! | request | versions |
//! |---|---|
//! | key `s` | 0–3 |
//! | key type `i8`: 0 a group, 1 a transactional id, 2 a share group (6–) | 1– |
//! | keys `[s]` | 4– |
//! | tags | 3– |
//!
//! | response | versions |
//! |---|---|
//! | throttle time `i32` ms | 1– |
//! | error `i16` | 0–3 |
//! | error message `?s` | 1–3 |
//! | node id `i32`, host `s`, port `i32` | 0–3 |
//! | `[` key `s`, node id `i32`, host `s`, port `i32`, error `i16`, error message `?s`, tags `]` | 4– |
//! | tags | 3– |

use crate::kafka::codec::primitives::{DecodeError, Reader, Writer};

/// The key is the name of a group.
pub const KEY_GROUP: i8 = 0;
/// The key is a transactional id.
pub const KEY_TRANSACTION: i8 = 1;

/// Whose coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FindCoordinatorRequest<'a> {
    /// [`KEY_GROUP`], [`KEY_TRANSACTION`], or one that is not served.
    pub key_type: i8,
    /// One below version 4.
    pub keys: Vec<&'a str>,
}

impl<'a> FindCoordinatorRequest<'a> {
    /// Reads a body laid out at `version`.
    ///
    /// # Errors
    /// If the body does not follow that layout.
    pub fn decode(mut reader: Reader<'a>, version: i16) -> Result<Self, DecodeError> {
        let key = if version <= 3 { Some(reader.string()?) } else { None };
        let key_type = if version >= 1 { reader.i8()? } else { KEY_GROUP };
        let keys = match key {
            Some(key) => vec![key],
            None => reader.array(Reader::string)?,
        };
        reader.end()?;
        Ok(Self { key_type, keys })
    }
}

/// Where the coordinator of one key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coordinator {
    /// The key asked for.
    pub key: String,
    /// −1 with an error.
    pub node_id: i32,
    /// Empty with an error.
    pub host: String,
    /// −1 with an error.
    pub port: i32,
    /// 0, or why there is none.
    pub error_code: i16,
    /// The reason in words.
    pub error_message: Option<String>,
}

/// Writes the body at `version`. Below version 4 it has room for one key only, the first.
pub fn encode_response(writer: &mut Writer, version: i16, coordinators: &[Coordinator]) {
    if version >= 1 {
        writer.i32(0);
    }
    if version >= 4 {
        writer.array(coordinators, |writer, found| {
            writer.string(&found.key);
            writer.i32(found.node_id);
            writer.string(&found.host);
            writer.i32(found.port);
            writer.i16(found.error_code);
            writer.nullable_string(found.error_message.as_deref());
            writer.end();
        });
    } else if let Some(found) = coordinators.first() {
        writer.i16(found.error_code);
        if version >= 1 {
            writer.nullable_string(found.error_message.as_deref());
        }
        writer.i32(found.node_id);
        writer.string(&found.host);
        writer.i32(found.port);
    }
    writer.end();
}
