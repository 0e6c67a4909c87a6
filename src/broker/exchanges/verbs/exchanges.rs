//! Declaring and deleting exchanges. Part of `broker::exchanges::verbs`.

use std::sync::Arc;

use crate::auth::acl::Action;
use crate::auth::principal::Principal;
use crate::model::field_table::FieldTable;
use crate::model::ids::Lsn;

use super::super::super::Broker;
use super::super::super::consumer::Waiter;
use super::super::super::record::Record;
use super::super::equivalence::{self, ALTERNATE};
use super::super::error::{Entity, TopologyError};
use super::super::kind::ExchangeKind;
use super::super::live::ExchangeSettings;
use super::super::vhost::VhostExchanges;
use super::removal::Removal;
use super::{Changed, ExchangeDeclaration, check_reserved, check_table, plain};

impl Broker {
    /// Declares an exchange, or asks whether there is one.
    ///
    /// # Errors
    /// See [`TopologyError`]; nothing changed.
    pub fn declare_exchange(
        &self,
        who: &Principal,
        declaration: &ExchangeDeclaration<'_>,
        waiter: impl FnOnce() -> Waiter,
    ) -> Result<Changed, TopologyError> {
        let vhost = self.topology(who)?;
        let name = &*plain(declaration.name);
        if declaration.passive {
            return self.find_exchange(who, &vhost, name, waiter);
        }
        let kind = ExchangeKind::named(declaration.kind)
            .ok_or_else(|| TopologyError::UnknownType(declaration.kind.to_owned()))?;
        if name.is_empty() {
            return Err(TopologyError::DefaultExchange);
        }
        self.check_access(who, Action::Configure, Entity::Exchange, name)?;
        let table = check_table(declaration.arguments)?;
        let mut settings = ExchangeSettings {
            kind,
            durable: declaration.durable,
            auto_delete: declaration.auto_delete,
            internal: declaration.internal,
            arguments: declaration.arguments.into(),
            alternate: None,
        };
        if let Some(lsn) = known(&vhost, name, &settings)? {
            return Ok(Changed { waits: self.wait_for(lsn, waiter)? });
        }
        check_reserved(Entity::Exchange, name)?;
        settings.alternate = self.alternate(who, name, table)?;
        let verbs = vhost.verbs.lock();
        // Somebody may have been faster.
        if let Some(lsn) = known(&vhost, name, &settings)? {
            drop(verbs);
            return Ok(Changed { waits: self.wait_for(lsn, waiter)? });
        }
        let waits = settings.durable;
        self.create_exchange(&vhost, name, settings, Some(waiter))?;
        drop(verbs);
        Ok(Changed { waits })
    }

    /// Submits the record of an exchange that is not there and makes it, under the lock of the verbs.
    fn create_exchange(
        &self,
        vhost: &VhostExchanges,
        name: &str,
        settings: ExchangeSettings,
        waiter: Option<impl FnOnce() -> Waiter>,
    ) -> Result<(), TopologyError> {
        let limit = self.exchanges.limits().exchanges_max;
        if vhost.look(|live| live.exchanges.len()) >= limit {
            let vhost = &vhost.name;
            return Err(TopologyError::Limit(format!(
                "cannot declare exchange '{name}': exchange limit in vhost '{vhost}' ({limit}) is reached"
            )));
        }
        let lsn = if settings.durable {
            let record = Record::DeclareExchange {
                vhost: &vhost.name,
                name,
                kind: settings.kind.name(),
                auto_delete: settings.auto_delete,
                internal: settings.internal,
                arguments: &settings.arguments,
            };
            self.submit(waiter.map(|waiter| waiter()), &record)?
        } else {
            Lsn(0)
        };
        // It may be the alternate one of another, or what a route goes into.
        vhost.change(|live| live.add_exchange(&Arc::from(name), settings, lsn), true);
        Ok(())
    }

