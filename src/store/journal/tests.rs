//! The journal against crashes, faults and its own past. Part of `store::journal`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use crate::model::ids::Lsn;
use crate::store::disk::folder::Folder;
use crate::store::disk::simulated::{Dice, SimulatedDisk};
use crate::store::error::StoreError;
use crate::store::journal::batch::{BLOCK, Batch};
use crate::store::journal::embedded::{EmbeddedJournal, Opened};
use crate::store::journal::{
    Durability, Journal, JournalOptions, JournalState, Position, SubmitError,
};

type Records = Vec<(Lsn, Bytes)>;

struct Running {
    journal: Arc<EmbeddedJournal<u32>>,
    written: Receiver<Batch<u32>>,
    replayed: Records,
    next: Position,
}

fn options() -> JournalOptions {
    JournalOptions {
        segment_bytes: 8 * BLOCK as u64,
        submit_bytes_max: 1 << 20,
        batch_bytes_max: 1500,
        durability: Durability::Fsync,
        spare_segments: 0,
        retry: Duration::from_millis(1),
    }
}

fn records(batch: &Batch<u32>) -> Records {
    batch.iter().collect::<Result<_, _>>().unwrap()
}

fn open_from(
    disk: &SimulatedDisk,
    options: JournalOptions,
    from: Position,
) -> Result<Running, StoreError> {
    let Opened { journal, replay, next } = EmbeddedJournal::open(disk.shared(), options, from)?;
    let mut replayed = Vec::new();
    for batch in replay {
        replayed.extend(records(&batch?));
    }
    let (sender, written) = channel();
    journal.start(Box::new(move |batch| {
        // The test may have ended meanwhile.
        drop(sender.send(batch));
    }))?;
    Ok(Running { journal, written, replayed, next })
}

fn open(disk: &SimulatedDisk) -> Running {
    open_from(disk, options(), Position::START).unwrap()
}

impl Running {
    fn submit(&self, record: &[u8]) -> Result<Lsn, SubmitError> {
        self.journal.submit(None, |_, buffer| buffer.extend_from_slice(record))
    }

    /// Submits one record and waits for its batch.
    fn write(&self, record: &[u8]) -> Batch<u32> {
        self.submit(record).unwrap();
        self.written.recv().unwrap()
    }

    fn failing(&self) {
        while self.journal.state() == JournalState::Ok {
            std::thread::yield_now();
        }
    }
}

fn record(index: usize) -> Vec<u8> {
    (0..40 + index * 37 % 300).map(|at| (index + at) as u8).collect()
}

/// Writes `count` batches of one record each and closes.
fn written(disk: &SimulatedDisk, count: usize) -> Records {
    let running = open(disk);
    let batches: Vec<_> = (0..count).map(|index| running.write(&record(index))).collect();
    running.journal.close().unwrap();
    batches.iter().flat_map(records).collect()
}

fn last_segment(disk: &SimulatedDisk) -> String {
    disk.everything().keys().rfind(|name| name.ends_with(".seg")).unwrap().clone()
}

/// Where the last batch of a segment begins and ends, padding not counted.
fn last_batch(bytes: &[u8]) -> (usize, usize) {
    let body = |at: usize| u32::from_le_bytes(bytes[at + 36..at + 40].try_into().unwrap()) as usize;
    let start = (BLOCK..bytes.len()).step_by(BLOCK).rfind(|at| bytes[*at..].starts_with(b"RBAT"));
    let start = start.unwrap();
    (start, start + 48 + body(start))
}

