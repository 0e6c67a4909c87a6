//! Verbs on the topology: declare, delete, bind, unbind. Part of `broker::exchanges`.
//!
//! Each takes the principal and asks the access rules. One lock a vhost orders them: under it a verb decides,
//! submits its record, and changes the live topology, so that the order of records is the order of changes. The
//! change is visible only after its record was submitted: whoever routes into something new submits later
//! records. What is durable is answered when its record is applied, what is transient at once; an entity that is
//! there already but whose record is under way is answered behind a [`Record::Barrier`](crate::broker::record::Record).
//!
//! - [`exchanges`] declare and delete exchanges
//! - [`bindings`] bind and unbind
//! - [`queues`] declare, find and delete queues
//! - `removal` what goes, and what goes with it

pub mod bindings;
pub mod exchanges;
pub mod queues;
mod removal;

use std::borrow::Cow;
use std::sync::Arc;

use crate::auth::principal::Principal;
use crate::model::field_table::{FieldTable, Limits};
use crate::model::ids::Lsn;

use super::super::Broker;
use super::super::consumer::Waiter;
use super::super::declared::queue::DeclaredQueue;
use super::super::record::Record;
use super::error::{Entity, TopologyError};
use super::vhost::VhostExchanges;

/// An exchange as it is declared.
#[derive(Clone, Copy, Debug)]
pub struct ExchangeDeclaration<'a> {
    /// Its name; CR and LF in it do not count.
    pub name: &'a str,
    /// Name of its type; not looked at when passive.
    pub kind: &'a str,
    /// Only ask whether it exists.
    pub passive: bool,
    /// Whether it survives a restart.
    pub durable: bool,
    /// Whether it goes with the last binding from it.
    pub auto_delete: bool,
    /// Whether clients may not publish to it.
    pub internal: bool,
    /// Field table, the bytes after its length.
    pub arguments: &'a [u8],
}

/// A queue as it is declared.
#[derive(Clone, Copy, Debug)]
pub struct QueueDeclaration<'a> {
    /// Its name; empty for one that the broker makes up. CR and LF in it do not count.
    pub name: &'a str,
    /// Only ask whether it exists.
    pub passive: bool,
    /// Whether it survives a restart.
    pub durable: bool,
    /// Whether it belongs to the connection and goes with it.
    pub exclusive: bool,
    /// Whether it goes with its last consumer.
    pub auto_delete: bool,
    /// Field table, the bytes after its length.
    pub arguments: &'a [u8],
}

/// A binding as it is asked for or given up.
#[derive(Clone, Copy, Debug)]
pub struct BindingSpec<'a> {
    /// The exchange that messages come from.
    pub source: &'a str,
    /// Name of the queue or exchange that they go to.
    pub destination: &'a str,
    /// Binding key.
    pub key: &'a str,
    /// Field table, the bytes after its length.
    pub arguments: &'a [u8],
}

/// A change is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The waiter was taken: answer when it is told.
    pub waits: bool,
}

/// A queue is there.
#[derive(Clone)]
pub struct QueueDeclared {
    /// The queue.
    pub queue: Arc<DeclaredQueue>,
    /// Messages that are ready.
    pub messages: u64,
    /// Its consumers.
    pub consumers: u64,
    /// The waiter was taken: answer when it is told.
    pub waits: bool,
}

/// A queue is gone, or never was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// Messages that were ready in it.
    pub messages: u64,
    /// The waiter was taken: answer when it is told.
    pub waits: bool,
}

impl Broker {
    /// The topology that `who` is in.
    pub(super) fn topology(&self, who: &Principal) -> Result<Arc<VhostExchanges>, TopologyError> {
        let vhost = self.exchanges.vhost(&who.vhost);
        vhost.ok_or_else(|| TopologyError::NoVhost(who.vhost.to_string()))
    }

    /// Whether the answer about something whose record is `lsn` must wait for it; then the waiter is told behind it.
    pub(super) fn wait_for(
        &self,
        lsn: Lsn,
        waiter: impl FnOnce() -> Waiter,
    ) -> Result<bool, TopologyError> {
        if lsn <= self.applied_lsn() {
            return Ok(false);
        }
        self.submit(Some(waiter()), &Record::Barrier)?;
        Ok(true)
    }
}

/// A name without the line ends that some clients leave in it.
fn plain(name: &str) -> Cow<'_, str> {
    if name.contains(['\r', '\n']) {
        Cow::Owned(name.replace(['\r', '\n'], ""))
    } else {
        Cow::Borrowed(name)
    }
}

/// Names that begin with `amq.` are the broker's.
fn check_reserved(what: Entity, name: &str) -> Result<(), TopologyError> {
    if !name.starts_with("amq.") {
        return Ok(());
    }
    let what = what.word();
    let text = format!("{what} name '{name}' contains reserved prefix 'amq.*'");
    Err(TopologyError::AccessRefused(text))
}

/// The arguments of a declaration or binding; whoever parsed the frame may not have looked into them.
fn check_table(bytes: &[u8]) -> Result<FieldTable<'_>, TopologyError> {
    FieldTable::check(bytes, Limits::default())
        .map_err(|error| TopologyError::BadArgument(format!("arguments: {error}")))
}
