//! Verbs on logs: create, append, read. Part of `broker`.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::sync::oneshot;

use crate::auth::acl::Action;
use crate::auth::principal::Principal;
use crate::model::ids::LogId;
use crate::store::journal::SubmitError;

use super::Broker;
use super::consumer::{Outcome, Waiter};
use super::engine::NowMs;
use super::logs::log::LogState;
use super::logs::name;
use super::logs::partition::Partition;
use super::logs::registry::Creating;
use super::logs::verbs::{Appended, CreateLog, LogBroker, LogDescription, LogError, LogRef};
use super::record::Record;

/// The acknowledgement of an append: durable and in the log.
pub struct AppendAck(oneshot::Receiver<Outcome>);

impl Future for AppendAck {
    type Output = Result<Appended, LogError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(match outcome {
            Ok(Outcome::Appended(appended)) => Ok(appended),
            Ok(Outcome::Refused(error)) => Err(error),
            Ok(_) | Err(_) => Err(LogError::InDoubt),
        })
    }
}

impl From<SubmitError> for LogError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Unavailable { .. } => Self::Storage(error.to_string()),
            SubmitError::TooLarge { .. } | SubmitError::Closed => {
                Self::Unavailable(error.to_string())
            }
        }
    }
}

impl Broker {
    pub(super) fn may(&self, who: &Principal, action: Action, log: &str) -> Result<(), LogError> {
        let verdict = self.acl.load().allows_log(who, action, &who.vhost, log);
        if verdict.allowed { Ok(()) } else { Err(LogError::NotAuthorized) }
    }

    pub(super) fn find(
        &self,
        who: &Principal,
        action: Action,
        log: LogRef<'_>,
    ) -> Result<Arc<LogState>, LogError> {
        match log {
            LogRef::Name(name) => {
                self.may(who, action, name)?;
                self.logs.table.by_name(&who.vhost, name).ok_or(LogError::UnknownLog)
            }
            LogRef::Uuid(uuid) => {
                let log = self.logs.table.by_uuid(&who.vhost, &uuid).ok_or(LogError::UnknownLog)?;
                self.may(who, action, &log.name)?;
                Ok(log)
            }
        }
    }

    /// Decides and submits a creation under the lock that keeps names unique.
    fn submit_creation(
        &self,
        vhost: &str,
        spec: &CreateLog,
        waiter: Option<Waiter>,
        now_ms: u64,
    ) -> Result<Creating, LogError> {
        let limits = self.limits.load();
        let partitions = spec.partitions.unwrap_or(limits.default_partitions);
        if !name::is_valid(&spec.name) {
            return Err(LogError::InvalidName);
        }
        if partitions == 0 || partitions > limits.partitions_max {
            return Err(LogError::InvalidPartitions);
        }
        let config: Vec<(&str, &str)> =
            spec.config.iter().map(|(key, value)| (&**key, &**value)).collect();
        self.logs.defaults.with(config.iter().copied())?;
        let key = (vhost.to_owned(), spec.name.clone());
        let mut underway = self.logs.underway.lock();
        let is_taken = underway.creating.contains_key(&key)
            || self.logs.lasting(&underway, vhost, &spec.name).is_some();
        if is_taken {
            return Err(LogError::Exists);
        }
        let logs = self.logs.table.len() + underway.creating.len();
        if logs.saturating_sub(underway.going()) >= limits.logs_max {
            return Err(LogError::TooMany);
        }
        if spec.validate_only {
            return Ok(Creating { id: LogId(0), partitions });
        }
        let mut uuid = [0; 16];
        getrandom::fill(&mut uuid).map_err(|error| LogError::Unavailable(error.to_string()))?;
        let id = self.logs.take_id();
        let record = Record::CreateLog {
            id,
            vhost,
            name: &spec.name,
            uuid,
            time_ms: now_ms,
            partitions,
            config,
        };
        self.submit(waiter, &record)?;
        let begun = Creating { id, partitions };
        underway.creating.insert(key, begun);
        Ok(begun)
    }

