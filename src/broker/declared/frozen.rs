//! Declared queues in a checkpoint: frozen, written, restored. Part of `broker::declared`.

use std::sync::Arc;

use crate::model::ids::SHARD;
use crate::store::error::StoreError;
use crate::store::tables::CheckpointWrite;
use crate::store::tables::db::Db;
use crate::store::tables::declared::{Declared, DeclaredKey};

use super::super::Broker;
use super::super::checkpoint::bodies::Bodies;
use super::super::checkpoint::pages::{Placed, put_pages};
use super::super::queues::ended::EndedQueue;
use super::super::queues::page::Page;
use super::queue::DeclaredQueue;
use super::row::DeclaredRow;
use super::settings::QueueSettings;

/// What changed of declared queues since the checkpoint before.
pub struct FrozenQueues {
    changed: Vec<FrozenQueue>,
    ended: Vec<EndedQueue>,
}

struct FrozenQueue {
    queue: Arc<DeclaredQueue>,
    row: Vec<u8>,
    pages: Vec<(u64, Option<Arc<Page>>)>,
}

impl FrozenQueues {
    /// Freezes `changed`; of `ended`, pages go.
    #[must_use]
    pub fn take(changed: Vec<Arc<DeclaredQueue>>, ended: Vec<EndedQueue>) -> Self {
        Self { changed: changed.into_iter().filter_map(freeze).collect(), ended }
    }

    /// Writes rows, pages and bodies.
    ///
    /// # Errors
    /// The disk refuses.
    pub(in crate::broker) fn put(
        &self,
        write: &mut CheckpointWrite,
        bodies: &mut Bodies<'_>,
    ) -> Result<Vec<(Arc<DeclaredQueue>, Placed)>, StoreError> {
        let mut written = Vec::with_capacity(self.changed.len());
        for FrozenQueue { queue, row, pages } in &self.changed {
            write.declared.put(DeclaredKey { shard: SHARD, queue: queue.id }, row.clone().into());
            let placed = put_pages(write, queue.id, pages, bodies)?;
            written.push((Arc::clone(queue), placed));
        }
        for ended in &self.ended {
            write.declared.delete(DeclaredKey { shard: SHARD, queue: ended.queue });
            ended.put(write);
        }
        Ok(written)
    }
}

fn freeze(queue: Arc<DeclaredQueue>) -> Option<FrozenQueue> {
    let mut inner = queue.inner.lock();
    inner.dirty = false;
    if !inner.exists {
        return None;
    }
    let row = DeclaredRow {
        vhost: Arc::clone(&queue.vhost),
        name: Arc::clone(&queue.name),
        auto_delete: queue.settings.auto_delete,
        table: queue.settings.table.clone(),
        tail: inner.ledger.queue.tail(),
        share: queue.settings.share,
    };
    let pages = inner.ledger.queue.freeze();
    for (number, page) in &pages {
        match page {
            Some(_) => inner.persisted.insert(*number),
            None => inner.persisted.remove(number),
        };
    }
    drop(inner);
    Some(FrozenQueue { queue, row: row.encode(), pages })
}

/// Queues as the last checkpoint left them, without their messages.
///
/// # Errors
/// The database cannot be read, or a row does not fit.
pub fn restore(broker: &Broker, db: &Db) -> Result<(), StoreError> {
    db.for_each::<Declared>(|key, bytes| {
        let row = DeclaredRow::decode(&bytes).map_err(|error| StoreError::Failed {
            file: format!("declared queue {}", key.queue).into(),
            reason: error.to_string(),
        })?;
        let settings = match row.share {
            true => QueueSettings::share(true),
            false => QueueSettings::restored(row.auto_delete, &row.table),
        };
        let make = || (row.vhost, row.name, settings);
        let queue = broker.declared.by_id_or_new(key.queue, make);
        let mut inner = queue.inner.lock();
        inner.exists = true;
        inner.ledger.queue.set_tail(row.tail);
        Ok(())
    })
}

/// The journal is replayed: all messages there are now count as handed out before.
pub fn revive(broker: &Broker) {
    for queue in broker.declared.all() {
        queue.inner.lock().ledger.revive();
    }
}

/// The journal takes records: what is expired or too much is dropped, idle queues are watched.
pub fn resume(broker: &Broker, now_ms: u64) {
    for queue in broker.declared.all() {
        queue.touch(now_ms);
        broker.tidy_queue(queue.id, now_ms);
    }
}
