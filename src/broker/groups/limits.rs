//! What groups are bounded by. Part of `broker::groups`.

/// Limits of groups, their members and their offsets. None of them is used by apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupLimits {
    /// How long the first rebalance of an empty group waits for further members, ms.
    pub initial_rebalance_delay_ms: u32,
    /// Shortest session timeout, ms.
    pub session_timeout_ms_min: u32,
    /// Longest session timeout, ms.
    pub session_timeout_ms_max: u32,
    /// Members of one group.
    pub members_max: usize,
    /// Groups, of all vhosts together.
    pub groups_max: usize,
    /// What members of all groups say of themselves and are assigned, bytes.
    pub bytes_max: usize,
    /// Bytes of an offset's metadata.
    pub offset_metadata_bytes_max: usize,
    /// How long offsets of a group without members are kept, ms.
    pub offsets_retention_ms: u64,
    /// Time between two looks for expired offsets, ms.
    pub offsets_check_ms: u64,
    /// Groups and logs whose lag is shown, each pair on its own.
    pub lag_series_max: usize,
}
