//! Sequences against a naive model, and the cases that Kafka's clients meet. Tests of `broker::logs::producers`.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::{BATCHES_KEPT, KNOWN_MS, PRODUCERS_MAX, Producers, SequenceFault, Verdict};
use crate::broker::logs::batch::header::BatchHeader;

const NOW: u64 = 1_700_000_000_000;

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
    assert_eq!(producers.judge(header, NOW), Ok(Verdict::Append));
    producers.note(header, offset, 7, NOW);
}

fn restored(producers: &Producers) -> Producers {
    let mut bytes = Vec::new();
    producers.encode(&mut bytes);
    Producers::decode(&bytes).unwrap()
}

#[test]
fn five_batches_are_known_and_the_sixth_back_is_out_of_order() {
    let mut producers = Producers::default();
    for n in 0..6 {
        append(&mut producers, &header(1, 0, n * 2, 2), i64::from(n) * 10);
    }
    let duplicate = Verdict::Duplicate { base_offset: 10, timestamp: 7 };
    assert_eq!(producers.judge(&header(1, 0, 2, 2), NOW), Ok(duplicate));
    assert_eq!(producers.judge(&header(1, 0, 0, 2), NOW), Err(SequenceFault::OutOfOrder));
    assert_eq!(producers.judge(&header(1, 0, 14, 2), NOW), Err(SequenceFault::OutOfOrder));
    append(&mut producers, &header(1, 0, 12, 1), 60);
}

/// A client that splits or joins what it sends again sends other batches: none of them is the one that is known.
#[test]
fn a_part_of_a_known_batch_is_out_of_order() {
    let mut producers = Producers::default();
    append(&mut producers, &header(1, 0, 0, 4), 0);
    for (sequence, count) in [(0, 2), (2, 2), (0, 5), (1, 3)] {
        let part = header(1, 0, sequence, count);
        assert_eq!(producers.judge(&part, NOW), Err(SequenceFault::OutOfOrder));
    }
}

#[test]
fn epochs_fence_and_begin_at_zero() {
    let mut producers = Producers::default();
    append(&mut producers, &header(1, 3, 40, 1), 0);
    assert_eq!(producers.judge(&header(1, 2, 41, 1), NOW), Err(SequenceFault::Fenced));
    assert_eq!(producers.judge(&header(1, 4, 41, 1), NOW), Err(SequenceFault::OutOfOrder));
    append(&mut producers, &header(1, 4, 0, 1), 1);
    assert_eq!(producers.judge(&header(1, 3, 40, 1), NOW), Err(SequenceFault::Fenced));
}

#[test]
fn sequences_wrap_within_and_between_batches() {
    let mut producers = Producers::default();
    append(&mut producers, &header(1, 0, i32::MAX - 1, 4), 0);
    append(&mut producers, &header(1, 0, 2, 1), 4);
    let mut producers = Producers::default();
    append(&mut producers, &header(1, 0, i32::MAX, 1), 0);
    append(&mut producers, &header(1, 0, 0, 1), 1);
}

#[test]
fn the_longest_silent_are_forgotten() {
    let mut producers = Producers::default();
    for n in 0..=PRODUCERS_MAX as i64 {
        append(&mut producers, &header(n, 0, 9, 1), n);
    }
    assert!(producers.len() <= PRODUCERS_MAX);
    assert_eq!(producers.judge(&header(0, 0, 50, 1), NOW), Ok(Verdict::Append));
    let newest = header(PRODUCERS_MAX as i64, 0, 50, 1);
    assert_eq!(producers.judge(&newest, NOW), Err(SequenceFault::OutOfOrder));
}

