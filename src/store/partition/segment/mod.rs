//! One file of a partition, with its index. Part of `store::partition`.
//!
//! One thread appends, another syncs, any number reads. A reader takes the length under the lock and then reads
//! the file without it: bytes below the length never change. The newest bytes are in memory (`behind`); one
//! thread at a time writes them.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use crate::store::disk::{Disk, DiskFile, read_full};
use crate::store::error::StoreError;
use crate::store::partition::PartitionOptions;
use crate::store::partition::behind::{self, Behind};
use crate::store::partition::index::Index;

mod read;

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
}

#[derive(Debug)]
struct State {
    index: Index,
    /// Kept while the segment is appended to or holds unsynced bytes; a quiet segment is opened to read.
    file: Option<Arc<dyn DiskFile>>,
    /// The file was written to since its last sync.
    unsynced: bool,
    behind: Behind,
    /// Bytes that the index file covers.
    index_saved: u64,
    /// Latest timestamp of its first batch, once somebody asked.
    began: Option<i64>,
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
    /// Creates an empty segment.
    pub(super) fn create(disk: Arc<dyn Disk>, base_offset: i64) -> io::Result<Self> {
        let file = Some(disk.create(&log_name(base_offset))?);
        let index = Index::new(base_offset);
        let behind = Behind::new(0);
        let state = State { index, file, unsynced: true, behind, index_saved: 0, began: None };
        Ok(Self::with(disk, base_offset, state))
    }

    fn with(disk: Arc<dyn Disk>, base_offset: i64, state: State) -> Self {
        let (state, writer, ends) = (RwLock::new(state), Mutex::new(()), Mutex::default());
        Self { disk, base_offset, state, writer, ends }
    }

    /// Takes over a file of at least `valid_len` bytes, of which so many count. Changes nothing on disk.
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        base_offset: i64,
        valid_len: u64,
        interval: u64,
    ) -> Result<Self, StoreError> {
        let mut index = load_index(disk.as_ref(), base_offset).unwrap_or(Index::new(base_offset));
        let stale = index.covered > valid_len;
        index.cut(base_offset, valid_len);
        let index_saved = if stale { 0 } else { index.covered };
        let behind = Behind::new(valid_len);
        let state = State { index, file: None, unsynced: false, behind, index_saved, began: None };
        let segment = Self::with(disk, base_offset, state);
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
            index.extend(
                interval,
                batch.base_offset,
                batch.last_offset,
                batch.max_timestamp,
                batch.bytes,
            );
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
    /// once `write_bytes` came together. After an error the file beyond its old length is unknown, and nothing
    /// must be appended any more; what was appended before can still be read.
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
        let waiting = self.state.read().behind.len();
        if waiting > 0 && (directly || waiting + length > limit) {
            self.write_out(!behind::is_full())?;
        }
        let file = if directly { Some(self.write(parts)?) } else { None };
        let mut state = self.state.write();
        if state.index.covered == 0 && max_timestamp >= 0 {
            state.began = Some(max_timestamp);
        }
        let interval = options.index_interval_bytes;
        state.index.extend(interval, base_offset, last_offset, max_timestamp, length as u64);
        match file {
            Some(file) => {
                state.behind.wrote_directly(length as u64);
                state.unsynced = true;
                state.file = Some(file);
            }
            None => state.behind.push(parts),
        }
        Ok(())
    }

    /// Writes `parts` behind the written bytes, while nothing waits.
    fn write(&self, parts: [&[u8]; 2]) -> Result<Arc<dyn DiskFile>, StoreError> {
        let file = self.file()?;
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
        let (position, bytes) = {
            let mut state = self.state.write();
            if state.behind.is_writing() {
                // Another thread's write failed, and nobody may believe that the file has it.
                let reason = "an earlier write failed".to_owned();
                return Err(StoreError::Failed { file: self.path(), reason });
            }
            let Some(begun) = state.behind.begin(goes_on) else { return Ok(()) };
            begun
        };
        let file = self.file()?;
        file.write_at(position, &bytes).map_err(StoreError::io(&self.path(), "append to"))?;
        drop(bytes);
        let mut state = self.state.write();
        state.behind.done();
        state.unsynced = true;
        state.file = Some(file);
        Ok(())
    }

    /// Makes what was appended durable, then saves the index. `sealed`: nothing will be appended any more.
    pub(super) fn sync(&self, sealed: bool) -> Result<(), StoreError> {
        self.write_out(false)?;
        let (file, index, index_saved) = {
            let mut state = self.state.write();
            let unsynced = std::mem::take(&mut state.unsynced);
            match state.file.clone().filter(|_| unsynced) {
                Some(file) => {
                    // Of what came since, the file may never have a byte.
                    let mut index = state.index.clone();
                    index.cut(self.base_offset, state.behind.written());
                    (file, index, state.index_saved)
                }
                None => {
                    if sealed {
                        state.file = None;
                    }
                    return Ok(());
                }
            }
        };
        file.sync_data().map_err(StoreError::io(&self.path(), "sync"))?;
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
        if sealed && !state.unsynced {
            state.file = None;
        }
        Ok(())
    }

    fn save_index(&self, index: &Index) -> io::Result<()> {
        let name = index_name(self.base_offset);
        let unfinished = format!("{name}{UNFINISHED}");
        let file = match self.disk.create(&unfinished) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.disk.remove(&unfinished)?;
                self.disk.create(&unfinished)?
            }
            other => other?,
        };
        file.write_at(0, &index.encode())?;
        self.disk.rename(&unfinished, &name)
    }

    fn file(&self) -> Result<Arc<dyn DiskFile>, StoreError> {
        if let Some(file) = &self.state.read().file {
            return Ok(file.clone());
        }
        let name = log_name(self.base_offset);
        self.disk.open(&name).map_err(StoreError::io(&self.path(), "open"))
    }
}

fn load_index(disk: &dyn Disk, base_offset: i64) -> Option<Index> {
    let file = disk.open(&index_name(base_offset)).ok()?;
    let mut bytes = vec![0; usize::try_from(file.length().ok()?).ok()?];
    let count = read_full(file.as_ref(), 0, &mut bytes).ok()?;
    let index = Index::decode(bytes.get(..count)?)?;
    let ordered = index.entries.is_sorted_by(|a, b| a.position < b.position && a.offset < b.offset);
    let within = index.entries.last().is_none_or(|last| last.position < index.covered);
    let anchored = index.entries.first().is_none_or(|first| first.position == 0);
    (ordered && within && anchored).then_some(index)
}
