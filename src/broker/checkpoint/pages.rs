//! Pages of queues, on their way into a checkpoint. Part of `broker::checkpoint`.

use std::sync::Arc;

use crate::broker::checkpoint::bodies::Bodies;
use crate::broker::queues::entry::{Body, Entry};
use crate::broker::queues::page::Page;
use crate::broker::sessions::row::{encode_page, sum_page};
use crate::model::ids::{QueueId, SHARD};
use crate::store::bodies::BodyRef;
use crate::store::error::StoreError;
use crate::store::tables::CheckpointWrite;
use crate::store::tables::queue_pages::PageKey;

/// Position, order and place of bodies that were written.
pub(in crate::broker) type Placed = Vec<(u64, u64, BodyRef)>;

/// Writes changed pages; returns where bodies that were in memory are now.
pub(in crate::broker) fn put_pages(
    write: &mut CheckpointWrite,
    queue: QueueId,
    pages: &[(u64, Option<Arc<Page>>)],
    bodies: &mut Bodies<'_>,
) -> Result<Placed, StoreError> {
    let mut placed = Vec::new();
    for (number, page) in pages {
        let key = PageKey { shard: SHARD, queue, page: *number };
        let Some(page) = page else {
            write.queue_pages.delete(key);
            write.page_sums.delete(key);
            continue;
        };
        let mut entries: Vec<(u64, &Entry, BodyRef)> = Vec::with_capacity(page.live() as usize);
        for (position, entry) in page.iter(*number) {
            let body = match &entry.body {
                Body::Disk(body) => *body,
                Body::Memory(stored) => {
                    let body = bodies.place(stored)?;
                    placed.push((position, entry.order, body));
                    body
                }
                // Only queues that are not durable have such entries.
                Body::Sent | Body::Scratch(_) => continue,
            };
            entries.push((position, entry, body));
        }
        write.page_sums.put(key, sum_page(*number, entries.iter().copied()));
        write.queue_pages.put(key, encode_page(*number, entries.into_iter()).into());
    }
    Ok(placed)
}
