//! Scratch segments: bodies of transient messages that no memory is left for. Part of `store`.
//!
//! Bodies are appended to files of [`ScratchOptions::segment_bytes`], never synced, and forgotten at a restart: the
//! folder is emptied when it is opened, so its files need no header and no format version. References are counted
//! in memory; a file whose last body is dropped goes.
//!
//! [`ScratchStore::append`] and dropping a body touch memory only, so that both may happen under a queue's lock.
//! What that leaves to be done, writing and unlinking, [`ScratchStore::tend`] does; whoever appended or dropped
//! calls it when it holds no lock.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::store::disk::{Disk, DiskFile, read_full};
use crate::store::error::StoreError;

/// Bodies are collected up to this many bytes before they are written.
const CHUNK_BYTES: usize = 256 * 1024;
/// Collected and not written: beyond this, whoever tends waits for the disk.
const PENDING_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Limits of a [`ScratchStore`].
#[derive(Debug, Clone, Copy)]
pub struct ScratchOptions {
    /// Length at which a file is full; a longer body gets one of its own.
    pub segment_bytes: u32,
    /// Bytes of all files together.
    pub bytes_max: u64,
}

impl Default for ScratchOptions {
    fn default() -> Self {
        Self { segment_bytes: 16 * 1024 * 1024, bytes_max: 8 << 30 }
    }
}

/// A body in the scratch folder; dropping it gives its room back.
pub struct ScratchBody {
    store: Arc<ScratchStore>,
    segment: u64,
    offset: u32,
    len: u32,
    crc: u32,
}

/// The scratch folder.
pub struct ScratchStore {
    disk: Arc<dyn Disk>,
    options: ScratchOptions,
    state: Mutex<State>,
    written: Condvar,
    /// Something is to be written or unlinked.
    wants_care: AtomicBool,
}

#[derive(Default)]
struct State {
    segments: BTreeMap<u64, Segment>,
    /// The segment that is appended to; the highest number.
    current: Option<u64>,
    next: u64,
    /// Bytes of all segments.
    bytes: u64,
    /// The end of the current segment that is in no chunk yet.
    buffer: Vec<u8>,
    /// What is to be written, in order; the first one may be under way.
    chunks: VecDeque<Chunk>,
    chunk_bytes: usize,
    writing: bool,
    /// Segments whose files are to be unlinked.
    dead: Vec<u64>,
}

#[derive(Default)]
struct Segment {
    /// Made when the first chunk is written.
    file: Option<Arc<dyn DiskFile>>,
    len: u32,
    bodies: u32,
    failed: bool,
}

#[derive(Clone)]
struct Chunk {
    segment: u64,
    start: u32,
    bytes: Arc<Vec<u8>>,
}

fn name(segment: u64) -> String {
    format!("{segment:08x}.tmp")
}

impl ScratchStore {
    /// Opens the folder and empties it.
    ///
    /// # Errors
    /// [`StoreError::Io`]: what is in it cannot be removed.
    pub fn open(disk: Arc<dyn Disk>, options: ScratchOptions) -> Result<Arc<Self>, StoreError> {
        let folder = disk.path("");
        for name in disk.list().map_err(StoreError::io(&folder, "list"))? {
            disk.remove(&name).map_err(StoreError::io(&disk.path(&name), "remove"))?;
        }
        Ok(Arc::new(Self {
            disk,
            options,
            state: Mutex::default(),
            written: Condvar::new(),
            wants_care: AtomicBool::new(false),
        }))
    }

