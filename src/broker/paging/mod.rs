//! Queue indexes within a budget of memory: pages go out when checkpoints have written them, and come in when somebody
//! needs them. Part of `broker`.
//!
//! Pages go out on the applier's thread, between a checkpoint and the next, until what is left fits. They come in on
//! the threads of whoever consumes, without the queue's lock. A page that holds something on its way (in flight, out,
//! returned, settled) stays: so records that are applied find their messages in memory (rule 9), but for a replay,
//! which reads what it needs.

use std::sync::Arc;

use ahash::AHashSet;
use parking_lot::{Mutex, MutexGuard};

use crate::model::ids::{QueueId, SHARD};
use crate::store::tables::db::Db;
use crate::store::tables::queue_pages::{PageKey, QueuePages};

use super::Broker;
use super::declared::queue::DeclaredQueue;
use super::queues::meter::Meter;
use super::queues::page::Page;
use super::queues::paged::Absent;
use super::queues::queue::{Next, Queue};
use super::sessions::row::decode_page;
use super::sessions::session::Session;

/// Pages read at a time.
const READ_PAGES: usize = 4;
/// Pages that stay in front of a consumer.
const AHEAD_PAGES: u64 = 4;

/// Where pages are that are not in memory.
pub trait PageRows: Send + Sync {
    /// A page as its row has it; `None` when there is no row.
    ///
    /// # Errors
    /// It cannot be read; says why.
    fn read(&self, queue: QueueId, number: u64) -> Result<Option<Page>, String>;
}

/// Pages in the database.
pub struct StoredPages(pub Arc<Db>);

impl PageRows for StoredPages {
    fn read(&self, queue: QueueId, number: u64) -> Result<Option<Page>, String> {
        let key = PageKey { shard: SHARD, queue, page: number };
        let row = self.0.read::<QueuePages>(&key).map_err(|error| error.to_string())?;
        let Some(row) = row else { return Ok(None) };
        let entries = decode_page(queue, number, &row).map_err(|error| error.to_string())?;
        let mut page = Page::default();
        for entry in entries {
            page.put(entry.position, entry.restored());
        }
        Ok(Some(page))
    }
}

/// Pages that were read, each with what it was read for; `None` where there was no row.
pub type ReadPages = Vec<(Absent, Option<Page>)>;

/// The memory that queue indexes take, and how they give it back.
pub struct Paging {
    rows: Arc<dyn PageRows>,
    /// What pages of durable queues take.
    pub memory: Arc<Meter>,
    bytes_max: usize,
    /// Queues that may have pages to give back.
    crowded: Mutex<AHashSet<QueueId>>,
}

impl Paging {
    /// Pages come from `rows`; those in memory are to take `bytes_max` at most.
    #[must_use]
    pub fn new(rows: Arc<dyn PageRows>, bytes_max: usize) -> Self {
        Self { rows, memory: Meter::new(usize::MAX), bytes_max, crowded: Mutex::default() }
    }

    /// Reads pages; the queue's lock is not to be held but in a replay.
    ///
    /// # Errors
    /// The first cannot be read; says why.
    pub fn read(&self, queue: QueueId, absent: &[Absent]) -> Result<ReadPages, String> {
        let mut read = ReadPages::new();
        for one in absent {
            match self.rows.read(queue, one.number) {
                Ok(page) => read.push((*one, page)),
                Err(error) if read.is_empty() => return Err(error),
                // What was read is of use.
                Err(_) => break,
            }
        }
        Ok(read)
    }

    /// Puts pages that were read into their queue; those that are of no use any more are forgotten.
    ///
    /// # Errors
    /// A row is missing or says something else; says which.
    pub fn put(&self, id: QueueId, queue: &mut Queue, read: ReadPages) -> Result<(), String> {
        self.crowded.lock().insert(id);
        for (absent, page) in read {
            match page {
                Some(page) => {
                    let taken = queue.page_in(absent, page);
                    taken.map_err(|error| format!("queue {id}: {error}"))?;
                }
                None if queue.is_absent(absent) => {
                    return Err(format!("page {} of queue {id} is not on disk", absent.number));
                }
                // It came in meanwhile, and was emptied.
                None => {}
            }
        }
        Ok(())
    }

    /// Brings in whatever holds positions of `from..end`, while the queue is locked: for a replay.
    ///
    /// # Errors
    /// A page cannot be read; says why.
    pub fn bring_in(
        &self,
        id: QueueId,
        queue: &mut Queue,
        from: u64,
        end: u64,
    ) -> Result<(), String> {
        let absent = queue.absent_within(from, end);
        if absent.is_empty() {
            return Ok(());
        }
        for one in absent {
            let read = self.read(id, &[one])?;
            self.put(id, queue, read)?;
        }
        Ok(())
    }

