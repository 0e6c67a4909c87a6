//! Declaring, finding and deleting queues. Part of `broker::exchanges::verbs`.

use std::sync::Arc;

use crate::auth::acl::Action;
use crate::auth::principal::Principal;
use crate::model::ids::{ConnectionId, Lsn};

use super::super::super::Broker;
use super::super::super::consumer::Waiter;
use super::super::super::declared::queue::DeclaredQueue;
use super::super::super::declared::settings::QueueSettings;
use super::super::super::record::Record;
use super::super::equivalence;
use super::super::error::{Entity, TopologyError};
use super::super::live::NamedQueue;
use super::super::vhost::VhostExchanges;
use super::removal::{Removal, Removed};
use super::{Deleted, QueueDeclaration, QueueDeclared, check_reserved, check_table, plain};

/// In front of names that the broker makes up.
const MADE_UP: &str = "amq.gen-";

impl Broker {
    /// Declares a queue for `connection`, or asks whether there is one.
    ///
    /// # Errors
    /// See [`TopologyError`]; nothing changed.
    pub fn declare_queue(
        &self,
        who: &Principal,
        connection: ConnectionId,
        declaration: &QueueDeclaration<'_>,
        waiter: impl FnOnce() -> Waiter,
        now_ms: u64,
    ) -> Result<QueueDeclared, TopologyError> {
        let vhost = self.topology(who)?;
        let name = plain(declaration.name);
        if declaration.passive {
            self.check_any_access(who, Entity::Queue, &name)?;
            let named = named(&vhost, &name)?;
            check_owner(&named.queue, connection)?;
            return self.known_queue(named, waiter, now_ms);
        }
        let made_up = name.is_empty();
        let name = if made_up { made_up_name()? } else { name.into_owned() };
        if !made_up {
            check_reserved(Entity::Queue, &name)?;
        }
        self.check_access(who, Action::Configure, Entity::Queue, &name)?;
        check_table(declaration.arguments)?;
        if let Some(known) = again(&vhost, &name, connection, declaration)? {
            return self.known_queue(known, waiter, now_ms);
        }
        let settings = settings(&vhost.name, &name, connection, declaration)?;
        let mut verbs = vhost.verbs.lock();
        // Somebody may have been faster.
        if let Some(known) = again(&vhost, &name, connection, declaration)? {
            drop(verbs);
            return self.known_queue(known, waiter, now_ms);
        }
        let queue = self.create_queue(&vhost, &name, settings, waiter)?;
        if let Some(owner) = queue.settings.exclusive {
            verbs.exclusive.entry(owner).or_default().push(Arc::clone(&queue));
        }
        drop(verbs);
        queue.touch(now_ms);
        Ok(QueueDeclared { waits: queue.durable, queue, messages: 0, consumers: 0 })
    }

    /// Makes a queue and submits its record, under the lock of the verbs.
    fn create_queue(
        &self,
        vhost: &VhostExchanges,
        name: &str,
        settings: QueueSettings,
        waiter: impl FnOnce() -> Waiter,
    ) -> Result<Arc<DeclaredQueue>, TopologyError> {
        let limit = self.exchanges.limits().queues_max;
        if vhost.look(|live| live.queues.len()) >= limit {
            let vhost = &vhost.name;
            return Err(TopologyError::Limit(format!(
                "cannot declare queue '{name}': queue limit in vhost '{vhost}' ({limit}) is reached"
            )));
        }
        let id = self.sessions.new_id();
        // The applier finds it by its id.
        let queue = self.declared.create(id, Arc::clone(&vhost.name), name.into(), settings);
        let mut lsn = Lsn(0);
        if queue.durable {
            let record = Record::DeclareQueue {
                id,
                vhost: &vhost.name,
                name,
                auto_delete: queue.settings.auto_delete,
                arguments: &queue.settings.table,
            };
            lsn = self.submit(Some(waiter()), &record).inspect_err(|_| self.declared.forget(id))?;
        }
        vhost.change(|live| live.add_queue(&queue, lsn), false);
        Ok(queue)
    }

