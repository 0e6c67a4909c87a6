//! Logs in a checkpoint: what changed, frozen, written, and room given back after it. Part of `broker/logs`.

use std::sync::Arc;

use ahash::{AHashMap, AHashSet};

use crate::broker::logs::log::{LogState, LogTable};
use crate::broker::logs::partition::Partition;
use crate::broker::logs::registry::PartitionStore;
use crate::model::ids::{LogId, SHARD};
use crate::store::error::StoreError;
use crate::store::tables::CheckpointWrite;
use crate::store::tables::logs::{LogKey, LogRow};
use crate::store::tables::partitions::{PartitionKey, PartitionRow};

/// What changed of logs since the checkpoint before.
pub struct FrozenLogs {
    changed: Vec<Arc<LogState>>,
    /// With how many partitions they had.
    deleted: AHashMap<LogId, u32>,
    partitions: Vec<(Arc<Partition>, PartitionRow)>,
    /// Files that the partitions' rows do not name any more.
    removed: Vec<(Arc<Partition>, Vec<String>)>,
}

impl FrozenLogs {
    /// Freezes the `partitions` and `changed` logs of `table`; those `deleted` since go. `None` when a partition's
    /// files failed (design §2, rule 4).
    #[must_use]
    pub fn take(
        table: &LogTable,
        partitions: &AHashSet<(LogId, u32)>,
        changed: &[LogId],
        deleted: &AHashMap<LogId, u32>,
    ) -> Option<Self> {
        let mut frozen = Vec::with_capacity(partitions.len());
        for (log, index) in partitions {
            let log = table.by_id(*log);
            let Some(partition) = log.as_ref().and_then(|log| log.partition(*index)) else {
                continue;
            };
            frozen.push((Arc::clone(partition), partition.freeze()?));
        }
        let removed = frozen.iter().map(|(partition, _)| {
            let names = partition.take_removed();
            (Arc::clone(partition), names)
        });
        Some(Self {
            changed: changed.iter().filter_map(|id| table.by_id(*id)).collect(),
            deleted: deleted.clone(),
            removed: removed.filter(|(_, names)| !names.is_empty()).collect(),
            partitions: frozen,
        })
    }

    /// Notes the rows, after [`Self::sync`]. Of a deleted log that no checkpoint ever had there is nothing to delete, which is no error.
    pub fn put(&self, write: &mut CheckpointWrite) {
        for log in &self.changed {
            let row = LogRow {
                vhost: log.vhost.clone(),
                name: log.name.clone(),
                uuid: log.uuid,
                created_ms: log.created_ms,
                partitions: log.partition_count(),
                config: log.config.clone(),
            };
            write.logs.put(LogKey { shard: SHARD, log: log.id }, row);
        }
        for (found, row) in &self.partitions {
            let (log, partition) = (found.log(), found.index());
            let key = PartitionKey { shard: SHARD, log, partition };
            write.partitions.put(key, found.current(row));
        }
        for (log, partitions) in &self.deleted {
            let log = *log;
            write.logs.delete(LogKey { shard: SHARD, log });
            for partition in 0..*partitions {
                write.partitions.delete(PartitionKey { shard: SHARD, log, partition });
            }
        }
    }

    /// Makes durable what the rows count.
    ///
    /// # Errors
    /// The first partition whose files fail; the others are synced with the next attempt.
    pub fn sync(&self) -> Result<(), StoreError> {
        for (partition, _) in &self.partitions {
            partition.sync().map_err(|source| StoreError::Failed {
                file: format!("log {} partition {}", partition.log(), partition.index()).into(),
                reason: source.to_string(),
            })?;
        }
        Ok(())
    }

    /// Whether a partition's files are out of use until a restart.
    #[must_use]
    pub fn is_hopeless(&self) -> bool {
        self.partitions.iter().any(|(partition, _)| partition.is_out_of_use())
    }

    /// Takes out what is left to do once the rows are committed: [`Self::give_back`].
    #[must_use]
    pub fn removals(&mut self) -> Self {
        let (changed, partitions) = (Vec::new(), Vec::new());
        let (deleted, removed) = (self.deleted.clone(), std::mem::take(&mut self.removed));
        Self { changed, deleted, partitions, removed }
    }

    /// Removes files that no checkpoint names now that this one is current (design §2, rule 10). What cannot be
    /// removed goes at the next start.
    pub fn give_back(&self, store: &dyn PartitionStore) {
        for (partition, names) in &self.removed {
            if let Err(error) = partition.unlink(names) {
                tracing::warn!(%error, "files that a log gave up could not be removed");
            }
        }
        for log in self.deleted.keys() {
            if let Err(error) = store.remove(*log) {
                tracing::warn!(%log, %error, "the files of a deleted log could not be removed");
            }
        }
    }
}
