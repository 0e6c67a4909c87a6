//! Body segments: message bodies that outlived their place in the journal, written once and shared by
//! reference. Part of `store`.
//!
//! Only checkpoints write here, one after the other; queues read. A body is reached through a [`BodyRef`], which
//! checkpointed rows hold. Who counts the references and moves what is left of a mostly dead segment is the
//! checkpoint. `docs/storage.md` draws the bytes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::store::codec::{CodecError, Reader, Writer};
use crate::store::disk::{Disk, DiskFile, read_full};
use crate::store::error::StoreError;

const MAGIC: [u8; 8] = *b"RIALTOBS";
const VERSION: u16 = 1;
/// Bytes before the first body of a segment.
const SEGMENT_HEADER: usize = 16;
/// Bytes before each body: length and checksum.
const RECORD_HEADER: usize = 8;
/// Bodies are collected up to this many bytes before they are written.
const BUFFER_BYTES: usize = 256 * 1024;
/// Longest body: what a journal record can carry.
const BODY_BYTES_MAX: usize = crate::store::journal::RECORD_BYTES_MAX;

/// Where a body lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BodyRef {
    /// Number of the file.
    pub segment: u32,
    /// Where in it the body's header begins.
    pub offset: u32,
    /// Length of the body in bytes.
    pub len: u32,
}

impl BodyRef {
    /// Appends its twelve bytes.
    pub fn encode(&self, writer: &mut Writer<'_>) {
        writer.u32(self.segment);
        writer.u32(self.offset);
        writer.u32(self.len);
    }

    /// Takes twelve bytes.
    ///
    /// # Errors
    /// There are fewer.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self { segment: reader.u32()?, offset: reader.u32()?, len: reader.u32()? })
    }
}

/// Limits of a [`BodyStore`].
#[derive(Debug, Clone, Copy)]
pub struct BodyOptions {
    /// Length at which a segment is full; a longer body gets one of its own.
    pub segment_bytes: u32,
    /// Files kept open for reading.
    pub handles_max: usize,
}

impl Default for BodyOptions {
    fn default() -> Self {
        Self { segment_bytes: 64 * 1024 * 1024, handles_max: 64 }
    }
}

/// All body segments of a data directory. Reads run beside each other and beside the writer.
pub struct BodyStore {
    disk: Arc<dyn Disk>,
    options: BodyOptions,
    next_segment: AtomicU32,
    /// The segment that the next writer goes on in.
    current: Mutex<Option<Current>>,
    handles: Mutex<Handles>,
}

struct Current {
    segment: u32,
    file: Arc<dyn DiskFile>,
    len: u64,
}

/// Open files with the tick of their last use.
#[derive(Default)]
struct Handles {
    open: HashMap<u32, (Arc<dyn DiskFile>, u64)>,
    tick: u64,
}

fn name(segment: u32) -> String {
    format!("{segment:08x}.seg")
}

fn number(name: &str) -> Option<u32> {
    u32::from_str_radix(name.strip_suffix(".seg")?, 16).ok()
}