#[test]
fn what_nobody_waits_for_is_written_in_time() {
    let disk = SimulatedDisk::default();
    let running = open(&disk);
    let in_time = |record: &[u8]| {
        running.journal.submit_in_time(&mut |_, buffer| buffer.extend_from_slice(record)).unwrap()
    };
    assert_eq!(in_time(b"alone"), Lsn(1));
    assert_eq!(records(&running.written.recv().unwrap()), [(Lsn(1), Bytes::from("alone"))]);
    // Behind one that somebody waits for it keeps its place, whichever batch that is in.
    assert_eq!(in_time(b"before"), Lsn(2));
    running.submit(b"urgent").unwrap();
    let mut both = Vec::new();
    while both.len() < 2 {
        both.extend(records(&running.written.recv().unwrap()));
    }
    assert_eq!(both, [(Lsn(2), Bytes::from("before")), (Lsn(3), Bytes::from("urgent"))]);
    assert_eq!(in_time(b"last"), Lsn(4));
    running.journal.close().unwrap();
    assert_eq!(records(&running.written.recv().unwrap()), [(Lsn(4), Bytes::from("last"))]);
}

#[test]
fn waiters_come_back_with_their_records() {
    let disk = SimulatedDisk::default();
    let running = open(&disk);
    let first = running.journal.submit(Some(7), |lsn, buffer| {
        buffer.extend_from_slice(&lsn.0.to_le_bytes());
    });
    assert_eq!(first, Ok(Lsn(1)));
    let batch = running.written.recv().unwrap();
    assert_eq!(batch.waiters, vec![(Lsn(1), 7)]);
    assert_eq!(records(&batch), vec![(Lsn(1), Bytes::copy_from_slice(&1u64.to_le_bytes()))]);
    assert_eq!(running.journal.durable_lsn(), Lsn(1));
    assert_eq!(running.journal.last_lsn(), Lsn(1));
    running.journal.close().unwrap();
    assert_eq!(running.submit(b"late"), Err(SubmitError::Closed));
}

#[test]
fn a_record_larger_than_a_segment_gets_its_own() {
    let disk = SimulatedDisk::default();
    let running = open(&disk);
    let large = vec![9; 20 * BLOCK];
    running.write(b"before");
    running.write(&large);
    running.write(b"after");
    running.journal.close().unwrap();
    let replayed = open(&disk).replayed;
    assert_eq!(replayed.iter().map(|(_, r)| r.len()).collect::<Vec<_>>(), [6, large.len(), 5]);
}

#[test]
fn a_torn_tail_is_cut_at_any_byte() {
    let disk = SimulatedDisk::default();
    let all = written(&disk, 6);
    let name = last_segment(&disk);
    let (start, end) = last_batch(&disk.contents(&name));
    assert!(start > BLOCK, "the torn batch must not be its segment's first");
    for cut in start..end {
        let torn = disk.crash(&mut |_, _| 0);
        torn.damage(&name, |bytes| bytes[cut..end].fill(0));
        let changed = torn.contents(&name) != disk.contents(&name);
        let kept = if changed { all.len() - 1 } else { all.len() };
        let running = open(&torn);
        assert_eq!(running.replayed, all[..kept], "cut at {cut}");
        // And it goes on from there.
        running.write(b"next");
        running.journal.close().unwrap();
        assert_eq!(open(&torn).replayed.len(), kept + 1, "cut at {cut}");
    }
}

#[test]
fn corruption_before_the_end_is_told_and_left_untouched() {
    let disk = SimulatedDisk::default();
    let all = written(&disk, 12);
    for (name, contents) in disk.everything() {
        let last = name == last_segment(&disk);
        let starts: Vec<usize> = (BLOCK..contents.len())
            .step_by(BLOCK)
            .filter(|at| contents[*at..].starts_with(b"RBAT"))
            .collect();
        for (index, start) in starts.iter().enumerate() {
            if last && index > 0 && index + 1 == starts.len() {
                continue;
            }
            for at in [*start, start + 9, start + 17, start + 45, start + 60] {
                let hurt = disk.crash(&mut |_, _| 0);
                hurt.damage(&name, |bytes| bytes[at] ^= 0x10);
                let before = hurt.everything();
                let error = EmbeddedJournal::<u32>::open(hurt.shared(), options(), Position::START)
                    .err()
                    .unwrap_or_else(|| panic!("{name}: flipped byte {at} went unnoticed"));
                match error {
                    StoreError::Corrupt { file, offset, .. } => {
                        assert_eq!(file.to_string_lossy(), name);
                        assert_eq!(offset, *start as u64);
                    }
                    other => panic!("{other}"),
                }
                assert_eq!(hurt.everything(), before);
            }
        }
    }
    assert_eq!(open(&disk).replayed, all);
}

