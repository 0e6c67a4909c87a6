//! Exchanges: a message to queues by its routing key or headers (AMQP 0-9-1).
//!
//! A vhost's topology is kept twice. The **live** one routes; it holds everything, transient things too, and runs
//! ahead of the journal by what is under way. The **applied** one holds what is durable as records made it: it is
//! checkpointed, and a restart builds the live one from it. Queues themselves are `broker::declared`'s; here are
//! their names.
//!
//! - [`vhost`] where a message goes; [`hits`] the answer
//! - [`kind`], [`binding`] what there is; `live` all of it; [`error`] why something is refused
//! - `matcher` how an exchange finds its bindings: `trie` patterns, `headers` arguments, `target` what they lead to
//! - [`verbs`] declare, delete, bind, unbind; [`access`] who may; [`equivalence`] declared again as it was
//! - [`applied`] what is durable; [`restore`] from it to the live topology
//!
//! Lock order: a vhost's verbs → journal submit → live topology → queue. Part of `broker`.

pub mod access;
pub mod applied;
pub mod binding;
pub mod equivalence;
pub mod error;
mod headers;
pub mod hits;
pub mod kind;
mod live;
mod matcher;
pub mod restore;
mod target;
#[cfg(test)]
mod tests;
mod trie;
pub mod verbs;
pub mod vhost;

use std::sync::Arc;

use ahash::AHashMap;
use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::model::ids::DEFAULT_VHOST;

use self::applied::Applied;
use self::vhost::VhostExchanges;

/// How much of everything one vhost may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopologyLimits {
    /// Declared queues.
    pub queues_max: usize,
    /// Exchanges, the predeclared ones included.
    pub exchanges_max: usize,
    /// Bindings, those of the default exchange not counted.
    pub bindings_max: usize,
}

impl Default for TopologyLimits {
    fn default() -> Self {
        Self { queues_max: 100_000, exchanges_max: 10_000, bindings_max: 1_000_000 }
    }
}

/// The topology of every vhost.
pub struct Exchanges {
    vhosts: AHashMap<Box<str>, Arc<VhostExchanges>>,
    limits: ArcSwap<TopologyLimits>,
    /// What is durable, of all vhosts; the applier's, and checkpoints'.
    pub(in crate::broker) applied: Mutex<Applied>,
}

impl Default for Exchanges {
    fn default() -> Self {
        let vhost = (DEFAULT_VHOST.into(), Arc::new(VhostExchanges::new(DEFAULT_VHOST)));
        Self {
            vhosts: AHashMap::from_iter([vhost]),
            limits: ArcSwap::default(),
            applied: Mutex::default(),
        }
    }
}

impl Exchanges {
    /// The exchanges of `vhost`, if there is such a vhost.
    #[must_use]
    pub fn vhost(&self, vhost: &str) -> Option<Arc<VhostExchanges>> {
        self.vhosts.get(vhost).cloned()
    }

    /// The exchanges of `vhost`; of one that is not configured, what is there from the beginning.
    #[must_use]
    pub fn of(&self, vhost: &str) -> Arc<VhostExchanges> {
        self.vhost(vhost).unwrap_or_else(|| Arc::new(VhostExchanges::new(vhost)))
    }

    /// How many exchanges there are in all vhosts.
    #[must_use]
    pub fn count(&self) -> usize {
        self.vhosts.values().map(|vhost| vhost.exchange_count()).sum()
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> TopologyLimits {
        **self.limits.load()
    }

    /// Puts other limits in force; what exceeds them stays.
    pub fn set_limits(&self, limits: TopologyLimits) {
        self.limits.store(Arc::new(limits));
    }

    /// Makes every cached answer stale: access rules changed.
    pub fn invalidate(&self) {
        self.vhosts.values().for_each(|vhost| vhost.invalidate());
    }
}
