//! What administrators ask of logs: delete, grow, configure, give up records. Part of `broker/logs`.
//!
//! Every verb takes the principal and asks for `configure` on the log; each completes when its record is durable and
//! applied, so whoever was answered finds the log as asked, and a restart too.

use std::future::Future;

use crate::auth::Principal;
use crate::broker::logs::settings::LogSettings;
use crate::broker::logs::settings::change::SettingsChange;
use crate::broker::logs::settings::listed::Setting;
use crate::broker::logs::verbs::{LogError, LogRef};

/// What a log has that does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDefaults {
    /// Its settings.
    pub settings: LogSettings,
    /// How many partitions.
    pub partitions: u32,
    /// How often retention looks, ms.
    pub retention_check_ms: u64,
}

/// Stands for the end of a partition where an offset is asked for.
pub const END: i64 = -1;

/// The broker's verbs that change logs.
pub trait LogAdmin: Send + Sync + 'static {
    /// Deletes a log, its records, and what groups have committed in it. A log created anew under its name inherits
    /// nothing.
    ///
    /// Fails with `NotAuthorized`, `UnknownLog`, also while somebody else deletes it.
    fn delete(
        &self,
        principal: &Principal,
        log: LogRef<'_>,
    ) -> impl Future<Output = Result<(), LogError>> + Send;

    /// Gives a log further partitions; keys move with the number.
    ///
    /// Fails with `NotAuthorized`, `UnknownLog`, `InvalidPartitions` if the number does not rise or exceeds the
    /// configured limit.
    fn grow(
        &self,
        principal: &Principal,
        log: &str,
        partitions: u32,
        validate_only: bool,
    ) -> impl Future<Output = Result<(), LogError>> + Send;

    /// Changes what is set on a log; in the order of the calls, also while earlier changes are under way.
    ///
    /// Fails with `NotAuthorized`, `UnknownLog`, `InvalidSetting`.
    fn configure(
        &self,
        principal: &Principal,
        log: &str,
        change: SettingsChange,
        validate_only: bool,
    ) -> impl Future<Output = Result<(), LogError>> + Send;

    /// Gives up the records before an offset of each partition named, [`END`] for all there are. Answers with each
    /// partition's first offset afterwards, in the order asked.
    ///
    /// Fails as a whole with `NotAuthorized`, `UnknownLog`; for a partition with `UnknownPartition`,
    /// `OffsetOutOfRange`.
    fn delete_records(
        &self,
        principal: &Principal,
        log: &str,
        before: &[(u32, i64)],
    ) -> impl Future<Output = Result<Vec<Result<i64, LogError>>, LogError>> + Send;

    /// Every setting of a log, for whoever may see the log.
    ///
    /// # Errors
    /// `NotAuthorized`, `UnknownLog`.
    fn settings(&self, principal: &Principal, log: LogRef<'_>) -> Result<Vec<Setting>, LogError>;

    /// What a log has that does not say.
    fn defaults(&self) -> LogDefaults;
}
