//! Who may do what with exchanges and queues. Part of `broker::exchanges`.
//!
//! | verb | asks for |
//! |---|---|
//! | declare, delete | `configure` on it |
//! | declare with an alternate exchange | also `subscribe` on it and `publish` on the alternate one |
//! | declare passively | any of the three on it |
//! | bind, unbind | `publish` on the destination, `subscribe` on the source |
//! | consume, get, purge | `subscribe` on the queue |
//! | publish | `publish` on the exchange |
//!
//! `amq.topic` is the topic tree: what is published into it needs the right to publish to the topic as well, and
//! what is bound from it the right to subscribe to the filter, as an MQTT client would. A binding whose pattern no
//! filter says exactly is held to the smallest filter that covers it. The default exchange is `amq.default` in
//! rules.

use crate::auth::acl::{Action, Resource};
use crate::auth::principal::Principal;
use crate::model::routing_key;

use super::super::Broker;
use super::error::{Entity, TopologyError};
use super::hits::Hits;
use super::vhost::TREE;

/// What the default exchange is called in rules and texts.
const DEFAULT_NAME: &str = "amq.default";

impl Broker {
    fn is_allowed(&self, who: &Principal, action: Action, what: Entity, name: &str) -> bool {
        let resource = match what {
            Entity::Queue => Resource::Queue(name),
            Entity::Exchange if name.is_empty() => Resource::Exchange(DEFAULT_NAME),
            Entity::Exchange => Resource::Exchange(name),
        };
        self.acl.load().allows_resource(who, action, &who.vhost, resource).allowed
    }

    /// Whether the access rules let `who` do `action` with the queue or exchange `name`.
    ///
    /// # Errors
    /// [`TopologyError::AccessRefused`] with RabbitMQ's sentence.
    pub fn check_access(
        &self,
        who: &Principal,
        action: Action,
        what: Entity,
        name: &str,
    ) -> Result<(), TopologyError> {
        let allowed = self.is_allowed(who, action, what, name);
        if allowed { Ok(()) } else { Err(refused(who, what, name)) }
    }

    /// Whether `who` may do anything at all with it, and so ask whether it is there.
    pub(super) fn check_any_access(
        &self,
        who: &Principal,
        what: Entity,
        name: &str,
    ) -> Result<(), TopologyError> {
        let actions = [Action::Configure, Action::Publish, Action::Subscribe];
        let any = actions.into_iter().any(|action| self.is_allowed(who, action, what, name));
        if any { Ok(()) } else { Err(refused(who, what, name)) }
    }

    /// Whether `who` may publish to `exchange` under `keys` what was routed to `hits`: `publish` on the exchange,
    /// and on each key's topic if the message reached the topic tree. The answer may be cached with the route.
    ///
    /// # Errors
    /// [`TopologyError::AccessRefused`] with RabbitMQ's sentence.
    pub fn check_publish(
        &self,
        who: &Principal,
        exchange: &str,
        keys: &[&str],
        hits: &Hits,
    ) -> Result<(), TopologyError> {
        self.check_access(who, Action::Publish, Entity::Exchange, exchange)?;
        if !hits.reached_tree {
            return Ok(());
        }
        let acl = self.acl.load();
        for key in keys {
            // A key without a topic reaches nobody there.
            let Ok(topic) = routing_key::to_topic(key) else { continue };
            if !acl.allows(who, "", Action::Publish, &who.vhost, &topic).allowed {
                return Err(topic_refused(who, key));
            }
        }
        Ok(())
    }

    /// Whether `who` may bind from `source` with `key`, beside what [`Self::check_access`] says.
    pub(super) fn check_tree_binding(
        &self,
        who: &Principal,
        source: &str,
        key: &str,
    ) -> Result<(), TopologyError> {
        let acl = self.acl.load();
        if source != TREE || acl.is_open() {
            return Ok(());
        }
        let filter = match routing_key::filter_of(key) {
            Ok(filter) => filter,
            Err(_) => routing_key::over_approximation(key).map_err(|_| topic_refused(who, key))?,
        };
        let verdict = acl.allows(who, "", Action::Subscribe, &who.vhost, filter.filter());
        if verdict.allowed { Ok(()) } else { Err(topic_refused(who, key)) }
    }
}

fn refused(who: &Principal, what: Entity, name: &str) -> TopologyError {
    let name = if what == Entity::Exchange && name.is_empty() { DEFAULT_NAME } else { name };
    let (what, vhost, user) = (what.word(), &who.vhost, &who.name);
    TopologyError::AccessRefused(format!(
        "access to {what} '{name}' in vhost '{vhost}' refused for user '{user}'"
    ))
}

fn topic_refused(who: &Principal, key: &str) -> TopologyError {
    let (vhost, user) = (&who.vhost, &who.name);
    TopologyError::AccessRefused(format!(
        "access to topic '{key}' in exchange '{TREE}' in vhost '{vhost}' refused for user '{user}'"
    ))
}
