//! A file's bytes in the page cache and on the platter. Part of `store::disk::simulated`.
//!
//! Between two syncs the cache may write any page at any time, in any order, and the length on its own. So after a
//! power cut each page holds what was there before, what one of the writes since made of it, or, torn at a byte, some
//! of either; and the file has a length that it had once since the sync. Only a length that shrank durably is certain
//! to have taken its bytes along.

use std::collections::BTreeMap;

use super::dice::Cut;

/// What a cache writes at once.
const PAGE: usize = 4096;
/// What a disk writes at once.
const SECTOR: usize = 512;

#[derive(Debug, Clone)]
enum Change {
    Bytes(usize, Vec<u8>),
    Length(usize),
}

impl Change {
    fn apply(&self, data: &mut Vec<u8>) {
        match self {
            Self::Bytes(offset, bytes) => put(data, *offset, bytes),
            Self::Length(length) => data.resize(*length, 0),
        }
    }
}

#[derive(Debug, Default, Clone)]
pub(super) struct Inode {
    pub(super) data: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
    /// So many of them were said to be durable, and will be with the next sync.
    late: usize,
}

fn put(data: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if data.len() < offset + bytes.len() {
        data.resize(offset + bytes.len(), 0);
    }
    data[offset..offset + bytes.len()].copy_from_slice(bytes);
}

/// A page of `data`; zeros beyond its end.
fn page(data: &[u8], number: usize) -> Vec<u8> {
    let start = (number * PAGE).min(data.len());
    let mut page = data[start..(start + PAGE).min(data.len())].to_vec();
    page.resize(PAGE, 0);
    page
}

impl Inode {
    pub(super) fn durable(data: Vec<u8>) -> Self {
        Self { durable: data.clone(), data, ..Self::default() }
    }

    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        self.change(Change::Bytes(offset, bytes.to_vec()));
    }

    pub(super) fn set_len(&mut self, length: usize) {
        self.change(Change::Length(length));
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.data);
        self.unsynced.push(change);
    }

    pub(super) fn sync(&mut self) {
        for change in std::mem::take(&mut self.unsynced) {
            change.apply(&mut self.durable);
        }
        self.durable.resize(self.data.len(), 0);
    }

    /// A sync that makes durable what the one before should have.
    pub(super) fn sync_late(&mut self) {
        for change in self.unsynced.drain(..self.late) {
            change.apply(&mut self.durable);
        }
        self.late = self.unsynced.len();
    }

    /// A sync that failed: the cache believes its pages to be clean. With a `cut` some of them may be on the platter.
    pub(super) fn forget(&mut self, cut: Option<&mut Cut>) {
        if let Some(cut) = cut {
            self.durable = self.after_cut(cut);
        }
        self.unsynced.clear();
    }

    /// The platter when of the bytes written so many made it, in the order written.
    pub(super) fn with_first(&self, keep: &mut dyn FnMut(usize) -> usize) -> Vec<u8> {
        let bytes = |change: &Change| match change {
            Change::Bytes(_, bytes) => bytes.len(),
            Change::Length(_) => 0,
        };
        let total = self.unsynced.iter().map(bytes).sum();
        let kept = keep(total).min(total);
        let (mut left, mut after) = (kept, self.durable.clone());
        for change in &self.unsynced {
            match change {
                Change::Bytes(offset, bytes) => {
                    let count = left.min(bytes.len());
                    put(&mut after, *offset, &bytes[..count]);
                    left -= count;
                    if count < bytes.len() {
                        break;
                    }
                }
                Change::Length(_) if left == 0 && (kept < total || kept == 0) => break,
                Change::Length(_) => change.apply(&mut after),
            }
        }
        after
    }

    /// The platter after a power cut.
    pub(super) fn after_cut(&self, cut: &mut Cut) -> Vec<u8> {
        if self.unsynced.is_empty() {
            return self.durable.clone();
        }
        // The length, in the order in which it changed; what shrank is gone.
        let reached = cut.reached(self.unsynced.len());
        let (mut after, mut length, mut shrunk) = (self.durable.clone(), self.durable.len(), 0);
        for (at, change) in self.unsynced.iter().enumerate().take(reached) {
            match change {
                Change::Bytes(offset, bytes) => length = length.max(offset + bytes.len()),
                Change::Length(to) => {
                    if *to < length {
                        after.truncate(*to);
                        shrunk = at;
                    }
                    length = *to;
                }
            }
        }
        for (number, versions) in self.versions(shrunk) {
            let page = choose(cut, page(&after, number), versions);
            put(&mut after, number * PAGE, &page);
        }
        after.resize(length, 0);
        after
    }

    /// What each page held after each change from the one at `from` on.
    fn versions(&self, from: usize) -> BTreeMap<usize, Vec<Vec<u8>>> {
        let mut versions = BTreeMap::<usize, Vec<Vec<u8>>>::new();
        let mut data = self.durable.clone();
        for (at, change) in self.unsynced.iter().enumerate() {
            change.apply(&mut data);
            let touched = match change {
                Change::Bytes(_, bytes) if bytes.is_empty() => continue,
                Change::Bytes(offset, bytes) => {
                    offset / PAGE..(offset + bytes.len()).div_ceil(PAGE)
                }
                // The end of the last page is filled with zeros.
                Change::Length(to) => to / PAGE..to.div_ceil(PAGE),
            };
            for number in touched.filter(|_| at >= from) {
                versions.entry(number).or_default().push(page(&data, number));
            }
        }
        versions
    }
}

