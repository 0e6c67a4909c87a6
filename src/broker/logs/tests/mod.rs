//! A partition against a naive model, its restoration, lookups, failing files, gathered routes, waiters.

mod trimming;

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use crate::broker::logs::batch::build::{BatchBuilder, NewRecord};
use crate::broker::logs::batch::records::{batches, records};
use crate::broker::logs::files::{MemorySegments, SegmentFiles};
use crate::broker::logs::gather::RouteGather;
use crate::broker::logs::lookup::{FoundOffset, OffsetQuery};
use crate::broker::logs::partition::{AppendOutcome, FetchError, Partition};
use crate::broker::logs::settings::LogSettings;
use crate::broker::logs::stored;
use crate::broker::logs::waiters::{Registrations, Touched, Waiter};
use crate::broker::testbed::produced;
use crate::model::ids::LogId;
use crate::store::disk::folder::Folder;
use crate::store::partition::SegmentInfo;
use crate::store::partition::folders::LogFolders;
use crate::store::tables::partitions::PartitionRow;

fn partition() -> Arc<Partition> {
    Arc::new(Partition::new(LogId(1), 0, false, Box::<MemorySegments>::default()))
}

fn batch(times: &[i64]) -> Vec<u8> {
    let mut builder = BatchBuilder::default();
    for time in times {
        builder.push(&record(*time, b"v"));
    }
    builder.finish().unwrap()
}

fn record(timestamp_ms: i64, value: &[u8]) -> NewRecord<'_> {
    NewRecord { timestamp_ms, key: None, value: Some(value), headers: &[] }
}

fn append(partition: &Partition, times: &[i64]) -> i64 {
    match partition.append_batch(9, &batch(times)) {
        AppendOutcome::Appended { base_offset, .. } => base_offset,
        other => panic!("not appended: {other:?}"),
    }
}

/// Offsets and values from `offset` to the end, as a consumer reads them.
fn consume(partition: &Partition, mut offset: i64, bytes_max: usize) -> Vec<(i64, Vec<u8>)> {
    let mut all = Vec::new();
    loop {
        let slice = partition.read(offset, bytes_max).unwrap();
        if slice.records.is_empty() {
            assert_eq!(offset, slice.high_watermark);
            return all;
        }
        for batch in batches(&slice.records) {
            for record in records(batch).unwrap().map(Result::unwrap) {
                if record.offset >= offset {
                    all.push((record.offset, record.value.unwrap().to_vec()));
                }
            }
        }
        offset = all.last().unwrap().0 + 1;
    }
}

proptest! {
    #[test]
    fn consumers_see_every_record_once_in_order_from_anywhere(
        sizes in proptest::collection::vec(1_usize..6, 1..20),
        from in 0_i64..120,
        bytes_max in 1_usize..500,
    ) {
        let partition = partition();
        let mut model = Vec::new();
        for size in sizes {
            let mut builder = BatchBuilder::default();
            let base = model.len();
            for n in base..base + size {
                let value = n.to_string().into_bytes();
                builder.push(&record(5, &value));
                model.push((n as i64, value.clone()));
            }
            let outcome = partition.append_batch(1, &builder.finish().unwrap());
            let expected = base as i64;
            let is_next =
                matches!(outcome, AppendOutcome::Appended { base_offset, .. } if base_offset == expected);
            prop_assert!(is_next);
        }
        let from = from % (model.len() as i64 + 1);
        let seen = consume(&partition, from, bytes_max);
        prop_assert_eq!(&seen[..], &model[usize::try_from(from).unwrap()..]);
    }

    #[test]
    fn append_survives_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        let partition = partition();
        partition.append_batch(0, &bytes);
        prop_assert!(partition.end() >= 0);
    }
}

#[test]
fn offsets_outside_the_partition_are_out_of_range() {
    let partition = partition();
    append(&partition, &[1, 2, 3]);
    append(&partition, &[4, 5]);
    assert_eq!(partition.advance_start(2), 2);
    for offset in [-1, 1, 6] {
        let error = partition.read(offset, 100).unwrap_err();
        assert!(
            matches!(error, FetchError::OutOfRange { log_start: 2, high_watermark: 5 }),
            "{offset}"
        );
    }
    assert!(partition.read(5, 100).unwrap().records.is_empty());
    assert!(!partition.read(2, 100).unwrap().records.is_empty());
    assert_eq!(partition.advance_start(99), 5, "the start does not pass the end");
    assert_eq!(partition.advance_start(0), 5, "the start does not move back");
}