#[test]
fn a_damaged_segment_header_is_corruption() {
    let disk = SimulatedDisk::default();
    written(&disk, 3);
    let name = last_segment(&disk);
    for at in [0, 20, 30, 57] {
        let hurt = disk.crash(&mut |_, _| 0);
        hurt.damage(&name, |bytes| bytes[at] ^= 1);
        let result = EmbeddedJournal::<u32>::open(hurt.shared(), options(), Position::START);
        assert!(matches!(result.err(), Some(StoreError::Corrupt { .. })), "byte {at}");
    }
    let hurt = disk.crash(&mut |_, _| 0);
    hurt.damage(&name, |bytes| bytes[8] = 2);
    let result = EmbeddedJournal::<u32>::open(hurt.shared(), options(), Position::START);
    assert!(matches!(result.err(), Some(StoreError::Version { found: 2, .. })));
}

#[test]
fn a_failed_sync_moves_the_batch_into_a_new_segment() {
    let disk = SimulatedDisk::default();
    let running = open(&disk);
    running.write(b"one");
    disk.inject(|faults| faults.syncs = 1);
    let batch = running.write(b"two");
    assert_eq!((batch.number, batch.first_lsn), (2, Lsn(2)));
    assert_eq!(running.journal.segment_names().len(), 2);
    assert_eq!(running.journal.state(), JournalState::Ok);
    running.write(b"three");
    // What the failed sync lost is in the new segment; the old one's page cache is gone with the power.
    let after = open(&disk.crash(&mut |_, _| 0));
    let replayed: Vec<_> = after.replayed.iter().map(|(_, record)| record.clone()).collect();
    assert_eq!(replayed, ["one", "two", "three"]);
}

#[test]
fn a_failing_journal_refuses_and_recovers() {
    let disk = SimulatedDisk::default();
    let running = open(&disk);
    running.write(b"one");
    disk.inject(|faults| faults.everything = true);
    running.submit(b"in doubt").unwrap();
    running.failing();
    assert!(matches!(running.submit(b"refused"), Err(SubmitError::Unavailable { .. })));
    assert_eq!(running.journal.durable_lsn(), Lsn(1));
    disk.inject(|faults| faults.everything = false);
    let batch = running.written.recv().unwrap();
    assert_eq!(records(&batch), vec![(Lsn(2), Bytes::from("in doubt"))]);
    assert_eq!(running.journal.state(), JournalState::Ok);
    running.write(b"three");
    let after = open(&disk.crash(&mut |_, _| 0));
    assert_eq!(after.replayed.len(), 3);
}

#[test]
fn closing_while_failing_says_what_was_not_written() {
    let disk = SimulatedDisk::default();
    let running = open(&disk);
    running.write(b"one");
    disk.inject(|faults| faults.everything = true);
    running.submit(b"in doubt").unwrap();
    running.failing();
    assert!(running.journal.close().unwrap_err().to_string().contains("1 records"));
}

#[test]
fn a_restart_copies_the_last_batch_into_a_fresh_segment() {
    let disk = SimulatedDisk::default();
    let all = written(&disk, 3);
    let first = open(&disk);
    assert_eq!(first.journal.segment_names().len(), 2);
    // The old copy may be lost now: only the fresh one counts.
    let old = first.journal.segment_names().remove(0);
    let (start, end) = last_batch(&disk.contents(&old));
    let crashed = disk.crash(&mut |_, _| 0);
    crashed.damage(&old, |bytes| bytes[start..end].fill(0));
    assert_eq!(open(&crashed).replayed, all);
}

