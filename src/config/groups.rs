//! `[groups]`: what consumer groups may ask for, and how long their offsets are kept. Part of `config`.
//!
//! The names of Kafka's own settings stand behind each: whoever moves from there looks for those.

use serde::{Deserialize, Serialize};

use crate::config::byte_size;
use crate::config::source::Fault;

/// `[groups]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GroupsSection {
    /// How long the first rebalance of an empty group waits for further members after the last that came, ms
    /// (`group.initial.rebalance.delay.ms`). Default 250, where Kafka waits 3,000: a lone consumer begins at once, and a
    /// fleet that starts together still shares its first generation.
    pub initial_rebalance_delay_ms: u32,
    /// Shortest session timeout that a member may ask for, ms (`group.min.session.timeout.ms`). Default 6,000.
    pub session_timeout_ms_min: u32,
    /// Longest session timeout that a member may ask for, ms (`group.max.session.timeout.ms`). Default 1,800,000.
    pub session_timeout_ms_max: u32,
    /// Members of one group (`group.max.size`). Default 10,000.
    pub members_max: usize,
    /// Groups, of all vhosts together. Default 100,000.
    pub groups_max: usize,
    /// What members of all groups say of themselves and are assigned, bytes, as long as they are in. Default 64 MiB.
    #[serde(deserialize_with = "byte_size::deserialize")]
    pub bytes_max: usize,
    /// Longest metadata that a member may leave with an offset, bytes (`offset.metadata.max.bytes`). Default 4 KiB.
    #[serde(deserialize_with = "byte_size::deserialize")]
    pub offset_metadata_bytes_max: usize,
    /// How long the offsets of a group without members are kept, ms (`offsets.retention.minutes`). Default 7 days.
    pub offsets_retention_ms: u64,
    /// Time between two looks for expired offsets, ms (`offsets.retention.check.interval.ms`). Default 600,000.
    pub offsets_check_ms: u64,
    /// Most series of `rialto_group_lag`, one a group and log; what is more is counted in one gauge. Default 1,000.
    pub lag_series_max: usize,
}

impl Default for GroupsSection {
    fn default() -> Self {
        Self {
            initial_rebalance_delay_ms: 250,
            session_timeout_ms_min: 6_000,
            session_timeout_ms_max: 1_800_000,
            members_max: 10_000,
            groups_max: 100_000,
            bytes_max: 64 << 20,
            offset_metadata_bytes_max: 4 << 10,
            offsets_retention_ms: 604_800_000,
            offsets_check_ms: 600_000,
            lag_series_max: 1_000,
        }
    }
}

impl GroupsSection {
    /// Adds what is out of range.
    pub fn check(&self, faults: &mut Vec<Fault>) {
        const DAY_MS: u64 = 86_400_000;
        let mut range = |key: &str, value: u64, min: u64, max: u64| {
            if value < min || value > max {
                let text = format!("{value} is outside {min} to {max}");
                faults.push(Fault::new(format!("groups.{key}"), text));
            }
        };
        range("initial_rebalance_delay_ms", self.initial_rebalance_delay_ms.into(), 0, 300_000);
        range("session_timeout_ms_min", self.session_timeout_ms_min.into(), 1, DAY_MS);
        let min = u64::from(self.session_timeout_ms_min.max(1));
        range("session_timeout_ms_max", self.session_timeout_ms_max.into(), min, DAY_MS);
        range("members_max", self.members_max as u64, 1, 1_000_000);
        range("groups_max", self.groups_max as u64, 1, 10_000_000);
        range("bytes_max", self.bytes_max as u64, 1 << 20, 1 << 40);
        // The protocol counts an offset's metadata in sixteen bits.
        range("offset_metadata_bytes_max", self.offset_metadata_bytes_max as u64, 0, 32_767);
        range("offsets_retention_ms", self.offsets_retention_ms, 1, 36_500 * DAY_MS);
        range("offsets_check_ms", self.offsets_check_ms, 100, DAY_MS);
        range("lag_series_max", self.lag_series_max as u64, 0, 1_000_000);
    }
}
