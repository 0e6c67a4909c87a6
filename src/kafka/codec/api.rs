//! Which requests have a layout, and which of them are served. Part of `kafka/codec`; ApiVersions, the headers
//! and the dispatch read these tables, so that nothing is advertised that is not answered.

/// A request that this broker can read.
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
    /// Keeps a group's offsets.
    OffsetCommit,
    /// Reads a group's offsets.
    OffsetFetch,
    /// Says who coordinates a group.
    FindCoordinator,
    /// Makes a member of a group, and a new generation.
    JoinGroup,
    /// Says that a member is alive.
    Heartbeat,
    /// Takes members out of a group.
    LeaveGroup,
    /// Hands out a generation's assignments.
    SyncGroup,
    /// Tells all about groups.
    DescribeGroups,
    /// Names the groups.
    ListGroups,
    /// Says what is served.
    ApiVersions,
    /// Creates logs.
    CreateTopics,
    /// Deletes logs.
    DeleteTopics,
    /// Moves the start of partitions.
    DeleteRecords,
    /// Gives a producer its number.
    InitProducerId,
    /// Finds the end of a leader's epoch.
    OffsetForLeaderEpoch,
    /// Tells the settings of logs.
    DescribeConfigs,
    /// Replaces all settings of logs.
    AlterConfigs,
    /// Adds partitions to logs.
    CreatePartitions,
    /// Deletes groups and their offsets.
    DeleteGroups,
    /// Changes single settings of logs.
    IncrementalAlterConfigs,
    /// Deletes a group's offsets.
    OffsetDelete,
    /// Says who the brokers are.
    DescribeCluster,
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

impl Api {
    /// Whether carrying it out may put something into the journal.
    #[must_use]
    pub const fn is_recorded(self) -> bool {
        match self {
            Self::Produce
            | Self::OffsetCommit
            | Self::JoinGroup
            | Self::LeaveGroup
            | Self::SyncGroup
            | Self::CreateTopics
            | Self::DeleteTopics
            | Self::DeleteRecords
            | Self::InitProducerId
            | Self::AlterConfigs
            | Self::IncrementalAlterConfigs
            | Self::CreatePartitions
            | Self::DeleteGroups
            | Self::OffsetDelete => true,
            Self::Fetch
            | Self::ListOffsets
            | Self::Metadata
            | Self::OffsetFetch
            | Self::FindCoordinator
            | Self::Heartbeat
            | Self::DescribeGroups
            | Self::ListGroups
            | Self::ApiVersions
            | Self::OffsetForLeaderEpoch
            | Self::DescribeConfigs
            | Self::DescribeCluster => false,
        }
    }
}

/// "No version is flexible".
const NEVER: i16 = i16::MAX;

/// Every request with a layout in `messages`, by key.
///
/// Produce is advertised from 0 though refused below 3: librdkafka takes version 0 as the sign that gzip, snappy
/// and lz4 may be used (KAFKA-18659). JoinGroup is answered from 0 for the same client, which takes its version 0
/// as the sign that SASL works (KAFKA-19444).
pub const LAYOUTS: [ApiRange; 26] = [
    range(Api::Produce, 0, 0, 3, 13, 9),
    range(Api::Fetch, 1, 4, 4, 18, 12),
    range(Api::ListOffsets, 2, 1, 1, 11, 6),
    range(Api::Metadata, 3, 0, 0, 13, 9),
    range(Api::OffsetCommit, 8, 2, 2, 10, 8),
    range(Api::OffsetFetch, 9, 1, 1, 10, 6),
    range(Api::FindCoordinator, 10, 0, 0, 6, 3),
    range(Api::JoinGroup, 11, 0, 0, 9, 6),
    range(Api::Heartbeat, 12, 0, 0, 4, 4),
    range(Api::LeaveGroup, 13, 0, 0, 5, 4),
    range(Api::SyncGroup, 14, 0, 0, 5, 4),
    range(Api::DescribeGroups, 15, 0, 0, 6, 5),
    range(Api::ListGroups, 16, 0, 0, 5, 3),
    range(Api::ApiVersions, 18, 0, 0, 4, 3),
    range(Api::CreateTopics, 19, 2, 2, 7, 5),
    range(Api::DeleteTopics, 20, 1, 1, 6, 4),
    range(Api::DeleteRecords, 21, 0, 0, 2, 2),
    range(Api::InitProducerId, 22, 0, 0, 5, 2),
    range(Api::OffsetForLeaderEpoch, 23, 2, 2, 4, 4),
    range(Api::DescribeConfigs, 32, 1, 1, 4, 4),
    range(Api::AlterConfigs, 33, 0, 0, 2, 2),
    range(Api::CreatePartitions, 37, 0, 0, 3, 2),
    range(Api::DeleteGroups, 42, 0, 0, 2, 2),
    range(Api::IncrementalAlterConfigs, 44, 0, 0, 1, 1),
    range(Api::OffsetDelete, 47, 0, 0, 0, NEVER),
    range(Api::DescribeCluster, 60, 0, 0, 2, 0),
];

/// The requests that the dispatch in `kafka/handlers` carries out. Only these are advertised and decoded.
pub const SERVED: &[Api] = &[
    // Records.
    Api::Produce,
    Api::Fetch,
    Api::ListOffsets,
    Api::Metadata,
    Api::ApiVersions,
    // Groups.
    Api::OffsetCommit,
    Api::OffsetFetch,
    Api::FindCoordinator,
    Api::JoinGroup,
    Api::Heartbeat,
    Api::LeaveGroup,
    Api::SyncGroup,
    Api::DescribeGroups,
    Api::ListGroups,
    Api::DeleteGroups,
    Api::OffsetDelete,
    // Producers and leader epochs.
    Api::InitProducerId,
    Api::OffsetForLeaderEpoch,
    // Administration.
    Api::CreateTopics,
    Api::DeleteTopics,
    Api::DeleteRecords,
    Api::DescribeConfigs,
    Api::AlterConfigs,
    Api::CreatePartitions,
    Api::IncrementalAlterConfigs,
    Api::DescribeCluster,
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

/// The ranges of [`SERVED`], by key.
pub fn served() -> impl Iterator<Item = &'static ApiRange> {
    LAYOUTS.iter().filter(|range| SERVED.contains(&range.api))
}

impl ApiRange {
    /// The range of the request with number `key`, or `None` if it is not served.
    #[must_use]
    pub fn of_key(key: i16) -> Option<&'static Self> {
        LAYOUTS.iter().find(|range| range.key == key).filter(|range| SERVED.contains(&range.api))
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
