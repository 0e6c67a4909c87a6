//! How far groups are behind: worked out when somebody asks. Part of `broker::groups`.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::broker::Broker;
use crate::broker::groups::applied::{AppliedGroup, Place};
use crate::model::ids::LogId;

/// What a group has not read of a log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupLag {
    /// vhost of both.
    pub vhost: String,
    /// The group.
    pub group: String,
    /// The log.
    pub log: String,
    /// Records from the committed offsets to the ends, of all partitions that it has committed.
    pub records: i64,
}

/// Lags of groups, as many as may be shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lags {
    /// By vhost, group and log.
    pub shown: Vec<GroupLag>,
    /// How many more there are.
    pub hidden: usize,
}

/// Committed offsets by vhost, group and log.
type Positions = BTreeMap<(String, String, LogId), Vec<(Place, i64)>>;

impl Broker {
    /// How far groups are behind in the logs they read, the first `shown_max` of them by name.
    #[must_use]
    pub fn group_lags(&self, shown_max: usize) -> Lags {
        let (read, hidden) = self.committed_places(shown_max);
        let shown = read.into_iter().filter_map(|((vhost, group, log), places)| {
            let log = self.logs.table.by_id(log)?;
            let behind = places.iter().map(|((_, partition), offset)| {
                let end = log.partition(*partition).map_or(0, |partition| partition.end());
                end.saturating_sub(*offset).max(0)
            });
            let records = behind.fold(0i64, i64::saturating_add);
            Some(GroupLag { vhost, group, log: log.name.clone(), records })
        });
        Lags { shown: shown.collect(), hidden }
    }

    /// Committed offsets of the first `pairs_max` groups and logs, and how many more pairs there are. Copied, so that
    /// nothing is held while partitions are asked, and some groups at a time, so that the applier need not wait long.
    fn committed_places(&self, pairs_max: usize) -> (Positions, usize) {
        let mut seen = Seen { shown: Positions::new(), hidden: 0, pairs_max };
        let (mut vhost, mut name): (Arc<str>, Arc<str>) = ("".into(), "".into());
        loop {
            let mut looked_at = 0;
            let applied = self.groups.applied.lock();
            let mut rest = applied.iter_after(&vhost, &name);
            let last = loop {
                let Some((vhost, name, group)) = rest.next() else { break None };
                looked_at += 1 + seen.take(vhost, name, group);
                if looked_at >= LOOKED_AT_MAX {
                    break Some((Arc::clone(vhost), Arc::clone(name)));
                }
            };
            drop(rest);
            drop(applied);
            match last {
                Some(next) => (vhost, name) = next,
                None => return (seen.shown, seen.hidden),
            }
        }
    }
}

/// Groups and offsets looked at in one hold of the lock that the applier needs.
const LOOKED_AT_MAX: usize = 1000;

/// What was found so far.
struct Seen {
    shown: Positions,
    hidden: usize,
    pairs_max: usize,
}

impl Seen {
    /// Takes what `group` has committed; says how many offsets it looked at. Of logs that are not shown it is one each.
    fn take(&mut self, vhost: &str, name: &str, group: &AppliedGroup) -> usize {
        let mut looked_at = 0;
        let mut from = (LogId(0), 0);
        while let Some((&(log, _), _)) = group.offsets.range(from..).next() {
            looked_at += 1;
            if self.shown.len() < self.pairs_max {
                let of_log = group.offsets.range((log, 0)..=(log, u32::MAX));
                let places: Vec<_> = of_log.map(|(place, it)| (*place, it.offset)).collect();
                looked_at += places.len();
                self.shown.insert((vhost.to_owned(), name.to_owned(), log), places);
            } else {
                self.hidden += 1;
            }
            let Some(next) = log.0.checked_add(1) else { break };
            from = (LogId(next), 0);
        }
        looked_at
    }
}
