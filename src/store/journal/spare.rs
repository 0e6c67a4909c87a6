//! Empty segments, prepared ahead by a thread of their own, and trimmed ones for reuse. Part of
//! `store::journal`.
//!
//! A fresh spare is filled with zeros and synced, so that writing batches into it later changes no file
//! metadata. A trimmed segment that was made so is as good; its old batches carry an old salt.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

use crate::store::disk::{Disk, DiskFile};
use crate::store::journal::segments::Named;
use crate::store::journal::{Durability, JournalOptions};

/// Zeros are written in pieces of this size, each of which the journal's own writes may have to wait for.
const PIECE_BYTES: usize = 256 * 1024;
/// …and synced every so many pieces, so that the journal's own syncs never wait behind a whole segment.
const PIECES_PER_SYNC: u64 = 16;
/// The same for files that go through the system's cache: it keeps a file in such pieces, and every later write and
/// sync looks at all of the piece that it touches.
const CACHED_PIECE_BYTES: usize = 16 * 1024;
const CACHED_PIECES_PER_SYNC: u64 = 256;

/// Suffix of an empty segment ready for use.
pub(super) const READY: &str = ".free";
/// Suffix of a file that is not ready; removed at start.
pub(super) const UNFINISHED: &str = ".new";

#[derive(Debug)]
pub(super) struct Spares {
    disk: Arc<dyn Disk>,
    segment_bytes: u64,
    spares_max: usize,
    durability: Durability,
    serial: AtomicU64,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    ready: Vec<String>,
    stopped: bool,
    /// Set by [`Spares::take`]: one attempt to prepare is due.
    wanted: bool,
}

impl Spares {
    pub(super) fn new(disk: Arc<dyn Disk>, options: &JournalOptions) -> Self {
        Self {
            disk,
            segment_bytes: options.segment_bytes,
            spares_max: options.spare_segments,
            durability: options.durability,
            serial: AtomicU64::new(1),
            state: Mutex::new(State { wanted: true, ..State::default() }),
            wake: Condvar::new(),
        }
    }

    /// Takes over what an earlier run left: spares of the right length stay, everything unfinished goes.
    pub(super) fn adopt(&self, names: &[String]) -> io::Result<()> {
        for name in names {
            let Some(stem) = name.strip_suffix(READY) else {
                if name.ends_with(UNFINISHED) {
                    self.disk.remove(name)?;
                }
                continue;
            };
            if let Some(serial) = stem.rsplit('-').next().and_then(|s| s.parse::<u64>().ok()) {
                self.serial.fetch_max(serial.saturating_add(1), Ordering::Relaxed);
            }
            let fits = self.disk.open(name)?.length()? == self.segment_bytes;
            let mut state = self.state.lock();
            if fits && state.ready.len() < self.spares_max {
                state.ready.push(name.clone());
            } else {
                drop(state);
                self.disk.remove(name)?;
            }
        }
        Ok(())
    }

    /// Starts the preparing thread; none is needed when no spares are kept.
    pub(super) fn start(self: &Arc<Self>) -> io::Result<Option<JoinHandle<()>>> {
        if self.spares_max == 0 {
            return Ok(None);
        }
        let spares = Arc::clone(self);
        std::thread::Builder::new()
            .name("journal-spare".into())
            .spawn(move || spares.run())
            .map(Some)
    }

    pub(super) fn stop(&self) {
        self.state.lock().stopped = true;
        self.wake.notify_all();
    }

    /// An empty segment of the usual length, if one is ready.
    pub(super) fn take(&self) -> Option<(String, Arc<dyn DiskFile>)> {
        let name = {
            let mut state = self.state.lock();
            state.wanted = true;
            state.ready.pop()
        };
        self.wake.notify_all();
        let name = name?;
        match self.open(&name) {
            Ok(file) => Some((name, file)),
            Err(error) => {
                tracing::warn!(file = %self.disk.path(&name).display(), %error, "spare segment lost");
                None
            }
        }
    }

    /// Opens a file to write batches into. What is synced at once need not stay in the system's cache; what is left to
    /// the system must, or every write would wait for the device.
    pub(super) fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        match self.durability {
            Durability::Fsync => self.disk.open_direct(name),
            Durability::Os => self.disk.open(name),
        }
    }

    /// True when [`Spares::take`] would find one.
    pub(super) fn is_ready(&self) -> bool {
        !self.state.lock().ready.is_empty()
    }

    /// An unused name with the given suffix.
    pub(super) fn name(&self, suffix: &str) -> String {
        format!("spare-{}{suffix}", self.serial.fetch_add(1, Ordering::Relaxed))
    }

    /// Takes a trimmed segment out of the journal: kept for reuse when there is need, else removed. The caller
    /// syncs the folder, then calls [`Spares::offer`] with what this returns; `unoffered` is how many it has still
    /// to offer.
    pub(super) fn retire(&self, segment: &Named, unoffered: usize) -> io::Result<Option<String>> {
        let wanted = self.state.lock().ready.len() + unoffered < self.spares_max;
        if wanted && segment.prepared && segment.file_bytes == self.segment_bytes {
            let spare = self.name(READY);
            self.disk.rename(&segment.name, &spare)?;
            return Ok(Some(spare));
        }
        match self.disk.remove(&segment.name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(|()| None),
        }
    }

    /// Makes a retired file available. Its new name must be durable: were it overwritten before, a crash could
    /// bring back the old name with new contents.
    pub(super) fn offer(&self, spare: String) {
        self.state.lock().ready.push(spare);
    }

    fn run(&self) {
        loop {
            {
                let mut state = self.state.lock();
                while !(state.stopped || (state.wanted && state.ready.is_empty())) {
                    self.wake.wait(&mut state);
                }
                if state.stopped {
                    return;
                }
                // Cleared before the attempt: after a failure the next take asks again.
                state.wanted = false;
            }
            let unfinished = self.name(UNFINISHED);
            match self.prepare(&unfinished) {
                Ok(Some(ready)) => self.offer(ready),
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(
                        file = %self.disk.path(&unfinished).display(), %error,
                        "cannot prepare a journal segment ahead"
                    );
                    if let Err(error) = self.disk.remove(&unfinished) {
                        tracing::debug!(%error, "unfinished segment not removed");
                    }
                }
            }
        }
    }

    /// Writes a segment full of zeros; `None` when stopped in between.
    fn prepare(&self, unfinished: &str) -> io::Result<Option<String>> {
        self.disk.create(unfinished)?.allocate(self.segment_bytes)?;
        let file = self.open(unfinished)?;
        let (piece_bytes, pieces_per_sync) = match self.durability {
            Durability::Fsync => (PIECE_BYTES, PIECES_PER_SYNC),
            Durability::Os => (CACHED_PIECE_BYTES, CACHED_PIECES_PER_SYNC),
        };
        let zeros = vec![0; piece_bytes];
        let mut offset = 0;
        let mut pieces = 0u64;
        while offset < self.segment_bytes {
            let length = (self.segment_bytes - offset).min(piece_bytes as u64);
            file.write_at(offset, zeros.get(..length as usize).unwrap_or(&zeros))?;
            offset += length;
            pieces += 1;
            if pieces.is_multiple_of(pieces_per_sync) {
                file.sync_data()?;
            }
            if self.state.lock().stopped {
                self.disk.remove(unfinished)?;
                return Ok(None);
            }
        }
        file.sync_data()?;
        let ready = self.name(READY);
        self.disk.rename(unfinished, &ready)?;
        Ok(Some(ready))
    }
}
