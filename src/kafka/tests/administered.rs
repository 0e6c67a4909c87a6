//! What administrators ask of the broker in memory. Part of the tests of `kafka`.

use std::sync::Arc;

use crate::auth::Principal;
use crate::broker::logs::admin::{END, LogAdmin, LogDefaults};
use crate::broker::logs::files::MemorySegments;
use crate::broker::logs::partition::Partition;
use crate::broker::logs::settings::LogSettings;
use crate::broker::logs::settings::change::SettingsChange;
use crate::broker::logs::settings::listed::{Setting, listed};
use crate::broker::logs::verbs::{LogError, LogRef};
use crate::kafka::tests::double::MemoryBroker;

impl MemoryBroker {
    pub(super) async fn delete_now(&self, log: &str) {
        self.delete(&Principal::anonymous(), LogRef::Name(log)).await.unwrap();
    }
}

impl LogAdmin for MemoryBroker {
    async fn delete(&self, principal: &Principal, log: LogRef<'_>) -> Result<(), LogError> {
        let log = self.find(principal, log)?;
        self.logs.remove(log.id).ok_or(LogError::UnknownLog)?;
        log.partitions.iter().for_each(|partition| partition.retire());
        Ok(())
    }

    async fn grow(
        &self,
        principal: &Principal,
        log: &str,
        partitions: u32,
        validate_only: bool,
    ) -> Result<(), LogError> {
        let log = self.find(principal, LogRef::Name(log))?;
        let before = log.partition_count();
        if partitions <= before {
            return Err(LogError::InvalidPartitions);
        }
        if !validate_only {
            let new = (before..partitions).map(|index| {
                Arc::new(Partition::new(log.id, index, false, Box::<MemorySegments>::default()))
            });
            let all = log.partitions.iter().cloned().chain(new).collect();
            let grown = log.changed(log.config.clone(), log.settings.clone(), all);
            self.logs.replace(&Arc::new(grown));
        }
        Ok(())
    }

    async fn configure(
        &self,
        principal: &Principal,
        log: &str,
        change: SettingsChange,
        validate_only: bool,
    ) -> Result<(), LogError> {
        let log = self.find(principal, LogRef::Name(log))?;
        let config = change.over(&log.config, &LogSettings::default())?;
        if !validate_only {
            let pairs = config.iter().map(|(name, value)| (&**name, &**value));
            let settings = LogSettings::parse(pairs)?;
            let changed = log.changed(config, settings, log.partitions.clone());
            self.logs.replace(&Arc::new(changed));
        }
        Ok(())
    }

    async fn delete_records(
        &self,
        principal: &Principal,
        log: &str,
        before: &[(u32, i64)],
    ) -> Result<Vec<Result<i64, LogError>>, LogError> {
        let log = self.find(principal, LogRef::Name(log))?;
        let one = |(index, offset): &(u32, i64)| {
            let partition = log.partition(*index).ok_or(LogError::UnknownPartition)?;
            let to = if *offset == END { partition.end() } else { *offset };
            if (0..=partition.end()).contains(&to) {
                Ok(partition.advance_start(to))
            } else {
                Err(LogError::OffsetOutOfRange)
            }
        };
        Ok(before.iter().map(one).collect())
    }

    fn settings(&self, principal: &Principal, log: LogRef<'_>) -> Result<Vec<Setting>, LogError> {
        let log = self.find(principal, log)?;
        Ok(listed(&LogSettings::default(), &log.config))
    }

    fn defaults(&self) -> LogDefaults {
        LogDefaults { settings: LogSettings::default(), partitions: 1, retention_check_ms: 300_000 }
    }
}
