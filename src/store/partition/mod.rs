//! Files of the partition logs: Kafka v2 record batches byte for byte (KIP-98). Part of `store`.
//!
//! - [`files`] one partition: append, read, look up by time, sync, retention; [`mending`] when a sync fails
//! - [`folders`] where partitions live; [`late`] one that could not be made yet
//! - [`check`] every batch of a partition
//! - [`header`] the little of a record batch that a file needs to know
//! - [`behind`] appended bytes on their way to a file; [`buffers`] for reads
//! - [`index`] from offset to place, sparse; [`segment`] one file and its index
//!
//! A segment holds nothing but batches; its format version is in its name. What counts is what the checkpoint
//! says: a longer file is cut back at start, and the journal brings the rest again.

mod behind;
mod buffers;
pub mod check;
pub mod files;
pub mod folders;
pub mod header;
mod index;
pub mod late;
mod mending;
mod segment;
#[cfg(test)]
mod tests;

pub use self::segment::{SegmentInfo, index_name, log_name};

/// Limits of a partition's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionOptions {
    /// Length at which a segment is full; a longer append gets one of its own.
    pub segment_bytes: u64,
    /// A segment is full too when a batch is so much younger than its first one, by their records' latest
    /// timestamps, ms.
    pub segment_ms: u64,
    /// Bytes between two entries of the index in memory. An entry takes 24 bytes, so the default costs
    /// 375 MB for a terabyte of log.
    pub index_interval_bytes: u64,
    /// Appended bytes that a segment collects in memory before it writes them.
    pub write_bytes: usize,
}

impl Default for PartitionOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 128 * 1024 * 1024,
            segment_ms: u64::MAX,
            index_interval_bytes: 64 * 1024,
            write_bytes: 256 * 1024,
        }
    }
}
