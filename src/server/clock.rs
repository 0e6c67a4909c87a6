//! The only clock: everything below is told the time. Part of `server`.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch. Never runs backwards within a process: wall time at start plus
/// monotonic time since, so that a stepped system clock fires no timer early.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    base_ms: u64,
    started: Instant,
}

impl Default for Clock {
    fn default() -> Self {
        Self { base_ms: Self::wall_ms(), started: Instant::now() }
    }
}

impl Clock {
    /// Now, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.base_ms
            .saturating_add(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// What the system's clock says at the moment, as peers' clocks do: other than [`Self::now_ms`] it jumps when it
    /// is set, and goes on while the machine sleeps.
    #[must_use]
    pub fn wall_ms() -> u64 {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        u64::try_from(wall.as_millis()).unwrap_or(u64::MAX)
    }
}
