//! One file of a partition, with its index. Part of `store::partition`.
//!
//! One thread appends, another syncs, any number reads. A reader takes the length under the lock and then reads
//! the file without it: bytes below the length never change. The newest bytes are in memory (`behind`); one
//! thread at a time writes them. A write that fails is made again later, with the same bytes; after a sync that
//! failed the file counts as far as it was synced before, and `mend` puts the rest elsewhere.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::store::disk::{Disk, DiskFile, read_full};
use crate::store::error::StoreError;
use crate::store::partition::PartitionOptions;
use crate::store::partition::behind::{self, Behind};
use crate::store::partition::header::BatchInfo;
use crate::store::partition::index::Index;

mod absent;
mod mended;
mod read;

use self::absent::Absent;
pub(super) use self::mended::Mended;
use self::read::{Ends, Scan};

/// Suffix of a segment; the format version is part of it.
pub(super) const LOG_SUFFIX: &str = ".v1.log";
/// Suffix of its index.
pub(super) const INDEX_SUFFIX: &str = ".v1.index";
/// Suffix of an index being written.
pub(super) const UNFINISHED: &str = ".new";

#[derive(Debug)]
pub(super) struct Segment {
    disk: Arc<dyn Disk>,
    pub(super) base_offset: i64,
    state: RwLock<State>,
    /// Held by whoever writes what was collected. Taken before `state`.
    writer: Mutex<()>,
    /// Where the latest reads ended.
    ends: Mutex<Ends>,
    /// Set when a file is made: its folder is to be synced.
    created: Arc<AtomicBool>,
}

#[derive(Debug)]
struct State {
    index: Index,
    /// Kept while the segment is appended to or holds unsynced bytes; a quiet segment is opened to read.
    file: Option<Arc<dyn DiskFile>>,
    /// The file is there: it is made with the first write, which may be long after the first append.
    made: bool,
    /// The file was written to since its last sync.
    unsynced: bool,
    behind: Behind,
    /// Bytes that were synced, or that the checkpoint says were.
    synced: u64,
    /// A sync failed: the file is never written nor synced again.
    broken: bool,
    /// How much waited when the latest write failed.
    waited: Option<usize>,
    /// Bytes that the index file covers.
    index_saved: u64,
    /// Latest timestamp of its first batch, once somebody asked.
    began: Option<i64>,
}

impl State {
    /// A file whose bytes are synced.
    fn new(index: Index, bytes: u64) -> Self {
        Self {
            index,
            file: None,
            made: true,
            unsynced: false,
            behind: Behind::new(bytes),
            synced: bytes,
            broken: false,
            waited: None,
            index_saved: 0,
            began: None,
        }
    }
}

/// A segment as retention sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Offset that its name says.
    pub base_offset: i64,
    /// Offset after its last record.
    pub next_offset: i64,
    /// Its length in bytes.
    pub bytes: u64,
    /// Latest timestamp in it, milliseconds since the Unix epoch; -1 for none.
    pub max_timestamp: i64,
}

/// Name of the segment that begins with this offset.
#[must_use]
pub fn log_name(base_offset: i64) -> String {
    format!("{base_offset:020}{LOG_SUFFIX}")
}

/// Name of its index.
#[must_use]
pub fn index_name(base_offset: i64) -> String {
    format!("{base_offset:020}{INDEX_SUFFIX}")
}

impl Segment {
    /// An empty segment; its file is made when there is something to write, and `created` is set.
    pub(super) fn create(disk: Arc<dyn Disk>, base_offset: i64, created: Arc<AtomicBool>) -> Self {
        let state = State { made: false, ..State::new(Index::new(base_offset), 0) };
        Self::with(disk, base_offset, created, state)
    }

    fn with(disk: Arc<dyn Disk>, base_offset: i64, created: Arc<AtomicBool>, state: State) -> Self {
        let (state, writer, ends) = (RwLock::new(state), Mutex::new(()), Mutex::default());
        Self { disk, base_offset, state, writer, ends, created }
    }

