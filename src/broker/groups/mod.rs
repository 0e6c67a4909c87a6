//! Consumer groups: who shares a log's partitions, and how far they have read. Part of `broker`.
//!
//! Who is in a group, whose turn it is and what they agreed on lives in memory and leads; what must outlast a
//! restart is journaled: committed offsets, and the membership whenever it has become stable or empty.
//!
//! - [`verbs`] what protocols ask, and the errors they get
//! - [`group`] one group, pure; [`live`] all of them, with locks, waiters and deadlines
//! - [`membership`], [`offsets`], [`listing`] the verbs of [`crate::broker::Broker`]; [`front`] the same with a clock
//! - [`applied`] what the journal says: offsets and memberships; [`frozen`] the same on disk
//! - [`expiry`] of what nobody wants any more; [`lag`] how far groups are behind
//! - [`limits`] what groups are bounded by; [`weight`] what they take in memory; [`access`] who may use one
//!
//! A route out of a log is a group too, named [`ROUTE_PREFIX`] and the route's name: its position is its committed
//! offset, listed like any other. Nobody joins it.
//!
//! Locks: the table of live groups is a leaf below a group's own lock; a group's lock is held while its records are
//! submitted, so that the journal's order is the order of its changes; what the journal says is a leaf below all.

pub mod access;
pub mod applied;
pub mod expiry;
pub mod front;
pub mod frozen;
pub mod group;
pub mod lag;
pub mod limits;
pub mod listing;
pub mod live;
pub mod membership;
pub mod offsets;
pub mod verbs;
pub mod weight;

use parking_lot::Mutex;

use self::applied::{AppliedGroups, Place};
use self::live::LiveGroups;

/// Groups whose names begin so belong to routes.
pub const ROUTE_PREFIX: &str = "$route.";

/// The groups of a broker.
#[derive(Debug, Default)]
pub struct Groups {
    /// What the journal says. Only the applier writes.
    pub applied: Mutex<AppliedGroups>,
    /// Who is in them now.
    pub live: LiveGroups,
}

impl Groups {
    /// The offset that `group` has committed for a partition, −1 without one.
    #[must_use]
    pub fn position(&self, vhost: &str, group: &str, place: Place) -> i64 {
        self.applied.lock().offset(vhost, group, place).map_or(-1, |found| found.offset)
    }
}

#[cfg(test)]
mod tests;