#[test]
fn trimmed_segments_are_recycled_and_never_misread() {
    let disk = SimulatedDisk::default();
    let options = JournalOptions { spare_segments: 2, ..options() };
    let mut from = Position::START;
    let mut kept: Records = Vec::new();
    for round in 0..6 {
        let running = open_from(&disk, options.clone(), from).unwrap();
        assert_eq!(running.replayed, kept, "round {round}");
        for index in 0..20 {
            let batch = running.write(&record(round * 20 + index));
            if index % 7 == 3 {
                running.journal.trim(batch.number).unwrap();
                from = Position { batch: batch.number, lsn: batch.first_lsn };
                kept.clear();
            }
            kept.extend(records(&batch));
        }
        running.journal.close().unwrap();
    }
    let files = disk.everything();
    assert!(files.keys().filter(|name| name.ends_with(".free")).count() <= 4, "{:?}", files.keys());
    assert!(files.keys().filter(|name| name.ends_with(".seg")).count() <= 8, "{:?}", files.keys());
}

#[test]
fn a_checkpoint_beyond_or_before_the_journal_is_an_error() {
    let disk = SimulatedDisk::default();
    written(&disk, 5);
    let beyond = Position { batch: 9, lsn: Lsn(9) };
    let result = EmbeddedJournal::<u32>::open(disk.shared(), options(), beyond);
    assert!(matches!(result.err(), Some(StoreError::Missing { .. })));
    let skewed = Position { batch: 3, lsn: Lsn(4) };
    let result = EmbeddedJournal::<u32>::open(disk.shared(), options(), skewed);
    assert!(matches!(result.err(), Some(StoreError::Corrupt { .. })));
    let empty = SimulatedDisk::default();
    let result = EmbeddedJournal::<u32>::open(empty.shared(), options(), beyond);
    assert!(matches!(result.err(), Some(StoreError::Missing { .. })));
    let at_end = Position { batch: 6, lsn: Lsn(6) };
    assert!(open_from(&disk, options(), at_end).unwrap().replayed.is_empty());
}

#[test]
fn a_tail_left_to_the_system_may_be_lost() {
    let disk = SimulatedDisk::default();
    let options = JournalOptions { durability: Durability::Os, ..options() };
    let running = open_from(&disk, options.clone(), Position::START).unwrap();
    for index in 0..3 {
        running.write(&record(index));
    }
    running.journal.close().unwrap();
    let crashed = disk.crash(&mut |_, _| 0);
    let checkpoint = Position { batch: 4, lsn: Lsn(4) };
    let running = open_from(&crashed, options.clone(), checkpoint).unwrap();
    assert_eq!(running.next, checkpoint);
    assert_eq!(running.write(b"next").number, 4);
    running.journal.close().unwrap();
    let running = open_from(&crashed, options, checkpoint).unwrap();
    assert_eq!(running.replayed, vec![(Lsn(4), Bytes::from("next"))]);
}

/// A restart writes behind what it read, and syncs that: what it read must not be missing from before it.
#[test]
fn what_was_left_to_the_system_is_synced_before_a_restart_goes_on() {
    let disk = SimulatedDisk::default();
    let lazy = || JournalOptions { durability: Durability::Os, ..options() };
    let running = open_from(&disk, lazy(), Position::START).unwrap();
    let all: Records = (0..3).flat_map(|index| records(&running.write(&record(index)))).collect();
    running.journal.close().unwrap();
    let running = open_from(&disk, lazy(), Position::START).unwrap();
    running.journal.close().unwrap();
    let crashed = disk.crash(&mut |_, _| 0);
    assert_eq!(open_from(&crashed, lazy(), Position::START).unwrap().replayed, all);
}

