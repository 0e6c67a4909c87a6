//! One partition on its way out: read, published, and followed until it is durable. Part of `broker::carry`, whose
//! head says why it is right.
//!
//! A passage never waits: [`Passage::advance`] does what can be done now and says what to wait for. It works in
//! chunks; of each, the last record that reaches the journal carries the only waiter. Its outcome speaks for all
//! before it: a link of the chain is done only if every earlier one is.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Notify;

use crate::broker::BrokerError;
use crate::broker::consumer::{Outcome, Waiter};
use crate::broker::logs::batch::header::{BatchHeader, attributes};
use crate::broker::logs::batch::records::{Opened, Record, batches};
use crate::broker::logs::partition::{FetchError, Partition};
use crate::broker::publish::step::{Step, StepError};
use crate::metrics::label::RouteFailure;
use crate::model::ids::Lsn;
use crate::store::journal::SubmitError;

use super::answers::Answers;
use super::carriage::{Carriage, Fate};

/// What is read of a partition at a time; one batch may be larger.
const SLICE_BYTES: usize = 256 << 10;
/// Records published in a turn, and bytes of them.
const CHUNK_RECORDS: usize = 256;
const CHUNK_BYTES: usize = 256 << 10;
/// What a record counts for beside its key and value.
const RECORD_BYTES: usize = 128;
/// Pauses after a refusal, the first and the longest: each is twice as long as the one before.
const PAUSE_MS: u64 = 20;
const PAUSE_MS_MAX: u64 = 1_000;

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Advance again.
    More,
    /// There is nothing beyond this end.
    Idle(i64),
    /// What is on its way must come back first.
    Waits,
    /// It was refused: advance again at this time, ms since the epoch.
    Pauses(u64),
}

/// One partition of a route.
pub(super) struct Passage {
    pub(super) partition: Arc<Partition>,
    /// The offset that is published next.
    next: i64,
    /// Where the group stands when all that was submitted is applied; −1 for nowhere.
    submitted: i64,
    /// Below it, everything that does not wait for a record has been delivered.
    delivered: i64,
    /// Batches that were read and not all published.
    slice: Bytes,
    /// The batch in the middle of which the last chunk ended, unpacked, by the offset behind it.
    opened: Option<(i64, Opened<'static>)>,
    /// Waiters on their way: token, bytes of the chunk.
    flights: VecDeque<(u64, usize)>,
    token: u64,
    answers: Arc<Answers>,
    /// The last move of the group that nobody waits for; 0 if it is known what became of it.
    stepped: Lsn,
    /// Something came back refused.
    refused: bool,
    resume_ms: u64,
    pause_ms: u64,
    /// Bytes published in the last turn.
    pub(super) published: usize,
}

/// A chunk being published.
#[derive(Default)]
struct Chunk {
    records: usize,
    bytes: usize,
    /// Bytes that went to the journal and that no waiter answers for yet.
    unanswered: usize,
}

impl Passage {
    /// The way out of `partition` for a group that stands at `position`, −1 for nowhere: at the partition's start
    /// then. `news` is told when there are answers.
    pub(super) fn new(partition: Arc<Partition>, position: i64, news: Arc<Notify>) -> Self {
        let next = if position < 0 { partition.log_start() } else { position };
        Self {
            partition,
            next,
            submitted: position,
            delivered: next,
            slice: Bytes::new(),
            opened: None,
            flights: VecDeque::new(),
            token: 0,
            answers: Answers::new(news),
            stepped: Lsn(0),
            refused: false,
            resume_ms: 0,
            pause_ms: 0,
            published: 0,
        }
    }

    /// Bytes on their way.
    pub(super) fn in_flight(&self) -> usize {
        self.flights.iter().map(|(_, bytes)| bytes).sum()
    }

    /// Bytes that were read and not all published.
    pub(super) fn held(&self) -> usize {
        let opened = self.opened.as_ref().map_or(0, |(_, opened)| opened.bytes());
        self.slice.len() + opened
    }

