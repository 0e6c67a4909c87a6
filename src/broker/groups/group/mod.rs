//! One group: who is in it, which generation it is in, what it waits for. Part of `broker::groups`; pure.
//!
//! The classic group protocol as Apache Kafka's coordinator carries it out. A step ([`Group::join`],
//! [`Group::sync`], [`Group::heartbeat`], …, [`Group::tick`] when time has passed) takes the time and leaves in
//! [`Step::effects`] what is to be done: answers by [`Ticket`], a snapshot to journal. Each ticket is answered once.
//!
//! ```text
//!            join                    all joined, or time is up
//!   Empty ──────────► Preparing ─────────────────────────────────► Completing
//!     ▲                │  ▲  ▲                                        │ │ the leader's sync,
//!     │ nobody is left │  │  └──── somebody joins, leaves, is late ───┘ │ journaled
//!     └────────────────┘  └─────── somebody joins, leaves, is late ─── Stable
//! ```
//!
//! - [`member`], [`roster`] who is in
//! - [`join`], [`sync`], [`rebalance`] how a generation comes about; [`presence`] who shows up, who goes, who is late
//! - [`snapshot`] what of it outlasts a restart
//! - [`subscription`] the one thing read of a consumer's metadata: the logs it subscribes to

pub mod join;
pub mod member;
pub mod presence;
pub mod rebalance;
pub mod roster;
pub mod snapshot;
pub mod subscription;
pub mod sync;

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::broker::groups::group::member::{Member, Ticket};
use crate::broker::groups::group::roster::Roster;
use crate::broker::groups::limits::GroupLimits;
use crate::broker::groups::verbs::{
    GroupDescription, GroupError, GroupListing, GroupState, Joined, Synced,
};

/// Shortest wait for the journal before whoever waits for it is sent to join again, ms.
const PATIENCE_MS_MIN: u64 = 30_000;

/// A moment at which a group does something.
#[derive(Debug)]
pub struct Step<'a> {
    /// Now, ms since 1970.
    pub now_ms: u64,
    /// The bounds.
    pub rules: &'a GroupLimits,
    /// What is to be done now.
    pub effects: Effects,
}

impl<'a> Step<'a> {
    /// A step at `now_ms`.
    #[must_use]
    pub fn new(now_ms: u64, rules: &'a GroupLimits) -> Self {
        Self { now_ms, rules, effects: Effects::default() }
    }
}

/// What is to be done after a step.
#[derive(Debug, Default)]
pub struct Effects {
    /// Answers to joins.
    pub joined: Vec<(Ticket, Result<Joined, GroupError>)>,
    /// Answers to syncs.
    pub synced: Vec<(Ticket, Result<Synced, GroupError>)>,
    /// What is to be journaled.
    pub save: Option<Save>,
}

/// A snapshot to be journaled.
#[derive(Debug, PartialEq, Eq)]
pub struct Save {
    /// Names it, for [`Group::saved`]; `None` if nobody waits for it.
    pub number: Option<u64>,
    /// See [`snapshot`].
    pub snapshot: Vec<u8>,
}

/// Assignments on their way to the journal.
#[derive(Debug)]
struct Storing {
    number: u64,
    assignments: BTreeMap<String, Bytes>,
    /// When the syncs that wait for it are told to join again.
    deadline_ms: u64,
}

/// A static member that came back under a new id, on its way to the journal.
#[derive(Debug)]
struct Replacing {
    number: u64,
    ticket: Ticket,
    /// The id it has now.
    id: String,
    /// What it was.
    before: Member,
    /// Who led before: told to clients that would assign if they found themselves to be the leader.
    leader_before: Option<String>,
    knows_skip_assignment: bool,
    /// When the member is sent to join again, with everybody else.
    deadline_ms: u64,
}

/// The first generation of an empty group waits for more members.
#[derive(Clone, Copy, Debug)]
struct Initial {
    /// What is left of the rebalance timeout after the wait under way, ms.
    remaining_ms: u64,
    /// Somebody came since the wait began.
    more: bool,
}

/// A group.
#[derive(Debug)]
pub struct Group {
    name: String,
    state: GroupState,
    generation: i32,
    /// `None` of a group that nobody has joined.
    protocol_type: Option<String>,
    protocol: Option<String>,
    leader: Option<String>,
    roster: Roster,
    /// Ids that were given out and have not joined, and until when they may (KIP-394).
    pending: BTreeMap<String, u64>,
    initial: Option<Initial>,
    join_deadline_ms: Option<u64>,
    sync_deadline_ms: Option<u64>,
    storing: Option<Storing>,
    replacing: Vec<Replacing>,
    next_save: u64,
}

