//! The body segments that the last checkpoint names, and who still refers to them. Part of `broker::checkpoint`.

use std::collections::BTreeMap;

use ahash::AHashMap;

use crate::model::ids::SHARD;
use crate::store::tables::CheckpointWrite;
use crate::store::tables::bodies::{BodyKey, BodyRow};

/// Valid length and references of every body segment.
#[derive(Clone)]
pub(super) struct Segments {
    rows: BTreeMap<u32, BodyRow>,
}

impl Segments {
    /// What the last checkpoint left.
    pub(super) fn new(rows: BTreeMap<u32, BodyRow>) -> Self {
        Self { rows }
    }

    /// Notes lengths and references; returns segments that nothing refers to. Counts once `write` is committed.
    pub(super) fn put(
        &mut self,
        write: &mut CheckpointWrite,
        lengths: &BTreeMap<u32, u64>,
        references: &AHashMap<u32, i64>,
    ) -> Vec<u32> {
        for (segment, valid_len) in lengths {
            let row = BodyRow { valid_len: *valid_len, live_refs: 0 };
            self.rows.entry(*segment).or_insert(row).valid_len = *valid_len;
        }
        for (segment, change) in references {
            if let Some(row) = self.rows.get_mut(segment) {
                row.live_refs = row.live_refs.saturating_add_signed(*change);
            }
        }
        // The newest may still be written to.
        let newest = self.rows.last_key_value().map(|(segment, _)| *segment);
        let dead: Vec<u32> = self
            .rows
            .iter()
            .filter(|(segment, row)| row.live_refs == 0 && Some(**segment) != newest)
            .map(|(segment, _)| *segment)
            .collect();
        for segment in &dead {
            self.rows.remove(segment);
            write.bodies.delete(BodyKey { shard: SHARD, segment: *segment });
        }
        let changed = lengths.keys().chain(references.keys());
        for segment in changed {
            if let Some(row) = self.rows.get(segment) {
                write.bodies.put(BodyKey { shard: SHARD, segment: *segment }, *row);
            }
        }
        dead
    }
}
