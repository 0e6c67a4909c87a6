//! Producers go on where they were after a restart. Tests of `broker::logs::producers`.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::SequenceFault;
use crate::auth::principal::Principal;
use crate::broker::logs::batch::build::{BatchBuilder, NewRecord};
use crate::broker::logs::verbs::{CreateLog, LogError, LogRef};
use crate::broker::testbed::Bed;
use crate::broker::testbed::produced::sequenced;

const DAY_MS: u64 = 86_400_000;

fn batch(producer: i64, epoch: i16, sequence: i32) -> Vec<u8> {
    let mut builder = BatchBuilder::default();
    let value = Some(&b"v"[..]);
    builder.push(&NewRecord { timestamp_ms: 1, key: None, value, headers: &[] });
    sequenced(builder.finish().unwrap(), producer, epoch, sequence)
}

fn append(bed: &mut Bed, batch: &[u8], now_ms: u64) -> Result<i64, LogError> {
    let who = Principal::anonymous();
    let ack = bed.broker.append_batch(&who, LogRef::Name("l"), 0, batch, (now_ms, now_ms))?;
    bed.sync();
    let mut ack = pin!(ack);
    match ack.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer.map(|appended| appended.base_offset),
        Poll::Pending => panic!("durable, and still not told"),
    }
}

fn bed_with_a_log(now_ms: u64) -> Bed {
    let mut bed = Bed::new();
    bed.resume(now_ms);
    bed.broker.prepare_log("/", "l", Some(1), now_ms);
    bed.sync();
    bed
}

#[test]
fn duplicates_gaps_and_epochs_are_judged_after_a_restart_as_before() {
    let out_of_order = Err(LogError::Sequence(SequenceFault::OutOfOrder));
    let fenced = Err(LogError::Sequence(SequenceFault::Fenced));
    for checkpoints in [[false, false], [true, false], [false, true], [true, true]] {
        let mut bed = bed_with_a_log(1);
        for sequence in 0..7 {
            let offset = append(&mut bed, &batch(4, 1, sequence), 1);
            assert_eq!(offset, Ok(i64::from(sequence)));
            if sequence == 3 && checkpoints[0] {
                bed.checkpoint(1);
            }
        }
        if checkpoints[1] {
            bed.checkpoint(1);
        }
        let mut bed = bed.restart(&mut |_, _| 0);
        for sequence in 2..7 {
            let again = append(&mut bed, &batch(4, 1, sequence), 2);
            assert_eq!(again, Ok(i64::from(sequence)), "{checkpoints:?}");
        }
        assert_eq!(append(&mut bed, &batch(4, 1, 1), 2), out_of_order, "older than five");
        assert_eq!(append(&mut bed, &batch(4, 1, 9), 2), out_of_order, "a gap");
        assert_eq!(append(&mut bed, &batch(4, 0, 7), 2), fenced);
        assert_eq!(append(&mut bed, &batch(4, 1, 7), 2), Ok(7));
        assert_eq!(append(&mut bed, &batch(4, 2, 0), 2), Ok(8));
        assert_eq!(append(&mut bed, &batch(4, 1, 8), 2), fenced);
        assert_eq!(append(&mut bed, &batch(5, 0, 70), 2), Ok(9), "nobody knows this one");
    }
}

/// Refusals change nothing: a power cut between one and the next leaves the sequence as it was.
#[test]
fn a_batch_that_was_not_synced_is_appended_when_it_comes_again() {
    let mut bed = bed_with_a_log(1);
    assert_eq!(append(&mut bed, &batch(4, 0, 0), 1), Ok(0));
    bed.checkpoint(1);
    let who = Principal::anonymous();
    for sequence in 1..4 {
        let sent = batch(4, 0, sequence);
        drop(bed.broker.append_batch(&who, LogRef::Name("l"), 0, &sent, (1, 1)).unwrap());
    }
    let mut bed = bed.restart(&mut |_, unsynced| unsynced);
    for sequence in 1..4 {
        assert_eq!(append(&mut bed, &batch(4, 0, sequence), 1), Ok(i64::from(sequence)));
    }
}

/// By the journal's times, not by the records' own: those are of 1970 here.
#[test]
fn a_producer_that_was_silent_for_a_day_is_forgotten_in_every_life_alike() {
    for checkpoint in [false, true] {
        let start = 1_700_000_000_000;
        let mut bed = bed_with_a_log(start);
        assert_eq!(append(&mut bed, &batch(4, 0, 0), start), Ok(0));
        assert_eq!(append(&mut bed, &batch(4, 0, 0), start + DAY_MS - 1), Ok(0));
        if checkpoint {
            bed.checkpoint(1);
        }
        let mut bed = bed.restart(&mut |_, _| 0);
        assert_eq!(append(&mut bed, &batch(4, 0, 0), start + DAY_MS), Ok(1));
        let bed = bed.restart(&mut |_, _| 0);
        let log = bed.broker.logs.table.by_name("/", "l").unwrap();
        assert_eq!(log.partitions[0].end(), 2);
    }
}

/// A producer may begin as soon as it was told that its log is there (Kafka answers CreateTopics too early for it).
#[test]
fn a_producer_begins_at_once_when_its_log_was_created() {
    let mut bed = Bed::new();
    let broker = bed.broker.clone();
    let who = Principal::anonymous();
    let spec = CreateLog {
        name: "l".to_owned(),
        partitions: Some(1),
        config: Vec::new(),
        validate_only: false,
    };
    let mut cx = Context::from_waker(Waker::noop());
    let mut created = Box::pin(broker.create_log(&who, spec, 1));
    assert!(created.as_mut().poll(&mut cx).is_pending());
    bed.sync();
    assert!(matches!(created.as_mut().poll(&mut cx), Poll::Ready(Ok(_))));
    for sequence in 0..3 {
        let offset = append(&mut bed, &batch(1, 0, sequence), 1);
        assert_eq!(offset, Ok(i64::from(sequence)));
    }
}
