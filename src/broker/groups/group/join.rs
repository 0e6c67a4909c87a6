//! Members join. Part of `broker::groups::group`.

use crate::broker::groups::group::member::{Member, Profile, Ticket};
use crate::broker::groups::group::{Group, Replacing, Save, Step};
use crate::broker::groups::verbs::{GroupError, GroupState, Join, Joined};

/// How long the join of a new member waits: its client may have gone, and cannot say so.
const NEW_MEMBER_JOIN_MS: u64 = 5 * 60 * 1000;

/// Bytes of one member's protocols; every answer to the leader and every snapshot holds them.
pub const PROFILE_BYTES_MAX: usize = 1024 * 1024;

/// Protocols of one member; they are compared each with each. Clients have a handful.
pub const PROTOCOLS_MAX: usize = 64;

impl Group {
    /// A member joins, or joins again. A new one gets the id `fresh_id`, which nobody else has.
    pub fn join(&mut self, step: &mut Step<'_>, join: &Join, fresh_id: &str, ticket: Ticket) {
        if let Err(error) = self.admit(step, join, fresh_id, ticket) {
            step.effects.joined.push((ticket, Err(error)));
        }
        self.tick(step);
    }

    fn admit(
        &mut self,
        step: &mut Step<'_>,
        join: &Join,
        fresh_id: &str,
        ticket: Ticket,
    ) -> Result<(), GroupError> {
        let bounds = step.rules.session_timeout_ms_min..=step.rules.session_timeout_ms_max;
        if !bounds.contains(&join.session_timeout_ms) {
            return Err(GroupError::InvalidSessionTimeout);
        }
        if profile_bytes(join) > PROFILE_BYTES_MAX || join.protocols.len() > PROTOCOLS_MAX {
            return Err(GroupError::TooLarge);
        }
        if !self.has_room_for(join, step.rules.members_max) {
            self.dismiss(step, &join.member_id);
            return Err(GroupError::Full);
        }
        if !self.fits(join) {
            return Err(GroupError::InconsistentProtocol);
        }
        if join.member_id.is_empty() {
            self.admit_new(step, join, fresh_id, ticket)
        } else {
            self.admit_known(step, join, ticket)
        }
    }

    /// A member that is in, or waits to be, has room; others as long as the group is not full. While members join
    /// those count who did, so that of a group that has become too large the last are turned away.
    fn has_room_for(&self, join: &Join, members_max: usize) -> bool {
        // A static member that comes back without its id takes its own place.
        let holder = join.instance_id.as_deref().and_then(|it| self.roster.instance(it));
        let id = if join.member_id.is_empty() { holder } else { Some(join.member_id.as_str()) };
        let known = id.and_then(|id| self.roster.get(id));
        match self.state {
            GroupState::Empty | GroupState::Dead => true,
            GroupState::PreparingRebalance => {
                let joined = self.roster.iter().filter(|it| it.joining.is_some()).count();
                known.is_some_and(|it| it.joining.is_some()) || joined < members_max
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                known.is_some() || self.roster.len() < members_max
            }
        }
    }

    /// Whether the group could agree on a protocol with whoever joins.
    fn fits(&self, join: &Join) -> bool {
        if self.roster.is_empty() {
            return !join.protocol_type.is_empty() && !join.protocols.is_empty();
        }
        self.protocol_type.as_deref() == Some(&join.protocol_type)
            && join
                .protocols
                .iter()
                .any(|(name, _)| self.roster.iter().all(|member| member.profile.speaks(name)))
    }

