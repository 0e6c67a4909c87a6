//! The topology from disk. Part of `broker::exchanges`.

use std::sync::Arc;

use ahash::AHashSet;

use crate::model::field_table::FieldTable;
use crate::model::ids::Lsn;
use crate::store::error::StoreError;
use crate::store::tables::bindings::{BindingKey, Bindings};
use crate::store::tables::db::Db;
use crate::store::tables::exchanges::{ExchangeRow, Exchanges as ExchangesTable};

use super::super::Broker;
use super::Exchanges;
use super::binding::Binding;
use super::equivalence::ALTERNATE;
use super::error::Entity;
use super::kind::ExchangeKind;
use super::live::ExchangeSettings;
use super::vhost::VhostExchanges;

/// Reads what the last checkpoint holds; the journal is still to be replayed.
///
/// # Errors
/// A row cannot be read.
pub fn read(exchanges: &Exchanges, db: &Db) -> Result<(), StoreError> {
    let mut applied = exchanges.applied.lock();
    db.for_each::<ExchangesTable>(|key, row| {
        applied.restore_exchange(key, row);
        Ok(())
    })?;
    db.for_each::<Bindings>(|key, _| {
        applied.restore_binding(key);
        Ok(())
    })
}

/// The journal is replayed: makes the live topology of what is applied and of the durable queues.
pub fn revive(broker: &Broker) {
    let applied = broker.exchanges.applied.lock();
    for (vhost, name, row) in applied.exchanges() {
        let Some(exchanges) = broker.exchanges.vhost(vhost) else {
            tracing::warn!(vhost, name, "an exchange of a vhost that is not there stays unused");
            continue;
        };
        match settings(row) {
            Some(settings) => {
                exchanges.change(|live| live.add_exchange(&Arc::from(name), settings, Lsn(0)), true)
            }
            None => tracing::error!(vhost, name, kind = row.kind, "an exchange of unknown type"),
        }
    }
    let queues = broker.declared.all();
    for queue in queues.into_iter().filter(|queue| !queue.settings.share) {
        if let Some(exchanges) = broker.exchanges.vhost(&queue.vhost).filter(|_| queue.durable) {
            exchanges.change(|live| live.add_queue(&queue, Lsn(0)), false);
        }
    }
    let mut names: AHashSet<Arc<str>> = AHashSet::new();
    for key in applied.bindings() {
        let Some(exchanges) = broker.exchanges.vhost(&key.vhost) else { continue };
        if !bind(&exchanges, key, &mut names) {
            let (from, to) = (&*key.source, &*key.destination);
            tracing::warn!(vhost = key.vhost, from, to, "a binding without one of its ends");
        }
    }
}

/// `names` are shared by bindings.
fn bind(exchanges: &VhostExchanges, key: &BindingKey, names: &mut AHashSet<Arc<str>>) -> bool {
    let mut shared = |name: &str| match names.get(name) {
        Some(known) => Arc::clone(known),
        None => {
            let name: Arc<str> = name.into();
            names.insert(Arc::clone(&name));
            name
        }
    };
    let binding = Binding {
        source: shared(&key.source),
        to: if key.to_exchange { Entity::Exchange } else { Entity::Queue },
        destination: shared(&key.destination),
        key: key.key.as_str().into(),
        arguments: key.arguments.as_slice().into(),
        durable: true,
        lsn: Lsn(0),
    };
    exchanges.change(|live| live.add_binding(&Arc::new(binding)), true)
}

fn settings(row: &ExchangeRow) -> Option<ExchangeSettings> {
    let alternate = FieldTable::stored(&row.arguments).get(ALTERNATE);
    Some(ExchangeSettings {
        kind: ExchangeKind::named(&row.kind)?,
        durable: true,
        auto_delete: row.auto_delete,
        internal: row.internal,
        arguments: row.arguments.as_slice().into(),
        alternate: alternate.and_then(|name| name.as_str()).map(Arc::from),
    })
}
