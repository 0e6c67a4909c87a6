//! Sparse body segments emptied, so that a stuck message never pins a disk. Part of `broker::checkpoint`.
//!
//! A checkpoint copies bodies that still live in mostly dead segments to others and has the rows of the pages that
//! name them name the copies, in its own commit; pages that it writes itself are changed before. When it is current,
//! entries in memory are told. A segment that nothing refers to any more goes with the checkpoint after that, as
//! every dead one does: until then whoever looked up the old place can read there.
//!
//! How much is copied at a time is bounded, and whatever fails leaves the segment as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use ahash::AHashMap;

use crate::broker::Broker;
use crate::broker::queues::entry::Move;
use crate::broker::queues::page::PAGE_POSITIONS;
use crate::model::ids::SHARD;
use crate::store::bodies::{BodyRef, BodyStore, BodyWriter, Lane, body_bytes, stored_bytes};
use crate::store::error::StoreError;
use crate::store::tables::CheckpointWrite;
use crate::store::tables::bodies::Live;
use crate::store::tables::body_pages::{BodyPageKey, BodyPages};
use crate::store::tables::db::Db;
use crate::store::tables::queue_pages::{PageKey, QueuePages};
use crate::store::tables::view::View;

use super::named::{Named, named, rename};
use super::segments::{Draft, References};
use super::survey::Surveys;

/// Bytes that a checkpoint copies and rewrites at most, unless told otherwise.
pub(super) const BYTES_MAX: u64 = 16 << 20;

/// What touching one page costs beside its bytes, in bytes of the budget.
const PAGE_COST: u64 = 64;

/// Checkpoints that a segment is left alone for after it could not be read.
const REST: u64 = 64;

/// Empties sparse segments, a bounded piece with each checkpoint.
pub(super) struct Compactor {
    pub(super) bytes_max: u64,
    /// The segment that the last piece did not finish, with the bodies of it that were copied.
    unfinished: Option<(u32, AHashMap<u32, BodyRef>)>,
    /// Segments that could not be read, with the number of the checkpoint that tries again; none does while a
    /// body is corrupt.
    resting: BTreeMap<u32, u64>,
    surveys: Surveys,
    /// Checkpoints since the start.
    count: u64,
    is_failing: bool,
}

/// What a checkpoint writes, and where.
pub(super) struct Site<'a> {
    pub(super) db: &'a Db,
    pub(super) bodies: &'a Arc<BodyStore>,
    pub(super) write: &'a mut CheckpointWrite,
    pub(super) draft: &'a mut Draft,
}

/// What was copied, for when it is committed.
#[derive(Debug, Default)]
pub(super) struct Moves {
    pages: Vec<(PageKey, Vec<Move>)>,
    /// Bytes of bodies that were copied.
    pub(super) bytes: u64,
    /// Segments that they were copied to.
    pub(super) segments: Vec<u32>,
}

impl Moves {
    /// Old and new places, by the pages that name them. Other pages may name the old ones still.
    pub(super) fn names(&self) -> impl Iterator<Item = ((PageKey, BodyRef), BodyRef)> {
        self.pages.iter().flat_map(|(page, moves)| {
            moves.iter().map(move |moved| ((*page, moved.old), moved.new))
        })
    }

    /// Tells entries in memory their bodies' new places, when the checkpoint is current. An entry that is gone has
    /// nothing to do: the next checkpoint writes its page without it.
    pub(super) fn tell(&self, broker: &Broker) {
        for (page, moves) in &self.pages {
            if let Some(session) = broker.sessions.by_id(page.queue) {
                session.inner.lock().queue.moved(page.page, moves);
            } else if let Some(queue) = broker.declared.by_id(page.queue) {
                queue.inner.lock().ledger.queue.moved(page.page, moves);
            }
        }
    }
}