#[test]
fn a_full_journal_says_when_room_returns() {
    let disk = SimulatedDisk::default();
    let options = JournalOptions { submit_bytes_max: 100, ..options() };
    let running = open_from(&disk, options, Position::START).unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = calls.clone();
    running.journal.on_room(Arc::new(move || {
        counter.fetch_add(1, Ordering::SeqCst);
    }));
    let first = running.write(&[0; 60]);
    assert!(!running.journal.is_full());
    let second = running.write(&[0; 60]);
    assert!(running.journal.is_full());
    running.journal.applied(first.submitted_bytes());
    assert_eq!((running.journal.is_full(), calls.load(Ordering::SeqCst)), (false, 1));
    running.journal.applied(second.submitted_bytes());
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[test]
fn a_batch_that_lies_about_its_records_is_an_error() {
    let batch = |count, body: &'static [u8]| Batch::<u32> {
        number: 1,
        first_lsn: Lsn(1),
        count,
        records: Bytes::from_static(body),
        waiters: Vec::new(),
    };
    for (count, body) in [
        (1, &b"\x05\0\0\0abc"[..]),
        (2, b"\x01\0\0\0a"),
        (1, b"\x01\0\0\0ab"),
        (1, b"\xff\xff\xff\xff"),
        (0, b"\0"),
    ] {
        let results: Vec<_> = batch(count, body).iter().collect();
        assert_eq!(results.iter().filter(|result| result.is_err()).count(), 1, "{body:?}");
        assert!(results.last().unwrap().is_err());
    }
}

/// What may happen to a journal in a test.
#[derive(Debug, Clone)]
enum Step {
    Submit(Vec<u8>),
    Burst(u8),
    Wait,
    FailSyncs(u32),
    FailWrites(u32),
    FailFolderSyncs(u32),
    FailRenames(u32),
    Trim,
    /// Power cut, by this lottery.
    Crash(u64),
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => proptest::collection::vec(any::<u8>(), 0..2000).prop_map(Step::Submit),
        2 => (1u8..40).prop_map(Step::Burst),
        3 => Just(Step::Wait),
        1 => (1u32..4).prop_map(Step::FailSyncs),
        1 => (1u32..4).prop_map(Step::FailWrites),
        1 => (1u32..3).prop_map(Step::FailFolderSyncs),
        1 => (1u32..3).prop_map(Step::FailRenames),
        1 => Just(Step::Trim),
        2 => any::<u64>().prop_map(Step::Crash),
        1 => Just(Step::Close),
    ]
}

/// What the test knows: every record with its LSN as submitted, and how far the sink has seen.
#[derive(Default)]
struct Model {
    submitted: Records,
    seen: usize,
    from: Option<Position>,
    dropped: usize,
}

impl Model {
    fn submit(&mut self, running: &Running, record: Vec<u8>) {
        // Refusals while failing are part of the game.
        if let Ok(lsn) = running.submit(&record) {
            assert_eq!(lsn.0 as usize, self.submitted.len() + 1);
            self.submitted.push((lsn, record.into()));
        }
    }

    fn see(&mut self, batch: &Batch<u32>) {
        for record in records(batch) {
            assert_eq!(record, self.submitted[self.seen]);
            self.seen += 1;
        }
    }

    fn drain(&mut self, running: &Running) {
        while self.seen < self.submitted.len() {
            let batch = running.written.recv().unwrap();
            self.see(&batch);
        }
    }

