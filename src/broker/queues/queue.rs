//! Positions from head to tail, each with a message until it is acknowledged. Part of `broker::queues`.
//!
//! A packet identifier is a function of the position ([`packet_id`]): whoever knows the queue knows which
//! identifier a message was or will be sent with, so redelivery after a restart uses the original one
//! [MQTT-4.4.0-1] without a record of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;
use std::sync::Arc;

use super::entry::{Body, Entry, Move};
use super::meter::{Held, Meter};
use super::page::{PAGE_POSITIONS, Page};
use super::paged::OutPage;
use crate::store::bodies::BodyRef;

/// Packet identifiers run from 1 to this [MQTT-2.2.1].
const PACKET_IDS: u64 = 65_535;

/// The packet identifier of the message at `position`.
#[must_use]
pub fn packet_id(position: u64) -> NonZeroU16 {
    let id = u16::try_from(position % PACKET_IDS).unwrap_or(0);
    NonZeroU16::MIN.saturating_add(id)
}

/// What comes next in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The message at this position.
    Here(u64),
    /// Perhaps one of the page of this number, which is on disk only.
    Out(u64),
}

/// Messages in order of arrival; acknowledged in any order.
///
/// A page is in memory or on disk only, see [`super::paged`]. What looks at single messages sees those in memory;
/// [`Queue::next`] tells when there is another page in between.
#[derive(Debug, Default)]
pub struct Queue {
    pub(super) pages: BTreeMap<u64, Arc<Page>>,
    pub(super) out: BTreeMap<u64, OutPage>,
    /// Lowest position that may still be live.
    pub(super) head: u64,
    /// Next position to be given out.
    tail: u64,
    pub(super) live: u64,
    pub(super) bytes: u64,
    /// Pages changed since the last checkpoint, the emptied ones included.
    pub(super) dirty: BTreeSet<u64>,
    /// No checkpoint ever asks what changed.
    pub(super) volatile: bool,
    /// Of the page that went out last.
    pub(super) generation: u32,
    /// What the pages take, bodies apart.
    pub(super) memory: Held,
}

impl Queue {
    /// An empty queue whose next position is `tail`.
    #[must_use]
    pub fn starting_at(tail: u64) -> Self {
        Self { head: tail, tail, ..Self::default() }
    }

    /// An empty queue whose pages count in `meter`.
    #[must_use]
    pub fn counted(meter: &Arc<Meter>) -> Self {
        Self { memory: Held::new(Some(Arc::clone(meter))), ..Self::default() }
    }

    /// An empty queue that no checkpoint keeps.
    #[must_use]
    pub fn volatile() -> Self {
        Self { volatile: true, ..Self::default() }
    }

    fn mark(&mut self, number: u64) {
        if !self.volatile {
            self.dirty.insert(number);
        }
    }

