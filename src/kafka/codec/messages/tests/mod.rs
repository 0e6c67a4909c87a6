//! Every message against the crate `kafka-protocol`, at every version: it encodes the requests that we decode
//! and decodes the responses that we encode.
//!
//! - [`records`], [`groups`], [`admin`] the fields, API by API
//! - [`golden`] what the crate cannot lay out, against bytes that Apache Kafka's own classes wrote
//! - [`hostile`] cut, changed and random bytes

mod admin;
mod golden;
mod groups;
pub(in crate::kafka) mod hostile;
mod records;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages as theirs;
use kafka_protocol::messages::{ApiKey, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, Message, StrBytes};

use crate::kafka::codec::api::{Api, ApiRange, LAYOUTS};
use crate::kafka::codec::header;
use crate::kafka::codec::primitives::{Frame, Reader, Writer};

const ID: [u8; 16] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
const ID_TEXT: &str = "01020304-0506-0708-090a-0b0c0d0e0f10";

/// A request's body at one version.
pub(in crate::kafka) struct Sample {
    pub(in crate::kafka) api: Api,
    pub(in crate::kafka) version: i16,
    pub(in crate::kafka) body: Vec<u8>,
}

impl Sample {
    fn reader(&self) -> Reader<'_> {
        Reader::new(&self.body, range(self.api).is_flexible(self.version))
    }
}

fn range(api: Api) -> &'static ApiRange {
    LAYOUTS.iter().find(|range| range.api == api).unwrap()
}

fn versions(api: Api) -> std::ops::RangeInclusive<i16> {
    range(api).min..=range(api).max
}

fn text(value: &'static str) -> StrBytes {
    StrBytes::from_static_str(value)
}

fn some(value: &'static str) -> Option<StrBytes> {
    Some(text(value))
}

fn topic(value: &'static str) -> theirs::TopicName {
    theirs::TopicName(text(value))
}

fn group(value: &'static str) -> theirs::GroupId {
    theirs::GroupId(text(value))
}

/// What the oracle makes of each of our versions that it knows.
fn samples<T: Encodable + Message>(api: Api, make: impl Fn(i16) -> T) -> Vec<Sample> {
    let known = versions(api).filter(|version| *version <= T::VERSIONS.max);
    known
        .map(|version| {
            let mut body = BytesMut::new();
            make(version).encode(&mut body, version).unwrap();
            Sample { api, version, body: body.to_vec() }
        })
        .collect()
}

/// What the oracle reads in our response.
fn response<T: Decodable>(api: Api, version: i16, encode: impl FnOnce(&mut Writer, i16)) -> T {
    let mut writer = header::respond(range(api), version, 99);
    encode(&mut writer, version);
    let mut bytes = flat(&writer.finish());
    assert_eq!(bytes.get_u32() as usize, bytes.len());
    let key = ApiKey::try_from(range(api).key).unwrap();
    let header = ResponseHeader::decode(&mut bytes, key.response_header_version(version)).unwrap();
    assert_eq!(header.correlation_id, 99);
    let decoded = T::decode(&mut bytes, version).unwrap();
    assert!(bytes.is_empty(), "version {version}: {} bytes left", bytes.len());
    decoded
}

/// What the oracle reads in our response, at each of our versions that it knows.
fn responses<T: Decodable + Message>(api: Api, encode: impl Fn(&mut Writer, i16)) -> Vec<(i16, T)> {
    let known = versions(api).filter(|version| *version <= T::VERSIONS.max);
    known.map(|version| (version, response(api, version, &encode))).collect()
}

fn flat(frame: &Frame) -> Bytes {
    frame.pieces.iter().flatten().copied().collect::<Vec<u8>>().into()
}