impl Compactor {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self {
            bytes_max,
            unfinished: None,
            resting: BTreeMap::new(),
            surveys: Surveys::default(),
            count: 0,
            is_failing: false,
        }
    }

    /// What was copied last came to nothing: its copies lie behind the length that counts, or nowhere.
    pub(super) fn forget_copies(&mut self) {
        self.unfinished = None;
    }

    /// Empties what there is to empty, as far as a checkpoint may. `site` is as before when that fails.
    pub(super) fn run(&mut self, site: &mut Site<'_>) -> Moves {
        self.count += 1;
        if self.bytes_max == 0 {
            return Moves::default();
        }
        match self.try_run(site) {
            Ok(moves) => {
                self.is_failing = false;
                moves
            }
            Err(error) => {
                self.unfinished = None;
                if !std::mem::replace(&mut self.is_failing, true) {
                    tracing::warn!(%error, "sparse body segments cannot be emptied for now");
                }
                Moves::default()
            }
        }
    }

    fn try_run(&mut self, site: &mut Site<'_>) -> Result<Moves, StoreError> {
        let chosen = self.choose(site);
        if let Some(suspect) = self.suspect(site) {
            self.surveys.go_on(suspect, site.draft, site.db, self.bytes_max)?;
        }
        if chosen.is_empty() {
            self.unfinished = None;
            return Ok(Moves::default());
        }
        let mut piece = Piece::new(site, self.bytes_max)?;
        let mut unfinished = self.unfinished.take();
        for segment in chosen {
            let copied = match unfinished.take() {
                Some((before, copied)) if before == segment => copied,
                _ => AHashMap::new(),
            };
            match piece.empty(site, segment, copied)? {
                Emptied::Whole => {}
                Emptied::Partly(copied) => {
                    self.unfinished = Some((segment, copied));
                    break;
                }
                Emptied::Not(until) => {
                    let until = if until == Until::Ever { u64::MAX } else { self.count + REST };
                    self.resting.insert(segment, until);
                }
            }
        }
        piece.finish(site)
    }

    /// Segments to empty: the unfinished one, then those that give most room for what is copied.
    fn choose(&mut self, site: &Site<'_>) -> Vec<u32> {
        let segments = site.draft.segments();
        self.resting
            .retain(|segment, until| *until > self.count && segments.get(*segment).is_some());
        self.surveys.forget(segments);
        let mut sparse: Vec<(u64, u32)> = segments
            .iter()
            .filter(|(segment, row)| row.live_refs > 0 && self.may_touch(site, *segment))
            .filter_map(|(segment, row)| {
                let Live::Bytes { bytes, .. } = row.live else { return None };
                let live = self.surveys.live(segment).map_or(bytes, |live| live.min(bytes));
                (live < body_bytes(row.valid_len) / 2).then_some((live, segment))
            })
            .collect();
        sparse.sort_unstable();
        let first = self.unfinished.as_ref().map(|(segment, _)| *segment);
        sparse.sort_by_key(|(_, segment)| Some(*segment) != first);
        sparse.into_iter().map(|(_, segment)| segment).collect()
    }

    /// The oldest segment that may be sparse though references say otherwise.
    fn suspect(&self, site: &Site<'_>) -> Option<u32> {
        let segments = site.draft.segments();
        let mut suspects = segments.iter().filter(|(segment, row)| {
            let Live::Bytes { bytes, is_shared: true } = row.live else { return false };
            bytes >= body_bytes(row.valid_len) / 2
                && self.may_touch(site, *segment)
                && self.surveys.is_worth(*segment, row.live_refs)
        });
        suspects.next().map(|(segment, _)| segment)
    }

    fn may_touch(&self, site: &Site<'_>, segment: u32) -> bool {
        let is_current = [Lane::Fresh, Lane::Moved]
            .iter()
            .any(|lane| site.bodies.current(*lane) == Some(segment));
        !is_current && !site.draft.is_written(segment) && !self.resting.contains_key(&segment)
    }
}

/// What became of a segment.
enum Emptied {
    /// Nothing refers to it any more.
    Whole,
    /// The budget is spent; these bodies were copied.
    Partly(AHashMap<u32, BodyRef>),
    /// Some body in it cannot be read.
    Not(Until),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    Later,
    Ever,
}

/// What one checkpoint copies.
struct Piece {
    writer: BodyWriter,
    rows: View<QueuePages>,
    reverse: View<BodyPages>,
    /// Pages that the checkpoint writes anyway, by their index in its puts.
    frozen: AHashMap<PageKey, usize>,
    deleted: BTreeSet<PageKey>,
    edited: BTreeMap<PageKey, Edited>,
    spent: u64,
    bytes_max: u64,
    copied_bytes: u64,
}

/// A page's row before and after.
struct Edited {
    old: Vec<u8>,
    new: Vec<u8>,
    moves: Vec<Move>,
}

impl Piece {
    fn new(site: &Site<'_>, bytes_max: u64) -> Result<Self, StoreError> {
        let pages = &site.write.queue_pages;
        let frozen = pages.puts.iter().enumerate().map(|(index, (key, _))| (*key, index)).collect();
        Ok(Self {
            writer: site.bodies.writer_of(Lane::Moved),
            rows: site.db.view()?,
            reverse: site.db.view()?,
            frozen,
            deleted: pages.deletes.iter().copied().collect(),
            edited: BTreeMap::new(),
            spent: 0,
            bytes_max,
            copied_bytes: 0,
        })
    }

