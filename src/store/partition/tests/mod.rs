//! Partition files against a model and crashes. Part of `store::partition`.
//!
//! - [`failing`] disks that fail for a while

mod failing;

use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::model::ids::LogId;
use crate::store::disk::Disk;
use crate::store::disk::simulated::SimulatedDisk;
use crate::store::error::StoreError;
use crate::store::partition::PartitionOptions;
use crate::store::partition::files::PartitionFiles;
use crate::store::partition::folders::LogFolders;
use crate::store::partition::header::BatchInfo;
use crate::store::partition::segment::log_name;

const OPTIONS: PartitionOptions = PartitionOptions {
    segment_bytes: 2000,
    segment_ms: u64::MAX,
    index_interval_bytes: 300,
    write_bytes: 500,
};

/// A batch as far as files look into one.
fn batch(base_offset: i64, records: i32, max_timestamp: i64, body: usize) -> Vec<u8> {
    let mut bytes = vec![base_offset as u8; 61 + body];
    bytes[..8].copy_from_slice(&base_offset.to_be_bytes());
    bytes[8..12].copy_from_slice(&(49 + body as i32).to_be_bytes());
    bytes[16] = 2;
    bytes[23..27].copy_from_slice(&(records - 1).to_be_bytes());
    bytes[35..43].copy_from_slice(&max_timestamp.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn open(disk: &SimulatedDisk, valid: &[(i64, u64)]) -> PartitionFiles {
    PartitionFiles::open(disk.shared(), OPTIONS, valid).unwrap()
}

/// Appends `count` batches of two records; the timestamp is ten times the offset.
fn fill(files: &PartitionFiles, from: i64, count: i64) {
    for index in 0..count {
        let offset = from + index * 2;
        let bytes = batch(offset, 2, offset * 10, 100 + index as usize % 50);
        files.append(offset, offset + 1, offset * 10, [&bytes, &[]]).unwrap();
    }
}

fn offsets(mut bytes: &[u8]) -> Vec<i64> {
    let mut found = Vec::new();
    while let Some(info) = BatchInfo::parse(bytes) {
        found.push(info.base_offset);
        bytes = &bytes[info.bytes as usize..];
    }
    assert!(bytes.is_empty(), "a partial batch was returned");
    found
}

#[test]
fn a_read_begins_with_the_batch_that_holds_the_offset() {
    let disk = SimulatedDisk::default();
    let files = open(&disk, &[]);
    fill(&files, 0, 40);
    assert!(files.segments().len() > 2);
    for offset in 0..80 {
        let found = offsets(&files.read(offset, 1, 80).unwrap());
        assert_eq!(found, [offset / 2 * 2], "offset {offset}");
    }
    assert!(files.read(80, 1000, 80).unwrap().is_empty());
    assert_eq!(offsets(&files.read(0, 500, 80).unwrap()), [0, 2, 4]);
    assert_eq!(offsets(&files.read(0, 5000, 3).unwrap()), [0]);
    assert!(files.read(0, 5000, 1).unwrap().is_empty());
}

#[test]
fn gaps_in_the_offsets_are_stepped_over() {
    let disk = SimulatedDisk::default();
    let files = open(&disk, &[]);
    for offset in [0, 100, 200, 300] {
        files.append(offset, offset + 1, 5, [&batch(offset, 2, 5, 800), &[]]).unwrap();
    }
    assert_eq!(offsets(&files.read(50, 1, 1000).unwrap()), [100]);
    assert_eq!(offsets(&files.read(102, 1, 1000).unwrap()), [200]);
    assert_eq!(offsets(&files.read(202, 1, 1000).unwrap()), [300]);
}

#[test]
fn a_timestamp_finds_the_first_batch_that_reaches_it() {
    let disk = SimulatedDisk::default();
    let files = open(&disk, &[]);
    fill(&files, 0, 40);
    let found = |timestamp| files.lookup_timestamp(timestamp, 0).unwrap().map(|b| b.base_offset);
    for offset in (0..80).step_by(2) {
        assert_eq!(found(offset * 10), Some(offset));
        assert_eq!(found(offset * 10 - 3), Some(offset));
    }
    assert_eq!(found(781), None);
    // A late record with an early time does not hide what comes after it.
    files.append(80, 80, 5, [&batch(80, 1, 5, 10), &[]]).unwrap();
    files.append(81, 81, 900, [&batch(81, 1, 900, 10), &[]]).unwrap();
    assert_eq!(found(790), Some(81));
}

#[test]
fn offsets_that_do_not_follow_are_refused() {
    let disk = SimulatedDisk::default();
    let files = open(&disk, &[]);
    fill(&files, 10, 2);
    let result = files.append(13, 13, 0, [&batch(13, 1, 0, 0), &[]]);
    assert!(matches!(result, Err(StoreError::Refused { .. })));
    assert_eq!(files.next_offset(), Some(14));
    assert!(files.failure().is_none());
}

#[test]
fn small_appends_reach_the_file_together() {
    let disk = SimulatedDisk::default();
    let files = open(&disk, &[]);
    fill(&files, 0, 2);
    assert!(disk.everything().is_empty());
    fill(&files, 4, 2);
    let written = disk.contents(&log_name(0)).len();
    assert_eq!(offsets(&disk.contents(&log_name(0))), [0, 2, 4], "{written} bytes");
    assert_eq!(offsets(&files.read(2, 9999, 100).unwrap()), [2, 4, 6]);
    files.sync().unwrap();
    assert_eq!(offsets(&disk.contents(&log_name(0))), [0, 2, 4, 6]);
}

#[test]
fn retention_removes_whole_segments_and_unlinks_later() {
    let disk = SimulatedDisk::default();
    let files = open(&disk, &[]);
    fill(&files, 0, 40);
    files.sync().unwrap();
    let segments = files.segments();
    let second = segments[1];
    files.remove_before(second.next_offset - 1);
    assert_eq!(files.take_removed().len(), 2);
    assert_eq!(files.segments()[0], second);
    files.remove_before(segments[segments.len() - 1].base_offset);
    assert_eq!(files.segments(), segments[segments.len() - 1..]);
    let names = files.take_removed();
    let before = disk.everything().len();
    files.unlink(&names).unwrap();
    files.unlink(&names).unwrap();
    assert_eq!(disk.everything().len(), before - names.len());
    files.delete_all().unwrap();
    assert!(disk.everything().is_empty());
}

#[test]
fn all_of_a_partition_may_be_given_up_and_appends_go_on() {
    let disk = SimulatedDisk::default();
    let files = open(&disk, &[]);
    fill(&files, 0, 40);
    files.remove_before(80);
    assert!(files.segments().is_empty());
    assert!(files.read(0, 100, 80).unwrap().is_empty());
    files.append(80, 80, 7, [&batch(80, 1, 7, 10), &[]]).unwrap();
    assert_eq!(offsets(&files.read(3, 100, 81).unwrap()), [80]);
    let valid = files.valid_lengths();
    files.sync().unwrap();
    files.unlink(&files.take_removed()).unwrap();
    assert!(disk.everything().keys().all(|name| name.starts_with("00000000000000000080")));
    let files = open(&disk.crash(&mut |_, _| 0), &valid);
    assert_eq!(files.next_offset(), Some(81));
}

/// Between the freezing of a checkpoint and its syncs.
#[test]
fn what_a_checkpoint_names_is_durable_though_it_is_given_up_meanwhile() {
    let disk = SimulatedDisk::default();
    let files = open(&disk, &[]);
    fill(&files, 0, 40);
    let valid = files.valid_lengths();
    assert!(files.take_removed().is_empty());
    files.remove_before(80);
    files.sync().unwrap();
    let restarted = open(&disk.crash(&mut |_, _| 0), &valid);
    assert_eq!(restarted.next_offset(), Some(80));
    assert_eq!(offsets(&restarted.read(78, 9999, 80).unwrap()), [78]);
    // The next one does without them.
    assert_eq!(files.take_removed().len(), 2 * valid.len());
}

#[test]
fn a_segment_is_closed_when_it_spans_too_long_a_time() {
    let disk = SimulatedDisk::default();
    let options = PartitionOptions { segment_ms: 100, ..OPTIONS };
    let mut files = PartitionFiles::open(disk.shared(), options, &[]).unwrap();
    let bases = |files: &PartitionFiles| -> Vec<i64> {
        files.segments().iter().map(|info| info.base_offset).collect()
    };
    for (offset, time) in [(0, 1000), (1, 1100), (2, 900), (3, 1101)] {
        files.append(offset, offset, time, [&batch(offset, 1, time, 10), &[]]).unwrap();
    }
    assert_eq!(bases(&files), [0, 3]);
    // What it began with is known after a restart.
    let valid = files.valid_lengths();
    files.sync().unwrap();
    files = PartitionFiles::open(disk.crash(&mut |_, _| 0).shared(), options, &valid).unwrap();
    files.append(4, 4, 1201, [&batch(4, 1, 1201, 10), &[]]).unwrap();
    files.append(5, 5, 1202, [&batch(5, 1, 1202, 10), &[]]).unwrap();
    assert_eq!(bases(&files), [0, 3, 5]);
    files.set_options(PartitionOptions { segment_bytes: 1, ..options });
    files.append(6, 6, 1202, [&batch(6, 1, 1202, 10), &[]]).unwrap();
    assert_eq!(bases(&files), [0, 3, 5, 6]);
}

#[test]
fn a_timestamp_is_looked_for_from_an_offset_on() {
    let disk = SimulatedDisk::default();
    let files = open(&disk, &[]);
    fill(&files, 0, 40);
    for from in 0..80 {
        let found = files.lookup_timestamp(0, from).unwrap().map(|batch| batch.base_offset);
        assert_eq!(found, Some(from / 2 * 2));
    }
    assert_eq!(files.lookup_timestamp(0, 80).unwrap(), None);
}

#[test]
fn short_missing_and_foreign_files_are_told_and_left_untouched() {
    let disk = SimulatedDisk::default();
    let files = open(&disk, &[]);
    fill(&files, 0, 40);
    files.sync().unwrap();
    let valid = files.valid_lengths();
    let before = disk.everything();
    let mut longer = valid.clone();
    longer[1].1 += 1;
    let mut more = valid.clone();
    more.push((500, 10));
    for wrong in [longer, more] {
        let result = PartitionFiles::open(disk.shared(), OPTIONS, &wrong);
        assert!(matches!(result, Err(StoreError::Missing { .. })));
    }
    // Half a batch at the end of what counts; without an index, so that it is looked at.
    let hurt = disk.crash(&mut |_, _| 0);
    for name in before.keys().filter(|name| name.ends_with(".index")) {
        hurt.remove(name).unwrap();
    }
    let cut: Vec<_> = valid.iter().map(|(base, len)| (*base, len - 1)).collect();
    let result = PartitionFiles::open(hurt.shared(), OPTIONS, &cut);
    assert!(matches!(result, Err(StoreError::Corrupt { .. })));
    assert_eq!(disk.everything(), before);
}

#[test]
fn folders_are_found_by_id_and_removed_when_unlisted() {
    let disk = SimulatedDisk::default();
    let folders = LogFolders::new(disk.shared());
    folders.partition(LogId(1), "a/b ü", 0).unwrap().create("x").unwrap();
    folders.partition(LogId(2), "other", 3).unwrap();
    assert_eq!(disk.list_folders().unwrap(), ["1-a_b__", "2-other"]);
    assert_eq!(folders.partition(LogId(1), "a/b ü", 0).unwrap().list().unwrap(), ["x"]);
    folders.remove_unlisted(&BTreeSet::from([LogId(2)])).unwrap();
    assert_eq!(disk.list_folders().unwrap(), ["2-other"]);
    folders.remove(LogId(2)).unwrap();
    folders.remove(LogId(2)).unwrap();
    assert!(disk.list_folders().unwrap().is_empty());
}

#[derive(Debug, Clone)]
enum Step {
    Append { records: i32, gap: i64, timestamp: i64, body: usize },
    Checkpoint { lose: usize },
    Crash(u64),
    DropIndex,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1i32..5, 0i64..3, 0i64..1000, 0usize..400).prop_map(
            |(records, gap, timestamp, body)| Step::Append { records, gap, timestamp, body }
        ),
        2 => (0usize..6).prop_map(|lose| Step::Checkpoint { lose }),
        1 => any::<u64>().prop_map(Step::Crash),
        1 => Just(Step::DropIndex),
    ]
}

