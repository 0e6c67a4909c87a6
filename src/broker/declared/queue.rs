//! One declared queue. Part of `broker::declared`.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::model::ids::QueueId;

use super::super::consumer::QueueConsumer;
use super::super::message::Message;
use super::super::queues::entry::{Entry, NEVER_MS};
use super::arguments::Overflow;
use super::consumers::Consumers;
use super::keeping::Keeping;
use super::ledger::{Finished, Ledger};
use super::place::Place;
use super::settings::QueueSettings;

/// A queue that clients find by name.
pub struct DeclaredQueue {
    /// Its id, never reused.
    pub id: QueueId,
    /// vhost.
    pub vhost: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// Whether its declaration and its persistent messages go through the journal.
    pub durable: bool,
    /// What its declaration says.
    pub settings: QueueSettings,
    pub(in crate::broker) keeping: Arc<Keeping>,
    gone: AtomicBool,
    /// In a share group: some member was granted more than QoS 0, so what is published is kept until it is taken.
    pub(super) keeps: AtomicBool,
    pub(in crate::broker) inner: Mutex<Inner>,
}

/// A queue's changing parts.
pub(in crate::broker) struct Inner {
    /// A declaration was applied and no deletion since.
    pub(in crate::broker) exists: bool,
    /// Changed since the last checkpoint.
    pub(in crate::broker) dirty: bool,
    /// Numbers of the pages that a checkpoint wrote.
    pub(in crate::broker) persisted: BTreeSet<u64>,
    /// The messages.
    pub(in crate::broker) ledger: Ledger,
    pub(super) consumers: Consumers,
    /// Transient messages behind records of their publishers that are not applied yet.
    pub(super) held: VecDeque<Held>,
    /// Positions that a record must still say are done with.
    pub(super) to_settle: Vec<u64>,
    /// Somebody reads bodies to hand out.
    pub(super) dispatching: bool,
    /// Somebody else came to dispatch meanwhile.
    pub(super) asked: bool,
    /// When the queue is tidied up next.
    pub(super) tidy_at_ms: u64,
    /// When the queue was last used, and whether somebody will look.
    pub(super) used_ms: u64,
    pub(super) is_watched: bool,
}

/// A transient message that waits for a record.
pub(super) struct Held {
    pub(super) behind: u64,
    pub(super) entry: Entry,
}

/// What is in a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueCounts {
    /// Messages that wait to be handed out.
    pub ready: u64,
    /// Messages that are out and not acknowledged.
    pub unacked: u64,
    /// Consumers.
    pub consumers: u64,
}

/// What a queue held when it was ended.
pub struct Ended {
    /// Messages that waited.
    pub messages: u64,
    /// Its consumers; whoever ended it calls their `cancelled`.
    pub consumers: Vec<Arc<dyn QueueConsumer>>,
}

/// What tidying up dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Dropped {
    pub(super) expired: u64,
    pub(super) overflow: u64,
}

impl DeclaredQueue {
    /// An empty queue.
    #[must_use]
    pub fn new(
        id: QueueId,
        vhost: Arc<str>,
        name: Arc<str>,
        settings: QueueSettings,
        keeping: &Arc<Keeping>,
    ) -> Arc<Self> {
        let durable = settings.durable;
        let inner = Inner {
            exists: false,
            dirty: false,
            persisted: BTreeSet::new(),
            ledger: Ledger::new(durable),
            consumers: Consumers::default(),
            held: VecDeque::new(),
            to_settle: Vec::new(),
            dispatching: false,
            asked: false,
            tidy_at_ms: NEVER_MS,
            used_ms: 0,
            is_watched: false,
        };
        let (gone, keeps, inner) =
            (AtomicBool::new(false), AtomicBool::new(true), Mutex::new(inner));
        let keeping = Arc::clone(keeping);
        Arc::new(Self { id, vhost, name, durable, settings, keeping, gone, keeps, inner })
    }

    /// Whether it was deleted: nothing goes in or out any more.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// What is in it, expired messages included.
    #[must_use]
    pub fn counts(&self) -> QueueCounts {
        self.inner.lock().counts()
    }

    /// Takes the queue out of use. For a durable one the record that deletes it was submitted before; its durable
    /// messages go when that is applied. What is out with consumers cannot be returned or acknowledged any more.
    pub fn end(&self) -> Ended {
        let mut inner = self.inner.lock();
        let messages = inner.counts().ready;
        let is_first = !self.gone.swap(true, Ordering::AcqRel);
        inner.held.clear();
        inner.to_settle.clear();
        inner.ledger.clear_transient();
        let consumers = inner.consumers.clear();
        Ended { messages: if is_first { messages } else { 0 }, consumers }
    }

    /// Notes that somebody uses the queue: it is not idle (`x-expires`). Called when it is declared, again too,
    /// and after a restart.
    pub fn touch(&self, now_ms: u64) {
        let Some(expires_ms) = self.settings.arguments.expires_ms else { return };
        let mut inner = self.inner.lock();
        inner.used_ms = now_ms;
        if !std::mem::replace(&mut inner.is_watched, true) {
            drop(inner);
            self.keeping.look_at(now_ms.saturating_add(expires_ms), self.id);
        }
    }

