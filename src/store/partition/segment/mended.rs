//! A segment whose sync failed, in two that are well. Part of `store::partition::segment`.
//!
//! The file counts as far as it was synced before (design §2, rule 4). The rest is in memory, or the system says that
//! it has it: nobody knows whether the platter has, and no further sync of that file would tell. So it is copied
//! into another file, batch by batch; that a batch is whole its checksum shows, that none is missing our own index.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::store::disk::DiskFile;
use crate::store::error::StoreError;
use crate::store::partition::header::{BATCH_HEADER_BYTES, BatchInfo};
use crate::store::partition::index::Index;

use super::{Segment, State, UNFINISHED, create_anew, log_name};

/// Bytes copied at once.
const COPY_BYTES: usize = 1024 * 1024;
/// Where a v2 batch keeps its checksum; it covers everything behind it.
const CRC_AT: std::ops::Range<usize> = 17..21;

/// What is in place of a segment whose sync failed.
pub(in crate::store::partition) struct Mended {
    /// The file as far as it was synced, if it was.
    pub(in crate::store::partition) head: Option<Segment>,
    /// The rest, synced.
    pub(in crate::store::partition) tail: Segment,
    /// Length of the head, where the tail begins.
    pub(in crate::store::partition) at: u64,
}

impl Segment {
    /// Copies what was not synced into another file and syncs that. Nothing is appended meanwhile nor ever after.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when the system gives back other bytes than were written: what was not synced is lost
    /// but for the journal. [`StoreError::Io`] when the new file fails too; to be tried again.
    pub(in crate::store::partition) fn mend(&self, interval: u64) -> Result<Mended, StoreError> {
        let at = self.state.read().synced;
        let created = Arc::clone(&self.created);
        let head = match at {
            0 => None,
            _ => Some(Self::open(
                Arc::clone(&self.disk),
                self.base_offset,
                at,
                interval,
                Arc::clone(&created),
            )?),
        };
        let base_offset = head.as_ref().map_or(self.base_offset, |head| head.info().next_offset);
        let name = log_name(base_offset);
        let unfinished = format!("{name}{UNFINISHED}");
        let path = self.disk.path(&unfinished);
        let file = create_anew(self.disk.as_ref(), &unfinished)
            .map_err(StoreError::io(&path, "create"))?;
        let copied = self.copy(base_offset, interval, at, file.as_ref()).and_then(|index| {
            file.sync_data().map_err(StoreError::io(&path, "sync"))?;
            // Whatever has this name now does not count: at most it is this segment, of which nothing was synced.
            self.disk.rename(&unfinished, &name).map_err(StoreError::io(&path, "name"))?;
            Ok(index)
        });
        let index = match copied {
            Ok(index) => index,
            Err(error) => {
                if let Err(error) = self.disk.remove(&unfinished) {
                    tracing::debug!(file = %path.display(), %error, "not removed");
                }
                return Err(error);
            }
        };
        created.store(true, Ordering::Release);
        let bytes = index.covered;
        let state = State { file: Some(file), ..State::new(index, bytes) };
        let tail = Self::with(Arc::clone(&self.disk), base_offset, created, state);
        Ok(Mended { head, tail, at })
    }

    /// Copies every batch from position `at` on, whose offset is `base_offset`, into `file`.
    fn copy(
        &self,
        base_offset: i64,
        interval: u64,
        at: u64,
        file: &dyn DiskFile,
    ) -> Result<Index, StoreError> {
        let info = self.info();
        let mut index = Index::new(base_offset);
        while index.next_offset < info.next_offset {
            let position = at + index.covered;
            let bytes = self.read(index.next_offset, COPY_BYTES, i64::MAX)?;
            let start = index.covered;
            let mut rest: &[u8] = &bytes;
            while !rest.is_empty() {
                let found = whole(rest).filter(|batch| batch.base_offset >= index.next_offset);
                let Some(batch) = found else {
                    return Err(self.lost(position, "a batch with another checksum or offset"));
                };
                index.extend(interval, &batch);
                rest = rest.get(batch.bytes as usize..).unwrap_or_default();
            }
            if bytes.is_empty() {
                return Err(self.lost(position, "nothing"));
            }
            let path = self.disk.path(&log_name(base_offset));
            file.write_at(start, &bytes).map_err(StoreError::io(&path, "write"))?;
        }
        if at + index.covered != info.bytes {
            return Err(self.lost(at + index.covered, "the end"));
        }
        Ok(index)
    }

    fn lost(&self, position: u64, found: &str) -> StoreError {
        let expected = "what was appended before a sync failed";
        StoreError::corrupt(&self.path(), position, expected, found)
    }
}

/// The batch that `bytes` begin with, if it is whole.
fn whole(bytes: &[u8]) -> Option<BatchInfo> {
    let batch = BatchInfo::parse(bytes)?;
    let batch_bytes = bytes.get(..usize::try_from(batch.bytes).ok()?)?;
    let stored = u32::from_be_bytes(batch_bytes.get(CRC_AT)?.try_into().ok()?);
    let covered = batch_bytes.get(CRC_AT.end..)?;
    (batch_bytes.len() >= BATCH_HEADER_BYTES && crc32c::crc32c(covered) == stored).then_some(batch)
}
