//! The segments beneath a partition, as the partition sees them. Part of `broker/logs`.
//!
//! The real ones belong to `store`; [`MemorySegments`] keep a log that is not durable, and tests.

use std::io;

use bytes::Bytes;
use parking_lot::RwLock;

/// Whole batches by offset. One thread appends; any thread reads what was appended, at once.
pub trait SegmentFiles: Send + Sync {
    /// Writes a batch, whose bytes come in two parts, behind the last one. Not synced: that is the checkpoint's.
    ///
    /// # Errors
    /// After one the files count only to their last checkpointed length, and take no further append.
    fn append(
        &self,
        base_offset: i64,
        last_offset: i64,
        max_timestamp: i64,
        batch: [&[u8]; 2],
    ) -> io::Result<()>;

    /// Whole batches from the one that holds `offset` on, ending before `up_to`: at most `bytes_max` bytes,
    /// but always one batch if there is one.
    ///
    /// # Errors
    /// Those of the disk.
    fn read(&self, offset: i64, bytes_max: usize, up_to: i64) -> io::Result<Bytes>;

    /// The base offset of the first batch whose highest timestamp is at least `timestamp`.
    ///
    /// # Errors
    /// Those of the disk.
    fn first_at_or_after(&self, timestamp: i64) -> io::Result<Option<i64>>;

    /// Every segment: its base offset and its length in bytes.
    fn lengths(&self) -> Vec<(i64, u64)>;

    /// Makes durable what was appended before the call. Runs beside appends.
    ///
    /// # Errors
    /// As with [`Self::append`].
    fn sync(&self) -> io::Result<()>;
}

#[derive(Debug)]
struct Kept {
    base_offset: i64,
    last_offset: i64,
    max_timestamp: i64,
    batch: Bytes,
}

/// Batches in memory.
#[derive(Debug, Default)]
pub struct MemorySegments {
    kept: RwLock<Vec<Kept>>,
}

impl SegmentFiles for MemorySegments {
    fn append(
        &self,
        base_offset: i64,
        last_offset: i64,
        max_timestamp: i64,
        batch: [&[u8]; 2],
    ) -> io::Result<()> {
        let batch = Bytes::from(batch.concat());
        self.kept.write().push(Kept { base_offset, last_offset, max_timestamp, batch });
        Ok(())
    }

    fn read(&self, offset: i64, bytes_max: usize, up_to: i64) -> io::Result<Bytes> {
        let kept = self.kept.read();
        let from = kept.partition_point(|batch| batch.last_offset < offset);
        let mut bytes = Vec::new();
        for next in kept.get(from..).unwrap_or_default() {
            let full = !bytes.is_empty() && bytes.len() + next.batch.len() > bytes_max;
            if full || next.last_offset >= up_to {
                break;
            }
            bytes.extend_from_slice(&next.batch);
        }
        Ok(bytes.into())
    }

    fn first_at_or_after(&self, timestamp: i64) -> io::Result<Option<i64>> {
        let kept = self.kept.read();
        let found = kept.iter().find(|batch| batch.max_timestamp >= timestamp);
        Ok(found.map(|batch| batch.base_offset))
    }

    fn lengths(&self) -> Vec<(i64, u64)> {
        let kept = self.kept.read();
        let total = kept.iter().map(|batch| batch.batch.len() as u64).sum();
        kept.first().map(|first| (first.base_offset, total)).into_iter().collect()
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
