//! What the next checkpoint still has to do for a queue that is over. Part of `broker::queues`.

use std::sync::OnceLock;

use ahash::AHashMap;

use crate::model::ids::{QueueId, SHARD};
use crate::store::error::StoreError;
use crate::store::tables::CheckpointWrite;
use crate::store::tables::db::Db;
use crate::store::tables::queue_pages::{PageKey, QueuePages};

use super::super::sessions::row::page_bodies;

/// The pages of a queue that ended.
#[derive(Debug)]
pub struct EndedQueue {
    /// The queue.
    pub queue: QueueId,
    /// Pages that a checkpoint wrote: their rows go.
    pub written: Vec<u64>,
    /// Those of them that were on disk only: nobody has given back their references to bodies.
    pub unread: Vec<u64>,
    /// What was referred to in them. Read once: an attempt at a checkpoint may have removed the rows and not know it.
    counted: OnceLock<AHashMap<u32, i64>>,
}

impl EndedQueue {
    /// The queue of this id, with the numbers of the pages that were written, and of those not in memory.
    #[must_use]
    pub fn new(queue: QueueId, written: Vec<u64>, unread: Vec<u64>) -> Self {
        Self { queue, written, unread, counted: OnceLock::new() }
    }

    /// Deletes the rows, and takes off `references` what nobody else did.
    ///
    /// # Errors
    /// A row cannot be read.
    pub fn put(
        &self,
        write: &mut CheckpointWrite,
        references: &mut AHashMap<u32, i64>,
        db: &Db,
    ) -> Result<(), StoreError> {
        for page in &self.written {
            write.queue_pages.delete(self.key(*page));
            write.page_sums.delete(self.key(*page));
        }
        let counted = match self.counted.get() {
            Some(counted) => counted,
            None => {
                let counted = self.count(db)?;
                self.counted.get_or_init(|| counted)
            }
        };
        for (segment, count) in counted {
            *references.entry(*segment).or_default() -= count;
        }
        Ok(())
    }

    fn key(&self, page: u64) -> PageKey {
        PageKey { shard: SHARD, queue: self.queue, page }
    }

    fn count(&self, db: &Db) -> Result<AHashMap<u32, i64>, StoreError> {
        let mut counted = AHashMap::new();
        for page in &self.unread {
            let failed = |reason: String| StoreError::Failed {
                file: format!("page {page} of ended queue {}", self.queue).into(),
                reason,
            };
            let row = db.read::<QueuePages>(&self.key(*page))?;
            let row = row.ok_or_else(|| failed("it has no row".to_owned()))?;
            let bodies = page_bodies(self.queue, *page, &row);
            for body in bodies.map_err(|error| failed(error.to_string()))? {
                *counted.entry(body.segment).or_default() += 1;
            }
        }
        Ok(counted)
    }
}
