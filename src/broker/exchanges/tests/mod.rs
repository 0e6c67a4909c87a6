//! Topologies at work. Tests of `broker::exchanges`.

mod access;
mod durable;
mod headers;
mod patterns;
mod routing;
mod verbs;

use std::sync::Arc;

use tokio::sync::oneshot;

use super::error::{Entity, TopologyError};
use super::hits::{Hits, RouteError};
use super::verbs::{
    BindingSpec, Changed, Deleted, ExchangeDeclaration, QueueDeclaration, QueueDeclared,
};
use super::vhost::VhostExchanges;
use crate::auth::principal::Principal;
use crate::broker::Broker;
use crate::broker::consumer::Waiter;
use crate::broker::testbed::Bed;
use crate::model::field_table::FieldTable;
use crate::model::ids::ConnectionId;

const NOW_MS: u64 = 1_700_000_000_000;
const OWN: ConnectionId = ConnectionId(1);
const OTHER: ConnectionId = ConnectionId(2);

fn exchange<'a>(name: &'a str, kind: &'a str) -> ExchangeDeclaration<'a> {
    ExchangeDeclaration {
        name,
        kind,
        passive: false,
        durable: false,
        auto_delete: false,
        internal: false,
        arguments: &[],
    }
}

fn queue(name: &str) -> QueueDeclaration<'_> {
    QueueDeclaration {
        name,
        passive: false,
        durable: false,
        exclusive: false,
        auto_delete: false,
        arguments: &[],
    }
}

fn binding<'a>(source: &'a str, destination: &'a str, key: &'a str) -> BindingSpec<'a> {
    BindingSpec { source, destination, key, arguments: &[] }
}

/// A waiter that nobody asks.
fn unheard() -> Waiter {
    Waiter::Call(oneshot::channel().0)
}

/// A broker and whoever changes its topology.
struct Topology {
    bed: Bed,
    who: Principal,
}

impl Topology {
    fn new() -> Self {
        Self { bed: Bed::new(), who: Principal::named("ann") }
    }

    fn broker(&self) -> &Broker {
        &self.bed.broker
    }

    fn vhost(&self) -> Arc<VhostExchanges> {
        self.broker().exchanges.vhost("/").unwrap()
    }

    fn declare(&self, declaration: &ExchangeDeclaration<'_>) -> Result<Changed, TopologyError> {
        self.broker().declare_exchange(&self.who, declaration, unheard)
    }

    fn declare_queue(
        &self,
        declaration: &QueueDeclaration<'_>,
    ) -> Result<QueueDeclared, TopologyError> {
        self.declare_queue_of(OWN, declaration)
    }

    fn declare_queue_of(
        &self,
        connection: ConnectionId,
        declaration: &QueueDeclaration<'_>,
    ) -> Result<QueueDeclared, TopologyError> {
        self.broker().declare_queue(&self.who, connection, declaration, unheard, NOW_MS)
    }

    fn bind(&self, spec: &BindingSpec<'_>) -> Result<Changed, TopologyError> {
        self.broker().bind(&self.who, OWN, Entity::Queue, spec, unheard)
    }

    fn unbind(&self, spec: &BindingSpec<'_>) -> Result<Changed, TopologyError> {
        self.broker().unbind(&self.who, OWN, Entity::Queue, spec, unheard)
    }

    fn chain(&self, spec: &BindingSpec<'_>) -> Result<Changed, TopologyError> {
        self.broker().bind(&self.who, OWN, Entity::Exchange, spec, unheard)
    }

    fn unchain(&self, spec: &BindingSpec<'_>) -> Result<Changed, TopologyError> {
        self.broker().unbind(&self.who, OWN, Entity::Exchange, spec, unheard)
    }

    fn delete(&self, name: &str, if_unused: bool) -> Result<Changed, TopologyError> {
        self.broker().delete_exchange(&self.who, name, if_unused, unheard)
    }

    fn delete_queue(&self, name: &str) -> Result<Deleted, TopologyError> {
        self.broker().delete_queue(&self.who, OWN, name, false, false, unheard, NOW_MS)
    }

    fn route(&self, exchange: &str, keys: &[&str]) -> Result<Hits, RouteError> {
        let mut hits = Hits::default();
        self.vhost().route(exchange, keys, || None, &mut hits)?;
        Ok(hits)
    }

    /// Names of the queues that a message reaches.
    fn reached(&self, exchange: &str, key: &str) -> Vec<String> {
        names(&self.route(exchange, &[key]).unwrap())
    }

    fn reached_by_headers(&self, exchange: &str, headers: &[u8]) -> Vec<String> {
        let mut hits = Hits::default();
        let table = || Some(FieldTable::stored(headers));
        self.vhost().route(exchange, &[""], table, &mut hits).unwrap();
        assert!(hits.by_headers);
        names(&hits)
    }

    /// Queues called `names`, each bound to `exchange` under its own name's key.
    fn queues(&self, names: &[&str]) {
        for name in names {
            self.declare_queue(&queue(name)).unwrap();
        }
    }
}

fn names(hits: &Hits) -> Vec<String> {
    let mut names: Vec<String> = hits.queues.iter().map(|queue| queue.name.to_string()).collect();
    names.sort();
    names
}