    /// Takes a copy of `body`; `None` when there is no room. Touches no disk; [`Self::tend`] is to follow.
    #[must_use]
    pub fn append(self: &Arc<Self>, body: &[u8]) -> Option<ScratchBody> {
        let len = u32::try_from(body.len()).ok()?;
        let mut state = self.state.lock();
        if state.bytes.saturating_add(len.into()) > self.options.bytes_max {
            return None;
        }
        let fits = |segment: &Segment| {
            let end = segment.len.checked_add(len);
            end.is_some_and(|end| end <= self.options.segment_bytes) && !segment.failed
        };
        let current = state.current.and_then(|number| state.segments.get(&number));
        if !current.is_some_and(fits) {
            self.roll(&mut state);
        }
        let number = state.current?;
        let segment = state.segments.get_mut(&number)?;
        let offset = segment.len;
        segment.len = segment.len.checked_add(len)?;
        segment.bodies += 1;
        state.bytes += u64::from(len);
        state.buffer.extend_from_slice(body);
        if state.buffer.len() >= CHUNK_BYTES {
            state.cut_chunk();
            self.wants_care.store(true, Ordering::Release);
        }
        let crc = crc32c::crc32c(body);
        Some(ScratchBody { store: Arc::clone(self), segment: number, offset, len, crc })
    }

    /// Begins another segment.
    fn roll(&self, state: &mut State) {
        state.cut_chunk();
        let number = state.next;
        state.next += 1;
        state.segments.insert(number, Segment::default());
        let before = state.current.replace(number);
        if let Some(before) = before {
            state.bury(before);
        }
        self.wants_care.store(true, Ordering::Release);
    }

    /// Writes and unlinks what is to be, unless another thread does. Must not be called under a queue's lock.
    pub fn tend(&self) {
        if !self.wants_care.load(Ordering::Acquire) {
            return;
        }
        let mut state = self.state.lock();
        while state.writing {
            if state.chunk_bytes <= PENDING_BYTES_MAX {
                return;
            }
            self.written.wait(&mut state);
        }
        self.wants_care.store(false, Ordering::Release);
        state.writing = true;
        while let Some(chunk) = state.chunks.front().cloned() {
            let Some(segment) = state.segments.get(&chunk.segment) else {
                state.chunk_written();
                continue;
            };
            let file = segment.file.clone();
            let outcome = MutexGuard::unlocked(&mut state, || self.write(&chunk, file));
            state.chunk_written();
            self.written.notify_all();
            if let Some(segment) = state.segments.get_mut(&chunk.segment) {
                match outcome {
                    Ok(file) => segment.file = Some(file),
                    Err(error) => {
                        tracing::error!(%error, "transient messages are lost");
                        segment.failed = true;
                    }
                }
            }
        }
        while let Some(segment) = state.dead.pop() {
            MutexGuard::unlocked(&mut state, || self.unlink(segment));
        }
        state.writing = false;
        self.written.notify_all();
    }

    fn write(
        &self,
        chunk: &Chunk,
        file: Option<Arc<dyn DiskFile>>,
    ) -> Result<Arc<dyn DiskFile>, StoreError> {
        let name = name(chunk.segment);
        let path = self.disk.path(&name);
        let file = match file {
            Some(file) => file,
            None => self.disk.create(&name).map_err(StoreError::io(&path, "create"))?,
        };
        file.write_at(chunk.start.into(), &chunk.bytes).map_err(StoreError::io(&path, "write"))?;
        Ok(file)
    }

    fn unlink(&self, segment: u64) {
        if let Err(error) = self.disk.remove(&name(segment)) {
            // The next start empties the folder.
            tracing::warn!(%error, segment, "a scratch segment could not be removed");
        }
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.state.lock().bytes
    }

    fn read(&self, body: &ScratchBody) -> Result<Bytes, StoreError> {
        let path = self.disk.path(&name(body.segment));
        let file = {
            let state = self.state.lock();
            if let Some(bytes) = state.in_memory(body) {
                return Ok(bytes);
            }
            state.segments.get(&body.segment).and_then(|segment| segment.file.clone())
        };
        let Some(file) = file else {
            let reason = "an earlier write failed".to_owned();
            return Err(StoreError::Failed { file: path, reason });
        };
        let mut bytes = vec![0; body.len as usize];
        let count = read_full(file.as_ref(), body.offset.into(), &mut bytes)
            .map_err(StoreError::io(&path, "read a body"))?;
        if count < bytes.len() || crc32c::crc32c(&bytes) != body.crc {
            let found = format!("{count} bytes of another checksum");
            let expected = format!("a body of {} bytes", body.len);
            return Err(StoreError::corrupt(&path, body.offset.into(), expected, found));
        }
        Ok(bytes.into())
    }

