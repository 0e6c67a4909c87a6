//! The filters of one vhost as a tree of levels. Part of `broker::router`.

use std::collections::BTreeMap;
use std::sync::Arc;

use ahash::AHashMap;

use crate::model::ids::{Lsn, QueueId};
use crate::model::topic::TopicFilter;

use super::super::declared::queue::DeclaredQueue;
use super::super::sessions::session::Session;
use super::super::sessions::subscription::Subscription;
use super::{Answer, Destination, Route};

#[derive(Clone)]
struct Subscriber {
    session: Arc<Session>,
    subscription: Subscription,
}

#[derive(Default)]
struct Members {
    sessions: BTreeMap<QueueId, Subscriber>,
    /// Queues of share groups, by the group's name.
    shares: BTreeMap<Box<str>, Arc<DeclaredQueue>>,
    routes: Vec<Arc<dyn Route>>,
}

impl Members {
    fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.shares.is_empty() && self.routes.is_empty()
    }
}

/// A level: what comes below it, and who ends here.
#[derive(Default)]
struct Level {
    children: AHashMap<Box<str>, At>,
    /// Below `+`.
    any: Option<At>,
    /// Filters that end at this level.
    here: Members,
    /// Filters that go on with a final `#`.
    rest: Members,
}

impl Level {
    fn is_unused(&self) -> bool {
        self.children.is_empty()
            && self.any.is_none()
            && self.here.is_empty()
            && self.rest.is_empty()
    }
}

/// Where a level stands in its tree's list.
type At = u32;

/// Where the levels begin.
const ROOT: At = 0;

/// The filters of one vhost.
///
/// Levels stand in one list and name each other by their places: whatever is done with a filter is a loop over its
/// levels, however many there are.
pub struct Tree {
    levels: Vec<Level>,
    /// Places that nobody uses.
    free: Vec<At>,
}

impl Default for Tree {
    fn default() -> Self {
        Self { levels: vec![Level::default()], free: Vec::new() }
    }
}

/// What matched, before a session's several subscriptions are merged.
#[derive(Default)]
pub struct Matches<'t> {
    sessions: Vec<&'t Subscriber>,
    shares: Vec<Arc<DeclaredQueue>>,
    routes: Vec<Arc<dyn Route>>,
}

/// Which of a level's members a filter ends at.
#[derive(Clone, Copy)]
enum End {
    Here,
    Rest,
}

