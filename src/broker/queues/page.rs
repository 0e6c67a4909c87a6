//! A run of queue positions. Part of `broker::queues`.
//!
//! Pages are shared with a checkpoint by reference count and copied on the next write, so freezing a queue
//! costs one pointer a changed page and stops nobody.

use super::entry::Entry;

/// Positions a page covers.
pub const PAGE_POSITIONS: u64 = 256;

/// Entries at positions `number * PAGE_POSITIONS ..`; gaps are acknowledged ones.
#[derive(Clone, Debug, Default)]
pub struct Page {
    entries: Vec<Option<Entry>>,
    live: u32,
}

impl Page {
    /// The page that holds `position`.
    #[must_use]
    pub fn number_of(position: u64) -> u64 {
        position / PAGE_POSITIONS
    }

    fn slot(position: u64) -> usize {
        (position % PAGE_POSITIONS) as usize
    }

    /// Entries that are still live.
    #[must_use]
    pub fn live(&self) -> u32 {
        self.live
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
        let before = self.entries.get_mut(slot).and_then(|place| place.replace(entry));
        if before.is_none() {
            self.live += 1;
        }
        before
    }

    /// Takes the entry at `position` out.
    pub fn remove(&mut self, position: u64) -> Option<Entry> {
        let removed = self.entries.get_mut(Self::slot(position))?.take();
        if removed.is_some() {
            self.live -= 1;
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

    /// Live entries with their positions, given the page's number.
    pub fn iter(&self, number: u64) -> impl DoubleEndedIterator<Item = (u64, &Entry)> {
        self.entries.iter().enumerate().filter_map(move |(slot, entry)| {
            entry.as_ref().map(|entry| (number * PAGE_POSITIONS + slot as u64, entry))
        })
    }
}
