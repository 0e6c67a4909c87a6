//! Where each message of a declared queue stands: ready, out with a consumer, settled. Part of `broker::declared`.
//!
//! Messages are handed out by place. Every ready one at or beyond the cursor was never handed out; the ready ones
//! before it were returned, and are remembered one by one. A durable message that is settled stays until the
//! record that says so is applied; everything else goes at once.
//!
//! Of durable messages some pages may be on disk only: [`Ledger::wanted_page`] names the one in front of whatever is
//! ready. Messages on such pages are ready, and none of them was handed out since the restart.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::queues::entry::{Entry, NEVER_MS};
use super::super::queues::meter::Meter;
use super::super::queues::page::Page;
use super::super::queues::queue::{Next, Queue};
use super::place::Place;
use crate::store::tables::page_sums::PageSum;

/// A message that may be handed out next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Its place.
    pub place: Place,
    /// It was handed out before, or may have been before a restart.
    pub redelivered: bool,
}

/// What became of a message that is done with.
#[derive(Debug)]
pub enum Finished {
    /// It is gone.
    Gone(Entry),
    /// It goes when a record of its position is applied.
    Settled(u64),
    /// There is none, or it was done with before.
    Unknown,
}

/// The messages of one queue.
#[derive(Debug)]
pub struct Ledger {
    /// In a durable queue the durable messages, whose positions only applied records change; else all.
    pub queue: Queue,
    durable: bool,
    /// Transient messages of a durable queue.
    between: BTreeMap<Place, Entry>,
    next_turn: u64,
    cursor: Place,
    returned: BTreeSet<Place>,
    out: u64,
    settled: u64,
    ready_bytes: u64,
    /// Payloads of all durable messages, settled ones included.
    durable_bytes: u64,
    /// Positions below were there before the restart.
    restored_below: u64,
    /// Some message may expire.
    may_expire: bool,
}

impl Ledger {
    /// An empty one.
    #[must_use]
    pub fn new(durable: bool) -> Self {
        let start = Place { position: 0, turn: 0 };
        Self {
            queue: if durable { Queue::default() } else { Queue::volatile() },
            durable,
            between: BTreeMap::new(),
            next_turn: 0,
            cursor: start,
            returned: BTreeSet::new(),
            out: 0,
            settled: 0,
            ready_bytes: 0,
            durable_bytes: 0,
            restored_below: 0,
            may_expire: false,
        }
    }

    /// Messages that wait to be handed out.
    #[must_use]
    pub fn ready(&self) -> u64 {
        let held = self.queue.live() + self.between.len() as u64;
        held.saturating_sub(self.out).saturating_sub(self.settled)
    }

    /// Bytes of their payloads.
    #[must_use]
    pub fn ready_bytes(&self) -> u64 {
        self.ready_bytes
    }

    /// Messages that are out.
    #[must_use]
    pub fn out(&self) -> u64 {
        self.out
    }

    /// Bytes of payloads of durable messages.
    #[must_use]
    pub fn durable_bytes(&self) -> u64 {
        self.durable_bytes
    }

    /// The place that [`Self::push_transient`] would give.
    #[must_use]
    pub fn next_place(&self) -> Place {
        let position = self.queue.tail();
        if self.durable { Place { position, turn: self.next_turn } } else { Place::at(position) }
    }

    /// Appends what is not journaled for this queue.
    pub fn push_transient(&mut self, mut entry: Entry) -> Place {
        let place = self.next_place();
        entry.order = place.position;
        self.ready_bytes += u64::from(entry.payload_bytes);
        self.may_expire |= entry.expires_ms != NEVER_MS;
        if self.durable {
            self.next_turn += 1;
            self.between.insert(place, entry);
        } else {
            self.queue.push(entry);
        }
        place
    }

    /// Appends a durable message: the applier's.
    pub fn push_durable(&mut self, entry: Entry) {
        self.ready_bytes += u64::from(entry.payload_bytes);
        self.durable_bytes += u64::from(entry.payload_bytes);
        self.may_expire |= entry.expires_ms != NEVER_MS;
        self.queue.push(entry);
    }

    /// Has the index of a durable queue count in `memory`; to be called while it is empty.
    pub fn count_in(&mut self, memory: &Arc<Meter>) {
        self.queue = Queue::counted(memory);
    }

    /// A page that a checkpoint wrote (restart).
    pub fn restore_out(&mut self, number: u64, sum: PageSum) {
        self.queue.restore_out(number, sum);
        self.ready_bytes += sum.payload_bytes;
        self.durable_bytes += sum.payload_bytes;
        self.may_expire = true;
    }

