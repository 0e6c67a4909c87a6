//! A log, and the table of all logs. Part of `broker/logs`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::watch;

use crate::broker::logs::batch::check::{self, BatchFault, Checked, Checks};
use crate::broker::logs::partition::Partition;
use crate::broker::logs::settings::LogSettings;
use crate::broker::logs::verbs::LogDescription;
use crate::model::ids::LogId;

/// A log: a name, settings, partitions.
#[derive(Debug)]
pub struct LogState {
    /// Its key in everything durable.
    pub id: LogId,
    /// Where its name lives.
    pub vhost: String,
    /// Its name, see [`crate::broker::logs::name`].
    pub name: String,
    /// Told to clients; a log created anew under the same name has another.
    pub uuid: [u8; 16],
    /// When it was created.
    pub created_ms: u64,
    /// What was set, as it was set.
    pub config: Vec<(String, String)>,
    /// What the settings mean.
    pub settings: LogSettings,
    /// By index.
    pub partitions: Vec<Arc<Partition>>,
}

impl LogState {
    /// Checks a producer's batch before it is journaled.
    ///
    /// # Errors
    /// If it is not exactly one valid batch within this log's limits of size and time.
    pub fn check_batch<'a>(&self, batch: &'a [u8], now_ms: u64) -> Result<Checked<'a>, BatchFault> {
        let (oldest_ms, newest_ms) = self.settings.times(now_ms);
        let inflated_bytes_max = self.settings.unpacked_bytes_max;
        let checks = Checks { oldest_ms, newest_ms, inflated_bytes_max, ..Checks::default() };
        check::check(batch, self.settings.batch_bytes_max, &checks)
    }

    /// Partition `index`, if there is one.
    #[must_use]
    pub fn partition(&self, index: u32) -> Option<&Arc<Partition>> {
        self.partitions.get(usize::try_from(index).ok()?)
    }

    /// How many partitions it has.
    #[must_use]
    pub fn partition_count(&self) -> u32 {
        u32::try_from(self.partitions.len()).unwrap_or(u32::MAX)
    }

    /// The same log with other settings and further partitions.
    #[must_use]
    pub fn changed(
        &self,
        config: Vec<(String, String)>,
        settings: LogSettings,
        partitions: Vec<Arc<Partition>>,
    ) -> Self {
        Self {
            id: self.id,
            vhost: self.vhost.clone(),
            name: self.name.clone(),
            uuid: self.uuid,
            created_ms: self.created_ms,
            config,
            settings,
            partitions,
        }
    }

    /// What protocols tell of it.
    #[must_use]
    pub fn describe(&self) -> LogDescription {
        LogDescription {
            name: self.name.clone(),
            uuid: self.uuid,
            leader_epochs: self.partitions.iter().map(|p| p.leader_epoch()).collect(),
            config: self.config.clone(),
        }
    }
}

/// All logs, by name, by uuid and by id. The applier writes, any thread reads.
#[derive(Debug, Default)]
pub struct LogTable {
    inner: RwLock<Inner>,
    changes: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Inner {
    by_name: BTreeMap<String, BTreeMap<String, Arc<LogState>>>,
    by_uuid: HashMap<[u8; 16], Arc<LogState>>,
    by_id: BTreeMap<LogId, Arc<LogState>>,
}

impl LogTable {
    /// Adds `log` unless its name is taken; says whether it did.
    pub fn insert(&self, log: &Arc<LogState>) -> bool {
        let mut inner = self.inner.write();
        let names = inner.by_name.entry(log.vhost.clone()).or_default();
        if names.contains_key(&log.name) {
            return false;
        }
        names.insert(log.name.clone(), Arc::clone(log));
        inner.by_uuid.insert(log.uuid, Arc::clone(log));
        inner.by_id.insert(log.id, Arc::clone(log));
        drop(inner);
        self.changes.send_replace(());
        true
    }

    /// Puts `log` in the place of the one with its id, whose name it has.
    pub fn replace(&self, log: &Arc<LogState>) {
        let mut inner = self.inner.write();
        let names = inner.by_name.entry(log.vhost.clone()).or_default();
        names.insert(log.name.clone(), Arc::clone(log));
        inner.by_uuid.insert(log.uuid, Arc::clone(log));
        inner.by_id.insert(log.id, Arc::clone(log));
        drop(inner);
        self.changes.send_replace(());
    }

    /// Takes the log with `id` out.
    pub fn remove(&self, id: LogId) -> Option<Arc<LogState>> {
        let mut inner = self.inner.write();
        let log = inner.by_id.remove(&id)?;
        inner.by_uuid.remove(&log.uuid);
        if let Some(names) = inner.by_name.get_mut(&log.vhost) {
            names.remove(&log.name);
        }
        drop(inner);
        self.changes.send_replace(());
        Some(log)
    }

    /// Tells when a log came, went or changed.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// The log called `name` in `vhost`.
    #[must_use]
    pub fn by_name(&self, vhost: &str, name: &str) -> Option<Arc<LogState>> {
        self.inner.read().by_name.get(vhost)?.get(name).cloned()
    }

    /// The log with `uuid`, if it lives in `vhost`.
    #[must_use]
    pub fn by_uuid(&self, vhost: &str, uuid: &[u8; 16]) -> Option<Arc<LogState>> {
        self.inner.read().by_uuid.get(uuid).filter(|log| log.vhost == vhost).cloned()
    }

    /// The log with `id`.
    #[must_use]
    pub fn by_id(&self, id: LogId) -> Option<Arc<LogState>> {
        self.inner.read().by_id.get(&id).cloned()
    }

    /// The logs of `vhost`, by name.
    #[must_use]
    pub fn in_vhost(&self, vhost: &str) -> Vec<Arc<LogState>> {
        let inner = self.inner.read();
        inner.by_name.get(vhost).map(|names| names.values().cloned().collect()).unwrap_or_default()
    }

    /// Every log, by id.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<LogState>> {
        self.inner.read().by_id.values().cloned().collect()
    }

    /// How many logs there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.read().by_id.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
