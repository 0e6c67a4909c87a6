//! Logs and their batches. Part of `broker::apply`.

use std::ops::Range;
use std::sync::Arc;

use crate::model::ids::LogId;

use super::super::consumer::Outcome;
use super::super::logs::log::LogState;
use super::super::logs::partition::{AppendOutcome, Partition};
use super::super::logs::settings::LogSettings;
use super::super::logs::verbs::{Appended, LogError};
use super::super::record::{LogChange, Record};
use super::Applier;

/// More partitions than any configuration allows one log.
const PARTITIONS_LIMIT: u32 = 100_000;

impl Applier {
    pub(super) fn create_log(&mut self, record: &Record<'_>) -> Outcome {
        let Record::CreateLog { id, vhost, name, uuid, time_ms, partitions, config } = record
        else {
            return Outcome::Stale;
        };
        self.time_ms = self.time_ms.max(*time_ms);
        let outcome = match self.make_log(*id, vhost, name, *partitions, config) {
            Ok((settings, partitions)) => {
                let log = Arc::new(LogState {
                    id: *id,
                    vhost: (*vhost).to_owned(),
                    name: (*name).to_owned(),
                    uuid: *uuid,
                    created_ms: *time_ms,
                    config: owned(config),
                    settings,
                    partitions,
                });
                if self.broker.logs.table.insert(&log) {
                    self.broker.logs.raise_next_id(id.0.saturating_add(1));
                    self.delta.logs.push(*id);
                    // Its partitions have rows from the first checkpoint on, empty ones too.
                    let indexes = log.partitions.iter().map(|partition| partition.index());
                    self.delta.partitions.extend(indexes.map(|index| (*id, index)));
                    Outcome::Done
                } else {
                    Outcome::Refused(LogError::Exists)
                }
            }
            Err(error) => Outcome::Refused(error),
        };
        let key = ((*vhost).to_owned(), (*name).to_owned());
        self.broker.logs.underway.lock().creating.remove(&key);
        outcome
    }

    fn make_log(
        &self,
        id: LogId,
        vhost: &str,
        name: &str,
        partitions: u32,
        config: &[(&str, &str)],
    ) -> Result<(LogSettings, Vec<Arc<Partition>>), LogError> {
        if self.broker.logs.table.by_name(vhost, name).is_some() {
            return Err(LogError::Exists);
        }
        if partitions > PARTITIONS_LIMIT {
            return Err(LogError::InvalidPartitions);
        }
        let settings = self.broker.logs.defaults.with(config.iter().copied())?;
        let partitions = self.make_partitions((id, name), 0..partitions, &settings);
        Ok((settings, partitions))
    }

    fn make_partitions(
        &self,
        log: (LogId, &str),
        indexes: Range<u32>,
        settings: &LogSettings,
    ) -> Vec<Arc<Partition>> {
        let (id, name) = log;
        indexes
            .map(|index| {
                let files = self.broker.logs.store.create(log, index, settings);
                // What is journaled came to pass, here as in a replay on a disk that is well again (rule 4).
                Arc::new(match files {
                    Ok(files) => Partition::new(id, index, settings.append_time, files),
                    Err(error) => {
                        tracing::error!(name, index, %error, "a log's files could not be made");
                        let error = error.to_string();
                        Partition::without_files(id, index, settings.append_time, error)
                    }
                })
            })
            .collect()
    }

    pub(super) fn append(
        &mut self,
        log: LogId,
        partition: u32,
        time_ms: u64,
        batch: &[u8],
    ) -> Outcome {
        self.time_ms = self.time_ms.max(time_ms);
        let Some(found) = self.broker.logs.table.by_id(log) else {
            return Outcome::Refused(LogError::UnknownLog);
        };
        let Some(target) = found.partition(partition) else {
            return Outcome::Refused(LogError::UnknownPartition);
        };
        // What routes gathered for it came earlier in the journal.
        self.gather.settle(target, time_ms, &mut self.touched);
        match target.append_batch(time_ms, batch) {
            AppendOutcome::Appended { base_offset, log_start, append_time_ms } => {
                self.delta.partitions.insert((log, partition));
                self.touched.note(target, batch.len());
                Outcome::Appended(Appended { base_offset, log_start, append_time_ms })
            }
            AppendOutcome::Duplicate { base_offset, log_start, append_time_ms } => {
                Outcome::Appended(Appended { base_offset, log_start, append_time_ms })
            }
            AppendOutcome::Refused(fault) => Outcome::Refused(LogError::Sequence(fault)),
            AppendOutcome::Malformed => {
                Outcome::Refused(LogError::Unavailable("the batch is malformed".to_owned()))
            }
        }
    }
}

