//! One group, step by step. Part of `broker::groups::group`.

mod lives;
mod model;
mod rebalances;
mod statics;

use std::collections::BTreeMap;

use bytes::Bytes;

use super::member::Ticket;
use super::{Effects, Group, Save, Step};
use crate::broker::groups::limits::GroupLimits;
use crate::broker::groups::verbs::{
    GroupError, GroupState, Join, Joined, Leaving, Membership, Sync, Synced,
};

const SESSION_MS: u64 = 10_000;
const REBALANCE_MS: u64 = 60_000;

fn limits() -> GroupLimits {
    GroupLimits {
        initial_rebalance_delay_ms: 0,
        session_timeout_ms_min: 6_000,
        session_timeout_ms_max: 1_800_000,
        members_max: 4,
        groups_max: 8,
        bytes_max: 1 << 20,
        offset_metadata_bytes_max: 64,
        offsets_retention_ms: 1,
        offsets_check_ms: 1,
        lag_series_max: 1,
    }
}

type Answer<T> = Result<T, GroupError>;

/// A group, a clock, and the answers so far.
struct Rig {
    group: Group,
    limits: GroupLimits,
    now_ms: u64,
    last_ticket: Ticket,
    joined: BTreeMap<Ticket, Answer<Joined>>,
    synced: BTreeMap<Ticket, Answer<Synced>>,
    saves: Vec<Save>,
    /// Whether the journal says yes at once.
    saves_at_once: bool,
}

fn join(id: &str, protocols: &[(&str, &str)]) -> Join {
    let owned =
        |(name, data): &(&str, &str)| ((*name).to_owned(), Bytes::copy_from_slice(data.as_bytes()));
    Join {
        group: "g".into(),
        member_id: id.into(),
        instance_id: None,
        client_id: "client".into(),
        client_host: "/1.2.3.4".into(),
        session_timeout_ms: SESSION_MS as u32,
        rebalance_timeout_ms: REBALANCE_MS as u32,
        protocol_type: "consumer".into(),
        protocols: protocols.iter().map(owned).collect(),
        wants_member_id: false,
        knows_skip_assignment: true,
        reason: None,
    }
}

/// A member of one protocol.
fn plain(id: &str) -> Join {
    join(id, &[("range", "m")])
}

fn fixed(id: &str, instance: &str) -> Join {
    Join { instance_id: Some(instance.into()), ..plain(id) }
}

fn who(id: &str, generation: i32) -> Membership {
    Membership { group: "g".into(), generation, member_id: id.into(), instance_id: None }
}

fn leaving(id: &str, instance: Option<&str>) -> Leaving {
    Leaving { member_id: id.into(), instance_id: instance.map(str::to_owned), reason: None }
}

impl Rig {
    fn new() -> Self {
        Self::over(Group::new("g"))
    }

    fn over(group: Group) -> Self {
        Self {
            group,
            limits: limits(),
            now_ms: 1_000_000,
            last_ticket: 0,
            joined: BTreeMap::new(),
            synced: BTreeMap::new(),
            saves: Vec::new(),
            saves_at_once: true,
        }
    }

    fn step<T>(&mut self, action: impl FnOnce(&mut Group, &mut Step<'_>, Ticket) -> T) -> T {
        self.last_ticket += 1;
        let mut step = Step::new(self.now_ms, &self.limits);
        let result = action(&mut self.group, &mut step, self.last_ticket);
        let effects = step.effects;
        self.take(effects);
        result
    }

    fn take(&mut self, effects: Effects) {
        for (ticket, answer) in effects.joined {
            assert!(self.joined.insert(ticket, answer).is_none(), "answered twice");
        }
        for (ticket, answer) in effects.synced {
            assert!(self.synced.insert(ticket, answer).is_none(), "answered twice");
        }
        let Some(save) = effects.save else { return };
        let number = save.number;
        self.saves.push(save);
        if let Some(number) = number.filter(|_| self.saves_at_once) {
            self.saved(number, Ok(()));
        }
    }

    fn saved(&mut self, number: u64, outcome: Answer<()>) {
        self.step(|group, step, _| group.saved(step, number, outcome));
    }

    fn join(&mut self, join: &Join, fresh: &str) -> Ticket {
        self.step(|group, step, ticket| {
            group.join(step, join, fresh, ticket);
            ticket
        })
    }

    fn sync(&mut self, who: Membership, assignments: &[(&str, &str)]) -> Ticket {
        let owned =
            |(id, it): &(&str, &str)| ((*id).to_owned(), Bytes::copy_from_slice(it.as_bytes()));
        let assignments = assignments.iter().map(owned).collect();
        let sync = Sync { who, protocol_type: None, protocol: None, assignments };
        self.step(|group, step, ticket| {
            group.sync(step, &sync, ticket);
            ticket
        })
    }

    fn heartbeat(&mut self, id: &str, generation: i32) -> Answer<()> {
        self.step(|group, step, _| group.heartbeat(step, &who(id, generation)))
    }

    fn leave(&mut self, members: &[Leaving]) -> Vec<Answer<()>> {
        self.step(|group, step, _| group.leave(step, members))
    }

    fn commit(&mut self, who: &Membership) -> Answer<()> {
        self.step(|group, step, _| group.check_commit(step, who))
    }

    /// Time passes, deadline by deadline.
    fn pass(&mut self, ms: u64) {
        let until_ms = self.now_ms + ms;
        while let Some(next_ms) = self.group.next_deadline_ms().filter(|next| *next <= until_ms) {
            self.now_ms = self.now_ms.max(next_ms);
            self.step(|group, step, _| group.tick(step));
            let after = self.group.next_deadline_ms();
            assert!(after.is_none_or(|after| after > self.now_ms), "a tick leaves nothing due");
        }
        self.now_ms = until_ms;
    }

    fn state(&self) -> GroupState {
        self.group.state()
    }

    fn refusal(&self, ticket: Ticket) -> &GroupError {
        match (self.joined.get(&ticket), self.synced.get(&ticket)) {
            (Some(answer), None) => answer.as_ref().unwrap_err(),
            (None, Some(answer)) => answer.as_ref().unwrap_err(),
            other => panic!("no answer: {other:?}"),
        }
    }

    fn joined(&self, ticket: Ticket) -> &Joined {
        self.joined.get(&ticket).expect("an answer").as_ref().unwrap()
    }

    fn assignment(&self, ticket: Ticket) -> &[u8] {
        &self.synced.get(&ticket).expect("an answer").as_ref().unwrap().assignment
    }

    /// A stable group of the members `a`, `b`, …, in generation 1 or 2; `a` leads.
    fn stable(joins: &[(Join, &str)]) -> Self {
        let mut rig = Self::new();
        rig.limits.initial_rebalance_delay_ms = 1;
        let tickets: Vec<_> = joins.iter().map(|(join, id)| rig.join(join, id)).collect();
        rig.pass(10);
        let generation = rig.group.generation();
        let leader = joins.first().unwrap().1;
        assert!(tickets.iter().all(|ticket| rig.joined(*ticket).leader == leader));
        let assignments: Vec<_> = joins.iter().map(|(_, id)| (*id, *id)).collect();
        for (_, id) in joins.iter().skip(1) {
            let instance_id = rig.group.roster.get(id).unwrap().profile.instance_id.clone();
            rig.sync(Membership { instance_id, ..who(id, generation) }, &[]);
        }
        rig.sync(who(leader, generation), &assignments);
        assert_eq!(rig.state(), GroupState::Stable);
        rig.limits.initial_rebalance_delay_ms = 0;
        rig
    }
}
