//! Groups against a naive model, and what a checkpoint writes of them. Tests of `broker::groups::applied`.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use super::{AppliedGroups, CommittedOffset, Place};
use crate::broker::groups::frozen::{FrozenGroups, read};
use crate::model::ids::{LogId, Lsn, QueueId, SetId};
use crate::store::tables::CheckpointWrite;
use crate::store::tables::db::Db;
use crate::store::tables::meta::CheckpointRow;

const GROUPS: [(&str, &str); 4] = [("/", "a"), ("/", "b"), ("other", "a"), ("/", "$route.r")];

#[derive(Clone, Debug)]
enum Step {
    Commit { group: usize, places: Vec<(u32, u32)>, offset: i64 },
    Put { group: usize, byte: u8 },
    Forget { group: usize, until_ms: u64, places: Vec<(u32, u32)> },
    Expire { group: usize, until_ms: u64 },
    Remove { group: usize },
    ForgetLog { log: u32 },
    Checkpoint,
}

fn step() -> impl Strategy<Value = Step> {
    let group = || 0..GROUPS.len();
    let places = || vec((1u32..4, 0u32..3), 0..4);
    prop_oneof![
        6 => (group(), places(), 0i64..100)
            .prop_map(|(group, places, offset)| Step::Commit { group, places, offset }),
        2 => (group(), any::<u8>()).prop_map(|(group, byte)| Step::Put { group, byte }),
        3 => (group(), 0u64..40, places())
            .prop_map(|(group, until_ms, places)| Step::Forget { group, until_ms, places }),
        2 => (group(), 0u64..60).prop_map(|(group, until_ms)| Step::Expire { group, until_ms }),
        1 => group().prop_map(|group| Step::Remove { group }),
        1 => (1u32..4).prop_map(|log| Step::ForgetLog { log }),
        2 => Just(Step::Checkpoint),
    ]
}

/// The same, with nothing but maps.
#[derive(Default)]
struct Model {
    snapshots: BTreeMap<usize, (u64, u8)>,
    offsets: BTreeMap<(usize, Place), (i64, u64)>,
}

impl Model {
    fn run(&mut self, step: &Step, now_ms: u64) {
        match step {
            Step::Commit { group, places, offset } => {
                for (log, partition) in places {
                    let place = (LogId(*log), *partition);
                    self.offsets.insert((*group, place), (*offset, now_ms));
                }
            }
            Step::Put { group, byte } => {
                self.snapshots.insert(*group, (now_ms, *byte));
            }
            Step::Forget { group, until_ms, places } => {
                let named: BTreeSet<_> =
                    places.iter().map(|(log, it)| (LogId(*log), *it)).collect();
                self.offsets.retain(|(of, place), (_, at)| {
                    of != group || !named.contains(place) || *at > *until_ms
                });
            }
            Step::Expire { group, until_ms } => {
                if self.snapshots.get(group).is_some_and(|(put_ms, _)| put_ms > until_ms) {
                    return;
                }
                self.offsets.retain(|(of, _), (_, at)| of != group || *at > *until_ms);
                if !self.offsets.keys().any(|(of, _)| of == group) {
                    self.snapshots.remove(group);
                }
            }
            Step::Remove { group } => {
                self.snapshots.remove(group);
                self.offsets.retain(|(of, _), _| of != group);
            }
            Step::ForgetLog { log } => {
                self.offsets.retain(|(_, (of, _)), _| of.0 != *log);
            }
            Step::Checkpoint => {}
        }
    }

    fn check(&self, applied: &AppliedGroups) {
        let mut groups: BTreeSet<usize> = self.snapshots.keys().copied().collect();
        groups.extend(self.offsets.keys().map(|(group, _)| *group));
        assert_eq!(applied.len(), groups.len());
        assert_eq!(applied.iter().count(), groups.len());
        for (index, (vhost, name)) in GROUPS.iter().enumerate() {
            let found = applied.get(vhost, name);
            assert_eq!(found.is_some(), groups.contains(&index), "{vhost} {name}");
            let snapshot = found.and_then(|found| found.snapshot.clone());
            let snapshot = snapshot.map(|(put_ms, bytes)| (put_ms, bytes[0]));
            assert_eq!(snapshot, self.snapshots.get(&index).copied());
            let of_group = self.offsets.iter().filter(|((group, _), _)| *group == index);
            let expected: Vec<_> = of_group.map(|((_, place), it)| (*place, *it)).collect();
            let offsets = found.iter().flat_map(|found| &found.offsets);
            let offsets: Vec<_> =
                offsets.map(|(place, it)| (*place, (it.offset, it.committed_ms))).collect();
            assert_eq!(offsets, expected);
        }
    }
}

