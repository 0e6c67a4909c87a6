//! The exchanges of one vhost: where a message goes. Part of `broker::exchanges`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ahash::{AHashMap, AHashSet};
use parking_lot::{Mutex, RwLock};

use crate::model::field_table::FieldTable;
use crate::model::ids::{ConnectionId, Lsn};

use super::super::declared::queue::DeclaredQueue;
use super::hits::{ExchangeRoute, Hits, RouteError};
use super::kind::ExchangeKind;
use super::live::{ExchangeSettings, Live};
use super::matcher::Asked;
use super::target::Collected;

/// The exchange that is the topic tree of MQTT.
pub const TREE: &str = "amq.topic";

/// What is there before anybody declares anything; all durable.
pub const PREDECLARED: [(&str, ExchangeKind, bool); 6] = [
    ("amq.direct", ExchangeKind::Direct, false),
    ("amq.fanout", ExchangeKind::Fanout, false),
    (TREE, ExchangeKind::Topic, false),
    ("amq.headers", ExchangeKind::Headers, false),
    ("amq.match", ExchangeKind::Headers, false),
    ("amq.rabbitmq.trace", ExchangeKind::Topic, true),
];

/// What verbs know beside the live topology; held while one decides, submits and changes.
#[derive(Default)]
pub(super) struct Verbs {
    /// Exclusive queues of each connection.
    pub(super) exclusive: AHashMap<ConnectionId, Vec<Arc<DeclaredQueue>>>,
    /// The last record that removed something.
    pub(super) removed: Lsn,
}

/// The exchanges, bindings and queue names of one vhost.
///
/// **Caching.** Read [`Self::generation`], then ask [`Self::route`]; the answer holds while the generation is the
/// same and each of its queues is not `is_gone`, unless `by_headers` or `by_name` is set. Queues come and go without
/// raising the generation: a queue that the default exchange found may be kept as long as it is not gone, its
/// absence may not.
pub struct VhostExchanges {
    /// Name of the vhost.
    pub name: Arc<str>,
    live: RwLock<Live>,
    generation: AtomicU64,
    tree_bound: AtomicBool,
    pub(super) verbs: Mutex<Verbs>,
}

impl VhostExchanges {
    /// A vhost with nothing but what is there from the beginning.
    pub(super) fn new(name: &str) -> Self {
        let mut live = Live::default();
        for (exchange, kind, internal) in PREDECLARED {
            let settings = ExchangeSettings {
                kind,
                durable: true,
                auto_delete: false,
                internal,
                arguments: Box::default(),
                alternate: None,
            };
            live.add_exchange(&Arc::from(exchange), settings, Lsn(0));
        }
        Self {
            name: name.into(),
            live: RwLock::new(live),
            generation: AtomicU64::new(0),
            tree_bound: AtomicBool::new(false),
            verbs: Mutex::default(),
        }
    }

    /// Raised before the answer to whatever may change a cached answer: bindings, exchanges, routes, access rules.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// Makes every cached answer stale.
    pub fn invalidate(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    /// Whether anything is bound from `amq.topic`, so that messages of the topic tree must be asked for here.
    #[must_use]
    pub fn is_tree_bound(&self) -> bool {
        self.tree_bound.load(Ordering::SeqCst)
    }

    /// The queue called `name`.
    #[must_use]
    pub fn queue(&self, name: &str) -> Option<Arc<DeclaredQueue>> {
        self.live.read().queues.get(name).map(|named| Arc::clone(&named.queue))
    }

    /// Whether the exchange `name` is there; the default exchange always is.
    #[must_use]
    pub fn has_exchange(&self, name: &str) -> bool {
        name.is_empty() || self.live.read().exchanges.contains_key(name)
    }

    /// Where a message published to `exchange` goes: it is added to `hits`. `keys` are its routing key and those
    /// of its CC and BCC headers; `headers` is asked when a headers exchange is met, once for each.
    ///
    /// # Errors
    /// The exchange is missing or internal; `hits` is unchanged.
    pub fn route<'h>(
        &self,
        exchange: &str,
        keys: &[&str],
        mut headers: impl FnMut() -> Option<FieldTable<'h>>,
        hits: &mut Hits,
    ) -> Result<(), RouteError> {
        let live = self.live.read();
        if exchange.is_empty() {
            collect_by_name(&live, keys, hits);
        } else {
            let found = live.exchanges.get(exchange).ok_or(RouteError::NoExchange)?;
            if found.settings.internal {
                return Err(RouteError::Internal);
            }
            walk(&live, exchange, &mut Asked { keys, headers: &mut headers }, hits);
        }
        drop(live);
        hits.settle();
        Ok(())
    }