proptest! {
    #[test]
    fn files_hold_what_the_model_holds(steps in proptest::collection::vec(step(), 1..80)) {
        let mut disk = SimulatedDisk::default();
        let mut files = open(&disk, &[]);
        let mut model: Vec<(BatchInfo, Vec<u8>)> = Vec::new();
        let mut checkpoint = (Vec::new(), Vec::new(), 0);
        let mut end = 0;
        for step in steps {
            match step {
                Step::Append { records, gap, timestamp, body } => {
                    let bytes = batch(end + gap, records, timestamp, body);
                    let info = BatchInfo::parse(&bytes).unwrap();
                    files.append(info.base_offset, info.last_offset, timestamp, [&bytes[..61], &bytes[61..]]).unwrap();
                    end = info.last_offset + 1;
                    model.push((info, bytes));
                }
                // Segments are given up after it was frozen, and before it counts.
                Step::Checkpoint { lose } => {
                    checkpoint = (files.valid_lengths(), model.clone(), end);
                    let given_up = files.take_removed();
                    if let Some(last) = files.segments().get(..lose).and_then(<[_]>::last) {
                        files.remove_before(last.next_offset);
                        model.retain(|(info, _)| info.base_offset >= last.next_offset);
                    }
                    files.sync().unwrap();
                    files.unlink(&given_up).unwrap();
                }
                Step::Crash(seed) => {
                    disk = disk.cut(seed);
                    files = open(&disk, &checkpoint.0);
                    (model, end) = (checkpoint.1.clone(), checkpoint.2);
                }
                Step::DropIndex => {
                    for name in disk.everything().keys().filter(|name| name.ends_with(".index")) {
                        disk.remove(name).unwrap();
                    }
                }
            }
        }
        prop_assert_eq!(files.next_offset().unwrap_or(end), end);
        let mut offset = 0;
        let mut read = Vec::new();
        while offset < end && !model.is_empty() {
            let bytes = files.read(offset, 700, end).unwrap();
            offset = BatchInfo::parse(&bytes[..]).unwrap().base_offset;
            read.extend_from_slice(&bytes);
            offset = offsets(&bytes).last().map_or(offset, |last| {
                model.iter().find(|(info, _)| info.base_offset == *last).unwrap().0.last_offset + 1
            });
        }
        prop_assert_eq!(read, model.iter().flat_map(|(_, bytes)| bytes.clone()).collect::<Vec<_>>());
        for timestamp in [0, 250, 500, 999, 1000] {
            let expected = model.iter().map(|(info, _)| *info).find(|i| i.max_timestamp >= timestamp);
            prop_assert_eq!(files.lookup_timestamp(timestamp, 0).unwrap(), expected);
        }
    }

    #[test]
    fn arbitrary_headers_never_panic(bytes: Vec<u8>) {
        if let Some(info) = BatchInfo::parse(&bytes) {
            prop_assert!(info.last_offset >= info.base_offset);
        }
    }
}
