//! One connection's requests, cut out of its bytes. Part of `kafka`; pure.
//!
//! A request is a 4-byte length and that many bytes. Requests are yielded where they lie in the read buffer.
//! Nothing is reserved for a length before its bytes arrive (Kafka itself does that, and forty connections that
//! announce 100 MB each exhaust it), and a length is refused as soon as it can be: only Produce may be large,
//! and no connection's first request.

use thiserror::Error;

use crate::kafka::codec::api::{Api, ApiRange};
use crate::kafka::codec::header::{self, Decoded, RequestHeader};
use crate::kafka::codec::primitives::{DecodeError, Reader};

/// The bytes in front of a request.
const LENGTH_BYTES: usize = 4;
/// The largest first request of a connection.
const FIRST_BYTES_MAX: usize = 1024 * 1024;

/// What the bytes hold next.
#[derive(Debug)]
pub enum Step<'a> {
    /// Not a whole request: until `total` bytes are there, nothing can be said.
    More {
        /// Bytes to have, counted from the front of the same input.
        total: usize,
    },
    /// A request that is served.
    Request(Request<'a>),
    /// An ApiVersions of a version to come.
    FutureApiVersions {
        /// Comes back in the response.
        correlation_id: i32,
        /// Bytes of the input that it took.
        consumed: usize,
    },
}

/// A request where it lies.
#[derive(Debug)]
pub struct Request<'a> {
    /// Which one.
    pub range: &'static ApiRange,
    /// Its header.
    pub header: RequestHeader<'a>,
    /// A reader at its body.
    pub body: Reader<'a>,
    /// Bytes of the input that it took.
    pub consumed: usize,
}

/// Bytes after which the connection cannot go on. Always the peer's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ConnectionFault {
    /// The announced length exceeds what this request may have.
    #[error("a request of {bytes} bytes exceeds the limit of {limit}")]
    TooLarge {
        /// Announced.
        bytes: u32,
        /// Allowed.
        limit: usize,
    },
    /// The header cannot be read.
    #[error("malformed request header: {0}")]
    Header(#[from] DecodeError),
    /// A request or version that is not served, in whose layout no answer can be given.
    #[error("request {api_key} version {api_version} is not supported")]
    Unserved {
        /// Number on the wire.
        api_key: i16,
        /// Version on the wire.
        api_version: i16,
    },
}

/// The state of cutting: how far the peer is known.
#[derive(Debug)]
pub struct Connection {
    produce_bytes_max: usize,
    other_bytes_max: usize,
    greeted: bool,
}

impl Connection {
    /// A connection whose Produce requests may have `produce_bytes_max` bytes, all others `other_bytes_max`: a byte of
    /// those may become a hundred in memory.
    #[must_use]
    pub fn new(produce_bytes_max: usize, other_bytes_max: usize) -> Self {
        Self { produce_bytes_max, other_bytes_max, greeted: false }
    }