impl Tree {
    /// Collects everyone whose filter matches `topic`.
    pub fn collect<'t>(&'t self, topic: &str, matches: &mut Matches<'t>) {
        // What is left of the topic at each level still to be seen; `None` when it is used up.
        let mut open: Vec<(At, Option<&str>)> = vec![(ROOT, Some(topic))];
        while let Some((at, left)) = open.pop() {
            let Some(level) = self.levels.get(at as usize) else { continue };
            // A leading wildcard does not match a topic that begins with `$` [MQTT-4.7.2-1].
            let wildcards = at != ROOT || !topic.starts_with('$');
            if wildcards {
                matches.add(&level.rest);
            }
            let Some(left) = left else {
                matches.add(&level.here);
                continue;
            };
            let (name, below) = match left.split_once('/') {
                Some((name, below)) => (name, Some(below)),
                None => (left, None),
            };
            open.extend(level.children.get(name).map(|child| (*child, below)));
            open.extend(level.any.filter(|_| wildcards).map(|any| (any, below)));
        }
    }

    /// The members of `filter`, with the levels to them made.
    fn make(&mut self, filter: &str) -> Option<&mut Members> {
        let mut at = ROOT;
        let mut end = End::Here;
        for name in filter.split('/') {
            if name == "#" {
                end = End::Rest;
                break;
            }
            at = match self.below(at, name) {
                Some(known) => known,
                None => self.put_below(at, name)?,
            };
        }
        self.members(at, end)
    }

    fn below(&self, at: At, name: &str) -> Option<At> {
        let level = self.levels.get(at as usize)?;
        if name == "+" { level.any } else { level.children.get(name).copied() }
    }

    /// A new level below one; `None` when there are as many as can be numbered.
    fn put_below(&mut self, at: At, name: &str) -> Option<At> {
        let new = match self.free.pop() {
            Some(free) => free,
            None => {
                let new = At::try_from(self.levels.len()).ok()?;
                self.levels.push(Level::default());
                new
            }
        };
        let level = self.levels.get_mut(at as usize)?;
        if name == "+" {
            level.any = Some(new);
        } else {
            level.children.insert(name.into(), new);
        }
        Some(new)
    }

    fn members(&mut self, at: At, end: End) -> Option<&mut Members> {
        let level = self.levels.get_mut(at as usize)?;
        Some(match end {
            End::Here => &mut level.here,
            End::Rest => &mut level.rest,
        })
    }

    /// The levels of `filter` from the first below the root on, if all are there, and which members it ends at.
    fn way(&self, filter: &str) -> Option<(Vec<At>, End)> {
        let mut way = Vec::new();
        for name in filter.split('/') {
            if name == "#" {
                return Some((way, End::Rest));
            }
            way.push(self.below(way.last().copied().unwrap_or(ROOT), name)?);
        }
        Some((way, End::Here))
    }

    /// The members of `filter`, if its levels are there.
    fn find(&mut self, filter: &str) -> Option<&mut Members> {
        let (way, end) = self.way(filter)?;
        self.members(way.last().copied().unwrap_or(ROOT), end)
    }

    /// Adds or replaces a subscription.
    pub fn subscribe(
        &mut self,
        filter: &TopicFilter,
        session: &Arc<Session>,
        subscription: &Subscription,
    ) {
        let subscriber =
            Subscriber { session: Arc::clone(session), subscription: subscription.clone() };
        if let Some(members) = self.make(filter.filter()) {
            members.sessions.insert(session.id, subscriber);
        }
    }

    /// Sets the queue that messages for the group of a shared filter go to.
    pub fn share(&mut self, filter: &TopicFilter, queue: &Arc<DeclaredQueue>) {
        let Some(group) = filter.share_group() else { return };
        if let Some(members) = self.make(filter.filter()) {
            members.shares.insert(group.into(), Arc::clone(queue));
        }
    }

    /// Takes the group of a shared filter out, and the levels that nobody uses any more.
    pub fn unshare(&mut self, filter: &TopicFilter) -> bool {
        let Some(group) = filter.share_group() else { return false };
        self.remove(filter, |members| members.shares.remove(group).is_some())
    }

    /// Sets the place against retained messages of a subscription that is there.
    pub fn set_since(&mut self, filter: &TopicFilter, session: QueueId, since: Lsn) {
        let members = self.find(filter.filter());
        if let Some(found) = members.and_then(|members| members.sessions.get_mut(&session)) {
            found.subscription.since = since;
        }
    }

    /// Takes a subscription out, and the levels that nobody uses any more.
    pub fn unsubscribe(&mut self, filter: &TopicFilter, session: QueueId) -> bool {
        self.remove(filter, |members| members.sessions.remove(&session).is_some())
    }

    /// Has `take` take something from the members of `filter`, if its levels are there.
    fn remove(&mut self, filter: &TopicFilter, take: impl FnOnce(&mut Members) -> bool) -> bool {
        let Some((mut way, end)) = self.way(filter.filter()) else { return false };
        let last = way.last().copied().unwrap_or(ROOT);
        let removed = self.members(last, end).is_some_and(take);
        let mut names: Vec<&str> = filter.levels().take(way.len()).collect();
        while let (Some(at), Some(name)) = (way.pop(), names.pop()) {
            if !self.levels.get(at as usize).is_some_and(Level::is_unused) {
                break;
            }
            self.take_away(way.last().copied().unwrap_or(ROOT), name, at);
        }
        removed
    }

    /// Takes the unused level `at`, called `name`, from below `above`.
    fn take_away(&mut self, above: At, name: &str, at: At) {
        if let Some(level) = self.levels.get_mut(above as usize) {
            if name == "+" {
                level.any = None;
            } else {
                level.children.remove(name);
            }
        }
        if let Some(level) = self.levels.get_mut(at as usize) {
            // Its maps keep no memory for whoever comes next.
            *level = Level::default();
            self.free.push(at);
        }
    }

    #[cfg(test)]
    pub(super) fn is_unused(&self) -> bool {
        self.levels.len() == self.free.len() + 1 && self.levels[0].is_unused()
    }

    /// Adds a route.
    pub fn add_route(&mut self, filter: &TopicFilter, route: Arc<dyn Route>) {
        if let Some(members) = self.make(filter.filter()) {
            members.routes.push(route);
        }
    }
}

impl<'t> Matches<'t> {
    fn add(&mut self, members: &'t Members) {
        self.sessions.extend(members.sessions.values());
        self.shares.extend(members.shares.values().map(Arc::clone));
        self.routes.extend(members.routes.iter().map(Arc::clone));
    }

    /// One destination a session; `publisher`'s own no-local subscriptions left out.
    #[must_use]
    pub fn into_answer(mut self, publisher: QueueId) -> Answer {
        let mut answer = Answer { routes: self.routes, shares: self.shares, ..Answer::default() };
        self.sessions.sort_by_key(|member| member.session.id);
        for member in self.sessions {
            let subscription = &member.subscription;
            if subscription.no_local && member.session.id == publisher {
                continue;
            }
            match answer.destinations.last_mut() {
                Some(last) if last.session.id == member.session.id => last.merge(subscription),
                _ => answer.destinations.push(Destination::new(&member.session, subscription)),
            }
        }
        answer
    }
}

impl Destination {
    fn new(session: &Arc<Session>, subscription: &Subscription) -> Self {
        Self {
            session: Arc::clone(session),
            qos: subscription.qos,
            retain_as_published: subscription.retain_as_published,
            subscription_ids: subscription.id.into_iter().collect(),
            since: subscription.since,
            via: None,
        }
    }

    fn merge(&mut self, subscription: &Subscription) {
        self.qos = self.qos.max(subscription.qos);
        self.retain_as_published |= subscription.retain_as_published;
        self.subscription_ids.extend(subscription.id);
        // An older matching subscription saw the retained value; a newer one's replay does not repeat it to
        // the session's live stream.
        self.since = self.since.min(subscription.since);
    }
}
