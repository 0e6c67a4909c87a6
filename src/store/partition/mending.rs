//! Files whose sync failed, replaced while appends go on. Part of `store::partition`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::store::error::StoreError;
use crate::store::partition::files::PartitionFiles;
use crate::store::partition::segment::{Mended, Segment};

/// A file of which only the beginning counts any more, and where the rest is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Split {
    /// Base offset of the file.
    base_offset: i64,
    /// How much of it counts.
    at: u64,
    /// Base offset of the file with the rest.
    rest: i64,
}

impl PartitionFiles {
    /// Base offset and length of each segment at this moment, for the checkpoint. [`PartitionFiles::sync`] after it
    /// makes at least these durable; then [`PartitionFiles::lengths_now`] says where they are.
    #[must_use]
    pub fn freeze_lengths(&self) -> Vec<(i64, u64)> {
        self.splits.lock().clear();
        self.valid_lengths()
    }

    /// Where the bytes are that `frozen`, the latest [`PartitionFiles::freeze_lengths`], counts.
    #[must_use]
    pub fn lengths_now(&self, frozen: &[(i64, u64)]) -> Vec<(i64, u64)> {
        let mut lengths = frozen.to_vec();
        for split in self.splits.lock().iter() {
            let found = lengths
                .iter()
                .position(|(base, length)| *base == split.base_offset && *length > split.at);
            if let Some(place) = found
                && let Some(entry) = lengths.get_mut(place)
            {
                let rest = (split.rest, entry.1 - split.at);
                entry.1 = split.at;
                lengths.insert(place + 1, rest);
            }
        }
        lengths
    }

    /// Puts what `broken` holds beyond what was synced into another file.
    pub(super) fn mend(&self, broken: &Arc<Segment>, cause: &StoreError) -> Result<(), StoreError> {
        self.seal_if_last(broken);
        let interval = self.options.read().index_interval_bytes;
        let Mended { head, tail, at } = broken.mend(interval).inspect_err(|error| {
            if matches!(error, StoreError::Corrupt { .. } | StoreError::Missing { .. }) {
                self.fail(error);
            }
        })?;
        tracing::error!(
            file = %broken.path().display(), kept = at, copied = tail.info().bytes, error = %cause,
            "a log's file could not be synced; what it has beyond the bytes kept is in a new file now"
        );
        if head.is_some() {
            let (base_offset, rest) = (broken.base_offset, tail.base_offset);
            self.splits.lock().push(Split { base_offset, at, rest });
        }
        let parts: Vec<_> = head.into_iter().chain([tail]).map(Arc::new).collect();
        let mut segments = self.segments.write();
        let mut removed = self.removed.lock();
        for list in [&mut *segments, &mut *removed] {
            if let Some(place) = list.iter().position(|segment| Arc::ptr_eq(segment, broken)) {
                list.splice(place..=place, parts.iter().cloned());
            }
        }
        Ok(())
    }

    /// Sees to it that nothing is appended to `broken`, now or later.
    fn seal_if_last(&self, broken: &Arc<Segment>) {
        let _appending = self.appending.lock();
        let segments = self.segments.read();
        if segments.last().is_some_and(|last| Arc::ptr_eq(last, broken)) {
            self.sealed.store(true, Ordering::Release);
        }
    }
}