/// What a page holds after the cut: one of its versions, or parts of two.
fn choose(cut: &mut Cut, before: Vec<u8>, mut versions: Vec<Vec<u8>>) -> Vec<u8> {
    versions.insert(0, before);
    let last = versions.len() - 1;
    if cut.keep == 0 && cut.tear == 0 {
        return versions.swap_remove(0);
    }
    if cut.dice.odds(cut.keep) {
        return versions.swap_remove(last);
    }
    let (one, other) = (cut.dice.below(last + 1), cut.dice.below(last + 1));
    if !cut.dice.odds(cut.tear) {
        return versions.swap_remove(one);
    }
    let (older, newer) = (&versions[one.min(other)], &versions[one.max(other)]);
    match cut.dice.below(3) {
        // The page was being written.
        0 => {
            let at = cut.dice.below(PAGE + 1);
            [&newer[..at], &older[at..]].concat()
        }
        // The same, its sectors in any order.
        _ => (0..PAGE / SECTOR)
            .flat_map(|sector| {
                let from = if cut.dice.odds(50) { newer } else { older };
                &from[sector * SECTOR..(sector + 1) * SECTOR]
            })
            .copied()
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Cut, Inode, PAGE};

    fn outcomes(inode: &Inode) -> BTreeSet<Vec<u8>> {
        (0..600).map(|seed| inode.after_cut(&mut Cut::new(seed))).collect()
    }

    #[test]
    fn what_was_synced_stays_whatever_happens() {
        let mut inode = Inode::default();
        inode.write(0, &[1; 3 * PAGE]);
        inode.sync();
        assert_eq!(outcomes(&inode), BTreeSet::from([vec![1; 3 * PAGE]]));
        inode.write(PAGE + 700, &[2; 9]);
        for after in outcomes(&inode) {
            assert_eq!(after.len(), 3 * PAGE);
            assert!(after[..PAGE + 700].iter().chain(&after[PAGE + 709..]).all(|byte| *byte == 1));
        }
    }

    #[test]
    fn pages_are_written_in_any_order_and_torn_at_any_byte() {
        let mut inode = Inode::durable(vec![0; 2 * PAGE]);
        inode.write(0, &[1; PAGE]);
        inode.write(PAGE, &[1; PAGE]);
        inode.write(0, &[2; PAGE]);
        let all = outcomes(&inode);
        let whole = |first: u8, second: u8| [[first; PAGE], [second; PAGE]].concat();
        for first in 0..3 {
            for second in 0..2 {
                assert!(all.contains(&whole(first, second)), "{first} {second}");
            }
        }
        let torn = |page: &[u8]| page.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!(all.iter().any(|after| torn(&after[..PAGE]) == 1 && after[PAGE - 1] == 0));
        assert!(all.iter().any(|after| torn(&after[..PAGE]) > 1));
    }

    #[test]
    fn a_length_that_shrank_takes_its_bytes_along() {
        let mut inode = Inode::durable(vec![1; PAGE]);
        inode.set_len(10);
        inode.write(20, &[3; 4]);
        let all = outcomes(&inode);
        assert_eq!(all.iter().map(Vec::len).collect::<BTreeSet<_>>(), [10, 24, PAGE].into());
        for after in all.iter().filter(|after| after.len() == 24) {
            assert!(after[10..20].iter().all(|byte| *byte == 0), "{after:?}");
        }
    }

    #[test]
    fn a_failed_sync_may_have_written_a_part_and_will_not_write_the_rest() {
        let mut inode = Inode::durable(vec![0; 2 * PAGE]);
        inode.write(0, &[1; 2 * PAGE]);
        inode.forget(Some(&mut Cut { dice: super::super::Dice::new(3), keep: 50, tear: 0 }));
        inode.sync();
        assert_eq!(inode.data, [1; 2 * PAGE]);
        let kept: BTreeSet<u8> = outcomes(&inode).into_iter().flatten().collect();
        assert!(kept.contains(&0) || outcomes(&inode).len() == 1);
    }
}
