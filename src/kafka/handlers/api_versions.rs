//! Answers ApiVersions (KIP-35, KIP-511). Part of `kafka/handlers`.

use crate::kafka::codec::api::ApiRange;
use crate::kafka::codec::header;
use crate::kafka::codec::messages::api_versions::{ApiVersionsRequest, encode_response};
use crate::kafka::codec::primitives::{DecodeError, Frame, Reader};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::handlers::{Reply, Return};

/// The number of ApiVersions.
const KEY: i16 = 18;

pub(in crate::kafka) fn answer(to: Return, reader: Reader<'_>) -> Result<Reply, DecodeError> {
    let request = ApiVersionsRequest::decode(reader, to.version)?;
    let (name, version) = (request.software_name, request.software_version);
    tracing::debug!(name, version, "kafka client");
    Ok(to.answer(|writer, version| encode_response(writer, version, ErrorCode::None.code())))
}

/// The answer to a version to come: laid out as version 0, so that any client can read it.
pub(in crate::kafka) fn answer_future(correlation_id: i32) -> Frame {
    let Some(range) = ApiRange::of_key(KEY) else { return Frame::default() };
    let mut writer = header::respond(range, 0, correlation_id);
    encode_response(&mut writer, 0, ErrorCode::UnsupportedVersion.code());
    writer.finish()
}