    fn admit_new(
        &mut self,
        step: &mut Step<'_>,
        join: &Join,
        fresh_id: &str,
        ticket: Ticket,
    ) -> Result<(), GroupError> {
        let Some(instance_id) = &join.instance_id else {
            if !join.wants_member_id {
                self.add(step, join, fresh_id, ticket);
                return Ok(());
            }
            if self.pending.len() >= step.rules.members_max {
                return Err(GroupError::Full);
            }
            let until_ms = step.now_ms.saturating_add(u64::from(join.session_timeout_ms));
            self.pending.insert(fresh_id.to_owned(), until_ms);
            return Err(GroupError::MemberIdRequired(fresh_id.to_owned()));
        };
        match self.roster.instance(instance_id).map(str::to_owned) {
            Some(old_id) => self.replace(step, join, &old_id, fresh_id, ticket),
            None => self.add(step, join, fresh_id, ticket),
        }
        Ok(())
    }

    fn admit_known(
        &mut self,
        step: &mut Step<'_>,
        join: &Join,
        ticket: Ticket,
    ) -> Result<(), GroupError> {
        let id = &join.member_id;
        if self.pending.contains_key(id) {
            // Ids are given out to dynamic members only.
            if join.instance_id.is_some() {
                return Err(GroupError::UnknownMember);
            }
            self.pending.remove(id);
            self.add(step, join, id, ticket);
            return Ok(());
        }
        self.check(id, join.instance_id.as_deref())?;
        let same = self.roster.get(id).is_some_and(|member| member.says_the_same(join));
        match self.state {
            GroupState::PreparingRebalance => self.rejoin(step, join, ticket),
            // It may have missed the answer to its join: it is told again.
            GroupState::CompletingRebalance if same => self.tell_again(step, id, ticket),
            // Also a follower that has nothing new to say; a leader that joins again wants to assign anew.
            GroupState::Stable if same && !self.is_leader(id) => self.tell_again(step, id, ticket),
            GroupState::CompletingRebalance | GroupState::Stable => {
                self.rejoin(step, join, ticket);
            }
            GroupState::Empty | GroupState::Dead => return Err(GroupError::UnknownMember),
        }
        Ok(())
    }

    fn tell_again(&mut self, step: &mut Step<'_>, id: &str, ticket: Ticket) {
        if let Some(member) = self.roster.get_mut(id) {
            member.touch(step.now_ms);
        }
        step.effects.joined.push((ticket, Ok(self.generation_for(id))));
    }

    /// The generation, as the member is told of it.
    pub(super) fn generation_for(&self, member_id: &str) -> Joined {
        let protocol = self.protocol.clone().unwrap_or_default();
        let members = if self.is_leader(member_id) {
            self.roster.iter().map(|member| member.to_leader(&protocol)).collect()
        } else {
            Vec::new()
        };
        Joined {
            generation: self.generation,
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol,
            leader: self.leader.clone().unwrap_or_default(),
            member_id: member_id.to_owned(),
            members,
            skip_assignment: false,
        }
    }

    fn add(&mut self, step: &mut Step<'_>, join: &Join, id: &str, ticket: Ticket) {
        if self.roster.is_empty() {
            self.protocol_type = Some(join.protocol_type.clone());
        }
        if self.state == GroupState::PreparingRebalance
            && let Some(initial) = &mut self.initial
        {
            initial.more = true;
        }
        let mut member = Member::new(Profile::of(join, id));
        member.is_new = true;
        member.joining = Some(ticket);
        member.deadline_ms = Some(step.now_ms.saturating_add(NEW_MEMBER_JOIN_MS));
        self.roster.add(member);
        if self.leader.is_none() {
            self.leader = Some(id.to_owned());
        }
        tracing::debug!(group = %self.name, member = id, reason = join.reason, "a member joins");
        self.prepare_or_complete(step);
    }

    fn rejoin(&mut self, step: &mut Step<'_>, join: &Join, ticket: Ticket) {
        self.note_join(step, join, &join.member_id, ticket);
        self.prepare_or_complete(step);
    }

