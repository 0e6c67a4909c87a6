//! Ready messages to consumers that can take some. Part of `broker::declared`.
//!
//! What is ready while somebody may be able to take it has a dispatch coming: whoever puts it there, gives a consumer
//! credit or takes one off either dispatches or calls a consumer, whose connection's task then does. A dispatch
//! serves all consumers, whosever task it runs in.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::MutexGuard;

use crate::metrics::{DropReason, LocalCounters};
use crate::model::ids::ConnectionId;

use super::super::Broker;
use super::super::consumer::{Delivery, Encodings};
use super::super::message::Message;
use super::super::queues::entry::{Body, Unread};
use super::consumers::{Refusal, Registration};
use super::ledger::Ready;
use super::place::Place;
use super::queue::{DeclaredQueue, Dropped, Inner};

/// Messages handed out by one dispatch.
const MESSAGES_MAX: usize = 1_000;
/// Messages handed out under one hold of the queue's lock.
const HOLD_MESSAGES: usize = 128;
/// Bodies read from disk at a time, at most; it begins with one, since nobody may want more.
const READ_MESSAGES_MAX: usize = 64;
/// Bytes of them.
const READ_BYTES_MAX: u64 = 256 * 1024;
/// Messages that one dispatch looks behind, of those that are for one consumer who cannot take more.
const PASSED_MAX: usize = 256;

/// One dispatch.
struct Round<'a> {
    broker: &'a Broker,
    queue: &'a Arc<DeclaredQueue>,
    encodings: &'a mut Encodings,
    delivered: [u64; 3],
    count: usize,
    now_ms: u64,
    /// Bodies that were read.
    read: VecDeque<(Place, Bytes)>,
    read_ahead: usize,
    lost: u64,
    unfit: u64,
    /// The last message that had to stay because it is for somebody who cannot take more, and how many had to.
    passed: Option<Place>,
    passed_count: usize,
}

/// Whether each message is for one consumer alone, and another one than was just asked may take some.
fn is_for_one(inner: &Inner) -> bool {
    inner.consumers.are_keyed() && inner.consumers.can_take()
}

enum Step {
    /// Nothing is ready, nobody can take it, or enough was done for once.
    Done,
    /// Enough for this hold of the lock.
    Breathe,
    /// These must be read first.
    Read(Vec<(Place, Body)>),
    /// This page of the index must come in first.
    PageIn(u64),
}

impl Broker {
    /// Hands out what is ready, in order, until nobody can take more or enough was done for once (somebody is
    /// called to go on then). `connection` is the caller's: its consumers may have got credit or room.
    ///
    /// Called by a connection's task after [`super::super::consumer::QueueConsumer::ready`], after
    /// acknowledgements, after consuming and when there is room again; never by the applier. The caller flushes.
    ///
    /// # Errors
    /// A message cannot be read: it stays, and the connection should end.
    pub fn dispatch(
        &self,
        queue: &Arc<DeclaredQueue>,
        connection: ConnectionId,
        encodings: &mut Encodings,
        counters: &mut LocalCounters,
        now_ms: u64,
    ) -> Result<(), String> {
        let mut inner = queue.inner.lock();
        inner.consumers.reconsider(connection);
        if queue.is_gone() {
            return Ok(());
        }
        if inner.dispatching {
            // That one may be past what this one would hand out.
            inner.asked = true;
            return Ok(());
        }
        let mut round = Round {
            broker: self,
            queue,
            encodings,
            delivered: [0; 3],
            count: 0,
            now_ms,
            read: VecDeque::new(),
            read_ahead: 1,
            lost: 0,
            unfit: 0,
            passed: None,
            passed_count: 0,
        };
        inner.place_held(queue.keeping.applied());
        let dropped = inner.tidy(queue, now_ms);
        let outcome = round.run(&mut inner);
        let Round { delivered, lost, unfit, count, passed, .. } = round;
        let tidy_at_ms = inner.plan_head();
        let has_settled = !inner.to_settle.is_empty();
        let asked = std::mem::take(&mut inner.asked);
        // Whoever is called goes on where this one stopped.
        let goes_on = outcome.is_ok() && (asked || passed.is_none() || count >= MESSAGES_MAX);
        let next = inner.whom_to_call().filter(|_| goes_on);
        drop(inner);
        if let Some(consumer) = next {
            consumer.ready();
        }
        for (total, more) in counters.delivered.iter_mut().zip(delivered) {
            *total += more;
        }
        counters.drop_messages(DropReason::NoRoom, lost);
        counters.drop_messages(DropReason::PacketTooLarge, unfit);
        self.after_tidying(queue, dropped, tidy_at_ms, has_settled);
        outcome
    }