    /// Calls a consumer that may be able to take what is ready.
    pub fn call(&self) {
        let whom = {
            let mut inner = self.inner.lock();
            inner.place_held(self.keeping.applied());
            inner.whom_to_call()
        };
        if let Some(consumer) = whom {
            consumer.ready();
        }
    }

    /// When `message` stops being worth delivering here.
    pub(in crate::broker) fn expires_ms(&self, message: &Message<'_>) -> u64 {
        let by_queue =
            self.settings.arguments.message_ttl_ms.map(|ttl| message.time_ms.saturating_add(ttl));
        let by_message = message.expires_ms;
        by_queue.unwrap_or(NEVER_MS).min(by_message.unwrap_or(NEVER_MS))
    }

    /// Whether `ready` messages of `bytes` are more than the queue was declared to hold.
    pub(super) fn is_over(&self, ready: u64, bytes: u64) -> bool {
        let arguments = &self.settings.arguments;
        arguments.length_max.is_some_and(|max| ready > max)
            || arguments.length_bytes_max.is_some_and(|max| bytes > max)
    }

    /// Whether the queue holds more ready messages than it was declared to, and drops the oldest.
    pub(in crate::broker) fn has_too_much(&self, inner: &Inner) -> bool {
        self.settings.arguments.overflow == Overflow::DropHead
            && self.is_over(inner.ledger.ready(), inner.ledger.ready_bytes())
    }

    /// Whether the queue refuses messages when it is at its limit.
    pub(in crate::broker) fn may_refuse(&self) -> bool {
        self.settings.arguments.overflow == Overflow::RejectPublish
    }

    /// Whether the queue refuses one more message of `payload` bytes beside `held` ones of `bytes`.
    pub(in crate::broker) fn refuses(&self, held: u64, bytes: u64, payload: u64) -> bool {
        self.may_refuse() && self.is_over(held.saturating_add(1), bytes.saturating_add(payload))
    }
}

impl Inner {
    pub(super) fn counts(&self) -> QueueCounts {
        QueueCounts {
            ready: self.ledger.ready() + self.held.len() as u64,
            unacked: self.ledger.out(),
            consumers: self.consumers.len() as u64,
        }
    }

    /// Whether anybody consumes.
    pub(in crate::broker) fn has_consumers(&self) -> bool {
        !self.consumers.is_empty()
    }

    /// Whom to call, if there is something to hand out.
    pub(in crate::broker) fn whom_to_call(&self) -> Option<Arc<dyn QueueConsumer>> {
        if self.ledger.ready() == 0 { None } else { self.consumers.whom_to_call() }
    }

    /// Gives places to the messages whose wait for records up to `applied` is over.
    pub(in crate::broker) fn place_held(&mut self, applied: u64) {
        while self.held.front().is_some_and(|held| held.behind <= applied) {
            if let Some(held) = self.held.pop_front() {
                self.ledger.push_transient(held.entry);
            }
        }
    }

    /// The message at `place` is done with; a durable one's record is still to be submitted.
    pub(super) fn finish(&mut self, place: Place) -> bool {
        match self.ledger.finish(place) {
            Finished::Gone(_) => true,
            Finished::Settled(position) => {
                self.to_settle.push(position);
                true
            }
            Finished::Unknown => false,
        }
    }

    /// No record says that these positions are done with: their messages are ready again.
    pub(super) fn unsettle(&mut self, positions: &[u64]) {
        positions.iter().for_each(|position| self.ledger.unsettle(*position));
    }

    /// Drops what is expired at the head, and the oldest of what is too much, as far as it is in memory.
    pub(super) fn tidy(&mut self, queue: &DeclaredQueue, now_ms: u64) -> Dropped {
        let mut dropped = Dropped::default();
        while let Some(ready) = self.ledger.first_ready() {
            let is_expired =
                self.ledger.get(ready.place).is_some_and(|entry| entry.is_expired(now_ms));
            if !is_expired || !self.finish(ready.place) {
                break;
            }
            dropped.expired += 1;
        }
        dropped.overflow = self.trim(queue);
        dropped
    }

    /// Drops the oldest of what is too much, unless the queue refuses instead.
    pub(super) fn trim(&mut self, queue: &DeclaredQueue) -> u64 {
        let mut count = 0;
        while queue.has_too_much(self)
            && let Some(ready) = self.ledger.first_ready()
            && self.finish(ready.place)
        {
            count += 1;
        }
        count
    }

    /// When to tidy up, if that is earlier than anybody will.
    pub(in crate::broker) fn plan(&mut self, at_ms: u64) -> Option<u64> {
        let is_earlier = at_ms < self.tidy_at_ms;
        is_earlier.then(|| {
            self.tidy_at_ms = at_ms;
            at_ms
        })
    }

    /// The same for the message at the head; at once when nobody can tell which that is.
    pub(super) fn plan_head(&mut self) -> Option<u64> {
        if self.ledger.may_expire() && self.ledger.wanted_page().is_some() {
            return self.plan(0);
        }
        let head = self.ledger.first_ready()?;
        let expires_ms = self.ledger.get(head.place)?.expires_ms;
        if expires_ms == NEVER_MS { None } else { self.plan(expires_ms) }
    }
}
