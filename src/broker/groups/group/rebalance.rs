//! How a group goes from one generation to the next. Part of `broker::groups::group`.

use bytes::Bytes;

use crate::broker::groups::group::{Group, Initial, Save, Step};
use crate::broker::groups::verbs::{GroupError, GroupState};

/// Shortest pause before a rebalance that nobody has joined is looked at again.
const LOOK_AGAIN_MS_MIN: u64 = 1_000;

impl Group {
    /// Somebody has come, gone or changed: a rebalance begins; or, if one is under way, perhaps everybody is there.
    pub(super) fn prepare_or_complete(&mut self, step: &mut Step<'_>) {
        match self.state {
            GroupState::Empty | GroupState::CompletingRebalance | GroupState::Stable => {
                self.prepare(step);
            }
            GroupState::PreparingRebalance => self.complete_if_all_joined(step),
            GroupState::Dead => {}
        }
    }

    /// Has all members join again. The first generation of an empty group waits a while for more of them.
    pub(super) fn prepare(&mut self, step: &mut Step<'_>) {
        if self.state == GroupState::CompletingRebalance {
            for member in self.roster.iter_mut() {
                member.assignment = Bytes::new();
            }
            self.answer_syncs(step, &Err(GroupError::RebalanceInProgress));
        }
        self.storing = None;
        self.forget_owed_syncs();
        let timeout_ms = self.rebalance_timeout_ms();
        let delay_ms = if self.state == GroupState::Empty {
            let delay_ms = u64::from(step.rules.initial_rebalance_delay_ms).min(timeout_ms);
            let remaining_ms = timeout_ms - delay_ms;
            self.initial = Some(Initial { remaining_ms, more: false });
            delay_ms
        } else {
            self.initial = None;
            timeout_ms
        };
        self.state = GroupState::PreparingRebalance;
        self.join_deadline_ms = Some(step.now_ms.saturating_add(delay_ms));
        let generation = self.generation;
        tracing::debug!(group = %self.name, generation, "a group prepares to rebalance");
        self.complete_if_all_joined(step);
    }

    pub(super) fn complete_if_all_joined(&mut self, step: &mut Step<'_>) {
        let all_joined =
            self.pending.is_empty() && self.roster.iter().all(|it| it.joining.is_some());
        let may_complete = self.initial.is_none() || self.roster.is_empty();
        if self.state == GroupState::PreparingRebalance && all_joined && may_complete {
            self.complete(step);
        }
    }

    /// The wait for members is over: once more if some came while the first generation waited.
    pub(super) fn end_wait(&mut self, step: &mut Step<'_>) {
        match &mut self.initial {
            Some(initial) if initial.more && initial.remaining_ms > 0 => {
                let delay_ms = u64::from(step.rules.initial_rebalance_delay_ms);
                let delay_ms = delay_ms.min(initial.remaining_ms);
                *initial = Initial { remaining_ms: initial.remaining_ms - delay_ms, more: false };
                self.join_deadline_ms = Some(step.now_ms.saturating_add(delay_ms));
            }
            _ => self.complete(step),
        }
    }

    /// Begins the next generation with whoever is there. Dynamic members that did not join are out; static ones
    /// stay until their session ends, so that a restart of theirs goes unnoticed (KIP-345).
    fn complete(&mut self, step: &mut Step<'_>) {
        self.join_deadline_ms = None;
        for id in self.roster.ids(|it| it.joining.is_none() && it.profile.instance_id.is_none()) {
            self.take_out(step, &id);
        }
        if self.roster.is_empty() {
            return self.become_empty(step);
        }
        let leads = self.leader.as_deref().and_then(|id| self.roster.get(id));
        if leads.is_none_or(|leader| leader.joining.is_none()) {
            let next = self.roster.iter().find(|member| member.joining.is_some());
            let Some(next) = next else {
                let pause_ms = self.rebalance_timeout_ms().max(LOOK_AGAIN_MS_MIN);
                self.join_deadline_ms = Some(step.now_ms.saturating_add(pause_ms));
                return;
            };
            self.leader = Some(next.profile.id.clone());
        }
        self.next_generation();
        self.protocol = self.roster.elect_protocol();
        self.state = GroupState::CompletingRebalance;
        self.sync_deadline_ms = Some(step.now_ms.saturating_add(self.rebalance_timeout_ms()));
        for id in self.roster.ids(|_| true) {
            let answer = self.generation_for(&id);
            let Some(member) = self.roster.get_mut(&id) else { continue };
            member.touch(step.now_ms);
            member.is_new = false;
            member.owes_sync = true;
            if let Some(ticket) = member.joining.take() {
                step.effects.joined.push((ticket, Ok(answer)));
            }
        }
    }

    fn become_empty(&mut self, step: &mut Step<'_>) {
        self.next_generation();
        self.state = GroupState::Empty;
        self.protocol = None;
        self.leader = None;
        step.effects.save = Some(Save { number: None, snapshot: self.snapshot(None) });
    }

    fn next_generation(&mut self) {
        self.initial = None;
        self.generation = self.generation.checked_add(1).unwrap_or(1);
    }

    fn forget_owed_syncs(&mut self) {
        self.sync_deadline_ms = None;
        for member in self.roster.iter_mut() {
            member.owes_sync = false;
        }
    }
}
