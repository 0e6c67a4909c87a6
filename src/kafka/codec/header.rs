//! Request and response headers. Part of `kafka/codec`.
//!
//! | request header | v1 | v2 (flexible requests) |
//! |---|---|---|
//! | api key | `i16` | `i16` |
//! | api version | `i16` | `i16` |
//! | correlation id | `i32` | `i32` |
//! | client id | nullable string, plain | nullable string, plain even here (KIP-511) |
//! | tags | – | yes |
//!
//! | response header | v0 | v1 (flexible responses, ApiVersions excepted) |
//! |---|---|---|
//! | correlation id | `i32` | `i32` |
//! | tags | – | yes |
//!
//! Header v0, without a client id, belonged to ControlledShutdown alone and is gone from Kafka 4.

use crate::kafka::codec::api::{Api, ApiRange};
use crate::kafka::codec::primitives::{DecodeError, Reader, Writer};

/// The fields in front of every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHeader<'a> {
    /// Which request.
    pub api_key: i16,
    /// At which version its body is laid out.
    pub api_version: i16,
    /// Comes back in the response.
    pub correlation_id: i32,
    /// The client's name for itself.
    pub client_id: Option<&'a str>,
}

/// What a frame holds, as far as its header says.
#[derive(Clone, Debug)]
pub enum Decoded<'a> {
    /// A request that is served; the reader stands at its body.
    Served {
        /// Which one.
        range: &'static ApiRange,
        /// Its header.
        header: RequestHeader<'a>,
        /// Its body.
        body: Reader<'a>,
    },
    /// An ApiVersions of a version to come: answered in version 0 with error 35 (KIP-511).
    FutureApiVersions {
        /// Comes back in the response.
        correlation_id: i32,
    },
    /// A request or version that is not served. There is no layout to answer in.
    Unserved {
        /// Number on the wire.
        api_key: i16,
        /// Version on the wire.
        api_version: i16,
    },
}

/// Decodes the header of `frame`, a request without its length prefix.
pub fn decode(frame: &[u8]) -> Result<Decoded<'_>, DecodeError> {
    let mut reader = Reader::new(frame, false);
    let api_key = reader.i16()?;
    let api_version = reader.i16()?;
    let correlation_id = reader.i32()?;
    let range = match ApiRange::of_key(api_key) {
        Some(range) if range.serves(api_version) => range,
        Some(range) if range.api == Api::ApiVersions => {
            return Ok(Decoded::FutureApiVersions { correlation_id });
        }
        _ => return Ok(Decoded::Unserved { api_key, api_version }),
    };
    let mut body = Reader::new(reader.rest(), range.is_flexible(api_version));
    let client_id = body.plain_nullable_string()?;
    body.end()?;
    let header = RequestHeader { api_key, api_version, correlation_id, client_id };
    Ok(Decoded::Served { range, header, body })
}

/// A writer that stands behind the response header of a request answered at `version`.
#[must_use]
pub fn respond(range: &ApiRange, version: i16, correlation_id: i32) -> Writer {
    let mut writer = Writer::new(range.is_flexible(version));
    writer.i32(correlation_id);
    // A client must be able to read the answer before it knows what the broker speaks.
    if range.api != Api::ApiVersions {
        writer.end();
    }
    writer
}
