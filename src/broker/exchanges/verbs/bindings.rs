//! Binding and unbinding. Part of `broker::exchanges::verbs`.

use std::sync::Arc;

use crate::auth::acl::Action;
use crate::auth::principal::Principal;
use crate::model::field_table::FieldTable;
use crate::model::ids::{ConnectionId, Lsn};

use super::super::super::Broker;
use super::super::super::consumer::Waiter;
use super::super::super::record::Record;
use super::super::binding::Binding;
use super::super::error::{Entity, TopologyError};
use super::super::headers;
use super::super::kind::ExchangeKind;
use super::super::vhost::VhostExchanges;
use super::queues::check_owner;
use super::removal::Removal;
use super::{BindingSpec, Changed, check_table, plain};

impl Broker {
    /// Asks the access rules and names the binding.
    fn name_binding(
        &self,
        who: &Principal,
        to: Entity,
        spec: &BindingSpec<'_>,
    ) -> Result<Binding, TopologyError> {
        let (source, destination) = (plain(spec.source), plain(spec.destination));
        self.check_access(who, Action::Publish, to, &destination)?;
        if source.is_empty() || (to == Entity::Exchange && destination.is_empty()) {
            return Err(TopologyError::DefaultExchange);
        }
        self.check_access(who, Action::Subscribe, Entity::Exchange, &source)?;
        self.check_tree_binding(who, &source, spec.key)?;
        let arguments = sorted(check_table(spec.arguments)?);
        Ok(Binding {
            source: source.into(),
            to,
            destination: destination.into(),
            key: spec.key.into(),
            arguments,
            durable: false,
            lsn: Lsn(0),
        })
    }

    /// Binds a queue or an exchange, as `to` says, to an exchange.
    ///
    /// # Errors
    /// See [`TopologyError`]; nothing changed.
    pub fn bind(
        &self,
        who: &Principal,
        connection: ConnectionId,
        to: Entity,
        spec: &BindingSpec<'_>,
        waiter: impl FnOnce() -> Waiter,
    ) -> Result<Changed, TopologyError> {
        let vhost = self.topology(who)?;
        let mut binding = self.name_binding(who, to, spec)?;
        let verbs = vhost.verbs.lock();
        check_ends(&vhost, connection, &mut binding)?;
        if let Some(known) = vhost.look(|live| live.binding(&binding)) {
            drop(verbs);
            return Ok(Changed { waits: self.wait_for(known.lsn, waiter)? });
        }
        let limit = self.exchanges.limits().bindings_max;
        if vhost.look(|live| live.bindings()) >= limit {
            let (from, vhost) = (&binding.source, &vhost.name);
            return Err(TopologyError::Limit(format!(
                "cannot bind from exchange '{from}': binding limit in vhost '{vhost}' ({limit}) is reached"
            )));
        }
        let durable = binding.durable;
        if durable {
            let record = Record::Bind(binding.to_record(&vhost.name));
            binding.lsn = self.submit(Some(waiter()), &record)?;
        }
        vhost.change(|live| live.add_binding(&Arc::new(binding)), true);
        drop(verbs);
        Ok(Changed { waits: durable })
    }

    /// Removes a binding; one that is not there is as good as removed.
    ///
    /// # Errors
    /// See [`TopologyError`]; nothing changed, but for its note on the journal.
    pub fn unbind(
        &self,
        who: &Principal,
        connection: ConnectionId,
        to: Entity,
        spec: &BindingSpec<'_>,
        waiter: impl FnOnce() -> Waiter,
    ) -> Result<Changed, TopologyError> {
        let vhost = self.topology(who)?;
        let binding = self.name_binding(who, to, spec)?;
        let mut verbs = vhost.verbs.lock();
        let Some(known) = vhost.look(|live| live.binding(&binding)) else {
            return Ok(Changed { waits: self.wait_for(verbs.removed, waiter)? });
        };
        if to == Entity::Queue
            && let Some(queue) = vhost.queue(&known.destination)
        {
            check_owner(&queue, connection)?;
        }
        let removed = self.remove(&vhost, &mut verbs, Removal::Binding(known), Some(waiter))?;
        drop(verbs);
        Ok(Changed { waits: removed.finish()? })
    }
}

/// Looks at both ends: whether they are there, may be bound in this way by `connection`, and are durable. Their
/// names are shared from then on.
fn check_ends(
    vhost: &VhostExchanges,
    connection: ConnectionId,
    binding: &mut Binding,
) -> Result<(), TopologyError> {
    vhost.look(|live| {
        let no_exchange = |name: &str| TopologyError::no_exchange(&vhost.name, name);
        let source = live.exchanges.get_key_value(&binding.source);
        let (name, source) = source.ok_or_else(|| no_exchange(&binding.source))?;
        binding.source = Arc::clone(name);
        let (durable, owned) = match binding.to {
            Entity::Queue => {
                let named = live
                    .queues
                    .get(&binding.destination)
                    .ok_or_else(|| TopologyError::no_queue(&vhost.name, &binding.destination))?;
                binding.destination = Arc::clone(&named.queue.name);
                (named.queue.durable, check_owner(&named.queue, connection))
            }
            Entity::Exchange => {
                let target = live.exchanges.get_key_value(&binding.destination);
                let (name, target) = target.ok_or_else(|| no_exchange(&binding.destination))?;
                binding.destination = Arc::clone(name);
                (target.settings.durable, Ok(()))
            }
        };
        if source.settings.kind == ExchangeKind::Headers {
            let arguments = FieldTable::stored(&binding.arguments);
            headers::check(arguments).map_err(TopologyError::BadArgument)?;
        }
        binding.durable = durable && source.settings.durable;
        owned
    })
}

/// The table with its entries by name: their order makes no other binding.
fn sorted(table: FieldTable<'_>) -> Box<[u8]> {
    let mut names: Vec<&str> = table.iter().map(|(name, _)| name).collect();
    if names.is_sorted() {
        return table.as_bytes().into();
    }
    names.sort_unstable();
    names.dedup();
    let mut bytes = Vec::with_capacity(table.as_bytes().len());
    for name in names {
        table.retain(|own, _| own == name, &mut bytes);
    }
    bytes.into()
}
