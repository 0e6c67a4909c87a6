//! Verbs on offsets: commit, fetch, forget. Part of `broker::groups`.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::auth::acl::Action;
use crate::auth::principal::Principal;
use crate::broker::Broker;
use crate::broker::consumer::{Outcome, Waiter};
use crate::broker::groups::applied::{AppliedGroup, CommittedOffset};
use crate::broker::groups::group::Step;
use crate::broker::groups::membership::check_name;
use crate::broker::groups::verbs::{
    FetchedOffset, GroupError, LogCommit, LogName, LogOffsets, Membership, OffsetToCommit,
};
use crate::broker::logs::log::LogState;
use crate::broker::logs::verbs::LogError;
use crate::broker::record::{Committed, GroupRecord, Record};
use crate::model::ids::LogId;
use crate::store::journal::SubmitError;

type Verdicts = Vec<Vec<Result<(), GroupError>>>;

impl From<SubmitError> for GroupError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::TooLarge { .. } => Self::TooLarge,
            SubmitError::Unavailable { .. } | SubmitError::Closed => {
                Self::Unavailable(error.to_string())
            }
        }
    }
}

/// Waits until a group's record is applied.
pub(super) async fn applied(done: oneshot::Receiver<Outcome>) -> Result<(), GroupError> {
    match done.await {
        // Stale: what was to be removed is not there.
        Ok(Outcome::Done | Outcome::Stale) => Ok(()),
        Ok(_) | Err(_) => Err(GroupError::InDoubt),
    }
}

impl Broker {
    /// A log that the principal may read.
    fn readable_log(&self, who: &Principal, log: &LogName) -> Result<Arc<LogState>, LogError> {
        let may = |name: &str| {
            let verdict = self.acl.load().allows_log(who, Action::Subscribe, &who.vhost, name);
            if verdict.allowed { Ok(()) } else { Err(LogError::NotAuthorized) }
        };
        let table = &self.logs.table;
        match log {
            LogName::Name(name) => {
                may(name)?;
                table.by_name(&who.vhost, name).ok_or(LogError::UnknownLog)
            }
            LogName::Uuid(uuid) => {
                let log = table.by_uuid(&who.vhost, uuid).ok_or(LogError::UnknownLog)?;
                may(&log.name)?;
                Ok(log)
            }
        }
    }

    /// Commits offsets; completes when they are durable. By log and partition, in the order asked for.
    ///
    /// # Errors
    /// About the group, see [`GroupError`]; about a log or partition inside.
    pub async fn commit_offsets(
        &self,
        who: &Principal,
        member: &Membership,
        logs: Vec<LogCommit>,
        now_ms: u64,
    ) -> Result<Verdicts, GroupError> {
        let (verdicts, done) = self.begin_commit(who, member, &logs, now_ms)?;
        if let Some(done) = done {
            applied(done).await?;
        }
        Ok(verdicts)
    }

    fn begin_commit(
        &self,
        who: &Principal,
        member: &Membership,
        logs: &[LogCommit],
        now_ms: u64,
    ) -> Result<(Verdicts, Option<oneshot::Receiver<Outcome>>), GroupError> {
        check_name(&member.group)?;
        self.may_group(who, Action::Subscribe, &member.group)?;
        let limits = self.limits();
        let metadata_max = limits.groups.offset_metadata_bytes_max;
        let mut offsets = Vec::new();
        let mut verdicts = Vec::with_capacity(logs.len());
        for commit in logs {
            let log = self.readable_log(who, &commit.log);
            let of_log = commit.offsets.iter().map(|offset| {
                let log = log.as_ref().map_err(|error| GroupError::Log(error.clone()))?;
                offsets.push(check_offset(log, offset, metadata_max)?);
                Ok(())
            });
            verdicts.push(of_log.collect());
        }
        // A consumer that is no member needs no group: its first commit makes one.
        let (is_alone, is_nothing) = (member.generation < 0, offsets.is_empty());
        let submitted = |live: &Arc<_>, inner: &mut super::live::Inner| {
            inner.group.check_commit(&mut Step::new(now_ms, &limits.groups), member)?;
            if is_nothing {
                return Ok(None);
            }
            let (sender, done) = oneshot::channel();
            let (vhost, group) = (&*who.vhost, &*member.group);
            let record = GroupRecord::Commit { vhost, group, time_ms: now_ms, offsets };
            match self.submit(Some(Waiter::Call(sender)), &Record::Group(record)) {
                Ok(lsn) => inner.submitted(lsn),
                Err(error) => {
                    self.drop_if_vacant(live, inner);
                    return Err(error.into());
                }
            }
            Ok::<_, GroupError>(Some(done))
        };
        let done = if is_alone && !is_nothing {
            self.with_group_or_new(&who.vhost, &member.group, submitted)?
        } else {
            let done = self.with_group(&who.vhost, &member.group, submitted);
            done.unwrap_or(if is_alone { Ok(None) } else { Err(GroupError::UnknownGroup) })
        };
        Ok((verdicts, done?))
    }

