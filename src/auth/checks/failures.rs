//! How often a user was offered with a wrong password from an address in this minute. Part of `auth::checks`; pure.

use std::net::IpAddr;

use ahash::AHashMap;
use ahash::RandomState;

/// Pairs that are counted; each took a hash to get here, so a minute does not bring more.
const PAIRS_MAX: usize = 64 * 1024;
const MINUTE_MS: u64 = 60_000;

/// The counts of one minute.
#[derive(Debug, Default)]
pub(super) struct Failures {
    minute: u64,
    /// By a seeded hash of user and address: what peers call themselves is not kept.
    counts: AHashMap<u64, u32>,
    seed: RandomState,
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
        let current = self.minute == now_ms / MINUTE_MS;
        let count = self.counts.get(&self.pair(user, address)).copied().unwrap_or(0);
        failures_max > 0 && current && count >= failures_max
    }

    /// One more.
    pub(super) fn count(&mut self, user: &str, address: IpAddr, now_ms: u64) {
        let minute = now_ms / MINUTE_MS;
        if self.minute != minute {
            self.minute = minute;
            self.counts.clear();
        }
        let pair = self.pair(user, address);
        if self.counts.len() < PAIRS_MAX || self.counts.contains_key(&pair) {
            let count = self.counts.entry(pair).or_default();
            *count = count.saturating_add(1);
        }
    }

    fn pair(&self, user: &str, address: IpAddr) -> u64 {
        self.seed.hash_one((user, address))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::Failures;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const THERE: IpAddr = IpAddr::V4(Ipv4Addr::BROADCAST);

    #[test]
    fn a_user_is_held_back_at_one_address_for_the_rest_of_a_minute() {
        let mut failures = Failures::default();
        for _ in 0..3 {
            assert!(!failures.is_over("ann", HERE, 3, 61_000));
            failures.count("ann", HERE, 61_000);
        }
        assert!(failures.is_over("ann", HERE, 3, 119_999));
        assert!(!failures.is_over("ann", THERE, 3, 61_000));
        assert!(!failures.is_over("bob", HERE, 3, 61_000));
        assert!(!failures.is_over("ann", HERE, 0, 61_000), "0 is no limit");
        assert!(!failures.is_over("ann", HERE, 3, 120_000));
        failures.count("bob", HERE, 120_000);
        assert!(!failures.is_over("ann", HERE, 1, 120_000));
    }
}
