//! One process a data directory. Part of `store`.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

use crate::store::error::StoreError;

/// Name of the lock file in the data directory.
const LOCK_FILE: &str = "rialto.lock";

/// Held as long as the data directory is served; the operating system releases it with the process.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

/// Takes the data directory for this process, creating it when missing.
///
/// # Errors
/// [`StoreError::Locked`] when another process holds it, [`StoreError::Io`] when it cannot be written.
pub fn lock_dir(dir: &Path) -> Result<DirLock, StoreError> {
    create(dir).map_err(StoreError::io(dir, "create the data directory"))?;
    let path = dir.join(LOCK_FILE);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(StoreError::io(&path, "open the lock file"))?;
    match file.try_lock() {
        Ok(()) => Ok(DirLock { _file: file }),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked { file: path }),
        Err(TryLockError::Error(source)) => {
            Err(StoreError::Io { file: path, doing: "lock the data directory", source })
        }
    }
}

/// Keeps others from serving a data directory while it is only looked at; changes nothing in it. Who looks does not
/// keep others from looking.
///
/// # Errors
/// [`StoreError::Locked`] when it is served, [`StoreError::Missing`] when it is no data directory,
/// [`StoreError::Io`].
pub fn lock_to_look(dir: &Path) -> Result<DirLock, StoreError> {
    // A backup that was never started has no lock file, but whoever starts it locks the database as well.
    for name in [LOCK_FILE, "meta.redb"] {
        let path = dir.join(name);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened.map_err(StoreError::io(&path, "open"))?,
        };
        return match file.try_lock_shared() {
            Ok(()) => Ok(DirLock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(StoreError::Locked { file: path }),
            Err(TryLockError::Error(source)) => {
                Err(StoreError::Io { file: path, doing: "lock the data directory", source })
            }
        };
    }
    let expected =
        "a data directory, which has a `rialto.lock` or at least a `meta.redb`".to_owned();
    Err(StoreError::Missing { file: dir.to_owned(), expected })
}

/// Creates `dir` and what is missing above it, and makes each name durable.
fn create(dir: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = dir.ancestors().take_while(|folder| !folder.exists()).collect();
    std::fs::create_dir_all(dir)?;
    for parent in missing.iter().filter_map(|folder| folder.parent()) {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::store::error::StoreError;
    use crate::store::lock::{lock_dir, lock_to_look};

    #[test]
    fn a_directory_is_held_by_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock_dir(dir.path()).unwrap();
        assert!(matches!(lock_dir(dir.path()), Err(StoreError::Locked { .. })));
        assert!(matches!(lock_to_look(dir.path()), Err(StoreError::Locked { .. })));
        drop(held);
        lock_dir(dir.path()).unwrap();
    }

    #[test]
    fn who_looks_keeps_out_who_serves_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(lock_to_look(dir.path()), Err(StoreError::Missing { .. })));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        drop(lock_dir(dir.path()).unwrap());
        let held = lock_to_look(dir.path()).unwrap();
        drop(lock_to_look(dir.path()).unwrap());
        assert!(matches!(lock_dir(dir.path()), Err(StoreError::Locked { .. })));
        drop(held);
        lock_dir(dir.path()).unwrap();
    }
}