impl Group {
    /// One that nobody is in.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            state: GroupState::Empty,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            roster: Roster::default(),
            pending: BTreeMap::new(),
            initial: None,
            join_deadline_ms: None,
            sync_deadline_ms: None,
            storing: None,
            replacing: Vec::new(),
            next_save: 1,
        }
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> GroupState {
        self.state
    }

    /// Its generation; 0 before the first.
    #[must_use]
    pub fn generation(&self) -> i32 {
        self.generation
    }

    /// How many are in it.
    #[must_use]
    pub fn size(&self) -> usize {
        self.roster.len()
    }

    /// Who is in it.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.roster.iter()
    }

    /// How many ids were given out with which nobody has joined yet.
    #[must_use]
    pub fn ids_given_out(&self) -> usize {
        self.pending.len()
    }

    /// Bytes of assignments on their way to the journal.
    #[must_use]
    pub fn storing_bytes(&self) -> usize {
        let assignments = self.storing.iter().flat_map(|storing| storing.assignments.values());
        assignments.map(Bytes::len).sum()
    }

    /// Whether it holds nothing that anybody could miss: no members, no ids given out, no past.
    #[must_use]
    pub fn is_vacant(&self) -> bool {
        self.state == GroupState::Empty && self.pending.is_empty() && self.generation == 0
    }

    /// Whether an id was given out with which somebody may join.
    #[must_use]
    pub fn awaits_joins(&self) -> bool {
        !self.pending.is_empty()
    }

    /// It is deleted. Only an empty group is; ids given out are void.
    pub fn bury(&mut self) {
        self.state = GroupState::Dead;
        self.pending.clear();
    }

    /// For a list of groups.
    #[must_use]
    pub fn listing(&self) -> GroupListing {
        GroupListing {
            group: self.name.clone(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            state: self.state,
        }
    }

    /// Described. What members were assigned is told of a stable group only; what may be done with it is not known
    /// here.
    #[must_use]
    pub fn describe(&self) -> GroupDescription {
        let stable = self.state == GroupState::Stable;
        let protocol = self.protocol.as_deref().filter(|_| stable);
        GroupDescription {
            listing: self.listing(),
            protocol: protocol.unwrap_or_default().to_owned(),
            members: self.roster.iter().map(|member| member.describe(protocol)).collect(),
            may_delete: false,
        }
    }

    /// Whether offsets of `log` may not be forgotten: a member subscribes to it, or may do so for all that can be
    /// told.
    ///
    /// # Errors
    /// `NotEmpty` if the members' metadata is not a consumer's.
    pub fn subscribes_to(&self, log: &str) -> Result<bool, GroupError> {
        if self.roster.is_empty() {
            return Ok(false);
        }
        if self.protocol_type.as_deref() != Some(subscription::CONSUMER) {
            return Err(GroupError::NotEmpty);
        }
        let Some(protocol) = &self.protocol else { return Ok(true) };
        Ok(self.roster.iter().any(|member| {
            let metadata = member.profile.metadata(protocol);
            subscription::logs(&metadata).is_none_or(|logs| logs.contains(&log))
        }))
    }

    /// When [`Group::tick`] has something to do, unless something happens before.
    #[must_use]
    pub fn next_deadline_ms(&self) -> Option<u64> {
        let members = self.roster.iter().filter_map(|member| member.deadline_ms);
        let pending = self.pending.values().copied();
        let phases = [
            self.join_deadline_ms,
            self.sync_deadline_ms,
            self.storing.as_ref().map(|it| it.deadline_ms),
            self.replacing.iter().map(|it| it.deadline_ms).min(),
        ];
        members.chain(pending).chain(phases.into_iter().flatten()).min()
    }

    /// Checks that `member_id` is in the group, and that nobody has taken over its instance id.
    fn check(&self, member_id: &str, instance_id: Option<&str>) -> Result<(), GroupError> {
        if let Some(instance_id) = instance_id {
            match self.roster.instance(instance_id) {
                None => return Err(GroupError::UnknownMember),
                Some(holder) if holder != member_id => return Err(GroupError::Fenced),
                Some(_) => {}
            }
        }
        self.roster.get(member_id).map(drop).ok_or(GroupError::UnknownMember)
    }

    fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    /// The longest rebalance timeout of a member.
    fn rebalance_timeout_ms(&self) -> u64 {
        let timeouts = self.roster.iter().map(|it| u64::from(it.profile.rebalance_timeout_ms));
        timeouts.max().unwrap_or(0)
    }

    /// When the journal has had long enough to say what became of a snapshot.
    fn patience_ends_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_add(self.rebalance_timeout_ms().max(PATIENCE_MS_MIN))
    }

    fn take_save_number(&mut self) -> u64 {
        let number = self.next_save;
        self.next_save += 1;
        number
    }
}

#[cfg(test)]
mod tests;