    /// Lowest position that may still be live.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.head
    }

    /// Next position to be given out.
    #[must_use]
    pub fn tail(&self) -> u64 {
        self.tail
    }

    /// Messages held.
    #[must_use]
    pub fn live(&self) -> u64 {
        self.live
    }

    /// Bytes of encoded messages held.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Appends and returns the position.
    pub fn push(&mut self, entry: Entry) -> u64 {
        let position = self.tail;
        self.tail += 1;
        if position.is_multiple_of(PAGE_POSITIONS) {
            self.drop_empty_page(Page::number_of(position).wrapping_sub(1));
        }
        self.put(position, entry);
        position
    }

    /// Places an entry at a known position (restart).
    pub fn put(&mut self, position: u64, entry: Entry) {
        let number = Page::number_of(position);
        self.bytes += entry.body.len();
        let known = self.pages.get(&number).map_or(0, |page| page.bytes());
        let page = Arc::make_mut(self.pages.entry(number).or_default());
        match page.put(position, entry) {
            Some(before) => self.bytes = self.bytes.saturating_sub(before.body.len()),
            None => self.live += 1,
        }
        self.memory.change(known, page.bytes());
        self.mark(number);
    }

    /// The message at `position`, if it is live.
    #[must_use]
    pub fn get(&self, position: u64) -> Option<&Entry> {
        self.pages.get(&Page::number_of(position))?.get(position)
    }

    /// The same, to change what a checkpoint keeps of it.
    pub fn get_mut(&mut self, position: u64) -> Option<&mut Entry> {
        let number = Page::number_of(position);
        self.get(position)?;
        self.mark(number);
        Arc::make_mut(self.pages.get_mut(&number)?).get_mut(position)
    }

    /// The same, to change what a checkpoint does not keep (settled).
    pub fn get_volatile(&mut self, position: u64) -> Option<&mut Entry> {
        let page = self.pages.get_mut(&Page::number_of(position))?;
        page.get(position)?;
        Arc::make_mut(page).get_mut(position)
    }

    /// Forgets acknowledgements below `end` that no record followed: those messages go out again.
    pub fn unsettle(&mut self, end: u64) {
        // What is on disk only is not settled.
        let mut next = self.next_here(self.head);
        while let Some(position) = next.filter(|position| *position < end) {
            if self.get(position).is_some_and(Entry::is_settled)
                && let Some(entry) = self.get_volatile(position)
            {
                entry.unsettle();
            }
            next = self.next_here(position + 1);
        }
    }

    /// Takes the message at `position` out.
    pub fn remove(&mut self, position: u64) -> Option<Entry> {
        let number = Page::number_of(position);
        let page = self.pages.get_mut(&number)?;
        page.get(position)?;
        let page = Arc::make_mut(page);
        let known = page.bytes();
        let entry = page.remove(position)?;
        let emptied = page.live() == 0;
        self.memory.change(known, page.bytes());
        self.live -= 1;
        self.bytes = self.bytes.saturating_sub(entry.body.len());
        self.mark(number);
        // The page at the tail stays: what comes next would make it again, gaps and all.
        if emptied && number != Page::number_of(self.tail) {
            self.drop_empty_page(number);
        }
        if position == self.head {
            self.advance_head();
        }
        Some(entry)
    }

    fn drop_empty_page(&mut self, number: u64) {
        if let Some(page) = self.pages.get(&number).filter(|page| page.live() == 0) {
            self.memory.change(page.bytes(), 0);
            self.pages.remove(&number);
        }
    }

    fn advance_head(&mut self) {
        self.head = self.lowest_from(self.head).unwrap_or(self.tail);
    }

    /// The lowest live position at or after `from`, which is not behind the first message of a page on disk only.
    fn lowest_from(&self, from: u64) -> Option<u64> {
        let out = self.out.range(Page::number_of(from)..).next();
        let out = out.map(|(number, page)| page.first(*number).max(from));
        match (self.next_here(from), out) {
            (Some(here), Some(out)) => Some(here.min(out)),
            (here, out) => here.or(out),
        }
    }

    /// The live position whose message has packet identifier `id`, looking from the head.
    ///
    /// At most 65,535 positions are ever in flight, so it is unique.
    #[must_use]
    pub fn position_of(&self, id: NonZeroU16) -> Option<u64> {
        let wanted = u64::from(id.get()) - 1;
        let ahead = (wanted + PACKET_IDS - self.head % PACKET_IDS) % PACKET_IDS;
        let position = self.head + ahead;
        self.get(position).map(|_| position)
    }

    /// Whether `position` may be in flight beside the oldest unacknowledged one.
    #[must_use]
    pub fn has_packet_id(&self, position: u64) -> bool {
        position - self.head < PACKET_IDS
    }

    /// Next live position at or after `from` whose page is in memory.
    #[must_use]
    pub fn next_here(&self, from: u64) -> Option<u64> {
        let first = Page::number_of(from);
        self.pages.range(first..).find_map(|(number, page)| {
            page.next_live(if *number == first { from } else { number * PAGE_POSITIONS })
        })
    }

    /// What comes next at or after `from`.
    #[must_use]
    pub fn next(&self, from: u64) -> Option<Next> {
        let here = self.next_here(from);
        match self.out.range(Page::number_of(from)..).next() {
            Some((number, _)) if here.is_none_or(|here| Page::number_of(here) > *number) => {
                Some(Next::Out(*number))
            }
            _ => here.map(Next::Here),
        }
    }

    /// The order of the newest message.
    #[must_use]
    pub fn newest(&self) -> Option<u64> {
        let here = self.pages.values().rev().find_map(|page| page.newest());
        let out = self.out.last_key_value().map(|(_, page)| page.sum.newest);
        here.max(out)
    }

    /// Live entries in memory, in order.
    #[cfg(test)]
    pub fn iter_here(&self) -> impl Iterator<Item = (u64, &Entry)> {
        self.pages.iter().flat_map(|(number, page)| page.iter(*number))
    }

    /// The pages changed since the last call, as they are now; `None` for an emptied one.
    pub fn freeze(&mut self) -> Vec<(u64, Option<Arc<Page>>)> {
        std::mem::take(&mut self.dirty)
            .into_iter()
            .map(|number| {
                let page = self.pages.get(&number).filter(|page| page.live() > 0);
                (number, page.map(Arc::clone))
            })
            .collect()
    }

    /// After a checkpoint wrote the body at `position`: memory is given back. False when the message is gone.
    pub fn on_disk(&mut self, position: u64, order: u64, body: BodyRef) -> bool {
        let Some(entry) = self.get_volatile(position) else { return false };
        if entry.order != order {
            return false;
        }
        entry.body = Body::Disk(body);
        true
    }

    /// After a checkpoint wrote bodies of page `number` elsewhere: its row names the new places already, and entries
    /// that are still there follow.
    pub fn moved(&mut self, number: u64, moves: &[Move]) {
        let Some(page) = self.pages.get_mut(&number) else { return self.moved_out(number) };
        let names_old = |page: &Page, moved: &Move| {
            let body = page.get(moved.position).map(|entry| &entry.body);
            matches!(body, Some(Body::Disk(body)) if *body == moved.old)
        };
        if !moves.iter().any(|moved| names_old(page, moved)) {
            return;
        }
        let page = Arc::make_mut(page);
        for moved in moves {
            if names_old(page, moved)
                && let Some(entry) = page.get_mut(moved.position)
            {
                entry.body = Body::Disk(moved.new);
            }
        }
    }

    /// Sets the next position (after a restart).
    pub fn set_tail(&mut self, tail: u64) {
        self.tail = self.tail.max(tail);
        self.head = self.lowest_from(0).unwrap_or(self.tail);
    }
}
