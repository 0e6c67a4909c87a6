//! Verbs that change logs: delete, grow, configure, give up records, by hand and by retention. Part of `broker`.

use tokio::sync::oneshot;

use crate::auth::acl::Action;
use crate::auth::principal::Principal;

use super::append::LogFront;
use super::consumer::{Outcome, Waiter};
use super::logs::admin::{END, LogAdmin, LogDefaults};
use super::logs::log::LogState;
use super::logs::retention;
use super::logs::settings::change::SettingsChange;
use super::logs::settings::listed::{Setting, listed};
use super::logs::verbs::{LogError, LogRef};
use super::record::{LogChange, Record};
use super::{Broker, Job};

/// Logs that retention takes records from at a time; the rest follow a little later.
const LOGS_AT_A_TIME: usize = 256;
/// How much later, ms.
const PAUSE_MS: u64 = 1_000;

/// Completes with the outcome of a record.
async fn done(outcome: oneshot::Receiver<Outcome>) -> Result<(), LogError> {
    match outcome.await {
        Ok(Outcome::Refused(error)) => Err(error),
        Ok(_) => Ok(()),
        Err(_) => Err(LogError::InDoubt),
    }
}

impl Broker {
    fn submit_change(&self, change: LogChange<'_>) -> Result<oneshot::Receiver<Outcome>, LogError> {
        let (sender, outcome) = oneshot::channel();
        self.submit(Some(Waiter::Call(sender)), &Record::LogChange(change))?;
        Ok(outcome)
    }

    fn submit_deletion(&self, log: &LogState) -> Result<oneshot::Receiver<Outcome>, LogError> {
        let mut underway = self.logs.underway.lock();
        if !self.logs.begin_deletion(&mut underway, log.id) {
            return Err(LogError::UnknownLog);
        }
        let submitted = self.submit_change(LogChange::Delete { id: log.id });
        if submitted.is_err() {
            self.logs.end_deletion(&mut underway, log.id);
        }
        submitted
    }

    /// See [`LogAdmin::delete`].
    ///
    /// # Errors
    /// See there.
    pub async fn delete_log(&self, who: &Principal, log: LogRef<'_>) -> Result<(), LogError> {
        let log = self.find(who, Action::Configure, log)?;
        let outcome = self.submit_deletion(&log)?;
        done(outcome).await
    }

    /// See [`LogAdmin::grow`].
    ///
    /// # Errors
    /// See there.
    pub async fn grow_log(
        &self,
        who: &Principal,
        log: &str,
        partitions: u32,
        validate_only: bool,
    ) -> Result<(), LogError> {
        let log = self.find(who, Action::Configure, LogRef::Name(log))?;
        let allowed = log.partition_count().saturating_add(1)..=self.limits().partitions_max;
        if !allowed.contains(&partitions) {
            return Err(LogError::InvalidPartitions);
        }
        if validate_only {
            return Ok(());
        }
        done(self.submit_change(LogChange::Grow { id: log.id, partitions })?).await
    }

    /// Works out the settings over those that are set or about to be, and submits them; `None` if only asked to
    /// check.
    fn submit_settings(
        &self,
        log: &LogState,
        change: &SettingsChange,
        validate_only: bool,
    ) -> Result<Option<oneshot::Receiver<Outcome>>, LogError> {
        let mut underway = self.logs.underway.lock();
        // As of now: a change may have been applied since it was found.
        let log = self.logs.table.by_id(log.id).ok_or(LogError::UnknownLog)?;
        let pending = underway.configuring.get(&log.id);
        let set = pending.map_or(&log.config, |(_, set)| set);
        let after = change.over(set, &self.logs.defaults)?;
        if validate_only {
            return Ok(None);
        }
        let config = after.iter().map(|(name, value)| (&**name, &**value)).collect();
        let outcome = self.submit_change(LogChange::Configure { id: log.id, config })?;
        let pending = underway.configuring.entry(log.id).or_default();
        *pending = (pending.0.saturating_add(1), after);
        Ok(Some(outcome))
    }

    /// See [`LogAdmin::configure`].
    ///
    /// # Errors
    /// See there.
    pub async fn configure_log(
        &self,
        who: &Principal,
        log: &str,
        change: SettingsChange,
        validate_only: bool,
    ) -> Result<(), LogError> {
        let log = self.find(who, Action::Configure, LogRef::Name(log))?;
        match self.submit_settings(&log, &change, validate_only)? {
            Some(outcome) => done(outcome).await,
            None => Ok(()),
        }
    }

