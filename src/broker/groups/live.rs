//! Live groups: each behind its lock, with those who wait for it and the deadline that is set for it. Part of
//! `broker::groups`.
//!
//! Every group that the journal knows has a live one, but for those of routes; so has every group somebody has just
//! begun to join. What a step of a group asks for is carried out before its lock is given back.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use ahash::AHashMap;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::broker::Broker;
use crate::broker::Job;
use crate::broker::consumer::{Completer, Outcome, Waiter};
use crate::broker::engine::NowMs;
use crate::broker::groups::ROUTE_PREFIX;
use crate::broker::groups::group::member::Ticket;
use crate::broker::groups::group::{Effects, Group, Step};
use crate::broker::groups::verbs::{GroupError, GroupState, Joined, Synced};
use crate::broker::groups::weight::{Weight, Weights};
use crate::broker::record::{GroupRecord, Record};
use crate::model::ids::{GroupId, Lsn};

type Answer<T> = Result<T, GroupError>;

/// Live groups by name and by number.
#[derive(Debug, Default)]
pub struct LiveGroups {
    table: Mutex<Table>,
    pub(super) weights: Weights,
}

#[derive(Debug, Default)]
struct Table {
    by_name: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Arc<LiveGroup>>>,
    by_id: AHashMap<GroupId, Arc<LiveGroup>>,
    last_id: u64,
}

/// One of them.
pub(super) struct LiveGroup {
    id: GroupId,
    pub(super) vhost: Arc<str>,
    pub(super) name: Arc<str>,
    pub(super) inner: Mutex<Inner>,
}

impl fmt::Debug for LiveGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveGroup").field("vhost", &self.vhost).field("name", &self.name).finish()
    }
}

/// What a group's lock guards.
pub(super) struct Inner {
    pub(super) group: Group,
    joins: AHashMap<Ticket, oneshot::Sender<Answer<Joined>>>,
    syncs: AHashMap<Ticket, oneshot::Sender<Answer<Synced>>>,
    last_ticket: Ticket,
    /// The earliest deadline left with the timers.
    armed_ms: Option<u64>,
    /// Whether the journal has a record of it, or will have.
    pub(super) recorded: bool,
    /// The last record of it that was submitted.
    last_lsn: Lsn,
    /// What is counted of it in memory.
    weight: Weight,
    /// Whether the journal did not take that its last member is gone.
    owes_empty: bool,
}

impl Inner {
    /// A record of the group was submitted.
    pub(super) fn submitted(&mut self, lsn: Lsn) {
        self.recorded = true;
        self.last_lsn = lsn;
    }

    /// Whether nobody is in the group or about to be, and all that was submitted of it is `applied`: what the journal
    /// says of it is all there is to know, as long as its lock is held.
    pub(super) fn is_at_rest(&self, applied: Lsn) -> bool {
        let is_idle = self.group.state() == GroupState::Empty && !self.group.awaits_joins();
        is_idle && self.last_lsn <= applied
    }

    fn next_ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        self.last_ticket
    }

    /// A ticket for a join, and where its answer comes.
    pub(super) fn wait_to_join(&mut self) -> (Ticket, oneshot::Receiver<Answer<Joined>>) {
        let (sender, receiver) = oneshot::channel();
        let ticket = self.next_ticket();
        self.joins.insert(ticket, sender);
        (ticket, receiver)
    }

    /// A ticket for a sync, and where its answer comes.
    pub(super) fn wait_to_sync(&mut self) -> (Ticket, oneshot::Receiver<Answer<Synced>>) {
        let (sender, receiver) = oneshot::channel();
        let ticket = self.next_ticket();
        self.syncs.insert(ticket, sender);
        (ticket, receiver)
    }

    /// Sends answers. Whoever gave up waiting needs none.
    fn answer(&mut self, effects: &mut Effects) {
        for (ticket, answer) in effects.joined.drain(..) {
            if let Some(sender) = self.joins.remove(&ticket) {
                drop(sender.send(answer));
            }
        }
        for (ticket, answer) in effects.synced.drain(..) {
            if let Some(sender) = self.syncs.remove(&ticket) {
                drop(sender.send(answer));
            }
        }
    }
}

impl LiveGroups {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.lock().by_id.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every group: vhost, name, where it stands, how many are in it. For metrics.
    #[must_use]
    pub fn survey(&self) -> Vec<(Arc<str>, Arc<str>, GroupState, usize)> {
        let all = self.all(None);
        let seen = all.iter().map(|live| {
            let inner = live.inner.lock();
            (live.vhost.clone(), live.name.clone(), inner.group.state(), inner.group.size())
        });
        seen.collect()
    }

    pub(super) fn get(&self, vhost: &str, name: &str) -> Option<Arc<LiveGroup>> {
        self.table.lock().by_name.get(vhost)?.get(name).cloned()
    }

    fn by_id(&self, id: GroupId) -> Option<Arc<LiveGroup>> {
        self.table.lock().by_id.get(&id).cloned()
    }

