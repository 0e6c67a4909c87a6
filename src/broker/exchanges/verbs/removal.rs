//! What goes, and the auto-delete exchanges that go with it. Part of `broker::exchanges::verbs`.

use std::sync::Arc;

use crate::store::journal::SubmitError;

use super::super::super::Broker;
use super::super::super::consumer::{QueueConsumer, Waiter};
use super::super::super::declared::queue::DeclaredQueue;
use super::super::super::record::Record;
use super::super::binding::Binding;
use super::super::error::{Entity, TopologyError};
use super::super::vhost::{Verbs, VhostExchanges};

/// One thing that goes.
pub(super) enum Removal {
    Queue(Arc<DeclaredQueue>),
    Exchange(Arc<str>),
    Binding(Arc<Binding>),
}

/// What a removal came to.
#[derive(Default)]
pub(super) struct Removed {
    /// The waiter was taken.
    pub(super) waits: bool,
    /// Of the queue that went; they are to be told once no lock is held. When its record is applied already, the
    /// applier has told them.
    consumers: Vec<Arc<dyn QueueConsumer>>,
    /// Of what should have gone along, something stayed.
    refused: Option<SubmitError>,
}

impl Removed {
    /// Tells the consumers of the queue; says whether the waiter was taken. Called without locks.
    ///
    /// # Errors
    /// The journal refused a part.
    pub(super) fn finish(self) -> Result<bool, TopologyError> {
        self.consumers.iter().for_each(|consumer| consumer.cancelled());
        match self.refused {
            Some(error) => Err(error.into()),
            None => Ok(self.waits),
        }
    }
}

impl Broker {
    /// Removes `first` and the auto-delete exchanges that lose their last binding by it, each when its record is
    /// submitted. The waiter goes with the last record, so that its turn comes when all are applied.
    ///
    /// # Errors
    /// The journal refused the record of `first`: nothing changed. What it refuses later [`Removed::finish`] tells.
    pub(super) fn remove(
        &self,
        vhost: &VhostExchanges,
        verbs: &mut Verbs,
        first: Removal,
        waiter: Option<impl FnOnce() -> Waiter>,
    ) -> Result<Removed, TopologyError> {
        let followers = vhost.look(|live| match &first {
            Removal::Queue(queue) => live.followers_of(Entity::Queue, &queue.name),
            Removal::Exchange(name) => live.followers_of(Entity::Exchange, name),
            Removal::Binding(binding) => live.followers_of_binding(binding),
        });
        let followers = followers.into_iter().map(Removal::Exchange);
        let removals: Vec<Removal> = std::iter::once(first).chain(followers).collect();
        let durable: Vec<bool> = removals.iter().map(|one| is_durable(vhost, one)).collect();
        let last = durable.iter().rposition(|durable| *durable);
        let mut waiter = waiter;
        let mut removed = Removed::default();
        for (at, (removal, durable)) in removals.into_iter().zip(durable).enumerate() {
            if durable {
                let told = if last == Some(at) { waiter.take() } else { None };
                removed.waits |= told.is_some();
                let told = told.map(|waiter| waiter());
                match self.submit(told, &record(vhost, &removal)) {
                    Ok(lsn) => verbs.removed = lsn,
                    Err(error) if at == 0 => return Err(error.into()),
                    Err(error) => {
                        removed.refused = Some(error);
                        break;
                    }
                }
            }
            removed.consumers.extend(self.take_out(vhost, removal, durable));
        }
        Ok(removed)
    }

    /// Removes one thing from the live topology; gives the consumers that lose it.
    fn take_out(
        &self,
        vhost: &VhostExchanges,
        removal: Removal,
        durable: bool,
    ) -> Vec<Arc<dyn QueueConsumer>> {
        match removal {
            Removal::Queue(queue) => {
                let stale = vhost.look(|live| live.is_bound(Entity::Queue, &queue.name));
                vhost.change(|live| live.remove_queue(&queue.name), stale);
                let consumers = queue.end().consumers;
                if !durable {
                    // The applier forgets a durable one when its record is applied.
                    self.declared.forget(queue.id);
                }
                consumers
            }
            Removal::Exchange(name) => {
                vhost.change(|live| live.remove_exchange(&name), true);
                Vec::new()
            }
            Removal::Binding(binding) => {
                vhost.change(|live| live.remove_binding(&binding), true);
                Vec::new()
            }
        }
    }
}

fn is_durable(vhost: &VhostExchanges, removal: &Removal) -> bool {
    match removal {
        Removal::Queue(queue) => queue.durable,
        Removal::Exchange(name) => vhost.look(|live| {
            live.exchanges.get(name).is_some_and(|exchange| exchange.settings.durable)
        }),
        Removal::Binding(binding) => binding.durable,
    }
}

fn record<'a>(vhost: &'a VhostExchanges, removal: &'a Removal) -> Record<'a> {
    match removal {
        Removal::Queue(queue) => Record::DeleteQueue { id: queue.id },
        Removal::Exchange(name) => Record::DeleteExchange { vhost: &vhost.name, name },
        Removal::Binding(binding) => Record::Unbind(binding.to_record(&vhost.name)),
    }
}