    /// Where a message of the topic tree goes whose mapped routing key is `key`: through the bindings of
    /// `amq.topic`. `headers` as for [`Self::route`].
    pub fn route_from_tree<'h>(
        &self,
        key: &str,
        mut headers: impl FnMut() -> Option<FieldTable<'h>>,
        hits: &mut Hits,
    ) {
        if !self.is_tree_bound() {
            return;
        }
        let live = self.live.read();
        walk(&live, TREE, &mut Asked { keys: &[key], headers: &mut headers }, hits);
        drop(live);
        hits.settle();
    }

    /// Connects a bridge route to the exchange `exchange`, which may be declared later, under the binding key
    /// `binding`. Routes live as long as the process and are no bindings to whoever asks for the exchange's use.
    pub fn add_route(&self, exchange: &str, binding: &str, route: Arc<dyn ExchangeRoute>) {
        self.change(|live| live.add_route(exchange, binding, route), true);
    }

    /// How many exchanges there are.
    #[must_use]
    pub fn exchange_count(&self) -> usize {
        self.look(|live| live.exchanges.len())
    }

    /// Looks at the live topology.
    pub(super) fn look<R>(&self, look: impl FnOnce(&Live) -> R) -> R {
        look(&self.live.read())
    }

    /// Changes the live topology; `stale` when cached answers may have changed.
    pub(super) fn change<R>(&self, change: impl FnOnce(&mut Live) -> R, stale: bool) -> R {
        let mut live = self.live.write();
        let changed = change(&mut live);
        self.tree_bound.store(live.is_source(TREE), Ordering::SeqCst);
        if stale {
            self.invalidate();
        }
        changed
    }
}

/// The default exchange: every queue is bound to it under its own name.
fn collect_by_name(live: &Live, keys: &[&str], hits: &mut Hits) {
    for key in keys {
        match live.queues.get(*key) {
            Some(named) => hits.queues.push(Arc::clone(&named.queue)),
            None => hits.by_name = true,
        }
    }
}

/// Follows a message from exchange to exchange, each once; an exchange of which no binding matched hands it to its
/// alternate one.
fn walk(live: &Live, first: &str, asked: &mut Asked<'_, '_>, hits: &mut Hits) {
    let Some((first, _)) = live.exchanges.get_key_value(first) else { return };
    let first = Arc::clone(first);
    let mut open = vec![Arc::clone(&first)];
    let mut seen: AHashSet<Arc<str>> = AHashSet::new();
    while let Some(name) = open.pop() {
        if name.is_empty() {
            collect_by_name(live, asked.keys, hits);
            continue;
        }
        let Some(exchange) = live.exchanges.get(&name) else { continue };
        hits.reached_tree |= *name == *TREE;
        let mut collected = Collected { hits: &mut *hits, exchanges: Vec::new(), any: false };
        exchange.matcher.collect(asked, &mut collected);
        let Collected { mut exchanges, any, .. } = collected;
        if !any {
            exchanges.extend(exchange.settings.alternate.clone());
        }
        for next in exchanges {
            if next != first && seen.insert(Arc::clone(&next)) {
                open.push(next);
            }
        }
    }
}
