//! How often a user was offered with a wrong password from an address within a minute. Part of `auth::checks`; pure.

use std::net::IpAddr;

use ahash::AHashMap;
use ahash::RandomState;

/// Pairs that are counted; each took a hash to get here, so a minute does not bring more.
const PAIRS_MAX: usize = 64 * 1024;
const MINUTE_MS: u64 = 60_000;

/// The counts of a minute that began with a pair's first failure.
#[derive(Debug, Default)]
pub(super) struct Failures {
    /// By a seeded hash of user and address: what peers call themselves is not kept.
    pairs: AHashMap<u64, Count>,
    seed: RandomState,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    since_ms: u64,
    failures: u32,
}

impl Count {
    fn is_current(self, now_ms: u64) -> bool {
        now_ms < self.since_ms.saturating_add(MINUTE_MS)
    }
}

impl Failures {
    /// Whether this user has failed from this address as often as a minute may see; 0 is no limit.
    pub(super) fn is_over(
        &self,
        user: &str,
        address: IpAddr,
        failures_max: u32,
        now_ms: u64,
    ) -> bool {
        let count = self.pairs.get(&self.pair(user, address));
        failures_max > 0
            && count.is_some_and(|count| count.is_current(now_ms) && count.failures >= failures_max)
    }

    /// One more.
    pub(super) fn count(&mut self, user: &str, address: IpAddr, now_ms: u64) {
        let pair = self.pair(user, address);
        if let Some(count) = self.pairs.get_mut(&pair).filter(|count| count.is_current(now_ms)) {
            count.failures = count.failures.saturating_add(1);
            return;
        }
        if self.pairs.len() >= PAIRS_MAX {
            self.pairs.retain(|_, count| count.is_current(now_ms));
        }
        if self.pairs.len() < PAIRS_MAX {
            self.pairs.insert(pair, Count { since_ms: now_ms, failures: 1 });
        }
    }

    fn pair(&self, user: &str, address: IpAddr) -> u64 {
        self.seed.hash_one((user, address))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::{Failures, PAIRS_MAX};

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const THERE: IpAddr = IpAddr::V4(Ipv4Addr::BROADCAST);

    #[test]
    fn a_user_is_held_back_at_one_address_for_the_rest_of_a_minute() {
        let mut failures = Failures::default();
        for now_ms in [1000, 2000, 60_999] {
            assert!(!failures.is_over("ann", HERE, 3, now_ms));
            failures.count("ann", HERE, now_ms);
        }
        assert!(failures.is_over("ann", HERE, 3, 60_999));
        assert!(!failures.is_over("ann", THERE, 3, 60_999));
        assert!(!failures.is_over("bob", HERE, 3, 60_999));
        assert!(!failures.is_over("ann", HERE, 0, 60_999), "0 is no limit");
        assert!(!failures.is_over("ann", HERE, 3, 61_000));
        failures.count("ann", HERE, 61_000);
        assert!(
            failures.is_over("ann", HERE, 1, 61_000) && !failures.is_over("ann", HERE, 2, 61_000)
        );
    }

    #[test]
    fn what_is_over_makes_room() {
        let mut failures = Failures::default();
        for user in 0..=PAIRS_MAX {
            failures.count(&user.to_string(), HERE, 0);
        }
        assert_eq!(failures.pairs.len(), PAIRS_MAX);
        failures.count("late", HERE, 60_000);
        assert!(failures.is_over("late", HERE, 1, 60_000) && failures.pairs.len() == 1);
    }
}
