//! The body segments of a data directory. Part of `store::bodies`.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::store::bodies::writer::{BodyWriter, Current};
use crate::store::bodies::{
    BODY_BYTES_MAX, BodyOptions, BodyRef, Lane, RECORD_HEADER, check_header, name, number,
};
use crate::store::codec::Reader;
use crate::store::disk::listed::{Listed, open_listed};
use crate::store::disk::{Disk, DiskFile, read_full};
use crate::store::error::StoreError;

/// All body segments of a data directory. Reads run beside each other and beside the writer.
pub struct BodyStore {
    disk: Arc<dyn Disk>,
    options: BodyOptions,
    next_segment: AtomicU32,
    /// The segment that the next writer of each lane goes on in.
    current: Mutex<[Option<Current>; Lane::COUNT]>,
    handles: Mutex<Handles>,
}

/// Open files with the tick of their last use.
#[derive(Default)]
struct Handles {
    open: HashMap<u32, (Arc<dyn DiskFile>, u64)>,
    tick: u64,
    /// Counts removed segments: one that was opened meanwhile may be among them, and is not kept.
    unlinked: u64,
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
            let Listed { file, path, is_longer } =
                open_listed(disk.as_ref(), &name, "body segment", valid_len)?;
            check_header(disk.as_ref(), &name, file.as_ref())?;
            if is_longer {
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
            current: Mutex::default(),
            handles: Mutex::default(),
        }))
    }

    /// Reads a body and checks it.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when there is another body or none, [`StoreError::Missing`] when the segment was removed,
    /// [`StoreError::Io`].
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
        let file = match self.handle(body.segment) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::Missing { file: path, expected: "a body segment".into() });
            }
            other => other.map_err(StoreError::io(&path, "open"))?,
        };
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

    /// Begins to write bodies that came since the checkpoint before. One writer at a time goes on in the current
    /// segment; another one, or one after a failure, begins a new one.
    #[must_use]
    pub fn writer(self: &Arc<Self>) -> BodyWriter {
        self.writer_of(Lane::Fresh)
    }

    /// [`BodyStore::writer`] in a lane.
    #[must_use]
    pub fn writer_of(self: &Arc<Self>, lane: Lane) -> BodyWriter {
        let current = self.current.lock().get_mut(lane as usize).and_then(Option::take);
        BodyWriter::new(self.clone(), lane, current)
    }

    /// The segment that the next writer of `lane` goes on in.
    #[must_use]
    pub fn current(&self, lane: Lane) -> Option<u32> {
        let current = self.current.lock();
        current.get(lane as usize)?.as_ref().map(|current| current.segment)
    }

    pub(super) fn disk(&self) -> &dyn Disk {
        self.disk.as_ref()
    }

    pub(super) fn segment_bytes(&self) -> u64 {
        self.options.segment_bytes.into()
    }

    /// A number that no segment has had since the start.
    pub(super) fn new_segment(&self) -> u32 {
        self.next_segment.fetch_add(1, Ordering::Relaxed)
    }

    /// Lets the next writer go on where one has finished.
    pub(super) fn go_on_in(&self, lane: Lane, current: Option<Current>) {
        if let Some(place) = self.current.lock().get_mut(lane as usize) {
            *place = current;
        }
    }

    /// Has no writer go on in `segment`.
    pub fn seal(&self, segment: u32) {
        for current in self.current.lock().iter_mut() {
            if current.as_ref().is_some_and(|current| current.segment == segment) {
                *current = None;
            }
        }
    }

    /// Removes a segment that no checkpoint names any longer. One that is not there is no error.
    ///
    /// # Errors
    /// The file cannot be removed; the next start tries again.
    pub fn unlink(&self, segment: u32) -> Result<(), StoreError> {
        self.seal(segment);
        let name = name(segment);
        let removed = match self.disk.remove(&name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(StoreError::io(&self.disk.path(&name), "remove")),
        };
        let mut handles = self.handles.lock();
        handles.unlinked += 1;
        handles.open.remove(&segment);
        removed
    }

    fn handle(&self, segment: u32) -> io::Result<Arc<dyn DiskFile>> {
        let mut handles = self.handles.lock();
        handles.tick += 1;
        let tick = handles.tick;
        if let Some((file, used)) = handles.open.get_mut(&segment) {
            *used = tick;
            return Ok(file.clone());
        }
        let unlinked = handles.unlinked;
        drop(handles);
        let file = self.disk.open(&name(segment))?;
        let mut handles = self.handles.lock();
        if handles.unlinked != unlinked {
            return Ok(file);
        }
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
