//! How often a user was offered with a wrong password from an address within a minute. Part of `auth::checks`; pure.
//!
//! Two generations, as in `successes`: a wrong SCRAM proof costs us next to nothing, so a host can bring any number of
//! names in a minute, and must not be able to have nobody counted any more.

use std::net::IpAddr;

use ahash::AHashMap;
use ahash::RandomState;

/// Pairs that are counted, in each of two generations.
const PAIRS_MAX: usize = 32 * 1024;
const MINUTE_MS: u64 = 60_000;

/// The counts of a minute that began with a pair's first failure.
#[derive(Debug, Default)]
pub(super) struct Failures {
    /// By a seeded hash of user and address: what peers call themselves is not kept.
    young: AHashMap<u64, Count>,
    old: AHashMap<u64, Count>,
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
        let count = self.current(self.pair(user, address), now_ms);
        failures_max > 0 && count.is_some_and(|count| count.failures >= failures_max)
    }

    /// One more.
    pub(super) fn count(&mut self, user: &str, address: IpAddr, now_ms: u64) {
        let pair = self.pair(user, address);
        let before = self.current(pair, now_ms).unwrap_or(Count { since_ms: now_ms, failures: 0 });
        if self.young.len() >= PAIRS_MAX && !self.young.contains_key(&pair) {
            self.old = std::mem::take(&mut self.young);
        }
        let failures = before.failures.saturating_add(1);
        self.young.insert(pair, Count { failures, ..before });
    }

    fn current(&self, pair: u64, now_ms: u64) -> Option<Count> {
        let count = self.young.get(&pair).or_else(|| self.old.get(&pair)).copied();
        count.filter(|count| count.is_current(now_ms))
    }

    fn pair(&self, user: &str, address: IpAddr) -> u64 {
        self.seed.hash_one((user, network(address)))
    }
}

/// Who counts as one: an IPv4 address, or the /64 network of an IPv6 one, in which a host has as many as it likes.
fn network(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits() & !u128::from(u64::MAX),
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
    fn a_network_of_ipv6_counts_as_one() {
        let mut failures = Failures::default();
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        failures.count("ann", ip("2001:db8:1:2::1"), 0);
        assert!(failures.is_over("ann", ip("2001:db8:1:2:ffff::9"), 1, 0));
        assert!(!failures.is_over("ann", ip("2001:db8:1:3::1"), 1, 0));
        failures.count("ann", HERE, 0);
        assert!(failures.is_over("ann", ip("::ffff:127.0.0.1"), 1, 0));
    }

    #[test]
    fn a_crowd_of_names_keeps_nobody_from_being_counted() {
        let mut failures = Failures::default();
        for user in 0..5 * PAIRS_MAX {
            failures.count(&user.to_string(), HERE, 0);
            if user % 1000 == 0 {
                failures.count("ann", HERE, 0);
            }
        }
        assert!(failures.young.len() <= PAIRS_MAX && failures.old.len() <= PAIRS_MAX);
        assert!(failures.is_over("ann", HERE, 100, 0), "whoever keeps failing is not forgotten");
        failures.count("late", HERE, 0);
        assert!(failures.is_over("late", HERE, 1, 0));
    }
}
