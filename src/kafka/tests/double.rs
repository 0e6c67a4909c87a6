//! A broker in memory, whose acks can be held back; and timers.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot, watch};

use crate::auth::Principal;
use crate::broker::groups::verbs::{
    GroupBroker, GroupDescription, GroupError, GroupListing, Join, Joined, Leaving, LogCommit,
    LogName, LogOffsets, Membership, Sync, Synced,
};
use crate::broker::logs::files::MemorySegments;
use crate::broker::logs::log::{LogState, LogTable};
use crate::broker::logs::name;
use crate::broker::logs::partition::{AppendOutcome, Partition};
use crate::broker::logs::settings::LogSettings;
use crate::broker::logs::verbs::{
    Appended, CreateLog, LogBroker, LogDescription, LogError, LogRef,
};
use crate::broker::logs::waiters::Touched;
use crate::kafka::shared::Timer;
use crate::model::ids::LogId;

type Answer = Result<Appended, LogError>;
/// An answer and who waits for it.
type Held = (oneshot::Sender<Answer>, Answer);

/// Applies at once what is submitted.
#[derive(Default)]
pub(super) struct MemoryBroker {
    pub(super) logs: LogTable,
    holds: bool,
    held: Mutex<Vec<Option<Held>>>,
    appended: Notify,
    full: watch::Sender<bool>,
    producers: AtomicI64,
}

impl MemoryBroker {
    pub(super) fn holding_acks() -> Self {
        Self { holds: true, ..Self::default() }
    }

    pub(super) fn set_full(&self, full: bool) {
        self.full.send_replace(full);
    }

    pub(super) fn end(&self, log: &str) -> i64 {
        self.logs.by_name("/", log).unwrap().partition(0).unwrap().end()
    }

    pub(super) fn release(&self, index: usize) {
        let held = self.held.lock().get_mut(index).and_then(Option::take);
        let (sender, answer) = held.expect("an ack is held");
        sender.send(answer).expect("somebody waits");
    }

    pub(super) async fn until_appended(&self, count: usize) {
        while self.held.lock().len() < count {
            self.appended.notified().await;
        }
    }

    pub(super) fn append_now(&self, log: &str, batch: &[u8]) {
        let log = self.logs.by_name("/", log).unwrap();
        apply(log.partition(0).unwrap(), batch).unwrap();
    }

    pub(super) fn find(
        &self,
        principal: &Principal,
        log: LogRef<'_>,
    ) -> Result<Arc<LogState>, LogError> {
        let found = match log {
            LogRef::Name(name) => self.logs.by_name(&principal.vhost, name),
            LogRef::Uuid(uuid) => self.logs.by_uuid(&principal.vhost, &uuid),
        };
        found.ok_or(LogError::UnknownLog)
    }
}

fn apply(partition: &Arc<Partition>, batch: &[u8]) -> Answer {
    let (base_offset, log_start) = match partition.append_batch(1, batch) {
        AppendOutcome::Appended { base_offset, log_start, .. }
        | AppendOutcome::Duplicate { base_offset, log_start, .. } => (base_offset, log_start),
        AppendOutcome::Refused(fault) => return Err(fault.into()),
        AppendOutcome::Malformed => unreachable!("checked before"),
    };
    let mut touched = Touched::default();
    touched.note(partition, batch.len());
    touched.publish();
    Ok(Appended { base_offset, log_start, append_time_ms: None })
}

impl LogBroker for MemoryBroker {
    type Ack = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn list(&self, principal: &Principal) -> Vec<LogDescription> {
        self.logs.in_vhost(&principal.vhost).iter().map(|log| log.describe()).collect()
    }

    fn describe(&self, principal: &Principal, log: LogRef<'_>) -> Result<LogDescription, LogError> {
        Ok(self.find(principal, log)?.describe())
    }

    async fn create(
        &self,
        principal: &Principal,
        log: CreateLog,
    ) -> Result<LogDescription, LogError> {
        if !name::is_valid(&log.name) {
            return Err(LogError::InvalidName);
        }
        let pairs = log.config.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let settings = LogSettings::parse(pairs)?;
        let id = LogId(self.logs.len() as u32 + 1);
        let mut uuid = [7; 16];
        uuid[..4].copy_from_slice(&id.0.to_be_bytes());
        let partitions = (0..log.partitions.unwrap_or(1))
            .map(|index| {
                let files = Box::<MemorySegments>::default();
                Arc::new(Partition::new(id, index, settings.append_time, files))
            })
            .collect();
        let state = Arc::new(LogState {
            id,
            vhost: principal.vhost.to_string(),
            name: log.name,
            uuid,
            created_ms: 0,
            config: log.config,
            settings,
            partitions,
        });
        if self.find(principal, LogRef::Name(&state.name)).is_ok() {
            return Err(LogError::Exists);
        }
        if !log.validate_only {
            self.logs.insert(&state);
        }
        Ok(state.describe())
    }

