//! A run of queue positions. Part of `broker::queues`.
//!
//! Pages are shared with a checkpoint by reference count and copied on the next write, so freezing a queue
//! costs one pointer a changed page and stops nobody.

use crate::store::tables::page_sums::PageSum;

use super::entry::{Body, Entry};

/// Positions a page covers. Few in unit tests, so that a handful of messages fills several.
pub const PAGE_POSITIONS: u64 = if cfg!(test) { 5 } else { 256 };

/// What a page takes beside its entries: the allocations it is in, and its place in a queue.
const OVERHEAD_BYTES: usize = size_of::<Page>() + 64;

/// Entries at positions `number * PAGE_POSITIONS ..`; gaps are acknowledged ones.
#[derive(Debug, Default)]
pub struct Page {
    entries: Vec<Option<Entry>>,
    live: u32,
    /// Bytes that entries have elsewhere, bodies apart.
    beside: usize,
}

impl Clone for Page {
    /// A copy takes as much memory as the page that it replaces.
    fn clone(&self) -> Self {
        let mut entries = Vec::with_capacity(self.entries.capacity());
        entries.extend(self.entries.iter().cloned());
        Self { entries, live: self.live, beside: self.beside }
    }
}

impl Page {
    /// The page that holds `position`.
    #[must_use]
    pub fn number_of(position: u64) -> u64 {
        position / PAGE_POSITIONS
    }

    /// The first position that page `number` covers.
    #[must_use]
    pub fn first_of(number: u64) -> u64 {
        number.saturating_mul(PAGE_POSITIONS)
    }

    fn slot(position: u64) -> usize {
        (position % PAGE_POSITIONS) as usize
    }

    /// Entries that are still live.
    #[must_use]
    pub fn live(&self) -> u32 {
        self.live
    }

    /// Bytes of memory it takes, bodies apart.
    #[must_use]
    pub fn bytes(&self) -> usize {
        OVERHEAD_BYTES + self.entries.capacity() * size_of::<Option<Entry>>() + self.beside
    }

    /// What it comes to.
    #[must_use]
    pub fn sum(&self) -> PageSum {
        let mut sum = PageSum { live: self.live, ..PageSum::default() };
        sum.first = self.entries.iter().take_while(|entry| entry.is_none()).count() as u32;
        for entry in self.entries.iter().flatten() {
            sum.bytes += entry.body.len();
            sum.payload_bytes += u64::from(entry.payload_bytes);
            sum.newest = entry.order;
        }
        sum
    }

    /// Whether a row says all of it: every body is on disk, nothing is with a consumer or settled.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        self.entries.iter().flatten().all(|entry| {
            matches!(entry.body, Body::Disk(_)) && !entry.is_out() && !entry.is_settled()
        })
    }

    /// The entry at `position`.
    #[must_use]
    pub fn get(&self, position: u64) -> Option<&Entry> {
        self.entries.get(Self::slot(position))?.as_ref()
    }

    /// The entry at `position`, to change.
    pub fn get_mut(&mut self, position: u64) -> Option<&mut Entry> {
        self.entries.get_mut(Self::slot(position))?.as_mut()
    }

    /// Puts `entry` at `position`; what stood there is returned.
    pub fn put(&mut self, position: u64, entry: Entry) -> Option<Entry> {
        let slot = Self::slot(position);
        if slot >= self.entries.len() {
            self.entries.resize_with(slot + 1, || None);
        }
        self.beside += entry.bytes_beside();
        let before = self.entries.get_mut(slot).and_then(|place| place.replace(entry));
        match &before {
            Some(before) => self.beside = self.beside.saturating_sub(before.bytes_beside()),
            None => self.live += 1,
        }
        before
    }

    /// Takes the entry at `position` out.
    pub fn remove(&mut self, position: u64) -> Option<Entry> {
        let removed = self.entries.get_mut(Self::slot(position))?.take();
        if let Some(entry) = &removed {
            self.live -= 1;
            self.beside = self.beside.saturating_sub(entry.bytes_beside());
        }
        removed
    }

    /// The first live position at or after `from`, which is of this page.
    #[must_use]
    pub fn next_live(&self, from: u64) -> Option<u64> {
        let start = Self::slot(from);
        let ahead = self.entries.get(start..)?.iter().position(Option::is_some)?;
        Some(from + ahead as u64)
    }

    /// The order of the newest entry.
    #[must_use]
    pub fn newest(&self) -> Option<u64> {
        self.entries.iter().rev().flatten().next().map(|entry| entry.order)
    }

    /// Live entries with their positions, given the page's number.
    pub fn iter(&self, number: u64) -> impl DoubleEndedIterator<Item = (u64, &Entry)> {
        self.entries.iter().enumerate().filter_map(move |(slot, entry)| {
            entry.as_ref().map(|entry| (number * PAGE_POSITIONS + slot as u64, entry))
        })
    }
}
