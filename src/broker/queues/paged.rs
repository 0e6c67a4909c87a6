//! Pages of a queue that are on disk only. Part of `broker::queues`.
//!
//! A page goes out when its row says all of it, and comes in when somebody needs a message of it. Whoever brings it in
//! reads the row without the queue's lock: meanwhile the page may have come in, changed and gone out again, so each time
//! it goes out it gets another generation, and a row that was read for another one is not taken.

use super::page::{PAGE_POSITIONS, Page};
use super::queue::Queue;
use crate::store::tables::page_sums::PageSum;

/// What is kept of a page that is on disk only.
#[derive(Clone, Copy, Debug)]
pub(super) struct OutPage {
    pub(super) sum: PageSum,
    generation: u32,
}

impl OutPage {
    /// Position of its first message, given the page's number.
    pub(super) fn first(&self, number: u64) -> u64 {
        number * PAGE_POSITIONS + u64::from(self.sum.first)
    }
}

/// A page that was on disk only when somebody looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Absent {
    /// Its number.
    pub number: u64,
    generation: u32,
}

/// A page's row says something else than its sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("page {number} of a queue is not what it was when it went out")]
pub struct WrongPage {
    /// The page.
    pub number: u64,
}

impl Queue {
    /// Takes a page out of memory; false when its row may not say all of it, or when messages are still to come on it.
    ///
    /// To be called only while no checkpoint is under way: a page that was frozen and is not committed looks as if its
    /// row were right.
    pub fn page_out(&mut self, number: u64) -> bool {
        if self.volatile || self.dirty.contains(&number) || number >= Page::number_of(self.tail()) {
            return false;
        }
        let Some(page) = self.pages.get(&number).filter(|page| page.live() > 0) else {
            return false;
        };
        if !page.is_at_rest() {
            return false;
        }
        self.generation = self.generation.wrapping_add(1);
        let out = OutPage { sum: page.sum(), generation: self.generation };
        self.memory.change(page.bytes(), 0);
        self.pages.remove(&number);
        self.out.insert(number, out);
        true
    }

    /// A page that a checkpoint wrote (restart).
    pub fn restore_out(&mut self, number: u64, sum: PageSum) {
        let out = OutPage { sum, generation: self.generation };
        if self.live == 0 {
            // Pages come in order.
            self.head = out.first(number);
        }
        self.live += u64::from(sum.live);
        self.bytes += sum.bytes;
        self.out.insert(number, out);
    }

    /// Whether the message at `position`, if there is one, is on disk only.
    #[must_use]
    pub fn is_out(&self, position: u64) -> bool {
        self.out.contains_key(&Page::number_of(position))
    }

    /// Pages that are on disk only, from `number` on, `max` of them at most.
    #[must_use]
    pub fn absent_from(&self, number: u64, max: usize) -> Vec<Absent> {
        let out = self.out.range(number..).take(max);
        out.map(|(number, out)| Absent { number: *number, generation: out.generation }).collect()
    }

    /// Pages that are on disk only and hold positions of `from..end`.
    #[must_use]
    pub fn absent_within(&self, from: u64, end: u64) -> Vec<Absent> {
        if from >= end {
            return Vec::new();
        }
        let out = self.out.range(Page::number_of(from)..=Page::number_of(end - 1));
        out.map(|(number, out)| Absent { number: *number, generation: out.generation }).collect()
    }

    /// Whether a page is still as it was when somebody looked.
    #[must_use]
    pub fn is_absent(&self, absent: Absent) -> bool {
        self.out.get(&absent.number).is_some_and(|out| out.generation == absent.generation)
    }

    /// Puts back a page whose row was read after `absent` was looked at. False when it came in meanwhile, or went out
    /// again: look again.
    ///
    /// # Errors
    /// It is not what went out.
    pub fn page_in(&mut self, absent: Absent, page: Page) -> Result<bool, WrongPage> {
        if !self.is_absent(absent) {
            return Ok(false);
        }
        let number = absent.number;
        if self.out.get(&number).is_none_or(|out| out.sum != page.sum()) {
            return Err(WrongPage { number });
        }
        self.out.remove(&number);
        self.memory.change(0, page.bytes());
        self.pages.insert(number, page.into());
        Ok(true)
    }

    /// A checkpoint wrote the row of page `number` anew, with other places of bodies: what was read before is not taken
    /// any more.
    pub(super) fn moved_out(&mut self, number: u64) {
        self.generation = self.generation.wrapping_add(1);
        if let Some(out) = self.out.get_mut(&number) {
            out.generation = self.generation;
        }
    }

    /// How many messages page `number`, which is on disk only, has, and the position behind it, if they are fewer
    /// than `max` and not the last.
    #[must_use]
    pub fn skip_out(&self, number: u64, max: usize) -> Option<(usize, u64)> {
        let live = self.out.get(&number)?.sum.live as usize;
        let behind = Page::first_of(number + 1);
        (live < max && self.next(behind).is_some()).then_some((live, behind))
    }

    /// Numbers of the pages in memory, from the tail on.
    pub fn pages_here(&self) -> impl Iterator<Item = u64> {
        self.pages.keys().rev().copied()
    }

    /// How many pages are in memory.
    #[must_use]
    pub fn count_here(&self) -> usize {
        self.pages.len()
    }

    /// Bytes of memory that the pages take, bodies apart.
    #[cfg(test)]
    #[must_use]
    pub fn index_bytes(&self) -> usize {
        self.memory.bytes()
    }
}
