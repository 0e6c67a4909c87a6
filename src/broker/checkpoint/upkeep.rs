//! Body segments from checkpoint to checkpoint: counted, emptied, given up, over as many attempts as each takes. Part
//! of `broker::checkpoint`.
//!
//! A commit that fails may have taken effect all the same. Whatever the database then says is what the next attempt
//! starts from; nothing is removed before a commit has succeeded.

use std::sync::Arc;

use ahash::AHashMap;

use crate::broker::{Broker, restore};
use crate::store::bodies::{BodyRef, Lane};
use crate::store::error::StoreError;
use crate::store::tables::CheckpointWrite;
use crate::store::tables::db::Db;
use crate::store::tables::meta::CheckpointRow;
use crate::store::tables::queue_pages::PageKey;

use super::compaction::{BYTES_MAX, Compactor, Moves, Site};
use super::named::{named, rename};
use super::segments::{Draft, References, Segments};

/// Keeps the body segments of a broker.
pub(super) struct Upkeep {
    broker: Arc<Broker>,
    db: Arc<Db>,
    segments: Segments,
    compactor: Compactor,
    /// An attempt began and did not succeed.
    is_failing: bool,
    /// What was last handed to the database, until that has taken it.
    tried: Option<Tried>,
    /// Moves of failed attempts that took effect: what is being checkpointed was frozen before them.
    renamed: AHashMap<(PageKey, BodyRef), BodyRef>,
    /// Segments that those attempts gave up.
    dead: Vec<u32>,
}

struct Tried {
    checkpoint: CheckpointRow,
    draft: Draft,
    moves: Moves,
}

impl Upkeep {
    /// Over what the last checkpoint left.
    pub(super) fn new(broker: Arc<Broker>, db: Arc<Db>, segments: Segments) -> Self {
        Self {
            broker,
            db,
            segments,
            compactor: Compactor::new(BYTES_MAX),
            is_failing: false,
            tried: None,
            renamed: AHashMap::new(),
            dead: Vec::new(),
        }
    }

    /// Bytes to copy with each checkpoint, at most about.
    pub(super) fn set_bytes_max(&mut self, bytes_max: u64) {
        self.compactor.bytes_max = bytes_max;
    }

    /// Completes a checkpoint whose pages are in `write` and whose bodies are on disk in segments of the given
    /// lengths: counts references, and empties segments that are mostly dead.
    ///
    /// # Errors
    /// The database cannot be read.
    pub(super) fn complete(
        &mut self,
        write: &mut CheckpointWrite,
        lengths: impl IntoIterator<Item = (u32, u64)>,
    ) -> Result<(), StoreError> {
        let is_again = std::mem::replace(&mut self.is_failing, true);
        if is_again {
            self.db.heal()?;
            self.look_back()?;
        }
        self.count_segments()?;
        if !self.renamed.is_empty() {
            rename_frozen(write, &self.renamed);
        }
        let references = References::of(write, &self.db)?;
        let bodies = &self.broker.bodies;
        let mut draft = self.segments.draft(lengths, &references, bodies.current(Lane::Fresh));
        draft.dead().iter().for_each(|segment| bodies.seal(*segment));
        let moves = if is_again {
            // While the disk fails nothing is written that need not be.
            Moves::default()
        } else {
            let mut site = Site { db: &self.db, bodies, write: &mut *write, draft: &mut draft };
            self.compactor.run(&mut site)
        };
        draft.put(write);
        self.tried = Some(Tried { checkpoint: write.checkpoint, draft, moves });
        Ok(())
    }

    /// The checkpoint is current: entries learn where their bodies are. Returns the segments that it names no longer.
    pub(super) fn committed(&mut self) -> Vec<u32> {
        self.is_failing = false;
        let Some(Tried { draft, moves, .. }) = self.tried.take() else { return Vec::new() };
        moves.tell(&self.broker);
        let mut dead = std::mem::take(&mut self.dead);
        let (segments, last) = draft.adopt();
        dead.extend(last);
        self.segments = segments;
        self.renamed.clear();
        self.measure(moves.bytes);
        dead
    }

    /// After a failure: which checkpoint is current?
    fn look_back(&mut self) -> Result<(), StoreError> {
        let Some(Tried { checkpoint, draft, .. }) = &self.tried else { return Ok(()) };
        let segments = Segments::new(restore::segments(&self.db)?);
        // Two checkpoints of nothing may be alike but for the segments.
        let is_current =
            self.db.checkpoint()?.as_ref() == Some(checkpoint) && segments == *draft.segments();
        let Some(Tried { draft, moves, .. }) = self.tried.take() else { return Ok(()) };
        if is_current {
            moves.tell(&self.broker);
            self.renamed.extend(moves.names());
            self.dead.extend(draft.dead());
        } else {
            self.compactor.forget_copies();
            let unnamed = moves.segments.iter().filter(|segment| segments.get(**segment).is_none());
            for segment in unnamed {
                if let Err(error) = self.broker.bodies.unlink(*segment) {
                    tracing::debug!(%error, "a body segment that came to nothing was not removed");
                }
            }
        }
        self.segments = segments;
        Ok(())
    }

    /// Counts what lives in segments that an earlier build wrote, once.
    fn count_segments(&mut self) -> Result<(), StoreError> {
        if !self.segments.is_uncounted() {
            return Ok(());
        }
        let Some(checkpoint) = self.db.checkpoint()? else { return Ok(()) };
        let mut write = CheckpointWrite::new(checkpoint);
        let counted = self.segments.counted(&mut write, &self.db)?;
        self.db.commit(&write)?;
        self.segments = counted;
        Ok(())
    }

    fn measure(&self, compacted: u64) {
        let metrics = &self.broker.metrics.bodies;
        metrics.compacted_bytes.inc_by(compacted);
        let measured = self.segments.measured();
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        metrics.segments.set(gauge(measured.segments));
        metrics.bytes.set(gauge(measured.bytes));
        metrics.live_bytes.set(gauge(measured.live_bytes));
    }
}

/// Has pages that were frozen before bodies were moved name the new places.
fn rename_frozen(write: &mut CheckpointWrite, renamed: &AHashMap<(PageKey, BodyRef), BodyRef>) {
    for (page, row) in &mut write.queue_pages.puts {
        let stale: Vec<_> = named(row)
            .unwrap_or_default()
            .into_iter()
            .filter_map(|found| Some((found.at, *renamed.get(&(*page, found.body))?)))
            .collect();
        if stale.is_empty() {
            continue;
        }
        let mut bytes = row.to_vec();
        stale.into_iter().for_each(|(at, new)| rename(&mut bytes, at, new));
        *row = bytes.into();
    }
}
