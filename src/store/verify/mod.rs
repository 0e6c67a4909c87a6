//! What is wrong with a data directory, without changing a byte of it. Part of `store`.
//!
//! Each kind of file is checked where its format is known: [`bodies::check`](crate::store::bodies::check),
//! [`partition::check`](crate::store::partition::check), [`journal`], [`tables`]. What they find goes to an
//! [`Inspector`]; [`references`] compares what queues refer to with what there is, [`pages`] what is kept beside their
//! pages with what these say.

pub mod journal;
pub mod pages;
pub mod references;
pub mod tables;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::store::codec::CodecError;
use crate::store::error::StoreError;

/// Something that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// File, or table and key.
    pub file: String,
    /// Where in the file.
    pub offset: Option<u64>,
    /// What had to be there.
    pub expected: String,
    /// What is.
    pub found: String,
    /// Not damage: a newer build wrote it.
    pub is_newer: bool,
}

impl Fault {
    /// A fault at a place of a file.
    #[must_use]
    pub fn at(
        file: String,
        offset: u64,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self { offset: Some(offset), ..Self::of(file, expected, found) }
    }

    /// A fault of something as a whole.
    #[must_use]
    pub fn of(file: String, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { file, offset: None, expected: expected.into(), found: found.into(), is_newer: false }
    }

    /// A row that does not decode.
    #[must_use]
    pub fn row(table: &str, key: &str, error: &CodecError) -> Self {
        let place = format!("table {table}, key {key}");
        let is_newer = matches!(error, CodecError::Version { .. });
        Self { is_newer, ..Self::of(place, "a row of a known format", error.to_string()) }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file)?;
        if let Some(offset) = self.offset {
            write!(f, "byte {offset}: ")?;
        }
        write!(f, "expected {}, found {}", self.expected, self.found)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Corrupt { file, offset, expected, found } => {
                Self::at(file.display().to_string(), offset, expected, found)
            }
            StoreError::Version { file, found, known } => Self {
                is_newer: true,
                ..Self::of(
                    file.display().to_string(),
                    format!("a format version up to {known}"),
                    format!("version {found}"),
                )
            },
            StoreError::Missing { file, expected } => {
                Self::of(file.display().to_string(), expected, "less")
            }
            StoreError::Row { table, key, source } => Self::row(table, &key, &source),
            StoreError::Table { file, source, .. } => {
                Self::of(file.display().to_string(), "a whole database", source.to_string())
            }
            StoreError::Io { file, doing, source } => {
                let expected = format!("to {doing} it");
                Self::of(file.display().to_string(), expected, source.to_string())
            }
            other => Self::of("data directory".to_owned(), "no error", other.to_string()),
        }
    }
}

/// Is told what is found and how far it has come.
pub trait Inspector {
    /// Something is wrong.
    fn fault(&mut self, fault: Fault);
    /// Something is worth knowing and will be put right by itself.
    fn note(&mut self, text: String);
    /// So many bytes more were read.
    fn read(&mut self, bytes: u64);
}
