//! Memory that bodies take, counted across queues. Part of `broker::queues`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts bytes up to a bound.
#[derive(Debug)]
pub struct Meter {
    used: AtomicUsize,
    max: usize,
}

impl Meter {
    /// A meter with room for `max` bytes.
    #[must_use]
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), max })
    }

    /// Bytes counted now.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

/// Bytes that count until this is dropped.
#[derive(Debug)]
pub struct Charge {
    meter: Arc<Meter>,
    bytes: usize,
}

impl Charge {
    /// Counts `bytes` if there is room for them.
    #[must_use]
    pub fn new(meter: &Arc<Meter>, bytes: usize) -> Option<Self> {
        let add = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= meter.max);
        meter.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).ok()?;
        Some(Self { meter: Arc::clone(meter), bytes })
    }

    /// Counts `bytes` whether there is room or not.
    #[must_use]
    pub fn forced(meter: &Arc<Meter>, bytes: usize) -> Self {
        meter.used.fetch_add(bytes, Ordering::Relaxed);
        Self { meter: Arc::clone(meter), bytes }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.meter.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::{Charge, Meter};

    #[test]
    fn charges_fit_or_are_refused_and_are_given_back() {
        let meter = Meter::new(10);
        let first = Charge::new(&meter, 6).unwrap();
        assert!(Charge::new(&meter, 5).is_none());
        assert!(Charge::new(&meter, usize::MAX).is_none());
        let forced = Charge::forced(&meter, 5);
        assert_eq!(meter.used(), 11);
        drop((first, forced));
        assert_eq!(meter.used(), 0);
    }
}