    fn empty(
        &mut self,
        site: &Site<'_>,
        segment: u32,
        mut copied: AHashMap<u32, BodyRef>,
    ) -> Result<Emptied, StoreError> {
        // A copy that nothing refers to any more may be gone.
        copied.retain(|_, new| site.draft.segments().get(new.segment).is_some());
        let mut fate = Emptied::Whole;
        for page in self.pages_of(segment)? {
            if self.spent >= self.bytes_max {
                return Ok(Emptied::Partly(copied));
            }
            let Some(Edited { old, mut new, mut moves }) = self.row(site, page)? else { continue };
            self.spent += new.len() as u64 + PAGE_COST;
            // One that cannot be read was told of when it was counted.
            for Named { slot, at, body } in named(&new).unwrap_or_default() {
                if body.segment != segment || self.spent >= self.bytes_max {
                    continue;
                }
                let place = match copied.get(&body.offset) {
                    Some(place) => *place,
                    None => match self.copy(site, body)? {
                        Ok(place) => place,
                        Err(until) => {
                            fate = Emptied::Not(until);
                            continue;
                        }
                    },
                };
                copied.insert(body.offset, place);
                rename(&mut new, at, place);
                let position = page.page.saturating_mul(PAGE_POSITIONS).saturating_add(slot);
                moves.push(Move { position, old: body, new: place });
            }
            self.edited.insert(page, Edited { old, new, moves });
        }
        match fate {
            Emptied::Whole if self.spent >= self.bytes_max => Ok(Emptied::Partly(copied)),
            fate => Ok(fate),
        }
    }

    /// Pages that may refer to `segment`, as many as the budget can be good for.
    fn pages_of(&self, segment: u32) -> Result<Vec<PageKey>, StoreError> {
        let left = self.bytes_max.saturating_sub(self.spent);
        let count_max = usize::try_from(left / PAGE_COST).unwrap_or(usize::MAX).saturating_add(1);
        let mut pages = Vec::new();
        let prefix = BodyPageKey::prefix(SHARD, segment);
        self.reverse.keys(&prefix, None, |key| {
            pages.push(key.page);
            if pages.len() < count_max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(pages)
    }

    /// A page as the checkpoint will have it.
    fn row(&mut self, site: &Site<'_>, page: PageKey) -> Result<Option<Edited>, StoreError> {
        if let Some(edited) = self.edited.remove(&page) {
            return Ok(Some(edited));
        }
        let row = match self.frozen.get(&page) {
            Some(index) => site.write.queue_pages.puts.get(*index).map(|(_, row)| row.to_vec()),
            None if self.deleted.contains(&page) => None,
            None => self.rows.get(&page)?.map(|row| row.value().to_vec()),
        };
        Ok(row.map(|row| Edited { old: row.clone(), new: row, moves: Vec::new() }))
    }

    /// Copies a body, or tells until when not to try again.
    fn copy(
        &mut self,
        site: &Site<'_>,
        body: BodyRef,
    ) -> Result<Result<BodyRef, Until>, StoreError> {
        match site.bodies.read(body) {
            Ok(bytes) => {
                self.spent += stored_bytes(body.len);
                self.copied_bytes += stored_bytes(body.len);
                Ok(Ok(self.writer.append(&bytes)?))
            }
            Err(error) => {
                tracing::error!(%error, "a body stays in its segment, which cannot be given up for it");
                let is_corrupt = matches!(error, StoreError::Corrupt { .. });
                Ok(Err(if is_corrupt { Until::Ever } else { Until::Later }))
            }
        }
    }

    /// Syncs the copies and puts what changed into the checkpoint.
    fn finish(self, site: &mut Site<'_>) -> Result<Moves, StoreError> {
        let lengths = self.writer.finish()?;
        let mut references = References::default();
        let segments = lengths.iter().map(|(segment, _)| *segment).collect();
        let mut moves = Moves { pages: Vec::new(), bytes: self.copied_bytes, segments };
        for (page, Edited { old, new, moves: moved }) in self.edited {
            if moved.is_empty() {
                continue;
            }
            let CheckpointWrite { queue_pages, body_pages, .. } = &mut *site.write;
            references.replace(page, &old, &new, body_pages);
            let put = self.frozen.get(&page).and_then(|index| queue_pages.puts.get_mut(*index));
            match put {
                Some((_, row)) => *row = new.into(),
                None => queue_pages.put(page, new.into()),
            }
            moves.pages.push((page, moved));
        }
        site.draft.change(lengths, &references);
        Ok(moves)
    }
}
