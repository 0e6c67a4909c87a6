//! A declared queue against a naive model of it. Part of the tests of `broker::declared`.
//!
//! The model is a list of messages. Whatever is published, taken, acknowledged, returned, cancelled or lost: the
//! message handed out next is the first ready one of the list, marked as redelivered if it was out before, and
//! nothing stays ready while a consumer could take it.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::auth::principal::Principal;
use crate::broker::declared::place::Place;
use crate::broker::declared::queue::DeclaredQueue;
use crate::broker::fanout::Fate;
use crate::broker::testbed::Bed;
use crate::broker::testbed::client::waiter;
use crate::metrics::{LocalCounters, Protocol};
use crate::model::ids::ConnectionId;

use super::taker::{NOW_MS, Post, Taker, Takers, declare, leave, number};
use crate::broker::consumer::QueueConsumer;

#[derive(Clone, Debug)]
enum Step {
    Publish { durable: bool, length: usize },
    Consume { credit: Option<usize> },
    Acknowledge { who: usize, which: usize },
    Return { who: usize, which: usize },
    Cancel { who: usize },
    Leave { who: usize },
    Full { who: usize, full: bool },
    Fetch { no_ack: bool },
    GiveBack { which: usize, settle: bool },
    Purge,
    Sync,
    Checkpoint,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let (who, which) = (|| 0usize..6, || 0usize..8);
    prop_oneof![
        10 => (any::<bool>(), 0usize..300)
            .prop_map(|(durable, length)| Step::Publish { durable, length }),
        3 => option::of(1usize..5).prop_map(|credit| Step::Consume { credit }),
        6 => (who(), which()).prop_map(|(who, which)| Step::Acknowledge { who, which }),
        4 => (who(), which()).prop_map(|(who, which)| Step::Return { who, which }),
        1 => who().prop_map(|who| Step::Cancel { who }),
        1 => who().prop_map(|who| Step::Leave { who }),
        2 => (who(), any::<bool>()).prop_map(|(who, full)| Step::Full { who, full }),
        2 => any::<bool>().prop_map(|no_ack| Step::Fetch { no_ack }),
        2 => (which(), any::<bool>()).prop_map(|(which, settle)| Step::GiveBack { which, settle }),
        1 => prop::bool::weighted(0.3).prop_map(|purge| if purge { Step::Purge } else { Step::Sync }),
        5 => Just(Step::Sync),
        2 => Just(Step::Checkpoint),
        1 => Just(Step::Restart),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    Out,
    /// Done with; the record is not applied.
    Settled,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    number: u32,
    durable: bool,
    redelivered: bool,
    state: State,
}

struct Member {
    taker: Arc<Taker>,
    no_ack: bool,
    attached: bool,
}

/// The queue, who uses it, and what should be in it.
struct Duet {
    bed: Bed,
    queue: Arc<DeclaredQueue>,
    takers: Takers,
    members: Vec<Member>,
    fetched: Vec<(Place, u32)>,
    known: Vec<Known>,
    /// Submitted, not applied: LSN and number.
    submitted: Vec<(u64, u32)>,
    /// Behind such a record: its LSN and the number.
    held: Vec<(u64, u32)>,
    applied: u64,
    next: u32,
}

impl Duet {
    fn new(durable: bool) -> Self {
        let mut bed = Bed::new();
        let queue = declare(&bed, durable, &[]);
        bed.sync();
        let applied = bed.broker.applied_lsn().0;
        Self {
            bed,
            queue,
            takers: Takers::new(),
            members: Vec::new(),
            fetched: Vec::new(),
            known: Vec::new(),
            submitted: Vec::new(),
            held: Vec::new(),
            applied,
            next: 0,
        }
    }

    fn appear(&mut self, number: u32, durable: bool) {
        let (redelivered, state) = (false, State::Ready);
        self.known.push(Known { number, durable, redelivered, state });
    }

    fn known(&mut self, number: u32) -> &mut Known {
        self.known.iter_mut().find(|known| known.number == number).expect("it is known")
    }

    fn settle(&mut self, number: u32) {
        if self.known(number).durable {
            self.known(number).state = State::Settled;
        } else {
            self.known.retain(|known| known.number != number);
        }
    }

    fn give_back(&mut self, number: u32) {
        let known = self.known(number);
        assert_eq!(known.state, State::Out);
        known.state = State::Ready;
        known.redelivered = true;
    }

