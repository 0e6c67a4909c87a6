//! What goes wrong below the broker, always with the file and place. Part of `store`.

use std::io;
use std::path::{Path, PathBuf};

use crate::store::codec::CodecError;

/// A failure of the storage, never the fault of a peer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error("{}: cannot {doing}: {source}", file.display())]
    Io {
        /// File or folder concerned.
        file: PathBuf,
        /// What was tried, as a verb phrase.
        doing: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// Bytes that cannot have been written by a crash at any instant. Nothing was changed.
    #[error("{}: corrupt at byte {offset}: expected {expected}, found {found}", file.display())]
    Corrupt {
        /// File concerned.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// What had to stand there.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// The file was written by a newer build, or is of a format this build has never known.
    #[error("{}: format version {found}; this build reads versions up to {known}", file.display())]
    Version {
        /// File concerned.
        file: PathBuf,
        /// Version found.
        found: u32,
        /// Newest version this build reads.
        known: u32,
    },
    /// A file, or a part of it, that the checkpoint names is not there.
    #[error("{}: missing: {expected}", file.display())]
    Missing {
        /// File or folder concerned.
        file: PathBuf,
        /// What had to be there.
        expected: String,
    },
    /// Another process serves this data directory.
    #[error("{}: the data directory is in use by another process", file.display())]
    Locked {
        /// The lock file.
        file: PathBuf,
    },
    /// A file that an earlier failed write or sync took out of use.
    #[error("{}: out of use after an earlier failure: {reason}", file.display())]
    Failed {
        /// File or folder concerned.
        file: PathBuf,
        /// The failure that sealed it.
        reason: String,
    },
    /// redb failed.
    #[error("{}: cannot {doing}: {source}", file.display())]
    Table {
        /// The database file.
        file: PathBuf,
        /// What was tried, as a verb phrase.
        doing: &'static str,
        /// redb's answer.
        source: Box<redb::Error>,
    },
    /// A row of a table does not decode.
    #[error("table {table}, key {key}: {source}")]
    Row {
        /// Name of the table.
        table: &'static str,
        /// The row's key, for humans.
        key: String,
        /// What is wrong with it.
        source: CodecError,
    },
    /// An argument the file format cannot hold.
    #[error("{}: {reason}", file.display())]
    Refused {
        /// File or folder concerned.
        file: PathBuf,
        /// The limit that was met.
        reason: String,
    },
}

impl StoreError {
    /// Returns a converter for `map_err` that names file and action.
    pub(crate) fn io(file: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { file: file.to_owned(), doing, source }
    }

    /// Describes bytes that are not what they had to be.
    pub(crate) fn corrupt(
        file: &Path,
        offset: u64,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self::Corrupt {
            file: file.to_owned(),
            offset,
            expected: expected.into(),
            found: found.into(),
        }
    }
}