    /// Reopens: everything seen must be there, in order, and nothing that was never submitted.
    fn reopen(&mut self, disk: &SimulatedDisk, spares: usize) -> Running {
        let options = JournalOptions { spare_segments: spares, ..options() };
        let from = self.from.unwrap_or(Position::START);
        let running = open_from(disk, options, from).unwrap();
        let known = self.dropped + running.replayed.len();
        assert!(known >= self.seen, "{known} of {} acknowledged records left", self.seen);
        assert_eq!(running.replayed[..], self.submitted[self.dropped..known]);
        self.submitted.truncate(known);
        self.seen = known;
        assert_eq!(running.next.lsn.0 as usize, known + 1);
        running
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn nothing_acknowledged_is_lost(
        steps in proptest::collection::vec(step(), 1..60),
        spares in 0usize..3,
    ) {
        let mut disk = SimulatedDisk::default();
        let mut model = Model::default();
        let mut running = model.reopen(&disk, spares);
        for step in steps {
            match step {
                Step::Submit(record) => model.submit(&running, record),
                Step::Burst(count) => (0..count).for_each(|i| model.submit(&running, record(i.into()))),
                Step::Wait => model.drain(&running),
                Step::FailSyncs(count) => disk.inject(|faults| faults.syncs = count),
                Step::FailWrites(count) => disk.inject(|faults| faults.writes = count),
                Step::FailFolderSyncs(count) => disk.inject(|faults| faults.folder_syncs = count),
                Step::FailRenames(count) => disk.inject(|faults| faults.renames = count),
                Step::Trim => {
                    model.submit(&running, b"trim to the batch of this".to_vec());
                    let mut last = None;
                    while model.seen < model.submitted.len() {
                        let batch = running.written.recv().unwrap();
                        model.see(&batch);
                        last = Some(batch);
                    }
                    if let Some(batch) = last {
                        let position = Position { batch: batch.number, lsn: batch.first_lsn };
                        model.from = Some(position);
                        model.dropped = batch.first_lsn.0 as usize - 1;
                        // May fail by an injected fault; then it only keeps more.
                        drop(running.journal.trim(batch.number));
                    }
                }
                Step::Crash(seed) => {
                    while let Ok(batch) = running.written.try_recv() {
                        model.see(&batch);
                    }
                    disk = disk.cut(seed);
                    disk.inject(|faults| faults.dice = Some(Dice::new(seed)));
                    running = model.reopen(&disk, spares);
                }
                Step::Close => {
                    disk.inject(|faults| *faults = Default::default());
                    running.journal.close().unwrap();
                    model.drain(&running);
                    running = model.reopen(&disk, spares);
                }
            }
        }
    }
}

#[test]
fn many_submitters_share_a_journal_on_a_real_disk() {
    let dir = tempfile::tempdir().unwrap();
    let options = JournalOptions { segment_bytes: 1 << 20, ..JournalOptions::default() };
    let disk = || Folder::open(dir.path()).unwrap().folder("journal").unwrap();
    let opened = EmbeddedJournal::<u64>::open(disk(), options.clone(), Position::START).unwrap();
    let (sender, written) = channel();
    opened.journal.start(Box::new(move |batch| drop(sender.send(batch)))).unwrap();
    std::thread::scope(|scope| {
        for thread in 0u64..4 {
            let journal = &opened.journal;
            scope.spawn(move || {
                for index in 0u64..2000 {
                    let tag = thread << 32 | index;
                    let fill = |_: Lsn, buffer: &mut Vec<u8>| {
                        buffer.extend_from_slice(&tag.to_le_bytes());
                        buffer.resize(buffer.len() + (index as usize * 7) % 500, 1);
                    };
                    journal.submit(Some(tag), fill).unwrap();
                }
            });
        }
    });
    opened.journal.close().unwrap();
    drop(opened);
    let mut lsn = 1;
    let mut last = [0; 4];
    for batch in written {
        for ((at, record), (waiter_at, tag)) in batch.iter().map(Result::unwrap).zip(&batch.waiters)
        {
            assert_eq!((at, at), (Lsn(lsn), *waiter_at));
            assert_eq!(record[..8], tag.to_le_bytes());
            let (thread, index) = ((tag >> 32) as usize, (tag & 0xffff_ffff) + 1);
            assert_eq!(last[thread] + 1, index, "one submitter's records keep their order");
            last[thread] = index;
            lsn += 1;
        }
    }
    assert_eq!(last, [2000; 4]);
    let opened = EmbeddedJournal::<u64>::open(disk(), options, Position::START).unwrap();
    assert_eq!(opened.next.lsn, Lsn(8001));
    let count: u32 = opened.replay.map(|batch| batch.unwrap().count).sum();
    assert_eq!(count, 8000);
}
