//! Reading a partition. Part of `broker/logs/partition`.

use std::io;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use thiserror::Error;

use super::{Partition, Tail};

/// Batches read.
#[derive(Clone, Debug)]
pub struct FetchSlice {
    /// Whole batches, the first of which holds the offset asked for.
    pub records: Bytes,
    /// The end.
    pub high_watermark: i64,
    /// First offset still there.
    pub log_start: i64,
    /// Who leads: how often the partition was cut back.
    pub leader_epoch: i32,
}

/// Why nothing was read.
#[derive(Debug, Error)]
pub enum FetchError {
    /// The offset lies before the start or beyond the end.
    #[error("offset out of range: the partition holds {log_start} to {high_watermark}")]
    OutOfRange {
        /// First offset still there.
        log_start: i64,
        /// The end.
        high_watermark: i64,
    },
    /// The log was deleted meanwhile.
    #[error("the log was deleted")]
    Gone,
    /// The disk failed.
    #[error("reading the log failed: {0}")]
    Storage(#[from] io::Error),
}

impl Partition {
    /// Whole batches from the one that holds `offset`, at most `bytes_max` bytes but always one if there is
    /// one. Nothing at the end, and nothing if `bytes_max` is 0.
    ///
    /// # Errors
    /// If there is no such offset, or the disk fails.
    pub fn read(&self, offset: i64, bytes_max: usize) -> Result<FetchSlice, FetchError> {
        if self.gone.load(Ordering::Acquire) {
            return Err(FetchError::Gone);
        }
        let (mut slice, from_files_to) = {
            let state = self.state.lock();
            let (log_start, high_watermark) = (state.log_start, state.next_offset);
            if offset < log_start || offset > high_watermark {
                return Err(FetchError::OutOfRange { log_start, high_watermark });
            }
            let mut records = Bytes::new();
            let mut from_files_to = high_watermark;
            if bytes_max == 0 {
                from_files_to = offset;
            } else if let Some(tail) = &state.tail {
                from_files_to = tail.first_offset;
                if offset >= tail.first_offset {
                    records = tail.read(offset, bytes_max);
                }
            }
            let leader_epoch = state.leader_epoch;
            (FetchSlice { records, high_watermark, log_start, leader_epoch }, from_files_to)
        };
        if offset < from_files_to {
            let read = self.files.read(offset, bytes_max, from_files_to);
            slice.records = read.or_else(|error| self.excuse(offset, error))?;
        }
        Ok(slice)
    }

    /// A file that could not be read may have gone with what was asked for.
    fn excuse(&self, offset: i64, error: io::Error) -> Result<Bytes, FetchError> {
        if self.gone.load(Ordering::Acquire) {
            return Err(FetchError::Gone);
        }
        let state = self.state.lock();
        if offset < state.log_start {
            let (log_start, high_watermark) = (state.log_start, state.next_offset);
            return Err(FetchError::OutOfRange { log_start, high_watermark });
        }
        Err(FetchError::Storage(error))
    }
}

impl Tail {
    fn read(&self, offset: i64, bytes_max: usize) -> Bytes {
        let from = self.batches.partition_point(|(last, _)| *last < offset);
        let mut bytes = Vec::new();
        for (_, batch) in self.batches.get(from..).unwrap_or_default() {
            if !bytes.is_empty() && bytes.len() + batch.len() > bytes_max {
                break;
            }
            bytes.extend_from_slice(batch);
        }
        bytes.into()
    }
}
