//! Sequences of idempotent producers in one partition (KIP-98). Part of `broker/logs`. Pure: what changes it
//! is in the journal, so replay gives the same state.
//!
//! Of each producer the last five batches are known. A batch among them is a repetition and is answered with
//! the offset it has; the next in sequence is appended; anything else is refused, a repetition from before the
//! last five too, as in Kafka. A producer that is not known (new, or forgotten) may begin anywhere.
//!
//! A producer is forgotten a day after its last batch, by the times that appends have in the journal (Kafka:
//! `producer.id.expiration.ms`, by the records' own times, which a producer of old data would fall to at once).

use std::collections::{BTreeMap, VecDeque};

use thiserror::Error;

use crate::broker::logs::batch::header::{BatchHeader, sequence_after};

/// As many batches as a client has in flight at most (KAFKA-5494).
const BATCHES_KEPT: usize = 5;
/// Producers known per partition; beyond, a quarter is forgotten, the longest silent first.
const PRODUCERS_MAX: usize = 4096;
/// How long after its last batch a producer is known, ms.
const KNOWN_MS: u64 = 86_400_000;
/// The first byte of [`Producers::encode`].
const FORMAT: u8 = 2;
/// Written by builds that did not note when a producer was heard of.
const FORMAT_WITHOUT_TIMES: u8 = 1;

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
    /// When its last batch was appended, ms since 1970; `None` until the next append if an earlier build noted it.
    heard_ms: Option<u64>,
    batches: VecDeque<Appended>,
}

impl Producer {
    fn is_expired(&self, now_ms: u64) -> bool {
        self.heard_ms.is_some_and(|heard_ms| heard_ms.saturating_add(KNOWN_MS) <= now_ms)
    }
}

/// All producers known in one partition.
#[derive(Clone, Debug, Default)]
pub struct Producers {
    known: BTreeMap<i64, Producer>,
    /// Nobody expires before; what is left out costs a look, no more.
    none_expires_before_ms: u64,
}

impl PartialEq for Producers {
    fn eq(&self, other: &Self) -> bool {
        self.known == other.known
    }
}

impl Eq for Producers {}

impl Producers {
    /// Says what to do with the batch of `header`, which comes at `now_ms`. Changes nothing.
    pub fn judge(&self, header: &BatchHeader, now_ms: u64) -> Result<Verdict, SequenceFault> {
        let known = self.known.get(&header.producer_id);
        let Some(producer) = known.filter(|producer| !producer.is_expired(now_ms)) else {
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

    /// Notes that the batch of `header` was appended at `base_offset` and at `now_ms`.
    pub fn note(&mut self, header: &BatchHeader, base_offset: i64, timestamp: i64, now_ms: u64) {
        if header.producer_id < 0 {
            return;
        }
        self.forget_expired(now_ms);
        if !self.known.contains_key(&header.producer_id) && self.known.len() >= PRODUCERS_MAX {
            self.forget_silent();
        }
        let producer = self.known.entry(header.producer_id).or_default();
        // Clocks may be set back; who was heard of was.
        let heard_ms = producer.heard_ms.unwrap_or(1).max(now_ms);
        producer.heard_ms = Some(heard_ms);
        self.none_expires_before_ms =
            self.none_expires_before_ms.min(heard_ms.saturating_add(KNOWN_MS));
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

    fn forget_expired(&mut self, now_ms: u64) {
        if now_ms < self.none_expires_before_ms {
            return;
        }
        self.known.retain(|_, producer| !producer.is_expired(now_ms));
        let heard = self.known.values_mut().map(|one| *one.heard_ms.get_or_insert(now_ms.max(1)));
        let first = heard.min().unwrap_or(u64::MAX);
        self.none_expires_before_ms = first.saturating_add(KNOWN_MS);
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

    /// Appends the state to `out`: format `u8`, count `u32`, then per producer id `i64`, epoch `i16`, heard of at
    /// `u64` (0: not known), batch count `u8`, per batch first `i32`, last `i32`, base offset `i64`, timestamp `i64`; all little-endian.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(FORMAT);
        out.extend_from_slice(&u32::try_from(self.known.len()).unwrap_or(0).to_le_bytes());
        for (id, producer) in &self.known {
            out.extend_from_slice(&id.to_le_bytes());
            out.extend_from_slice(&producer.epoch.to_le_bytes());
            out.extend_from_slice(&producer.heard_ms.unwrap_or_default().to_le_bytes());
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
        let [format] = take::<1>(input)?;
        if format != FORMAT && format != FORMAT_WITHOUT_TIMES {
            return None;
        }
        let count = u32::from_le_bytes(take(input)?);
        let mut known = BTreeMap::new();
        for _ in 0..count {
            let id = i64::from_le_bytes(take(input)?);
            let epoch = i16::from_le_bytes(take(input)?);
            let heard_ms = match format {
                FORMAT => Some(u64::from_le_bytes(take(input)?)).filter(|heard_ms| *heard_ms > 0),
                _ => None,
            };
            let [batches] = take::<1>(input)?;
            let batches = (0..batches).map(|_| appended(input)).collect::<Option<_>>()?;
            known.insert(id, Producer { epoch, heard_ms, batches });
        }
        input.is_empty().then_some(Self { known, none_expires_before_ms: 0 })
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
mod restarts;
#[cfg(test)]
mod tests;
