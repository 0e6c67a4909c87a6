//! Verbs on membership: join, sync, heartbeat, leave. Part of `broker::groups`.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::auth::acl::Action;
use crate::auth::principal::Principal;
use crate::broker::Broker;
use crate::broker::engine::NowMs;
use crate::broker::groups::ROUTE_PREFIX;
use crate::broker::groups::group::Step;
use crate::broker::groups::verbs::{GroupError, Join, Joined, Leaving, Membership, Sync, Synced};

impl Broker {
    /// Joins a group; completes when the generation is formed.
    ///
    /// # Errors
    /// See [`GroupError`].
    pub async fn join_group(
        self: &Arc<Self>,
        who: &Principal,
        join: Join,
        now_ms: &NowMs,
    ) -> Result<Joined, GroupError> {
        let answer = self.begin_join(who, &join, now_ms)?;
        drop(join);
        answer.await.unwrap_or_else(|_| Err(stopping()))
    }

    fn begin_join(
        self: &Arc<Self>,
        who: &Principal,
        join: &Join,
        clock: &NowMs,
    ) -> Result<oneshot::Receiver<Result<Joined, GroupError>>, GroupError> {
        check_member_name(&join.group)?;
        self.may_group(who, Action::Subscribe, &join.group)?;
        let fresh_id = fresh_member_id(join)?;
        let now_ms = clock();
        let limits = self.limits();
        let action = |live: &Arc<_>, inner: &mut super::live::Inner| {
            let weights = &self.groups.live.weights;
            if let Err(error) = weights.admit_join(&inner.group, join, limits.groups.bytes_max) {
                self.drop_if_vacant(live, inner);
                self.complain_of_weight(&join.group, now_ms);
                return Err(error);
            }
            let (ticket, answer) = inner.wait_to_join();
            let mut step = Step::new(now_ms, &limits.groups);
            inner.group.join(&mut step, join, &fresh_id, ticket);
            let effects = step.effects;
            self.carry_out(live, inner, effects, now_ms, Some((self, clock)));
            Ok(answer)
        };
        // Whoever believes to be a member is none of a group that there is not.
        if join.member_id.is_empty() {
            self.with_group_or_new(&who.vhost, &join.group, action)?
        } else {
            let answer = self.with_group(&who.vhost, &join.group, action);
            answer.unwrap_or(Err(GroupError::UnknownMember))
        }
    }

    fn complain_of_weight(&self, group: &str, now_ms: u64) {
        if self.logs.may_complain(now_ms) {
            let bytes = self.groups.live.weights.sum();
            tracing::warn!(group, bytes, "a member was refused: groups.bytes_max is reached");
        }
    }

    /// Brings or asks for assignments; completes when the leader has brought them and they are durable.
    ///
    /// # Errors
    /// See [`GroupError`].
    pub async fn sync_group(
        self: &Arc<Self>,
        who: &Principal,
        sync: Sync,
        now_ms: &NowMs,
    ) -> Result<Synced, GroupError> {
        let answer = self.begin_sync(who, &sync, now_ms)?;
        drop(sync);
        answer.await.unwrap_or_else(|_| Err(stopping()))
    }

    fn begin_sync(
        self: &Arc<Self>,
        who: &Principal,
        sync: &Sync,
        clock: &NowMs,
    ) -> Result<oneshot::Receiver<Result<Synced, GroupError>>, GroupError> {
        check_member_name(&sync.who.group)?;
        self.may_group(who, Action::Subscribe, &sync.who.group)?;
        let now_ms = clock();
        let limits = self.limits();
        let answer = self.with_group(&who.vhost, &sync.who.group, |live, inner| {
            let weights = &self.groups.live.weights;
            if let Err(error) = weights.admit_sync(&inner.group, sync, limits.groups.bytes_max) {
                self.complain_of_weight(&sync.who.group, now_ms);
                return Err(error);
            }
            let (ticket, answer) = inner.wait_to_sync();
            let mut step = Step::new(now_ms, &limits.groups);
            inner.group.sync(&mut step, sync, ticket);
            let effects = step.effects;
            self.carry_out(live, inner, effects, now_ms, Some((self, clock)));
            Ok(answer)
        });
        answer.unwrap_or(Err(GroupError::UnknownMember))
    }

    /// A member is there.
    ///
    /// # Errors
    /// See [`GroupError`].
    pub fn group_heartbeat(
        &self,
        who: &Principal,
        member: &Membership,
        now_ms: u64,
    ) -> Result<(), GroupError> {
        check_member_name(&member.group)?;
        self.may_group(who, Action::Subscribe, &member.group)?;
        let limits = self.limits();
        // It only puts off a deadline that is set: there is nothing to carry out.
        let answer = self.with_group(&who.vhost, &member.group, |_, inner| {
            inner.group.heartbeat(&mut Step::new(now_ms, &limits.groups), member)
        });
        answer.unwrap_or(Err(GroupError::UnknownMember))
    }

    /// Members go, each on its own account.
    ///
    /// # Errors
    /// About the group; about each member inside.
    pub fn leave_group(
        &self,
        who: &Principal,
        group: &str,
        members: &[Leaving],
        now_ms: u64,
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        check_member_name(group)?;
        self.may_group(who, Action::Subscribe, group)?;
        let limits = self.limits();
        let answers = self.with_group(&who.vhost, group, |live, inner| {
            let mut step = Step::new(now_ms, &limits.groups);
            let answers = inner.group.leave(&mut step, members);
            let effects = step.effects;
            self.carry_out(live, inner, effects, now_ms, None);
            answers
        });
        Ok(answers.unwrap_or_else(|| vec![Err(GroupError::UnknownMember); members.len()]))
    }
}

fn stopping() -> GroupError {
    GroupError::Unavailable("the broker stops".to_owned())
}

/// Whether members may join a group of that name.
pub(super) fn check_member_name(group: &str) -> Result<(), GroupError> {
    if group.is_empty() { Err(GroupError::InvalidGroup) } else { check_name(group) }
}

/// Whether clients may change a group of that name. Offsets may be committed to the one without a name.
pub(super) fn check_name(group: &str) -> Result<(), GroupError> {
    if group.starts_with(ROUTE_PREFIX) { Err(GroupError::InvalidGroup) } else { Ok(()) }
}

/// An id that nobody has: what the client calls itself, and 128 bits of chance.
fn fresh_member_id(join: &Join) -> Result<String, GroupError> {
    let mut dice = [0; 16];
    getrandom::fill(&mut dice).map_err(|error| GroupError::Unavailable(error.to_string()))?;
    let mut id = join.instance_id.as_ref().unwrap_or(&join.client_id).clone();
    for (at, byte) in dice.iter().enumerate() {
        let dash = if matches!(at, 0 | 4 | 6 | 8 | 10) { "-" } else { "" };
        id.push_str(&format!("{dash}{byte:02x}"));
    }
    Ok(id)
}
