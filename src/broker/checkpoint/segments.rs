//! The body segments that the last checkpoint names, and who refers to them. Part of `broker::checkpoint`.
//!
//! References are counted by rows: what a checkpoint's pages name beyond what the rows before them named. Entries in
//! memory come and go between checkpoints and need not tell. [`BodyPages`] is kept by the same comparison.

use std::collections::{BTreeMap, BTreeSet};

use ahash::AHashMap;

use crate::model::ids::SHARD;
use crate::store::bodies::{body_bytes, stored_bytes};
use crate::store::error::StoreError;
use crate::store::tables::bodies::{BodyKey, BodyRow, Live};
use crate::store::tables::body_pages::{BodyPageKey, BodyPageRow, BodyPages};
use crate::store::tables::db::Db;
use crate::store::tables::queue_pages::{PageKey, QueuePages};
use crate::store::tables::{Changes, CheckpointWrite};

use super::named::{Named, named};

/// References that pages gained and lost in one segment, and the bytes of their bodies.
#[derive(Clone, Copy, Debug, Default)]
struct Change {
    gained: u64,
    gained_bytes: u64,
    lost: u64,
    lost_bytes: u64,
}

/// What pages gained and lost, by segment.
#[derive(Debug, Default)]
pub(super) struct References(AHashMap<u32, Change>);

impl References {
    /// Compares the pages of `write` with the rows that they replace.
    ///
    /// # Errors
    /// The database cannot be read.
    pub(super) fn of(write: &mut CheckpointWrite, db: &Db) -> Result<Self, StoreError> {
        let mut references = Self::default();
        let CheckpointWrite { queue_pages, body_pages, .. } = write;
        let mut rows = db.view::<QueuePages>()?;
        for key in &queue_pages.deletes {
            if let Some(old) = rows.get(key)? {
                references.replace(*key, old.value(), &[], body_pages);
            }
        }
        for (key, new) in &queue_pages.puts {
            let old = rows.get(key)?;
            let old = old.as_ref().map_or(&[][..], |old| old.value());
            references.replace(*key, old, new, body_pages);
        }
        Ok(references)
    }

    /// Counts that page `key` names what `new` does and no longer what `old` did; an empty row names nothing.
    pub(super) fn replace(
        &mut self,
        key: PageKey,
        old: &[u8],
        new: &[u8],
        body_pages: &mut Changes<BodyPages>,
    ) {
        let (old, new) = (names(key, old), names(key, new));
        let (mut before, mut after) = (old.iter().peekable(), new.iter().peekable());
        loop {
            let slots =
                (before.peek().map(|named| named.slot), after.peek().map(|named| named.slot));
            let (lost, gained) = match slots {
                (None, None) => break,
                (Some(a), Some(b)) if a == b => (before.next(), after.next()),
                (Some(a), b) if b.is_none_or(|b| a < b) => (before.next(), None),
                _ => (None, after.next()),
            };
            if lost.map(|named| named.body) == gained.map(|named| named.body) {
                continue;
            }
            if let Some(Named { body, .. }) = lost {
                let change = self.0.entry(body.segment).or_default();
                change.lost += 1;
                change.lost_bytes += stored_bytes(body.len);
            }
            if let Some(Named { body, .. }) = gained {
                let change = self.0.entry(body.segment).or_default();
                change.gained += 1;
                change.gained_bytes += stored_bytes(body.len);
            }
        }
        let segments = |bodies: &[Named]| -> BTreeSet<u32> {
            bodies.iter().map(|named| named.body.segment).collect()
        };
        let (old, new) = (segments(&old), segments(&new));
        for segment in old.difference(&new) {
            body_pages.delete(BodyPageKey { segment: *segment, page: key });
        }
        for segment in new.difference(&old) {
            body_pages.put(BodyPageKey { segment: *segment, page: key }, BodyPageRow);
        }
    }
}

/// What `row` names. A row that cannot be read names nothing: its bodies then stay for ever, which is the safe side.
fn names(key: PageKey, row: &[u8]) -> Vec<Named> {
    if row.is_empty() {
        return Vec::new();
    }
    named(row).unwrap_or_else(|error| {
        tracing::error!(%error, queue = %key.queue, page = key.page, "a page of a queue cannot be read");
        Vec::new()
    })
}

/// Valid length, references and live bytes of every body segment.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Segments {
    rows: BTreeMap<u32, BodyRow>,
}

/// Body segments in numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Measured {
    /// Files.
    pub(super) segments: u64,
    /// Bytes of them that count.
    pub(super) bytes: u64,
    /// Bytes of bodies that something refers to, at most.
    pub(super) live_bytes: u64,
}

/// The segments as a checkpoint will leave them, once it is current.
#[derive(Debug)]
pub(super) struct Draft {
    segments: Segments,
    changed: BTreeSet<u32>,
    written: BTreeSet<u32>,
    dead: Vec<u32>,
}

