//! The files of one partition. Part of `store::partition`.
//!
//! The applier appends, checkpoints sync, consumers read. A failed write or sync takes the partition out of
//! use: from then on it counts up to its last checkpoint only, and nothing is appended until a restart, or
//! whoever replays the journal, brings the rest again (design §2, rule 4).

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use crate::store::disk::listed::{Listed, open_listed};
use crate::store::disk::{Disk, DiskFile};
use crate::store::error::StoreError;
use crate::store::partition::PartitionOptions;
use crate::store::partition::header::BatchInfo;
use crate::store::partition::segment::{Segment, SegmentInfo, index_name, log_name};

/// A file with its path, base offset and the length that counts, which is less than it has.
type Longer = (PathBuf, Arc<dyn DiskFile>, i64, u64);

/// One partition's files.
#[derive(Debug)]
pub struct PartitionFiles {
    disk: Arc<dyn Disk>,
    options: RwLock<PartitionOptions>,
    /// In order; the last one is appended to.
    segments: RwLock<Vec<Arc<Segment>>>,
    /// Segments that were given up since a checkpoint last looked: the one being written may name them, and then
    /// counts on what they hold. Locked after `segments`.
    removed: Mutex<Vec<Arc<Segment>>>,
    /// A file was created since the folder was synced.
    created: AtomicBool,
    /// The next append begins a segment.
    sealed: AtomicBool,
    failed: OnceLock<String>,
}

impl PartitionFiles {
    /// Opens what the checkpoint names: base offset and valid length of each segment. When all of it is there,
    /// longer files are cut back and files that are not listed go.
    ///
    /// # Errors
    /// [`StoreError::Missing`] for a missing or short file, [`StoreError::Corrupt`] for one that does not consist
    /// of batches, [`StoreError::Io`]; nothing was changed unless it is the last.
    pub fn open(
        disk: Arc<dyn Disk>,
        options: PartitionOptions,
        valid_lengths: &[(i64, u64)],
    ) -> Result<Self, StoreError> {
        let valid: BTreeMap<i64, u64> = valid_lengths.iter().copied().collect();
        let mut segments = Vec::with_capacity(valid.len());
        let mut longer = Vec::new();
        for (&base_offset, &valid_len) in &valid {
            let name = log_name(base_offset);
            let Listed { file, path, is_longer } =
                open_listed(disk.as_ref(), &name, "log segment", valid_len)?;
            let interval = options.index_interval_bytes;
            segments.push(Arc::new(Segment::open(disk.clone(), base_offset, valid_len, interval)?));
            if is_longer {
                longer.push((path, file, base_offset, valid_len));
            }
        }
        let files = Self {
            disk,
            options: RwLock::new(options),
            segments: RwLock::new(segments),
            removed: Mutex::default(),
            created: AtomicBool::new(false),
            sealed: AtomicBool::new(false),
            failed: OnceLock::new(),
        };
        let listed = |name: &String| {
            valid.keys().any(|base| *name == log_name(*base) || *name == index_name(*base))
        };
        files.remove_files(|name| !listed(name))?;
        files.cut_back(longer)?;
        Ok(files)
    }

    /// Cuts files to the length that counts. Their indexes may know more than that, and must not outlive it: what
    /// comes in its place may be other batches.
    fn cut_back(&self, longer: Vec<Longer>) -> Result<(), StoreError> {
        if longer.is_empty() {
            return Ok(());
        }
        let indexes: Vec<_> = longer.iter().map(|(_, _, base, _)| index_name(*base)).collect();
        self.unlink(&indexes)?;
        let folder = self.disk.path("");
        self.disk.sync_dir().map_err(StoreError::io(&folder, "sync"))?;
        for (path, file, _, valid_len) in longer {
            file.set_len(valid_len).map_err(StoreError::io(&path, "cut back"))?;
        }
        Ok(())
    }