    /// Takes over a file of at least `valid_len` bytes, of which so many count. Changes nothing on disk.
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        base_offset: i64,
        valid_len: u64,
        interval: u64,
        created: Arc<AtomicBool>,
    ) -> Result<Self, StoreError> {
        let mut index = load_index(disk.as_ref(), base_offset).unwrap_or(Index::new(base_offset));
        let stale = index.covered > valid_len;
        index.cut(base_offset, valid_len);
        let index_saved = if stale { 0 } else { index.covered };
        let state = State { index_saved, ..State::new(index, valid_len) };
        let segment = Self::with(disk, base_offset, created, state);
        segment.catch_up(valid_len, interval)?;
        Ok(segment)
    }

    /// Reads the batches that the index does not cover yet.
    fn catch_up(&self, valid_len: u64, interval: u64) -> Result<(), StoreError> {
        let mut index = self.state.read().index.clone();
        if index.covered == valid_len {
            return Ok(());
        }
        let file = self.file()?;
        let mut scan = Scan::new(self, file.as_ref(), index.covered, valid_len);
        while let Some((_, batch)) = scan.next()? {
            index.extend(interval, &batch);
        }
        self.state.write().index = index;
        Ok(())
    }

    pub(super) fn info(&self) -> SegmentInfo {
        let state = self.state.read();
        SegmentInfo {
            base_offset: self.base_offset,
            next_offset: state.index.next_offset,
            bytes: state.index.covered,
            max_timestamp: state.index.max_timestamp,
        }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.disk.path(&log_name(self.base_offset))
    }

    /// Whether a batch of so many bytes and this latest timestamp belongs into it too.
    pub(super) fn has_room(
        &self,
        options: &PartitionOptions,
        max_timestamp: i64,
        bytes: u64,
    ) -> bool {
        let covered = self.state.read().index.covered;
        if covered == 0 {
            return true;
        }
        let is_old = || {
            let age = self.began().map(|began| max_timestamp.saturating_sub(began));
            age.and_then(|age| u64::try_from(age).ok()).is_some_and(|age| age > options.segment_ms)
        };
        covered + bytes <= options.segment_bytes && !is_old()
    }

    /// Latest timestamp of the first batch; `None` if it holds none or cannot be read.
    fn began(&self) -> Option<i64> {
        let (known, length) = {
            let state = self.state.read();
            (state.began, state.index.covered)
        };
        if known.is_some() {
            return known;
        }
        let file = self.file().ok()?;
        let (_, first) = Scan::new(self, file.as_ref(), 0, length).next().ok()??;
        let began = (first.max_timestamp >= 0).then_some(first.max_timestamp);
        self.state.write().began = began;
        began
    }

    /// Appends whole batches; readers see them when this returns, the file has them after [`Self::write_out`] or
    /// once `write_bytes` came together. An error says that the file could not be written: what is appended is taken
    /// all the same, and waits in memory for the next attempt.
    pub(super) fn append(
        &self,
        options: &PartitionOptions,
        base_offset: i64,
        last_offset: i64,
        max_timestamp: i64,
        parts: [&[u8]; 2],
    ) -> Result<(), StoreError> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let limit = options.write_bytes;
        let directly = length >= limit || behind::is_full();
        let (waiting, waited) = {
            let state = self.state.read();
            (state.behind.len(), state.waited)
        };
        // A disk that fails is not asked with every append.
        let may_try = waited.is_none_or(|waited| waiting + length > waited + limit);
        let mut outcome = Ok(());
        if waiting > 0 && may_try && (directly || waiting + length > limit) {
            outcome = self.write_out(!behind::is_full());
        }
        let mut written = None;
        // What came since a write of the checkpoint's failed still waits after that write was made again.
        let is_next = || self.state.read().behind.len() == 0;
        if directly && may_try && outcome.is_ok() && is_next() {
            match self.write(parts) {
                Ok(file) => written = Some(file),
                Err(error) => outcome = Err(error),
            }
        }
        let mut state = self.state.write();
        if state.index.covered == 0 && max_timestamp >= 0 {
            state.began = Some(max_timestamp);
        }
        let interval = options.index_interval_bytes;
        let batch = BatchInfo { base_offset, last_offset, max_timestamp, bytes: length as u64 };
        state.index.extend(interval, &batch);
        match written {
            Some(file) => {
                state.behind.wrote_directly(length as u64);
                state.unsynced = true;
                state.file = Some(file);
            }
            None => state.behind.push(parts),
        }
        if outcome.is_err() {
            state.waited = Some(state.behind.len());
        }
        outcome
    }

    /// Writes `parts` behind the written bytes, while nothing waits.
    fn write(&self, parts: [&[u8]; 2]) -> Result<Arc<dyn DiskFile>, StoreError> {
        let _alone = self.writer.lock();
        let file = self.file_to_write()?;
        let mut position = self.state.read().behind.written();
        for part in parts {
            file.write_at(position, part).map_err(StoreError::io(&self.path(), "append to"))?;
            position += part.len() as u64;
        }
        Ok(file)
    }

    /// Writes what was collected. `goes_on`: more will be appended soon.
    fn write_out(&self, goes_on: bool) -> Result<(), StoreError> {
        let _alone = self.writer.lock();
        loop {
            let Some((position, bytes)) = self.state.write().behind.begin(goes_on) else {
                return Ok(());
            };
            let file = self.file_to_write()?;
            file.write_at(position, &bytes).map_err(StoreError::io(&self.path(), "append to"))?;
            drop(bytes);
            let mut state = self.state.write();
            state.behind.done();
            state.unsynced = true;
            state.file = Some(file);
            // What came together while the disk failed is behind the write that failed first.
            if state.waited.take().is_none() {
                return Ok(());
            }
        }
    }

    /// Makes what was appended durable, then saves the index. `sealed`: nothing will be appended any more. After an
    /// error see [`Self::is_broken`].
    pub(super) fn sync(&self, sealed: bool) -> Result<(), StoreError> {
        if self.is_broken() {
            let reason = "an earlier sync failed".to_owned();
            return Err(StoreError::Failed { file: self.path(), reason });
        }
        self.write_out(false)?;
        let (file, index, index_saved, written) = {
            let mut state = self.state.write();
            let unsynced = std::mem::take(&mut state.unsynced);
            match state.file.clone().filter(|_| unsynced) {
                Some(file) => {
                    // Of what came since, the file may never have a byte.
                    let written = state.behind.written();
                    let mut index = state.index.clone();
                    index.cut(self.base_offset, written);
                    (file, index, state.index_saved, written)
                }
                None => {
                    if sealed {
                        state.file = None;
                    }
                    return Ok(());
                }
            }
        };
        if let Err(source) = file.sync_data() {
            self.state.write().broken = true;
            return Err(StoreError::io(&self.path(), "sync")(source));
        }
        if index.covered > index_saved {
            match self.save_index(&index) {
                Ok(()) => self.state.write().index_saved = index.covered,
                // The next start scans instead.
                Err(error) => {
                    tracing::warn!(file = %self.path().display(), %error, "index not saved");
                }
            }
        }
        let mut state = self.state.write();
        state.synced = written;
        if sealed && !state.unsynced {
            state.file = None;
        }
        Ok(())
    }

    /// Whether a sync failed, so that of the file only what was synced before counts.
    pub(super) fn is_broken(&self) -> bool {
        self.state.read().broken
    }

    fn save_index(&self, index: &Index) -> io::Result<()> {
        let name = index_name(self.base_offset);
        let unfinished = format!("{name}{UNFINISHED}");
        let file = create_anew(self.disk.as_ref(), &unfinished)?;
        file.write_at(0, &index.encode())?;
        self.disk.rename(&unfinished, &name)
    }

    /// The file to read from; one without a byte while there is none.
    fn file(&self) -> Result<Arc<dyn DiskFile>, StoreError> {
        let made = {
            let state = self.state.read();
            if let Some(file) = &state.file {
                return Ok(file.clone());
            }
            state.made
        };
        if !made {
            return Ok(Arc::new(Absent));
        }
        let name = log_name(self.base_offset);
        self.disk.open(&name).map_err(StoreError::io(&self.path(), "open"))
    }

    /// The file to write to, made if there is none. For whoever alone may write.
    fn file_to_write(&self) -> Result<Arc<dyn DiskFile>, StoreError> {
        {
            let state = self.state.read();
            if state.broken {
                let reason = "an earlier sync failed".to_owned();
                return Err(StoreError::Failed { file: self.path(), reason });
            }
            if state.made {
                drop(state);
                return self.file();
            }
        }
        let file = create_anew(self.disk.as_ref(), &log_name(self.base_offset))
            .map_err(StoreError::io(&self.path(), "create"))?;
        self.created.store(true, Ordering::Release);
        let mut state = self.state.write();
        state.made = true;
        state.file = Some(Arc::clone(&file));
        Ok(file)
    }
}

/// Creates a file in the place of one that came to nothing.
fn create_anew(disk: &dyn Disk, name: &str) -> io::Result<Arc<dyn DiskFile>> {
    match disk.create(name) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            disk.remove(name)?;
            disk.create(name)
        }
        other => other,
    }
}

/// The bytes of a segment's index file, if there is one.
pub(super) fn stored_index(disk: &dyn Disk, base_offset: i64) -> Option<Vec<u8>> {
    let file = disk.open(&index_name(base_offset)).ok()?;
    let mut bytes = vec![0; usize::try_from(file.length().ok()?).ok()?];
    let count = read_full(file.as_ref(), 0, &mut bytes).ok()?;
    bytes.truncate(count);
    Some(bytes)
}

fn load_index(disk: &dyn Disk, base_offset: i64) -> Option<Index> {
    let index = Index::decode(&stored_index(disk, base_offset)?)?;
    let ordered = index.entries.is_sorted_by(|a, b| a.position < b.position && a.offset < b.offset);
    let within = index.entries.last().is_none_or(|last| last.position < index.covered);
    let anchored = index.entries.first().is_none_or(|first| first.position == 0);
    (ordered && within && anchored).then_some(index)
}
