//! The state of one partition. Part of `broker/logs`.
//!
//! The applier is its only writer and appends what is synced already, so the high watermark is the end: what
//! is there may be read. Readers on other threads see a batch's bytes before the watermark that covers it.
//!
//! When the files are out of use, the state goes on from memory: what was journaled was acknowledged and stays
//! readable, further submits are refused, and the journal keeps everything (design §2, rule 4). A disk that is full
//! or fails for a while is the files' own business.

mod reading;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use thiserror::Error;

use crate::broker::logs::batch::header::{self, BatchHeader};
use crate::broker::logs::files::{MemorySegments, SegmentFiles};
use crate::broker::logs::producers::{Producers, SequenceFault, Verdict};
use crate::broker::logs::settings::LogSettings;
use crate::broker::logs::waiters::{Waiter, Waiters};
use crate::model::ids::LogId;
use crate::store::partition::SegmentInfo;
use crate::store::tables::partitions::PartitionRow;

pub use self::reading::{FetchError, FetchSlice};

/// Batches by offset, from the log's start to its end.
pub struct Partition {
    log: LogId,
    index: u32,
    append_time: AtomicBool,
    /// Its log was deleted.
    gone: AtomicBool,
    pub(super) files: Box<dyn SegmentFiles>,
    state: Mutex<State>,
    waiters: Waiters,
}

#[derive(Clone, Debug, Default)]
struct State {
    next_offset: i64,
    log_start: i64,
    leader_epoch: i32,
    /// Highest timestamp so far and the base offset of its batch.
    newest: Option<(i64, i64)>,
    producers: Producers,
    tail: Option<Tail>,
}

/// What was appended since the files failed.
#[derive(Clone, Debug)]
struct Tail {
    first_offset: i64,
    error: String,
    batches: Vec<(i64, Bytes)>,
}

/// What became of a batch. The same on every replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendOutcome {
    /// It is in the log now.
    Appended {
        /// Offset of its first record.
        base_offset: i64,
        /// First offset of the partition.
        log_start: i64,
        /// The time given to its records, if the log stamps them.
        append_time_ms: Option<i64>,
    },
    /// It was in the log before.
    Duplicate {
        /// Offset of its first record.
        base_offset: i64,
        /// First offset of the partition.
        log_start: i64,
        /// The time given to its records, if the log stamps them.
        append_time_ms: Option<i64>,
    },
    /// It does not fit its producer's sequence; nothing changed.
    Refused(SequenceFault),
    /// It is no batch. Checked batches never are; nothing changed.
    Malformed,
}

/// A checkpointed row that cannot be restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the checkpointed state of partition {partition} of log {log} is malformed")]
pub struct RestoreError {
    /// Which log.
    pub log: LogId,
    /// Which partition.
    pub partition: u32,
}

impl std::fmt::Debug for Partition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.state.lock();
        f.debug_struct("Partition")
            .field("log", &self.log)
            .field("index", &self.index)
            .field("log_start", &state.log_start)
            .field("next_offset", &state.next_offset)
            .finish_non_exhaustive()
    }
}

impl Partition {
    /// An empty partition; `append_time` if the log stamps records.
    #[must_use]
    pub fn new(log: LogId, index: u32, append_time: bool, files: Box<dyn SegmentFiles>) -> Self {
        Self {
            log,
            index,
            append_time: AtomicBool::new(append_time),
            gone: AtomicBool::new(false),
            files,
            state: Mutex::default(),
            waiters: Waiters::default(),
        }
    }

    /// An empty partition whose files could not be made: as one whose files failed.
    #[must_use]
    pub fn without_files(log: LogId, index: u32, append_time: bool, error: String) -> Self {
        let partition = Self::new(log, index, append_time, Box::<MemorySegments>::default());
        let tail = Tail { first_offset: 0, error, batches: Vec::new() };
        partition.state.lock().tail = Some(tail);
        partition
    }

    /// The partition as `row` froze it, over `files` cut back to its lengths.
    ///
    /// # Errors
    /// If the row contradicts itself.
    pub fn restore(
        log: LogId,
        index: u32,
        append_time: bool,
        files: Box<dyn SegmentFiles>,
        row: &PartitionRow,
    ) -> Result<Self, RestoreError> {
        let fault = RestoreError { log, partition: index };
        let (newest, producers) = row.producers.split_first_chunk::<16>().ok_or(fault)?;
        let producers = Producers::decode(producers).ok_or(fault)?;
        let sane = 0 <= row.log_start && row.log_start <= row.next_offset;
        if !sane {
            return Err(fault);
        }
        let (timestamp, offset) = newest.split_at(8);
        let number = |bytes: &[u8]| bytes.try_into().map(i64::from_le_bytes).map_err(|_| fault);
        let (timestamp, offset) = (number(timestamp)?, number(offset)?);
        let partition = Self::new(log, index, append_time, files);
        *partition.state.lock() = State {
            next_offset: row.next_offset,
            log_start: row.log_start,
            leader_epoch: row.leader_epoch,
            newest: (timestamp != i64::MIN).then_some((timestamp, offset)),
            producers,
            tail: None,
        };
        Ok(partition)
    }

