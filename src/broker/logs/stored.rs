//! Segments on disk: the store's partition files, as a partition sees them. Part of `broker/logs`.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::broker::logs::files::SegmentFiles;
use crate::broker::logs::registry::PartitionStore;
use crate::broker::logs::settings::LogSettings;
use crate::model::ids::LogId;
use crate::store::error::StoreError;
use crate::store::partition::files::PartitionFiles;
use crate::store::partition::folders::LogFolders;
use crate::store::partition::late::LateFolder;
use crate::store::partition::{PartitionOptions, SegmentInfo};

impl SegmentFiles for PartitionFiles {
    fn append(
        &self,
        base_offset: i64,
        last_offset: i64,
        max_timestamp: i64,
        batch: [&[u8]; 2],
    ) -> io::Result<()> {
        Self::append(self, base_offset, last_offset, max_timestamp, batch).map_err(io::Error::other)
    }

    fn read(&self, offset: i64, bytes_max: usize, up_to: i64) -> io::Result<Bytes> {
        Self::read(self, offset, bytes_max, up_to).map_err(io::Error::other)
    }

    fn first_at_or_after(&self, timestamp: i64, from: i64) -> io::Result<Option<i64>> {
        let found = self.lookup_timestamp(timestamp, from).map_err(io::Error::other)?;
        Ok(found.map(|batch| batch.base_offset))
    }

    fn highest_timestamp(&self, from: i64) -> io::Result<Option<i64>> {
        Self::highest_timestamp(self, from).map_err(io::Error::other)
    }

    fn segments(&self) -> Vec<SegmentInfo> {
        Self::segments(self)
    }

    fn remove_before(&self, offset: i64) {
        Self::remove_before(self, offset);
    }

    fn take_removed(&self) -> Vec<String> {
        Self::take_removed(self)
    }

    fn unlink(&self, names: &[String]) -> io::Result<()> {
        Self::unlink(self, names).map_err(io::Error::other)
    }

    fn configure(&self, settings: &LogSettings) {
        self.set_options(options(settings));
    }

    fn sync(&self) -> io::Result<()> {
        Self::sync(self).map_err(io::Error::other)
    }

    fn freeze_lengths(&self) -> Vec<(i64, u64)> {
        Self::freeze_lengths(self)
    }

    fn lengths_now(&self, frozen: &[(i64, u64)]) -> Vec<(i64, u64)> {
        Self::lengths_now(self, frozen)
    }

    fn failure(&self) -> Option<String> {
        Self::failure(self).map(str::to_owned)
    }

    fn refusal(&self) -> Option<String> {
        Self::refusal(self)
    }
}

/// The files of partition `partition` of log `log`, cut back to `lengths`; a new partition has none, and whatever
/// lies at its place from before a crash is removed.
///
/// # Errors
/// Those of [`PartitionFiles::open`].
pub fn open(
    folders: &LogFolders,
    (log, name): (LogId, &str),
    partition: u32,
    settings: &LogSettings,
    lengths: &[(i64, u64)],
) -> Result<Box<dyn SegmentFiles>, StoreError> {
    let folder = folders.partition(log, name, partition)?;
    Ok(Box::new(PartitionFiles::open(folder, options(settings), lengths)?))
}

fn options(settings: &LogSettings) -> PartitionOptions {
    PartitionOptions {
        segment_bytes: settings.segment_bytes,
        segment_ms: settings.segment_ms,
        ..PartitionOptions::default()
    }
}

impl PartitionStore for LogFolders {
    fn create(
        &self,
        log: (LogId, &str),
        partition: u32,
        settings: &LogSettings,
    ) -> io::Result<Box<dyn SegmentFiles>> {
        let error = match open(self, log, partition, settings, &[]) {
            Ok(files) => return Ok(files),
            Err(error) => error,
        };
        let (id, name) = (log.0, log.1.to_owned());
        tracing::error!(
            %error, log = name, partition,
            "a log's folder could not be made; what comes waits in memory, and in the journal"
        );
        let folders = self.clone();
        let place = PathBuf::from(format!("{id}-{name}/{partition}"));
        let make = move || folders.partition(id, &name, partition).map_err(io::Error::other);
        let folder = LateFolder::new(place, Box::new(make));
        Ok(Box::new(PartitionFiles::new(Arc::new(folder), options(settings))))
    }

    fn remove(&self, log: LogId) -> io::Result<()> {
        Self::remove(self, log).map_err(io::Error::other)
    }
}
