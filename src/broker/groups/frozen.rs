//! Groups to disk and back. Part of `broker::groups`.

use crate::model::ids::SHARD;
use crate::store::error::StoreError;
use crate::store::tables::CheckpointWrite;
use crate::store::tables::db::Db;
use crate::store::tables::groups::{GroupKey, GroupRow, Groups as GroupsTable};
use crate::store::tables::offsets::{OffsetKey, OffsetRow, Offsets};

use super::applied::{AppliedGroups, CommittedOffset};

/// What changed since the last checkpoint, as it is now; `None` is gone.
#[derive(Debug, Default)]
pub struct FrozenGroups {
    memberships: Vec<(GroupKey, Option<GroupRow>)>,
    offsets: Vec<(OffsetKey, Option<OffsetRow>)>,
}

impl FrozenGroups {
    /// Takes what changed since the last call.
    pub fn take(applied: &mut AppliedGroups) -> Self {
        let mut frozen = Self::default();
        for ((vhost, group), changed) in std::mem::take(&mut applied.changed) {
            let found = applied.get(&vhost, &group);
            if changed.membership {
                let row = found.and_then(|found| found.snapshot.clone());
                let row = row.map(|(put_ms, snapshot)| GroupRow { put_ms, snapshot });
                frozen.memberships.push((group_key(&vhost, &group), row));
            }
            for place in changed.places {
                let row = found.and_then(|found| found.offsets.get(&place)).map(row);
                let (log, partition) = place;
                let GroupKey { shard, vhost, group } = group_key(&vhost, &group);
                frozen.offsets.push((OffsetKey { shard, vhost, group, log, partition }, row));
            }
        }
        frozen
    }

    /// How many rows are written or removed.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.memberships.len() + self.offsets.len()
    }

    /// Has `write` write them.
    pub fn put(&self, write: &mut CheckpointWrite) {
        for (key, row) in &self.memberships {
            match row {
                Some(row) => write.groups.put(key.clone(), row.clone()),
                None => write.groups.delete(key.clone()),
            }
        }
        for (key, row) in &self.offsets {
            match row {
                Some(row) => write.offsets.put(key.clone(), row.clone()),
                None => write.offsets.delete(key.clone()),
            }
        }
    }
}

fn group_key(vhost: &str, group: &str) -> GroupKey {
    GroupKey { shard: SHARD, vhost: vhost.to_owned(), group: group.to_owned() }
}

fn row(offset: &CommittedOffset) -> OffsetRow {
    OffsetRow {
        offset: offset.offset,
        leader_epoch: offset.leader_epoch,
        metadata: offset.metadata.to_string(),
        committed_ms: offset.committed_ms,
    }
}

/// Groups as the last checkpoint left them.
///
/// # Errors
/// The database cannot be read, or a row does not fit.
pub fn read(applied: &mut AppliedGroups, db: &Db) -> Result<(), StoreError> {
    db.for_each::<GroupsTable>(|key, row| {
        applied.restore_group(&key.vhost, &key.group, row.put_ms, row.snapshot);
        Ok(())
    })?;
    db.for_each::<Offsets>(|key, row| {
        let offset = CommittedOffset {
            offset: row.offset,
            leader_epoch: row.leader_epoch,
            metadata: row.metadata.into(),
            committed_ms: row.committed_ms,
        };
        applied.restore_offset(&key.vhost, &key.group, (key.log, key.partition), offset);
        Ok(())
    })
}