impl BodyStore {
    /// Opens what the checkpoint names: `listed` holds each segment with its valid length. When all of it is
    /// there, longer files are cut back and files that are not listed go.
    ///
    /// # Errors
    /// [`StoreError::Missing`] for a missing or short file, [`StoreError::Corrupt`], [`StoreError::Version`],
    /// [`StoreError::Io`]; nothing was changed unless it is the last.
    pub fn open(
        disk: Arc<dyn Disk>,
        options: BodyOptions,
        listed: impl IntoIterator<Item = (u32, u64)>,
    ) -> Result<Arc<Self>, StoreError> {
        let listed: BTreeMap<u32, u64> = listed.into_iter().collect();
        let mut longer = Vec::new();
        for (&segment, &valid_len) in &listed {
            let name = name(segment);
            let path = disk.path(&name);
            let file = disk.open(&name).map_err(|source| match source.kind() {
                std::io::ErrorKind::NotFound => StoreError::Missing {
                    file: path.clone(),
                    expected: format!("a body segment of {valid_len} bytes"),
                },
                _ => StoreError::Io { file: path.clone(), doing: "open", source },
            })?;
            let length = file.length().map_err(StoreError::io(&path, "read the length of"))?;
            if length < valid_len {
                return Err(StoreError::Missing {
                    file: path,
                    expected: format!("{valid_len} bytes, but it has {length}"),
                });
            }
            check_header(disk.as_ref(), &name, file.as_ref())?;
            if length > valid_len {
                longer.push((path, file, valid_len));
            }
        }
        for (path, file, valid_len) in longer {
            file.set_len(valid_len).map_err(StoreError::io(&path, "cut back"))?;
        }
        let folder = disk.path("");
        for name in disk.list().map_err(StoreError::io(&folder, "list"))? {
            if number(&name).is_none_or(|segment| !listed.contains_key(&segment)) {
                disk.remove(&name).map_err(StoreError::io(&disk.path(&name), "remove"))?;
            }
        }
        let next = listed.last_key_value().map_or(1, |(last, _)| last.saturating_add(1));
        Ok(Arc::new(Self {
            disk,
            options,
            next_segment: AtomicU32::new(next),
            current: Mutex::new(None),
            handles: Mutex::default(),
        }))
    }

    /// Reads a body and checks it.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when there is another body or none, [`StoreError::Io`].
    pub fn read(&self, body: BodyRef) -> Result<Bytes, StoreError> {
        let path = self.disk.path(&name(body.segment));
        if body.len as usize > BODY_BYTES_MAX {
            return Err(StoreError::corrupt(
                &path,
                body.offset.into(),
                format!("a body of at most {BODY_BYTES_MAX} bytes"),
                format!("a reference to {} bytes", body.len),
            ));
        }
        let file = self.handle(body.segment).map_err(StoreError::io(&path, "open"))?;
        let mut bytes = vec![0; RECORD_HEADER + body.len as usize];
        let count = read_full(file.as_ref(), body.offset.into(), &mut bytes)
            .map_err(StoreError::io(&path, "read a body"))?;
        let corrupt = |expected: String, found: String| {
            Err(StoreError::corrupt(&path, body.offset.into(), expected, found))
        };
        if count < bytes.len() {
            return corrupt(format!("{} bytes of body", body.len), format!("{count} in all"));
        }
        let mut header = Reader::new(&bytes);
        let (Ok(len), Ok(stored)) = (header.u32(), header.u32()) else {
            return corrupt("a body header".into(), "less".into());
        };
        if len != body.len {
            return corrupt(format!("a body of {} bytes", body.len), format!("one of {len}"));
        }
        let actual = crc32c::crc32c(header.rest());
        if actual != stored {
            return corrupt(format!("checksum {stored:08x}"), format!("{actual:08x}"));
        }
        Ok(Bytes::from(bytes).slice(RECORD_HEADER..))
    }

    /// Begins to write bodies. One writer at a time goes on in the current segment; another one, or one after a
    /// failure, begins a new one.
    #[must_use]
    pub fn writer(self: &Arc<Self>) -> BodyWriter {
        BodyWriter {
            store: self.clone(),
            current: self.current.lock().take(),
            buffer: Vec::new(),
            touched: BTreeMap::new(),
            created: false,
        }
    }

    /// Removes a segment that no checkpoint names any longer. One that is not there is no error.
    ///
    /// # Errors
    /// The file cannot be removed; the next start tries again.
    pub fn unlink(&self, segment: u32) -> Result<(), StoreError> {
        self.handles.lock().open.remove(&segment);
        let mut current = self.current.lock();
        if current.as_ref().is_some_and(|current| current.segment == segment) {
            *current = None;
        }
        drop(current);
        let name = name(segment);
        match self.disk.remove(&name) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(StoreError::io(&self.disk.path(&name), "remove")),
        }
    }

    fn handle(&self, segment: u32) -> std::io::Result<Arc<dyn DiskFile>> {
        let mut handles = self.handles.lock();
        handles.tick += 1;
        let tick = handles.tick;
        if let Some((file, used)) = handles.open.get_mut(&segment) {
            *used = tick;
            return Ok(file.clone());
        }
        drop(handles);
        let file = self.disk.open(&name(segment))?;
        let mut handles = self.handles.lock();
        if handles.open.len() >= self.options.handles_max.max(1) {
            let oldest = handles.open.iter().min_by_key(|(_, (_, used))| *used);
            if let Some(oldest) = oldest.map(|(segment, _)| *segment) {
                handles.open.remove(&oldest);
            }
        }
        handles.open.insert(segment, (file.clone(), tick));
        Ok(file)
    }
}

