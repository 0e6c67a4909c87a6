//! The durable topology as records made it, of all vhosts. Part of `broker::exchanges`.
//!
//! Changed by the applier alone, in the order of records; predeclared exchanges are not in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::store::tables::bindings::BindingKey;
use crate::store::tables::exchanges::{ExchangeKey, ExchangeRow};

use super::super::record;
use crate::model::ids::SHARD;

/// vhost and name.
type Name = (String, String);

/// A binding by where it comes from, then by where it goes.
type Bound = Arc<BindingKey>;

/// Exchanges and bindings.
#[derive(Default)]
pub struct Applied {
    exchanges: BTreeMap<Name, ExchangeRow>,
    bindings: BTreeSet<Bound>,
    /// The same bindings by vhost, kind and name of where they go.
    incoming: BTreeMap<(String, bool, String), BTreeSet<Bound>>,
    changed_exchanges: BTreeSet<Name>,
    changed_bindings: BTreeSet<Bound>,
}

/// What changed since the last checkpoint, as it is now; `None` is gone.
#[derive(Debug, Default)]
pub struct FrozenTopology {
    /// Exchanges.
    pub exchanges: Vec<(ExchangeKey, Option<ExchangeRow>)>,
    /// Bindings, and whether they are there.
    pub bindings: Vec<(BindingKey, bool)>,
}

fn owned(binding: &record::Binding<'_>) -> BindingKey {
    BindingKey {
        shard: SHARD,
        vhost: binding.vhost.to_owned(),
        source: binding.source.to_owned(),
        to_exchange: binding.to_exchange,
        destination: binding.destination.to_owned(),
        key: binding.key.to_owned(),
        arguments: binding.arguments.to_vec(),
    }
}

fn destination(bound: &BindingKey) -> (String, bool, String) {
    (bound.vhost.clone(), bound.to_exchange, bound.destination.clone())
}

impl Applied {
    /// Every exchange, by vhost and name.
    pub fn exchanges(&self) -> impl Iterator<Item = (&str, &str, &ExchangeRow)> {
        self.exchanges.iter().map(|((vhost, name), row)| (&**vhost, &**name, row))
    }

    /// Every binding.
    pub fn bindings(&self) -> impl Iterator<Item = &BindingKey> {
        self.bindings.iter().map(|bound| &**bound)
    }

    pub(in crate::broker) fn declare_exchange(
        &mut self,
        vhost: &str,
        name: &str,
        row: ExchangeRow,
    ) {
        let key = (vhost.to_owned(), name.to_owned());
        self.changed_exchanges.insert(key.clone());
        self.exchanges.insert(key, row);
    }

    pub(in crate::broker) fn delete_exchange(&mut self, vhost: &str, name: &str) {
        let key = (vhost.to_owned(), name.to_owned());
        self.exchanges.remove(&key);
        self.changed_exchanges.insert(key);
        let first = BindingKey::first_of(SHARD, vhost, name);
        let own = |bound: &&Bound| bound.vhost == vhost && bound.source == name;
        let outgoing: Vec<_> = self.bindings.range(first..).take_while(own).cloned().collect();
        for bound in outgoing {
            self.remove(&bound);
        }
        self.delete_destination(vhost, true, name);
    }

    /// A queue is gone, with the bindings to it.
    pub(in crate::broker) fn delete_queue(&mut self, vhost: &str, name: &str) {
        self.delete_destination(vhost, false, name);
    }

    fn delete_destination(&mut self, vhost: &str, to_exchange: bool, name: &str) {
        let key = (vhost.to_owned(), to_exchange, name.to_owned());
        for bound in self.incoming.remove(&key).unwrap_or_default() {
            self.remove(&bound);
        }
    }

    pub(in crate::broker) fn bind(&mut self, binding: &record::Binding<'_>) {
        self.insert(Arc::new(owned(binding)), true);
    }

    pub(in crate::broker) fn unbind(&mut self, binding: &record::Binding<'_>) {
        self.remove(&Arc::new(owned(binding)));
    }

    fn insert(&mut self, bound: Bound, changed: bool) {
        self.incoming.entry(destination(&bound)).or_default().insert(Arc::clone(&bound));
        if changed {
            self.changed_bindings.insert(Arc::clone(&bound));
        }
        self.bindings.insert(bound);
    }

    fn remove(&mut self, bound: &Bound) {
        let to = destination(bound);
        if let Some(incoming) = self.incoming.get_mut(&to) {
            incoming.remove(bound);
            if incoming.is_empty() {
                self.incoming.remove(&to);
            }
        }
        self.bindings.remove(bound);
        self.changed_bindings.insert(Arc::clone(bound));
    }

    /// As the last checkpoint left it.
    pub(super) fn restore_exchange(&mut self, key: ExchangeKey, row: ExchangeRow) {
        self.exchanges.insert((key.vhost, key.name), row);
    }

    /// As the last checkpoint left it.
    pub(super) fn restore_binding(&mut self, key: BindingKey) {
        self.insert(Arc::new(key), false);
    }

    /// Takes what changed since the last call.
    pub(in crate::broker) fn freeze(&mut self) -> FrozenTopology {
        let exchanges = std::mem::take(&mut self.changed_exchanges);
        let bindings = std::mem::take(&mut self.changed_bindings);
        FrozenTopology {
            exchanges: exchanges
                .into_iter()
                .map(|name| {
                    let row = self.exchanges.get(&name).cloned();
                    (ExchangeKey { shard: SHARD, vhost: name.0, name: name.1 }, row)
                })
                .collect(),
            bindings: bindings
                .into_iter()
                .map(|bound| {
                    let present = self.bindings.contains(&bound);
                    (Arc::unwrap_or_clone(bound), present)
                })
                .collect(),
        }
    }
}