    /// Takes what came back and, if `may_publish`, publishes the next chunk; `may_read` if there is room for more
    /// than is [`Self::held`].
    pub(super) fn advance(
        &mut self,
        carriage: &mut Carriage,
        may_publish: bool,
        may_read: bool,
        now_ms: u64,
    ) -> Progress {
        self.published = 0;
        self.take_answers();
        let is_known = carriage.broker.applied_lsn() >= self.stepped;
        if is_known && self.flights.is_empty() && self.stepped > Lsn(0) {
            // Nobody was told what became of it: whoever else moved the group broke the chain.
            self.stepped = Lsn(0);
            self.refused |= self.position(carriage) != self.submitted;
        }
        if self.refused {
            if !self.flights.is_empty() {
                return Progress::Waits;
            }
            if !is_known {
                return Progress::Pauses(now_ms.saturating_add(PAUSE_MS));
            }
            self.rewind(carriage, now_ms);
        }
        if now_ms < self.resume_ms {
            return Progress::Pauses(self.resume_ms);
        }
        if !may_publish || (self.slice.is_empty() && !may_read) {
            return Progress::Waits;
        }
        if self.slice.is_empty() {
            match self.read(carriage, now_ms) {
                Ok(None) => {}
                Ok(Some(end)) => return Progress::Idle(end),
                Err(error) => return self.pause(carriage, &error.to_string(), now_ms),
            }
        }
        match self.publish_chunk(carriage, now_ms) {
            Ok(()) => Progress::More,
            Err(error) => {
                // What is on its way goes on; the pause begins when it is back.
                self.refused = true;
                self.complain(carriage, &error.to_string(), now_ms);
                if self.flights.is_empty() { Progress::More } else { Progress::Waits }
            }
        }
    }

    fn take_answers(&mut self) {
        for (token, outcome) in self.answers.take() {
            while self.flights.front().is_some_and(|(first, _)| *first <= token) {
                self.flights.pop_front();
            }
            if outcome == Outcome::Done {
                self.pause_ms = 0;
            } else {
                self.refused = true;
            }
        }
    }

    /// Where the group stands.
    fn position(&self, carriage: &Carriage) -> i64 {
        let place = (self.partition.log(), self.partition.index());
        carriage.broker.groups.position(&carriage.vhost, &carriage.group, place)
    }

    /// Goes back to where the group stands, after a pause.
    fn rewind(&mut self, carriage: &Carriage, now_ms: u64) {
        let position = self.position(carriage);
        self.refused = false;
        self.slice = Bytes::new();
        self.opened = None;
        self.submitted = position;
        self.next = if position < 0 { self.partition.log_start() } else { position };
        self.set_pause(now_ms);
    }

    fn set_pause(&mut self, now_ms: u64) {
        self.pause_ms = (self.pause_ms * 2).clamp(PAUSE_MS, PAUSE_MS_MAX);
        self.resume_ms = now_ms.saturating_add(self.pause_ms);
    }

    fn pause(&mut self, carriage: &Carriage, why: &str, now_ms: u64) -> Progress {
        self.complain(carriage, why, now_ms);
        self.set_pause(now_ms);
        Progress::Pauses(self.resume_ms)
    }

    fn complain(&self, carriage: &Carriage, why: &str, now_ms: u64) {
        if carriage.broker.logs.may_complain(now_ms) {
            let (route, partition) = (carriage.route.name(), self.partition.index());
            tracing::warn!(route, partition, offset = self.next, why, "a route out of a log waits");
        }
    }

    /// Reads on; the end if there is nothing.
    fn read(&mut self, carriage: &Carriage, now_ms: u64) -> Result<Option<i64>, FetchError> {
        let slice = match self.partition.read(self.next, SLICE_BYTES) {
            Err(FetchError::OutOfRange { log_start, high_watermark }) => {
                let to = if self.next < log_start { log_start } else { high_watermark };
                let missed = u64::try_from(log_start.saturating_sub(self.next)).unwrap_or(0);
                let partition = self.partition.index();
                carriage.leave_many(RouteFailure::Trimmed, missed, partition, self.next, now_ms);
                self.next = to;
                self.partition.read(self.next, SLICE_BYTES)?
            }
            read => read?,
        };
        if slice.records.is_empty() {
            return Ok(Some(slice.high_watermark));
        }
        if batches(&slice.records).next().is_none() {
            return Err(FetchError::Storage(std::io::Error::other("a batch is cut short")));
        }
        self.slice = slice.records;
        Ok(None)
    }

    /// Publishes from the slice until the chunk is full or the slice is through.
    fn publish_chunk(&mut self, carriage: &mut Carriage, now_ms: u64) -> Result<(), StepError> {
        let slice = std::mem::take(&mut self.slice);
        let mut chunk = Chunk::default();
        let end = slice_end(&slice);
        let mut at = 0;
        let mut published = Ok(());
        for batch in batches(&slice) {
            published = self.publish_batch(carriage, batch, end, &mut chunk, now_ms);
            if published.is_err() || chunk.is_full() {
                // The batch in the middle of which the chunk ended begins what is left.
                self.slice = slice.slice(at..);
                break;
            }
            at += batch.len();
        }
        self.published = chunk.bytes;
        let ended = self.end_chunk(carriage, &chunk, now_ms);
        published.and(ended)
    }