    fn release(&self, body: &ScratchBody) {
        let mut state = self.state.lock();
        let Some(segment) = state.segments.get_mut(&body.segment) else { return };
        segment.bodies = segment.bodies.saturating_sub(1);
        if segment.bodies == 0 && state.current != Some(body.segment) {
            state.bury(body.segment);
            self.wants_care.store(true, Ordering::Release);
        }
    }
}

impl State {
    fn cut_chunk(&mut self) {
        let Some(segment) = self.current.filter(|_| !self.buffer.is_empty()) else { return };
        let bytes = std::mem::take(&mut self.buffer);
        let end = self.segments.get(&segment).map_or(0, |segment| segment.len);
        // The buffer is the segment's end.
        let start = end.saturating_sub(bytes.len() as u32);
        self.chunk_bytes += bytes.len();
        self.chunks.push_back(Chunk { segment, start, bytes: Arc::new(bytes) });
    }

    fn chunk_written(&mut self) {
        if let Some(chunk) = self.chunks.pop_front() {
            self.chunk_bytes = self.chunk_bytes.saturating_sub(chunk.bytes.len());
        }
    }

    /// Forgets a segment that nothing is appended to any more, if no body is left in it.
    fn bury(&mut self, number: u64) {
        let is_empty = self.segments.get(&number).is_some_and(|segment| segment.bodies == 0);
        let Some(segment) = is_empty.then(|| self.segments.remove(&number)).flatten() else {
            return;
        };
        self.bytes = self.bytes.saturating_sub(segment.len.into());
        let is_being_written =
            self.writing && self.chunks.front().is_some_and(|chunk| chunk.segment == number);
        if segment.file.is_some() || is_being_written {
            self.dead.push(number);
        }
    }

    fn in_memory(&self, body: &ScratchBody) -> Option<Bytes> {
        let cut = |bytes: &[u8], start: u32| {
            let from = body.offset.checked_sub(start)? as usize;
            let bytes = bytes.get(from..from.checked_add(body.len as usize)?)?;
            Some(Bytes::copy_from_slice(bytes))
        };
        if self.current == Some(body.segment) {
            let end = self.segments.get(&body.segment)?.len;
            let start = end.saturating_sub(self.buffer.len() as u32);
            if let Some(bytes) = cut(&self.buffer, start) {
                return Some(bytes);
            }
        }
        let mut chunks = self.chunks.iter().filter(|chunk| chunk.segment == body.segment);
        chunks.find_map(|chunk| cut(&chunk.bytes, chunk.start))
    }
}

impl ScratchBody {
    /// Its length in bytes.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Reads it. Not to be called under a queue's lock.
    ///
    /// # Errors
    /// It was not written, or cannot be read: it is lost.
    pub fn read(&self) -> Result<Bytes, StoreError> {
        self.store.read(self)
    }
}

impl Drop for ScratchBody {
    fn drop(&mut self) {
        self.store.release(self);
    }
}

impl fmt::Debug for ScratchBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScratchBody({}:{}+{})", self.segment, self.offset, self.len)
    }
}