    /// Appends whole batches in two parts, `base_offset` to `last_offset`; readers see them when this returns, though a file
    /// may get them only with a later append or sync. For one thread.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for offsets that do not follow, [`StoreError::Io`] when the write fails, and
    /// [`StoreError::Failed`] ever after.
    pub fn append(
        &self,
        base_offset: i64,
        last_offset: i64,
        max_timestamp: i64,
        parts: [&[u8]; 2],
    ) -> Result<(), StoreError> {
        self.check()?;
        let last = self.segments.read().last().cloned();
        let info = last.as_ref().map(|segment| segment.info());
        if last_offset < base_offset || info.is_some_and(|info| base_offset < info.next_offset) {
            return Err(StoreError::Refused {
                file: self.disk.path(""),
                reason: format!("offsets {base_offset} to {last_offset} do not follow {info:?}"),
            });
        }
        let mut options = *self.options.read();
        if self.sealed.swap(false, Ordering::AcqRel) {
            options.segment_bytes = 0;
        }
        let length = parts.iter().map(|part| part.len() as u64).sum::<u64>();
        let segment = match last.filter(|last| last.has_room(&options, max_timestamp, length)) {
            Some(segment) => segment,
            None => self.begin(base_offset).inspect_err(|error| self.fail(error))?,
        };
        segment
            .append(&options, base_offset, last_offset, max_timestamp, parts)
            .inspect_err(|error| self.fail(error))
    }

    /// Puts other limits in force for what is appended from now on.
    pub fn set_options(&self, options: PartitionOptions) {
        *self.options.write() = options;
    }

    /// Makes the next append begin a new segment: when files are opened again after a failure, what the journal
    /// brings back goes into a file that never failed.
    pub fn seal(&self) {
        self.sealed.store(true, Ordering::Release);
    }

    fn begin(&self, base_offset: i64) -> Result<Arc<Segment>, StoreError> {
        let path = self.disk.path(&log_name(base_offset));
        let segment = Segment::create(self.disk.clone(), base_offset)
            .map_err(StoreError::io(&path, "create"))?;
        let segment = Arc::new(segment);
        self.created.store(true, Ordering::Release);
        self.segments.write().push(segment.clone());
        Ok(segment)
    }

    /// Whole batches from the one that holds `offset` on (or the first one after it), as many as fit `max_bytes`
    /// but at least one; none that reaches `up_to` or beyond. Empty when there is nothing to read below `up_to`.
    /// Ends with a segment: ask again for the rest.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Corrupt`].
    pub fn read(&self, offset: i64, max_bytes: usize, up_to: i64) -> Result<Bytes, StoreError> {
        if offset >= up_to {
            return Ok(Bytes::new());
        }
        let mut segment = {
            let segments = self.segments.read();
            let after = segments.partition_point(|segment| segment.base_offset <= offset);
            segments.get(after.saturating_sub(1)).cloned()
        };
        while let Some(found) = segment {
            if found.info().next_offset > offset {
                let bytes = found.read(offset, max_bytes, up_to)?;
                if !bytes.is_empty() {
                    return Ok(bytes);
                }
            }
            // By its offset: segments before it may have been given up meanwhile.
            let segments = self.segments.read();
            let next = segments.partition_point(|next| next.base_offset <= found.base_offset);
            segment = segments.get(next).cloned();
        }
        Ok(Bytes::new())
    }

