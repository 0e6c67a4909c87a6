//! Which cached answers still hold. Part of `broker::router`.
//!
//! One counter for each bucket of first topic levels: a thousand devices that come and go with filters of
//! their own empty nobody else's cache. A filter with a leading wildcard bumps all.

use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

use ahash::RandomState;

const BUCKETS: usize = 256;

/// A bucket and the generation it was read at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    bucket: usize,
    generation: u64,
}

#[cfg(test)]
impl Stamp {
    pub(super) fn bucket(self) -> usize {
        self.bucket
    }
}

/// The counters.
pub struct Generations {
    buckets: Vec<AtomicU64>,
    hasher: RandomState,
}

impl Default for Generations {
    fn default() -> Self {
        Self {
            buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
        }
    }
}

impl Generations {
    fn bucket(&self, name: &str) -> usize {
        let first = name.split('/').next().unwrap_or_default();
        let mut hasher = self.hasher.build_hasher();
        hasher.write(first.as_bytes());
        hasher.finish() as usize % BUCKETS
    }

    /// The generation of `topic`'s bucket, now.
    #[must_use]
    pub fn stamp(&self, topic: &str) -> Stamp {
        let bucket = self.bucket(topic);
        let generation = self.buckets[bucket].load(Ordering::SeqCst);
        Stamp { bucket, generation }
    }

    /// Whether nothing in the stamp's bucket changed since.
    #[must_use]
    pub fn is_current(&self, stamp: Stamp) -> bool {
        self.buckets[stamp.bucket].load(Ordering::SeqCst) == stamp.generation
    }

    /// A filter came or went.
    pub fn bump(&self, filter: &str) {
        let first = filter.split('/').next().unwrap_or_default();
        if first == "+" || first == "#" {
            self.bump_all();
        } else {
            self.buckets[self.bucket(filter)].fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Everything changed.
    pub fn bump_all(&self) {
        for bucket in &self.buckets {
            bucket.fetch_add(1, Ordering::SeqCst);
        }
    }
}