    /// Brings in page `number` of the queue in `inner`, and some behind it, without its lock meanwhile.
    ///
    /// # Errors
    /// It cannot be read; says why.
    pub fn page_in<T>(
        &self,
        id: QueueId,
        inner: &mut MutexGuard<'_, T>,
        queue: impl Fn(&mut T) -> &mut Queue,
        number: u64,
    ) -> Result<(), String> {
        let absent = queue(inner).absent_from(number, READ_PAGES);
        let read = MutexGuard::unlocked(inner, || self.read(id, &absent))?;
        self.put(id, queue(inner), read)
    }

    /// The position behind the first `count` messages of `queue`, 0 when it is empty: for a restart.
    ///
    /// # Errors
    /// A page cannot be read; says why.
    pub fn end_of_first(
        &self,
        id: QueueId,
        queue: &mut Queue,
        count: usize,
    ) -> Result<u64, String> {
        let (mut from, mut left, mut end) = (queue.head(), count, 0);
        while left > 0
            && let Some(next) = queue.next(from)
        {
            match next {
                Next::Here(position) => {
                    (from, left, end) = (position + 1, left - 1, position + 1);
                }
                Next::Out(number) => match queue.skip_out(number, left) {
                    Some((live, position)) => (from, left) = (position, left - live),
                    None => {
                        let first = Page::first_of(number);
                        self.bring_in(id, queue, first, first + 1)?;
                    }
                },
            }
        }
        Ok(end)
    }

    fn is_over(&self, bytes_max: usize) -> bool {
        self.memory.used() > bytes_max
    }
}

impl Broker {
    /// A checkpoint of `changed` queues, and of all others, is current and no other was begun: pages go out until the
    /// rest fits.
    pub(super) fn page_out(&self, changed: impl Iterator<Item = QueueId>) {
        let paging = &self.paging;
        let mut crowded = paging.crowded.lock();
        crowded.extend(changed);
        if !paging.is_over(paging.bytes_max) {
            // Queues end, and their numbers do not come again.
            let known = self.sessions.count() + self.declared.count();
            if crowded.len() / 2 > known {
                crowded.retain(|id| {
                    self.sessions.by_id(*id).is_some() || self.declared.by_id(*id).is_some()
                });
            }
            return;
        }
        let mut all: Vec<QueueId> = std::mem::take(&mut *crowded).into_iter().collect();
        drop(crowded);
        all.sort_unstable();
        // Further than needed, so that not every checkpoint has to.
        let bytes_max = paging.bytes_max / 4 * 3;
        for ahead in [AHEAD_PAGES, 0] {
            all.retain(|id| !paging.is_over(bytes_max) || self.page_out_of(*id, ahead, bytes_max));
        }
        paging.crowded.lock().extend(all);
    }

    /// Pages of one queue go out, but for `ahead` ones in front of its consumer; whether any may be left to go.
    fn page_out_of(&self, id: QueueId, ahead: u64, bytes_max: usize) -> bool {
        let is_enough = || !self.paging.is_over(bytes_max);
        if let Some(session) = self.sessions.by_id(id) {
            return session.page_out(ahead, is_enough);
        }
        self.declared.by_id(id).is_some_and(|queue| queue.page_out(ahead, is_enough))
    }
}

/// Has pages of `queue` go out, from the tail on, those that `stays` names excepted; whether any is left beside the
/// tail's.
fn page_out(queue: &mut Queue, stays: impl Fn(u64) -> bool, is_enough: impl Fn() -> bool) -> bool {
    let numbers: Vec<u64> = queue.pages_here().collect();
    for number in numbers {
        if is_enough() {
            break;
        }
        if !stays(number) {
            queue.page_out(number);
        }
    }
    queue.count_here() > 1
}

impl Session {
    fn page_out(&self, ahead: u64, is_enough: impl Fn() -> bool) -> bool {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let taken = &inner.state.taken;
        let next = Page::number_of(inner.cursor);
        let ahead = if inner.link.is_some() { next..next + ahead } else { 0..0 };
        // What was sent may be acknowledged at any time.
        let sent_below = inner.sent.max(inner.state.sent);
        page_out(
            &mut inner.queue,
            |number| {
                let first = Page::first_of(number);
                ahead.contains(&number)
                    || first < sent_below
                    || taken.range(first..Page::first_of(number + 1)).next().is_some()
            },
            is_enough,
        )
    }
}

impl DeclaredQueue {
    fn page_out(&self, ahead: u64, is_enough: impl Fn() -> bool) -> bool {
        let mut inner = self.inner.lock();
        let next = Page::number_of(inner.ledger.next_position());
        let ahead = if inner.has_consumers() { next..next + ahead } else { 0..0 };
        let returned = inner.ledger.pages_of_returned();
        page_out(
            &mut inner.ledger.queue,
            |number| ahead.contains(&number) || returned.contains(&number),
            is_enough,
        )
    }
}

#[cfg(test)]
mod tests;