impl fmt::Debug for BodyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyStore").field("disk", &self.disk).finish_non_exhaustive()
    }
}

fn header() -> Vec<u8> {
    let mut out = Vec::with_capacity(SEGMENT_HEADER);
    let mut writer = Writer(&mut out);
    writer.raw(&MAGIC);
    writer.u16(VERSION);
    writer.u16(0);
    let crc = crc32c::crc32c(&out);
    Writer(&mut out).u32(crc);
    out
}

fn check_header(disk: &dyn Disk, name: &str, file: &dyn DiskFile) -> Result<(), StoreError> {
    let path = disk.path(name);
    let mut bytes = [0; SEGMENT_HEADER];
    let count =
        read_full(file, 0, &mut bytes).map_err(StoreError::io(&path, "read the header of"))?;
    if count == SEGMENT_HEADER && bytes[..] == header() {
        return Ok(());
    }
    let version = u16::from_le_bytes([bytes[8], bytes[9]]);
    if bytes[..8] == MAGIC && version > VERSION {
        return Err(StoreError::Version {
            file: path,
            found: version.into(),
            known: VERSION.into(),
        });
    }
    Err(StoreError::corrupt(&path, 0, "the header of a body segment", format!("{bytes:02x?}")))
}

/// Writes the bodies of one checkpoint. Dropped without [`BodyWriter::finish`], or after an error, what it wrote
/// does not count and its segment is not written again.
pub struct BodyWriter {
    store: Arc<BodyStore>,
    current: Option<Current>,
    /// What is not written yet; it belongs at the end of the current segment.
    buffer: Vec<u8>,
    touched: BTreeMap<u32, (Arc<dyn DiskFile>, u64)>,
    created: bool,
}

impl BodyWriter {
    /// Appends a body. It can be read once [`BodyWriter::finish`] has returned.
    ///
    /// # Errors
    /// [`StoreError::Io`]: give the writer up. [`StoreError::Refused`] for a body that is too long.
    pub fn append(&mut self, body: &[u8]) -> Result<BodyRef, StoreError> {
        if body.len() > BODY_BYTES_MAX {
            return Err(StoreError::Refused {
                file: self.store.disk.path(""),
                reason: format!("a body of {} bytes exceeds {BODY_BYTES_MAX}", body.len()),
            });
        }
        let wanted = (RECORD_HEADER + body.len()) as u64;
        let limit = u64::from(self.store.options.segment_bytes);
        let end = self.current.as_ref().map(|current| current.len + self.buffer.len() as u64);
        let offset = match end {
            Some(end) if end + wanted <= limit || end == SEGMENT_HEADER as u64 => end,
            _ => {
                self.roll()?;
                SEGMENT_HEADER as u64
            }
        };
        let Some(current) = &self.current else { return Err(self.given_up()) };
        // Both below segment_bytes, which is a u32.
        let body_ref =
            BodyRef { segment: current.segment, offset: offset as u32, len: body.len() as u32 };
        let mut writer = Writer(&mut self.buffer);
        writer.u32(body_ref.len);
        writer.u32(crc32c::crc32c(body));
        writer.raw(body);
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(body_ref)
    }