    fn known_queue(
        &self,
        named: NamedQueue,
        waiter: impl FnOnce() -> Waiter,
        now_ms: u64,
    ) -> Result<QueueDeclared, TopologyError> {
        let NamedQueue { queue, lsn } = named;
        queue.touch(now_ms);
        let waits = self.wait_for(lsn, waiter)?;
        let counts = self.queue_counts(&queue, now_ms);
        Ok(QueueDeclared { queue, messages: counts.ready, consumers: counts.consumers, waits })
    }

    /// The queue `name`, for `connection` to consume, get or purge; rights are asked by these verbs.
    ///
    /// # Errors
    /// `NotFound`, `Locked`, `NoVhost`.
    pub fn find_queue(
        &self,
        who: &Principal,
        connection: ConnectionId,
        name: &str,
    ) -> Result<Arc<DeclaredQueue>, TopologyError> {
        let vhost = self.topology(who)?;
        let queue = named(&vhost, &plain(name))?.queue;
        check_owner(&queue, connection)?;
        Ok(queue)
    }

    /// Deletes a queue with its messages and bindings; one that is not there is as good as deleted. Its consumers
    /// are told.
    ///
    /// # Errors
    /// See [`TopologyError`]; nothing changed, but for its note on the journal.
    pub fn delete_queue(
        &self,
        who: &Principal,
        connection: ConnectionId,
        name: &str,
        if_unused: bool,
        if_empty: bool,
        waiter: impl FnOnce() -> Waiter,
        now_ms: u64,
    ) -> Result<Deleted, TopologyError> {
        let vhost = self.topology(who)?;
        let name = &*plain(name);
        self.check_access(who, Action::Configure, Entity::Queue, name)?;
        let mut verbs = vhost.verbs.lock();
        let Some(queue) = vhost.queue(name) else {
            return Ok(Deleted { messages: 0, waits: self.wait_for(verbs.removed, waiter)? });
        };
        check_owner(&queue, connection)?;
        let counts = self.queue_counts(&queue, now_ms);
        let (name, place) = (|| name.to_owned(), || vhost.name.to_string());
        if if_empty && counts.ready > 0 {
            return Err(TopologyError::NotEmpty { name: name(), vhost: place() });
        }
        if if_unused && counts.consumers > 0 {
            let what = Entity::Queue;
            return Err(TopologyError::InUse { what, name: name(), vhost: place() });
        }
        forget_exclusive(&mut verbs.exclusive, &queue);
        let removed = self.remove(&vhost, &mut verbs, Removal::Queue(queue), Some(waiter))?;
        drop(verbs);
        Ok(Deleted { messages: counts.ready, waits: removed.finish()? })
    }

    /// Deletes a queue that nobody consumes from any more (auto-delete, `x-expires`); false when somebody does,
    /// it is gone already, or the journal refuses.
    pub fn auto_delete_queue(&self, queue: &Arc<DeclaredQueue>) -> bool {
        let Some(vhost) = self.exchanges.vhost(&queue.vhost) else { return false };
        let mut verbs = vhost.verbs.lock();
        let is_current = vhost.queue(&queue.name).is_some_and(|own| Arc::ptr_eq(&own, queue));
        if !is_current || queue.counts().consumers > 0 {
            return false;
        }
        let removal = Removal::Queue(Arc::clone(queue));
        let removed = self.remove(&vhost, &mut verbs, removal, None::<fn() -> Waiter>);
        if removed.is_ok() {
            forget_exclusive(&mut verbs.exclusive, queue);
        }
        drop(verbs);
        let gone = removed.is_ok();
        if let Err(error) = removed.and_then(Removed::finish) {
            tracing::warn!(queue = &*queue.name, %error, "not all that should go with a queue went");
        }
        gone
    }