#[test]
fn a_producer_is_known_for_a_day_after_its_last_batch() {
    let mut producers = Producers::default();
    append(&mut producers, &header(1, 5, 0, 1), 0);
    let gap = header(1, 5, 9, 1);
    let refused = Err(SequenceFault::OutOfOrder);
    assert_eq!(producers.judge(&gap, NOW + KNOWN_MS - 1), refused);
    assert_eq!(producers.judge(&gap, NOW + KNOWN_MS), Ok(Verdict::Append));
    producers.note(&header(2, 0, 0, 1), 1, 7, NOW + KNOWN_MS - 1);
    assert_eq!(producers.len(), 2);
    producers.note(&header(2, 0, 1, 1), 2, 7, NOW + KNOWN_MS);
    assert_eq!(producers.len(), 1, "nobody asked for it by name");
    // A clock that is set back makes nobody older.
    producers.note(&header(2, 0, 2, 1), 3, 7, NOW);
    let later = NOW + 2 * KNOWN_MS - 1;
    assert_eq!(producers.judge(&header(2, 0, 9, 1), later), refused);
}

/// Bytes of the first format: one producer, two batches.
fn earlier() -> Vec<u8> {
    let mut bytes = vec![1, 1, 0, 0, 0];
    bytes.extend(7i64.to_le_bytes());
    bytes.extend(2i16.to_le_bytes());
    bytes.push(2);
    for (first, last, offset) in [(0i32, 1i32, 10i64), (2, 2, 12)] {
        bytes.extend(first.to_le_bytes());
        bytes.extend(last.to_le_bytes());
        bytes.extend(offset.to_le_bytes());
        bytes.extend(99i64.to_le_bytes());
    }
    bytes
}