    /// The request at the front of `input`.
    ///
    /// # Errors
    /// If the connection cannot go on.
    pub fn next<'a>(&mut self, input: &'a [u8]) -> Result<Step<'a>, ConnectionFault> {
        let Some((length, rest)) = input.split_first_chunk::<LENGTH_BYTES>() else {
            return Ok(Step::More { total: LENGTH_BYTES });
        };
        let announced = u32::from_be_bytes(*length);
        let bytes = usize::try_from(announced).unwrap_or(usize::MAX);
        let Some(key) = rest.first_chunk::<2>() else {
            // Shorter than its api key: let the header's decoder say so. Longer: the key decides the limit,
            // unless no key would allow it (a negative length among others).
            if bytes < 2 {
                return Err(DecodeError::Truncated.into());
            }
            let limit = self.produce_bytes_max.max(self.other_bytes_max);
            if bytes > limit {
                return Err(ConnectionFault::TooLarge { bytes: announced, limit });
            }
            return Ok(Step::More { total: LENGTH_BYTES + 2 });
        };
        let limit = self.limit(i16::from_be_bytes(*key));
        if bytes > limit {
            return Err(ConnectionFault::TooLarge { bytes: announced, limit });
        }
        let Some(frame) = rest.get(..bytes) else {
            return Ok(Step::More { total: LENGTH_BYTES + bytes });
        };
        let consumed = LENGTH_BYTES + bytes;
        match header::decode(frame)? {
            Decoded::Served { range, header, body } => {
                self.greeted = true;
                Ok(Step::Request(Request { range, header, body, consumed }))
            }
            Decoded::FutureApiVersions { correlation_id } => {
                self.greeted = true;
                Ok(Step::FutureApiVersions { correlation_id, consumed })
            }
            Decoded::Unserved { api_key, api_version } => {
                Err(ConnectionFault::Unserved { api_key, api_version })
            }
        }
    }

    fn limit(&self, api_key: i16) -> usize {
        let is_produce = ApiRange::of_key(api_key).is_some_and(|range| range.api == Api::Produce);
        let kind = if is_produce { self.produce_bytes_max } else { self.other_bytes_max };
        if self.greeted { kind } else { kind.min(FIRST_BYTES_MAX) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Connection, ConnectionFault, Step};
    use crate::kafka::codec::api::Api;
    use crate::kafka::codec::primitives::DecodeError;

    fn request(key: i16, version: i16, body: &[u8]) -> Vec<u8> {
        let mut frame = ((10 + body.len()) as u32).to_be_bytes().to_vec();
        frame.extend_from_slice(&key.to_be_bytes());
        frame.extend_from_slice(&version.to_be_bytes());
        frame.extend_from_slice(&7_i32.to_be_bytes());
        frame.extend_from_slice(&(-1_i16).to_be_bytes());
        frame.extend_from_slice(body);
        frame
    }

    #[test]
    fn a_request_is_yielded_only_when_whole() {
        let bytes = request(18, 0, &[]);
        for cut in 0..bytes.len() {
            let mut connection = Connection::new(100, 2 << 20);
            assert!(
                matches!(connection.next(&bytes[..cut]), Ok(Step::More { total }) if total > cut)
            );
        }
        let mut connection = Connection::new(100, 2 << 20);
        let Ok(Step::Request(found)) = connection.next(&bytes) else { panic!("no request") };
        assert_eq!(found.range.api, Api::ApiVersions);
        assert_eq!((found.header.correlation_id, found.consumed), (7, bytes.len()));
    }

    #[test]
    fn a_length_is_refused_before_its_bytes_arrive() {
        let mut connection = Connection::new(100 << 20, 2 << 20);
        let announced = [&(90_u32 << 20).to_be_bytes()[..], &[0, 0]].concat();
        assert!(matches!(connection.next(&announced), Err(ConnectionFault::TooLarge { .. })));
        assert!(connection.next(&request(18, 0, &[])).is_ok());
        assert!(matches!(connection.next(&announced), Ok(Step::More { .. })));
        let metadata = [&(90_u32 << 20).to_be_bytes()[..], &[0, 3]].concat();
        assert!(matches!(connection.next(&metadata), Err(ConnectionFault::TooLarge { .. })));
        let negative = [0xff, 0xff, 0xff, 0xff, 0, 0];
        for bytes in [&negative[..], &negative[..4]] {
            assert!(matches!(connection.next(bytes), Err(ConnectionFault::TooLarge { .. })));
        }
    }

    #[test]
    fn what_is_not_served_ends_the_connection_except_a_future_api_versions() {
        let mut connection = Connection::new(100, 2 << 20);
        let future = request(18, 99, b"whatever is laid out there");
        assert!(matches!(
            connection.next(&future),
            Ok(Step::FutureApiVersions { correlation_id: 7, .. })
        ));
        for (key, version) in [(0, 2), (24, 0), (-1, 0), (3, 14), (18, -1)] {
            let frame = request(key, version, &[]);
            let end = connection.next(&frame);
            let future = key == 18;
            assert!(
                future || matches!(end, Err(ConnectionFault::Unserved { .. })),
                "{key} {version}"
            );
        }
    }

    #[test]
    fn frames_shorter_than_a_header_are_malformed() {
        let mut connection = Connection::new(100, 2 << 20);
        assert_eq!(
            connection.next(&[0, 0, 0, 0]).err(),
            Some(ConnectionFault::Header(DecodeError::Truncated))
        );
        assert_eq!(
            connection.next(&[0, 0, 0, 3, 0, 18, 0]).err(),
            Some(ConnectionFault::Header(DecodeError::Truncated))
        );
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_answered_without_panic(
            bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)
        ) {
            let mut connection = Connection::new(1000, 2 << 20);
            let taken = match connection.next(&bytes) {
                Ok(Step::Request(request)) => request.consumed,
                Ok(Step::FutureApiVersions { consumed, .. }) => consumed,
                Ok(Step::More { .. }) | Err(_) => 0,
            };
            proptest::prop_assert!(taken <= bytes.len());
        }
    }
}