impl fmt::Debug for ScratchStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScratchStore").field("disk", &self.disk).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Arc;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::{ScratchOptions, ScratchStore};
    use crate::store::disk::simulated::SimulatedDisk;

    const OPTIONS: ScratchOptions = ScratchOptions { segment_bytes: 1 << 20, bytes_max: 1 << 30 };

    #[derive(Clone, Debug)]
    enum Step {
        Append(usize),
        Read(usize),
        Drop(usize),
        Tend,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0usize..300_000).prop_map(Step::Append),
            3 => any::<usize>().prop_map(Step::Read),
            3 => any::<usize>().prop_map(Step::Drop),
            2 => Just(Step::Tend),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        #[test]
        fn what_is_kept_can_be_read_and_what_is_dropped_goes(steps in vec(step(), 1..80)) {
            let disk = SimulatedDisk::default();
            let store = ScratchStore::open(disk.shared(), OPTIONS).unwrap();
            let mut kept: VecDeque<(Vec<u8>, super::ScratchBody)> = VecDeque::new();
            for (at, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Append(len) => {
                        let body = vec![at as u8; len];
                        let reference = store.append(&body).unwrap();
                        kept.push_back((body, reference));
                    }
                    Step::Read(which) if !kept.is_empty() => {
                        let (body, reference) = &kept[which % kept.len()];
                        prop_assert_eq!(&reference.read().unwrap()[..], &body[..]);
                    }
                    Step::Drop(which) if !kept.is_empty() => {
                        drop(kept.remove(which % kept.len()));
                    }
                    Step::Read(_) | Step::Drop(_) => {}
                    Step::Tend => store.tend(),
                }
            }
            store.tend();
            for (body, reference) in &kept {
                prop_assert_eq!(&reference.read().unwrap()[..], &body[..]);
            }
            kept.clear();
            store.tend();
            prop_assert!(disk.everything().len() <= 1, "only the current one is left");
            prop_assert!(store.bytes() <= 1 << 20);
        }
    }

    #[test]
    fn a_start_empties_the_folder() {
        let disk = SimulatedDisk::default();
        let store = ScratchStore::open(disk.shared(), OPTIONS).unwrap();
        let body = store.append(&[7; 300_000]).unwrap();
        store.tend();
        assert_eq!(disk.everything().len(), 1);
        drop((body, store));
        let store = ScratchStore::open(disk.shared(), OPTIONS).unwrap();
        assert!(disk.everything().is_empty());
        assert_eq!(store.bytes(), 0);
    }

    #[test]
    fn a_full_folder_refuses_until_a_segment_goes() {
        let options = ScratchOptions { segment_bytes: 100, bytes_max: 250 };
        let store = ScratchStore::open(SimulatedDisk::default().shared(), options).unwrap();
        let first = store.append(&[1; 90]).unwrap();
        let second = store.append(&[2; 150]).unwrap();
        assert!(store.append(&[3; 20]).is_none());
        drop(first);
        let third = store.append(&[3; 90]).unwrap();
        assert_eq!(&third.read().unwrap()[..], &[3; 90]);
        assert_eq!(&second.read().unwrap()[..], &[2; 150]);
    }

    #[test]
    fn a_failed_write_loses_its_bodies_and_no_others() {
        let disk = SimulatedDisk::default();
        let store = ScratchStore::open(disk.shared(), OPTIONS).unwrap();
        disk.inject(|faults| faults.writes = 1);
        let lost = store.append(&[1; 300_000]).unwrap();
        store.tend();
        assert!(lost.read().is_err());
        let kept = store.append(&[2; 300_000]).unwrap();
        store.tend();
        assert_eq!(&kept.read().unwrap()[..], &[2; 300_000]);
    }

    /// Appending and dropping from many threads while others tend: nothing is read wrong, nothing is left behind.
    #[test]
    fn threads_share_a_store() {
        let disk = SimulatedDisk::default();
        let store = ScratchStore::open(disk.shared(), OPTIONS).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..3u8 {
                let store = Arc::clone(&store);
                scope.spawn(move || {
                    let mut kept = VecDeque::new();
                    for n in 0..200u8 {
                        let body = vec![thread ^ n; 20_000];
                        kept.push_back((store.append(&body).unwrap(), body));
                        store.tend();
                        if kept.len() > 20 {
                            let (reference, body) = kept.pop_front().unwrap();
                            assert_eq!(reference.read().unwrap(), body);
                        }
                    }
                });
            }
        });
        store.tend();
        assert!(disk.everything().len() <= 1);
    }
}