    /// Whether some message may expire.
    #[must_use]
    pub fn may_expire(&self) -> bool {
        self.may_expire
    }

    /// Position from which on nothing was handed out.
    #[must_use]
    pub fn next_position(&self) -> u64 {
        self.cursor.position
    }

    /// Numbers of the pages with messages that were returned.
    #[must_use]
    pub fn pages_of_returned(&self) -> BTreeSet<u64> {
        self.returned.iter().map(|place| Page::number_of(place.position)).collect()
    }

    /// All that is here now was here before the restart.
    pub fn revive(&mut self) {
        self.restored_below = self.queue.tail();
    }

    /// The message at `place`.
    #[must_use]
    pub fn get(&self, place: Place) -> Option<&Entry> {
        if place.turn == Place::ON {
            self.queue.get(place.position)
        } else {
            self.between.get(&place)
        }
    }

    fn get_mut(&mut self, place: Place) -> Option<&mut Entry> {
        if place.turn == Place::ON {
            self.queue.get_volatile(place.position)
        } else {
            self.between.get_mut(&place)
        }
    }

    /// The message to hand out next.
    #[must_use]
    pub fn first_ready(&self) -> Option<Ready> {
        self.returned
            .first()
            .map(|place| Ready { place: *place, redelivered: true })
            .or_else(|| self.ready_from(self.cursor))
    }

    /// The message to hand out after the one at `passed`, or first, or the page on disk without which nobody knows.
    #[must_use]
    pub fn look_behind(&self, passed: Option<Place>) -> Option<Result<Ready, u64>> {
        let Some(passed) = passed else {
            return match self.returned.first() {
                Some(place) => Some(Ok(Ready { place: *place, redelivered: true })),
                None => self.look_from(self.cursor),
            };
        };
        match self.returned.range(passed.next()..).next() {
            Some(place) => Some(Ok(Ready { place: *place, redelivered: true })),
            None => self.look_from(passed.next().max(self.cursor)),
        }
    }

    /// Whether the message at `place` waits to be handed out.
    #[must_use]
    pub fn is_ready(&self, place: Place) -> bool {
        self.get(place).is_some_and(|entry| !entry.is_out() && !entry.is_settled())
    }

    /// The ready message at `place` stays where it is while others behind it go out.
    pub fn pass_over(&mut self, place: Place) {
        if place >= self.cursor && self.is_ready(place) {
            self.returned.insert(place);
            self.cursor = place.next();
        }
    }

    /// The durable message at `position` is out with a session since before the restart: those in front of it may
    /// still be ready.
    pub fn bind(&mut self, position: u64) {
        let place = Place::at(position);
        if !self.is_ready(place) {
            return;
        }
        if let Some(entry) = self.get_mut(place) {
            entry.set_out(true);
            let payload = u64::from(entry.payload_bytes);
            self.out += 1;
            self.ready_bytes = self.ready_bytes.saturating_sub(payload);
        }
    }

    /// The page on disk without which [`Self::first_ready`] does not know what is ready.
    #[must_use]
    pub fn wanted_page(&self) -> Option<u64> {
        if self.returned.is_empty() { self.look_from(self.cursor)?.err() } else { None }
    }

    /// The message to hand out after the one at `place`.
    #[must_use]
    pub fn ready_after(&self, place: Place) -> Option<Ready> {
        let next = place.next();
        let returned = self.returned.range(next..).next();
        returned
            .map(|place| Ready { place: *place, redelivered: true })
            .or_else(|| self.ready_from(next.max(self.cursor)))
    }

    fn ready_from(&self, from: Place) -> Option<Ready> {
        self.look_from(from)?.ok()
    }

    /// What is ready at or after `from`, or the page that must come in first.
    fn look_from(&self, mut from: Place) -> Option<Result<Ready, u64>> {
        loop {
            let found = self.look_at(from)?;
            match found {
                // Bound before it was reached.
                Ok(ready) if !self.is_ready(ready.place) => from = ready.place.next(),
                found => return Some(found),
            }
        }
    }

