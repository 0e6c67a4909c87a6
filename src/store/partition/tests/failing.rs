//! Partition files on disks that fail for a while, or lie. Part of the tests of `store::partition`.

use proptest::prelude::*;

use super::{batch, fill, offsets, open};
use crate::store::disk::simulated::{Faults, SimulatedDisk};
use crate::store::error::StoreError;
use crate::store::partition::files::PartitionFiles;
use crate::store::partition::segment::log_name;

/// What a restart finds of `files` after a power cut now, with `frozen` as the checkpoint has it.
fn after_a_cut(disk: &SimulatedDisk, files: &PartitionFiles, frozen: &[(i64, u64)]) -> Vec<i64> {
    let restarted = open(&disk.crash(&mut |_, _| 0), &files.lengths_now(frozen));
    everything(&restarted)
}

fn everything(files: &PartitionFiles) -> Vec<i64> {
    let end = files.next_offset().unwrap_or(0);
    let mut found = Vec::new();
    let mut next = files.segments().first().map_or(0, |info| info.base_offset);
    while next < end {
        let batches = offsets(&files.read(next, 700, end).unwrap());
        next = batches.last().unwrap() + 2;
        found.extend(batches);
    }
    found
}

fn evens(to: i64) -> Vec<i64> {
    (0..to).step_by(2).collect()
}

#[test]
fn a_failed_write_keeps_its_bytes_and_is_made_again() {
    let disk = SimulatedDisk::default();
    let files = open(&disk, &[]);
    fill(&files, 0, 2);
    disk.inject(|faults| faults.writes = 2);
    // Too large for memory: to be written at once, after what waits there.
    files.append(4, 5, 0, [&batch(4, 2, 0, 500), &[]]).unwrap();
    assert_eq!(everything(&files), [0, 2, 4]);
    let frozen = files.freeze_lengths();
    assert!(matches!(files.sync(), Err(StoreError::Io { .. })));
    assert_eq!(files.lookup_timestamp(20, 0).unwrap().map(|batch| batch.base_offset), Some(2));
    fill(&files, 6, 3);
    files.sync().unwrap();
    assert!(files.failure().is_none());
    assert_eq!(after_a_cut(&disk, &files, &frozen), [0, 2, 4]);
    assert_eq!(everything(&files), evens(12));
}

/// The write that failed is the checkpoint's, and the next append is the first to find the disk well.
#[test]
fn nothing_overtakes_what_waits_behind_a_failed_write() {
    let disk = SimulatedDisk::default();
    let files = open(&disk, &[]);
    fill(&files, 0, 1);
    disk.inject(|faults| faults.writes = 1);
    assert!(files.sync().is_err());
    fill(&files, 2, 1);
    files.append(4, 5, 0, [&batch(4, 2, 0, 500), &[]]).unwrap();
    assert_eq!(everything(&files), [0, 2, 4]);
    let frozen = files.freeze_lengths();
    files.sync().unwrap();
    assert_eq!(after_a_cut(&disk, &files, &frozen), [0, 2, 4]);
}

#[test]
fn a_file_that_cannot_be_made_is_made_later() {
    let disk = SimulatedDisk::default();
    let files = open(&disk, &[]);
    disk.inject(|faults| faults.everything = true);
    fill(&files, 0, 40);
    let frozen = files.freeze_lengths();
    assert!(files.sync().is_err());
    assert_eq!(everything(&files), evens(80));
    disk.inject(|faults| faults.everything = false);
    files.sync().unwrap();
    assert_eq!(after_a_cut(&disk, &files, &frozen), evens(80));
}

#[test]
fn what_a_failed_sync_leaves_in_doubt_goes_into_a_new_file() {
    let disk = SimulatedDisk::default();
    let files = open(&disk, &[]);
    fill(&files, 0, 3);
    files.sync().unwrap();
    fill(&files, 6, 3);
    let frozen = files.freeze_lengths();
    fill(&files, 12, 1);
    disk.inject(|faults| faults.syncs = 1);
    files.sync().unwrap();
    let bases: Vec<_> = files.segments().iter().map(|info| info.base_offset).collect();
    assert_eq!(bases, [0, 6], "the first file counts as far as it was synced");
    assert_eq!(after_a_cut(&disk, &files, &frozen), evens(12));
    fill(&files, 14, 2);
    assert_eq!(everything(&files), evens(18));
    let frozen = files.freeze_lengths();
    files.sync().unwrap();
    assert_eq!(after_a_cut(&disk, &files, &frozen), evens(18));
}

#[test]
fn a_file_of_which_nothing_was_synced_is_replaced() {
    let disk = SimulatedDisk::default();
    let files = open(&disk, &[]);
    fill(&files, 0, 3);
    let frozen = files.freeze_lengths();
    disk.inject(|faults| faults.syncs = 3);
    assert!(files.sync().is_err(), "the new file fails too");
    fill(&files, 6, 2);
    assert!(files.sync().is_err());
    files.sync().unwrap();
    assert_eq!(after_a_cut(&disk, &files, &frozen), evens(6));
    assert_eq!(everything(&files), evens(10));
    assert!(disk.everything().keys().all(|name| !name.ends_with(".new")));
}