    fn first_ready(&self) -> Option<Known> {
        self.known.iter().find(|known| known.state == State::Ready).copied()
    }

    /// What was handed out is what the model says comes next.
    fn follow(&mut self) {
        let tape: Vec<_> = self.takers.tape.lock().drain(..).collect();
        for got in tape {
            let first = self.first_ready().expect("something is ready");
            assert_eq!((got.number, got.redelivered), (first.number, first.redelivered));
            if self.members[got.taker].no_ack {
                self.settle(got.number);
            } else {
                self.known(got.number).state = State::Out;
            }
        }
    }

    fn publish(&mut self, durable: bool, length: usize) {
        self.next += 1;
        let number = self.next;
        let post = Post { length, ..Post::new(number) };
        if durable && self.queue.durable {
            let lsn = post.durable(&self.bed, &[&self.queue]).0;
            self.submitted.push((lsn, number));
            return;
        }
        let behind = self.submitted.last().map_or(0, |(lsn, _)| *lsn);
        if self.queue.durable && (behind > 0 || !self.held.is_empty()) {
            self.held.push((behind, number));
        } else {
            self.appear(number, false);
        }
        let fates = Post { behind, ..post }.transient(&[&self.queue]);
        assert!(matches!(fates[..], [Fate::Queued | Fate::Delivered]));
    }

    fn place_held(&mut self, applied: u64) {
        while self.held.first().is_some_and(|(behind, _)| *behind <= applied) {
            let (_, number) = self.held.remove(0);
            self.appear(number, false);
        }
    }

    fn sync(&mut self) {
        for (lsn, number) in std::mem::take(&mut self.submitted) {
            self.place_held(lsn - 1);
            self.appear(number, true);
        }
        self.known.retain(|known| known.state != State::Settled);
        self.bed.sync();
        self.applied = self.bed.broker.applied_lsn().0;
        self.place_held(self.applied);
    }

    fn attached(&self, who: usize) -> Option<usize> {
        let attached = self.members.iter().enumerate().filter(|(_, member)| member.attached);
        attached.map(|(at, _)| at).nth(who)
    }

    /// Whoever holds something, attached or not.
    fn holder(&self, who: usize) -> Option<Arc<Taker>> {
        let holders = self.members.iter().filter(|member| !member.taker.held().is_empty());
        holders.map(|member| Arc::clone(&member.taker)).nth(who)
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Publish { durable, length } => self.publish(durable, length),
            Step::Consume { credit } => {
                let no_ack = credit.is_none();
                let (broker, queue) = (Arc::clone(&self.bed.broker), Arc::clone(&self.queue));
                let taker = self.takers.make(&broker, &queue, credit, no_ack, (0, false)).unwrap();
                self.members.push(Member { taker: Arc::clone(&taker), no_ack, attached: true });
                taker.dispatch(&broker, &queue, NOW_MS);
            }
            Step::Acknowledge { who, which } | Step::Return { who, which } => {
                let Some(taker) = self.holder(who) else { return };
                let Some((place, number)) = taker.give_up(which) else { return };
                let (broker, queue) = (Arc::clone(&self.bed.broker), Arc::clone(&self.queue));
                if matches!(step, Step::Return { .. }) {
                    broker.return_places(&queue, &[place]);
                    self.give_back(number);
                } else {
                    broker.settle_places(&queue, &[place]);
                    broker.submit_settled_places(&queue);
                    self.settle(number);
                }
                taker.dispatch(&broker, &queue, NOW_MS);
            }
            Step::Cancel { who } | Step::Leave { who } => {
                let Some(who) = self.attached(who) else { return };
                self.members[who].attached = false;
                let taker = Arc::clone(&self.members[who].taker);
                if matches!(step, Step::Cancel { .. }) {
                    self.bed.broker.cancel(&self.queue, taker.id, NOW_MS);
                } else {
                    taker.held().into_iter().for_each(|number| self.give_back(number));
                    leave(&self.bed.broker, &self.queue, &taker);
                }
            }
            Step::Full { who, full } => {
                let Some(who) = self.attached(who) else { return };
                let taker = &self.members[who].taker;
                taker.set_full(full);
                if !full {
                    taker.dispatch(&self.bed.broker, &self.queue, NOW_MS);
                }
            }
            Step::Fetch { no_ack } => self.fetch(no_ack),
            Step::GiveBack { which, settle } => self.end_fetch(which, settle),
            Step::Purge => self.purge(),
            Step::Sync => self.sync(),
            Step::Checkpoint => self.bed.checkpoint_step(NOW_MS),
            Step::Restart => {}
        }
    }

