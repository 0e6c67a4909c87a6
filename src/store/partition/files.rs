//! The files of one partition. Part of `store::partition`.
//!
//! The applier appends, checkpoints sync, consumers read. What cannot be written waits in memory for the next
//! attempt; what a failed sync leaves in doubt is copied into another file (`mending`). Only when the system gives
//! back other bytes than it was given, the partition is out of use: it then counts up to its last checkpoint, and
//! nothing is appended until a restart brings the rest again from the journal (design §2, rule 4).

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use crate::store::disk::listed::Listed;
use crate::store::disk::{Disk, DiskFile};
use crate::store::error::StoreError;
use crate::store::partition::PartitionOptions;
use crate::store::partition::behind;
use crate::store::partition::check::open_segment;
use crate::store::partition::header::BatchInfo;
use crate::store::partition::mending::Split;
use crate::store::partition::segment::{Segment, SegmentInfo, index_name, log_name};

/// A file with its path, base offset and the length that counts, which is less than it has.
type Longer = (PathBuf, Arc<dyn DiskFile>, i64, u64);

/// One partition's files.
#[derive(Debug)]
pub struct PartitionFiles {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) options: RwLock<PartitionOptions>,
    /// In order; the last one is appended to.
    pub(super) segments: RwLock<Vec<Arc<Segment>>>,
    /// Segments that were given up since a checkpoint last looked: the one being written may name them, and then
    /// counts on what they hold. Locked after `segments`.
    pub(super) removed: Mutex<Vec<Arc<Segment>>>,
    /// A file was created since the folder was synced.
    created: Arc<AtomicBool>,
    /// The next append begins a segment.
    pub(super) sealed: AtomicBool,
    /// Held while something is appended.
    pub(super) appending: Mutex<()>,
    /// Segments that were put into two since the checkpoint froze lengths.
    pub(super) splits: Mutex<Vec<Split>>,
    /// Why files cannot be written at the moment.
    trouble: Mutex<Option<String>>,
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
        let created = Arc::new(AtomicBool::new(false));
        for (&base_offset, &valid_len) in &valid {
            let Listed { file, path, is_longer } =
                open_segment(disk.as_ref(), base_offset, valid_len)?;
            let interval = options.index_interval_bytes;
            let marks = Arc::clone(&created);
            let segment = Segment::open(disk.clone(), base_offset, valid_len, interval, marks)?;
            segments.push(Arc::new(segment));
            if is_longer {
                longer.push((path, file, base_offset, valid_len));
            }
        }
        let files = Self::with(disk, options, segments, created);
        let listed = |name: &String| {
            valid.keys().any(|base| *name == log_name(*base) || *name == index_name(*base))
        };
        files.remove_files(|name| !listed(name))?;
        files.cut_back(longer)?;
        Ok(files)
    }

    /// The files of a partition that is new, in a folder that is empty or not there yet.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, options: PartitionOptions) -> Self {
        Self::with(disk, options, Vec::new(), Arc::default())
    }

    fn with(
        disk: Arc<dyn Disk>,
        options: PartitionOptions,
        segments: Vec<Arc<Segment>>,
        created: Arc<AtomicBool>,
    ) -> Self {
        Self {
            disk,
            options: RwLock::new(options),
            segments: RwLock::new(segments),
            removed: Mutex::default(),
            created,
            sealed: AtomicBool::new(false),
            appending: Mutex::new(()),
            splits: Mutex::default(),
            trouble: Mutex::default(),
            failed: OnceLock::new(),
        }
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
    /// may get them only with a later append or sync, and while it cannot be written they wait in memory. For one thread.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for offsets that do not follow, [`StoreError::Failed`] when the partition is out of use.
    pub fn append(
        &self,
        base_offset: i64,
        last_offset: i64,
        max_timestamp: i64,
        parts: [&[u8]; 2],
    ) -> Result<(), StoreError> {
        self.check()?;
        let _appending = self.appending.lock();
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
            None => self.begin(base_offset),
        };
        if let Err(error) = segment.append(&options, base_offset, last_offset, max_timestamp, parts)
        {
            self.note_trouble(&error);
        }
        Ok(())
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

    fn begin(&self, base_offset: i64) -> Arc<Segment> {
        let segment = Segment::create(self.disk.clone(), base_offset, Arc::clone(&self.created));
        let segment = Arc::new(segment);
        self.segments.write().push(segment.clone());
        segment
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
    /// [`PartitionFiles::take_removed`]. Runs beside appends. A file that cannot be synced is replaced, see
    /// [`PartitionFiles::lengths_now`].
    ///
    /// # Errors
    /// [`StoreError::Io`] when a file cannot be written or replaced: to be called again later. [`StoreError::Failed`]
    /// when the partition is out of use.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.check()?;
        let result = self.sync_all();
        match &result {
            Ok(()) => self.forget_trouble(),
            Err(error) => self.note_trouble(error),
        }
        result
    }

    fn sync_all(&self) -> Result<(), StoreError> {
        let (removed, segments) = {
            let segments = self.segments.read();
            (self.removed.lock().clone(), segments.clone())
        };
        let last = segments.len().saturating_sub(1);
        let sealed = segments.iter().enumerate().map(|(at, segment)| (segment, at < last));
        for (segment, sealed) in removed.iter().map(|gone| (gone, true)).chain(sealed) {
            match segment.sync(sealed) {
                Err(error) if segment.is_broken() => self.mend(segment, &error)?,
                other => other?,
            }
        }
        // Before the folder's sync, so that a file created meanwhile keeps its mark.
        if self.created.swap(false, Ordering::AcqRel)
            && let Err(source) = self.disk.sync_dir()
        {
            self.created.store(true, Ordering::Release);
            return Err(StoreError::io(&self.disk.path(""), "sync")(source));
        }
        Ok(())
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

    /// Why nothing more should be appended at the moment, if so: the files cannot be written, and what waits for that
    /// takes as much memory as it may.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        if let Some(failure) = self.failed.get() {
            return Some(failure.clone());
        }
        if !behind::is_overfull() {
            return None;
        }
        self.trouble.lock().clone()
    }

    fn check(&self) -> Result<(), StoreError> {
        match self.failed.get() {
            None => Ok(()),
            Some(reason) => {
                Err(StoreError::Failed { file: self.disk.path(""), reason: reason.clone() })
            }
        }
    }

    pub(super) fn fail(&self, error: &StoreError) {
        let reason = self.failed.get_or_init(|| error.to_string());
        tracing::error!(partition = %self.disk.path("").display(), reason, "partition out of use");
    }

    fn note_trouble(&self, error: &StoreError) {
        let mut trouble = self.trouble.lock();
        if trouble.is_none() {
            let partition = self.disk.path("");
            tracing::error!(
                partition = %partition.display(), %error,
                "a log's files cannot be written; what comes waits in memory, and in the journal"
            );
        }
        *trouble = Some(error.to_string());
    }

    fn forget_trouble(&self) {
        if self.trouble.lock().take().is_some() {
            let partition = self.disk.path("");
            tracing::info!(partition = %partition.display(), "a log's files are written again");
        }
    }

    fn remove_files(&self, unwanted: impl Fn(&String) -> bool) -> Result<(), StoreError> {
        let names = self.disk.list().map_err(StoreError::io(&self.disk.path(""), "list"))?;
        let names: Vec<String> = names.into_iter().filter(unwanted).collect();
        self.unlink(&names)
    }
}
