//! How far groups are behind: worked out when somebody asks. Part of `broker::groups`.

use std::collections::BTreeMap;

use crate::broker::Broker;
use crate::broker::groups::applied::Place;
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
    /// nothing is held while partitions are asked.
    fn committed_places(&self, pairs_max: usize) -> (Positions, usize) {
        let mut shown = Positions::new();
        let mut hidden = 0;
        let applied = self.groups.applied.lock();
        for (vhost, name, group) in applied.iter() {
            let mut last: Option<(LogId, bool)> = None;
            for (place, offset) in &group.offsets {
                let is_shown = match last {
                    Some((log, is_shown)) if log == place.0 => is_shown,
                    _ => {
                        let is_shown = shown.len() < pairs_max;
                        hidden += usize::from(!is_shown);
                        last = Some((place.0, is_shown));
                        is_shown
                    }
                };
                if is_shown {
                    let key = (vhost.to_string(), name.to_string(), place.0);
                    shown.entry(key).or_default().push((*place, offset.offset));
                }
            }
        }
        (shown, hidden)
    }
}
