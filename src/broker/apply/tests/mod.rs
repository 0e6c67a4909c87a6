//! Replay of the journal equals the live state; no record makes apply panic. Part of `broker::apply`.

mod files;
mod groups;
mod logs;
mod overflow;
mod queues;
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use self::world::{Step, World, step};
use crate::broker::queues::entry::Body;
use crate::broker::record::Record;
use crate::broker::record::tests::record;
use crate::broker::restore;
use crate::broker::testbed::snapshot::{check_live, snapshot};
use crate::broker::testbed::stored::entries;
use crate::broker::testbed::{Bed, Tape};
use crate::model::ids::Lsn;
use crate::store::journal::Journal;
use crate::store::journal::batch::Batch;

const START_MS: u64 = 1_700_000_000_000;

/// `PROPTEST_CASES` asks for another number than `cases`.
fn config(cases: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => default,
        None => ProptestConfig { cases, ..default },
    }
}

fn run(bed: Bed, now_ms: u64, steps: &[Step]) -> World {
    bed.resume(now_ms);
    let mut world = World::new(bed, now_ms);
    world.sync();
    if !steps.len().is_multiple_of(4) {
        world.populate();
    }
    for step in steps {
        world.run(step);
    }
    world.sync();
    check_live(&world.bed.broker);
    world
}

proptest! {
    #![proptest_config(config(48))]

    /// From the first record on, and from whatever checkpoint there is; twice, so that what a restart made is
    /// checkpointed and replayed in turn.
    #[test]
    fn replay_equals_live_state(
        before in vec(step(), 1..120),
        after in vec(step(), 0..80),
        kept in 0usize..4,
    ) {
        let mut keep = |_: &str, unsynced: usize| unsynced * kept / 3;
        let world = run(Bed::new(), START_MS, &before);
        let (live, now_ms) = (snapshot(&world.bed), world.now_ms());
        prop_assert_eq!(&snapshot(&Bed::over(world.bed.tape.copy())), &live, "from the start");
        let bed = world.bed.restart(&mut keep);
        prop_assert_eq!(&snapshot(&bed), &live, "from the checkpoint");
        let world = run(bed, now_ms, &after);
        let live = snapshot(&world.bed);
        prop_assert_eq!(&snapshot(&Bed::over(world.bed.tape.copy())), &live, "from the start");
        prop_assert_eq!(&snapshot(&world.bed.restart(&mut keep)), &live, "from the checkpoint");
    }

    /// What was not synced may be lost, and nothing else: the state is that of the records that were.
    #[test]
    fn a_crash_loses_what_was_not_synced_and_nothing_else(
        before in vec(step(), 1..80),
        unsynced in vec(step(), 1..20),
    ) {
        let mut world = run(Bed::new(), START_MS, &before);
        for step in unsynced {
            // A checkpoint would cover no more, but a sync would.
            if !matches!(step, Step::Sync) {
                world.run(&step);
            }
        }
        let synced = snapshot(&Bed::over(world.bed.tape.copy()));
        prop_assert_eq!(&snapshot(&world.bed.restart(&mut |_, _| 0)), &synced);
    }
}

proptest! {
    #![proptest_config(config(32))]

    /// Once nothing is under way, a checkpoint counts as many references as there are: no body is leaked, and
    /// none removed while a queue needs it.
    #[test]
    fn checkpoints_count_every_reference_to_a_body(steps in vec(step(), 1..120)) {
        let mut world = run(Bed::new(), START_MS, &steps);
        world.bed.checkpoint(START_MS);
        // What was acknowledged while the former was written is counted by the next.
        world.bed.checkpoint(START_MS);
        let mut counted: BTreeMap<u32, u64> = BTreeMap::new();
        for session in world.bed.broker.sessions.all() {
            let inner = session.inner.lock();
            if !session.durable {
                continue;
            }
            for (_, entry) in entries(&world.bed.broker, session.id, &inner.queue) {
                let Body::Disk(body) = &entry.body else { panic!("{entry:?} is still in memory") };
                *counted.entry(body.segment).or_default() += 1;
            }
        }
        for queue in world.bed.broker.declared.all() {
            let inner = queue.inner.lock();
            for (_, entry) in entries(&world.bed.broker, queue.id, &inner.ledger.queue) {
                let Body::Disk(body) = &entry.body else { panic!("{entry:?} is still in memory") };
                *counted.entry(body.segment).or_default() += 1;
            }
        }
        let kept = world.bed.body_references();
        for (segment, references) in &kept {
            prop_assert_eq!(counted.remove(segment).unwrap_or(0), *references);
        }
        prop_assert!(counted.is_empty(), "removed while in use: {:?}", counted);
        // What was emptied by one goes with the next, which may empty what that filled.
        (0..6).for_each(|_| world.bed.checkpoint(START_MS));
        world.bed.check_bodies();
    }
}