#[test]
fn offsets_are_found_by_time_within_batches() {
    let partition = partition();
    append(&partition, &[10, 30, 20]);
    append(&partition, &[50, 40]);
    let at = |query| partition.find(query).unwrap();
    let found = |offset, time| Some(FoundOffset { offset, timestamp_ms: Some(time) });
    assert_eq!(at(OffsetQuery::AtOrAfter(0)), found(0, 10));
    assert_eq!(at(OffsetQuery::AtOrAfter(11)), found(1, 30));
    assert_eq!(at(OffsetQuery::AtOrAfter(31)), found(3, 50));
    assert_eq!(at(OffsetQuery::AtOrAfter(51)), None);
    assert_eq!(at(OffsetQuery::Newest), found(3, 50));
    assert_eq!(at(OffsetQuery::End).unwrap().offset, 5);
    assert_eq!(at(OffsetQuery::Start).unwrap().offset, 0);
    partition.advance_start(2);
    assert_eq!(at(OffsetQuery::AtOrAfter(0)), found(2, 20));
}

#[test]
fn an_append_time_log_stamps_records_and_finds_them_by_it() {
    let files = Box::<MemorySegments>::default();
    let partition = Partition::new(LogId(1), 0, true, files);
    let outcome = partition.append_batch(777, &batch(&[1, 2]));
    assert!(matches!(outcome, AppendOutcome::Appended { append_time_ms: Some(777), .. }));
    let found = partition.find(OffsetQuery::AtOrAfter(700)).unwrap();
    assert_eq!(found, Some(FoundOffset { offset: 0, timestamp_ms: Some(777) }));
}

/// A batch of an idempotent producer.
fn sequenced(producer: i64, sequence: i32) -> Vec<u8> {
    produced::sequenced(batch(&[1]), producer, 0, sequence)
}

#[test]
fn a_restored_partition_goes_on_where_it_was_frozen() {
    let partition = partition();
    append(&partition, &[10, 20]);
    partition.append_batch(1, &sequenced(4, 0));
    partition.advance_start(1);
    let row = partition.freeze().unwrap();
    let files = Box::<MemorySegments>::default();
    let restored = Partition::restore(LogId(1), 0, false, files, &row).unwrap();
    assert_eq!((restored.log_start(), restored.end()), (1, 3));
    assert_eq!(restored.newest(), Some((20, 0)));
    let again = restored.append_batch(2, &sequenced(4, 0));
    assert!(matches!(again, AppendOutcome::Duplicate { base_offset: 2, .. }));
    let next = restored.append_batch(2, &sequenced(4, 1));
    assert!(matches!(next, AppendOutcome::Appended { base_offset: 3, .. }));
    let gap = restored.append_batch(2, &sequenced(4, 3));
    assert!(matches!(gap, AppendOutcome::Refused(_)));
}

#[test]
fn a_malformed_row_is_an_error() {
    let good = partition().freeze().unwrap();
    let rows = [
        PartitionRow { producers: Bytes::new(), ..good.clone() },
        PartitionRow { log_start: 5, ..good.clone() },
        PartitionRow { log_start: -1, ..good.clone() },
        PartitionRow { producers: good.producers.slice(..20), ..good },
    ];
    for row in rows {
        let files = Box::<MemorySegments>::default();
        assert!(Partition::restore(LogId(1), 0, false, files, &row).is_err());
    }
}

/// Files that fail after one append.
#[derive(Default)]
struct Failing(MemorySegments);

