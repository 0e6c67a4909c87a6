//! The bodies of one checkpoint. Part of `store::bodies`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use crate::store::bodies::segments::BodyStore;
use crate::store::bodies::{
    BODY_BYTES_MAX, BodyRef, Lane, RECORD_HEADER, SEGMENT_HEADER, header, name,
};
use crate::store::codec::Writer;
use crate::store::disk::DiskFile;
use crate::store::error::StoreError;

/// Bodies are collected up to this many bytes before they are written.
const BUFFER_BYTES: usize = 256 * 1024;

/// The segment being written.
pub(super) struct Current {
    pub(super) segment: u32,
    file: Arc<dyn DiskFile>,
    len: u64,
}

/// Writes the bodies of one checkpoint. Dropped without [`BodyWriter::finish`], or after an error, what it wrote
/// does not count: the segment that it went on in is not written again, those that it began are removed.
pub struct BodyWriter {
    store: Arc<BodyStore>,
    lane: Lane,
    current: Option<Current>,
    /// What is not written yet; it belongs at the end of the current segment.
    buffer: Vec<u8>,
    touched: BTreeMap<u32, (Arc<dyn DiskFile>, u64)>,
    created: Vec<u32>,
}

impl BodyWriter {
    pub(super) fn new(store: Arc<BodyStore>, lane: Lane, current: Option<Current>) -> Self {
        let (buffer, touched, created) = (Vec::new(), BTreeMap::new(), Vec::new());
        Self { store, lane, current, buffer, touched, created }
    }

    /// Appends a body. It can be read once [`BodyWriter::finish`] has returned.
    ///
    /// # Errors
    /// [`StoreError::Io`]: give the writer up. [`StoreError::Refused`] for a body that is too long.
    pub fn append(&mut self, body: &[u8]) -> Result<BodyRef, StoreError> {
        if body.len() > BODY_BYTES_MAX {
            return Err(StoreError::Refused {
                file: self.store.disk().path(""),
                reason: format!("a body of {} bytes exceeds {BODY_BYTES_MAX}", body.len()),
            });
        }
        let wanted = (RECORD_HEADER + body.len()) as u64;
        let limit = self.store.segment_bytes();
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
            let path = self.store.disk().path(&name(*segment));
            file.sync_data().map_err(StoreError::io(&path, "sync"))?;
        }
        if !self.created.is_empty() {
            let disk = self.store.disk();
            disk.sync_dir().map_err(StoreError::io(&disk.path(""), "sync"))?;
        }
        self.created.clear();
        self.store.go_on_in(self.lane, self.current.take());
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
        let segment = self.store.new_segment();
        let name = name(segment);
        let path = self.store.disk().path(&name);
        if segment == u32::MAX {
            let reason = "the numbers of body segments are used up".into();
            return Err(StoreError::Refused { file: path, reason });
        }
        let file = self.store.disk().create(&name).map_err(StoreError::io(&path, "create"))?;
        self.created.push(segment);
        file.write_at(0, &header()).map_err(StoreError::io(&path, "write"))?;
        self.current = Some(Current { segment, file, len: SEGMENT_HEADER as u64 });
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let Some(mut current) = self.current.take() else { return Err(self.given_up()) };
        let path = self.store.disk().path(&name(current.segment));
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
        StoreError::Failed { file: self.store.disk().path(""), reason }
    }
}

impl Drop for BodyWriter {
    /// What came to nothing may take the very room that the next attempt needs.
    fn drop(&mut self) {
        for segment in std::mem::take(&mut self.created) {
            if let Err(error) = self.store.unlink(segment) {
                tracing::debug!(%error, "a body segment that came to nothing was not removed");
            }
        }
    }
}

impl fmt::Debug for BodyWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyWriter").field("buffered", &self.buffer.len()).finish_non_exhaustive()
    }
}
