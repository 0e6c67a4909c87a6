//! Logins that were right a short while ago, by a keyed hash of all that made them so. Part of `auth::checks`; pure.
//!
//! Two generations: when the young one is full the old one goes, so that nothing is ever searched for what to drop.

use ahash::AHashMap;

use super::Fingerprint;

/// The cache.
#[derive(Debug, Default)]
pub(super) struct Successes {
    /// Until when each counts, ms.
    young: AHashMap<Fingerprint, u64>,
    old: AHashMap<Fingerprint, u64>,
}

impl Successes {
    pub(super) fn contains(&self, login: &Fingerprint, now_ms: u64) -> bool {
        let until_ms = self.young.get(login).or_else(|| self.old.get(login));
        until_ms.is_some_and(|until_ms| *until_ms > now_ms)
    }

    /// Keeps `login` until then, among at most `logins_max` others.
    pub(super) fn insert(&mut self, login: Fingerprint, until_ms: u64, logins_max: usize) {
        if logins_max == 0 {
            return;
        }
        if self.young.len() >= logins_max.div_ceil(2) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(login, until_ms);
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::Successes;

    #[test]
    fn logins_count_until_their_time_is_over() {
        let mut successes = Successes::default();
        successes.insert([1; 32], 100, 10);
        assert!(successes.contains(&[1; 32], 99));
        assert!(!successes.contains(&[1; 32], 100));
        assert!(!successes.contains(&[2; 32], 0));
        successes.clear();
        assert!(!successes.contains(&[1; 32], 0));
    }

    #[test]
    fn there_are_never_more_than_may_be() {
        let mut successes = Successes::default();
        for login in 0..=255 {
            successes.insert([login; 32], u64::MAX, 10);
            assert!(successes.contains(&[login; 32], 0));
            assert!(successes.len() <= 10);
        }
        assert!(successes.contains(&[251; 32], 0), "the last ones are kept");
        let mut none = Successes::default();
        none.insert([1; 32], u64::MAX, 0);
        assert!(!none.contains(&[1; 32], 0));
    }
}