    fn append(
        &self,
        principal: &Principal,
        log: LogRef<'_>,
        partition: u32,
        batch: &[u8],
    ) -> Result<Self::Ack, LogError> {
        let log = self.find(principal, log)?;
        log.check_batch(batch, 1)?;
        let answer = apply(log.partition(partition).ok_or(LogError::UnknownPartition)?, batch);
        if !self.holds {
            return Ok(Box::pin(async move { answer }));
        }
        let (sender, receiver) = oneshot::channel();
        self.held.lock().push(Some((sender, answer)));
        self.appended.notify_one();
        Ok(Box::pin(async move { receiver.await.unwrap_or(Err(LogError::InDoubt)) }))
    }

    async fn new_producer_id(&self, _: &Principal) -> Result<i64, LogError> {
        Ok(self.producers.fetch_add(1, Ordering::Relaxed))
    }

    fn partition(
        &self,
        principal: &Principal,
        log: LogRef<'_>,
        partition: u32,
    ) -> Result<Arc<Partition>, LogError> {
        let log = self.find(principal, log)?;
        log.partition(partition).cloned().ok_or(LogError::UnknownPartition)
    }

    fn is_full(&self) -> bool {
        *self.full.borrow()
    }

    async fn room(&self) {
        let mut full = self.full.subscribe();
        full.wait_for(|full| !full).await.expect("the sender is ours");
    }
}

/// There are no groups here; those of a real broker are tried in `groups`.
impl GroupBroker for MemoryBroker {
    async fn join(&self, _: &Principal, _: Join) -> Result<Joined, GroupError> {
        Err(GroupError::NotAuthorized)
    }

    async fn sync(&self, _: &Principal, _: Sync) -> Result<Synced, GroupError> {
        Err(GroupError::NotAuthorized)
    }

    fn heartbeat(&self, _: &Principal, _: &Membership) -> Result<(), GroupError> {
        Err(GroupError::NotAuthorized)
    }

    fn leave(
        &self,
        _: &Principal,
        _: &str,
        _: &[Leaving],
    ) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        Err(GroupError::NotAuthorized)
    }

    async fn commit(
        &self,
        _: &Principal,
        _: &Membership,
        _: Vec<LogCommit>,
    ) -> Result<Vec<Vec<Result<(), GroupError>>>, GroupError> {
        Err(GroupError::NotAuthorized)
    }

    fn committed(
        &self,
        _: &Principal,
        _: &str,
        _: Option<&[(LogName, Vec<u32>)]>,
    ) -> Result<Vec<LogOffsets>, GroupError> {
        Err(GroupError::NotAuthorized)
    }

    fn list_groups(&self, _: &Principal) -> Vec<GroupListing> {
        Vec::new()
    }

    fn describe_group(&self, _: &Principal, _: &str) -> Result<GroupDescription, GroupError> {
        Err(GroupError::NotAuthorized)
    }

    async fn delete_group(&self, _: &Principal, _: &str) -> Result<(), GroupError> {
        Err(GroupError::NotAuthorized)
    }

    async fn forget_offsets(
        &self,
        _: &Principal,
        _: &str,
        _: Vec<(String, Vec<u32>)>,
    ) -> Result<Vec<Vec<Result<(), GroupError>>>, GroupError> {
        Err(GroupError::NotAuthorized)
    }

    fn may_use(&self, _: &Principal, _: &str) -> Result<(), GroupError> {
        Err(GroupError::NotAuthorized)
    }
}

/// Time that stands still.
pub(super) struct NeverTimer;

impl Timer for NeverTimer {
    fn sleep(&self, _: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::pending())
    }
}

/// The runtime's time.
pub(super) struct RealTimer;

impl Timer for RealTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// All time has passed already.
pub(super) struct NoTimer;

impl Timer for NoTimer {
    fn sleep(&self, _duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::ready(()))
    }
}