    /// What a group has committed: for the partitions named, or for all.
    ///
    /// # Errors
    /// `NotAuthorized`; about a log inside.
    pub fn committed_offsets(
        &self,
        who: &Principal,
        group: &str,
        wanted: Option<&[(LogName, Vec<u32>)]>,
    ) -> Result<Vec<LogOffsets>, GroupError> {
        self.may_group(who, Action::Subscribe, group)?;
        let Some(wanted) = wanted else { return Ok(self.all_offsets(who, group)) };
        // Before: the applier waits for whoever looks at what is applied.
        let logs: Vec<_> = wanted.iter().map(|(log, _)| self.readable_log(who, log)).collect();
        let applied = self.groups.applied.lock();
        let known = applied.get(&who.vhost, group);
        let wanted = wanted.iter().zip(logs);
        Ok(wanted.map(|((log, places), state)| wanted_of(known, log, state, places)).collect())
    }

    fn all_offsets(&self, who: &Principal, group: &str) -> Vec<LogOffsets> {
        let mut by_log: BTreeMap<LogId, Vec<FetchedOffset>> = BTreeMap::new();
        let applied = self.groups.applied.lock();
        let known = applied.get(&who.vhost, group);
        for ((log, partition), offset) in known.into_iter().flat_map(|known| &known.offsets) {
            by_log.entry(*log).or_default().push(fetched(*partition, Some(offset)));
        }
        drop(applied);
        let logs = by_log.into_iter().filter_map(|(id, offsets)| {
            let log = self.logs.table.by_id(id)?;
            self.readable_log(who, &LogName::Name(log.name.clone())).ok()?;
            Some(LogOffsets { name: log.name.clone(), uuid: log.uuid, offsets: Ok(offsets) })
        });
        logs.collect()
    }

    /// Forgets offsets of logs that no member reads; by log and partition, in the order asked for.
    ///
    /// # Errors
    /// About the group, see [`GroupError`]; about a log inside.
    pub async fn forget_offsets(
        &self,
        who: &Principal,
        group: &str,
        places: Vec<(String, Vec<u32>)>,
    ) -> Result<Verdicts, GroupError> {
        let (verdicts, done) = self.begin_forget(who, group, &places)?;
        if let Some(done) = done {
            applied(done).await?;
        }
        Ok(verdicts)
    }

    fn begin_forget(
        &self,
        who: &Principal,
        group: &str,
        places: &[(String, Vec<u32>)],
    ) -> Result<(Verdicts, Option<oneshot::Receiver<Outcome>>), GroupError> {
        check_name(group)?;
        self.may_group(who, Action::Configure, group)?;
        let found = self.with_group(&who.vhost, group, |_, inner| {
            let mut gone = Vec::new();
            let mut verdicts = Vec::with_capacity(places.len());
            for (name, partitions) in places {
                let subscribed = inner.group.subscribes_to(name)?;
                let log = self.readable_log(who, &LogName::Name(name.clone()));
                let of_log = partitions.iter().map(|partition| {
                    let log = log.as_ref().map_err(|error| GroupError::Log(error.clone()))?;
                    if subscribed {
                        return Err(GroupError::Subscribed);
                    }
                    gone.push((log.id, *partition));
                    Ok(())
                });
                verdicts.push(of_log.collect());
            }
            if gone.is_empty() {
                return Ok((verdicts, None));
            }
            let (sender, done) = oneshot::channel();
            // Whatever the clock said when it was committed: before this record is before.
            let (vhost, until_ms) = (&*who.vhost, u64::MAX);
            let record = GroupRecord::Forget { vhost, group, until_ms, places: gone };
            inner.submitted(self.submit(Some(Waiter::Call(sender)), &Record::Group(record))?);
            Ok((verdicts, Some(done)))
        });
        found.unwrap_or(Err(GroupError::UnknownGroup))
    }
}

fn wanted_of(
    known: Option<&AppliedGroup>,
    log: &LogName,
    state: Result<Arc<LogState>, LogError>,
    partitions: &[u32],
) -> LogOffsets {
    let id = state.as_ref().ok().map(|log| log.id);
    let offsets = partitions.iter().map(|partition| {
        let found = id.and_then(|id| known?.offsets.get(&(id, *partition)));
        fetched(*partition, found)
    });
    let offsets = match (&state, log) {
        // There is no offset in a log that there is not; that is no error, unless it is asked for by its id.
        (Ok(_), _) | (Err(LogError::UnknownLog), LogName::Name(_)) => Ok(offsets.collect()),
        (Err(error), _) => Err(GroupError::Log(error.clone())),
    };
    match (state, log) {
        (Ok(state), _) => LogOffsets { name: state.name.clone(), uuid: state.uuid, offsets },
        (Err(_), LogName::Name(name)) => LogOffsets { name: name.clone(), uuid: [0; 16], offsets },
        (Err(_), LogName::Uuid(uuid)) => LogOffsets { name: String::new(), uuid: *uuid, offsets },
    }
}

fn check_offset<'a>(
    log: &LogState,
    offset: &'a OffsetToCommit,
    metadata_max: usize,
) -> Result<Committed<'a>, GroupError> {
    if log.partition(offset.partition).is_none() {
        return Err(LogError::UnknownPartition.into());
    }
    if offset.metadata.len() > metadata_max {
        return Err(GroupError::MetadataTooLong);
    }
    Ok(Committed {
        log: log.id,
        partition: offset.partition,
        offset: offset.offset,
        leader_epoch: offset.leader_epoch,
        metadata: &offset.metadata,
    })
}

fn fetched(partition: u32, found: Option<&CommittedOffset>) -> FetchedOffset {
    FetchedOffset {
        partition,
        offset: found.map_or(-1, |found| found.offset),
        leader_epoch: found.map_or(-1, |found| found.leader_epoch),
        metadata: found.map(|found| found.metadata.to_string()).unwrap_or_default(),
    }
}
