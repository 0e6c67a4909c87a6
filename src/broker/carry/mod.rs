//! Routes out of logs: what a log holds, published again, from a committed position on. Part of `broker`.
//!
//! A route out of a log is a group of its own ([`ROUTE_PREFIX`] and its name) whose committed offsets are its
//! position. What it must keep: every record of every partition is published in order, none is left out, and what is
//! durable beyond gets each once, wherever the power fails.
//!
//! **Position and delivery are one journal record.** A publish with durable destinations carries the condition that
//! the group stands at `expected`, and moves it to `next`, the offset behind its record. The records of a partition
//! form a chain, each expecting where the one before leaves the group. So nothing waits: many are on their way, and
//! if one is refused (a full queue that rejects publishers), all behind it are stale and change nothing. The reader
//! then lets what is on its way come back, pauses, and goes on from where the group stands.
//!
//! **What has nothing durable to reach is delivered without a record**, and what cannot be carried is counted; the
//! next link of the chain passes over both, for `next` may lie any number of offsets behind `expected`. What of a
//! chunk no link has passed is committed by a record that only moves the group. A crash before it repeats those
//! deliveries: to no durable destination, for a record would have moved the group; a destination that is gone with
//! the crash cannot count. After a refusal nothing is repeated at all: the reader remembers up to where it has
//! delivered, and publishes again to whoever waits for records alone.
//!
//! **Where it begins.** At the route's first start one record commits the beginning of every partition that there
//! is, the start of the log or its end ([`Beginning`]), and the next one gives the group a membership, of nobody.
//! Whatever turns up once that is there (a log, a partition) is read from its start: it came after the route. A log
//! that was deleted and created anew is another log.
//!
//! - [`reader`] a route's task; [`passage`] one partition of it; [`carriage`] one record
//! - [`answers`] what became of what is on its way
//!
//! Time, pauses and the flushing of connections are given by whoever runs the task ([`Pace`]).

mod answers;
mod carriage;
mod passage;
pub mod reader;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::broker::groups::ROUTE_PREFIX;
use crate::broker::logs::batch::records::Record;
use crate::metrics::label::RouteFailure;
use crate::model::qos::QoS;

/// Where a route begins in a log that was there before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// At the first record that the log still has.
    Earliest,
    /// Behind the last one.
    Latest,
}

/// Where a route out of a log leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlet<'a> {
    /// Into the topic tree.
    Tree {
        /// The promise.
        qos: QoS,
        /// Becomes the topic's retained message.
        retain: bool,
    },
    /// To an exchange.
    Exchange {
        /// Its name.
        name: &'a str,
        /// Durable queues keep it durably.
        persistent: bool,
    },
}

/// A record on its way out.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// Name of the log.
    pub log: &'a str,
    /// Number of the partition.
    pub partition: u32,
    /// The record.
    pub record: &'a Record<'a>,
}

/// A route out of a log, from the configuration.
pub trait OutRoute: Send + Sync {
    /// Its name, unique.
    fn name(&self) -> &str;
    /// The log's name.
    fn log(&self) -> &str;
    /// Where it begins.
    fn beginning(&self) -> Beginning;
    /// Where it leads.
    fn outlet(&self) -> Outlet<'_>;
    /// Appends the address of the message that the record becomes to `out`: topic name or routing key.
    ///
    /// # Errors
    /// The record has none; it is counted and left behind.
    fn address(&self, outgoing: &Outgoing<'_>, out: &mut Vec<u8>) -> Result<(), RouteFailure>;
    /// Counts records carried.
    fn carried(&self, records: u64);
    /// Counts records not carried.
    fn failed(&self, why: RouteFailure, records: u64);
}

/// What runs a route's task gives it.
pub trait Pace: Send + Sync {
    /// Now, ms since the epoch.
    fn now_ms(&self) -> u64;
    /// Completes after `duration`.
    fn pause(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>>;
    /// Sends what was delivered on this thread; completes when those who were flooded have room again, or are given
    /// up.
    fn settle(&self) -> impl Future<Output = ()> + Send;
}

/// The name of the group whose offsets are the position of the route called `route`.
#[must_use]
pub fn group_of(route: &str) -> String {
    format!("{ROUTE_PREFIX}{route}")
}

/// What the route called `route` of the installation `origin` leaves on what it carries, so that it is known again.
#[must_use]
pub fn mark(origin: &str, route: &str) -> String {
    format!("{origin}/{route}")
}