    /// The groups of one vhost, or of all.
    pub(super) fn all(&self, vhost: Option<&str>) -> Vec<Arc<LiveGroup>> {
        let table = self.table.lock();
        match vhost {
            Some(vhost) => {
                table.by_name.get(vhost).into_iter().flat_map(BTreeMap::values).cloned().collect()
            }
            None => table.by_name.values().flat_map(BTreeMap::values).cloned().collect(),
        }
    }

    /// Adds the group that `make` makes, which also says whether the journal knows it, unless there is one.
    fn get_or_add(
        &self,
        vhost: &Arc<str>,
        name: &str,
        groups_max: usize,
        make: impl FnOnce() -> (Group, bool),
    ) -> Option<Arc<LiveGroup>> {
        let mut table = self.table.lock();
        let table = &mut *table;
        if let Some(found) = table.by_name.get(vhost).and_then(|groups| groups.get(name)) {
            return Some(Arc::clone(found));
        }
        if table.by_id.len() >= groups_max {
            return None;
        }
        let (group, recorded) = make();
        table.last_id += 1;
        let name: Arc<str> = name.into();
        let live = Arc::new(LiveGroup {
            id: GroupId(table.last_id),
            vhost: vhost.clone(),
            name: name.clone(),
            inner: Mutex::new(Inner {
                group,
                joins: AHashMap::new(),
                syncs: AHashMap::new(),
                last_ticket: 0,
                armed_ms: None,
                recorded,
                last_lsn: Lsn(0),
                weight: Weight::default(),
                owes_empty: false,
            }),
        });
        table.by_name.entry(vhost.clone()).or_default().insert(name, Arc::clone(&live));
        table.by_id.insert(live.id, Arc::clone(&live));
        Some(live)
    }

    /// Buries a group and takes it out. The ids that it gave out are void, and count no more.
    pub(super) fn bury(&self, live: &LiveGroup, inner: &mut Inner) {
        inner.group.bury();
        self.weights.weigh(&inner.group, &mut inner.weight);
        self.remove(live);
    }

    fn remove(&self, live: &LiveGroup) {
        let mut table = self.table.lock();
        table.by_id.remove(&live.id);
        if let Some(groups) = table.by_name.get_mut(&live.vhost) {
            groups.remove(&live.name);
            if groups.is_empty() {
                table.by_name.remove(&live.vhost);
            }
        }
    }
}

/// Tells a group what became of its snapshot.
struct Saved {
    broker: Arc<Broker>,
    now_ms: NowMs,
    live: Arc<LiveGroup>,
}

impl Completer for Saved {
    fn complete(&self, token: u64, outcome: Outcome) -> bool {
        let outcome = match outcome {
            Outcome::Done => Ok(()),
            _ => Err(GroupError::Unavailable("the group's record was refused".to_owned())),
        };
        let now_ms = (self.now_ms)();
        let mut inner = self.live.inner.lock();
        let limits = self.broker.limits();
        let mut step = Step::new(now_ms, &limits.groups);
        inner.group.saved(&mut step, token, outcome);
        let effects = step.effects;
        self.broker.carry_out(&self.live, &mut inner, effects, now_ms, None);
        false
    }

    fn wake(&self) {}
}

impl Broker {
    /// Calls `action` with the group, locked, if there is one.
    pub(super) fn with_group<T>(
        &self,
        vhost: &str,
        name: &str,
        action: impl FnOnce(&Arc<LiveGroup>, &mut Inner) -> T,
    ) -> Option<T> {
        loop {
            let live = self.groups.live.get(vhost, name)?;
            let mut inner = live.inner.lock();
            // Deleted since it was found: there may be another by now.
            if inner.group.state() != GroupState::Dead {
                return Some(action(&live, &mut inner));
            }
        }
    }

    /// Calls `action` with the group, locked, which is made if there is none.
    pub(super) fn with_group_or_new<T>(
        &self,
        vhost: &Arc<str>,
        name: &str,
        action: impl FnOnce(&Arc<LiveGroup>, &mut Inner) -> T,
    ) -> Result<T, GroupError> {
        let groups_max = self.limits().groups.groups_max;
        loop {
            let live = self.groups.live.get_or_add(vhost, name, groups_max, || {
                // What a deletion on its way to the journal has not removed yet: its generations go on.
                let applied = self.groups.applied.lock();
                let known = applied.get(vhost, name);
                let snapshot = known.and_then(|known| known.snapshot.as_ref());
                let group = snapshot.and_then(|(_, it)| Group::restore_empty(name, it).ok());
                (group.unwrap_or_else(|| Group::new(name)), known.is_some())
            });
            let live = live.ok_or(GroupError::Full)?;
            let mut inner = live.inner.lock();
            if inner.group.state() != GroupState::Dead {
                return Ok(action(&live, &mut inner));
            }
        }
    }

