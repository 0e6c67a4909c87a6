//! ApiVersions (18), versions 0–4: what this broker serves. Part of `kafka/codec`.
//!
//! | request | versions |
//! |---|---|
//! | client software name `s`, client software version `s` | 3– |
//! | tags | 3– |
//!
//! | response | versions |
//! |---|---|
//! | error code `i16` | 0– |
//! | `[` api key `i16`, min `i16`, max `i16`, tags `]` | 0– (tags 3–) |
//! | throttle time `i32` ms | 1– |
//! | tags (features, none sent: KIP-584 makes them optional) | 3– |

use crate::kafka::codec::api::{self, ApiRange};
use crate::kafka::codec::primitives::{DecodeError, Reader, Writer};

/// Who asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ApiVersionsRequest<'a> {
    /// Such as `librdkafka`; empty below version 3.
    pub software_name: &'a str,
    /// Such as `2.0.2`; empty below version 3.
    pub software_version: &'a str,
}

impl<'a> ApiVersionsRequest<'a> {
    /// Reads a body laid out at `version`.
    pub fn decode(mut reader: Reader<'a>, version: i16) -> Result<Self, DecodeError> {
        let mut request = Self::default();
        if version >= 3 {
            request.software_name = reader.string()?;
            request.software_version = reader.string()?;
            reader.end()?;
        }
        Ok(request)
    }
}

/// Writes the table of what is served, at `version`, with `error_code`.
pub fn encode_response(writer: &mut Writer, version: i16, error_code: i16) {
    let served: Vec<&ApiRange> = api::served().collect();
    writer.i16(error_code);
    writer.array(&served, |writer, range| {
        writer.i16(range.key);
        writer.i16(range.advertised_min);
        writer.i16(range.max);
        writer.end();
    });
    if version >= 1 {
        writer.i32(0);
    }
    writer.end();
}