impl SegmentFiles for Failing {
    fn append(&self, base: i64, last: i64, time: i64, batch: [&[u8]; 2]) -> io::Result<()> {
        if base > 0 {
            return Err(io::Error::other("no space"));
        }
        self.0.append(base, last, time, batch)
    }
    fn read(&self, offset: i64, bytes_max: usize, up_to: i64) -> io::Result<Bytes> {
        self.0.read(offset, bytes_max, up_to)
    }
    fn first_at_or_after(&self, timestamp: i64, from: i64) -> io::Result<Option<i64>> {
        self.0.first_at_or_after(timestamp, from)
    }
    fn highest_timestamp(&self, from: i64) -> io::Result<Option<i64>> {
        self.0.highest_timestamp(from)
    }
    fn segments(&self) -> Vec<SegmentInfo> {
        self.0.segments()
    }
    fn remove_before(&self, offset: i64) {
        self.0.remove_before(offset);
    }
    fn take_removed(&self) -> Vec<String> {
        Vec::new()
    }
    fn unlink(&self, _: &[String]) -> io::Result<()> {
        Ok(())
    }
    fn configure(&self, _: &LogSettings) {}
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_was_acknowledged_stays_readable_when_files_fail() {
    let partition = Partition::new(LogId(1), 0, false, Box::<Failing>::default());
    append(&partition, &[1, 2]);
    assert_eq!(partition.failure(), None);
    append(&partition, &[3]);
    append(&partition, &[4, 5]);
    assert!(partition.failure().is_some());
    assert_eq!(partition.freeze(), None, "the checkpoint does without it");
    let offsets: Vec<_> = consume(&partition, 0, 10).iter().map(|(offset, _)| *offset).collect();
    assert_eq!(offsets, [0, 1, 2, 3, 4]);
}

#[test]
fn routed_messages_of_a_sync_become_one_batch_in_journal_order() {
    let (one, two) = (partition(), {
        let files = Box::<MemorySegments>::default();
        Arc::new(Partition::new(LogId(1), 1, false, files))
    });
    let (mut gather, mut touched) = (RouteGather::default(), Touched::default());
    gather.push(&one, 5, &record(1, b"a"), &mut touched);
    gather.push(&two, 5, &record(1, b"x"), &mut touched);
    gather.push(&one, 5, &record(2, b"b"), &mut touched);
    gather.settle(&one, 5, &mut touched);
    append(&one, &[3]);
    gather.push(&one, 5, &record(4, b"d"), &mut touched);
    gather.flush(5, &mut touched);
    let values: Vec<_> = consume(&one, 0, 1000).into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, [&b"a"[..], b"b", b"v", b"d"]);
    let slice = one.read(0, 1000).unwrap();
    assert_eq!(batches(&slice.records).count(), 3);
    assert_eq!(two.end(), 1);
    gather.flush(6, &mut touched);
    assert_eq!(one.end(), 4, "nothing is written twice");
}

#[tokio::test]
async fn a_waiter_is_woken_when_enough_bytes_are_published() {
    let (one, mut touched) = (partition(), Touched::default());
    let bytes = batch(&[1]).len();
    let waiter = Waiter::new(bytes * 2);
    let mut registrations = Registrations::new(Arc::clone(&waiter));
    assert!(registrations.add(&one, 0));
    append(&one, &[1]);
    touched.note(&one, bytes);
    touched.publish();
    let woken = futures_ready(waiter.woken());
    assert!(!woken, "half of it is not enough");
    append(&one, &[2]);
    touched.note(&one, bytes);
    assert!(!futures_ready(waiter.woken()), "nobody is woken before the sync is told");
    touched.publish();
    waiter.woken().await;
    assert!(!registrations.add(&one, 0), "it has moved since offset 0");
}

/// Whether `future` is done at once.
fn futures_ready(future: impl Future<Output = ()>) -> bool {
    let mut task = std::task::Context::from_waker(std::task::Waker::noop());
    std::pin::pin!(future).poll(&mut task).is_ready()
}

#[test]
fn files_cut_back_to_a_checkpoint_and_a_replay_give_the_same_log() {
    let folder = tempfile::tempdir().unwrap();
    let folders = LogFolders::new(Folder::open(folder.path()).unwrap());
    let settings = LogSettings { segment_bytes: 200, ..LogSettings::default() };
    let open = |lengths: &[(i64, u64)]| {
        stored::open(&folders, (LogId(7), "telemetry"), 2, &settings, lengths).unwrap()
    };
    let partition = Partition::new(LogId(7), 2, false, open(&[]));
    for time in 0..10 {
        append(&partition, &[time * 10, time * 10 + 1]);
    }
    let row = partition.freeze().unwrap();
    assert!(row.segments.len() > 2, "segments are rolled");
    partition.sync().unwrap();
    for time in 10..15 {
        append(&partition, &[time * 10, time * 10 + 1]);
    }
    let before = consume(&partition, 0, 200);
    let found = partition.find(OffsetQuery::AtOrAfter(121)).unwrap();
    drop(partition);
    let restored = Partition::restore(LogId(7), 2, false, open(&row.segments), &row).unwrap();
    assert_eq!(restored.end(), 20);
    assert_eq!(consume(&restored, 0, 200)[..], before[..20]);
    for time in 10..15 {
        append(&restored, &[time * 10, time * 10 + 1]);
    }
    assert_eq!(consume(&restored, 3, 200)[..], before[3..]);
    assert_eq!(restored.find(OffsetQuery::AtOrAfter(121)).unwrap(), found);
    assert_eq!(found, Some(FoundOffset { offset: 25, timestamp_ms: Some(121) }));
}
