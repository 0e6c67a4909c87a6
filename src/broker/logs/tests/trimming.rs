//! A partition that rolls, gives records up, is checkpointed and cut off, against a list. Part of the tests of
//! `broker/logs`.

use proptest::collection::vec;
use proptest::prelude::*;

use super::{batch, consume};
use crate::broker::logs::lookup::{FoundOffset, OffsetQuery};
use crate::broker::logs::partition::Partition;
use crate::broker::logs::retention::new_start;
use crate::broker::logs::settings::LogSettings;
use crate::broker::logs::stored;
use crate::model::ids::LogId;
use crate::store::disk::simulated::SimulatedDisk;
use crate::store::partition::folders::LogFolders;

const RETENTION_MS: u64 = 200;

#[derive(Clone, Debug)]
enum Step {
    Append { times: Vec<i64> },
    Cut { back: i64 },
    Retain { now_ms: u64 },
    Checkpoint,
    Crash { share: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => vec(0i64..1000, 1..5).prop_map(|times| Step::Append { times }),
        2 => (0i64..12).prop_map(|back| Step::Cut { back }),
        2 => (0u64..1400).prop_map(|now_ms| Step::Retain { now_ms }),
        2 => Just(Step::Checkpoint),
        1 => (0usize..5).prop_map(|share| Step::Crash { share }),
    ]
}

/// The timestamps of all records, by offset; those before the start are given up.
#[derive(Clone, Debug, Default)]
struct List {
    start: usize,
    times: Vec<i64>,
}

impl List {
    fn left(&self) -> impl Iterator<Item = (i64, i64)> {
        let records = self.times.iter().enumerate().skip(self.start);
        records.map(|(offset, time)| (i64::try_from(offset).unwrap(), *time))
    }

    fn advance(&mut self, to: i64) {
        self.start = self.start.max(usize::try_from(to).unwrap());
    }

    fn check(&self, partition: &Partition) {
        let start = i64::try_from(self.start).unwrap();
        let end = i64::try_from(self.times.len()).unwrap();
        assert_eq!((partition.log_start(), partition.end()), (start, end));
        assert!(start == 0 || partition.read(start - 1, 10).is_err());
        let offsets = consume(partition, start, 300).into_iter().map(|(offset, _)| offset);
        assert!(offsets.eq(start..end));
        let found = |(offset, time)| FoundOffset { offset, timestamp_ms: Some(time) };
        for asked in [0, 100, 250, 500, 750, 999] {
            let expected = self.left().find(|(_, time)| *time >= asked).map(found);
            assert_eq!(partition.find(OffsetQuery::AtOrAfter(asked)).unwrap(), expected, "{asked}");
        }
        let newest = self.left().max_by_key(|(offset, time)| (*time, -offset)).map(found);
        assert_eq!(partition.find(OffsetQuery::Newest).unwrap(), newest);
    }
}

proptest! {
    #[test]
    fn a_trimmed_partition_is_what_a_list_would_be(steps in vec(step(), 1..60)) {
        let settings = LogSettings {
            segment_bytes: 400,
            segment_ms: 300,
            retention_ms: Some(RETENTION_MS),
            ..LogSettings::default()
        };
        let open = |disk: &SimulatedDisk, lengths: &[(i64, u64)]| {
            let folders = LogFolders::new(disk.shared());
            stored::open(&folders, (LogId(1), "t"), 0, &settings, lengths).unwrap()
        };
        let mut disk = SimulatedDisk::default();
        let mut partition = Partition::new(LogId(1), 0, false, open(&disk, &[]));
        let mut list = List::default();
        let mut checkpoint = (partition.freeze().unwrap(), list.clone());
        for step in steps {
            match step {
                Step::Append { times } => {
                    partition.append_batch(1, &batch(&times));
                    list.times.extend(times);
                }
                Step::Cut { back } => {
                    let to = (partition.end() - back).max(0);
                    partition.advance_start(to);
                    list.advance(to);
                }
                Step::Retain { now_ms } => {
                    let Some(to) = new_start(&settings, &partition.segments(), now_ms) else {
                        continue;
                    };
                    let given_up = list.left().take_while(|(offset, _)| *offset < to);
                    for (_, time) in given_up {
                        prop_assert!(time.unsigned_abs() + RETENTION_MS < now_ms);
                    }
                    partition.advance_start(to);
                    list.advance(to);
                }
                Step::Checkpoint => {
                    checkpoint = (partition.freeze().unwrap(), list.clone());
                    let removed = partition.take_removed();
                    partition.sync().unwrap();
                    partition.unlink(&removed).unwrap();
                }
                Step::Crash { share } => {
                    disk = disk.crash(&mut |_, unsynced| unsynced * share / 4);
                    let (row, frozen) = &checkpoint;
                    let files = open(&disk, &row.segments);
                    partition = Partition::restore(LogId(1), 0, false, files, row).unwrap();
                    list = frozen.clone();
                }
            }
            list.check(&partition);
        }
    }
}
