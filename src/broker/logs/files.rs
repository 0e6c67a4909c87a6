//! The segments beneath a partition, as the partition sees them. Part of `broker/logs`.
//!
//! The real ones belong to `store`; [`MemorySegments`] keep a log that is not durable, and tests.

use std::io;

use bytes::Bytes;
use parking_lot::RwLock;

use crate::broker::logs::settings::LogSettings;
use crate::store::partition::SegmentInfo;

/// Whole batches by offset. One thread appends; any thread reads what was appended, at once.
pub trait SegmentFiles: Send + Sync {
    /// Writes a batch, whose bytes come in two parts, behind the last one. Not synced: that is the checkpoint's. A
    /// disk that is full keeps it waiting in memory, see [`Self::refusal`].
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

    /// The base offset of the first batch that reaches to `from` or beyond, and whose highest timestamp is at least
    /// `timestamp`.
    ///
    /// # Errors
    /// Those of the disk.
    fn first_at_or_after(&self, timestamp: i64, from: i64) -> io::Result<Option<i64>>;

    /// The highest timestamp of the batches that begin at `from` or beyond.
    ///
    /// # Errors
    /// Those of the disk.
    fn highest_timestamp(&self, from: i64) -> io::Result<Option<i64>>;

    /// Every segment, in order.
    fn segments(&self) -> Vec<SegmentInfo>;

    /// Gives up the segments whose every record lies before `offset`. What they take on disk is given back by
    /// [`Self::unlink`].
    fn remove_before(&self, offset: i64);

    /// What was given up since the last call, to be unlinked once a checkpoint taken now is current.
    fn take_removed(&self) -> Vec<String>;

    /// Removes the files that [`Self::take_removed`] named.
    ///
    /// # Errors
    /// Those of the disk; what is left goes at the next start.
    fn unlink(&self, names: &[String]) -> io::Result<()>;

    /// Puts other limits in force for what is appended from now on.
    fn configure(&self, settings: &LogSettings);

    /// Makes durable what was appended before the call. Runs beside appends.
    ///
    /// # Errors
    /// Those of the disk: to be called again, unless [`Self::failure`] says that this is of no use.
    fn sync(&self) -> io::Result<()>;

    /// Base offset and length of each segment now, for a checkpoint that calls [`Self::sync`] after it.
    fn freeze_lengths(&self) -> Vec<(i64, u64)> {
        self.segments().iter().map(|segment| (segment.base_offset, segment.bytes)).collect()
    }

    /// Where the bytes are after that sync: a file that failed is replaced.
    fn lengths_now(&self, frozen: &[(i64, u64)]) -> Vec<(i64, u64)> {
        frozen.to_vec()
    }

    /// Why the files are out of use until a restart, if they are.
    fn failure(&self) -> Option<String> {
        None
    }

    /// Why nothing more should be appended at the moment, if so.
    fn refusal(&self) -> Option<String> {
        None
    }
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

    fn first_at_or_after(&self, timestamp: i64, from: i64) -> io::Result<Option<i64>> {
        let kept = self.kept.read();
        let fits = |batch: &&Kept| batch.max_timestamp >= timestamp && batch.last_offset >= from;
        Ok(kept.iter().find(fits).map(|batch| batch.base_offset))
    }

    fn highest_timestamp(&self, from: i64) -> io::Result<Option<i64>> {
        let kept = self.kept.read();
        let left = kept.iter().filter(|batch| batch.base_offset >= from);
        Ok(left.map(|batch| batch.max_timestamp).max())
    }

    fn segments(&self) -> Vec<SegmentInfo> {
        let kept = self.kept.read();
        let (Some(first), Some(last)) = (kept.first(), kept.last()) else { return Vec::new() };
        vec![SegmentInfo {
            base_offset: first.base_offset,
            next_offset: last.last_offset.saturating_add(1),
            bytes: kept.iter().map(|batch| batch.batch.len() as u64).sum(),
            max_timestamp: kept.iter().map(|batch| batch.max_timestamp).max().unwrap_or(-1),
        }]
    }

    fn remove_before(&self, offset: i64) {
        self.kept.write().retain(|batch| batch.last_offset >= offset);
    }

    fn take_removed(&self) -> Vec<String> {
        Vec::new()
    }

    fn unlink(&self, _: &[String]) -> io::Result<()> {
        Ok(())
    }

    fn configure(&self, _: &LogSettings) {}

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
