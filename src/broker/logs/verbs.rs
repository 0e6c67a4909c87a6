//! What protocols ask of logs, and the errors they get. Part of `broker/logs`.
//!
//! Every verb takes the principal and asks the access rules; names live in the principal's vhost.

use std::future::Future;
use std::sync::Arc;

use thiserror::Error;

use crate::auth::Principal;
use crate::broker::groups::verbs::GroupBroker;
use crate::broker::logs::admin::LogAdmin;
use crate::broker::logs::batch::check::BatchFault;
use crate::broker::logs::partition::Partition;
use crate::broker::logs::producers::SequenceFault;
use crate::broker::logs::settings::SettingFault;

/// How a log is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogRef<'a> {
    /// By name.
    Name(&'a str),
    /// By the id that it was given when it was created.
    Uuid([u8; 16]),
}

impl<'a> From<&'a str> for LogRef<'a> {
    fn from(name: &'a str) -> Self {
        Self::Name(name)
    }
}

/// What protocols tell of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogDescription {
    /// Its name.
    pub name: String,
    /// The id that it was given when it was created; all zero of one that was only validated.
    pub uuid: [u8; 16],
    /// The leader epoch of each partition, by index.
    pub leader_epochs: Vec<i32>,
    /// What was set on it.
    pub config: Vec<(String, String)>,
}

/// A log to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateLog {
    /// Its name.
    pub name: String,
    /// How many partitions; `None` for the configured default.
    pub partitions: Option<u32>,
    /// Its settings.
    pub config: Vec<(String, String)>,
    /// Check, change nothing.
    pub validate_only: bool,
}

/// A batch that is durable and in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first record.
    pub base_offset: i64,
    /// First offset of the partition.
    pub log_start: i64,
    /// The time given to its records, if the log stamps them.
    pub append_time_ms: Option<i64>,
}

/// Why a verb was not carried out. Nothing changed, but for [`LogError::InDoubt`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LogError {
    /// The access rules say no.
    #[error("not authorised")]
    NotAuthorized,
    /// No log has that name or id.
    #[error("unknown log")]
    UnknownLog,
    /// The log has fewer partitions.
    #[error("unknown partition")]
    UnknownPartition,
    /// See [`crate::broker::logs::name`].
    #[error("a log's name is 1 to 249 of a-z A-Z 0-9 . _ -, and neither . nor ..")]
    InvalidName,
    /// The name is taken.
    #[error("a log of this name exists")]
    Exists,
    /// Zero, or more than the broker allows.
    #[error("number of partitions out of range")]
    InvalidPartitions,
    /// An offset beyond a partition's end, or none at all.
    #[error("offset out of range")]
    OffsetOutOfRange,
    /// A setting that is refused.
    #[error(transparent)]
    InvalidSetting(#[from] SettingFault),
    /// As many logs as the configuration allows.
    #[error("the limit on the number of logs is reached")]
    TooMany,
    /// The batch is refused as it is.
    #[error(transparent)]
    Batch(#[from] BatchFault),
    /// The batch does not fit its producer's sequence.
    #[error(transparent)]
    Sequence(#[from] SequenceFault),
    /// The log's files failed.
    #[error("storage failed: {0}")]
    Storage(String),
    /// Refused before it was journaled: the broker stops, say.
    #[error("not available: {0}")]
    Unavailable(String),
    /// Journaled, but not known to be synced: there is no answer, the connection is closed (design §2, rule 1).
    #[error("in doubt")]
    InDoubt,
}

/// The broker's verbs on logs.
pub trait LogBroker: LogAdmin + GroupBroker + Send + Sync + 'static {
    /// Completes when an append is durable and applied.
    type Ack: Future<Output = Result<Appended, LogError>> + Send + 'static;

    /// The logs that `principal` may see, by name.
    fn list(&self, principal: &Principal) -> Vec<LogDescription>;

    /// One log.
    ///
    /// # Errors
    /// `NotAuthorized`, `UnknownLog`.
    fn describe(&self, principal: &Principal, log: LogRef<'_>) -> Result<LogDescription, LogError>;

    /// Creates a log; completes when it is durable and can be appended to.
    fn create(
        &self,
        principal: &Principal,
        log: CreateLog,
    ) -> impl Future<Output = Result<LogDescription, LogError>> + Send;

    /// Checks `batch` and submits it, in the order of the calls; the ack comes later.
    ///
    /// # Errors
    /// Whatever is known at once; the batch was not submitted then.
    fn append(
        &self,
        principal: &Principal,
        log: LogRef<'_>,
        partition: u32,
        batch: &[u8],
    ) -> Result<Self::Ack, LogError>;

    /// A number that no idempotent producer has had (KIP-98); completes when it never will again.
    fn new_producer_id(
        &self,
        principal: &Principal,
    ) -> impl Future<Output = Result<i64, LogError>> + Send;

    /// A partition, to read from.
    ///
    /// # Errors
    /// `NotAuthorized`, `UnknownLog`, `UnknownPartition`.
    fn partition(
        &self,
        principal: &Principal,
        log: LogRef<'_>,
        partition: u32,
    ) -> Result<Arc<Partition>, LogError>;

    /// Whether what was submitted and not applied exceeds its bound: a connection takes no more requests.
    fn is_full(&self) -> bool;

    /// Completes when [`Self::is_full`] is false, or may have become so. Safe to drop.
    fn room(&self) -> impl Future<Output = ()> + Send;
}