    /// What is left to do after changes to a queue, when its lock is released.
    pub(super) fn after_tidying(
        &self,
        queue: &Arc<DeclaredQueue>,
        dropped: Dropped,
        tidy_at_ms: Option<u64>,
        has_settled: bool,
    ) {
        queue.keeping.count_dropped(DropReason::Expired, dropped.expired);
        queue.keeping.count_dropped(DropReason::Overflow, dropped.overflow);
        if let Some(at_ms) = tidy_at_ms {
            queue.keeping.tidy_at(at_ms, queue.id);
        }
        if has_settled {
            self.submit_settled_places(queue);
        }
        queue.keeping.scratch.tend();
    }
}

impl Round<'_> {
    fn run(&mut self, inner: &mut MutexGuard<'_, Inner>) -> Result<(), String> {
        loop {
            match self.hand_out(inner)? {
                Step::Done => return Ok(()),
                Step::Breathe => MutexGuard::bump(inner),
                Step::PageIn(page) => {
                    inner.dispatching = true;
                    self.broker.settle_many(self.queue, inner);
                    let outcome = self.broker.page_in(self.queue, inner, page);
                    inner.dispatching = false;
                    outcome?;
                }
                Step::Read(bodies) => {
                    inner.dispatching = true;
                    let outcome = MutexGuard::unlocked(inner, || self.read(bodies));
                    inner.dispatching = false;
                    let lost = match outcome {
                        Ok(lost) => lost,
                        Err(unread) => self.unread(inner, unread)?,
                    };
                    for place in lost {
                        if inner.ledger.is_ready(place) {
                            self.lost += u64::from(inner.finish(place));
                        }
                    }
                }
            }
            if self.queue.is_gone() {
                return Ok(());
            }
        }
    }

    /// Hands out under one hold of the lock.
    fn hand_out(&mut self, inner: &mut Inner) -> Result<Step, String> {
        for _ in 0..HOLD_MESSAGES {
            if !inner.consumers.can_take() || self.count >= MESSAGES_MAX {
                return Ok(Step::Done);
            }
            let ready = match inner.ledger.look_behind(self.passed) {
                Some(Ok(ready)) => ready,
                Some(Err(page)) => return Ok(Step::PageIn(page)),
                None => return Ok(Step::Done),
            };
            let Some(entry) = inner.ledger.get(ready.place) else { return Ok(Step::Done) };
            if entry.is_expired(self.now_ms) {
                inner.finish(ready.place);
                self.queue.keeping.count_dropped(DropReason::Expired, 1);
                continue;
            }
            let stored = match &entry.body {
                Body::Memory(stored) => stored.bytes.clone(),
                Body::Disk(_) | Body::Scratch(_) | Body::Sent => {
                    while self.read.front().is_some_and(|(place, _)| *place != ready.place) {
                        self.read.pop_front();
                    }
                    match self.read.front() {
                        Some((_, bytes)) => bytes.clone(),
                        None => return Ok(Step::Read(self.bodies_from(inner, ready))),
                    }
                }
            };
            let message = Message::decode(&stored)
                .map_err(|error| format!("a queued message does not decode: {error}"))?;
            match self.offer(inner, ready, &message) {
                Ok(()) => {}
                // It is for one of the others: those behind it may be for somebody who can take them.
                Err(Refusal::NobodyCan) if self.passed_count < PASSED_MAX && is_for_one(inner) => {
                    inner.ledger.pass_over(ready.place);
                    self.passed = Some(ready.place);
                    self.passed_count += 1;
                }
                Err(Refusal::Unfit) => {
                    inner.finish(ready.place);
                    self.unfit += 1;
                }
                Err(Refusal::NobodyCan | Refusal::GivenUp) => return Ok(Step::Done),
            }
        }
        Ok(Step::Breathe)
    }

    fn offer(
        &mut self,
        inner: &mut Inner,
        ready: Ready,
        message: &Message<'_>,
    ) -> Result<(), Refusal> {
        let Inner { ledger, consumers, .. } = inner;
        let Some(entry) = ledger.get(ready.place) else { return Err(Refusal::GivenUp) };
        let key = consumers.key(message);
        self.encodings.reset(false);
        let delivery = Delivery {
            message,
            via: entry.via.as_deref(),
            queue: self.queue,
            place: ready.place,
            redelivered: ready.redelivered,
            now_ms: self.now_ms,
        };
        let offer = |to: &Registration| Some(to.consumer.offer(&delivery, self.encodings));
        if consumers.offer(key, offer)? {
            inner.finish(ready.place);
        } else {
            ledger.take(ready.place);
        }
        self.delivered[message.qos as usize] += 1;
        self.count += 1;
        Ok(())
    }

    /// Bodies from `first` on that are not in memory.
    fn bodies_from(&mut self, inner: &Inner, first: Ready) -> Vec<(Place, Body)> {
        let mut bodies = Vec::new();
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(ready) = next
            && let Some(entry) = inner.ledger.get(ready.place)
            && !matches!(entry.body, Body::Memory(_))
            && bodies.len() < self.read_ahead
            && bytes < READ_BYTES_MAX
        {
            bytes += entry.body.len();
            bodies.push((ready.place, entry.body.clone()));
            next = inner.ledger.ready_after(ready.place);
        }
        self.read_ahead = (self.read_ahead * 2).min(READ_MESSAGES_MAX);
        bodies
    }

    /// What becomes of a message that could not be read while nobody held the lock.
    fn unread(
        &self,
        inner: &mut Inner,
        (place, body, error): (Place, Body, Unread),
    ) -> Result<Vec<Place>, String> {
        // Gone meanwhile, and its body with it: it went to somebody who asked for one.
        let Some(entry) = inner.ledger.get(place).filter(|_| inner.ledger.is_ready(place)) else {
            return Ok(Vec::new());
        };
        match error {
            // A checkpoint moved it: it is read from there.
            Unread::Gone(_) if Body::has_moved(&body, &entry.body) => {}
            Unread::Corrupt(error) => {
                tracing::error!(%error, queue = &*self.queue.name, "a queued message is lost");
                inner.finish(place);
                self.queue.keeping.count_dropped(DropReason::Corrupt, 1);
            }
            Unread::Gone(error) | Unread::Failed(error) => return Err(error),
        }
        Ok(Vec::new())
    }

    /// Reads bodies, without the queue's lock; returns transient messages that are lost, or which one cannot be read
    /// and why.
    fn read(&mut self, bodies: Vec<(Place, Body)>) -> Result<Vec<Place>, (Place, Body, Unread)> {
        let mut lost = Vec::new();
        for (place, body) in bodies {
            match body.read(&self.broker.bodies) {
                Ok(bytes) => self.read.push_back((place, bytes)),
                // Behind one that was read it waits its turn: it would take the cursor past that.
                Err(error) if self.read.is_empty() && matches!(body, Body::Scratch(_)) => {
                    tracing::error!(%error, queue = &*self.queue.name, "a transient message is lost");
                    lost.push(place);
                }
                Err(error) if self.read.is_empty() => return Err((place, body, error)),
                // What was read goes out first.
                Err(_) => break,
            }
        }
        Ok(lost)
    }
}
