//! What a binding leads to, and sets of that. Part of `broker::exchanges`.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use ahash::AHashMap;

use super::super::declared::queue::DeclaredQueue;
use super::hits::{ExchangeRoute, Hits};

/// Where a matching message goes on to.
#[derive(Clone)]
pub(super) enum Target {
    /// Into a queue.
    Queue(Arc<DeclaredQueue>),
    /// To another exchange of the vhost, by name.
    Exchange(Arc<str>),
    /// Into the topic tree.
    Route(Arc<dyn ExchangeRoute>),
}

impl PartialEq for Target {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Queue(one), Self::Queue(other)) => one.id == other.id,
            (Self::Exchange(one), Self::Exchange(other)) => one == other,
            (Self::Route(one), Self::Route(other)) => one.name() == other.name(),
            (Self::Queue(_) | Self::Exchange(_) | Self::Route(_), _) => false,
        }
    }
}

impl Eq for Target {}

impl Hash for Target {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Queue(queue) => (0u8, queue.id).hash(state),
            Self::Exchange(name) => (1u8, name).hash(state),
            Self::Route(route) => (2u8, route.name()).hash(state),
        }
    }
}

/// Targets of one binding key, each once, with the number of bindings that name it: two bindings that differ in
/// their arguments only may lead to the same one.
#[derive(Default)]
pub(super) struct Targets {
    list: Vec<(Target, u32)>,
    /// Where each target stands, once there are many.
    index: Option<Box<AHashMap<Target, usize>>>,
}

impl Targets {
    /// So many are found without an index.
    const SCANNED_MAX: usize = 32;

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Target> {
        self.list.iter().map(|(target, _)| target)
    }

    fn position(&self, target: &Target) -> Option<usize> {
        match &self.index {
            Some(index) => index.get(target).copied(),
            None => self.list.iter().position(|(own, _)| own == target),
        }
    }

    /// One more binding leads to `target`.
    pub(super) fn add(&mut self, target: Target) {
        let known = self.position(&target).and_then(|at| self.list.get_mut(at));
        if let Some((_, bindings)) = known {
            *bindings = bindings.saturating_add(1);
            return;
        }
        if let Some(index) = &mut self.index {
            index.insert(target.clone(), self.list.len());
        }
        self.list.push((target, 1));
        if self.index.is_none() && self.list.len() > Self::SCANNED_MAX {
            let places = self.list.iter().enumerate().map(|(at, (own, _))| (own.clone(), at));
            self.index = Some(Box::new(places.collect()));
        }
    }

    /// One binding fewer leads to `target`.
    pub(super) fn remove(&mut self, target: &Target) {
        let Some(at) = self.position(target) else { return };
        let Some((_, bindings)) = self.list.get_mut(at) else { return };
        *bindings = bindings.saturating_sub(1);
        if *bindings > 0 {
            return;
        }
        self.list.swap_remove(at);
        if self.list.len() <= Self::SCANNED_MAX / 2 {
            self.index = None;
        }
        if let Some(index) = &mut self.index {
            index.remove(target);
            // The last one took its place.
            if let Some((moved, _)) = self.list.get(at) {
                index.insert(moved.clone(), at);
            }
        }
    }
}

/// Collects what one exchange answers; exchanges to go on to are kept apart.
pub(super) struct Collected<'a> {
    pub(super) hits: &'a mut Hits,
    pub(super) exchanges: Vec<Arc<str>>,
    pub(super) any: bool,
}

impl Collected<'_> {
    pub(super) fn take(&mut self, target: &Target) {
        self.any = true;
        match target {
            Target::Queue(queue) => self.hits.queues.push(Arc::clone(queue)),
            Target::Exchange(name) => self.exchanges.push(Arc::clone(name)),
            Target::Route(route) => self.hits.routes.push(Arc::clone(route)),
        }
    }

    pub(super) fn take_all(&mut self, targets: &Targets) {
        targets.iter().for_each(|target| self.take(target));
    }
}
