//! The clock of `$SYS`. Part of `app`.

use std::sync::Arc;
use std::time::Duration;

use crate::broker::Broker;
use crate::mqtt::sys::Sys;
use crate::net::touched;
use crate::server::clock::Clock;

/// What the broker says of itself, and how often it looks.
pub(super) struct Announcements {
    sys: Sys,
    interval: Duration,
    clock: Clock,
}

impl Announcements {
    /// Says how things are, for the first subscriber to find. `None` when nothing is to be said, with an interval of 0.
    pub(super) fn begin(broker: &Arc<Broker>, interval_s: u32, clock: Clock) -> Option<Self> {
        if interval_s == 0 {
            return None;
        }
        let sys = Sys::new(broker, clock.now_ms());
        let interval = Duration::from_secs(interval_s.into());
        Some(Self { sys, interval, clock }.look())
    }

    fn look(mut self) -> Self {
        self.sys.tick(self.clock.now_ms());
        touched::flush();
        touched::forgive_congested();
        self
    }

    /// Looks every interval, on a thread that serves nobody: every session is counted.
    pub(super) async fn run(mut self) {
        loop {
            tokio::time::sleep(self.interval).await;
            match tokio::task::spawn_blocking(|| self.look()).await {
                Ok(looked) => self = looked,
                Err(error) => return tracing::error!(%error, "$SYS is published no more"),
            }
        }
    }
}