    /// Syncs everything; returns the segments written to with the lengths that count from now on.
    ///
    /// # Errors
    /// [`StoreError::Io`]: nothing of this writer counts.
    pub fn finish(mut self) -> Result<Vec<(u32, u64)>, StoreError> {
        self.flush()?;
        for (segment, (file, _)) in &self.touched {
            let path = self.store.disk.path(&name(*segment));
            file.sync_data().map_err(StoreError::io(&path, "sync"))?;
        }
        if self.created {
            let disk = &self.store.disk;
            disk.sync_dir().map_err(StoreError::io(&disk.path(""), "sync"))?;
        }
        *self.store.current.lock() = self.current.take();
        let touched = std::mem::take(&mut self.touched);
        Ok(touched.into_iter().map(|(segment, (_, len))| (segment, len)).collect())
    }

    /// Segments written to so far.
    #[must_use]
    pub fn segments(&self) -> BTreeSet<u32> {
        let current = self.current.as_ref().map(|current| current.segment);
        self.touched.keys().copied().chain(current.filter(|_| !self.buffer.is_empty())).collect()
    }

    fn roll(&mut self) -> Result<(), StoreError> {
        self.flush()?;
        self.current = None;
        let segment = self.store.next_segment.fetch_add(1, Ordering::Relaxed);
        let name = name(segment);
        let path = self.store.disk.path(&name);
        if segment == u32::MAX {
            let reason = "the numbers of body segments are used up".into();
            return Err(StoreError::Refused { file: path, reason });
        }
        let file = self.store.disk.create(&name).map_err(StoreError::io(&path, "create"))?;
        file.write_at(0, &header()).map_err(StoreError::io(&path, "write"))?;
        self.created = true;
        self.current = Some(Current { segment, file, len: SEGMENT_HEADER as u64 });
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let Some(mut current) = self.current.take() else { return Err(self.given_up()) };
        let path = self.store.disk.path(&name(current.segment));
        // On an error the segment is not put back: what it holds beyond its checkpointed length is unknown.
        current.file.write_at(current.len, &self.buffer).map_err(StoreError::io(&path, "write"))?;
        current.len += self.buffer.len() as u64;
        self.buffer.clear();
        self.touched.insert(current.segment, (current.file.clone(), current.len));
        self.current = Some(current);
        Ok(())
    }

    fn given_up(&self) -> StoreError {
        let reason = "an earlier write failed".into();
        StoreError::Failed { file: self.store.disk.path(""), reason }
    }
}