    /// Sees to it that the exchange that a route names is there, declared durable with this type if it is not. The
    /// operator's word: no access rule is asked.
    ///
    /// # Errors
    /// See [`TopologyError`].
    pub fn prepare_exchange(
        &self,
        vhost: &str,
        name: &str,
        kind: &str,
    ) -> Result<(), TopologyError> {
        let vhost =
            self.exchanges.vhost(vhost).ok_or_else(|| TopologyError::NoVhost(vhost.to_owned()))?;
        let verbs = vhost.verbs.lock();
        if vhost.has_exchange(name) {
            return Ok(());
        }
        check_reserved(Entity::Exchange, name)?;
        let settings = ExchangeSettings {
            kind: ExchangeKind::named(kind)
                .ok_or_else(|| TopologyError::UnknownType(kind.to_owned()))?,
            durable: true,
            auto_delete: false,
            internal: false,
            arguments: Box::default(),
            alternate: None,
        };
        self.create_exchange(&vhost, name, settings, None::<fn() -> Waiter>)?;
        drop(verbs);
        Ok(())
    }

    fn find_exchange(
        &self,
        who: &Principal,
        vhost: &VhostExchanges,
        name: &str,
        waiter: impl FnOnce() -> Waiter,
    ) -> Result<Changed, TopologyError> {
        if name.is_empty() {
            return Err(TopologyError::DefaultExchange);
        }
        self.check_any_access(who, Entity::Exchange, name)?;
        let lsn = vhost.look(|live| live.exchanges.get(name).map(|exchange| exchange.lsn));
        let lsn = lsn.ok_or_else(|| TopologyError::no_exchange(&vhost.name, name))?;
        Ok(Changed { waits: self.wait_for(lsn, waiter)? })
    }

    /// The alternate exchange that the arguments name; it need not be there.
    fn alternate(
        &self,
        who: &Principal,
        name: &str,
        arguments: FieldTable<'_>,
    ) -> Result<Option<Arc<str>>, TopologyError> {
        let Some(value) = arguments.get(ALTERNATE) else { return Ok(None) };
        let Some(alternate) = value.as_str() else {
            let (kind, vhost) = (value.type_name(), &who.vhost);
            return Err(TopologyError::BadArgument(format!(
                "invalid type '{kind}' for arg '{ALTERNATE}' in exchange '{name}' in vhost '{vhost}'"
            )));
        };
        self.check_access(who, Action::Subscribe, Entity::Exchange, name)?;
        self.check_access(who, Action::Publish, Entity::Exchange, alternate)?;
        Ok(Some(alternate.into()))
    }

    /// Deletes an exchange with its bindings; one that is not there is as good as deleted.
    ///
    /// # Errors
    /// See [`TopologyError`]; nothing changed, but for its note on the journal.
    pub fn delete_exchange(
        &self,
        who: &Principal,
        name: &str,
        if_unused: bool,
        waiter: impl FnOnce() -> Waiter,
    ) -> Result<Changed, TopologyError> {
        let vhost = self.topology(who)?;
        let name = &*plain(name);
        if name.is_empty() {
            return Err(TopologyError::DefaultExchange);
        }
        if name.starts_with("amq.") {
            let vhost = &vhost.name;
            return Err(TopologyError::AccessRefused(format!(
                "deletion of system exchange '{name}' in vhost '{vhost}' not allowed"
            )));
        }
        self.check_access(who, Action::Configure, Entity::Exchange, name)?;
        let mut verbs = vhost.verbs.lock();
        let found = vhost.look(|live| {
            let (name, exchange) = live.exchanges.get_key_value(name)?;
            Some((Arc::clone(name), exchange.outgoing.is_empty()))
        });
        let Some((name, unused)) = found else {
            return Ok(Changed { waits: self.wait_for(verbs.removed, waiter)? });
        };
        if if_unused && !unused {
            return Err(TopologyError::InUse {
                what: Entity::Exchange,
                name: name.to_string(),
                vhost: vhost.name.to_string(),
            });
        }
        let removed = self.remove(&vhost, &mut verbs, Removal::Exchange(name), Some(waiter))?;
        drop(verbs);
        Ok(Changed { waits: removed.finish()? })
    }
}

/// The record of the exchange `name`, if there is one and it is as `settings` say.
fn known(
    vhost: &VhostExchanges,
    name: &str,
    settings: &ExchangeSettings,
) -> Result<Option<Lsn>, TopologyError> {
    vhost.look(|live| {
        let Some(exchange) = live.exchanges.get(name) else { return Ok(None) };
        equivalence::exchange(&vhost.name, name, settings, &exchange.settings)?;
        Ok(Some(exchange.lsn))
    })
}
