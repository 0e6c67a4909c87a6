//! Where partitions live: `logs/<log id>-<name>/<partition>/`. Part of `store::partition`.
//!
//! The id alone says which log a folder belongs to; the name is for people.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use crate::model::ids::LogId;
use crate::store::disk::Disk;
use crate::store::error::StoreError;

/// Bytes of a log's name that its folder repeats.
const NAME_BYTES_MAX: usize = 64;

/// The folder of all logs.
#[derive(Debug, Clone)]
pub struct LogFolders {
    disk: Arc<dyn Disk>,
}

impl LogFolders {
    /// Takes the folder of all logs.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk }
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
        create().map_err(StoreError::io(&path, "create"))
    }

    /// Removes a log with all its partitions; to be called once no checkpoint names it.
    ///
    /// # Errors
    /// [`StoreError::Io`]; the next start tries again.
    pub fn remove(&self, log: LogId) -> Result<(), StoreError> {
        let Some(folder) = self.find(log)? else { return Ok(()) };
        let path = self.disk.path(&folder);
        self.disk.remove_folder(&folder).map_err(StoreError::io(&path, "remove"))
    }

    /// Removes what belongs to no log of the checkpoint; to be called at start, before the replay.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn remove_unlisted(&self, listed: &BTreeSet<LogId>) -> Result<(), StoreError> {
        for folder in self.folders()? {
            if parse(&folder).is_some_and(|log| !listed.contains(&log)) {
                let path = self.disk.path(&folder);
                self.disk.remove_folder(&folder).map_err(StoreError::io(&path, "remove"))?;
            }
        }
        Ok(())
    }

    fn find(&self, log: LogId) -> Result<Option<String>, StoreError> {
        Ok(self.folders()?.into_iter().find(|folder| parse(folder) == Some(log)))
    }

    fn folders(&self) -> Result<Vec<String>, StoreError> {
        let listed: io::Result<_> = self.disk.list_folders();
        listed.map_err(StoreError::io(&self.disk.path(""), "list"))
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
