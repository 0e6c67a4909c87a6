//! Where partitions live: `logs/<log id>-<name>/<partition>/`. Part of `store::partition`.
//!
//! The id alone says which log a folder belongs to; the name is for people. What is there is listed once: nobody else
//! makes or removes folders, and a start that listed them for each partition would take the square of their number.

use std::collections::BTreeSet;
use std::sync::Arc;

use ahash::AHashMap;
use parking_lot::Mutex;

use crate::model::ids::LogId;
use crate::store::disk::Disk;
use crate::store::error::StoreError;

/// Bytes of a log's name that its folder repeats.
const NAME_BYTES_MAX: usize = 64;

/// The folder of all logs.
#[derive(Debug, Clone)]
pub struct LogFolders {
    disk: Arc<dyn Disk>,
    /// The folder of each log; `None` until they were listed.
    names: Arc<Mutex<Option<AHashMap<LogId, String>>>>,
}

impl LogFolders {
    /// Takes the folder of all logs.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk, names: Arc::default() }
    }

    /// The folder of one partition, created when missing.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn partition(
        &self,
        log: LogId,
        name: &str,
        partition: u32,
    ) -> Result<Arc<dyn Disk>, StoreError> {
        let folder = match self.find(log)? {
            Some(existing) => existing,
            None => folder_name(log, name),
        };
        let path = self.disk.path(&folder);
        let create = || self.disk.folder(&folder)?.folder(&partition.to_string());
        let created = create().map_err(StoreError::io(&path, "create"))?;
        self.with_names(|names| names.insert(log, folder))?;
        Ok(created)
    }

    /// Removes a log with all its partitions; to be called once no checkpoint names it.
    ///
    /// # Errors
    /// [`StoreError::Io`]; the next start tries again.
    pub fn remove(&self, log: LogId) -> Result<(), StoreError> {
        let Some(folder) = self.find(log)? else { return Ok(()) };
        let path = self.disk.path(&folder);
        self.disk.remove_folder(&folder).map_err(StoreError::io(&path, "remove"))?;
        self.with_names(|names| names.remove(&log)).map(drop)
    }

    /// Removes what belongs to no log of the checkpoint; to be called at start, before the replay.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn remove_unlisted(&self, listed: &BTreeSet<LogId>) -> Result<(), StoreError> {
        let unlisted = self.with_names(|names| {
            let unlisted = names.keys().filter(|log| !listed.contains(log));
            unlisted.copied().collect::<Vec<_>>()
        })?;
        unlisted.into_iter().try_for_each(|log| self.remove(log))
    }

    fn find(&self, log: LogId) -> Result<Option<String>, StoreError> {
        self.with_names(|names| names.get(&log).cloned())
    }

    fn with_names<R>(
        &self,
        look: impl FnOnce(&mut AHashMap<LogId, String>) -> R,
    ) -> Result<R, StoreError> {
        let mut names = self.names.lock();
        let names = match &mut *names {
            Some(names) => names,
            unknown => {
                let listed = self.disk.list_folders();
                let listed = listed.map_err(StoreError::io(&self.disk.path(""), "list"))?;
                let known = listed.into_iter().filter_map(|folder| Some((parse(&folder)?, folder)));
                unknown.insert(known.collect())
            }
        };
        Ok(look(names))
    }
}

fn folder_name(log: LogId, name: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    let name: String = name.chars().map(safe).take(NAME_BYTES_MAX).collect();
    format!("{log}-{name}")
}

fn parse(folder: &str) -> Option<LogId> {
    folder.split_once('-')?.0.parse().ok().map(LogId)
}
