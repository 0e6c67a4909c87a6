//! What a channel has sent and not heard about, and how much more it may send. Part of `amqp`.
//!
//! Shared by the connection's task, which settles, and by whoever delivers: a delivery takes its tag, its place in
//! the list and its bytes in the outbound buffer in one hold, so tags leave in their order. A leaf lock: only the
//! outbound buffer's is taken inside.

use std::collections::VecDeque;
use std::sync::Arc;

use ahash::AHashMap;
use parking_lot::{Mutex, MutexGuard};

use crate::broker::declared::place::Place;
use crate::broker::declared::queue::DeclaredQueue;
use crate::model::ids::ConsumerId;

/// A delivery that the client answers for.
#[derive(Clone)]
pub struct Held {
    /// The queue it came from.
    pub queue: Arc<DeclaredQueue>,
    /// Its place there.
    pub place: Place,
    /// The consumer it was sent to; none for `basic.get`.
    consumer: Option<ConsumerId>,
}

/// An entry of the list; empty once it was settled, until those around it are.
struct Slot {
    tag: u64,
    held: Option<Held>,
}

/// What a consumer may still take.
struct Credit {
    queue: Arc<DeclaredQueue>,
    /// Deliveries that may be unacknowledged; 0 is any number.
    prefetch: u32,
    unacked: u32,
    /// Its `consume-ok` is on the way.
    started: bool,
    /// It refused an offer: its queue is to be asked again when it can take one.
    hungry: bool,
}

/// Why an offer is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Too much is unacknowledged, or the consumer has not begun.
    NoCredit,
    /// The channel or the consumer is gone.
    Closed,
}

/// No delivery of that tag is out on the channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownTag;

/// A channel's ledger.
pub struct Ledger(Mutex<Book>);

/// Its contents.
pub struct Book {
    open: bool,
    last_tag: u64,
    slots: VecDeque<Slot>,
    /// Slots that are not empty.
    unacked: usize,
    /// Of these, those sent to consumers.
    unacked_of_consumers: usize,
    unacked_max: usize,
    /// `basic.qos` for the whole channel; 0 is none.
    prefetch: u32,
    consumers: AHashMap<ConsumerId, Credit>,
    /// Consumers that refused an offer and had something settled since.
    relieved: Vec<ConsumerId>,
    /// Somebody was refused for what all share: the channel's limit or the buffer's.
    shared_refusal: bool,
}

impl Ledger {
    /// An empty one that lets `unacked_max` deliveries out at a time.
    #[must_use]
    pub fn new(unacked_max: usize) -> Self {
        Self(Mutex::new(Book {
            open: true,
            last_tag: 0,
            slots: VecDeque::new(),
            unacked: 0,
            unacked_of_consumers: 0,
            unacked_max,
            prefetch: 0,
            consumers: AHashMap::new(),
            relieved: Vec::new(),
            shared_refusal: false,
        }))
    }

    /// Takes the lock.
    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock()
    }
}

impl Book {
    /// A consumer that takes nothing yet.
    pub fn add(&mut self, consumer: ConsumerId, queue: Arc<DeclaredQueue>, prefetch: u32) {
        let credit = Credit { queue, prefetch, unacked: 0, started: false, hungry: false };
        self.consumers.insert(consumer, credit);
    }

    /// From now on it takes.
    pub fn start(&mut self, consumer: ConsumerId) {
        if let Some(credit) = self.consumers.get_mut(&consumer) {
            credit.started = true;
        }
    }

    /// A consumer takes nothing more; what it has stays to be settled.
    pub fn remove(&mut self, consumer: ConsumerId) {
        self.consumers.remove(&consumer);
    }

    /// Whether `consumer` would be refused; with `acknowledges` for want of credit, too.
    ///
    /// # Errors
    /// Why.
    pub fn admit(&mut self, consumer: ConsumerId, acknowledges: bool) -> Result<(), Refusal> {
        let channel_full = self.is_full();
        let credit = self.consumers.get_mut(&consumer).filter(|_| self.open);
        let credit = credit.ok_or(Refusal::Closed)?;
        if credit.started && (!acknowledges || (!channel_full && credit.is_open())) {
            return Ok(());
        }
        credit.hungry = true;
        self.shared_refusal |= acknowledges && channel_full;
        Err(Refusal::NoCredit)
    }

    /// As [`Self::admit`], without a trace.
    #[must_use]
    pub fn has_credit(&self, consumer: ConsumerId, acknowledges: bool) -> bool {
        let credit = self.consumers.get(&consumer).filter(|_| self.open);
        credit.is_some_and(|credit| {
            credit.started && (!acknowledges || (!self.is_full() && credit.is_open()))
        })
    }

    /// `consumer` was refused for want of room: its queue is to be asked again.
    pub fn starve(&mut self, consumer: ConsumerId) {
        if let Some(credit) = self.consumers.get_mut(&consumer) {
            credit.hungry = true;
            self.shared_refusal = true;
        }
    }

    fn is_full(&self) -> bool {
        let limited = self.prefetch > 0 && self.unacked_of_consumers >= self.prefetch as usize;
        limited || self.unacked >= self.unacked_max
    }