    /// A connection is gone: its exclusive queues go too.
    pub fn leave(&self, vhost: &str, connection: ConnectionId) {
        let Some(vhost) = self.exchanges.vhost(vhost) else { return };
        let mut verbs = vhost.verbs.lock();
        let queues = verbs.exclusive.remove(&connection).unwrap_or_default();
        let remove = |queue: Arc<DeclaredQueue>| {
            self.remove(&vhost, &mut verbs, Removal::Queue(queue), None::<fn() -> Waiter>)
        };
        let removed: Vec<_> = queues.into_iter().map(remove).collect();
        drop(verbs);
        for removed in removed {
            if let Err(error) = removed.and_then(Removed::finish) {
                tracing::warn!(%error, "not all that should go with an exclusive queue went");
            }
        }
    }
}

fn named(vhost: &VhostExchanges, name: &str) -> Result<NamedQueue, TopologyError> {
    let found = vhost.look(|live| live.queues.get(name).cloned());
    found.ok_or_else(|| TopologyError::no_queue(&vhost.name, name))
}

/// Whether `connection` may touch the queue: exclusive ones are their connection's alone.
pub(super) fn check_owner(
    queue: &DeclaredQueue,
    connection: ConnectionId,
) -> Result<(), TopologyError> {
    match queue.settings.exclusive {
        Some(owner) if owner != connection => Err(locked(queue)),
        _ => Ok(()),
    }
}

fn locked(queue: &DeclaredQueue) -> TopologyError {
    TopologyError::Locked { name: queue.name.to_string(), vhost: queue.vhost.to_string() }
}

/// The queue `name`, if there is one and it is declared again as it is.
fn again(
    vhost: &VhostExchanges,
    name: &str,
    connection: ConnectionId,
    declaration: &QueueDeclaration<'_>,
) -> Result<Option<NamedQueue>, TopologyError> {
    let Some(named) = vhost.look(|live| live.queues.get(name).cloned()) else { return Ok(None) };
    let current = &named.queue.settings;
    // One that is not exclusive cannot become so.
    if current.exclusive != declaration.exclusive.then_some(connection) {
        return Err(locked(&named.queue));
    }
    let durable = declaration.durable && !declaration.exclusive;
    let received = (durable, declaration.auto_delete, declaration.arguments);
    equivalence::queue(&vhost.name, name, received, current)?;
    Ok(Some(named))
}

/// What a new queue is to be.
fn settings(
    vhost: &str,
    name: &str,
    connection: ConnectionId,
    declaration: &QueueDeclaration<'_>,
) -> Result<QueueSettings, TopologyError> {
    let owner = declaration.exclusive.then_some(connection);
    let QueueDeclaration { durable, auto_delete, arguments, .. } = *declaration;
    QueueSettings::new(durable, owner, auto_delete, arguments).map_err(|error| {
        let (argument, reason) = (&error.name, &error.reason);
        let text =
            format!("invalid arg '{argument}' for queue '{name}' in vhost '{vhost}': {reason}");
        TopologyError::BadArgument(text)
    })
}

fn forget_exclusive(
    exclusive: &mut ahash::AHashMap<ConnectionId, Vec<Arc<DeclaredQueue>>>,
    queue: &Arc<DeclaredQueue>,
) {
    let Some(owner) = queue.settings.exclusive else { return };
    if let Some(queues) = exclusive.get_mut(&owner) {
        queues.retain(|own| own.id != queue.id);
        if queues.is_empty() {
            exclusive.remove(&owner);
        }
    }
}

/// A name that nobody guesses.
fn made_up_name() -> Result<String, TopologyError> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut random = [0; 22];
    getrandom::fill(&mut random)
        .map_err(|error| TopologyError::Limit(format!("no random name to be had: {error}")))?;
    let letter = |byte: u8| char::from(ALPHABET[usize::from(byte % 64)]);
    Ok(MADE_UP.chars().chain(random.into_iter().map(letter)).collect())
}
