//! Logs and their batches. Part of `broker::apply`.

use std::sync::Arc;

use crate::model::ids::LogId;

use super::super::consumer::Outcome;
use super::super::logs::log::LogState;
use super::super::logs::partition::{AppendOutcome, Partition};
use super::super::logs::settings::LogSettings;
use super::super::logs::verbs::{Appended, LogError};
use super::super::record::{LogChange, Record};
use super::Applier;

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
        self.broker.logs.creating.lock().remove(&key);
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
        let settings = self.broker.logs.defaults.with(config.iter().copied())?;
        let partitions = (0..partitions)
            .map(|index| {
                let files = self.broker.logs.store.create((id, name), index, &settings);
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
            .collect();
        Ok((settings, partitions))
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
            LogChange::Delete { .. }
            | LogChange::Grow { .. }
            | LogChange::Configure { .. }
            | LogChange::AdvanceStart { .. } => Outcome::Stale,
        }
    }
}

fn owned(config: &[(&str, &str)]) -> Vec<(String, String)> {
    config.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}
