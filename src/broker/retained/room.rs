//! How many topics hold a retained message and how long these are, against their limits. Part of `broker::retained`.
//!
//! Applied values are applied state; limits are looked at before a record is submitted, and apply takes whatever comes, so
//! that a replay under other limits comes to the same. What was let in and is not applied claims its room meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::metrics::Limit;

/// Topics and bytes.
#[derive(Debug, Default)]
struct Sums {
    messages: AtomicU64,
    bytes: AtomicU64,
}

impl Sums {
    fn add(&self, bytes: u64) {
        self.messages.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn remove(&self, bytes: u64) {
        self.messages.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// How retained messages may be at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetainedLimits {
    /// Topics that hold one.
    pub messages_max: u64,
    /// Bytes of them, beyond which no further topic may.
    pub bytes_max: u64,
}

/// A topic's value before and after a change: how long it is, if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    pub(super) before: Option<u64>,
    pub(super) after: Option<u64>,
}

/// What all topics take.
#[derive(Debug, Default)]
pub struct Room {
    applied: Sums,
    claimed: Arc<Sums>,
}

/// Room for a value that is not applied yet; given back on drop.
#[derive(Debug)]
pub struct Claim {
    claimed: Arc<Sums>,
    bytes: u64,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.claimed.remove(self.bytes);
    }
}

impl Room {
    /// Topics with an applied value.
    pub(super) fn messages(&self) -> u64 {
        self.applied.messages.load(Ordering::Relaxed)
    }

    /// Bytes of applied values.
    pub(super) fn bytes(&self) -> u64 {
        self.applied.bytes.load(Ordering::Relaxed)
    }

    /// Notes what was applied.
    pub(super) fn note(&self, change: Change) {
        if let Some(bytes) = change.after {
            self.applied.add(bytes);
        }
        if let Some(bytes) = change.before {
            self.applied.remove(bytes);
        }
    }

    /// Room for one more topic, with a value of `bytes`. Publishers that ask at the same instant may go beyond the limits
    /// by one each.
    ///
    /// # Errors
    /// The limit that is reached.
    pub(super) fn claim(&self, bytes: u64, limits: RetainedLimits) -> Result<Claim, Limit> {
        let claimed = &self.claimed;
        let messages = self.messages() + claimed.messages.load(Ordering::Relaxed);
        if messages >= limits.messages_max {
            return Err(Limit::RetainedMessages);
        }
        let held = self.bytes() + claimed.bytes.load(Ordering::Relaxed);
        if held.saturating_add(bytes) > limits.bytes_max {
            return Err(Limit::RetainedBytes);
        }
        claimed.add(bytes);
        Ok(Claim { claimed: Arc::clone(claimed), bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::{Change, RetainedLimits, Room};
    use crate::metrics::Limit;

    #[test]
    fn what_is_claimed_counts_until_it_is_applied_or_given_up() {
        let room = Room::default();
        let limits = RetainedLimits { messages_max: 2, bytes_max: 10 };
        let first = room.claim(6, limits).unwrap();
        assert_eq!(room.claim(5, limits).unwrap_err(), Limit::RetainedBytes);
        let second = room.claim(4, limits).unwrap();
        assert_eq!(room.claim(0, limits).unwrap_err(), Limit::RetainedMessages);
        room.note(Change { before: None, after: Some(6) });
        drop((first, second));
        assert_eq!((room.messages(), room.bytes()), (1, 6));
        assert!(room.claim(4, limits).is_ok());
        room.note(Change { before: Some(6), after: Some(20) });
        assert_eq!(room.claim(0, limits).unwrap_err(), Limit::RetainedBytes);
        room.note(Change { before: Some(20), after: None });
        assert_eq!((room.messages(), room.bytes()), (0, 0));
    }
}
