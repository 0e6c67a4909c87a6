//! The task of a route out of a log: all partitions, in turn. Part of `broker::carry`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::broker::Broker;
use crate::broker::consumer::Waiter as RecordWaiter;
use crate::broker::logs::log::LogState;
use crate::broker::logs::partition::Partition;
use crate::broker::logs::waiters::{Registrations, Waiter};
use crate::broker::record::{Committed, GroupRecord, Record};
use crate::model::ids::LogId;
use crate::store::journal::SubmitError;

use super::answers::Answers;
use super::carriage::Carriage;
use super::passage::{Passage, Progress};
use super::{Beginning, OutRoute, Pace};

/// Bytes on their way to the journal and back, beyond which a route publishes no more.
const IN_FLIGHT_BYTES_MAX: usize = 2 << 20;
/// Bytes that were read of all partitions and not yet published, beyond which those with none of it read no more.
const HELD_BYTES_MAX: usize = 8 << 20;
/// Bytes published in a turn: whoever is flooded is waited for after it.
const TURN_BYTES_MAX: usize = 256 << 10;
/// Between two attempts to bring the group into being.
const BEGIN_PAUSE_MS: u64 = 500;

/// A route out of a log.
pub struct Reader {
    carriage: Carriage,
    log: Option<LogId>,
    passages: BTreeMap<u32, Passage>,
    /// Told when something came back from the journal.
    news: Arc<Notify>,
    /// The record that brings the group into being is on its way.
    begun: Option<Arc<Answers>>,
    /// The partition whose turn is first.
    turn: u32,
}

/// What to wait for after a turn.
#[derive(Default)]
pub(in crate::broker) struct Next {
    /// Nothing: there is more to do.
    more: bool,
    /// The journal is full.
    full: bool,
    /// The earliest pause that ends, ms since the epoch.
    resume_ms: Option<u64>,
    /// Partitions that are read to their end.
    idle: Vec<(Arc<Partition>, i64)>,
}

impl Next {
    fn at(resume_ms: u64) -> Self {
        Self { resume_ms: Some(resume_ms), ..Self::default() }
    }

    fn take(&mut self, progress: Progress, partition: &Arc<Partition>) {
        match progress {
            Progress::More => self.more = true,
            Progress::Idle(end) => self.idle.push((Arc::clone(partition), end)),
            Progress::Waits => {}
            Progress::Pauses(until_ms) => {
                let earliest = self.resume_ms.map_or(until_ms, |other| other.min(until_ms));
                self.resume_ms = Some(earliest);
            }
        }
    }
}

impl Reader {
    /// The reader of `route` in `vhost`. `origin` is an id of this installation: what it carried is known by it.
    #[must_use]
    pub fn new(
        broker: Arc<Broker>,
        route: Arc<dyn OutRoute>,
        vhost: Arc<str>,
        origin: &str,
    ) -> Self {
        Self {
            carriage: Carriage::new(broker, route, vhost, origin),
            log: None,
            passages: BTreeMap::new(),
            news: Arc::default(),
            begun: None,
            turn: 0,
        }
    }

    /// Carries until it is dropped.
    pub async fn run(mut self, pace: impl Pace) {
        let broker = Arc::clone(&self.carriage.broker);
        let mut changes = broker.logs.table.changes();
        loop {
            changes.borrow_and_update();
            let next = self.work(pace.now_ms());
            pace.settle().await;
            if next.more {
                tokio::task::yield_now().await;
                continue;
            }
            let appended = Waiter::new(1);
            let mut registrations = Registrations::new(Arc::clone(&appended));
            let is_idle =
                next.idle.iter().all(|(partition, end)| registrations.add(partition, *end));
            if !is_idle {
                continue;
            }
            let pause_ms = next.resume_ms.map(|at| at.saturating_sub(pace.now_ms()));
            let pause = async {
                match pause_ms {
                    Some(pause_ms) => pace.pause(Duration::from_millis(pause_ms)).await,
                    None => std::future::pending().await,
                }
            };
            let room = async {
                if next.full {
                    // A dropped sender means that the broker stops; the next turn looks again.
                    drop(broker.when_room().await);
                } else {
                    std::future::pending().await
                }
            };
            tokio::select! {
                () = appended.woken() => {}
                () = self.news.notified() => {}
                // Whoever could tell lives as long as the broker.
                _ = changes.changed() => {}
                () = pause => {}
                () = room => {}
            }
        }
    }