    fn fetch(&mut self, no_ack: bool) {
        let expected = self.first_ready().map(|first| (first.number, first.redelivered));
        let (who, mut counters) = (Principal::anonymous(), LocalCounters::new(Protocol::Mqtt));
        let got = self.bed.broker.fetch(
            &who,
            &self.queue,
            ConnectionId(0),
            no_ack,
            &mut counters,
            NOW_MS,
            |got, left| (number(got.message.payload), got.redelivered, got.place, left),
        );
        let got = got.unwrap();
        assert_eq!(got.map(|(number, redelivered, ..)| (number, redelivered)), expected);
        let Some((number, _, place, left)) = got else { return };
        if no_ack {
            self.settle(number);
        } else {
            self.known(number).state = State::Out;
            self.fetched.push((place, number));
        }
        let ready = self.known.iter().filter(|known| known.state == State::Ready).count();
        assert_eq!(left, (ready + self.held.len()) as u64);
    }

    fn end_fetch(&mut self, which: usize, settle: bool) {
        if which >= self.fetched.len() {
            return;
        }
        let (place, number) = self.fetched.remove(which);
        if settle {
            self.bed.broker.settle_places(&self.queue, &[place]);
            self.bed.broker.submit_settled_places(&self.queue);
            self.settle(number);
        } else {
            self.bed.broker.return_places(&self.queue, &[place]);
            self.give_back(number);
        }
    }

    fn purge(&mut self) {
        let ready: Vec<u32> = self
            .known
            .iter()
            .filter(|known| known.state == State::Ready)
            .map(|known| known.number)
            .collect();
        let expected = (ready.len() + self.held.len()) as u64;
        let who = Principal::anonymous();
        let purged =
            self.bed.broker.purge(&who, &self.queue, ConnectionId(0), || waiter().0, NOW_MS);
        assert_eq!(purged.unwrap().count, expected);
        ready.into_iter().for_each(|number| self.settle(number));
        self.held.clear();
    }

    /// Power goes; only what was synced is left, and all of it counts as handed out before.
    fn restart(self) -> Self {
        let Self { bed, queue, mut known, next, .. } = self;
        let id = queue.id;
        drop((queue, self.takers, self.members));
        let bed = bed.restart(&mut |_, _| 0);
        bed.resume(NOW_MS);
        known.retain(|known| known.durable);
        for known in &mut known {
            known.state = State::Ready;
            known.redelivered = true;
        }
        let queue = bed.broker.declared.by_id(id).expect("a durable queue is there");
        let applied = bed.broker.applied_lsn().0;
        let (takers, members, fetched) = (Takers::new(), Vec::new(), Vec::new());
        let (submitted, held) = (Vec::new(), Vec::new());
        Self { bed, queue, takers, members, fetched, known, submitted, held, applied, next }
    }

    fn check(&mut self) {
        let is_called =
            |member: &Member| member.taker.answer_call(&self.bed.broker, &self.queue, NOW_MS);
        while self.members.iter().any(is_called) {}
        self.follow();
        let can_take = |member: &&Member| member.attached && member.taker.has_credit();
        if let Some(ready) = self.first_ready() {
            let idle = self.members.iter().find(can_take).map(|member| member.taker.name);
            assert_eq!(idle, None, "{ready:?} waits for nobody's sake");
        }
        let of = |state| self.known.iter().filter(|known| known.state == state).count();
        let counts = self.queue.counts();
        let attached = self.members.iter().filter(|member| member.attached).count();
        assert_eq!(counts.ready, (of(State::Ready) + self.held.len()) as u64);
        assert_eq!(counts.unacked, of(State::Out) as u64);
        assert_eq!(counts.consumers, attached as u64);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn a_queue_does_as_its_model(durable in any::<bool>(), steps in vec(step(), 1..160)) {
        let mut duet = Duet::new(durable);
        for step in steps {
            if matches!(step, Step::Restart) && durable {
                duet = duet.restart();
            } else {
                duet.run(&step);
            }
            duet.check();
        }
        duet.sync();
        duet.check();
        let live = duet.queue.inner.lock().ledger.queue.live();
        let kept = duet.known.iter().filter(|known| known.durable || !durable).count();
        prop_assert_eq!(live, kept as u64);
    }
}
