//! How many connections one address and one user hold, and how fast they come. Part of `server`; time is an argument.
//!
//! What is open is counted exactly, and bounded by how many connections there may be at all. Rates are remembered for
//! those who came of late, in two generations: when one is full the other is forgotten, so that a host with millions of
//! addresses costs no more memory than one with few. Whoever is forgotten begins with a full burst.

use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ahash::{AHashMap, RandomState};
use parking_lot::Mutex;

use super::bucket::{Bucket, Rate};

/// Whose rates are remembered, in each of two generations.
const GENERATION_MAX: usize = 32_768;

/// Rates of those who came of late.
struct Rates<K> {
    rate: Option<Rate>,
    generations: Mutex<Generations<K>>,
}

struct Generations<K> {
    young: AHashMap<K, Bucket>,
    old: AHashMap<K, Bucket>,
}

impl<K: Hash + Eq> Rates<K> {
    fn new(per_s: u32, burst_s: u32) -> Self {
        let generations = Generations { young: AHashMap::new(), old: AHashMap::new() };
        Self { rate: Rate::new(per_s.into(), burst_s), generations: Mutex::new(generations) }
    }

    /// Takes one token of `whose`.
    fn take(&self, whose: impl FnOnce() -> K, now_ms: u64) -> bool {
        let Some(rate) = self.rate else { return true };
        let key = whose();
        let mut generations = self.generations.lock();
        let Generations { young, old } = &mut *generations;
        if let Some(bucket) = young.get_mut(&key) {
            return bucket.take(rate, now_ms);
        }
        let mut bucket = old.remove(&key).unwrap_or_else(|| Bucket::full(rate, now_ms));
        let taken = bucket.take(rate, now_ms);
        if young.len() >= GENERATION_MAX {
            *old = std::mem::take(young);
        }
        young.insert(key, bucket);
        taken
    }
}

/// Who counts as one: an IPv4 address, or the /64 network of an IPv6 one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Network {
    V4(u32),
    V6(u64),
}

impl Network {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                let segments = [a, b, c, d].map(u64::from);
                Self::V6(segments.into_iter().fold(0, |network, segment| network << 16 | segment))
            }
        }
    }
}

/// Connections by address.
pub struct Addresses {
    open_max: usize,
    open: Mutex<AHashMap<Network, usize>>,
    rates: Rates<Network>,
}

/// One connection's place among those of its address; given back on drop.
pub struct AddressPlace {
    /// `None` when nobody counts.
    counted: Option<(Arc<Addresses>, Network)>,
}

impl Addresses {
    /// At most `open_max` connections at once and `rate_max` new ones a second from each, `burst_s` seconds' worth of
    /// them at once; 0 sets no bound.
    #[must_use]
    pub fn new(open_max: usize, rate_max: u32, burst_s: u32) -> Arc<Self> {
        let rates = Rates::new(rate_max, burst_s);
        Arc::new(Self { open_max, open: Mutex::default(), rates })
    }

    /// A place for a connection from `peer`, unless all of its address are taken.
    #[must_use]
    pub fn enter(self: &Arc<Self>, peer: IpAddr) -> Option<AddressPlace> {
        if self.open_max == 0 {
            return Some(AddressPlace { counted: None });
        }
        let network = Network::of(peer);
        let mut open = self.open.lock();
        let count = open.entry(network).or_default();
        if *count >= self.open_max {
            return None;
        }
        *count += 1;
        Some(AddressPlace { counted: Some((Arc::clone(self), network)) })
    }

    /// Whether one more connection from `peer` is within its rate; counts it if so.
    #[must_use]
    pub fn is_in_time(&self, peer: IpAddr, now_ms: u64) -> bool {
        self.rates.take(|| Network::of(peer), now_ms)
    }
}

impl Drop for AddressPlace {
    fn drop(&mut self) {
        let Some((addresses, network)) = self.counted.take() else { return };
        let mut open = addresses.open.lock();
        if let Some(count) = open.get_mut(&network) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.remove(&network);
            }
        }
    }
}

/// What counts as one connection of a user.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    /// Whoever holds, or takes over, the session of this client identifier.
    Client(Arc<str>),
    /// A connection by itself.
    Peer(SocketAddr),
}

/// How many connections each holder has.
type Holders = AHashMap<Holder, usize>;

/// Connections by user.
pub struct Users {
    open_max: usize,
    open: Mutex<AHashMap<Arc<str>, Holders>>,
    /// By a seeded hash of the name: whoever has not logged in may call himself anything, at any length.
    rates: Rates<u64>,
    seed: RandomState,
}

/// One connection's place among those of its user; given back on drop.
pub struct UserPlace {
    /// `None` when nobody counts.
    counted: Option<(Arc<Users>, Arc<str>, Holder)>,
}

