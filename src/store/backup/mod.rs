//! A copy of a data directory that is one itself. Part of `store`.
//!
//! A backup is made of rows ([`Copy`](crate::store::tables::snapshot::Copy)), of the beginnings of the files they name
//! and of the journal up to a durable record ([`plan`]). It grows under another name, is synced, and gets its own
//! name last: what has that name is whole.

pub mod plan;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::store::backup::plan::Planned;
use crate::store::disk::{Disk, read_full};
use crate::store::error::StoreError;

/// Bytes copied at once.
const CHUNK_BYTES: usize = 1 << 20;
/// Says what a backup is of; written last.
pub const LABEL: &str = "backup.json";

/// A backup being made. Dropped before [`Target::finish`], it goes.
#[derive(Debug)]
pub struct Target {
    dir: PathBuf,
    unfinished: PathBuf,
    done: bool,
}

impl Target {
    /// Begins a backup that shall be `dir`, which must be missing or empty.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is something, or an unfinished backup of that name; [`StoreError::Io`].
    pub fn begin(dir: &Path) -> Result<Self, StoreError> {
        let refused = |reason: &str| {
            Err(StoreError::Refused { file: dir.to_owned(), reason: reason.to_owned() })
        };
        match fs::read_dir(dir) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    return refused("not empty; a backup wants a folder of its own");
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(StoreError::io(dir, "look into")(error)),
        }
        let Some(name) = dir.file_name() else { return refused("no name for a folder") };
        let mut name = name.to_owned();
        name.push(".unfinished");
        let unfinished = dir.with_file_name(name);
        match fs::create_dir(&unfinished) {
            Ok(()) => Ok(Self { dir: dir.to_owned(), unfinished, done: false }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let reason = "is there from a backup that runs, or was cut off: then remove it";
                Err(StoreError::Refused { file: unfinished, reason: reason.to_owned() })
            }
            Err(error) => Err(StoreError::io(&unfinished, "create")(error)),
        }
    }

    /// Where it grows.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.unfinished
    }

    /// Copies a file out of `root`, the data directory, and syncs it; `copied` is told how many bytes were.
    ///
    /// # Errors
    /// [`StoreError::Missing`] when there are less bytes than planned, [`StoreError::Io`].
    pub fn copy(
        &self,
        root: &dyn Disk,
        planned: &Planned,
        copied: &mut dyn FnMut(u64),
    ) -> Result<(), StoreError> {
        let mut folder = None;
        for part in &planned.folder {
            let above: &dyn Disk = folder.as_deref().unwrap_or(root);
            let path = above.path(part);
            folder = Some(above.folder(part).map_err(StoreError::io(&path, "open"))?);
        }
        let disk: &dyn Disk = folder.as_deref().unwrap_or(root);
        let source = disk.path(&planned.name);
        let file = disk.open(&planned.name).map_err(StoreError::io(&source, "open"))?;
        let place = self.unfinished.join(planned.folder.iter().collect::<PathBuf>());
        fs::create_dir_all(&place).map_err(StoreError::io(&place, "create"))?;
        let place = place.join(&planned.name);
        let mut out = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&place)
            .map_err(StoreError::io(&place, "create"))?;
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut offset = 0;
        while offset < planned.bytes {
            let wanted = buffer.len().min((planned.bytes - offset) as usize);
            let part = buffer.get_mut(..wanted).unwrap_or_default();
            let count =
                read_full(file.as_ref(), offset, part).map_err(StoreError::io(&source, "read"))?;
            if count < wanted {
                let expected = format!("{} bytes", planned.bytes);
                return Err(StoreError::Missing { file: source, expected });
            }
            out.write_all(part).map_err(StoreError::io(&place, "write"))?;
            offset += count as u64;
            copied(count as u64);
        }
        if planned.file_bytes > planned.bytes {
            out.set_len(planned.file_bytes).map_err(StoreError::io(&place, "extend"))?;
        }
        out.sync_all().map_err(StoreError::io(&place, "sync"))
    }

    /// Writes the label, makes everything durable and gives the backup its name.
    ///
    /// # Errors
    /// [`StoreError::Io`]; then there is no backup.
    pub fn finish(mut self, label: &str) -> Result<(), StoreError> {
        let path = self.unfinished.join(LABEL);
        let write = || {
            let mut file = File::create_new(&path)?;
            file.write_all(label.as_bytes())?;
            file.sync_all()
        };
        write().map_err(StoreError::io(&path, "write"))?;
        sync_folders(&self.unfinished).map_err(StoreError::io(&self.unfinished, "sync"))?;
        fs::rename(&self.unfinished, &self.dir).map_err(StoreError::io(&self.dir, "name"))?;
        self.done = true;
        let parent = match self.dir.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        File::open(parent)
            .and_then(|folder| folder.sync_all())
            .map_err(StoreError::io(parent, "sync"))
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if !self.done
            && let Err(error) = fs::remove_dir_all(&self.unfinished)
        {
            tracing::warn!(folder = %self.unfinished.display(), %error, "an unfinished backup stays");
        }
    }
}

fn sync_folders(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_folders(&entry.path())?;
        }
    }
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{LABEL, Target};
    use crate::store::backup::plan::Planned;
    use crate::store::disk::overlay::Overlay;
    use crate::store::error::StoreError;

    fn planned(name: &str, bytes: u64, file_bytes: u64) -> Planned {
        Planned { folder: vec!["f".into()], name: name.into(), bytes, file_bytes }
    }

    #[test]
    fn a_backup_has_its_name_only_when_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        fs::create_dir_all(data.join("f")).unwrap();
        fs::write(data.join("f/a"), b"abcdef").unwrap();
        let root = Overlay::over(&data);
        let to = dir.path().join("copy");

        let target = Target::begin(&to).unwrap();
        assert!(matches!(Target::begin(&to), Err(StoreError::Refused { .. })));
        assert!(matches!(
            target.copy(&*root, &planned("a", 7, 7), &mut |_| ()),
            Err(StoreError::Missing { .. })
        ));
        drop(target);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);

        fs::create_dir(&to).unwrap();
        let target = Target::begin(&to).unwrap();
        let mut copied = 0;
        target.copy(&*root, &planned("a", 4, 10), &mut |bytes| copied += bytes).unwrap();
        assert!(fs::read_dir(&to).unwrap().next().is_none());
        target.finish("{}\n").unwrap();
        assert_eq!(copied, 4);
        assert_eq!(fs::read(to.join("f/a")).unwrap(), b"abcd\0\0\0\0\0\0");
        assert_eq!(fs::read(to.join(LABEL)).unwrap(), b"{}\n");
        assert_eq!(fs::read(data.join("f/a")).unwrap(), b"abcdef");
        assert!(matches!(Target::begin(&to), Err(StoreError::Refused { .. })));
        assert!(to.join(LABEL).exists());
    }
}
