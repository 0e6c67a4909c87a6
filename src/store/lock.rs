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
    use crate::store::lock::lock_dir;

    #[test]
    fn a_directory_is_held_by_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock_dir(dir.path()).unwrap();
        assert!(matches!(lock_dir(dir.path()), Err(StoreError::Locked { .. })));
        drop(held);
        lock_dir(dir.path()).unwrap();
    }
}
