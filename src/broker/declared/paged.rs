//! Messages whose pages are on disk only, and who must see them. Part of `broker::declared`.
//!
//! Pages are read without the queue's lock: whoever calls looks at everything again afterwards.

use std::sync::Arc;

use parking_lot::MutexGuard;

use super::super::Broker;
use super::super::queues::page::Page;
use super::super::record::Record;
use super::queue::{DeclaredQueue, Dropped, Inner};
use super::settle::ranges;
use super::verbs::ConsumeError;

/// Settled positions beyond which a record is submitted before more pages come in.
const SETTLED_MAX: usize = 4_096;

/// Between two attempts to read a page that nobody waits for, ms.
const RETRY_MS: u64 = 1_000;

/// Pages that one pass of tidying up reads.
const PASS_PAGES: usize = 64;

/// What was in a queue that was emptied.
#[derive(Debug, Default)]
pub(super) struct Emptied {
    /// Messages.
    pub(super) count: u64,
    /// Positions that no record settles yet.
    pub(super) positions: Vec<u64>,
    /// Others are in records that were submitted.
    pub(super) submitted: bool,
}

impl Broker {
    /// Brings in page `number` and some behind it.
    pub(super) fn page_in(
        &self,
        queue: &DeclaredQueue,
        inner: &mut MutexGuard<'_, Inner>,
        number: u64,
    ) -> Result<(), String> {
        self.paging.page_in(queue.id, inner, |inner| &mut inner.ledger.queue, number)
    }

    /// Submits what is settled, if that is much: so that it leaves the memory while more comes.
    pub(super) fn settle_many(
        &self,
        queue: &Arc<DeclaredQueue>,
        inner: &mut MutexGuard<'_, Inner>,
    ) {
        if inner.to_settle.len() >= SETTLED_MAX {
            MutexGuard::unlocked(inner, || self.submit_settled_places(queue));
        }
    }

    /// Tidies up until the first message that is ready is in memory, if there is one.
    pub(super) fn tidy_to_head(
        &self,
        queue: &Arc<DeclaredQueue>,
        inner: &mut MutexGuard<'_, Inner>,
        now_ms: u64,
    ) -> (Dropped, Result<(), String>) {
        let mut dropped = Dropped::default();
        loop {
            match self.tidy_pass(queue, inner, now_ms, &mut dropped) {
                Ok(true) => {}
                Ok(false) => return (dropped, Ok(())),
                Err(error) => return (dropped, Err(error)),
            }
        }
    }

    /// Tidies up as far as some pages reach; the deadline is when to go on.
    pub(super) fn tidy_some(
        &self,
        queue: &Arc<DeclaredQueue>,
        inner: &mut MutexGuard<'_, Inner>,
        now_ms: u64,
    ) -> (Dropped, Option<u64>) {
        let mut dropped = Dropped::default();
        for _ in 0..PASS_PAGES {
            match self.tidy_pass(queue, inner, now_ms, &mut dropped) {
                // The journal takes nothing now: what is dropped would stay in memory while more comes.
                Ok(true) if inner.to_settle.len() >= SETTLED_MAX => {
                    return (dropped, inner.plan(now_ms.saturating_add(RETRY_MS)));
                }
                Ok(true) => {}
                Ok(false) => return (dropped, inner.plan_head()),
                Err(error) => {
                    tracing::error!(error, queue = &*queue.name, "a queue cannot be tidied up");
                    return (dropped, inner.plan(now_ms.saturating_add(RETRY_MS)));
                }
            }
        }
        (dropped, inner.plan(now_ms))
    }

    /// Takes all ready messages off that are there by now: how many, and which positions a record must still settle.
    /// Of a long queue most is in records that were submitted.
    ///
    /// # Errors
    /// A page cannot be read, or the journal takes nothing; what was taken off by then is.
    pub(super) fn empty(
        &self,
        queue: &Arc<DeclaredQueue>,
        inner: &mut MutexGuard<'_, Inner>,
    ) -> Result<Emptied, ConsumeError> {
        let mut emptied = Emptied { count: inner.held.len() as u64, ..Emptied::default() };
        inner.held.clear();
        let end = inner.ledger.next_place();
        loop {
            let before = inner.to_settle.len();
            while let Some(ready) = inner.ledger.first_ready().filter(|ready| ready.place < end)
                && inner.finish(ready.place)
            {
                emptied.count += 1;
            }
            emptied.positions.extend(inner.to_settle.split_off(before));
            let wanted = inner.ledger.wanted_page();
            let Some(page) = wanted.filter(|page| Page::first_of(*page) < end.position) else {
                return Ok(emptied);
            };
            if emptied.positions.len() >= SETTLED_MAX {
                let mut positions = std::mem::take(&mut emptied.positions);
                let record =
                    Record::SettleRanges { queue: queue.id, ranges: ranges(&mut positions) };
                if let Err(error) = MutexGuard::unlocked(inner, || self.submit(None, &record)) {
                    inner.unsettle(&positions);
                    return Err(error.into());
                }
                emptied.submitted = true;
            }
            if let Err(error) = self.page_in(queue, inner, page) {
                inner.unsettle(&emptied.positions);
                return Err(ConsumeError::Storage(error));
            }
            if queue.is_gone() {
                return Err(ConsumeError::Gone);
            }
        }
    }

    /// Tidies up what is in memory and brings in the page behind it; false when there is none.
    fn tidy_pass(
        &self,
        queue: &Arc<DeclaredQueue>,
        inner: &mut MutexGuard<'_, Inner>,
        now_ms: u64,
        dropped: &mut Dropped,
    ) -> Result<bool, String> {
        let more = inner.tidy(queue, now_ms);
        dropped.expired += more.expired;
        dropped.overflow += more.overflow;
        let Some(page) = inner.ledger.wanted_page().filter(|_| !queue.is_gone()) else {
            return Ok(false);
        };
        self.settle_many(queue, inner);
        self.page_in(queue, inner, page)?;
        Ok(true)
    }
}