/// What a checkpoint being written names counts, though retention gives it up meanwhile.
#[test]
fn a_file_that_is_given_up_is_replaced_too() {
    let disk = SimulatedDisk::default();
    let files = open(&disk, &[]);
    fill(&files, 0, 3);
    files.sync().unwrap();
    fill(&files, 6, 3);
    let frozen = files.freeze_lengths();
    assert!(files.take_removed().is_empty());
    files.remove_before(12);
    disk.inject(|faults| faults.syncs = 1);
    files.sync().unwrap();
    assert_eq!(after_a_cut(&disk, &files, &frozen), evens(12));
    files.unlink(&files.take_removed()).unwrap();
    assert!(disk.everything().is_empty());
}

/// After a failed sync the system gave up the pages, and what it reads from the platter is something else.
#[test]
fn other_bytes_than_were_written_are_never_copied() {
    let disk = SimulatedDisk::default();
    let files = open(&disk, &[]);
    fill(&files, 0, 3);
    let frozen = files.freeze_lengths();
    files.sync().unwrap();
    fill(&files, 6, 10);
    disk.inject(|faults| faults.syncs = 2);
    assert!(files.sync().is_err());
    let kept = usize::try_from(frozen[0].1).unwrap();
    disk.damage(&log_name(0), |bytes| bytes[kept + 70] ^= 1);
    disk.inject(|faults| faults.syncs = 0);
    assert!(matches!(files.sync(), Err(StoreError::Corrupt { .. })));
    assert!(files.failure().is_some_and(|why| why.contains("checksum")), "{:?}", files.failure());
    assert!(files.refusal().is_some());
    let refused = files.append(26, 26, 0, [&batch(26, 1, 0, 0), &[]]);
    assert!(matches!(refused, Err(StoreError::Failed { .. })));
    assert_eq!(offsets(&files.read(0, 1, 6).unwrap()), [0]);
    assert_eq!(after_a_cut(&disk, &files, &frozen), evens(6));
}

#[derive(Debug, Clone)]
enum Step {
    Append(i64),
    Fail(Faults),
    /// Freezes, and tries so often to make that durable.
    Checkpoint(usize),
    Trim(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let faults = (0u32..3, 0u32..3, 0u32..4, 0u32..2, 0u32..2).prop_map(
        |(creates, writes, syncs, folder_syncs, renames)| Faults {
            creates,
            writes,
            syncs,
            folder_syncs,
            renames,
            ..Faults::default()
        },
    );
    prop_oneof![
        4 => (1i64..12).prop_map(Step::Append),
        2 => faults.prop_map(Step::Fail),
        3 => (1usize..4).prop_map(Step::Checkpoint),
        1 => (0i64..200).prop_map(Step::Trim),
    ]
}

proptest! {
    #[test]
    fn whatever_fails_for_a_while_everything_is_readable_and_checkpoints_hold(
        steps in proptest::collection::vec(step(), 1..60)
    ) {
        let disk = SimulatedDisk::default();
        let files = open(&disk, &[]);
        let (mut end, mut start) = (0i64, 0i64);
        // Of the last checkpoint: its lengths and its end.
        let mut kept: (Vec<(i64, u64)>, i64) = (Vec::new(), 0);
        let mut frozen: Option<(Vec<(i64, u64)>, i64)> = None;
        for step in steps {
            match step {
                Step::Append(count) => {
                    fill(&files, end, count);
                    end += 2 * count;
                }
                Step::Fail(faults) => disk.inject(|now| *now = faults),
                Step::Trim(to) => {
                    start = start.max(to.min(end));
                    files.remove_before(start);
                }
                Step::Checkpoint(attempts) => {
                    let (lengths, frozen_end) =
                        frozen.take().unwrap_or_else(|| (files.freeze_lengths(), end));
                    let done = (0..attempts).any(|_| files.sync().is_ok());
                    if done {
                        kept = (files.lengths_now(&lengths), frozen_end);
                    } else {
                        frozen = Some((lengths, frozen_end));
                    }
                }
            }
            let live = everything(&files);
            let from = files.segments().first().map_or(end, |info| info.base_offset);
            prop_assert!(from <= start || live.is_empty());
            prop_assert_eq!(live, (from..end).step_by(2).collect::<Vec<_>>());
            let restarted = open(&disk.crash(&mut |_, _| 0), &kept.0);
            let from = restarted.segments().first().map_or(kept.1, |info| info.base_offset);
            prop_assert_eq!(everything(&restarted), (from..kept.1).step_by(2).collect::<Vec<_>>());
        }
        prop_assert!(files.failure().is_none());
    }
}
