//! What is live in segments whose bodies several queues share. Part of `broker::checkpoint`.
//!
//! References times length says too much there: one body that a hundred thousand sessions wait for looks like a full
//! segment. A survey looks which bodies pages name at all, a bounded piece with each checkpoint. Nothing comes to a
//! segment that is not written to any more, so what was found live while the survey went on is at least what is left
//! at its end.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use ahash::AHashSet;

use crate::model::ids::SHARD;
use crate::store::bodies::{body_bytes, stored_bytes};
use crate::store::error::StoreError;
use crate::store::tables::body_pages::{BodyPageKey, BodyPages};
use crate::store::tables::db::Db;
use crate::store::tables::queue_pages::QueuePages;

use super::named::named;
use super::segments::{Draft, Segments};

/// Pages whose keys are read at a time.
const PAGES: usize = 256;

/// What surveys found; forgotten at a restart.
#[derive(Default)]
pub(super) struct Surveys {
    done: BTreeMap<u32, Found>,
    under_way: Option<Survey>,
}

/// What a survey found.
struct Found {
    /// References when it began.
    refs: u64,
    /// Bytes of live bodies, each once; `None` when it is at least half of the segment.
    live: Option<u64>,
}

/// A survey that goes on with the next checkpoint.
struct Survey {
    segment: u32,
    refs: u64,
    offsets: AHashSet<u32>,
    live: u64,
    after: Option<BodyPageKey>,
}

impl Surveys {
    /// Bytes of live bodies in `segment`, if it was found to be sparse.
    pub(super) fn live(&self, segment: u32) -> Option<u64> {
        self.done.get(&segment)?.live
    }

    /// Whether a segment with `refs` references may have become sparse since it was last looked at.
    pub(super) fn is_worth(&self, segment: u32, refs: u64) -> bool {
        let found = self.done.get(&segment);
        found.is_none_or(|found| found.live.is_none() && refs <= found.refs / 4 * 3)
    }

    /// Forgets what `segments` has no longer.
    pub(super) fn forget(&mut self, segments: &Segments) {
        self.done.retain(|segment, _| segments.get(*segment).is_some());
    }

    /// Looks at pages of `suspect`, or of the segment that was begun with, up to about `bytes_max` bytes of them.
    ///
    /// # Errors
    /// The database cannot be read.
    pub(super) fn go_on(
        &mut self,
        suspect: u32,
        draft: &Draft,
        db: &Db,
        bytes_max: u64,
    ) -> Result<(), StoreError> {
        let segments = draft.segments();
        let before = self.under_way.take().filter(|before| segments.get(before.segment).is_some());
        let segment = before.as_ref().map_or(suspect, |before| before.segment);
        let Some(row) = segments.get(segment) else { return Ok(()) };
        let mut survey = before.unwrap_or_else(|| Survey {
            segment,
            refs: row.live_refs,
            offsets: AHashSet::new(),
            live: 0,
            after: None,
        });
        let half = body_bytes(row.valid_len) / 2;
        let refs = survey.refs;
        let found = match survey.look(half, db, bytes_max)? {
            Looked::All => Found { refs, live: Some(survey.live) },
            Looked::Enough => Found { refs, live: None },
            Looked::Partly => {
                self.under_way = Some(survey);
                return Ok(());
            }
        };
        self.done.insert(segment, found);
        Ok(())
    }
}

enum Looked {
    /// At every page.
    All,
    /// Half of the segment lives.
    Enough,
    /// As far as the budget goes.
    Partly,
}

impl Survey {
    fn look(&mut self, half: u64, db: &Db, bytes_max: u64) -> Result<Looked, StoreError> {
        let reverse = db.view::<BodyPages>()?;
        let mut rows = db.view::<QueuePages>()?;
        let prefix = BodyPageKey::prefix(SHARD, self.segment);
        let mut spent = 0;
        loop {
            let mut pages = Vec::with_capacity(PAGES);
            reverse.keys(&prefix, self.after.as_ref(), |key| {
                pages.push(key);
                if pages.len() < PAGES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            if pages.is_empty() {
                return Ok(Looked::All);
            }
            for key in pages {
                self.after = Some(key);
                let Some(row) = rows.get(&key.page)? else { continue };
                spent += row.value().len() as u64;
                // One that cannot be read was told of when it was counted.
                for found in named(row.value()).unwrap_or_default() {
                    if found.body.segment == self.segment && self.offsets.insert(found.body.offset)
                    {
                        self.live += stored_bytes(found.body.len);
                    }
                }
                if self.live >= half {
                    return Ok(Looked::Enough);
                }
                if spent >= bytes_max {
                    return Ok(Looked::Partly);
                }
            }
        }
    }
}
