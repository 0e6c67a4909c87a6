//! The topology of one vhost as it is now: exchanges, queues by name, bindings. Part of `broker::exchanges`.
//!
//! Plain data behind a lock that is held for look-ups and changes only. Whoever changes it has submitted the
//! record before, under the lock of the verbs.

use std::sync::Arc;

use ahash::{AHashMap, AHashSet};

use crate::model::ids::Lsn;

use super::super::declared::queue::DeclaredQueue;
use super::binding::Binding;
use super::error::Entity;
use super::hits::ExchangeRoute;
use super::kind::ExchangeKind;
use super::matcher::Matcher;
use super::target::Target;

/// What a declaration says of an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExchangeSettings {
    /// Its type.
    pub kind: ExchangeKind,
    /// Whether it survives a restart.
    pub durable: bool,
    /// Whether it goes with the last binding from it.
    pub auto_delete: bool,
    /// Whether clients may not publish to it.
    pub internal: bool,
    /// Field table as declared.
    pub arguments: Box<[u8]>,
    /// Where messages go that match no binding.
    pub alternate: Option<Arc<str>>,
}

/// A declared exchange.
pub(super) struct Exchange {
    pub(super) settings: ExchangeSettings,
    /// Its record; 0 when it has none or comes from before the last restart.
    pub(super) lsn: Lsn,
    pub(super) matcher: Matcher,
    /// Bindings from it.
    pub(super) outgoing: AHashSet<Arc<Binding>>,
}

/// A queue that is found by name.
#[derive(Clone)]
pub(super) struct NamedQueue {
    pub(super) queue: Arc<DeclaredQueue>,
    /// Its record; 0 when it has none or comes from before the last restart.
    pub(super) lsn: Lsn,
}

/// A route and its binding key.
type BoundRoute = (Box<str>, Arc<dyn ExchangeRoute>);

/// Everything of one vhost.
#[derive(Default)]
pub(super) struct Live {
    pub(super) exchanges: AHashMap<Arc<str>, Exchange>,
    pub(super) queues: AHashMap<Arc<str>, NamedQueue>,
    /// Bindings to a queue or exchange, where there are any.
    incoming: AHashMap<(Entity, Arc<str>), AHashSet<Arc<Binding>>>,
    /// Routes by the exchange they come from, which may not be declared yet.
    routes: AHashMap<Arc<str>, Vec<BoundRoute>>,
    bindings: usize,
}

impl Live {
    pub(super) fn bindings(&self) -> usize {
        self.bindings
    }

    pub(super) fn is_bound(&self, to: Entity, name: &Arc<str>) -> bool {
        self.incoming.contains_key(&(to, Arc::clone(name)))
    }

    pub(super) fn is_source(&self, name: &str) -> bool {
        self.routes.contains_key(name)
            || self.exchanges.get(name).is_some_and(|exchange| !exchange.outgoing.is_empty())
    }

    pub(super) fn binding(&self, wanted: &Binding) -> Option<Arc<Binding>> {
        self.exchanges.get(&wanted.source)?.outgoing.get(wanted).cloned()
    }

    pub(super) fn add_exchange(&mut self, name: &Arc<str>, settings: ExchangeSettings, lsn: Lsn) {
        let mut matcher = Matcher::new(settings.kind);
        for (key, route) in self.routes.get(name).into_iter().flatten() {
            matcher.add(key, &[], Target::Route(Arc::clone(route)));
        }
        let exchange = Exchange { settings, lsn, matcher, outgoing: AHashSet::new() };
        self.exchanges.insert(Arc::clone(name), exchange);
    }

    pub(super) fn add_queue(&mut self, queue: &Arc<DeclaredQueue>, lsn: Lsn) {
        let named = NamedQueue { queue: Arc::clone(queue), lsn };
        self.queues.insert(Arc::clone(&queue.name), named);
    }

    /// False when an end is missing or the binding is there already; then nothing changed.
    pub(super) fn add_binding(&mut self, binding: &Arc<Binding>) -> bool {
        let Some(target) = self.target(binding) else { return false };
        let Some(source) = self.exchanges.get_mut(&binding.source) else { return false };
        if !source.outgoing.insert(Arc::clone(binding)) {
            return false;
        }
        source.matcher.add(&binding.key, &binding.arguments, target);
        let to = (binding.to, Arc::clone(&binding.destination));
        self.incoming.entry(to).or_default().insert(Arc::clone(binding));
        self.bindings += 1;
        true
    }

