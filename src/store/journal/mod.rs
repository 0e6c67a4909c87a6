//! The write-ahead log of everything durable: one order, one writer thread, one sync a batch. Part of
//! `store`.
//!
//! - [`batch`] what is written at once, and how it lies on disk
//! - [`segment`] one preallocated file of batches; [`segments`] the file being written and those before it
//! - [`spare`] empty segments prepared ahead, and trimmed ones for reuse
//! - [`extent`] what of it belongs into a backup
//! - [`recovery`] the verdict over what a crash left; [`replay`] its batches again
//! - [`queue`] where records wait for the writer; [`writer`] the thread; [`embedded`] all of it together
//!
//! [`Journal`] is the seam: a journal kept elsewhere (a Kafka partition) would implement the same trait.

pub mod batch;
pub mod embedded;
pub mod extent;
mod queue;
mod recovery;
pub mod replay;
mod segment;
mod segments;
mod spare;
#[cfg(test)]
mod tests;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use crate::model::ids::Lsn;
use crate::store::error::StoreError;

pub use self::recovery::check_covered;

/// Longest record, in bytes. The largest MQTT packet is just below it (MQTT-2.2.3).
pub const RECORD_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Called when a full journal has room again.
pub type OnRoom = Arc<dyn Fn() + Send + Sync>;

/// Who gets every batch once it is durable, in order. Called by the writer: it must not block for long.
pub type Sink<W> = Box<dyn FnMut(batch::Batch<W>) + Send>;

/// The journal as everything above sees it. `W` is the submitter's waiter, handed back with the batch.
pub trait Journal<W: Send>: Send + Sync {
    /// Appends one record to the batch being filled; its place there is its LSN. `fill` runs under the submit
    /// lock and appends the record's body to the buffer it is given, which holds other records too. Never
    /// waits for the disk.
    ///
    /// # Errors
    /// The record was refused and will never be written; its LSN goes to the next one.
    fn submit_with(
        &self,
        waiter: Option<W>,
        fill: &mut dyn FnMut(Lsn, &mut Vec<u8>),
    ) -> Result<Lsn, SubmitError>;

    /// Appends a record that nobody waits for: it is written with the next one that somebody may wait for, or
    /// within milliseconds.
    ///
    /// # Errors
    /// As [`Self::submit_with`].
    fn submit_in_time(&self, fill: &mut dyn FnMut(Lsn, &mut Vec<u8>)) -> Result<Lsn, SubmitError> {
        self.submit_with(None, fill)
    }

    /// The last LSN given out. Taken under the submit lock: whatever the caller did before it is seen by every
    /// submitter that gets a higher LSN.
    fn last_lsn(&self) -> Lsn;

    /// Runs `action` with the last LSN given out, under the submit lock: no record takes a higher one meanwhile.
    fn at_last_lsn(&self, action: &mut dyn FnMut(Lsn));

    /// The last LSN that is on disk.
    fn durable_lsn(&self) -> Lsn;

    /// True while submitted but unapplied bytes exceed the bound. Who stops reading because of it registers
    /// for [`Journal::on_room`] first and asks again after.
    fn is_full(&self) -> bool;

    /// Sets the one callback for the moment when room returns; later calls are ignored.
    fn on_room(&self, callback: OnRoom);

    /// The applier gives back bytes ([`batch::Batch::submitted_bytes`]).
    fn applied(&self, bytes: usize);

    /// Drops every segment that holds only batches before `first_kept`. The segment being written stays.
    ///
    /// # Errors
    /// A file cannot be renamed or removed; what was dropped stays dropped, the rest is tried again next time.
    fn trim(&self, first_kept: u64) -> Result<(), StoreError>;

    /// Whether records can become durable at the moment.
    fn state(&self) -> JournalState;
}

/// Why a record was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// Nothing can be made durable at the moment; the journal keeps trying.
    #[error("the journal cannot write: {reason}")]
    Unavailable {
        /// The last failure.
        reason: Arc<str>,
    },
    /// The record exceeds [`RECORD_BYTES_MAX`].
    #[error("a record of {bytes} bytes exceeds the journal's limit of {RECORD_BYTES_MAX}")]
    TooLarge {
        /// The record's length.
        bytes: usize,
    },
    /// The journal is shutting down.
    #[error("the journal is closed")]
    Closed,
}

/// Whether records can become durable at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JournalState {
    /// Yes.
    Ok,
    /// No: neither the current segment nor a new one could be written. Submissions are refused, what was in
    /// doubt stays in memory, a new segment is tried again and again.
    Failing {
        /// How often it has been tried.
        attempts: u32,
        /// The last failure.
        reason: Arc<str>,
    },
}

/// What "durable" means for the whole journal; a user's explicit choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Synced to the device before anything is acknowledged: survives a power cut.
    #[default]
    Fsync,
    /// Handed to the operating system: survives the process, not a power cut.
    Os,
}

/// Limits of an embedded journal.
#[derive(Debug, Clone)]
pub struct JournalOptions {
    /// Length of a segment file in bytes; a longer batch gets a segment of its own.
    pub segment_bytes: u64,
    /// Submitted but unapplied bytes above which the journal is full.
    pub submit_bytes_max: usize,
    /// Bytes after which a batch is closed and the next begun; a longer record gets a batch of its own.
    pub batch_bytes_max: usize,
    /// What an acknowledgement waits for.
    pub durability: Durability,
    /// Empty segments kept ready; 0 for none, and then no thread prepares them. As many as a checkpoint trims at
    /// once: those that are removed have to be written full of zeros again before the next one.
    pub spare_segments: usize,
    /// Pause between attempts while failing.
    pub retry: Duration,
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 64 * 1024 * 1024,
            submit_bytes_max: 64 * 1024 * 1024,
            batch_bytes_max: 8 * 1024 * 1024,
            durability: Durability::Fsync,
            spare_segments: 6,
            retry: Duration::from_secs(1),
        }
    }
}

/// Where a replay begins: the first batch that a checkpoint does not cover, and its first record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Number of the batch.
    pub batch: u64,
    /// LSN of its first record.
    pub lsn: Lsn,
}

impl Position {
    /// The position of a data directory without a checkpoint.
    pub const START: Self = Self { batch: 1, lsn: Lsn(1) };
}