    fn look_at(&self, from: Place) -> Option<Result<Ready, u64>> {
        let before = self.between.range(from..).next().map(|(place, _)| *place);
        let place = match (self.queue.next(from.position), before) {
            (Some(Next::Here(on)), Some(before)) => before.min(Place::at(on)),
            (Some(Next::Here(on)), None) => Place::at(on),
            (Some(Next::Out(page)), before) => {
                let first = Place::at(Page::first_of(page).max(from.position));
                match before.filter(|before| *before < first) {
                    Some(before) => before,
                    None => return Some(Err(page)),
                }
            }
            (None, before) => before?,
        };
        let redelivered = place.turn == Place::ON && place.position < self.restored_below;
        Some(Ok(Ready { place, redelivered }))
    }

    /// The ready message at `place` goes out with a consumer that must acknowledge it. False when it is not ready.
    pub fn take(&mut self, place: Place) -> bool {
        let Some(payload) = self.leave_ready(place) else { return false };
        if let Some(entry) = self.get_mut(place) {
            entry.set_out(true);
            self.out += 1;
        }
        self.ready_bytes = self.ready_bytes.saturating_sub(payload);
        true
    }

    /// Moves the cursor or forgets the return; the payload's length if the message was ready.
    fn leave_ready(&mut self, place: Place) -> Option<u64> {
        let entry = self.get(place).filter(|entry| !entry.is_out() && !entry.is_settled())?;
        let payload = u64::from(entry.payload_bytes);
        if !self.returned.remove(&place) && place >= self.cursor {
            self.cursor = place.next();
        }
        Some(payload)
    }

    /// The message at `place` is done with: acknowledged while it was out, or dropped while it was ready.
    pub fn finish(&mut self, place: Place) -> Finished {
        let Some(entry) = self.get(place).filter(|entry| !entry.is_settled()) else {
            return Finished::Unknown;
        };
        if entry.is_out() {
            self.out = self.out.saturating_sub(1);
        } else if let Some(payload) = self.leave_ready(place) {
            self.ready_bytes = self.ready_bytes.saturating_sub(payload);
        }
        if self.durable && place.turn == Place::ON {
            if let Some(entry) = self.get_mut(place) {
                entry.set_out(false);
                entry.settle();
                self.settled += 1;
            }
            return Finished::Settled(place.position);
        }
        let entry = if place.turn == Place::ON {
            self.queue.remove(place.position)
        } else {
            self.between.remove(&place)
        };
        entry.map_or(Finished::Unknown, Finished::Gone)
    }

    /// The message at `place`, which is out, is ready again. False when it is not out.
    pub fn give_back(&mut self, place: Place) -> bool {
        let Some(entry) = self.get_mut(place).filter(|entry| entry.is_out()) else { return false };
        entry.set_out(false);
        let payload = u64::from(entry.payload_bytes);
        self.out = self.out.saturating_sub(1);
        self.ready_bytes += payload;
        self.remember(place);
        true
    }

    /// The message at `place` is ready again. One that was bound beyond the cursor is found there: as a returned one it
    /// would take the cursor past those in front of it, see [`Self::pass_over`].
    fn remember(&mut self, place: Place) {
        if place < self.cursor {
            self.returned.insert(place);
        }
    }

    /// The message at `position` was settled, and no record of it was taken: it is ready again.
    pub fn unsettle(&mut self, position: u64) {
        let place = Place::at(position);
        let Some(entry) = self.get_mut(place).filter(|entry| entry.is_settled()) else { return };
        entry.unsettle();
        let payload = u64::from(entry.payload_bytes);
        self.settled = self.settled.saturating_sub(1);
        self.ready_bytes += payload;
        self.remember(place);
    }

    /// Takes the durable message at `position` out for good: the applier's.
    pub fn remove(&mut self, position: u64) -> Option<Entry> {
        let entry = self.queue.remove(position)?;
        let payload = u64::from(entry.payload_bytes);
        self.durable_bytes = self.durable_bytes.saturating_sub(payload);
        if entry.is_settled() {
            self.settled = self.settled.saturating_sub(1);
        } else if entry.is_out() {
            self.out = self.out.saturating_sub(1);
        } else {
            self.returned.remove(&Place::at(position));
            self.ready_bytes = self.ready_bytes.saturating_sub(payload);
        }
        Some(entry)
    }

    /// Takes all durable messages out: the applier's, when the queue is deleted.
    pub fn take_durable(&mut self) -> Queue {
        std::mem::replace(self, Self::new(self.durable)).queue
    }

    /// Forgets the transient messages of a queue that is deleted; those with positions stay.
    pub fn clear_transient(&mut self) {
        self.between.clear();
        self.returned.retain(|place| place.turn == Place::ON);
        if !self.durable {
            *self = Self::new(false);
        }
    }
}
