//! One binding: from an exchange to a queue or another exchange. Part of `broker::exchanges`.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::model::ids::Lsn;

use super::super::record;
use super::error::Entity;

/// A binding. Two are the same when all but `durable` and `lsn` is.
#[derive(Clone, Debug)]
pub struct Binding {
    /// The exchange that messages come from.
    pub source: Arc<str>,
    /// What they go to.
    pub to: Entity,
    /// Its name.
    pub destination: Arc<str>,
    /// Binding key.
    pub key: Box<str>,
    /// Field table, its entries sorted by name.
    pub arguments: Box<[u8]>,
    /// Whether both ends survive a restart, and the binding with them.
    pub durable: bool,
    /// Its record; 0 when it has none or comes from before the last restart.
    pub lsn: Lsn,
}

impl Binding {
    fn identity(&self) -> (&str, Entity, &str, &str, &[u8]) {
        (&self.source, self.to, &self.destination, &self.key, &self.arguments)
    }

    /// The binding as records name it.
    #[must_use]
    pub fn to_record<'a>(&'a self, vhost: &'a str) -> record::Binding<'a> {
        record::Binding {
            vhost,
            source: &self.source,
            to_exchange: self.to == Entity::Exchange,
            destination: &self.destination,
            key: &self.key,
            arguments: &self.arguments,
        }
    }
}

impl PartialEq for Binding {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for Binding {}

impl Hash for Binding {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}