    pub(super) fn remove_binding(&mut self, binding: &Binding) {
        let target = self.target(binding);
        let to = (binding.to, Arc::clone(&binding.destination));
        if let Some(incoming) = self.incoming.get_mut(&to) {
            incoming.remove(binding);
            if incoming.is_empty() {
                self.incoming.remove(&to);
            }
        }
        let Some(source) = self.exchanges.get_mut(&binding.source) else { return };
        if source.outgoing.remove(binding) {
            self.bindings -= 1;
            if let Some(target) = target {
                source.matcher.remove(&binding.key, &binding.arguments, &target);
            }
        }
    }

    /// Removes an exchange with every binding from and to it.
    pub(super) fn remove_exchange(&mut self, name: &Arc<str>) {
        let outgoing = match self.exchanges.get_mut(name) {
            Some(exchange) => std::mem::take(&mut exchange.outgoing),
            None => return,
        };
        self.bindings -= outgoing.len();
        for binding in outgoing {
            let to = (binding.to, Arc::clone(&binding.destination));
            if let Some(incoming) = self.incoming.get_mut(&to) {
                incoming.remove(&binding);
                if incoming.is_empty() {
                    self.incoming.remove(&to);
                }
            }
        }
        self.remove_incoming(Entity::Exchange, name);
        self.exchanges.remove(name);
    }

    /// Removes a queue with every binding to it.
    pub(super) fn remove_queue(&mut self, name: &Arc<str>) {
        self.remove_incoming(Entity::Queue, name);
        self.queues.remove(name);
    }

    fn remove_incoming(&mut self, to: Entity, name: &Arc<str>) {
        let incoming = self.incoming.get(&(to, Arc::clone(name)));
        let incoming: Vec<_> = incoming.into_iter().flatten().cloned().collect();
        for binding in incoming {
            self.remove_binding(&binding);
        }
    }

    /// Connects a route; it outlives the exchange.
    pub(super) fn add_route(&mut self, exchange: &str, key: &str, route: Arc<dyn ExchangeRoute>) {
        if let Some(exchange) = self.exchanges.get_mut(exchange) {
            exchange.matcher.add(key, &[], Target::Route(Arc::clone(&route)));
        }
        self.routes.entry(exchange.into()).or_default().push((key.into(), route));
    }

    fn target(&self, binding: &Binding) -> Option<Target> {
        match binding.to {
            Entity::Queue => {
                let named = self.queues.get(&binding.destination)?;
                Some(Target::Queue(Arc::clone(&named.queue)))
            }
            Entity::Exchange => {
                let (name, _) = self.exchanges.get_key_value(&binding.destination)?;
                Some(Target::Exchange(Arc::clone(name)))
            }
        }
    }

    /// The auto-delete exchanges that go when `binding` goes, each after what takes it along.
    pub(super) fn followers_of_binding(&self, binding: &Binding) -> Vec<Arc<str>> {
        let mut cascade = Cascade::new(self);
        cascade.lose(&binding.source);
        cascade.run();
        cascade.gone
    }

    /// The auto-delete exchanges that go when a queue or exchange goes, each after what takes it along.
    pub(super) fn followers_of(&self, what: Entity, name: &Arc<str>) -> Vec<Arc<str>> {
        let mut cascade = Cascade::new(self);
        if what == Entity::Exchange {
            cascade.seen.insert(Arc::clone(name));
        }
        cascade.lose_all(what, name);
        cascade.run();
        cascade.gone
    }
}

/// What a deletion takes along, found without changing anything.
struct Cascade<'a> {
    live: &'a Live,
    /// How many bindings each source has lost.
    lost: AHashMap<Arc<str>, usize>,
    seen: AHashSet<Arc<str>>,
    gone: Vec<Arc<str>>,
}

impl<'a> Cascade<'a> {
    fn new(live: &'a Live) -> Self {
        Self { live, lost: AHashMap::new(), seen: AHashSet::new(), gone: Vec::new() }
    }

    fn run(&mut self) {
        let mut at = 0;
        while let Some(name) = self.gone.get(at).cloned() {
            self.lose_all(Entity::Exchange, &name);
            at += 1;
        }
    }

    fn lose_all(&mut self, what: Entity, name: &Arc<str>) {
        let incoming = self.live.incoming.get(&(what, Arc::clone(name)));
        for binding in incoming.into_iter().flatten() {
            self.lose(&binding.source);
        }
    }

    /// `source` loses a binding; without any left it goes, if it is to.
    fn lose(&mut self, source: &Arc<str>) {
        let Some(exchange) = self.live.exchanges.get(source) else { return };
        if !exchange.settings.auto_delete {
            return;
        }
        let lost = self.lost.entry(Arc::clone(source)).or_default();
        *lost += 1;
        if *lost >= exchange.outgoing.len() && self.seen.insert(Arc::clone(source)) {
            self.gone.push(Arc::clone(source));
        }
    }
}
