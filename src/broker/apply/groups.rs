//! Groups' offsets and members. Part of `broker::apply`.

use bytes::Bytes;

use super::super::consumer::Outcome;
use super::super::groups::applied::{CommittedOffset, Place};
use super::super::record::{Committed, GroupRecord};
use super::Applier;

impl Applier {
    pub(super) fn change_group(&mut self, record: &GroupRecord<'_>) -> Outcome {
        let logs = &self.broker.logs.table;
        let mut applied = self.broker.groups.applied.lock();
        let is_known = match record {
            GroupRecord::Commit { vhost, group, time_ms, offsets } => {
                // A log that is gone by now took its offsets with it.
                let there = offsets.iter().filter(|it| logs.by_id(it.log).is_some());
                applied.commit(vhost, group, there.map(|it| owned(it, *time_ms)));
                true
            }
            GroupRecord::Put { vhost, group, time_ms, snapshot } => {
                applied.put(vhost, group, *time_ms, Bytes::copy_from_slice(snapshot));
                true
            }
            GroupRecord::Forget { vhost, group, until_ms, places } => {
                applied.forget(vhost, group, *until_ms, places)
            }
            GroupRecord::Expire { vhost, group, until_ms } => {
                applied.expire(vhost, group, *until_ms)
            }
            GroupRecord::Delete { vhost, group } => applied.remove(vhost, group),
        };
        if is_known { Outcome::Done } else { Outcome::Stale }
    }

    /// Whether a group's position in a partition is what its reader thinks. In a log that is gone there is none.
    pub(super) fn is_at(&self, vhost: &str, group: &str, place: Place, expected: i64) -> bool {
        self.broker.logs.table.by_id(place.0).is_some()
            && self.broker.groups.position(vhost, group, place) == expected
    }

    /// Moves a group on in one partition: its reader has delivered what lies before `next`.
    pub(super) fn move_group(&mut self, vhost: &str, group: &str, place: Place, next: i64) {
        let committed_ms = self.time_ms;
        let committed =
            CommittedOffset { offset: next, leader_epoch: -1, metadata: "".into(), committed_ms };
        self.broker.groups.applied.lock().commit(vhost, group, [(place, committed)]);
    }
}

fn owned(committed: &Committed<'_>, committed_ms: u64) -> (Place, CommittedOffset) {
    let offset = CommittedOffset {
        offset: committed.offset,
        leader_epoch: committed.leader_epoch,
        metadata: committed.metadata.into(),
        committed_ms,
    };
    ((committed.log, committed.partition), offset)
}