/// A batch of encoded records, as the journal would give it.
fn batch(
    number: u64,
    first_lsn: Lsn,
    records: &[Vec<u8>],
) -> Batch<crate::broker::consumer::Waiter> {
    let mut body = Vec::new();
    for record in records {
        body.extend(u32::try_from(record.len()).unwrap().to_le_bytes());
        body.extend(record);
    }
    let count = u32::try_from(records.len()).unwrap();
    Batch { number, first_lsn, count, records: Bytes::from(body), waiters: Vec::new() }
}

proptest! {
    #![proptest_config(config(96))]

    #[test]
    fn arbitrary_records_never_panic(
        before in vec(step(), 0..30),
        records in vec(record(), 1..60),
    ) {
        let mut world = run(Bed::new(), START_MS, &before);
        let next = world.bed.applier.next();
        let encoded: Vec<Vec<u8>> = records
            .iter()
            .map(|record| {
                let mut bytes = Vec::new();
                record.encode(&mut bytes);
                bytes
            })
            .collect();
        let applied = world.bed.applier.replay_batch(batch(next.batch, next.lsn, &encoded));
        prop_assert!(applied.is_ok(), "{:?}", applied);
        restore::revive(&world.bed.broker, &world.bed.applier).unwrap();
        restore::resume(&world.bed.broker, world.bed.applier.limits(), START_MS);
        world.bed.run_jobs(u64::MAX);
        world.sync();
        for _ in 0..3 {
            world.bed.checkpoint_step(START_MS);
        }
    }

    #[test]
    fn arbitrary_bytes_are_applied_or_refused_with_a_reason(
        records in vec(vec(any::<u8>(), 0..40), 1..20),
        kind in 0u8..24,
        raw in vec(any::<u8>(), 0..200),
    ) {
        let mut bed = Bed::new();
        let next = bed.applier.next();
        let typed: Vec<Vec<u8>> = records
            .iter()
            .map(|bytes| [&[1, kind][..], bytes].concat())
            .collect();
        for records in [typed, records] {
            bed.applier.replay_batch(batch(1, next.lsn, &records)).ok();
        }
        let body = Batch { records: Bytes::from(raw), count: 3, ..batch(1, next.lsn, &[]) };
        prop_assert!(bed.applier.replay_batch(body).is_err() || next.lsn == Lsn(1));
    }
}

/// A record that cannot be read stops apply, says which one, and leaves those before it applied.
#[test]
fn an_unreadable_record_is_named() {
    let mut bed = Bed::new();
    let mut limits = Vec::new();
    Record::Limits { queued_messages_max: 3, queued_bytes_max: 4 }.encode(&mut limits);
    let error = bed.applier.replay_batch(batch(1, Lsn(1), &[limits, vec![9, 9]])).unwrap_err();
    assert_eq!(error.lsn, Lsn(2));
    assert_eq!(bed.applier.limits().messages_max, 3);
}

/// What was journaled came to pass, whatever the disk said of the files: else a later log of the same name would
/// lose what it was given.
#[test]
fn a_log_whose_files_cannot_be_made_exists_and_gets_them_later() {
    let bed = Bed::new();
    let mut world = World::new(bed, START_MS);
    world.bed.fail_disk(true);
    for step in [Step::CreateLog { name: 0, append_time: false }, Step::Sync] {
        world.run(&step);
    }
    world.bed.fail_disk(false);
    for step in [Step::CreateLog { name: 0, append_time: true }, Step::Sync] {
        world.run(&step);
    }
    let broker = Arc::clone(&world.bed.broker);
    let log = broker.logs.table.by_name("/", "routed").unwrap();
    assert_eq!(log.partitions[0].failure(), None);
    let again = Bed::over(world.bed.tape.copy());
    let known = again.broker.logs.table.by_name("/", "routed").unwrap();
    assert_eq!((known.id, known.uuid, &known.config), (log.id, log.uuid, &log.config));
    for _ in 0..3 {
        world.bed.checkpoint_step(START_MS);
    }
}

/// Records wait until they are cut off: the test's own journal keeps the trait's promise.
#[test]
fn the_tape_gives_out_lsns_without_gaps() {
    let tape = Arc::<Tape>::default();
    assert_eq!(tape.last_lsn(), Lsn(0));
    for lsn in 1..4 {
        let given = tape.submit_with(None, &mut |at, out| {
            assert_eq!(at, Lsn(lsn));
            out.push(1);
        });
        assert_eq!(given, Ok(Lsn(lsn)));
    }
    let batch = tape.cut().unwrap();
    assert_eq!((batch.number, batch.first_lsn, batch.next_lsn()), (1, Lsn(1), Lsn(4)));
    assert_eq!(batch.iter().map(Result::unwrap).count(), 3);
    assert!(tape.cut().is_none());
    assert_eq!((tape.last_lsn(), tape.durable_lsn()), (Lsn(3), Lsn(3)));
}