impl fmt::Debug for BodyWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyWriter").field("buffered", &self.buffer.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::store::bodies::{BodyOptions, BodyRef, BodyStore};
    use crate::store::codec::{Reader, Writer};
    use crate::store::disk::simulated::SimulatedDisk;
    use crate::store::error::StoreError;

    const OPTIONS: BodyOptions = BodyOptions { segment_bytes: 1000, handles_max: 2 };

    fn body(index: usize) -> Vec<u8> {
        vec![index as u8; index * 83 % 400]
    }

    #[test]
    fn a_body_larger_than_a_segment_gets_its_own() {
        let disk = SimulatedDisk::default();
        let store = BodyStore::open(disk.shared(), OPTIONS, []).unwrap();
        let mut writer = store.writer();
        let small = writer.append(b"small").unwrap();
        let large = writer.append(&[1; 5000]).unwrap();
        let after = writer.append(b"after").unwrap();
        writer.finish().unwrap();
        assert_eq!([small.segment, large.segment, after.segment], [1, 2, 3]);
        assert_eq!(store.read(large).unwrap().len(), 5000);
    }

    #[test]
    fn a_failed_sync_leaves_only_what_was_checkpointed() {
        let disk = SimulatedDisk::default();
        let store = BodyStore::open(disk.shared(), OPTIONS, []).unwrap();
        let mut writer = store.writer();
        let kept = writer.append(b"kept").unwrap();
        let lengths = writer.finish().unwrap();
        let mut writer = store.writer();
        assert_eq!(writer.append(b"lost").unwrap().segment, kept.segment);
        disk.inject(|faults| faults.syncs = 1);
        assert!(matches!(writer.finish(), Err(StoreError::Io { .. })));
        // The next one stays away from that file.
        let mut writer = store.writer();
        let next = writer.append(b"again").unwrap();
        assert_ne!(next.segment, kept.segment);
        let more = writer.finish().unwrap();
        let disk = disk.crash(&mut |_, unsynced| unsynced);
        let listed = lengths.into_iter().chain(more);
        let store = BodyStore::open(disk.shared(), OPTIONS, listed).unwrap();
        assert_eq!(store.read(kept).unwrap(), "kept");
        assert_eq!(store.read(next).unwrap(), "again");
    }

    #[test]
    fn damage_is_told_with_its_place() {
        let disk = SimulatedDisk::default();
        let store = BodyStore::open(disk.shared(), OPTIONS, []).unwrap();
        let mut writer = store.writer();
        let place = writer.append(b"a body").unwrap();
        let lengths = writer.finish().unwrap();
        disk.damage("00000001.seg", |bytes| bytes[place.offset as usize + 9] ^= 1);
        assert!(matches!(store.read(place), Err(StoreError::Corrupt { offset: 16, .. })));
        for wrong in [BodyRef { len: 5, ..place }, BodyRef { offset: 900, ..place }] {
            assert!(matches!(store.read(wrong), Err(StoreError::Corrupt { .. })));
        }
        let too_long = [(1, lengths[0].1 + 1)];
        let before = disk.everything();
        let result = BodyStore::open(disk.shared(), OPTIONS, too_long);
        assert!(matches!(result, Err(StoreError::Missing { .. })));
        let result = BodyStore::open(disk.shared(), OPTIONS, [(1, 16), (7, 20)]);
        assert!(matches!(result, Err(StoreError::Missing { .. })));
        assert_eq!(disk.everything(), before);
        disk.damage("00000001.seg", |bytes| bytes[8] = 9);
        let result = BodyStore::open(disk.shared(), OPTIONS, lengths);
        assert!(matches!(result, Err(StoreError::Version { found: 9, .. })));
    }

    #[test]
    fn an_unlinked_segment_is_gone() {
        let disk = SimulatedDisk::default();
        let store = BodyStore::open(disk.shared(), OPTIONS, []).unwrap();
        let mut writer = store.writer();
        let place = writer.append(b"a body").unwrap();
        writer.finish().unwrap();
        store.read(place).unwrap();
        store.unlink(place.segment).unwrap();
        store.unlink(place.segment).unwrap();
        assert!(store.read(place).is_err());
        assert_ne!(store.writer().append(b"new").unwrap().segment, place.segment);
    }

    proptest! {
        #[test]
        fn bodies_come_back_after_a_crash(rounds in proptest::collection::vec(0usize..30, 1..6)) {
            let mut disk = SimulatedDisk::default();
            let mut listed = std::collections::BTreeMap::new();
            let mut known = Vec::new();
            for (round, count) in rounds.into_iter().enumerate() {
                let store = BodyStore::open(disk.shared(), OPTIONS, listed.clone()).unwrap();
                let mut writer = store.writer();
                for index in 0..count {
                    known.push((writer.append(&body(index)).unwrap(), index));
                }
                listed.extend(writer.finish().unwrap());
                // A checkpoint that never became current.
                let mut writer = store.writer();
                for index in 0..round {
                    writer.append(&body(index)).unwrap();
                }
                drop(writer);
                for (place, index) in &known {
                    prop_assert_eq!(&store.read(*place).unwrap()[..], &body(*index)[..]);
                }
                disk = disk.crash(&mut |_, unsynced| unsynced / 2);
            }
            let store = BodyStore::open(disk.shared(), OPTIONS, listed).unwrap();
            for (place, index) in known {
                prop_assert_eq!(&store.read(place).unwrap()[..], &body(index)[..]);
            }
        }

        #[test]
        fn references_round_trip(segment: u32, offset: u32, len: u32) {
            let place = BodyRef { segment, offset, len };
            let mut bytes = Vec::new();
            place.encode(&mut Writer(&mut bytes));
            prop_assert_eq!(bytes.len(), 12);
            prop_assert_eq!(BodyRef::decode(&mut Reader::new(&bytes))?, place);
        }
    }
}
