//! Files that a checkpoint names, with the length that counts. Part of `store::disk`.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::store::disk::{Disk, DiskFile};
use crate::store::error::StoreError;

/// A file that is there, at least as long as it must be.
pub(in crate::store) struct Listed {
    pub(in crate::store) file: Arc<dyn DiskFile>,
    pub(in crate::store) path: PathBuf,
    /// What lies behind `valid_len` came after the checkpoint and is to be cut off.
    pub(in crate::store) is_longer: bool,
}

/// Opens the file `name`, of which `valid_len` bytes count; `what` says what it is, for messages.
///
/// # Errors
/// [`StoreError::Missing`] for a missing or short file, [`StoreError::Io`].
pub(in crate::store) fn open_listed(
    disk: &dyn Disk,
    name: &str,
    what: &str,
    valid_len: u64,
) -> Result<Listed, StoreError> {
    let path = disk.path(name);
    let file = disk.open(name).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => StoreError::Missing {
            file: path.clone(),
            expected: format!("a {what} of {valid_len} bytes"),
        },
        _ => StoreError::Io { file: path.clone(), doing: "open", source },
    })?;
    let length = file.length().map_err(StoreError::io(&path, "read the length of"))?;
    if length < valid_len {
        let expected = format!("{valid_len} bytes, but it has {length}");
        return Err(StoreError::Missing { file: path, expected });
    }
    Ok(Listed { file, path, is_longer: length > valid_len })
}
