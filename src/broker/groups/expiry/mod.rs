//! Offsets that nobody wants any more. Part of `broker::groups`.
//!
//! Offsets of a group without members are kept for `groups.offsets_retention_ms` from when the last member left; of
//! a group that never had members, from each commit (KIP-211). An offset committed after the last member left, as
//! tools do that reset a group, is kept from its commit, which is longer than Kafka keeps it. A group without members
//! and offsets goes with the next look. While somebody is in a group nothing of it expires.
//!
//! Looking happens outside of apply; what is found becomes a record, and what was committed meanwhile stays (design
//! §2, rule 7). Positions of routes never expire: a route that is off for a month goes on where it was.

use std::sync::Arc;

use crate::broker::Broker;
use crate::broker::Job;
use crate::broker::groups::ROUTE_PREFIX;
use crate::broker::groups::applied::AppliedGroup;
use crate::broker::groups::live::{Inner, LiveGroup};
use crate::broker::groups::verbs::GroupState;
use crate::broker::record::{GroupRecord, Record};

/// Groups looked at under one lock of what is applied.
const GROUPS_AT_ONCE: usize = 256;
/// Records of one look; the rest is for another, soon.
const RECORDS_MAX: usize = 1_000;
/// When that is, ms.
const AGAIN_MS: u64 = 1_000;

/// Times before which things are too old, ms.
#[derive(Clone, Copy, Debug)]
struct Ages {
    /// Offsets.
    offsets_until_ms: u64,
    /// Groups without any.
    groups_until_ms: u64,
}

/// What is to be given up of a group: everything from this time or before; and whether nothing stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Verdict {
    until_ms: u64,
    all: bool,
}

impl Ages {
    fn judge(self, group: &AppliedGroup) -> Option<Verdict> {
        let was_empty_by = |until_ms| group.snapshot.as_ref().is_none_or(|(at, _)| *at <= until_ms);
        if group.offsets.is_empty() {
            let until_ms = self.groups_until_ms;
            return was_empty_by(until_ms).then_some(Verdict { until_ms, all: true });
        }
        let until_ms = self.offsets_until_ms;
        let is_old = |committed_ms: u64| committed_ms <= until_ms;
        let mut offsets = group.offsets.values().map(|offset| is_old(offset.committed_ms));
        let (any, all) = offsets
            .try_fold((false, true), |(any, all), old| {
                let seen = (any || old, all && old);
                // One of each says all there is to say.
                if seen == (true, false) { Err(seen) } else { Ok(seen) }
            })
            .unwrap_or_else(|seen| seen);
        (any && was_empty_by(until_ms)).then_some(Verdict { until_ms, all })
    }
}

impl Broker {
    /// Has [`Self::expire_offsets`] called for the first time.
    pub(crate) fn schedule_expiry(&self, now_ms: u64) {
        let pause_ms = self.limits().groups.offsets_check_ms;
        self.timers.at(now_ms.saturating_add(pause_ms), Job::ExpireOffsets);
    }

    /// Gives up offsets and groups that are too old, and has itself called again.
    pub(crate) fn expire_offsets(&self, now_ms: u64) {
        let limits = self.limits().groups;
        let ages = Ages {
            offsets_until_ms: now_ms.saturating_sub(limits.offsets_retention_ms),
            groups_until_ms: now_ms.saturating_sub(limits.offsets_check_ms),
        };
        self.drop_live_leftovers();
        let mut submitted = 0;
        for names in self.group_names().chunks(GROUPS_AT_ONCE) {
            submitted += self.expire_some(names, ages, RECORDS_MAX - submitted, now_ms);
            if submitted >= RECORDS_MAX {
                self.timers.at(now_ms.saturating_add(AGAIN_MS), Job::ExpireOffsets);
                return;
            }
        }
        self.schedule_expiry(now_ms);
    }

    fn group_names(&self) -> Vec<(Arc<str>, Arc<str>)> {
        let applied = self.groups.applied.lock();
        let kept = applied.iter().filter(|(_, name, _)| !name.starts_with(ROUTE_PREFIX));
        kept.map(|(vhost, name, _)| (Arc::clone(vhost), Arc::clone(name))).collect()
    }

    /// Returns how many records it submitted, at most `records_max`.
    fn expire_some(
        &self,
        names: &[(Arc<str>, Arc<str>)],
        ages: Ages,
        records_max: usize,
        now_ms: u64,
    ) -> usize {
        let due: Vec<_> = {
            let applied = self.groups.applied.lock();
            let is_due = |(vhost, name): &&(Arc<str>, Arc<str>)| {
                applied.get(vhost, name).is_some_and(|group| ages.judge(group).is_some())
            };
            names.iter().filter(is_due).take(records_max).collect()
        };
        let expired = due.into_iter().filter(|(vhost, name)| {
            let done = self.with_group_or_new(vhost, name, |live, inner| {
                let done = self.expire_group(live, inner, ages, now_ms);
                self.drop_if_vacant(live, inner);
                done
            });
            done.unwrap_or(false)
        });
        expired.count()
    }

    /// Submits what is to be given up of a group, unless somebody is in it or about to be. One that is changing is
    /// left for the next look, so that none goes that a commit on its way keeps.
    fn expire_group(&self, live: &LiveGroup, inner: &mut Inner, ages: Ages, now_ms: u64) -> bool {
        if !inner.is_at_rest(self.applied_lsn()) || self.make_up_for_empty(live, inner, now_ms) {
            return false;
        }
        let verdict = {
            let applied = self.groups.applied.lock();
            applied.get(&live.vhost, &live.name).and_then(|group| ages.judge(group))
        };
        let Some(Verdict { until_ms, all }) = verdict else { return false };
        let record = GroupRecord::Expire { vhost: &live.vhost, group: &live.name, until_ms };
        // What the journal refuses now is found by the next look.
        let Ok(lsn) = self.submit(None, &Record::Group(record)) else { return false };
        inner.submitted(lsn);
        if all {
            self.groups.live.bury(live, inner);
        }
        true
    }

    /// Live groups that nobody is in, of which the journal knows nothing any more: their last offset was forgotten,
    /// or their last log deleted. One of which a record is on its way stays.
    fn drop_live_leftovers(&self) {
        for (vhost, name, state, _) in self.groups.live.survey() {
            if state != GroupState::Empty || self.is_applied(&vhost, &name) {
                continue;
            }
            self.with_group(&vhost, &name, |live, inner| {
                if inner.is_at_rest(self.applied_lsn()) && !self.is_applied(&vhost, &name) {
                    self.groups.live.bury(live, inner);
                }
            });
        }
    }

    fn is_applied(&self, vhost: &str, name: &str) -> bool {
        self.groups.applied.lock().get(vhost, name).is_some()
    }
}

#[cfg(test)]
mod tests;
