//! The broker's deadlines on the server's wheel. Part of `app`.
//!
//! The wheel keeps what it was given until that fires, and a client that comes and goes leaves a deadline each time,
//! which may be years away. So a far one is looked at now and then, and given up once nobody waits for it.

use std::sync::{Arc, OnceLock, Weak};

use crate::broker::{Broker, Job, Timers};
use crate::net::touched;
use crate::server::clock::Clock;
use crate::server::timer::{Timed, Wheel};

/// How often a deadline is looked at that is further away, ms.
const LOOK_MS: u64 = 600_000;

/// Puts jobs on the wheel and hands them back to the broker.
pub(super) struct BrokerTimers {
    wheel: Arc<Wheel>,
    clock: Clock,
    broker: OnceLock<Weak<Broker>>,
}

impl BrokerTimers {
    pub(super) fn new(wheel: Arc<Wheel>, clock: Clock) -> Arc<Self> {
        Arc::new(Self { wheel, clock, broker: OnceLock::new() })
    }

    /// The broker exists now. Jobs that are due before it does are those of a restart, which runs them itself.
    pub(super) fn serve(&self, broker: &Arc<Broker>) {
        self.broker.get_or_init(|| Arc::downgrade(broker));
    }
}

/// The trait is implemented on the shared handle, because a job outlives the call that left it.
pub(super) struct Handle(pub(super) Arc<BrokerTimers>);

impl Timers for Handle {
    fn at(&self, deadline_ms: u64, job: Job) {
        let due = Due { timers: Arc::clone(&self.0), deadline_ms, job };
        due.put(self.0.clock.now_ms());
    }
}

#[derive(Clone)]
struct Due {
    timers: Arc<BrokerTimers>,
    deadline_ms: u64,
    job: Job,
}

impl Due {
    fn put(self, now_ms: u64) {
        let at_ms = self.deadline_ms.min(now_ms.saturating_add(LOOK_MS));
        let timers = Arc::clone(&self.timers);
        timers.wheel.schedule_owned(at_ms, Arc::new(self));
    }
}

impl Timed for Due {
    fn fire(&self, now_ms: u64) {
        let broker = self.timers.broker.get().and_then(Weak::upgrade);
        if now_ms < self.deadline_ms {
            if broker.is_none_or(|broker| broker.is_wanted(self.job)) {
                self.clone().put(now_ms);
            }
            return;
        }
        if let Some(broker) = broker {
            broker.run_job(self.job, now_ms);
            touched::flush();
            touched::forgive_congested();
        }
    }
}
