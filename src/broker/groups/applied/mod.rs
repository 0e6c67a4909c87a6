//! What the journal says of groups: committed offsets and memberships. Part of `broker::groups`; pure.
//!
//! The applier alone changes it. What changed since the last checkpoint is noted place by place, so that a group
//! that commits one of ten thousand offsets costs the next checkpoint one row.
//!
//! A group is there as long as it has a membership or an offset; nothing else is known of it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use ahash::{AHashMap, AHashSet};
use bytes::Bytes;

use crate::model::ids::LogId;

/// A log and one of its partitions.
pub type Place = (LogId, u32);

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
    pub offsets: BTreeMap<Place, CommittedOffset>,
}

impl AppliedGroup {
    fn is_nothing(&self) -> bool {
        self.snapshot.is_none() && self.offsets.is_empty()
    }
}

/// vhost and name.
pub(super) type Name = (Arc<str>, Arc<str>);

/// What of a group the next checkpoint writes, as it is then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Changed {
    /// Its membership.
    pub(super) membership: bool,
    /// Its offsets in these places.
    pub(super) places: AHashSet<Place>,
}

/// All groups, by vhost and name.
#[derive(Clone, Debug, Default)]
pub struct AppliedGroups {
    groups: BTreeMap<Arc<str>, BTreeMap<Arc<str>, AppliedGroup>>,
    count: usize,
    pub(super) changed: AHashMap<Name, Changed>,
}

/// Two are the same if they hold the same groups, whatever the last checkpoint has of them.
impl PartialEq for AppliedGroups {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for AppliedGroups {}

impl AppliedGroups {
    /// One group.
    #[must_use]
    pub fn get(&self, vhost: &str, group: &str) -> Option<&AppliedGroup> {
        self.groups.get(vhost)?.get(group)
    }

    /// What a group has committed for one partition.
    #[must_use]
    pub fn offset(&self, vhost: &str, group: &str, place: Place) -> Option<&CommittedOffset> {
        self.get(vhost, group)?.offsets.get(&place)
    }

    /// Every group: vhost, name, group.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>, &AppliedGroup)> {
        self.groups.iter().flat_map(|(vhost, groups)| {
            groups.iter().map(move |(name, group)| (vhost, name, group))
        })
    }

