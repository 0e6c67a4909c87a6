//! What the next checkpoint still has to do for a queue that is over. Part of `broker::queues`.

use crate::model::ids::{QueueId, SHARD};
use crate::store::tables::CheckpointWrite;
use crate::store::tables::queue_pages::PageKey;

/// A queue that ended.
#[derive(Clone, Debug)]
pub struct EndedQueue {
    /// The queue.
    pub queue: QueueId,
    /// Pages that a checkpoint wrote: their rows go.
    pub written: Vec<u64>,
}

impl EndedQueue {
    /// Deletes the rows.
    pub fn put(&self, write: &mut CheckpointWrite) {
        for page in &self.written {
            let key = PageKey { shard: SHARD, queue: self.queue, page: *page };
            write.queue_pages.delete(key);
            write.page_sums.delete(key);
        }
    }
}
