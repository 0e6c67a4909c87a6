//! The batches of a journal again, one at a time. Part of `store::journal`.

use std::marker::PhantomData;
use std::sync::Arc;

use bytes::Bytes;

use crate::model::ids::Lsn;
use crate::store::disk::{Disk, DiskFile, read_full};
use crate::store::error::StoreError;
use crate::store::journal::batch::{Batch, BatchHeader, HEADER};

/// Neighbouring batches in one segment.
#[derive(Debug, Clone)]
pub(super) struct Span {
    pub(super) name: String,
    pub(super) salt: u64,
    /// Where the first begins.
    pub(super) offset: u64,
    /// Where the last ends.
    pub(super) end: u64,
}

/// Iterates over what a checkpoint does not cover, in order; holds one batch at a time. To be used up before
/// the journal is started. Ends after the first error.
#[derive(Debug)]
pub struct Replay<W> {
    disk: Arc<dyn Disk>,
    spans: std::vec::IntoIter<Span>,
    current: Option<(Span, Arc<dyn DiskFile>)>,
    total_bytes: u64,
    read_bytes: u64,
    waiter: PhantomData<fn() -> W>,
}

impl<W> Replay<W> {
    pub(super) fn new(disk: Arc<dyn Disk>, spans: Vec<Span>) -> Self {
        let total_bytes = spans.iter().map(|span| span.end.saturating_sub(span.offset)).sum();
        let (current, read_bytes, waiter) = (None, 0, PhantomData);
        Self { disk, spans: spans.into_iter(), current, total_bytes, read_bytes, waiter }
    }

    /// How much of it was read, in percent.
    #[must_use]
    pub fn percent(&self) -> u64 {
        self.read_bytes.saturating_mul(100) / self.total_bytes.max(1)
    }

    fn step(&mut self) -> Result<Option<Batch<W>>, StoreError> {
        loop {
            if let Some((span, file)) = &mut self.current
                && span.offset < span.end
            {
                let (header, records) = read_batch(self.disk.as_ref(), file.as_ref(), span)?;
                span.offset += header.disk_bytes();
                self.read_bytes += header.disk_bytes();
                return Ok(Some(Batch {
                    number: header.number,
                    first_lsn: Lsn(header.first_lsn),
                    count: header.count,
                    records,
                    waiters: Vec::new(),
                }));
            }
            let Some(span) = self.spans.next() else { return Ok(None) };
            let path = self.disk.path(&span.name);
            let file = self.disk.open(&span.name).map_err(StoreError::io(&path, "open"))?;
            self.current = Some((span, file));
        }
    }
}

impl<W> Iterator for Replay<W> {
    type Item = Result<Batch<W>, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let result = self.step();
        if result.is_err() {
            self.spans = Vec::new().into_iter();
            self.current = None;
        }
        result.transpose()
    }
}

/// Reads the batch at the beginning of `span`, which recovery found whole.
pub(super) fn read_batch(
    disk: &dyn Disk,
    file: &dyn DiskFile,
    span: &Span,
) -> Result<(BatchHeader, Bytes), StoreError> {
    let path = disk.path(&span.name);
    let changed = || {
        StoreError::corrupt(&path, span.offset, "the batch that was whole a moment ago", "another")
    };
    let mut bytes = [0; HEADER];
    read_full(file, span.offset, &mut bytes).map_err(StoreError::io(&path, "read a batch"))?;
    let header = BatchHeader::decode(&bytes, span.salt).map_err(|_| changed())?;
    if span.offset + header.disk_bytes() > span.end {
        return Err(changed());
    }
    let mut body = vec![0; header.body_bytes as usize];
    let count = read_full(file, span.offset + HEADER as u64, &mut body)
        .map_err(StoreError::io(&path, "read a batch"))?;
    if count < body.len() || crc32c::crc32c(&body) != header.body_crc {
        return Err(changed());
    }
    Ok((header, body.into()))
}