#[test]
fn what_a_build_before_expiry_wrote_is_read_and_expires_from_the_next_append_on() {
    let mut producers = Producers::decode(&earlier()).unwrap();
    let known = Verdict::Duplicate { base_offset: 10, timestamp: 99 };
    assert_eq!(producers.judge(&header(7, 2, 0, 2), u64::MAX), Ok(known));
    assert_eq!(restored(&producers), producers);
    producers.note(&header(8, 0, 0, 1), 13, 7, NOW);
    assert_eq!(producers.judge(&header(7, 2, 0, 2), NOW + KNOWN_MS - 1), Ok(known));
    assert_eq!(producers.judge(&header(7, 2, 0, 2), NOW + KNOWN_MS), Ok(Verdict::Append));
    assert_eq!(restored(&producers), producers);
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
    for cut in 0..earlier().len() {
        assert_eq!(Producers::decode(&earlier()[..cut]), None);
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// The next in sequence, with so many records.
    Next {
        id: i64,
        count: i32,
    },
    /// One that was sent before, so many back.
    Again {
        id: i64,
        back: usize,
    },
    /// Anything.
    Any {
        id: i64,
        epoch: i16,
        sequence: i32,
        count: i32,
    },
    Bump {
        id: i64,
        sequence: i32,
    },
    Wait {
        ms: u64,
    },
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let id = || 0i64..3;
    let count = || prop_oneof![3 => 1i32..4, 1 => Just(i32::MAX / 2)];
    let sequence = prop_oneof![3 => 0i32..6, 1 => i32::MAX - 3..=i32::MAX];
    prop_oneof![
        8 => (id(), count()).prop_map(|(id, count)| Step::Next { id, count }),
        4 => (id(), 0usize..8).prop_map(|(id, back)| Step::Again { id, back }),
        3 => (id(), 0i16..3, sequence, count())
            .prop_map(|(id, epoch, sequence, count)| Step::Any { id, epoch, sequence, count }),
        1 => (id(), 0i32..2).prop_map(|(id, sequence)| Step::Bump { id, sequence }),
        2 => (0..KNOWN_MS / 2).prop_map(|ms| Step::Wait { ms }),
        1 => (KNOWN_MS / 2..KNOWN_MS * 2).prop_map(|ms| Step::Wait { ms }),
        2 => Just(Step::Restart),
    ]
}

/// Everything that a producer ever had appended under its epoch.
#[derive(Debug, Default)]
struct Past {
    epoch: i16,
    heard_ms: u64,
    /// First and last sequence, offset.
    batches: Vec<(i32, i32, i64)>,
}

fn wrapped(sequence: i32, by: i32) -> i32 {
    ((i64::from(sequence) + i64::from(by)) % (i64::from(i32::MAX) + 1)) as i32
}

/// What KIP-98 says, looked up in all that ever happened.
fn expected(
    past: Option<&Past>,
    header: &BatchHeader,
    now_ms: u64,
) -> Result<Verdict, SequenceFault> {
    let Some(past) = past.filter(|past| now_ms - past.heard_ms < KNOWN_MS) else {
        return Ok(Verdict::Append);
    };
    let (first, last) = (header.base_sequence, header.last_sequence());
    if header.producer_epoch != past.epoch {
        return match (header.producer_epoch > past.epoch, first) {
            (true, 0) => Ok(Verdict::Append),
            (true, _) => Err(SequenceFault::OutOfOrder),
            (false, _) => Err(SequenceFault::Fenced),
        };
    }
    let recent = past.batches.iter().rev().take(BATCHES_KEPT);
    let same = recent.clone().rfind(|(from, to, _)| (*from, *to) == (first, last));
    match (same, past.batches.last()) {
        (Some((_, _, offset)), _) => {
            Ok(Verdict::Duplicate { base_offset: *offset, timestamp: *offset })
        }
        (None, Some((_, to, _))) if wrapped(*to, 1) != first => Err(SequenceFault::OutOfOrder),
        (None, _) => Ok(Verdict::Append),
    }
}

proptest! {
    #[test]
    fn verdicts_are_those_of_the_model_across_restarts_and_days(steps in vec(step(), 1..120)) {
        let mut producers = Producers::default();
        let mut pasts: BTreeMap<i64, Past> = BTreeMap::new();
        let (mut now_ms, mut offset) = (NOW, 0i64);
        for step in steps {
            let past = |id: &i64| pasts.get(id).and_then(|past| Some((past.epoch, past.batches.last()?.1)));
            let header = match step {
                Step::Wait { ms } => {
                    now_ms += ms;
                    continue;
                }
                Step::Restart => {
                    let again = restored(&producers);
                    prop_assert_eq!(&again, &producers);
                    producers = again;
                    continue;
                }
                Step::Next { id, count } => {
                    let (epoch, last) = past(&id).unwrap_or((0, i32::MAX));
                    header(id, epoch, wrapped(last, 1), count)
                }
                Step::Again { id, back } => {
                    let Some(past) = pasts.get(&id) else { continue };
                    let Some((first, last, _)) = past.batches.iter().rev().nth(back) else { continue };
                    let count = (i64::from(*last) - i64::from(*first)).rem_euclid(1 << 31) + 1;
                    header(id, past.epoch, *first, count as i32)
                }
                Step::Any { id, epoch, sequence, count } => header(id, epoch, sequence, count),
                Step::Bump { id, sequence } => {
                    let (epoch, _) = past(&id).unwrap_or_default();
                    header(id, epoch + 1, sequence, 1)
                }
            };
            let id = header.producer_id;
            let verdict = producers.judge(&header, now_ms);
            prop_assert_eq!(verdict, expected(pasts.get(&id), &header, now_ms));
            if verdict == Ok(Verdict::Append) {
                producers.note(&header, offset, offset, now_ms);
                let past = pasts.entry(id).or_default();
                let is_anew = past.epoch != header.producer_epoch || now_ms - past.heard_ms >= KNOWN_MS;
                if is_anew {
                    past.batches.clear();
                }
                past.epoch = header.producer_epoch;
                past.heard_ms = now_ms;
                past.batches.push((header.base_sequence, header.last_sequence(), offset));
                offset += i64::from(header.record_count);
                let known = pasts.values().filter(|past| now_ms - past.heard_ms < KNOWN_MS);
                prop_assert_eq!(producers.len(), known.count());
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(mut bytes in vec(any::<u8>(), 0..200), format in 0u8..4) {
        if let Some(first) = bytes.first_mut() {
            *first = format;
        }
        if let Some(mut producers) = Producers::decode(&bytes) {
            producers.judge(&header(0, 0, 0, 1), NOW).ok();
            producers.note(&header(0, 0, 0, 1), 0, 0, NOW);
        }
    }
}
