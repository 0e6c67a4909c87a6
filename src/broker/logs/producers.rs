//! Sequences of idempotent producers in one partition (KIP-98). Part of `broker/logs`. Pure: what changes it
//! is in the journal, so replay gives the same state.
//!
//! Of each producer the last five batches are known. A batch among them is a repetition and is answered with
//! the offset it has; the next in sequence is appended; anything else is refused. A producer that is not
//! known (new, or forgotten) may begin anywhere.

use std::collections::{BTreeMap, VecDeque};

use thiserror::Error;

use crate::broker::logs::batch::header::{BatchHeader, sequence_after};

/// As many batches as a client has in flight at most (KAFKA-5494).
const BATCHES_KEPT: usize = 5;
/// Producers known per partition; beyond, a quarter is forgotten, the longest silent first.
const PRODUCERS_MAX: usize = 4096;
/// The first byte of [`Producers::encode`].
const FORMAT: u8 = 1;

/// What the state says about a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Append it.
    Append,
    /// It is already there.
    Duplicate {
        /// Where.
        base_offset: i64,
        /// With which time, if the log stamps records; else its own.
        timestamp: i64,
    },
}

/// Why a batch does not fit its producer's sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SequenceFault {
    /// Not the sequence that comes next.
    #[error("the batch is not next in its producer's sequence")]
    OutOfOrder,
    /// A newer instance of the producer has taken over.
    #[error("a newer instance of this producer has taken over")]
    Fenced,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Appended {
    first: i32,
    last: i32,
    base_offset: i64,
    timestamp: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Producer {
    epoch: i16,
    batches: VecDeque<Appended>,
}

/// All producers known in one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Producers {
    known: BTreeMap<i64, Producer>,
}

impl Producers {
    /// Says what to do with the batch of `header`. Changes nothing.
    pub fn judge(&self, header: &BatchHeader) -> Result<Verdict, SequenceFault> {
        let Some(producer) = self.known.get(&header.producer_id) else {
            return Ok(Verdict::Append);
        };
        if header.producer_epoch < producer.epoch {
            return Err(SequenceFault::Fenced);
        }
        if header.producer_epoch > producer.epoch {
            return if header.base_sequence == 0 {
                Ok(Verdict::Append)
            } else {
                Err(SequenceFault::OutOfOrder)
            };
        }
        let (first, last) = (header.base_sequence, header.last_sequence());
        let known = producer.batches.iter().find(|b| b.first == first && b.last == last);
        if let Some(batch) = known {
            return Ok(Verdict::Duplicate {
                base_offset: batch.base_offset,
                timestamp: batch.timestamp,
            });
        }
        match producer.batches.back() {
            Some(batch) if sequence_after(batch.last, 1) != first => Err(SequenceFault::OutOfOrder),
            _ => Ok(Verdict::Append),
        }
    }

    /// Notes that the batch of `header` was appended at `base_offset`.
    pub fn note(&mut self, header: &BatchHeader, base_offset: i64, timestamp: i64) {
        if header.producer_id < 0 {
            return;
        }
        if !self.known.contains_key(&header.producer_id) && self.known.len() >= PRODUCERS_MAX {
            self.forget_silent();
        }
        let producer = self.known.entry(header.producer_id).or_default();
        if producer.epoch != header.producer_epoch {
            producer.epoch = header.producer_epoch;
            producer.batches.clear();
        }
        if producer.batches.len() == BATCHES_KEPT {
            producer.batches.pop_front();
        }
        producer.batches.push_back(Appended {
            first: header.base_sequence,
            last: header.last_sequence(),
            base_offset,
            timestamp,
        });
    }

    fn forget_silent(&mut self) {
        let mut ages: Vec<(i64, i64)> =
            self.known.iter().map(|(id, p)| (last_offset(p), *id)).collect();
        ages.sort_unstable();
        for (_, id) in ages.into_iter().take(PRODUCERS_MAX / 4) {
            self.known.remove(&id);
        }
    }

    /// How many producers are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether no producer is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Appends the state to `out`: format `u8`, count `u32`, then per producer id `i64`, epoch `i16`, batch
    /// count `u8`, per batch first `i32`, last `i32`, base offset `i64`, timestamp `i64`; all little-endian.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(FORMAT);
        out.extend_from_slice(&u32::try_from(self.known.len()).unwrap_or(0).to_le_bytes());
        for (id, producer) in &self.known {
            out.extend_from_slice(&id.to_le_bytes());
            out.extend_from_slice(&producer.epoch.to_le_bytes());
            out.push(u8::try_from(producer.batches.len()).unwrap_or(0));
            for batch in &producer.batches {
                out.extend_from_slice(&batch.first.to_le_bytes());
                out.extend_from_slice(&batch.last.to_le_bytes());
                out.extend_from_slice(&batch.base_offset.to_le_bytes());
                out.extend_from_slice(&batch.timestamp.to_le_bytes());
            }
        }
    }

    /// Reads what [`Self::encode`] wrote; `None` if it is anything else.
    #[must_use]
    pub fn decode(mut bytes: &[u8]) -> Option<Self> {
        let input = &mut bytes;
        if take::<1>(input)? != [FORMAT] {
            return None;
        }
        let count = u32::from_le_bytes(take(input)?);
        let mut known = BTreeMap::new();
        for _ in 0..count {
            let id = i64::from_le_bytes(take(input)?);
            let epoch = i16::from_le_bytes(take(input)?);
            let [batches] = take::<1>(input)?;
            let batches = (0..batches).map(|_| appended(input)).collect::<Option<_>>()?;
            known.insert(id, Producer { epoch, batches });
        }
        input.is_empty().then_some(Self { known })
    }
}