    /// Carries out what a step of a group asks for. A snapshot that the group waits for needs `clock`.
    pub(super) fn carry_out(
        &self,
        live: &Arc<LiveGroup>,
        inner: &mut Inner,
        mut effects: Effects,
        now_ms: u64,
        clock: Option<(&Arc<Self>, &NowMs)>,
    ) {
        inner.answer(&mut effects);
        while let Some(save) = effects.save.take() {
            let waiter = clock.zip(save.number).map(|((broker, clock), number)| {
                let (broker, now_ms) = (Arc::clone(broker), Arc::clone(clock));
                let saved = Saved { broker, now_ms, live: Arc::clone(live) };
                Waiter::Connection(Arc::new(saved), number)
            });
            let error = match self.submit_snapshot(live, &save.snapshot, waiter, now_ms) {
                Ok(lsn) => {
                    inner.submitted(lsn);
                    inner.owes_empty = false;
                    break;
                }
                Err(error) => error,
            };
            let group = &*live.name;
            tracing::warn!(group, %error, "a group's members could not be journaled");
            // Of an empty group an older membership stays journaled: after a restart its members are silent.
            let Some(number) = save.number else {
                inner.owes_empty = true;
                break;
            };
            let limits = self.limits();
            let mut step = Step::new(now_ms, &limits.groups);
            inner.group.saved(&mut step, number, Err(error));
            effects = step.effects;
            inner.answer(&mut effects);
        }
        self.groups.live.weights.weigh(&inner.group, &mut inner.weight);
        if !self.drop_if_vacant(live, inner) {
            self.arm(live, inner);
        }
    }

    /// Takes out a group of which there is nothing to remember. Says whether it was one.
    pub(super) fn drop_if_vacant(&self, live: &LiveGroup, inner: &mut Inner) -> bool {
        let is_nothing = inner.group.is_vacant() && !inner.recorded;
        if is_nothing {
            self.groups.live.bury(live, inner);
        }
        is_nothing
    }

    /// Has it journaled that the group is empty, if the journal did not take it then; says whether that was so. Until
    /// it is known nobody can tell since when the group is without members.
    pub(super) fn make_up_for_empty(
        &self,
        live: &LiveGroup,
        inner: &mut Inner,
        now_ms: u64,
    ) -> bool {
        if !inner.owes_empty {
            return false;
        }
        let snapshot = inner.group.snapshot(None);
        if let Ok(lsn) = self.submit_snapshot(live, &snapshot, None, now_ms) {
            inner.submitted(lsn);
            inner.owes_empty = false;
        }
        true
    }

    fn submit_snapshot(
        &self,
        live: &LiveGroup,
        snapshot: &[u8],
        waiter: Option<Waiter>,
        now_ms: u64,
    ) -> Result<Lsn, GroupError> {
        let (vhost, group) = (&*live.vhost, &*live.name);
        let record = GroupRecord::Put { vhost, group, time_ms: now_ms, snapshot };
        Ok(self.submit(waiter, &Record::Group(record))?)
    }

    /// Sets the group's next deadline, unless an earlier one is set.
    fn arm(&self, live: &LiveGroup, inner: &mut Inner) {
        if let Some(next_ms) = inner.group.next_deadline_ms()
            && inner.armed_ms.is_none_or(|armed_ms| next_ms < armed_ms)
        {
            inner.armed_ms = Some(next_ms);
            self.timers.at(next_ms, Job::Group(live.id));
        }
    }

    /// A deadline of a group has passed.
    pub(crate) fn tick_group(&self, id: GroupId, now_ms: u64) {
        let Some(live) = self.groups.live.by_id(id) else { return };
        let mut inner = live.inner.lock();
        // An earlier one was set after it: that one looked, and sets the next.
        let stale = inner.armed_ms.is_none_or(|armed_ms| armed_ms > now_ms);
        if stale || inner.group.state() == GroupState::Dead {
            return;
        }
        inner.armed_ms = None;
        let limits = self.limits();
        let mut step = Step::new(now_ms, &limits.groups);
        inner.group.tick(&mut step);
        let effects = step.effects;
        self.carry_out(&live, &mut inner, effects, now_ms, None);
    }

    /// Makes live groups of what the journal knows. Members are in as they were, and have a session's time to show
    /// up.
    pub(crate) fn revive_groups(&self, now_ms: u64) {
        let known: Vec<_> = {
            let applied = self.groups.applied.lock();
            let kept = applied.iter().filter(|(_, name, _)| !name.starts_with(ROUTE_PREFIX));
            let kept = kept.map(|(vhost, name, group)| {
                (vhost.clone(), name.clone(), group.snapshot.as_ref().map(|(_, it)| it.clone()))
            });
            kept.collect()
        };
        for (vhost, name, snapshot) in known {
            let restored = snapshot.map(|it| Group::restore(&name, &it, now_ms));
            let group = match restored {
                Some(Ok(group)) => group,
                Some(Err(error)) => {
                    tracing::error!(group = &*name, %error, "a group's members are lost: they join anew");
                    Group::new(&name)
                }
                None => Group::new(&name),
            };
            let live = self.groups.live.get_or_add(&vhost, &name, usize::MAX, || (group, true));
            if let Some(live) = live {
                let mut inner = live.inner.lock();
                let inner = &mut *inner;
                self.groups.live.weights.weigh(&inner.group, &mut inner.weight);
                self.arm(&live, inner);
            }
        }
    }
}