impl Segments {
    /// What the last checkpoint left.
    pub(super) fn new(rows: BTreeMap<u32, BodyRow>) -> Self {
        Self { rows }
    }

    /// Number, row.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &BodyRow)> {
        self.rows.iter().map(|(segment, row)| (*segment, row))
    }

    /// A segment's row.
    pub(super) fn get(&self, segment: u32) -> Option<&BodyRow> {
        self.rows.get(&segment)
    }

    /// How many there are, how long, and how much lives in them.
    pub(super) fn measured(&self) -> Measured {
        let mut measured = Measured::default();
        for row in self.rows.values() {
            measured.segments += 1;
            measured.bytes += row.valid_len;
            // Of bodies with several references no more than there is.
            let Live::Bytes { bytes, .. } = row.live else { continue };
            measured.live_bytes += bytes.min(body_bytes(row.valid_len));
        }
        measured
    }

    /// Whether an earlier build wrote some of the rows.
    pub(super) fn is_uncounted(&self) -> bool {
        self.rows.values().any(|row| row.live == Live::Uncounted)
    }

    /// The same with what all pages name counted anew, and [`BodyPages`] in `write`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub(super) fn counted(&self, write: &mut CheckpointWrite, db: &Db) -> Result<Self, StoreError> {
        let mut references = References::default();
        db.for_each_raw::<QueuePages>(|key, row| {
            references.replace(key, &[], row, &mut write.body_pages);
            Ok(())
        })?;
        let mut counted = self.clone();
        for (segment, row) in &mut counted.rows {
            let change = references.0.get(segment).copied().unwrap_or_default();
            let is_shared = change.gained_bytes > body_bytes(row.valid_len);
            row.live = Live::Bytes { bytes: change.gained_bytes, is_shared };
            write.bodies.put(BodyKey { shard: SHARD, segment: *segment }, *row);
        }
        Ok(counted)
    }

    /// What becomes of the segments when those in `lengths` were written and pages changed by `references`. One
    /// that nothing refers to is given up, unless it is `current`, which the next checkpoint goes on in.
    pub(super) fn draft(
        &self,
        lengths: impl IntoIterator<Item = (u32, u64)>,
        references: &References,
        current: Option<u32>,
    ) -> Draft {
        let mut draft = Draft {
            segments: self.clone(),
            changed: BTreeSet::new(),
            written: BTreeSet::new(),
            dead: Vec::new(),
        };
        draft.change(lengths, references);
        let rows = &mut draft.segments.rows;
        draft.dead = rows
            .iter()
            .filter(|(segment, row)| row.live_refs == 0 && Some(**segment) != current)
            .map(|(segment, _)| *segment)
            .collect();
        for segment in &draft.dead {
            rows.remove(segment);
        }
        draft
    }
}

impl Draft {
    /// Notes what was written, and what pages changed.
    pub(super) fn change(
        &mut self,
        lengths: impl IntoIterator<Item = (u32, u64)>,
        references: &References,
    ) {
        let mut grown = AHashMap::new();
        let rows = &mut self.segments.rows;
        for (segment, valid_len) in lengths {
            let live = Live::Bytes { bytes: 0, is_shared: false };
            let row = rows.entry(segment).or_insert(BodyRow { valid_len: 0, live_refs: 0, live });
            let added = body_bytes(valid_len).saturating_sub(body_bytes(row.valid_len));
            row.valid_len = valid_len;
            grown.insert(segment, added);
            self.changed.insert(segment);
            self.written.insert(segment);
        }
        for (segment, change) in &references.0 {
            let Some(row) = rows.get_mut(segment) else { continue };
            row.live_refs = (row.live_refs + change.gained).saturating_sub(change.lost);
            if let Live::Bytes { bytes, is_shared } = &mut row.live {
                *bytes = (*bytes + change.gained_bytes).saturating_sub(change.lost_bytes);
                *is_shared |= change.gained_bytes > grown.get(segment).copied().unwrap_or(0);
            }
            self.changed.insert(*segment);
        }
    }

    /// The segments that are left.
    pub(super) fn segments(&self) -> &Segments {
        &self.segments
    }

    /// Whether it was written to.
    pub(super) fn is_written(&self, segment: u32) -> bool {
        self.written.contains(&segment)
    }

    /// Those that can go once it is committed.
    pub(super) fn dead(&self) -> &[u32] {
        &self.dead
    }

    /// Puts the rows into `write`.
    pub(super) fn put(&self, write: &mut CheckpointWrite) {
        for segment in &self.dead {
            write.bodies.delete(BodyKey { shard: SHARD, segment: *segment });
        }
        for segment in &self.changed {
            if let Some(row) = self.segments.rows.get(segment) {
                write.bodies.put(BodyKey { shard: SHARD, segment: *segment }, *row);
            }
        }
    }

    /// What is true once it is committed, and the segments that can go then.
    pub(super) fn adopt(self) -> (Segments, Vec<u32>) {
        (self.segments, self.dead)
    }
}
