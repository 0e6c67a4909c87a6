//! Members ask for their assignments; the leader brings everybody's. Part of `broker::groups::group`.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::broker::groups::group::member::Ticket;
use crate::broker::groups::group::{Group, Save, Step, Storing};
use crate::broker::groups::verbs::{GroupError, GroupState, Sync, Synced};

/// Bytes of a generation's assignments; a snapshot holds them.
pub const ASSIGNMENT_BYTES_MAX: usize = 16 * 1024 * 1024;

impl Group {
    /// A member asks for its assignment, or brings everybody's.
    pub fn sync(&mut self, step: &mut Step<'_>, sync: &Sync, ticket: Ticket) {
        match self.begin_sync(step, sync, ticket) {
            Ok(None) => {}
            Ok(Some(answer)) => step.effects.synced.push((ticket, Ok(answer))),
            Err(error) => step.effects.synced.push((ticket, Err(error))),
        }
        self.tick(step);
    }

    fn begin_sync(
        &mut self,
        step: &mut Step<'_>,
        sync: &Sync,
        ticket: Ticket,
    ) -> Result<Option<Synced>, GroupError> {
        let id = &sync.who.member_id;
        self.check(id, sync.who.instance_id.as_deref())?;
        if sync.who.generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        if differs(sync.protocol_type.as_deref(), self.protocol_type.as_deref())
            || differs(sync.protocol.as_deref(), self.protocol.as_deref())
        {
            return Err(GroupError::InconsistentProtocol);
        }
        match self.state {
            GroupState::Empty | GroupState::Dead => Err(GroupError::UnknownMember),
            GroupState::PreparingRebalance => Err(GroupError::RebalanceInProgress),
            GroupState::CompletingRebalance => self.wait_for_assignment(step, sync, ticket),
            GroupState::Stable => {
                self.has_asked(id);
                let answer = self.assignment_of(id);
                if let Some(member) = self.roster.get_mut(id) {
                    member.touch(step.now_ms);
                }
                Ok(Some(answer))
            }
        }
    }

    fn wait_for_assignment(
        &mut self,
        step: &mut Step<'_>,
        sync: &Sync,
        ticket: Ticket,
    ) -> Result<Option<Synced>, GroupError> {
        let id = &sync.who.member_id;
        let assigns = self.is_leader(id) && self.storing.is_none();
        let bytes: usize = sync.assignments.iter().map(|(id, it)| id.len() + it.len()).sum();
        if assigns && bytes > ASSIGNMENT_BYTES_MAX {
            return Err(GroupError::TooLarge);
        }
        self.has_asked(id);
        if let Some(member) = self.roster.get_mut(id) {
            // Its client cannot be reading the answer to an earlier one any more.
            if let Some(earlier) = member.syncing.replace(ticket) {
                step.effects.synced.push((earlier, Err(GroupError::RebalanceInProgress)));
            }
        }
        if assigns {
            self.store(step, sync);
        }
        Ok(None)
    }

    /// Has the leader's assignments journaled; whoever it left out gets an empty one.
    fn store(&mut self, step: &mut Step<'_>, sync: &Sync) {
        let brought: BTreeMap<&str, &Bytes> =
            sync.assignments.iter().map(|(id, bytes)| (id.as_str(), bytes)).collect();
        let assignments: BTreeMap<String, Bytes> = self
            .roster
            .iter()
            .map(|member| {
                let id = member.profile.id.as_str();
                (id.to_owned(), brought.get(id).map(|bytes| (*bytes).clone()).unwrap_or_default())
            })
            .collect();
        let number = self.take_save_number();
        let snapshot = self.snapshot(Some(&assignments));
        let deadline_ms = self.patience_ends_ms(step.now_ms);
        self.storing = Some(Storing { number, assignments, deadline_ms });
        step.effects.save = Some(Save { number: Some(number), snapshot });
    }

    /// The snapshot `number` is journaled and applied, or was refused.
    pub fn saved(&mut self, step: &mut Step<'_>, number: u64, outcome: Result<(), GroupError>) {
        if let Some(at) = self.replacing.iter().position(|it| it.number == number) {
            let replacing = self.replacing.swap_remove(at);
            self.replaced(step, replacing, outcome);
        } else if let Some(storing) = self.storing.take_if(|it| it.number == number) {
            match outcome {
                Ok(()) => self.stabilise(step, storing),
                Err(error) => {
                    self.answer_syncs(step, &Err(error));
                    self.prepare(step);
                }
            }
        }
        self.tick(step);
    }

    fn stabilise(&mut self, step: &mut Step<'_>, mut storing: Storing) {
        for member in self.roster.iter_mut() {
            member.assignment = storing.assignments.remove(&member.profile.id).unwrap_or_default();
        }
        self.state = GroupState::Stable;
        self.answer_syncs(step, &Ok(()));
        let size = self.size();
        tracing::debug!(group = %self.name, generation = self.generation, size, "a group is stable");
    }

    /// Answers everybody who waits for an assignment; their sessions begin anew.
    pub(super) fn answer_syncs(&mut self, step: &mut Step<'_>, outcome: &Result<(), GroupError>) {
        let protocol_type = self.protocol_type.clone().unwrap_or_default();
        let protocol = self.protocol.clone().unwrap_or_default();
        for member in self.roster.iter_mut() {
            let Some(ticket) = member.syncing.take() else { continue };
            member.touch(step.now_ms);
            let answer = outcome.clone().map(|()| Synced {
                protocol_type: protocol_type.clone(),
                protocol: protocol.clone(),
                assignment: member.assignment.clone(),
            });
            step.effects.synced.push((ticket, answer));
        }
    }

    fn assignment_of(&self, id: &str) -> Synced {
        Synced {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol: self.protocol.clone().unwrap_or_default(),
            assignment: self.roster.get(id).map(|it| it.assignment.clone()).unwrap_or_default(),
        }
    }

    fn has_asked(&mut self, id: &str) {
        if let Some(member) = self.roster.get_mut(id) {
            member.owes_sync = false;
        }
        if !self.roster.iter().any(|member| member.owes_sync) {
            self.sync_deadline_ms = None;
        }
    }
}

fn differs(said: Option<&str>, known: Option<&str>) -> bool {
    matches!((said, known), (Some(said), Some(known)) if said != known)
}
