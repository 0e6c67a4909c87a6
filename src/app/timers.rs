//! The broker's deadlines on the server's wheel. Part of `app`.

use std::sync::{Arc, OnceLock, Weak};

use crate::broker::{Broker, Job, Timers};
use crate::net::touched;
use crate::server::timer::{Timed, Wheel};

/// Puts jobs on the wheel and hands them back to the broker.
pub(super) struct BrokerTimers {
    wheel: Arc<Wheel>,
    broker: OnceLock<Weak<Broker>>,
}

impl BrokerTimers {
    pub(super) fn new(wheel: Arc<Wheel>) -> Arc<Self> {
        Arc::new(Self { wheel, broker: OnceLock::new() })
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
        let due = Arc::new(Due { timers: Arc::clone(&self.0), job });
        self.0.wheel.schedule_owned(deadline_ms, due);
    }
}

struct Due {
    timers: Arc<BrokerTimers>,
    job: Job,
}

impl Timed for Due {
    fn fire(&self, now_ms: u64) {
        if let Some(broker) = self.timers.broker.get().and_then(Weak::upgrade) {
            broker.run_job(self.job, now_ms);
            touched::flush();
            touched::forgive_congested();
        }
    }
}
