//! What memberships take in memory, over all groups, against their bound. Part of `broker::groups`.
//!
//! What a member says of itself and is assigned counts twice, for the journal's copy of it is in memory too. It counts
//! from the step that takes it in to the one that lets it go; whoever is in stays, and may join again as it was.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::broker::groups::group::Group;
use crate::broker::groups::group::member::Profile;
use crate::broker::groups::verbs::{GroupError, Join, Sync};

/// What a member takes beside the bytes that it is counted by.
const MEMBER_BYTES: usize = 512;
/// The group's own copy, and the journal's.
const COPIES: usize = 2;

/// Bytes of all groups.
#[derive(Debug, Default)]
pub struct Weights(AtomicUsize);

/// Bytes of one group that are counted in [`Weights`].
#[derive(Debug, Default)]
pub struct Weight(usize);

impl Weights {
    /// Bytes that count now.
    #[must_use]
    pub fn sum(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts what `group` takes now in place of what it took.
    pub fn weigh(&self, group: &Group, weight: &mut Weight) {
        let now = group.weight();
        self.0.fetch_add(now, Ordering::Relaxed);
        self.0.fetch_sub(std::mem::replace(&mut weight.0, now), Ordering::Relaxed);
    }

    /// Whether there is room for what `join` says.
    ///
    /// # Errors
    /// `Full`.
    pub fn admit_join(
        &self,
        group: &Group,
        join: &Join,
        bytes_max: usize,
    ) -> Result<(), GroupError> {
        let known = group.member_of(join).map_or(0, of_profile);
        self.admit(of_join(join), known, bytes_max)
    }

    /// Whether there is room for the assignments that `sync` brings.
    ///
    /// # Errors
    /// `Full`.
    pub fn admit_sync(
        &self,
        group: &Group,
        sync: &Sync,
        bytes_max: usize,
    ) -> Result<(), GroupError> {
        let brought: usize = sync.assignments.iter().map(|(_, bytes)| bytes.len()).sum();
        self.admit(brought * COPIES, group.assigned_bytes() * COPIES, bytes_max)
    }

    /// Of two who come at once both may find the same room.
    fn admit(&self, asked: usize, known: usize, bytes_max: usize) -> Result<(), GroupError> {
        let more = asked.saturating_sub(known);
        let fits = more == 0 || self.sum().saturating_add(more) <= bytes_max;
        if fits { Ok(()) } else { Err(GroupError::Full) }
    }
}

/// What the member takes that `join` is about.
fn of_join(join: &Join) -> usize {
    let instance = join.instance_id.as_ref().map_or(0, String::len);
    let names = instance + join.client_id.len() + join.client_host.len();
    MEMBER_BYTES + COPIES * (names + of_protocols(&join.protocols))
}

/// What a member takes, but for its assignment.
pub(super) fn of_profile(profile: &Profile) -> usize {
    let instance = profile.instance_id.as_ref().map_or(0, String::len);
    let names = instance + profile.client_id.len() + profile.client_host.len();
    MEMBER_BYTES + COPIES * (names + of_protocols(&profile.protocols))
}

fn of_protocols(protocols: &[(String, bytes::Bytes)]) -> usize {
    protocols.iter().map(|(name, metadata)| name.len() + metadata.len()).sum()
}

impl Group {
    /// What its members take in memory.
    #[must_use]
    pub fn weight(&self) -> usize {
        let members: usize = self.members().map(|member| of_profile(&member.profile)).sum();
        let pending = self.ids_given_out() * MEMBER_BYTES;
        members + pending + COPIES * (self.assigned_bytes() + self.storing_bytes())
    }

    /// The member that joins again, if it is one.
    fn member_of(&self, join: &Join) -> Option<&Profile> {
        let instance = join.instance_id.as_deref();
        let is_it = |it: &&Profile| {
            it.id == join.member_id || (instance.is_some() && it.instance_id.as_deref() == instance)
        };
        self.members().map(|member| &member.profile).find(is_it)
    }

    /// Bytes of what its members were assigned.
    fn assigned_bytes(&self) -> usize {
        self.members().map(|member| member.assignment.len()).sum()
    }
}