fn last_offset(producer: &Producer) -> i64 {
    producer.batches.back().map_or(-1, |batch| batch.base_offset)
}

fn appended(input: &mut &[u8]) -> Option<Appended> {
    Some(Appended {
        first: i32::from_le_bytes(take(input)?),
        last: i32::from_le_bytes(take(input)?),
        base_offset: i64::from_le_bytes(take(input)?),
        timestamp: i64::from_le_bytes(take(input)?),
    })
}

fn take<const N: usize>(input: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = input.split_first_chunk::<N>()?;
    *input = rest;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::{PRODUCERS_MAX, Producers, SequenceFault, Verdict};
    use crate::broker::logs::batch::header::BatchHeader;

    fn header(id: i64, epoch: i16, sequence: i32, count: i32) -> BatchHeader {
        BatchHeader {
            base_offset: 0,
            batch_length: 49,
            leader_epoch: 0,
            magic: 2,
            crc: 0,
            attributes: 0,
            last_offset_delta: count - 1,
            base_timestamp: 0,
            max_timestamp: 0,
            producer_id: id,
            producer_epoch: epoch,
            base_sequence: sequence,
            record_count: count,
        }
    }

    fn append(producers: &mut Producers, header: &BatchHeader, offset: i64) {
        assert_eq!(producers.judge(header), Ok(Verdict::Append));
        producers.note(header, offset, 7);
    }

    #[test]
    fn five_batches_are_known_and_the_sixth_back_is_out_of_order() {
        let mut producers = Producers::default();
        for n in 0..6 {
            append(&mut producers, &header(1, 0, n * 2, 2), i64::from(n) * 10);
        }
        let duplicate = Verdict::Duplicate { base_offset: 10, timestamp: 7 };
        assert_eq!(producers.judge(&header(1, 0, 2, 2)), Ok(duplicate));
        assert_eq!(producers.judge(&header(1, 0, 0, 2)), Err(SequenceFault::OutOfOrder));
        assert_eq!(producers.judge(&header(1, 0, 14, 2)), Err(SequenceFault::OutOfOrder));
        append(&mut producers, &header(1, 0, 12, 1), 60);
    }

    #[test]
    fn epochs_fence_and_begin_at_zero() {
        let mut producers = Producers::default();
        append(&mut producers, &header(1, 3, 40, 1), 0);
        assert_eq!(producers.judge(&header(1, 2, 41, 1)), Err(SequenceFault::Fenced));
        assert_eq!(producers.judge(&header(1, 4, 41, 1)), Err(SequenceFault::OutOfOrder));
        append(&mut producers, &header(1, 4, 0, 1), 1);
        assert_eq!(producers.judge(&header(1, 3, 40, 1)), Err(SequenceFault::Fenced));
    }

    #[test]
    fn sequences_wrap_within_and_between_batches() {
        let mut producers = Producers::default();
        append(&mut producers, &header(1, 0, i32::MAX - 1, 4), 0);
        append(&mut producers, &header(1, 0, 2, 1), 4);
    }

    #[test]
    fn the_longest_silent_are_forgotten() {
        let mut producers = Producers::default();
        for n in 0..=PRODUCERS_MAX as i64 {
            append(&mut producers, &header(n, 0, 9, 1), n);
        }
        assert!(producers.len() <= PRODUCERS_MAX);
        assert_eq!(producers.judge(&header(0, 0, 50, 1)), Ok(Verdict::Append));
        let newest = header(PRODUCERS_MAX as i64, 0, 50, 1);
        assert_eq!(producers.judge(&newest), Err(SequenceFault::OutOfOrder));
    }

    #[test]
    fn state_survives_encoding_and_rejects_cuts() {
        let mut producers = Producers::default();
        for n in 0..20 {
            append(&mut producers, &header(n % 3, 0, (n / 3) as i32, 1), n);
        }
        let mut bytes = Vec::new();
        producers.encode(&mut bytes);
        assert_eq!(Producers::decode(&bytes), Some(producers));
        for cut in 0..bytes.len() {
            assert_eq!(Producers::decode(&bytes[..cut]), None);
        }
    }
}
