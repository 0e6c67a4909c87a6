//! A member of a group: what it said of itself, what it was assigned, what it waits for. Part of `broker::groups::group`.

use bytes::Bytes;

use crate::broker::groups::verbs::{Join, JoinedMember, MemberDescription};

/// Names a request that waits for its answer.
pub type Ticket = u64;

/// What a member says of itself when it joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Its id, given by the broker.
    pub id: String,
    /// Of a static member (KIP-345).
    pub instance_id: Option<String>,
    /// The client's name for itself.
    pub client_id: String,
    /// Its address.
    pub client_host: String,
    /// Silence after which it is out.
    pub session_timeout_ms: u32,
    /// How long a rebalance waits for it.
    pub rebalance_timeout_ms: u32,
    /// Protocols, the preferred first, with its metadata for each. No name comes twice.
    pub protocols: Vec<(String, Bytes)>,
}

impl Profile {
    /// What `join` says, under the id `id`.
    pub(super) fn of(join: &Join, id: &str) -> Self {
        Self {
            id: id.to_owned(),
            instance_id: join.instance_id.clone(),
            client_id: join.client_id.clone(),
            client_host: join.client_host.clone(),
            session_timeout_ms: join.session_timeout_ms,
            rebalance_timeout_ms: join.rebalance_timeout_ms,
            protocols: distinct(&join.protocols),
        }
    }

    /// Its metadata for `protocol`; nothing if it does not speak it.
    #[must_use]
    pub fn metadata(&self, protocol: &str) -> Bytes {
        let found = self.protocols.iter().find(|(name, _)| name == protocol);
        found.map(|(_, metadata)| metadata.clone()).unwrap_or_default()
    }

    /// Whether it speaks `protocol`.
    #[must_use]
    pub fn speaks(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|(name, _)| name == protocol)
    }
}

/// A member. The first of two protocols of one name counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// What it said.
    pub profile: Profile,
    /// What the leader assigned to it, opaque.
    pub assignment: Bytes,
    /// Whether it has not been told its first generation: its client may not know its id and cannot send heartbeats.
    pub is_new: bool,
    /// Its join, while it waits for a generation.
    pub joining: Option<Ticket>,
    /// Its sync, while it waits for its assignment.
    pub syncing: Option<Ticket>,
    /// Whether it was told a generation and has not asked for its assignment.
    pub owes_sync: bool,
    /// When it is out unless it shows up; `None` while a request of its own waits for others.
    pub deadline_ms: Option<u64>,
}

impl Member {
    /// One that nobody waits for.
    pub(super) fn new(profile: Profile) -> Self {
        Self {
            profile,
            assignment: Bytes::new(),
            is_new: false,
            joining: None,
            syncing: None,
            owes_sync: false,
            deadline_ms: None,
        }
    }

    /// It has shown up: its session begins anew.
    pub(super) fn touch(&mut self, now_ms: u64) {
        self.deadline_ms = Some(now_ms.saturating_add(u64::from(self.profile.session_timeout_ms)));
    }

    /// Whether a join says what the member has said before.
    pub(super) fn says_the_same(&self, join: &Join) -> bool {
        self.profile.protocols == distinct(&join.protocols)
    }

    pub(super) fn to_leader(&self, protocol: &str) -> JoinedMember {
        JoinedMember {
            member_id: self.profile.id.clone(),
            instance_id: self.profile.instance_id.clone(),
            metadata: self.profile.metadata(protocol),
        }
    }

    /// Described; metadata and assignment only of a stable group, whose protocol is given.
    pub(super) fn describe(&self, protocol: Option<&str>) -> MemberDescription {
        MemberDescription {
            member_id: self.profile.id.clone(),
            instance_id: self.profile.instance_id.clone(),
            client_id: self.profile.client_id.clone(),
            client_host: self.profile.client_host.clone(),
            metadata: protocol.map(|protocol| self.profile.metadata(protocol)).unwrap_or_default(),
            assignment: protocol.map(|_| self.assignment.clone()).unwrap_or_default(),
        }
    }
}

fn distinct(protocols: &[(String, Bytes)]) -> Vec<(String, Bytes)> {
    let mut kept: Vec<(String, Bytes)> = Vec::with_capacity(protocols.len());
    for (name, metadata) in protocols {
        if !kept.iter().any(|(known, _)| known == name) {
            kept.push((name.clone(), metadata.clone()));
        }
    }
    kept
}
