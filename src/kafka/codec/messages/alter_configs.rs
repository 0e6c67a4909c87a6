//! AlterConfigs (33), versions 0–2: replaces all settings of logs; what is not named falls back to its default.
//! Part of `kafka/codec`.
//!
//! | request | versions |
//! |---|---|
//! | `[` resource type `i8`, resource name `s`, `[` name `s`, value `?s`, tags `]`, tags `]` | 0– |
//! | validate only `bool` | 0– |
//! | tags | 2– |
//!
//! | response | versions |
//! |---|---|
//! | throttle time `i32` ms | 0– |
//! | `[` error `i16`, error message `?s`, resource type `i8`, resource name `s`, tags `]` | 0– |
//! | tags | 2– |

use crate::kafka::codec::primitives::{DecodeError, Reader, Writer};

/// Whose settings, and what they shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlterConfigsRequest<'a> {
    /// One by one.
    pub resources: Vec<ReplacedConfigs<'a>>,
    /// Check, change nothing.
    pub validate_only: bool,
}

/// All settings of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplacedConfigs<'a> {
    /// `RESOURCE_TOPIC` of `describe_configs`, or another.
    pub resource_type: i8,
    /// The log's name, or the broker's number.
    pub name: &'a str,
    /// Names and values; Kafka refuses null.
    pub configs: Vec<(&'a str, Option<&'a str>)>,
}

impl<'a> AlterConfigsRequest<'a> {
    /// Reads a body; every version has the same fields.
    ///
    /// # Errors
    /// If the body does not follow the layout.
    pub fn decode(mut reader: Reader<'a>) -> Result<Self, DecodeError> {
        let resources = reader.array(|reader| {
            let resource_type = reader.i8()?;
            let name = reader.string()?;
            let configs = reader.array(|reader| {
                let config = (reader.string()?, reader.nullable_string()?);
                reader.end()?;
                Ok(config)
            })?;
            reader.end()?;
            Ok(ReplacedConfigs { resource_type, name, configs })
        })?;
        let validate_only = reader.bool()?;
        reader.end()?;
        Ok(Self { resources, validate_only })
    }
}

/// What became of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlteredResource {
    /// 0, or why nothing of it changed.
    pub error_code: i16,
    /// The reason in words.
    pub error_message: Option<String>,
    /// As asked.
    pub resource_type: i8,
    /// As asked.
    pub name: String,
}

/// Writes the body; every version has the same fields, and so has the answer to IncrementalAlterConfigs.
pub fn encode_response(writer: &mut Writer, resources: &[AlteredResource]) {
    writer.i32(0);
    writer.array(resources, |writer, resource| {
        writer.i16(resource.error_code);
        writer.nullable_string(resource.error_message.as_deref());
        writer.i8(resource.resource_type);
        writer.string(&resource.name);
        writer.end();
    });
    writer.end();
}
