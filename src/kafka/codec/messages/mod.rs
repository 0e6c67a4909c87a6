//! One file per request, with the layout of every version at its head. Part of `kafka/codec`.
//!
//! Requests decode into borrowed structures, responses encode from owned ones. In the tables `s` is a
//! string, `?` marks what may be null, `[…]` an array, `tags` the end of a structure in flexible versions.

pub mod alter_configs;
pub mod api_versions;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_groups;
pub mod delete_records;
pub mod delete_topics;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_groups;
pub mod fetch;
pub mod find_coordinator;
pub mod heartbeat;
pub mod incremental_alter_configs;
pub mod init_producer_id;
pub mod join_group;
pub mod leave_group;
pub mod list_groups;
pub mod list_offsets;
pub mod metadata;
pub mod offset_commit;
pub mod offset_delete;
pub mod offset_fetch;
pub mod offset_for_leader_epoch;
pub mod produce;
pub mod sync_group;

use std::collections::HashSet;
use std::hash::Hash;

/// Keeps each of `asked` once. A few bytes may ask for much; asked for again and again, they would make an answer
/// that no bound on requests bounds.
fn keep_once<T: Copy + Eq + Hash>(asked: &mut Vec<T>) {
    let mut seen = HashSet::with_capacity(asked.len());
    asked.retain(|one| seen.insert(*one));
}

#[cfg(test)]
pub(in crate::kafka) mod tests;