    /// Every group behind the one called `name` in `vhost`, in the order of [`Self::iter`].
    pub fn iter_after<'a>(
        &'a self,
        vhost: &'a str,
        name: &'a str,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a Arc<str>, &'a AppliedGroup)> {
        let behind = |key: &'a str| (Bound::Excluded(key), Bound::Unbounded);
        let of_vhost = self.groups.get_key_value(vhost).into_iter();
        let first = of_vhost.flat_map(move |(vhost, groups)| {
            let others = groups.range::<str, _>(behind(name));
            others.map(move |(name, group)| (vhost, name, group))
        });
        let others = self.groups.range::<str, _>(behind(vhost));
        first.chain(others.flat_map(|(vhost, groups)| {
            groups.iter().map(move |(name, group)| (vhost, name, group))
        }))
    }

    /// The groups of one vhost, by name.
    pub fn in_vhost(&self, vhost: &str) -> impl Iterator<Item = (&Arc<str>, &AppliedGroup)> {
        self.groups.get(vhost).into_iter().flatten()
    }

    /// How many groups there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is no group.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// A group has committed offsets; without any, nothing changes.
    pub fn commit(
        &mut self,
        vhost: &str,
        group: &str,
        offsets: impl IntoIterator<Item = (Place, CommittedOffset)>,
    ) {
        let mut offsets = offsets.into_iter().peekable();
        if offsets.peek().is_none() {
            return;
        }
        let (found, changed) = self.group_to_change(vhost, group);
        for (place, offset) in offsets {
            changed.places.insert(place);
            found.offsets.insert(place, offset);
        }
    }

    /// A group's membership is another.
    pub fn put(&mut self, vhost: &str, group: &str, put_ms: u64, snapshot: Bytes) {
        let (found, changed) = self.group_to_change(vhost, group);
        changed.membership = true;
        found.snapshot = Some((put_ms, snapshot));
    }

    /// Offsets committed at `until_ms` or before are given up, and the group with the last of them if nobody is
    /// known to have been in it. Says whether there is such a group.
    pub fn forget(&mut self, vhost: &str, group: &str, until_ms: u64, places: &[Place]) -> bool {
        if self.get(vhost, group).is_none() {
            return false;
        }
        let (found, changed) = self.group_to_change(vhost, group);
        for place in places {
            if found.offsets.get(place).is_some_and(|offset| offset.committed_ms <= until_ms) {
                found.offsets.remove(place);
                changed.places.insert(*place);
            }
        }
        self.drop_if_nothing(vhost, group);
        true
    }

    /// What is of `until_ms` or before is given up, and the group if nothing is left of it. Nothing is, and false is
    /// returned, if there is no such group or somebody was in it since.
    pub fn expire(&mut self, vhost: &str, group: &str, until_ms: u64) -> bool {
        let Some(found) = self.get(vhost, group) else { return false };
        if found.snapshot.as_ref().is_some_and(|(put_ms, _)| *put_ms > until_ms) {
            return false;
        }
        let (found, changed) = self.group_to_change(vhost, group);
        found.offsets.retain(|place, offset| {
            let is_old = offset.committed_ms <= until_ms;
            if is_old {
                changed.places.insert(*place);
            }
            !is_old
        });
        if found.offsets.is_empty() {
            found.snapshot = None;
            changed.membership = true;
        }
        self.drop_if_nothing(vhost, group);
        true
    }

    /// A group is gone, with its offsets. Says whether there was one.
    pub fn remove(&mut self, vhost: &str, group: &str) -> bool {
        if self.get(vhost, group).is_none() {
            return false;
        }
        let (found, changed) = self.group_to_change(vhost, group);
        let gone = std::mem::take(found);
        changed.membership = true;
        changed.places.extend(gone.offsets.into_keys());
        self.drop_if_nothing(vhost, group);
        true
    }

    /// A log is gone: so is every group's offset in it. Returns how many that were.
    pub fn forget_log(&mut self, log: LogId) -> usize {
        let of_log = (log, 0)..=(log, u32::MAX);
        let reading = self.iter().filter_map(|(vhost, name, group)| {
            let places: Vec<Place> =
                group.offsets.range(of_log.clone()).map(|(place, _)| *place).collect();
            (!places.is_empty()).then(|| (Arc::clone(vhost), Arc::clone(name), places))
        });
        let reading: Vec<_> = reading.collect();
        let mut forgotten = 0;
        for (vhost, name, places) in reading {
            forgotten += places.len();
            self.forget(&vhost, &name, u64::MAX, &places);
        }
        forgotten
    }

    /// A membership as the last checkpoint left it.
    pub(super) fn restore_group(&mut self, vhost: &str, group: &str, put_ms: u64, snapshot: Bytes) {
        self.get_or_new(vhost, group).1.snapshot = Some((put_ms, snapshot));
    }

    /// An offset as the last checkpoint left it.
    pub(super) fn restore_offset(
        &mut self,
        vhost: &str,
        group: &str,
        place: Place,
        offset: CommittedOffset,
    ) {
        self.get_or_new(vhost, group).1.offsets.insert(place, offset);
    }

    /// The group, made if there is none; and its names, shared.
    fn get_or_new(&mut self, vhost: &str, group: &str) -> (Name, &mut AppliedGroup) {
        let vhost: Arc<str> = self
            .groups
            .get_key_value(vhost)
            .map_or_else(|| vhost.into(), |(known, _)| Arc::clone(known));
        let groups = self.groups.entry(Arc::clone(&vhost)).or_default();
        let name: Arc<str> = groups
            .get_key_value(group)
            .map_or_else(|| group.into(), |(known, _)| Arc::clone(known));
        let found = groups.entry(Arc::clone(&name)).or_insert_with(|| {
            self.count += 1;
            AppliedGroup::default()
        });
        ((vhost, name), found)
    }

    fn group_to_change(&mut self, vhost: &str, group: &str) -> (&mut AppliedGroup, &mut Changed) {
        let (name, _) = self.get_or_new(vhost, group);
        let changed = self.changed.entry(name.clone()).or_default();
        let groups = self.groups.entry(name.0).or_default();
        (groups.entry(name.1).or_default(), changed)
    }

    fn drop_if_nothing(&mut self, vhost: &str, group: &str) {
        let Some(groups) = self.groups.get_mut(vhost) else { return };
        if groups.get(group).is_some_and(AppliedGroup::is_nothing) {
            groups.remove(group);
            self.count -= 1;
        }
        if groups.is_empty() {
            self.groups.remove(vhost);
        }
    }
}

#[cfg(test)]
mod tests;