    /// A log that is there to stay, or about to be there: its id and how many partitions it has.
    fn known_log(&self, vhost: &str, name: &str) -> Option<(LogId, u32)> {
        if !self.logs.is_any_going() {
            // Who is in time for a log that is deleted now goes with it.
            if let Some(log) = self.logs.table.by_name(vhost, name) {
                return Some((log.id, log.partition_count()));
            }
        }
        let underway = self.logs.underway.lock();
        if let Some(log) = self.logs.lasting(&underway, vhost, name) {
            return Some((log.id, log.partition_count()));
        }
        let begun = underway.creating.get(&(vhost.to_owned(), name.to_owned()))?;
        Some((begun.id, begun.partitions))
    }

    /// The log a route writes to, created on first use. Its creation need not be applied: what is submitted
    /// now comes after it.
    pub(crate) fn log_for_route(
        &self,
        vhost: &str,
        name: &str,
        partitions: Option<u32>,
        now_ms: u64,
    ) -> Result<(LogId, u32), LogError> {
        loop {
            if let Some(found) = self.known_log(vhost, name) {
                return Ok(found);
            }
            let spec = CreateLog {
                name: name.to_owned(),
                partitions,
                config: Vec::new(),
                validate_only: false,
            };
            match self.submit_creation(vhost, &spec, None, now_ms) {
                Ok(begun) => return Ok((begun.id, begun.partitions)),
                // Somebody else was faster: it is in one of the two places now.
                Err(LogError::Exists) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Creates the log of a route that always writes to the same one, so that consumers find it before the
    /// first message.
    pub fn prepare_log(&self, vhost: &str, name: &str, partitions: Option<u32>, now_ms: u64) {
        if let Err(error) = self.log_for_route(vhost, name, partitions, now_ms) {
            tracing::warn!(name, %error, "the log of a route could not be created");
        }
    }

    /// Creates a log; completes when it is durable and can be appended to.
    ///
    /// # Errors
    /// See [`LogError`].
    pub async fn create_log(
        &self,
        principal: &Principal,
        spec: CreateLog,
        now_ms: u64,
    ) -> Result<LogDescription, LogError> {
        self.may(principal, Action::Publish, &spec.name)?;
        let (sender, done) = oneshot::channel();
        let begun =
            self.submit_creation(&principal.vhost, &spec, Some(Waiter::Call(sender)), now_ms)?;
        if spec.validate_only {
            let leader_epochs = vec![0; begun.partitions as usize];
            return Ok(LogDescription {
                name: spec.name,
                uuid: [0; 16],
                leader_epochs,
                config: spec.config,
            });
        }
        match done.await {
            Ok(Outcome::Refused(error)) => return Err(error),
            Ok(_) => {}
            Err(_) => return Err(LogError::InDoubt),
        }
        self.describe(principal, LogRef::Name(&spec.name))
    }

    /// Submits a checked batch, see `LogBroker::append`, at the broker's time and at that of the system's clock, by which
    /// producers stamp their records. The two part when a machine sleeps or gets its time late: by the first alone, every
    /// record would then be one from the future.
    ///
    /// # Errors
    /// See [`LogError`].
    pub fn append_batch<'a>(
        &self,
        principal: &Principal,
        log: impl Into<LogRef<'a>>,
        partition: u32,
        batch: &[u8],
        (now_ms, wall_ms): (u64, u64),
    ) -> Result<AppendAck, LogError> {
        let log = self.find(principal, Action::Publish, log.into())?;
        let target = log.partition(partition).ok_or(LogError::UnknownPartition)?;
        if let Some(failure) = target.failure() {
            return Err(LogError::Storage(failure));
        }
        let batch = log.check_batch(batch, wall_ms)?.bytes;
        let (sender, done) = oneshot::channel();
        let record = Record::Append { log: log.id, partition, time_ms: now_ms, batch: &batch };
        self.admit()?;
        self.submit(Some(Waiter::Call(sender)), &record)?;
        Ok(AppendAck(done))
    }

    /// The logs that `principal` may read, write or change.
    #[must_use]
    pub fn list_logs(&self, principal: &Principal) -> Vec<LogDescription> {
        let visible = |log: &Arc<LogState>| {
            self.may(principal, Action::Subscribe, &log.name).is_ok()
                || self.may(principal, Action::Publish, &log.name).is_ok()
                || self.may(principal, Action::Configure, &log.name).is_ok()
        };
        let logs = self.logs.table.in_vhost(&principal.vhost);
        logs.iter().filter(|log| visible(log)).map(|log| log.describe()).collect()
    }

    /// One log, for whoever may read, write or change it.
    ///
    /// # Errors
    /// `NotAuthorized`, `UnknownLog`.
    pub fn describe(
        &self,
        principal: &Principal,
        log: LogRef<'_>,
    ) -> Result<LogDescription, LogError> {
        let found = self
            .find(principal, Action::Subscribe, log)
            .or_else(|_| self.find(principal, Action::Publish, log))
            .or_else(|_| self.find(principal, Action::Configure, log))?;
        Ok(found.describe())
    }

    /// A partition, to read from.
    ///
    /// # Errors
    /// `NotAuthorized`, `UnknownLog`, `UnknownPartition`.
    pub fn partition(
        &self,
        principal: &Principal,
        log: LogRef<'_>,
        partition: u32,
    ) -> Result<Arc<Partition>, LogError> {
        let log = self.find(principal, Action::Subscribe, log)?;
        log.partition(partition).cloned().ok_or(LogError::UnknownPartition)
    }
}

/// The broker as protocols of logs see it: [`Broker`] with a clock.
pub struct LogFront {
    /// The broker.
    pub broker: Arc<Broker>,
    /// Tells the time.
    pub now_ms: NowMs,
    /// Tells what the system's clock says: producers' timestamps are compared with it.
    pub wall_ms: NowMs,
}

impl LogBroker for LogFront {
    type Ack = AppendAck;

    fn list(&self, principal: &Principal) -> Vec<LogDescription> {
        self.broker.list_logs(principal)
    }

    fn describe(&self, principal: &Principal, log: LogRef<'_>) -> Result<LogDescription, LogError> {
        self.broker.describe(principal, log)
    }

    async fn create(
        &self,
        principal: &Principal,
        log: CreateLog,
    ) -> Result<LogDescription, LogError> {
        self.broker.create_log(principal, log, (self.now_ms)()).await
    }

    fn append(
        &self,
        principal: &Principal,
        log: LogRef<'_>,
        partition: u32,
        batch: &[u8],
    ) -> Result<Self::Ack, LogError> {
        let times = ((self.now_ms)(), (self.wall_ms)());
        self.broker.append_batch(principal, log, partition, batch, times)
    }

    async fn new_producer_id(&self, principal: &Principal) -> Result<i64, LogError> {
        self.broker.new_producer_id(principal).await
    }

    fn partition(
        &self,
        principal: &Principal,
        log: LogRef<'_>,
        partition: u32,
    ) -> Result<Arc<Partition>, LogError> {
        self.broker.partition(principal, log, partition)
    }

    fn is_full(&self) -> bool {
        self.broker.is_full()
    }

    async fn room(&self) {
        // A dropped sender means that the broker stops; the caller looks again.
        drop(self.broker.when_room().await);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{LogBroker, LogError, LogFront, LogRef};
    use crate::auth::principal::Principal;
    use crate::broker::logs::batch::build::{BatchBuilder, NewRecord};
    use crate::broker::testbed::Bed;

    const DAY_MS: u64 = 86_400_000;

    /// After a day's sleep the broker's own time is a day behind that of its producers.
    #[test]
    fn records_are_as_young_as_the_systems_clock_says() {
        let mut bed = Bed::new();
        bed.resume(0);
        bed.broker.prepare_log("/", "l", Some(1), 0);
        bed.sync();
        let front = LogFront {
            broker: Arc::clone(&bed.broker),
            now_ms: Arc::new(|| 0),
            wall_ms: Arc::new(|| DAY_MS),
        };
        let append = |timestamp_ms: u64| {
            let mut builder = BatchBuilder::default();
            let (timestamp_ms, value) = (timestamp_ms as i64, Some(&b"v"[..]));
            builder.push(&NewRecord { timestamp_ms, key: None, value, headers: &[] });
            let batch = builder.finish().unwrap();
            front.append(&Principal::anonymous(), LogRef::Name("l"), 0, &batch)
        };
        assert!(append(DAY_MS).is_ok());
        assert!(matches!(append(2 * DAY_MS), Err(LogError::Batch(_))));
    }
}