fn committed(offset: i64, committed_ms: u64) -> CommittedOffset {
    CommittedOffset { offset, leader_epoch: 3, metadata: "words".into(), committed_ms }
}

fn run(applied: &mut AppliedGroups, step: &Step, now_ms: u64) {
    let places = |places: &[(u32, u32)]| -> Vec<Place> {
        places.iter().map(|(log, partition)| (LogId(*log), *partition)).collect()
    };
    match step {
        Step::Commit { group, places: named, offset } => {
            let offsets = places(named).into_iter().map(|it| (it, committed(*offset, now_ms)));
            applied.commit(GROUPS[*group].0, GROUPS[*group].1, offsets);
        }
        Step::Put { group, byte } => {
            let snapshot = Bytes::from(vec![*byte]);
            applied.put(GROUPS[*group].0, GROUPS[*group].1, now_ms, snapshot);
        }
        Step::Forget { group, until_ms, places: named } => {
            let (vhost, name) = GROUPS[*group];
            let was_there = applied.get(vhost, name).is_some();
            assert_eq!(applied.forget(vhost, name, *until_ms, &places(named)), was_there);
        }
        Step::Expire { group, until_ms } => {
            applied.expire(GROUPS[*group].0, GROUPS[*group].1, *until_ms);
        }
        Step::Remove { group } => {
            let (vhost, name) = GROUPS[*group];
            let was_there = applied.get(vhost, name).is_some();
            assert_eq!(applied.remove(vhost, name), was_there);
        }
        Step::ForgetLog { log } => {
            applied.forget_log(LogId(*log));
        }
        Step::Checkpoint => {}
    }
}

fn checkpoint(db: &Db, applied: &mut AppliedGroups) -> usize {
    let mut write = CheckpointWrite::new(CheckpointRow {
        next_lsn: Lsn(1),
        next_batch: 1,
        next_queue_id: QueueId(1),
        next_log_id: LogId(1),
        next_set_id: SetId(1),
        next_producer_id: 0,
        broker_uuid: [0; 16],
        written_ms: 0,
        queued_messages_max: 0,
        queued_bytes_max: 0,
    });
    let frozen = FrozenGroups::take(applied);
    let rows = frozen.rows();
    frozen.put(&mut write);
    db.commit(&write).unwrap();
    rows
}

fn open(home: &tempfile::TempDir) -> Db {
    Db::open(&home.path().join("meta.redb"), 1 << 20).unwrap()
}

fn restored(db: &Db) -> AppliedGroups {
    let mut applied = AppliedGroups::default();
    read(&mut applied, db).unwrap();
    assert!(applied.changed.is_empty(), "what a checkpoint has is not written again");
    applied
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn groups_are_what_the_model_says_and_come_back_from_a_checkpoint(
        steps in vec(step(), 1..60),
    ) {
        let home = tempfile::tempdir().unwrap();
        let db = open(&home);
        let (mut applied, mut model) = (AppliedGroups::default(), Model::default());
        for (now_ms, step) in steps.iter().enumerate() {
            let now_ms = now_ms as u64;
            run(&mut applied, step, now_ms);
            model.run(step, now_ms);
            model.check(&applied);
            if matches!(step, Step::Checkpoint) {
                checkpoint(&db, &mut applied);
                prop_assert_eq!(&restored(&db), &applied);
            }
        }
        checkpoint(&db, &mut applied);
        prop_assert_eq!(checkpoint(&db, &mut applied), 0, "nothing is written twice");
        drop(db);
        prop_assert_eq!(&restored(&open(&home)), &applied);
    }
}

#[test]
fn a_checkpoint_writes_one_row_for_one_commit_of_a_large_group() {
    let home = tempfile::tempdir().unwrap();
    let db = open(&home);
    let mut applied = AppliedGroups::default();
    let all = (0..10_000u32).map(|partition| ((LogId(1), partition), committed(1, 1)));
    applied.commit("/", "large", all);
    assert_eq!(checkpoint(&db, &mut applied), 10_000);
    applied.commit("/", "large", [((LogId(1), 77), committed(2, 2))]);
    assert_eq!(checkpoint(&db, &mut applied), 1);
    let again = restored(&db);
    assert_eq!(again.offset("/", "large", (LogId(1), 77)).unwrap().offset, 2);
    assert_eq!(again.offset("/", "large", (LogId(1), 78)), Some(&committed(1, 1)));
}
