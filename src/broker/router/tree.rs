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
pub struct Tree {
    children: AHashMap<Box<str>, Self>,
    /// Below `+`.
    any: Option<Box<Self>>,
    /// Filters that end at this level.
    here: Members,
    /// Filters that go on with a final `#`.
    rest: Members,
}

/// What matched, before a session's several subscriptions are merged.
#[derive(Default)]
pub struct Matches<'t> {
    sessions: Vec<&'t Subscriber>,
    shares: Vec<Arc<DeclaredQueue>>,
    routes: Vec<Arc<dyn Route>>,
}

impl Tree {
    /// Collects everyone whose filter matches `topic`.
    pub fn collect<'t>(&'t self, topic: &str, matches: &mut Matches<'t>) {
        self.walk(Some(topic), !topic.starts_with('$'), matches);
    }

    /// `levels` is what is left of the topic; `None` when it is used up. A leading wildcard does not match a
    /// topic that begins with `$` [MQTT-4.7.2-1].
    fn walk<'t>(&'t self, levels: Option<&str>, wildcards: bool, matches: &mut Matches<'t>) {
        if wildcards {
            matches.add(&self.rest);
        }
        let Some(levels) = levels else {
            matches.add(&self.here);
            return;
        };
        let (level, below) = match levels.split_once('/') {
            Some((level, below)) => (level, Some(below)),
            None => (levels, None),
        };
        if let Some(child) = self.children.get(level) {
            child.walk(below, true, matches);
        }
        if wildcards && let Some(any) = &self.any {
            any.walk(below, true, matches);
        }
    }

    /// The members of `filter`, with the levels to them made.
    fn make(&mut self, filter: &str) -> &mut Members {
        let mut node = self;
        for level in filter.split('/') {
            node = match level {
                "#" => return &mut node.rest,
                "+" => node.any.get_or_insert_default(),
                name => node.children.entry(name.into()).or_default(),
            };
        }
        &mut node.here
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
        self.make(filter.filter()).sessions.insert(session.id, subscriber);
    }

    /// Sets the queue that messages for the group of a shared filter go to.
    pub fn share(&mut self, filter: &TopicFilter, queue: &Arc<DeclaredQueue>) {
        if let Some(group) = filter.share_group() {
            self.make(filter.filter()).shares.insert(group.into(), Arc::clone(queue));
        }
    }

    /// Takes the group of a shared filter out, and the levels that nobody uses any more.
    pub fn unshare(&mut self, filter: &TopicFilter) -> bool {
        let Some(group) = filter.share_group() else { return false };
        self.remove(Some(filter.filter()), &|here| here.shares.remove(group).is_some())
    }

    /// Sets the place against retained messages of a subscription that is there.
    pub fn set_since(&mut self, filter: &TopicFilter, session: QueueId, since: Lsn) {
        let members = self.find(filter.filter());
        if let Some(found) = members.and_then(|members| members.sessions.get_mut(&session)) {
            found.subscription.since = since;
        }
    }

    /// The members of `filter`, if its levels are there.
    fn find(&mut self, filter: &str) -> Option<&mut Members> {
        let mut node = self;
        for level in filter.split('/') {
            node = match level {
                "#" => return Some(&mut node.rest),
                "+" => node.any.as_deref_mut()?,
                name => node.children.get_mut(name)?,
            };
        }
        Some(&mut node.here)
    }

    /// Takes a subscription out, and the levels that nobody uses any more.
    pub fn unsubscribe(&mut self, filter: &TopicFilter, session: QueueId) -> bool {
        self.remove(Some(filter.filter()), &|here| here.sessions.remove(&session).is_some())
    }

    fn remove(&mut self, levels: Option<&str>, take: &dyn Fn(&mut Members) -> bool) -> bool {
        let Some(levels) = levels else {
            return take(&mut self.here);
        };
        let (level, below) = match levels.split_once('/') {
            Some((level, below)) => (level, Some(below)),
            None => (levels, None),
        };
        match level {
            "#" => take(&mut self.rest),
            "+" => {
                let removed = self.any.as_mut().is_some_and(|any| any.remove(below, take));
                if self.any.as_ref().is_some_and(|any| any.is_unused()) {
                    self.any = None;
                }
                removed
            }
            name => {
                let Some(child) = self.children.get_mut(name) else { return false };
                let removed = child.remove(below, take);
                if child.is_unused() {
                    self.children.remove(name);
                }
                removed
            }
        }
    }

    pub(super) fn is_unused(&self) -> bool {
        self.children.is_empty()
            && self.any.is_none()
            && self.here.is_empty()
            && self.rest.is_empty()
    }

    /// Adds a route.
    pub fn add_route(&mut self, filter: &TopicFilter, route: Arc<dyn Route>) {
        self.make(filter.filter()).routes.push(route);
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
