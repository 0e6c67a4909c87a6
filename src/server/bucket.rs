//! A rate with a burst, as tokens that come back with time. Part of `server`; time is an argument.

/// Thousandths of a token, so that a token a second is counted by the millisecond.
const MILLI: i64 = 1000;

/// How many tokens come back, and how many are kept at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    per_s: i64,
    kept_max: i64,
}

impl Rate {
    /// `per_s` tokens a second of which `burst_s` seconds' worth are kept; `None` for 0, which sets no bound.
    #[must_use]
    pub fn new(per_s: u64, burst_s: u32) -> Option<Self> {
        let per_s = i64::try_from(per_s).ok().filter(|per_s| *per_s > 0)?;
        Some(Self {
            per_s,
            kept_max: per_s.saturating_mul(burst_s.max(1).into()).saturating_mul(MILLI),
        })
    }
}

/// Tokens left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Thousandths; below 0 there is a debt.
    level: i64,
    filled_ms: u64,
}

impl Bucket {
    /// As many tokens as are kept.
    #[must_use]
    pub fn full(rate: Rate, now_ms: u64) -> Self {
        Self { level: rate.kept_max, filled_ms: now_ms }
    }

    fn fill(&mut self, rate: Rate, now_ms: u64) {
        let elapsed_ms = i64::try_from(now_ms.saturating_sub(self.filled_ms)).unwrap_or(i64::MAX);
        self.filled_ms = self.filled_ms.max(now_ms);
        // A token a second is a thousandth a millisecond.
        let more = elapsed_ms.saturating_mul(rate.per_s);
        self.level = self.level.saturating_add(more).min(rate.kept_max);
    }

    /// Takes one token, if there is one.
    #[must_use]
    pub fn take(&mut self, rate: Rate, now_ms: u64) -> bool {
        self.fill(rate, now_ms);
        let has_one = self.level >= MILLI;
        if has_one {
            self.level -= MILLI;
        }
        has_one
    }

    /// Takes `tokens`, those that are not there yet as a debt.
    pub fn spend(&mut self, rate: Rate, tokens: u64, now_ms: u64) {
        self.fill(rate, now_ms);
        let tokens = i64::try_from(tokens).unwrap_or(i64::MAX).saturating_mul(MILLI);
        self.level = self.level.saturating_sub(tokens);
    }

    /// Gives `tokens` back that were spent for nothing.
    pub fn give_back(&mut self, rate: Rate, tokens: u64) {
        let tokens = i64::try_from(tokens).unwrap_or(i64::MAX).saturating_mul(MILLI);
        self.level = self.level.saturating_add(tokens).min(rate.kept_max);
    }

    /// When the debt is paid, if there is one: ms since the epoch.
    #[must_use]
    pub fn owes_until_ms(&self, rate: Rate) -> Option<u64> {
        let debt = self.level.checked_neg().unwrap_or(i64::MAX);
        let wait_ms =
            u64::try_from(debt).ok().filter(|debt| *debt > 0)?.div_ceil(rate.per_s.unsigned_abs());
        Some(self.filled_ms.saturating_add(wait_ms))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Bucket, Rate};

    #[test]
    fn no_rate_sets_no_bound() {
        assert_eq!(Rate::new(0, 5), None);
        assert_eq!(Rate::new(u64::MAX, 5), None);
    }

    #[test]
    fn a_burst_is_let_through_and_then_the_rate() {
        let rate = Rate::new(2, 3).unwrap();
        let mut bucket = Bucket::full(rate, 1000);
        assert_eq!((0..10).filter(|_| bucket.take(rate, 1000)).count(), 6);
        assert!(!bucket.take(rate, 1499));
        assert!(bucket.take(rate, 1500));
        assert!(!bucket.take(rate, 1500));
        // A clock that stands still or runs back gives nothing.
        assert!(!bucket.take(rate, 0));
        assert_eq!((0..10).filter(|_| bucket.take(rate, 1_000_000)).count(), 6);
    }

    #[test]
    fn a_debt_is_paid_in_time() {
        let rate = Rate::new(100, 1).unwrap();
        let mut bucket = Bucket::full(rate, 0);
        bucket.spend(rate, 100, 0);
        assert_eq!(bucket.owes_until_ms(rate), None);
        bucket.spend(rate, 1, 0);
        assert_eq!(bucket.owes_until_ms(rate), Some(10));
        bucket.give_back(rate, 1);
        assert_eq!(bucket.owes_until_ms(rate), None);
        bucket.spend(rate, u64::MAX, 0);
        bucket.spend(rate, u64::MAX, 0);
        assert!(bucket.owes_until_ms(rate) > Some(1 << 40));
    }

    proptest! {
        #[test]
        fn whoever_waits_out_his_debts_gets_the_rate_and_a_burst(
            per_s in 1u64..10_000,
            sizes in proptest::collection::vec(1u64..5_000, 1..50),
        ) {
            let rate = Rate::new(per_s, 1).unwrap();
            let mut bucket = Bucket::full(rate, 0);
            let mut now_ms = 0;
            let mut spent = 0;
            for size in sizes {
                bucket.spend(rate, size, now_ms);
                spent += size;
                now_ms = bucket.owes_until_ms(rate).unwrap_or(now_ms);
                prop_assert!(spent * 1000 <= (now_ms + 1000) * per_s);
                // And no slower than that, but for the millisecond that a debt is rounded up to.
                prop_assert!((now_ms + 1000) * per_s <= (spent + per_s).saturating_mul(1000) + 50 * per_s);
            }
        }
    }
}