impl Users {
    /// As [`Addresses::new`].
    #[must_use]
    pub fn new(open_max: usize, rate_max: u32, burst_s: u32) -> Arc<Self> {
        let rates = Rates::new(rate_max, burst_s);
        Arc::new(Self { open_max, open: Mutex::default(), rates, seed: RandomState::new() })
    }

    /// A place for a connection of `user`, unless all are taken by other holders.
    #[must_use]
    pub fn enter(self: &Arc<Self>, user: &Arc<str>, holder: Holder) -> Option<UserPlace> {
        if self.open_max == 0 {
            return Some(UserPlace { counted: None });
        }
        let mut open = self.open.lock();
        let holders = open.entry(Arc::clone(user)).or_default();
        if holders.len() >= self.open_max && !holders.contains_key(&holder) {
            return None;
        }
        *holders.entry(holder.clone()).or_default() += 1;
        Some(UserPlace { counted: Some((Arc::clone(self), Arc::clone(user), holder)) })
    }

    /// Whether one more login as `user` is within that name's rate; counts it if so.
    #[must_use]
    pub fn is_in_time(&self, user: &str, now_ms: u64) -> bool {
        self.rates.take(|| self.seed.hash_one(user), now_ms)
    }
}

impl Drop for UserPlace {
    fn drop(&mut self) {
        let Some((users, user, holder)) = self.counted.take() else { return };
        let mut open = users.open.lock();
        let Some(holders) = open.get_mut(&user) else { return };
        if let Some(count) = holders.get_mut(&holder) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                holders.remove(&holder);
            }
        }
        if holders.is_empty() {
            open.remove(&user);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv6Addr};
    use std::sync::Arc;

    use super::{Addresses, GENERATION_MAX, Holder, Users};

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_holds_so_many_connections_and_gives_them_back() {
        let addresses = Addresses::new(2, 0, 1);
        let first = addresses.enter(ip("10.0.0.1")).unwrap();
        let _second = addresses.enter(ip("::ffff:10.0.0.1")).unwrap();
        assert!(addresses.enter(ip("10.0.0.1")).is_none());
        let _other = addresses.enter(ip("10.0.0.2")).unwrap();
        drop(first);
        let third = addresses.enter(ip("10.0.0.1"));
        assert!(third.is_some());
        drop((third, _second, _other));
        assert!(addresses.open.lock().is_empty());
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one() {
        let addresses = Addresses::new(1, 0, 1);
        let _first = addresses.enter(ip("2001:db8:1:2::1")).unwrap();
        assert!(addresses.enter(ip("2001:db8:1:2:ffff::9")).is_none());
        assert!(addresses.enter(ip("2001:db8:1:3::1")).is_some());
    }

    #[test]
    fn without_bounds_nothing_is_kept() {
        let addresses = Addresses::new(0, 0, 5);
        let users = Users::new(0, 0, 5);
        let _places: Vec<_> = (0..10).map(|_| addresses.enter(ip("10.0.0.1")).unwrap()).collect();
        let _place = users.enter(&"ann".into(), Holder::Client("c".into())).unwrap();
        assert!(addresses.is_in_time(ip("10.0.0.1"), 0) && users.is_in_time("ann", 0));
        assert!(addresses.open.lock().is_empty() && users.open.lock().is_empty());
        assert!(addresses.rates.generations.lock().young.is_empty());
    }

    #[test]
    fn who_takes_over_counts_once() {
        let users = Users::new(2, 0, 1);
        let ann: Arc<str> = "ann".into();
        let client = |id: &str| Holder::Client(id.into());
        let first = users.enter(&ann, client("a")).unwrap();
        let second = users.enter(&ann, client("b")).unwrap();
        let again = users.enter(&ann, client("a")).unwrap();
        assert!(users.enter(&ann, client("c")).is_none());
        assert!(users.enter(&ann, Holder::Peer("10.0.0.1:1".parse().unwrap())).is_none());
        assert!(users.enter(&"bob".into(), client("c")).is_some());
        drop(first);
        assert!(users.enter(&ann, client("c")).is_none(), "the one that took over is there");
        drop(again);
        assert!(users.enter(&ann, client("c")).is_some());
        drop(second);
        assert!(users.open.lock().is_empty());
    }

    #[test]
    fn rates_are_kept_for_the_latest_and_take_bounded_room() {
        let addresses = Addresses::new(0, 1, 2);
        let host = ip("10.0.0.1");
        assert!(addresses.is_in_time(host, 0) && addresses.is_in_time(host, 0));
        assert!(!addresses.is_in_time(host, 0));
        for number in 0..3 * GENERATION_MAX as u128 {
            let other = IpAddr::V6(Ipv6Addr::from_bits(number << 64));
            assert!(addresses.is_in_time(other, 0));
            if number % 1000 == 0 {
                assert!(!addresses.is_in_time(host, 0), "whoever keeps coming is not forgotten");
            }
        }
        let generations = addresses.rates.generations.lock();
        assert!(
            generations.young.len() <= GENERATION_MAX && generations.old.len() <= GENERATION_MAX
        );
    }
}
