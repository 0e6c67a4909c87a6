//! Groups' offsets and members. Part of `broker::apply`.

use bytes::Bytes;

use crate::model::ids::LogId;

use super::super::consumer::Outcome;
use super::super::groups::applied::CommittedOffset;
use super::super::record::GroupRecord;
use super::Applier;

impl Applier {
    pub(super) fn change_group(&mut self, record: &GroupRecord<'_>) -> Outcome {
        let mut applied = self.broker.groups.applied.lock();
        let (vhost, name) = match record {
            GroupRecord::Commit { vhost, group, time_ms, offsets } => {
                let (vhost, name, found) = applied.get_or_new(vhost, group);
                for committed in offsets {
                    // A log that is gone by now takes its offsets with it.
                    if self.broker.logs.table.by_id(committed.log).is_none() {
                        continue;
                    }
                    let offset = CommittedOffset {
                        offset: committed.offset,
                        leader_epoch: committed.leader_epoch,
                        metadata: committed.metadata.into(),
                        committed_ms: *time_ms,
                    };
                    found.offsets.insert((committed.log, committed.partition), offset);
                }
                (vhost, name)
            }
            GroupRecord::Put { vhost, group, time_ms, snapshot } => {
                let (vhost, name, found) = applied.get_or_new(vhost, group);
                found.snapshot = Some((*time_ms, Bytes::copy_from_slice(snapshot)));
                (vhost, name)
            }
            GroupRecord::Forget { vhost, group, until_ms, places } => {
                if applied.get(vhost, group).is_none() {
                    return Outcome::Stale;
                }
                let (vhost, name, found) = applied.get_or_new(vhost, group);
                for place in places {
                    if found.offsets.get(place).is_some_and(|it| it.committed_ms <= *until_ms) {
                        found.offsets.remove(place);
                    }
                }
                (vhost, name)
            }
            GroupRecord::Delete { vhost, group } => {
                if applied.remove(vhost, group).is_none() {
                    return Outcome::Stale;
                }
                ((*vhost).into(), (*group).into())
            }
        };
        drop(applied);
        self.delta.groups.insert((vhost, name));
        Outcome::Done
    }

    /// Moves a group on in one partition: its reader has delivered what lies before `next`.
    pub(super) fn move_group(&mut self, vhost: &str, group: &str, place: (LogId, u32), next: i64) {
        let committed_ms = self.time_ms;
        let mut applied = self.broker.groups.applied.lock();
        let (vhost, name, found) = applied.get_or_new(vhost, group);
        let committed =
            CommittedOffset { offset: next, leader_epoch: -1, metadata: "".into(), committed_ms };
        found.offsets.insert(place, committed);
        drop(applied);
        self.delta.groups.insert((vhost, name));
    }
}