    /// Does for every partition what can be done now.
    pub(in crate::broker) fn work(&mut self, now_ms: u64) -> Next {
        let broker = Arc::clone(&self.carriage.broker);
        let (vhost, name) =
            (Arc::clone(&self.carriage.vhost), self.carriage.route.log().to_owned());
        let log = broker.logs.table.by_name(&vhost, &name);
        if let Some(wait) = self.begin(log.as_deref(), now_ms) {
            return wait;
        }
        let Some(log) = log else {
            self.passages.clear();
            self.log = None;
            return Next::default();
        };
        self.enter(&log);
        let mut next = Next { full: broker.is_full(), ..Next::default() };
        let mut in_flight: usize = self.passages.values().map(Passage::in_flight).sum();
        let mut held: usize = self.passages.values().map(Passage::held).sum();
        let mut is_passed_over = false;
        let count = u32::try_from(self.passages.len()).unwrap_or(u32::MAX);
        self.turn = self.turn.wrapping_add(1) % count.max(1);
        let mut published = 0;
        let order = (self.turn..count).chain(0..self.turn.min(count));
        for index in order {
            let Some(passage) = self.passages.get_mut(&index) else { continue };
            let may_publish = !next.full && in_flight < IN_FLIGHT_BYTES_MAX;
            let may_read = held < HELD_BYTES_MAX;
            is_passed_over |= !may_read && passage.held() == 0;
            let before = (passage.in_flight(), passage.held());
            let progress = passage.advance(&mut self.carriage, may_publish, may_read, now_ms);
            in_flight = (in_flight + passage.in_flight()).saturating_sub(before.0);
            held = (held + passage.held()).saturating_sub(before.1);
            published += passage.published;
            next.take(progress, &passage.partition);
            next.full |= broker.is_full();
            if published >= TURN_BYTES_MAX {
                // The others come first in a later turn.
                next.more = true;
                break;
            }
        }
        // There is room for them now.
        next.more |= is_passed_over && held < HELD_BYTES_MAX;
        self.carriage.publisher.counters.flush_into(&broker.metrics);
        next
    }

    /// Brings the group into being if it is not there; says what to wait for then.
    fn begin(&mut self, log: Option<&LogState>, now_ms: u64) -> Option<Next> {
        let Carriage { broker, group, vhost, .. } = &self.carriage;
        let (has_begun, has_offsets) = {
            let applied = broker.groups.applied.lock();
            let found = applied.get(vhost, group);
            let has_begun = found.is_some_and(|found| found.snapshot.is_some());
            (has_begun, found.is_some_and(|found| !found.offsets.is_empty()))
        };
        if has_begun {
            self.begun = None;
            return None;
        }
        if self.begun.as_ref().is_some_and(|answers| answers.take().is_empty()) {
            return Some(Next::default());
        }
        // Nothing of what stood in a group that somebody deleted counts.
        self.passages.clear();
        // Offsets alone are what a crash left of a beginning.
        let log = log.filter(|_| !has_offsets);
        match self.submit_beginning(log, now_ms) {
            Ok(answers) => {
                self.begun = Some(answers);
                Some(Next::default())
            }
            Err(error) => {
                let Carriage { broker, route, .. } = &self.carriage;
                if broker.logs.may_complain(now_ms) {
                    tracing::warn!(route = route.name(), %error, "a route out of a log cannot begin");
                }
                Some(Next::at(now_ms.saturating_add(BEGIN_PAUSE_MS)))
            }
        }
    }

    /// Submits where the route begins in `log`, and then that it has begun: a membership of nobody, which is there
    /// however many logs come and go.
    fn submit_beginning(
        &self,
        log: Option<&LogState>,
        now_ms: u64,
    ) -> Result<Arc<Answers>, SubmitError> {
        let Carriage { broker, group, vhost, route, .. } = &self.carriage;
        let partitions = log.map(|log| log.partitions.as_slice()).unwrap_or_default();
        let offsets = partitions.iter().map(|partition| {
            let offset = match route.beginning() {
                Beginning::Earliest => partition.log_start(),
                Beginning::Latest => partition.end(),
            };
            let (log, partition) = (partition.log(), partition.index());
            Committed { log, partition, offset, leader_epoch: -1, metadata: "" }
        });
        let offsets: Vec<_> = offsets.collect();
        if !offsets.is_empty() {
            let commit = GroupRecord::Commit { vhost, group, time_ms: now_ms, offsets };
            broker.submit(None, &Record::Group(commit))?;
        }
        let answers = Answers::new(Arc::clone(&self.news));
        let waiter = RecordWaiter::Connection(Arc::clone(&answers) as _, 0);
        let put = GroupRecord::Put { vhost, group, time_ms: now_ms, snapshot: &[] };
        broker.submit(Some(waiter), &Record::Group(put))?;
        Ok(answers)
    }

    /// Sees to it that there is a passage for every partition of `log`, and none of another.
    fn enter(&mut self, log: &LogState) {
        if self.log != Some(log.id) {
            self.passages.clear();
            self.log = Some(log.id);
        }
        let Carriage { broker, group, vhost, .. } = &self.carriage;
        for partition in &log.partitions {
            self.passages.entry(partition.index()).or_insert_with(|| {
                let place = (log.id, partition.index());
                let position = broker.groups.position(vhost, group, place);
                Passage::new(Arc::clone(partition), position, Arc::clone(&self.news))
            });
        }
    }
}