    /// The member has said something else, and waits. An earlier join of its own that waited is told to try again:
    /// its client cannot be reading that answer any more.
    fn note_join(&mut self, step: &mut Step<'_>, join: &Join, id: &str, ticket: Ticket) {
        let Some(member) = self.roster.get_mut(id) else { return };
        let fresh = Profile::of(join, id);
        member.profile.protocols = fresh.protocols;
        member.profile.session_timeout_ms = fresh.session_timeout_ms;
        member.profile.rebalance_timeout_ms = fresh.rebalance_timeout_ms;
        member.profile.client_id = fresh.client_id;
        member.profile.client_host = fresh.client_host;
        if let Some(earlier) = member.joining.replace(ticket) {
            step.effects.joined.push((earlier, Err(GroupError::RebalanceInProgress)));
        }
    }

    /// A static member comes back without its id: whoever had the instance id until now is fenced (KIP-345). A
    /// stable group whose protocol does not change need not rebalance.
    fn replace(
        &mut self,
        step: &mut Step<'_>,
        join: &Join,
        old_id: &str,
        new_id: &str,
        ticket: Ticket,
    ) {
        let leader_before = self.leader.clone();
        let Some(member) = self.roster.get_mut(old_id) else { return };
        if let Some(earlier) = member.joining.take() {
            step.effects.joined.push((earlier, Err(GroupError::Fenced)));
        }
        if let Some(earlier) = member.syncing.take() {
            step.effects.synced.push((earlier, Err(GroupError::Fenced)));
        }
        let before = member.clone();
        // Its client knew its id.
        member.is_new = false;
        member.touch(step.now_ms);
        self.roster.rename(old_id, new_id);
        if self.is_leader(old_id) {
            self.leader = Some(new_id.to_owned());
        }
        self.note_join(step, join, new_id, ticket);
        match self.state {
            GroupState::Stable if self.roster.elect_protocol() == self.protocol => {
                let number = self.take_save_number();
                self.replacing.push(Replacing {
                    number,
                    ticket,
                    id: new_id.to_owned(),
                    before,
                    leader_before,
                    knows_skip_assignment: join.knows_skip_assignment,
                    deadline_ms: self.patience_ends_ms(step.now_ms),
                });
                step.effects.save =
                    Some(Save { number: Some(number), snapshot: self.snapshot(None) });
            }
            // While the leader assigns, it may know the old id only.
            _ => self.prepare_or_complete(step),
        }
    }

    /// What replaced a static member is journaled, or was refused.
    pub(super) fn replaced(
        &mut self,
        step: &mut Step<'_>,
        replacing: Replacing,
        outcome: Result<(), GroupError>,
    ) {
        let Replacing { ticket, id, before, leader_before, knows_skip_assignment, .. } = replacing;
        // Otherwise somebody has answered it meanwhile, or a rebalance will.
        let waits = self.roster.get(&id).is_some_and(|member| member.joining == Some(ticket));
        if !waits || self.state != GroupState::Stable {
            return;
        }
        if let Err(error) = outcome {
            if self.is_leader(&id) {
                self.leader = Some(before.profile.id.clone());
            }
            self.roster.rename(&id, &before.profile.id);
            if let Some(member) = self.roster.get_mut(&before.profile.id) {
                *member = before;
                member.touch(step.now_ms);
            }
            step.effects.joined.push((ticket, Err(error)));
            return;
        }
        if let Some(member) = self.roster.get_mut(&id) {
            member.joining = None;
            member.touch(step.now_ms);
        }
        let mut answer = self.generation_for(&id);
        if knows_skip_assignment {
            // The leader learns of all members, so that it can watch their logs, and leaves them as they are (KIP-814).
            answer.skip_assignment = self.is_leader(&id);
        } else {
            // It must not take itself for the leader: what it would assign would reach nobody.
            answer.leader = leader_before.unwrap_or_default();
            answer.members.clear();
        }
        step.effects.joined.push((ticket, Ok(answer)));
    }
}

fn profile_bytes(join: &Join) -> usize {
    let protocols = join.protocols.iter().map(|(name, metadata)| name.len() + metadata.len());
    let names = join.client_id.len() + join.protocol_type.len();
    protocols.sum::<usize>() + names + join.instance_id.as_ref().map_or(0, String::len)
}
