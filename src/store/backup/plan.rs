//! Which files a checkpoint names, and how much of each. Part of `store::backup`.

use std::path::{Component, Path};
use std::sync::Arc;

use crate::model::ids::Lsn;
use crate::store::bodies::name;
use crate::store::disk::Disk;
use crate::store::error::StoreError;
use crate::store::journal::Position;
use crate::store::journal::extent::extents;
use crate::store::partition::folders::LogFolders;
use crate::store::partition::{index_name, log_name};
use crate::store::tables::bodies::Bodies;
use crate::store::tables::db::Db;
use crate::store::tables::logs;
use crate::store::tables::partitions::Partitions;

/// A file of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Folders below the data directory, the outermost first.
    pub folder: Vec<String>,
    /// Name.
    pub name: String,
    /// How many bytes of it count.
    pub bytes: u64,
    /// How long the copy is; zeros follow what counts.
    pub file_bytes: u64,
}

/// The files of `root`, a data directory, that the rows in `db` name, and the journal from there to `last`.
///
/// # Errors
/// A row or the journal cannot be read; [`StoreError::Missing`] when the journal lacks a part.
pub fn plan(root: &Arc<dyn Disk>, db: &Db, last: Lsn) -> Result<Vec<Planned>, StoreError> {
    let folder = |name: &str| {
        let path = root.path(name);
        root.folder(name).map_err(StoreError::io(&path, "open"))
    };
    let mut files = Vec::new();
    let position = db.checkpoint()?.map_or(Position::START, |row| row.position());
    for extent in extents(folder("journal")?.as_ref(), position, last)? {
        let (bytes, file_bytes) = (extent.bytes, extent.file_bytes);
        files.push(Planned {
            folder: vec!["journal".into()],
            name: extent.name,
            bytes,
            file_bytes,
        });
    }
    db.for_each::<Bodies>(|key, row| {
        let (name, bytes) = (name(key.segment), row.valid_len);
        files.push(Planned { folder: vec!["bodies".into()], name, bytes, file_bytes: bytes });
        Ok(())
    })?;
    let names = logs::names(db)?;
    let folders = LogFolders::new(folder("logs")?);
    db.for_each::<Partitions>(|key, row| {
        let log = names.get(&key.log).map_or("", String::as_str);
        let disk = folders.partition(key.log, log, key.partition)?;
        let folder = parts(&root.path(""), &disk.path(""));
        for (base, bytes) in row.segments {
            let name = log_name(base);
            files.push(Planned { folder: folder.clone(), name, bytes, file_bytes: bytes });
            // Saves scanning at the first start; what it says too much is cut off then.
            let name = index_name(base);
            if let Some(bytes) = disk.open(&name).ok().and_then(|file| file.length().ok()) {
                files.push(Planned { folder: folder.clone(), name, bytes, file_bytes: bytes });
            }
        }
        Ok(())
    })?;
    Ok(files)
}

/// The folders between `root` and `below`.
fn parts(root: &Path, below: &Path) -> Vec<String> {
    let within = below.strip_prefix(root).unwrap_or(below);
    let normal = within.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        _ => None,
    });
    normal.collect()
}