impl Applier {
    pub(super) fn change_log(&mut self, change: &LogChange<'_>) -> Outcome {
        match change {
            LogChange::Producers { next } => {
                self.broker.logs.raise_next_producer(*next);
                Outcome::Done
            }
            LogChange::Delete { id } => self.delete_log(*id),
            LogChange::Grow { id, partitions } => self.grow_log(*id, *partitions),
            LogChange::Configure { id, config } => self.configure_log(*id, config),
            LogChange::AdvanceStart { id, starts } => self.advance_starts(*id, starts),
        }
    }

    /// The log is out of sight at once; its files go with the next checkpoint, which does not name them (rule 10).
    fn delete_log(&mut self, id: LogId) -> Outcome {
        let removed = self.broker.logs.table.remove(id);
        let logs = &self.broker.logs;
        logs.end_deletion(&mut logs.underway.lock(), id);
        let Some(log) = removed else { return Outcome::Refused(LogError::UnknownLog) };
        for partition in &log.partitions {
            partition.retire();
        }
        self.delta.deleted_logs.insert(id, log.partition_count());
        self.broker.groups.applied.lock().forget_log(id);
        Outcome::Done
    }

    fn grow_log(&mut self, id: LogId, partitions: u32) -> Outcome {
        let Some(log) = self.broker.logs.table.by_id(id) else {
            return Outcome::Refused(LogError::UnknownLog);
        };
        let before = log.partition_count();
        if partitions <= before || partitions > PARTITIONS_LIMIT {
            return Outcome::Refused(LogError::InvalidPartitions);
        }
        let new = self.make_partitions((id, &log.name), before..partitions, &log.settings);
        let all = log.partitions.iter().cloned().chain(new).collect();
        let grown = log.changed(log.config.clone(), log.settings.clone(), all);
        self.broker.logs.table.replace(&Arc::new(grown));
        self.delta.logs.push(id);
        self.delta.partitions.extend((before..partitions).map(|index| (id, index)));
        Outcome::Done
    }

    fn configure_log(&mut self, id: LogId, config: &[(&str, &str)]) -> Outcome {
        let outcome = match self.broker.logs.table.by_id(id) {
            Some(log) => self.change_settings(&log, config),
            None => Outcome::Refused(LogError::UnknownLog),
        };
        // Not before: until then whoever changes them further looks here.
        self.broker.logs.underway.lock().configured(id);
        outcome
    }

    fn change_settings(&mut self, log: &LogState, config: &[(&str, &str)]) -> Outcome {
        let settings = match self.broker.logs.defaults.with(config.iter().copied()) {
            Ok(settings) => settings,
            Err(fault) => return Outcome::Refused(fault.into()),
        };
        for partition in &log.partitions {
            // What routes gathered came before, under the settings of then.
            self.gather.settle(partition, self.time_ms, &mut self.touched);
            partition.configure(&settings);
        }
        let changed = log.changed(owned(config), settings, log.partitions.clone());
        self.broker.logs.table.replace(&Arc::new(changed));
        self.delta.logs.push(log.id);
        Outcome::Done
    }

    fn advance_starts(&mut self, id: LogId, starts: &[(u32, i64)]) -> Outcome {
        let Some(log) = self.broker.logs.table.by_id(id) else {
            return Outcome::Refused(LogError::UnknownLog);
        };
        for (index, offset) in starts {
            let Some(partition) = log.partition(*index) else { continue };
            self.gather.settle(partition, self.time_ms, &mut self.touched);
            partition.advance_start(*offset);
            self.delta.partitions.insert((id, *index));
        }
        Outcome::Done
    }
}

fn owned(config: &[(&str, &str)]) -> Vec<(String, String)> {
    config.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}
