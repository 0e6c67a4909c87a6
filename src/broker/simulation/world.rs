//! The broker and its clients, one step at a time. Part of the simulation of `broker`.

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::model::Model;
use super::mqtt::Client;
use super::view::{check, check_replay};
use super::{CLIENTS, LOGS, QUEUES, ROUTED, Step};
use crate::broker::declared::place::Place;
use crate::broker::router::{PartitionChoice, Route, RouteInput, RouteTarget};
use crate::broker::testbed::snapshot::snapshot;
use crate::broker::testbed::tampered::drop_publish;
use crate::broker::testbed::{Bed, Violation, ensure};
use crate::model::topic::TopicFilter;

pub(super) const START_MS: u64 = 1_700_000_000_000;
/// Each step takes so long: no two deadlines are the same.
const STEP_MS: u64 = 1;

/// A fault of the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mutation {
    None,
    /// Of every fourth batch the first publish is not applied.
    DropRecord,
    /// Who published with QoS 2 is forgotten, and with which identifier.
    ForgetInbound,
    /// Sequences of producers are forgotten.
    ForgetProducers,
    /// A restart does not replay the last batch.
    LoseBatch,
}

/// Carries `a/c` into a log.
struct IntoLog;

impl Route for IntoLog {
    fn name(&self) -> &str {
        "routed"
    }

    fn target(&self, _: &RouteInput<'_>) -> Result<RouteTarget, String> {
        let partition = PartitionChoice::Explicit(0);
        let log = LOGS[ROUTED].to_owned();
        Ok(RouteTarget { log, partitions: Some(1), key: None, partition })
    }
}

pub(super) struct World {
    pub(super) bed: Bed,
    pub(super) model: Model,
    pub(super) clients: [Client; CLIENTS],
    /// What was taken out of a queue and is not answered for.
    pub(super) places: BTreeMap<usize, Vec<(Place, u64)>>,
    /// Numbers of messages so far.
    published: u64,
    mutation: Mutation,
    batches: usize,
}

/// Plays `steps`; the first thing that is not as the model has it.
pub(super) fn play(steps: &[Step], mutation: Mutation) -> Result<(), Violation> {
    let run = || {
        let mut world = World::new(mutation);
        // Most of them find clients that want everything; some an empty broker.
        let prelude = if steps.len().is_multiple_of(5) { Vec::new() } else { prelude() };
        for (at, step) in prelude.iter().chain(steps).enumerate() {
            world.step(step).map_err(|violation| format!("step {at}, {step:?}: {violation}"))?;
        }
        Ok(())
    };
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.unwrap_or_else(|| "it panics".to_owned()))
    })
}

/// Everybody connects, and there is something of everything.
fn prelude() -> Vec<Step> {
    let mut steps = Vec::new();
    for who in 0..CLIENTS {
        let will = (who == 2).then_some(1);
        steps.push(Step::Open { who, clean: false, expires: who == 1, will });
        steps.push(Step::Subscribe { who, filter: who, qos: 1 + who as u8 % 2 });
    }
    steps.extend((0..QUEUES.len()).map(|queue| Step::Declare { queue }));
    steps.extend((0..ROUTED).map(|log| Step::Create { log }));
    steps
}

impl World {
    fn new(mutation: Mutation) -> Self {
        let model = Model { now_ms: START_MS, ..Model::default() };
        let mut world = Self {
            bed: Bed::new(),
            model,
            clients: std::array::from_fn(|_| Client::default()),
            places: BTreeMap::new(),
            published: 0,
            mutation,
            batches: 0,
        };
        world.resume();
        world
    }

    /// What a start does, with limits that nothing reaches.
    fn resume(&mut self) {
        let mut limits = *self.bed.broker.limits();
        limits.queue.messages_max = 100_000;
        limits.queue.volatile_max = 100_000;
        self.bed.broker.limits.store(Arc::new(limits));
        self.bed.resume(self.model.now_ms);
        let filter = TopicFilter::parse("a/c").unwrap();
        self.bed.broker.router.vhost("/").add_route(&filter, Arc::new(IntoLog));
        self.sync();
    }

    pub(super) fn next_number(&mut self) -> u64 {
        self.published += 1;
        self.published
    }

    /// What was submitted is synced and applied.
    pub(super) fn sync(&mut self) {
        self.batches += 1;
        let (mutation, batches) = (self.mutation, self.batches);
        self.bed.sync_tampered(|batch| match mutation {
            Mutation::DropRecord if batches % 4 == 0 => drop_publish(batch),
            _ => batch,
        });
        match mutation {
            Mutation::ForgetInbound => {
                for session in self.bed.broker.sessions.all() {
                    session.inner.lock().state.inbound.clear();
                }
            }
            Mutation::ForgetProducers => {
                let logs = self.bed.broker.logs.table.all();
                logs.iter().flat_map(|log| &log.partitions).for_each(|one| one.forget_producers());
            }
            _ => {}
        }
    }

    /// Waits for a verb, whose record is synced meanwhile.
    pub(super) fn wait<T>(&mut self, verb: impl Future<Output = T>) -> T {
        let mut verb = pin!(verb);
        let mut task = Context::from_waker(Waker::noop());
        for _ in 0..4 {
            if let Poll::Ready(done) = verb.as_mut().poll(&mut task) {
                return done;
            }
            self.sync();
        }
        panic!("nobody is told");
    }

    /// Does `step`, and looks whether broker and model agree.
    fn step(&mut self, step: &Step) -> Result<(), Violation> {
        self.pass(STEP_MS);
        match *step {
            Step::Open { .. }
            | Step::Close { .. }
            | Step::Subscribe { .. }
            | Step::Unsubscribe { .. }
            | Step::Publish { .. }
            | Step::Retain { .. }
            | Step::Release { .. }
            | Step::Acknowledge { .. } => self.mqtt(step)?,
            Step::Tick { ms } => self.pass(ms),
            Step::Checkpoint => self.bed.checkpoint_step(self.model.now_ms),
            Step::Restart { seed, unsynced } => return self.restart(seed, unsynced),
            _ => self.others(step)?,
        }
        self.settle()
    }

    fn pass(&mut self, ms: u64) {
        self.model.tick(ms);
        self.bed.run_jobs(self.model.now_ms);
        self.sync();
    }

    fn settle(&mut self) -> Result<(), Violation> {
        self.sync();
        for who in 0..CLIENTS {
            self.hear(who)?;
        }
        check(&self.bed.broker, &self.model)?;
        check_replay(&self.bed)
    }

    /// The power goes; with `unsynced` while something is published that nobody was told of.
    fn restart(&mut self, seed: u64, unsynced: bool) -> Result<(), Violation> {
        if unsynced {
            self.publish_unheard();
        }
        let before = snapshot(&Bed::over(self.bed.tape.copy()));
        if self.mutation == Mutation::LoseBatch {
            self.bed.tape.lose_last();
        }
        let bed = std::mem::replace(&mut self.bed, Bed::new());
        self.bed = bed.cut(seed);
        let after = snapshot(&self.bed);
        ensure!(after == before, "a restart changes the state: {before:?} {after:?}");
        self.places.clear();
        self.clients.iter_mut().for_each(Client::lose);
        self.model.restart();
        self.resume();
        self.settle()
    }

    /// The queue as its clients name it.
    pub(super) fn queue_name(queue: usize) -> &'static str {
        QUEUES[queue]
    }
}