    fn publish_batch(
        &mut self,
        carriage: &mut Carriage,
        batch: &[u8],
        end: i64,
        chunk: &mut Chunk,
        now_ms: u64,
    ) -> Result<(), StepError> {
        let Some(header) = BatchHeader::read(batch) else { return Ok(()) };
        let after = header.last_offset().saturating_add(1);
        if after <= self.next {
            return Ok(());
        }
        let is_control = header.attributes & attributes::CONTROL != 0;
        let kept = self.opened.take().filter(|(behind, _)| *behind == after);
        let opened = match kept {
            _ if is_control => None,
            Some((_, opened)) => Some(opened),
            None => Opened::new(batch).ok(),
        };
        for record in opened.iter().flat_map(Opened::records) {
            let Ok(record) = record else { break };
            if record.offset < self.next {
                continue;
            }
            if chunk.is_full() {
                if header.codec() != 0 {
                    self.opened = opened.map(|opened| (after, opened.into_owned()));
                }
                return Ok(());
            }
            self.publish_record(carriage, &record, end, chunk, now_ms)?;
        }
        if self.next < after {
            if !is_control && self.next >= self.delivered {
                let left = u64::try_from(after - self.next).unwrap_or(0);
                let partition = self.partition.index();
                carriage.leave_many(RouteFailure::Corrupt, left, partition, self.next, now_ms);
            }
            self.next = after;
        }
        self.delivered = self.delivered.max(self.next);
        Ok(())
    }

    fn publish_record(
        &mut self,
        carriage: &mut Carriage,
        record: &Record<'_>,
        end: i64,
        chunk: &mut Chunk,
        now_ms: u64,
    ) -> Result<(), StepError> {
        let after = record.offset.saturating_add(1);
        let group = Arc::clone(&carriage.group);
        let step = self.step(&group, after);
        chunk.count(record);
        let is_last = chunk.is_full() || after >= end;
        let waiter = || is_last.then(|| self.waiter());
        let repeats = record.offset < self.delivered;
        let fate = match carriage.carry(record, &step, repeats, waiter, now_ms) {
            // It never can be.
            Err(StepError::Broker(BrokerError::Journal(SubmitError::TooLarge { .. }))) => {
                let partition = self.partition.index();
                carriage.leave(RouteFailure::TooLong, partition, record.offset, now_ms);
                Fate::Left
            }
            fate => fate?,
        };
        if fate == Fate::Recorded {
            self.submitted = after;
            chunk.unanswered += bytes_of(record);
            if is_last {
                self.departed(chunk);
            }
        }
        self.next = after;
        self.delivered = self.delivered.max(after);
        Ok(())
    }

    /// Commits what no link of the chain has passed, and has somebody wait for what nobody waits for yet.
    fn end_chunk(
        &mut self,
        carriage: &Carriage,
        chunk: &Chunk,
        now_ms: u64,
    ) -> Result<(), StepError> {
        if self.submitted == self.next && chunk.unanswered == 0 {
            return Ok(());
        }
        let step = self.step(&carriage.group, self.next);
        let waiter = (chunk.unanswered > 0).then(|| self.waiter());
        let waits = waiter.is_some();
        let submitted = carriage.broker.step_on(&carriage.vhost, &step, waiter, now_ms);
        let lsn = submitted.map_err(BrokerError::from)?;
        self.submitted = self.next;
        if waits {
            self.flights.push_back((self.token, chunk.unanswered));
            self.token += 1;
        } else {
            self.stepped = lsn;
        }
        Ok(())
    }

    fn step<'a>(&self, group: &'a str, next: i64) -> Step<'a> {
        let (log, partition) = (self.partition.log(), self.partition.index());
        Step { group, log, partition, expected: self.submitted, next }
    }

    fn waiter(&self) -> Waiter {
        Waiter::Connection(Arc::clone(&self.answers) as _, self.token)
    }

    /// The waiter that [`Self::waiter`] gave is on its way.
    fn departed(&mut self, chunk: &mut Chunk) {
        self.flights.push_back((self.token, std::mem::take(&mut chunk.unanswered)));
        self.token += 1;
    }
}

impl Chunk {
    fn count(&mut self, record: &Record<'_>) {
        self.records += 1;
        self.bytes += bytes_of(record);
    }

    fn is_full(&self) -> bool {
        self.records >= CHUNK_RECORDS || self.bytes >= CHUNK_BYTES
    }
}

/// What a record counts for, itself and what every message takes.
fn bytes_of(record: &Record<'_>) -> usize {
    RECORD_BYTES + record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len)
}

/// The offset behind the last batch of `slice`.
fn slice_end(slice: &[u8]) -> i64 {
    let last = batches(slice).last().and_then(BatchHeader::read);
    last.map_or(i64::MAX, |header| header.last_offset().saturating_add(1))
}