    /// The log it belongs to.
    #[must_use]
    pub fn log(&self) -> LogId {
        self.log
    }

    /// Its number within the log, from 0.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// The end: the offset that the next record gets, and the high watermark.
    #[must_use]
    pub fn end(&self) -> i64 {
        self.state.lock().next_offset
    }

    /// First offset still there.
    #[must_use]
    pub fn log_start(&self) -> i64 {
        self.state.lock().log_start
    }

    /// Bytes of its files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.segments().iter().map(|segment| segment.bytes).sum()
    }

    /// See [`FetchSlice::leader_epoch`].
    #[must_use]
    pub fn leader_epoch(&self) -> i32 {
        self.state.lock().leader_epoch
    }

    /// Highest timestamp of a batch so far, and the batch's base offset.
    #[must_use]
    pub fn newest(&self) -> Option<(i64, i64)> {
        self.state.lock().newest
    }

    /// What the disk says when nothing more is to be submitted: the files are out of use, or cannot be written for the
    /// moment and too much waits for that.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        let out_of_use = self.state.lock().tail.as_ref().map(|tail| tail.error.clone());
        out_of_use.or_else(|| self.files.refusal())
    }

    /// Whether the files are out of use until a restart.
    #[must_use]
    pub fn is_out_of_use(&self) -> bool {
        self.state.lock().tail.is_some()
    }

    /// Forgets who appended what, as no partition should: the proofs must find that out.
    #[cfg(test)]
    pub(in crate::broker) fn forget_producers(&self) {
        self.state.lock().producers = Producers::default();
    }

    /// Appends a batch, for the applier alone. `now_ms` is the record's time.
    pub fn append_batch(&self, now_ms: u64, batch: &[u8]) -> AppendOutcome {
        let whole = BatchHeader::read(batch).filter(|h| h.total_bytes() == Some(batch.len()));
        let Some(header) = whole.filter(|header| header.last_offset_delta >= 0) else {
            return AppendOutcome::Malformed;
        };
        let is_stamped = self.append_time.load(Ordering::Acquire);
        let (base_offset, log_start, leader_epoch) = {
            let state = self.state.lock();
            let log_start = state.log_start;
            match state.producers.judge(&header, now_ms) {
                Ok(Verdict::Append) => (state.next_offset, log_start, state.leader_epoch),
                Ok(Verdict::Duplicate { base_offset, timestamp }) => {
                    let append_time_ms = is_stamped.then_some(timestamp);
                    return AppendOutcome::Duplicate { base_offset, log_start, append_time_ms };
                }
                Err(fault) => return AppendOutcome::Refused(fault),
            }
        };
        let append_time_ms = is_stamped.then(|| i64::try_from(now_ms).unwrap_or(i64::MAX));
        let timestamp = append_time_ms.unwrap_or(header.max_timestamp);
        // Everything that the broker sets lies in the header; the records stay where they are.
        let Some((head, records)) = batch.split_first_chunk::<{ header::HEADER_BYTES }>() else {
            return AppendOutcome::Malformed;
        };
        let mut head = *head;
        header::patch(&mut head, base_offset, leader_epoch);
        if let Some(time) = append_time_ms {
            header::stamp(&mut head, records, time);
        }
        self.store(&header, base_offset, (timestamp, now_ms), [&head, records]);
        AppendOutcome::Appended { base_offset, log_start, append_time_ms }
    }

    /// `times` are the batch's newest and when it came.
    fn store(&self, header: &BatchHeader, base_offset: i64, times: (i64, u64), stored: [&[u8]; 2]) {
        let (timestamp, now_ms) = times;
        let last_offset = base_offset.saturating_add(header.last_offset_delta.into());
        let failed = self.state.lock().tail.is_some();
        let written = if failed {
            Ok(())
        } else {
            self.files.append(base_offset, last_offset, timestamp, stored)
        };
        let mut state = self.state.lock();
        if let Err(error) = written {
            let (log, partition) = (self.log, self.index);
            tracing::error!(%log, partition, %error, "a log's files failed; it takes no more");
            let error = error.to_string();
            state.tail = Some(Tail { first_offset: base_offset, error, batches: Vec::new() });
        }
        if let Some(tail) = &mut state.tail {
            tail.batches.push((last_offset, stored.concat().into()));
        }
        state.producers.note(header, base_offset, timestamp, now_ms);
        if state.newest.is_none_or(|(highest, _)| timestamp > highest) {
            state.newest = Some((timestamp, base_offset));
        }
        state.next_offset = last_offset.saturating_add(1);
    }

    /// Moves the start up to `offset`, at most to the end, for the applier alone. Returns the new start. Files that
    /// nothing is in any more go with a checkpoint, see [`Self::take_removed`].
    pub fn advance_start(&self, offset: i64) -> i64 {
        let log_start = {
            let mut state = self.state.lock();
            state.log_start = offset.clamp(state.log_start, state.next_offset);
            let log_start = state.log_start;
            if let Some(tail) = &mut state.tail {
                tail.batches.retain(|(last_offset, _)| *last_offset >= log_start);
            }
            log_start
        };
        // Readers see the start before the files go.
        self.files.remove_before(log_start);
        log_start
    }

    /// Puts other settings in force, for the applier alone.
    pub fn configure(&self, settings: &LogSettings) {
        self.append_time.store(settings.append_time, Ordering::Release);
        self.files.configure(settings);
    }

    /// The log was deleted: whoever reads or waits is told.
    pub fn retire(&self) {
        self.gone.store(true, Ordering::Release);
        self.waiters.wake();
    }

    /// The segments there are, in order.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentInfo> {
        self.files.segments()
    }

    /// Files that hold nothing any more since the last call; for the applier alone, when it freezes.
    #[must_use]
    pub fn take_removed(&self) -> Vec<String> {
        self.files.take_removed()
    }

    /// Removes what [`Self::take_removed`] named, once a checkpoint without them is current (design §2, rule 10).
    ///
    /// # Errors
    /// Those of the disk; what is left goes at the next start.
    pub fn unlink(&self, names: &[String]) -> io::Result<()> {
        self.files.unlink(names)
    }

    /// What a checkpoint keeps, or `None` if the files failed and the checkpoint must do without. Called on a
    /// batch boundary; the row counts once [`Self::sync`], called after it, succeeds.
    ///
    /// `producers` holds the highest timestamp (`i64`, `i64::MIN` for none) and its batch's offset (`i64`),
    /// little-endian, then [`Producers::encode`].
    #[must_use]
    pub fn freeze(&self) -> Option<PartitionRow> {
        let state = self.state.lock();
        if state.tail.is_some() {
            return None;
        }
        let (timestamp, offset) = state.newest.unwrap_or((i64::MIN, 0));
        let mut producers = timestamp.to_le_bytes().to_vec();
        producers.extend_from_slice(&offset.to_le_bytes());
        state.producers.encode(&mut producers);
        Some(PartitionRow {
            segments: self.files.freeze_lengths(),
            next_offset: state.next_offset,
            log_start: state.log_start,
            leader_epoch: state.leader_epoch,
            producers: producers.into(),
        })
    }

    /// Makes durable what was appended before the call. For the checkpoint's thread.
    ///
    /// # Errors
    /// If the files fail; the checkpoint then keeps the partition's former row, and tries again. Files that are out of
    /// use stay so until a restart.
    pub fn sync(&self) -> io::Result<()> {
        self.files.sync().inspect_err(|_| {
            let Some(error) = self.files.failure() else { return };
            let mut state = self.state.lock();
            let first_offset = state.next_offset;
            state.tail.get_or_insert_with(|| Tail { first_offset, error, batches: Vec::new() });
        })
    }

    /// `row`, the last one that [`Self::freeze`] gave, with the files that hold it after [`Self::sync`].
    #[must_use]
    pub fn current(&self, row: &PartitionRow) -> PartitionRow {
        let segments = self.files.lengths_now(&row.segments);
        PartitionRow { segments, ..row.clone() }
    }

    /// Wakes whoever waits for what was counted since the last call.
    pub fn publish(&self) {
        self.waiters.publish();
    }

    pub(super) fn count_appended(&self, bytes: usize) -> bool {
        self.waiters.appended(bytes)
    }

    pub(super) fn register(&self, waiter: &Arc<Waiter>, seen_end: i64) -> bool {
        let moved = || self.end() != seen_end || self.gone.load(Ordering::Acquire);
        self.waiters.register(waiter, moved)
    }

    pub(super) fn unregister(&self, waiter: &Arc<Waiter>) {
        self.waiters.remove(waiter);
    }
}
