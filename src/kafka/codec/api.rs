//! Which requests are served, at which versions. Part of `kafka/codec`; ApiVersions and the dispatch read
//! this one table, so that nothing is advertised that is not answered.

/// A request that this broker answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Api {
    /// Appends batches.
    Produce,
    /// Reads batches.
    Fetch,
    /// Finds offsets by time.
    ListOffsets,
    /// Says where logs are.
    Metadata,
    /// Says what is served.
    ApiVersions,
    /// Creates logs.
    CreateTopics,
}

/// The versions of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiRange {
    /// Whose versions.
    pub api: Api,
    /// Number on the wire.
    pub key: i16,
    /// Lowest version that ApiVersions names.
    pub advertised_min: i16,
    /// Lowest version that is answered.
    pub min: i16,
    /// Highest version that is answered.
    pub max: i16,
    /// First version with compact fields and tags (KIP-482).
    pub flexible_from: i16,
}

/// Every request served, by key. Produce is advertised from 0 though refused below 3: librdkafka takes
/// version 0 as the sign that gzip, snappy and lz4 may be used (KAFKA-18659).
pub const SERVED: [ApiRange; 6] = [
    range(Api::Produce, 0, 0, 3, 11, 9),
    range(Api::Fetch, 1, 4, 4, 16, 12),
    range(Api::ListOffsets, 2, 1, 1, 10, 6),
    range(Api::Metadata, 3, 0, 0, 13, 9),
    range(Api::ApiVersions, 18, 0, 0, 4, 3),
    range(Api::CreateTopics, 19, 2, 2, 7, 5),
];

const fn range(
    api: Api,
    key: i16,
    advertised_min: i16,
    min: i16,
    max: i16,
    flexible_from: i16,
) -> ApiRange {
    ApiRange { api, key, advertised_min, min, max, flexible_from }
}

impl ApiRange {
    /// The range of the request with number `key`, or `None` if it is not served.
    #[must_use]
    pub fn of_key(key: i16) -> Option<&'static Self> {
        SERVED.iter().find(|range| range.key == key)
    }

    /// Whether `version` is answered.
    #[must_use]
    pub fn serves(&self, version: i16) -> bool {
        (self.min..=self.max).contains(&version)
    }

    /// Whether `version` has compact fields and tags.
    #[must_use]
    pub fn is_flexible(&self, version: i16) -> bool {
        version >= self.flexible_from
    }
}
