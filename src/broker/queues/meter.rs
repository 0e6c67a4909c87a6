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

/// Bytes that count while this is there, more or fewer of them; without a meter they are just known.
#[derive(Debug, Default)]
pub struct Held {
    meter: Option<Arc<Meter>>,
    bytes: usize,
}

impl Held {
    /// None yet.
    #[must_use]
    pub fn new(meter: Option<Arc<Meter>>) -> Self {
        Self { meter, bytes: 0 }
    }

    /// How many there are.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What took `before` bytes takes `after` now.
    pub fn change(&mut self, before: usize, after: usize) {
        self.bytes = (self.bytes + after).saturating_sub(before);
        let Some(meter) = &self.meter else { return };
        if after >= before {
            meter.used.fetch_add(after - before, Ordering::Relaxed);
        } else {
            meter.used.fetch_sub(before - after, Ordering::Relaxed);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.change(self.bytes, 0);
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
    use super::{Charge, Held, Meter};

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

    #[test]
    fn what_is_held_counts_until_it_is_gone() {
        let meter = Meter::new(0);
        let mut held = Held::new(Some(std::sync::Arc::clone(&meter)));
        held.change(0, 100);
        held.change(60, 20);
        assert_eq!((held.bytes(), meter.used()), (60, 60));
        drop(held);
        assert_eq!(meter.used(), 0);
    }
}
