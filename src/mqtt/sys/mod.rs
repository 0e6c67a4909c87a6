//! `$SYS`: what the broker says of itself, under the names and in the words that mosquitto's users know. Part of
//! `mqtt`.
//!
//! - [`totals`] counters of the whole broker
//! - [`load`] averages over one, five and fifteen minutes
//! - [`topics`] names and values
//!
//! Every interval the counters are read and what changed is announced, in each vhost that has MQTT clients; the
//! composition root has the clock. Figures of clients and subscriptions are the vhost's own, all others the broker's.

pub mod load;
pub mod topics;
pub mod totals;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::broker::Broker;
use crate::broker::census::Census;
use crate::broker::publish::Publisher;
use crate::metrics::process;
use crate::model::ids::DEFAULT_VHOST;

use self::load::Loads;
use self::topics::{Figures, values};
use self::totals::Totals;

/// What was announced last.
pub struct Sys {
    broker: Arc<Broker>,
    started_ms: u64,
    ticked_ms: u64,
    totals: Totals,
    loads: Loads,
    vhosts: BTreeMap<Arc<str>, Announced>,
}

/// What was announced in one vhost.
struct Announced {
    publisher: Publisher,
    /// Topics in their order, without the common beginning.
    values: Vec<String>,
    connected_max: u64,
}

impl Sys {
    /// Nothing announced yet.
    #[must_use]
    pub fn new(broker: &Arc<Broker>, now_ms: u64) -> Self {
        Self {
            broker: Arc::clone(broker),
            started_ms: now_ms,
            ticked_ms: now_ms,
            totals: Totals::read(broker),
            loads: Loads::default(),
            vhosts: BTreeMap::new(),
        }
    }

    /// Announces what changed since the last call. Looks at every session: not for a connection's own thread.
    pub fn tick(&mut self, now_ms: u64) {
        let totals = Totals::read(&self.broker);
        self.loads.add(&self.totals, &totals, now_ms.saturating_sub(self.ticked_ms));
        self.totals = totals;
        self.ticked_ms = now_ms;
        let mut census = self.broker.census();
        census.entry(DEFAULT_VHOST.into()).or_default();
        // Those whose last session ended are told so, too.
        for vhost in self.vhosts.keys() {
            census.entry(Arc::clone(vhost)).or_default();
        }
        let memory = process::memory();
        for (vhost, census) in census {
            self.announce(&vhost, census, memory, now_ms);
        }
    }

    fn announce(
        &mut self,
        vhost: &Arc<str>,
        census: Census,
        memory: Option<process::Memory>,
        now_ms: u64,
    ) {
        let broker = &self.broker;
        let own = self.vhosts.entry(Arc::clone(vhost)).or_insert_with(|| Announced {
            publisher: Publisher::of_broker(broker, vhost),
            values: Vec::new(),
            connected_max: 0,
        });
        own.connected_max = own.connected_max.max(census.connected);
        let figures = Figures {
            uptime_s: now_ms.saturating_sub(self.started_ms) / 1000,
            census,
            connected_max: own.connected_max,
            totals: &self.totals,
            loads: &self.loads,
            memory,
        };
        for (place, (topic, value)) in values(&figures).into_iter().enumerate() {
            match own.values.get_mut(place) {
                Some(known) if *known == value => continue,
                Some(known) => known.clone_from(&value),
                None => own.values.push(value.clone()),
            }
            broker.announce(&mut own.publisher, &topic, value.as_bytes(), now_ms);
        }
        own.publisher.counters.flush_into(&broker.metrics);
    }
}