    /// See [`LogAdmin::delete_records`].
    ///
    /// # Errors
    /// See there.
    pub async fn delete_records(
        &self,
        who: &Principal,
        log: &str,
        before: &[(u32, i64)],
    ) -> Result<Vec<Result<i64, LogError>>, LogError> {
        let log = self.find(who, Action::Configure, LogRef::Name(log))?;
        let checked: Vec<_> = before.iter().map(|(index, at)| start(&log, *index, *at)).collect();
        let starts: Vec<(u32, i64)> = checked.iter().flatten().copied().collect();
        if !starts.is_empty() {
            done(self.submit_change(LogChange::AdvanceStart { id: log.id, starts })?).await?;
        }
        let after = checked.into_iter().map(|checked| {
            let (index, _) = checked?;
            log.partition(index).map(|found| found.log_start()).ok_or(LogError::UnknownPartition)
        });
        Ok(after.collect())
    }

    /// Every setting of a log.
    ///
    /// # Errors
    /// `NotAuthorized`, `UnknownLog`.
    pub fn log_settings(&self, who: &Principal, log: LogRef<'_>) -> Result<Vec<Setting>, LogError> {
        let found = self.describe(who, log)?;
        Ok(listed(&self.logs.defaults, &found.config))
    }

    /// Has retention look for the first time, `soon` after a start.
    pub(crate) fn begin_retention(&self, now_ms: u64) {
        const SOON_MS: u64 = 30_000;
        let pause = self.limits().retention_check_ms.min(SOON_MS);
        self.timers.at(now_ms.saturating_add(pause), Job::Retention);
    }

    /// Gives up what logs keep no longer, and sees to the next look.
    pub(crate) fn retain_logs(&self, now_ms: u64) {
        let mut left = LOGS_AT_A_TIME;
        let mut pause = self.limits().retention_check_ms;
        for log in self.logs.table.all() {
            let starts = expired(&log, now_ms);
            if starts.is_empty() {
                continue;
            }
            if left == 0 {
                pause = PAUSE_MS.min(pause);
                break;
            }
            left -= 1;
            let change = LogChange::AdvanceStart { id: log.id, starts };
            if let Err(error) = self.submit_in_time(&Record::LogChange(change)) {
                tracing::warn!(%error, "retention cannot go on for now");
                break;
            }
        }
        self.timers.at(now_ms.saturating_add(pause), Job::Retention);
    }
}

/// Where a partition begins when its records before `offset` are given up.
fn start(log: &LogState, index: u32, offset: i64) -> Result<(u32, i64), LogError> {
    let partition = log.partition(index).ok_or(LogError::UnknownPartition)?;
    let end = partition.end();
    match offset {
        END => Ok((index, end)),
        0.. if offset <= end => Ok((index, offset)),
        _ => Err(LogError::OffsetOutOfRange),
    }
}

/// Partitions of `log` that keep something for too long, and where they begin without it.
fn expired(log: &LogState, now_ms: u64) -> Vec<(u32, i64)> {
    let partitions = log.partitions.iter();
    partitions
        .filter_map(|partition| {
            let start = retention::new_start(&log.settings, &partition.segments(), now_ms)?;
            (start > partition.log_start()).then_some((partition.index(), start))
        })
        .collect()
}

impl LogAdmin for LogFront {
    async fn delete(&self, principal: &Principal, log: LogRef<'_>) -> Result<(), LogError> {
        self.broker.delete_log(principal, log).await
    }

    async fn grow(
        &self,
        principal: &Principal,
        log: &str,
        partitions: u32,
        validate_only: bool,
    ) -> Result<(), LogError> {
        self.broker.grow_log(principal, log, partitions, validate_only).await
    }

    async fn configure(
        &self,
        principal: &Principal,
        log: &str,
        change: SettingsChange,
        validate_only: bool,
    ) -> Result<(), LogError> {
        self.broker.configure_log(principal, log, change, validate_only).await
    }

    async fn delete_records(
        &self,
        principal: &Principal,
        log: &str,
        before: &[(u32, i64)],
    ) -> Result<Vec<Result<i64, LogError>>, LogError> {
        self.broker.delete_records(principal, log, before).await
    }

    fn settings(&self, principal: &Principal, log: LogRef<'_>) -> Result<Vec<Setting>, LogError> {
        self.broker.log_settings(principal, log)
    }

    fn defaults(&self) -> LogDefaults {
        let limits = self.broker.limits();
        LogDefaults {
            settings: self.broker.logs.defaults.clone(),
            partitions: limits.default_partitions,
            retention_check_ms: limits.retention_check_ms,
        }
    }
}
