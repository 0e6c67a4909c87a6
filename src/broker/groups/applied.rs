//! What the journal says of groups: committed offsets and memberships. Part of `broker::groups`; pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::model::ids::LogId;

/// How far a group has read one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The offset that it reads next.
    pub offset: i64,
    /// Leader epoch of the record before it, −1 if the client said none.
    pub leader_epoch: i32,
    /// The client's own words.
    pub metadata: Box<str>,
    /// When it was committed, ms since 1970.
    pub committed_ms: u64,
}

/// A group as the journal has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppliedGroup {
    /// Its membership when it was last stable or empty, and when that was.
    pub snapshot: Option<(u64, Bytes)>,
    /// Offsets by log and partition.
    pub offsets: BTreeMap<(LogId, u32), CommittedOffset>,
}

/// All groups, by vhost and name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppliedGroups {
    groups: BTreeMap<Arc<str>, BTreeMap<Arc<str>, AppliedGroup>>,
}

impl AppliedGroups {
    /// One group.
    #[must_use]
    pub fn get(&self, vhost: &str, group: &str) -> Option<&AppliedGroup> {
        self.groups.get(vhost)?.get(group)
    }

    /// The group, made if there is none; and its names, shared.
    pub fn get_or_new(
        &mut self,
        vhost: &str,
        group: &str,
    ) -> (Arc<str>, Arc<str>, &mut AppliedGroup) {
        let vhost: Arc<str> = self
            .groups
            .get_key_value(vhost)
            .map_or_else(|| vhost.into(), |(known, _)| known.clone());
        let groups = self.groups.entry(vhost.clone()).or_default();
        let name: Arc<str> =
            groups.get_key_value(group).map_or_else(|| group.into(), |(known, _)| known.clone());
        let found = groups.entry(name.clone()).or_default();
        (vhost, name, found)
    }

    /// Takes a group out.
    pub fn remove(&mut self, vhost: &str, group: &str) -> Option<AppliedGroup> {
        self.groups.get_mut(vhost)?.remove(group)
    }

    /// What a group has committed for one partition.
    #[must_use]
    pub fn offset(
        &self,
        vhost: &str,
        group: &str,
        place: (LogId, u32),
    ) -> Option<&CommittedOffset> {
        self.get(vhost, group)?.offsets.get(&place)
    }

    /// Every group: vhost, name, group.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>, &AppliedGroup)> {
        self.groups.iter().flat_map(|(vhost, groups)| {
            groups.iter().map(move |(name, group)| (vhost, name, group))
        })
    }

    /// Every group, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>, &mut AppliedGroup)> {
        self.groups.iter_mut().flat_map(|(vhost, groups)| {
            groups.iter_mut().map(move |(name, group)| (vhost, name, group))
        })
    }
}
