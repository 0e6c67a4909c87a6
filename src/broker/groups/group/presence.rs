//! Who shows up, who goes, who is late. Part of `broker::groups::group`.

use crate::broker::groups::group::{Group, Step};
use crate::broker::groups::verbs::{GroupError, GroupState, Leaving, Membership};

impl Group {
    /// A member says that it is there.
    ///
    /// # Errors
    /// It is not in the group or behind; or it shall join again.
    pub fn heartbeat(&mut self, step: &mut Step<'_>, who: &Membership) -> Result<(), GroupError> {
        self.check(&who.member_id, who.instance_id.as_deref())?;
        if who.generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        if let Some(member) = self.roster.get_mut(&who.member_id) {
            member.touch(step.now_ms);
        }
        match self.state {
            GroupState::Empty | GroupState::Dead => Err(GroupError::UnknownMember),
            GroupState::PreparingRebalance => Err(GroupError::RebalanceInProgress),
            GroupState::CompletingRebalance | GroupState::Stable => Ok(()),
        }
    }

    /// Checks whether offsets may be committed by `who`, and counts it as a sign of life. Whoever is no member may
    /// commit to a group that nobody is in.
    ///
    /// # Errors
    /// As [`Group::heartbeat`]; while members join, offsets are still taken, while the leader assigns they are not.
    pub fn check_commit(
        &mut self,
        step: &mut Step<'_>,
        who: &Membership,
    ) -> Result<(), GroupError> {
        if who.generation < 0 && self.state == GroupState::Empty {
            return Ok(());
        }
        if who.generation < 0 && who.member_id.is_empty() && who.instance_id.is_none() {
            return Err(GroupError::UnknownMember);
        }
        self.check(&who.member_id, who.instance_id.as_deref())?;
        if who.generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        if self.state == GroupState::CompletingRebalance {
            return Err(GroupError::RebalanceInProgress);
        }
        if let Some(member) = self.roster.get_mut(&who.member_id) {
            member.touch(step.now_ms);
        }
        Ok(())
    }

    /// Members go, each on its own account; an instance id without a member id will do.
    pub fn leave(
        &mut self,
        step: &mut Step<'_>,
        members: &[Leaving],
    ) -> Vec<Result<(), GroupError>> {
        let before = self.roster.len();
        let answers: Vec<_> = members.iter().map(|leaving| self.let_go(step, leaving)).collect();
        self.go_on_after(step, before);
        self.tick(step);
        answers
    }

    fn let_go(&mut self, step: &mut Step<'_>, leaving: &Leaving) -> Result<(), GroupError> {
        let instance_id = leaving.instance_id.as_deref();
        let id = if leaving.member_id.is_empty() {
            let holder = instance_id.and_then(|instance_id| self.roster.instance(instance_id));
            holder.ok_or(GroupError::UnknownMember)?.to_owned()
        } else if self.pending.remove(&leaving.member_id).is_some() {
            return Ok(());
        } else {
            self.check(&leaving.member_id, instance_id)?;
            leaving.member_id.clone()
        };
        tracing::debug!(group = %self.name, member = id, reason = leaving.reason, "a member leaves");
        self.take_out(step, &id);
        Ok(())
    }

    /// Has done what is due.
    pub fn tick(&mut self, step: &mut Step<'_>) {
        let now_ms = step.now_ms;
        let given_up = self.pending.len();
        self.pending.retain(|_, until_ms| *until_ms > now_ms);
        if self.pending.len() < given_up {
            self.complete_if_all_joined(step);
        }
        self.end_sessions(step);
        if self.join_deadline_ms.is_some_and(|due| due <= now_ms) {
            self.end_wait(step);
        }
        if self.sync_deadline_ms.is_some_and(|due| due <= now_ms) {
            self.sync_deadline_ms = None;
            let late = self.roster.ids(|member| member.owes_sync);
            for id in &late {
                self.take_out(step, id);
            }
            if !late.is_empty() {
                self.go_on_without(step);
            }
        }
        // The journal did not say in time what became of a snapshot. It may still be journaled, which does no
        // harm: what members agree on next is journaled behind.
        let assigning = self.storing.as_ref().is_some_and(|it| it.deadline_ms <= now_ms);
        let lost = self.replacing.extract_if(.., |it| it.deadline_ms <= now_ms).count() > 0;
        if assigning || (lost && self.state == GroupState::Stable) {
            self.prepare(step);
        }
    }

    /// Members that were silent for too long are out. A member whose request waits for others is not silent, but
    /// for a new one, of which nothing more can be heard.
    fn end_sessions(&mut self, step: &mut Step<'_>) {
        let mut late = Vec::new();
        for member in self.roster.iter_mut() {
            if member.deadline_ms.is_none_or(|due| due > step.now_ms) {
                continue;
            }
            let waits = member.joining.is_some() || member.syncing.is_some();
            if waits && !member.is_new {
                member.deadline_ms = None;
            } else {
                late.push(member.profile.id.clone());
            }
        }
        for id in &late {
            tracing::debug!(group = %self.name, member = id, "a member is silent for too long");
            self.take_out(step, id);
        }
        if !late.is_empty() {
            self.go_on_without(step);
        }
    }

    /// Takes out whoever has that id, and goes on.
    pub(super) fn dismiss(&mut self, step: &mut Step<'_>, id: &str) {
        let before = self.roster.len();
        self.pending.remove(id);
        self.take_out(step, id);
        self.go_on_after(step, before);
    }

    /// Goes on after somebody may have gone, `before` of whom there were so many members. Who was only given an id was
    /// none: a rebalance need not wait for it any more, but none begins for its sake.
    fn go_on_after(&mut self, step: &mut Step<'_>, before: usize) {
        if self.roster.len() < before {
            self.go_on_without(step);
        } else {
            self.complete_if_all_joined(step);
        }
    }

    /// Takes a member out; what it waits for is answered so that a client that is alive joins as a new one. The
    /// oldest of the others leads if it led.
    pub(super) fn take_out(&mut self, step: &mut Step<'_>, id: &str) -> bool {
        let Some(member) = self.roster.remove(id) else { return false };
        if let Some(ticket) = member.joining {
            step.effects.joined.push((ticket, Err(GroupError::UnknownMember)));
        }
        if let Some(ticket) = member.syncing {
            step.effects.synced.push((ticket, Err(GroupError::UnknownMember)));
        }
        if self.is_leader(id) {
            self.leader = self.roster.iter().next().map(|member| member.profile.id.clone());
        }
        true
    }

    fn go_on_without(&mut self, step: &mut Step<'_>) {
        match self.state {
            GroupState::Stable | GroupState::CompletingRebalance => self.prepare(step),
            GroupState::PreparingRebalance => self.complete_if_all_joined(step),
            GroupState::Empty | GroupState::Dead => {}
        }
    }
}