    /// The tag that the next delivery will have.
    #[must_use]
    pub fn next_tag(&self) -> u64 {
        self.last_tag + 1
    }

    /// A delivery left that is settled by having been sent.
    pub fn pass(&mut self) {
        self.last_tag += 1;
    }

    /// A delivery left that the client answers for.
    pub fn hold(&mut self, queue: &Arc<DeclaredQueue>, place: Place, consumer: Option<ConsumerId>) {
        self.last_tag += 1;
        let held = Held { queue: Arc::clone(queue), place, consumer };
        self.slots.push_back(Slot { tag: self.last_tag, held: Some(held) });
        self.unacked += 1;
        if let Some(consumer) = consumer {
            self.unacked_of_consumers += 1;
            if let Some(credit) = self.consumers.get_mut(&consumer) {
                credit.unacked += 1;
            }
        }
    }

    /// Takes the delivery `tag` off the list, with `multiple` all before it, too, and appends them to `out` in the
    /// order they were sent. 0 with `multiple` is all.
    ///
    /// # Errors
    /// That delivery is not out; nothing was taken.
    pub fn take(
        &mut self,
        tag: u64,
        multiple: bool,
        out: &mut Vec<Held>,
    ) -> Result<(), UnknownTag> {
        if tag == 0 && multiple {
            self.take_all(out);
            return Ok(());
        }
        let at = match self.slots.front() {
            Some(front) if front.tag == tag => 0,
            _ => self.slots.binary_search_by_key(&tag, |slot| slot.tag).map_err(|_| UnknownTag)?,
        };
        if self.slots.get(at).is_none_or(|slot| slot.held.is_none()) {
            return Err(UnknownTag);
        }
        if multiple {
            for _ in 0..=at {
                let held = self.slots.pop_front().and_then(|slot| slot.held);
                self.release(held, out);
            }
        } else if let Some(slot) = self.slots.get_mut(at) {
            let held = slot.held.take();
            self.release(held, out);
        }
        self.tidy();
        Ok(())
    }

    /// Takes everything off the list.
    pub fn take_all(&mut self, out: &mut Vec<Held>) {
        while let Some(slot) = self.slots.pop_front() {
            self.release(slot.held, out);
        }
    }

    fn release(&mut self, held: Option<Held>, out: &mut Vec<Held>) {
        let Some(held) = held else { return };
        self.unacked -= 1;
        if let Some(consumer) = held.consumer {
            self.unacked_of_consumers -= 1;
            if let Some(credit) = self.consumers.get_mut(&consumer) {
                credit.unacked -= 1;
                if credit.hungry {
                    self.relieved.push(consumer);
                }
            }
        }
        out.push(held);
    }

    /// Empty slots in front go at once; those between go together when they are the most.
    fn tidy(&mut self) {
        while self.slots.front().is_some_and(|slot| slot.held.is_none()) {
            self.slots.pop_front();
        }
        if self.slots.len() > 64 && self.slots.len() > self.unacked * 2 {
            self.slots.retain(|slot| slot.held.is_some());
        }
        if self.slots.is_empty() && self.slots.capacity() > 1024 {
            self.slots = VecDeque::new();
        }
    }

    /// `basic.qos` for the whole channel; 0 lifts it.
    pub fn limit(&mut self, prefetch: u32) {
        self.prefetch = prefetch;
        self.shared_refusal = true;
    }

    /// `basic.qos` for every consumer that there is; 0 lifts it.
    pub fn limit_consumers(&mut self, prefetch: u32) {
        for credit in self.consumers.values_mut() {
            credit.prefetch = prefetch;
        }
        self.shared_refusal = true;
    }

    /// Appends the queues of consumers that were refused and could take something now; the caller sees to
    /// repetitions. `room` says whether the outbound buffer has room again.
    pub fn feed(&mut self, room: bool, out: &mut Vec<Arc<DeclaredQueue>>) {
        if self.is_full() {
            // Whoever is settled next finds all of them.
            self.shared_refusal |= !self.relieved.is_empty();
            self.relieved.clear();
            return;
        }
        let mut give = |credit: &mut Credit| {
            if credit.hungry && credit.started && credit.is_open() {
                credit.hungry = false;
                out.push(Arc::clone(&credit.queue));
            }
        };
        if room && std::mem::take(&mut self.shared_refusal) {
            self.relieved.clear();
            self.consumers.values_mut().for_each(give);
            return;
        }
        for consumer in self.relieved.drain(..) {
            if let Some(credit) = self.consumers.get_mut(&consumer) {
                give(credit);
            }
        }
    }

    /// Nothing is delivered any more.
    pub fn close(&mut self) {
        self.open = false;
    }

    /// Whether anything is delivered still.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Deliveries that are out.
    #[must_use]
    pub fn unacked(&self) -> usize {
        self.unacked
    }
}

impl Credit {
    fn is_open(&self) -> bool {
        self.prefetch == 0 || self.unacked < self.prefetch
    }
}

#[cfg(test)]
mod tests;
