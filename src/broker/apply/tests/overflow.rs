//! A durable session that drops the oldest, against what a reader counts. Tests of `broker::apply`.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::config;
use crate::broker::Broker;
use crate::broker::fanout::QueueLimits;
use crate::broker::publish::Publisher;
use crate::broker::testbed::client::{Client, NOW_MS, Numbered, publisher};
use crate::broker::testbed::snapshot::snapshot;
use crate::broker::testbed::{Bed, limits};
use crate::metrics::DropReason;
use crate::model::qos::QoS;

/// Messages that the session may hold.
const MESSAGES_MAX: u64 = 6;
/// Messages that its client takes at a time.
const WINDOW: u16 = 3;

#[derive(Clone, Debug)]
enum Step {
    Publish(u8),
    /// The client takes what it may.
    Turn,
    /// It acknowledges the oldest.
    Acknowledge,
    Sync,
    Jobs,
    Checkpoint,
    /// The power goes; what was submitted is synced.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1u8..9).prop_map(Step::Publish),
        2 => Just(Step::Turn),
        2 => Just(Step::Acknowledge),
        4 => Just(Step::Sync),
        2 => Just(Step::Jobs),
        2 => Just(Step::Checkpoint),
        1 => Just(Step::Restart),
    ]
}

/// A session, its client and a publisher.
struct Scene {
    bed: Bed,
    client: Client,
    publisher: Publisher,
    published: u32,
    /// Dropped before the last restart.
    dropped: u64,
    seen: Vec<u32>,
    unacknowledged: VecDeque<u16>,
    now_ms: u64,
}

fn dropping(bed: &mut Bed) {
    let mut limits = limits();
    limits.queue = QueueLimits { messages_max: MESSAGES_MAX, drops_oldest: true, ..limits.queue };
    bed.broker.limits.store(Arc::new(limits));
    bed.resume(NOW_MS);
    bed.sync();
}

fn come(bed: &mut Bed) -> Client {
    let broker = Arc::clone(&bed.broker);
    Client::open(&broker, "c", true, WINDOW, || bed.sync())
}

fn overflow(broker: &Broker) -> u64 {
    broker.metrics.messages.dropped.of(DropReason::Overflow).get()
}

impl Scene {
    fn new() -> Self {
        let mut bed = Bed::new();
        dropping(&mut bed);
        let mut client = come(&mut bed);
        let broker = Arc::clone(&bed.broker);
        client.subscribe(&broker, "a", QoS::AtLeastOnce, || bed.sync());
        let publisher = publisher(&broker);
        Self {
            bed,
            client,
            publisher,
            published: 0,
            dropped: 0,
            seen: Vec::new(),
            unacknowledged: VecDeque::new(),
            now_ms: NOW_MS,
        }
    }

    fn run(mut self, step: &Step) -> Self {
        match step {
            Step::Publish(count) => {
                for _ in 0..*count {
                    let message = Numbered::new("a", self.published, QoS::AtLeastOnce);
                    message.publish(&self.bed.broker, &mut self.publisher);
                    self.published += 1;
                }
            }
            Step::Turn => self.turn(),
            Step::Acknowledge => self.acknowledge(),
            Step::Sync => self.bed.sync(),
            Step::Jobs => {
                self.now_ms += 2_000;
                self.bed.run_jobs(self.now_ms);
            }
            Step::Checkpoint => self.bed.checkpoint(self.now_ms),
            Step::Restart => return self.restart(),
        }
        self
    }

    fn turn(&mut self) {
        for sent in self.client.turn(&self.bed.broker, NOW_MS) {
            self.unacknowledged.push_back(sent.packet_id);
            let value = sent.value();
            if !self.seen.contains(&value) {
                self.seen.push(value);
            }
        }
        assert!(self.unacknowledged.len() <= usize::from(WINDOW), "more than it takes");
    }

    fn acknowledge(&mut self) {
        if let Some(id) = self.unacknowledged.pop_front() {
            assert!(self.client.settle(&self.bed.broker, id), "what was sent is still there");
        }
    }

    fn restart(mut self) -> Self {
        self.bed.sync();
        self.dropped += overflow(&self.bed.broker);
        let live = snapshot(&self.bed);
        let bed = self.bed.restart(&mut |_, _| 0);
        assert_eq!(snapshot(&bed), live, "from the checkpoint");
        assert_eq!(snapshot(&Bed::over(bed.tape.copy())), live, "from the start");
        self.bed = bed;
        dropping(&mut self.bed);
        self.client = come(&mut self.bed);
        self.publisher = publisher(&self.bed.broker);
        self.unacknowledged.clear();
        self
    }

    /// Until nothing is due any more.
    fn settle(&mut self) {
        for _ in 0..4 {
            self.bed.sync();
            self.now_ms += 2_000;
            self.bed.run_jobs(self.now_ms);
        }
        self.bed.sync();
    }

    fn live(&self) -> u64 {
        self.client.handle.session.inner.lock().queue.live()
    }

    fn drain(&mut self) {
        while self.live() > 0 {
            let before = self.live();
            self.turn();
            while !self.unacknowledged.is_empty() {
                self.acknowledge();
            }
            self.bed.sync();
            assert!(self.live() < before, "the window is shut for good");
        }
    }
}

proptest! {
    #![proptest_config(config(64))]

    /// Every message is sent or counted, in order and once but for redelivery; the newest stay; a restart, from the
    /// checkpoint and from the start, comes to the same.
    #[test]
    fn a_session_that_drops_the_oldest_keeps_the_newest(steps in vec(step(), 1..60)) {
        let mut scene = steps.iter().fold(Scene::new(), Scene::run);
        scene.settle();
        prop_assert!(scene.live() <= MESSAGES_MAX, "{} are left", scene.live());
        scene.drain();
        prop_assert!(scene.seen.is_sorted(), "{:?}", scene.seen);
        let seen: BTreeSet<u32> = scene.seen.iter().copied().collect();
        let dropped = scene.dropped + overflow(&scene.bed.broker);
        prop_assert_eq!(seen.len() as u64 + dropped, u64::from(scene.published));
        let newest = scene.published.saturating_sub(3)..scene.published;
        prop_assert!(newest.clone().all(|value| seen.contains(&value)), "{newest:?} of {seen:?}");
    }
}