    /// The first batch that reaches to `from` or beyond and holds a record with at least this timestamp
    /// (milliseconds since the Unix epoch); which record that is, its bytes say.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Corrupt`].
    pub fn lookup_timestamp(
        &self,
        timestamp: i64,
        from: i64,
    ) -> Result<Option<BatchInfo>, StoreError> {
        let segments = self.segments.read().clone();
        for segment in segments {
            if segment.info().next_offset <= from {
                continue;
            }
            if let Some(batch) = segment.find_time(timestamp, from)? {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }

    /// The highest timestamp of the batches that begin at `from` or beyond; `None` without such a batch.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Corrupt`].
    pub fn highest_timestamp(&self, from: i64) -> Result<Option<i64>, StoreError> {
        let segments = self.segments.read().clone();
        let mut highest = None;
        for segment in segments {
            let of_segment = segment.highest_timestamp(from)?;
            highest = highest.max(of_segment);
        }
        Ok(highest)
    }

    /// Base offset and length of each segment at this moment, for the checkpoint; [`PartitionFiles::sync`] after
    /// it makes at least these durable.
    #[must_use]
    pub fn valid_lengths(&self) -> Vec<(i64, u64)> {
        self.segments().iter().map(|info| (info.base_offset, info.bytes)).collect()
    }

    /// The segments, in order.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentInfo> {
        self.segments.read().iter().map(|segment| segment.info()).collect()
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.segments().iter().map(|info| info.bytes).sum()
    }

    /// Offset after the last appended record; `None` when there is no segment.
    #[must_use]
    pub fn next_offset(&self) -> Option<i64> {
        self.segments.read().last().map(|segment| segment.info().next_offset)
    }

    /// Makes everything appended before this call durable, also what was given up since
    /// [`PartitionFiles::take_removed`]. Runs beside appends.
    ///
    /// # Errors
    /// [`StoreError::Io`] when a sync fails, [`StoreError::Failed`] ever after: the partition then counts up to its
    /// last checkpoint.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.check()?;
        // Before the folder's sync, so that a file created meanwhile keeps its mark.
        let created = self.created.swap(false, Ordering::AcqRel);
        let (removed, segments) = {
            let segments = self.segments.read();
            (self.removed.lock().clone(), segments.clone())
        };
        let result = (|| {
            for segment in &removed {
                segment.sync(true)?;
            }
            let last = segments.len().saturating_sub(1);
            for (at, segment) in segments.iter().enumerate() {
                segment.sync(at < last)?;
            }
            if created {
                let path = self.disk.path("");
                self.disk.sync_dir().map_err(StoreError::io(&path, "sync"))?;
            }
            Ok(())
        })();
        result.inspect_err(|error| self.fail(error))
    }

    /// Gives up the segments whose every record lies before `offset`; the last one too, and the next append then
    /// begins another. Their files stay until [`PartitionFiles::unlink`] is given what
    /// [`PartitionFiles::take_removed`] says of them. For the thread that appends.
    pub fn remove_before(&self, offset: i64) {
        let mut segments = self.segments.write();
        let count = segments.partition_point(|segment| segment.info().next_offset <= offset);
        if count == 0 {
            return;
        }
        self.removed.lock().extend(segments.drain(..count));
    }

    /// The files given up since the last call: to be unlinked once a checkpoint taken now, which does not name them,
    /// is current.
    #[must_use]
    pub fn take_removed(&self) -> Vec<String> {
        let removed = std::mem::take(&mut *self.removed.lock());
        let bases = removed.iter().map(|gone| gone.base_offset);
        bases.flat_map(|base| [log_name(base), index_name(base)]).collect()
    }

    /// Removes files that [`PartitionFiles::take_removed`] returned; those that are not there are no error.
    ///
    /// # Errors
    /// [`StoreError::Io`]; the next start removes what is left.
    pub fn unlink(&self, names: &[String]) -> Result<(), StoreError> {
        for name in names {
            match self.disk.remove(name) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    let file = self.disk.path(name);
                    return Err(StoreError::Io { file, doing: "remove", source: error });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Removes every file; the partition is empty afterwards.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn delete_all(&self) -> Result<(), StoreError> {
        self.segments.write().clear();
        self.removed.lock().clear();
        self.remove_files(|_| true)
    }

    /// Why nothing can be appended any more, if so.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failed.get().map(String::as_str)
    }

    fn check(&self) -> Result<(), StoreError> {
        match self.failed.get() {
            None => Ok(()),
            Some(reason) => {
                Err(StoreError::Failed { file: self.disk.path(""), reason: reason.clone() })
            }
        }
    }

    fn fail(&self, error: &StoreError) {
        let reason = self.failed.get_or_init(|| error.to_string());
        tracing::error!(partition = %self.disk.path("").display(), reason, "partition out of use");
    }

    fn remove_files(&self, unwanted: impl Fn(&String) -> bool) -> Result<(), StoreError> {
        let names = self.disk.list().map_err(StoreError::io(&self.disk.path(""), "list"))?;
        let names: Vec<String> = names.into_iter().filter(unwanted).collect();
        self.unlink(&names)
    }
}
