//! The text of a TOML file and where in it each key stands. Part of `config`, used by every loader of TOML.
//!
//! Deserialisers report byte offsets, checks report keys; a user needs file, line and key. Both directions are
//! answered from a second parse that keeps positions, made only once something is wrong.

use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue};

/// Largest configuration or route file that is read.
pub const FILE_BYTES_MAX: u64 = 4 << 20;

/// A fault in a value, found after parsing. `key` is a path such as `acl[2].filter`; the first rule is `acl[0]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which key.
    pub key: String,
    /// What is wrong with it, and what would be right.
    pub text: String,
}

impl Fault {
    /// A fault of `key`.
    pub fn new(key: impl Into<String>, text: impl Into<String>) -> Self {
        Self { key: key.into(), text: text.into() }
    }
}

/// A fault with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The file, or `None` when the value came from the command line or a default.
    pub file: Option<PathBuf>,
    /// Line in that file, from 1.
    pub line: Option<usize>,
    /// Key path; empty when the fault is no single key's.
    pub key: String,
    /// What is wrong.
    pub text: String,
}

impl fmt::Display for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}:", file.display())?;
            if let Some(line) = self.line {
                write!(f, "{line}:")?;
            }
            f.write_str(" ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.text)
    }
}

/// Why a configuration was refused: one or more faults, a line each. The user's to mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigError {
    /// What was found, in the order of the checks; never empty.
    pub faults: Vec<Located>,
}

impl ConfigError {
    /// One fault of a whole file, such as one that cannot be read.
    pub fn of_file(file: &Path, text: impl Into<String>) -> Self {
        Self::one(Some(file.to_owned()), None, String::new(), text.into())
    }

    /// One fault at a line of a file that is not TOML.
    pub fn at_line(file: &Path, line: usize, text: impl Into<String>) -> Self {
        Self::one(Some(file.to_owned()), Some(line), String::new(), text.into())
    }

    fn one(file: Option<PathBuf>, line: Option<usize>, key: String, text: String) -> Self {
        Self { faults: vec![Located { file, line, key, text }] }
    }
}

/// Reads a small text file, refusing one that is too large to be meant.
///
/// # Errors
/// The file's name and the reason.
pub(crate) fn read_text(file: &Path, bytes_max: u64) -> Result<String, ConfigError> {
    let refuse = |error: io::Error| ConfigError::of_file(file, error.to_string());
    let mut text = String::new();
    fs::File::open(file)
        .map_err(refuse)?
        .take(bytes_max + 1)
        .read_to_string(&mut text)
        .map_err(refuse)?;
    if text.len() as u64 > bytes_max {
        return Err(ConfigError::of_file(file, format!("larger than {bytes_max} bytes")));
    }
    Ok(text)
}

/// A file's text, kept to say where its keys stand.
#[derive(Clone, Debug)]
pub struct Source {
    file: Option<PathBuf>,
    text: String,
}

impl Source {
    /// Reads `file`.
    ///
    /// # Errors
    /// The file cannot be read, is not UTF-8 or exceeds [`FILE_BYTES_MAX`].
    pub fn read(file: &Path) -> Result<Self, ConfigError> {
        Ok(Self { file: Some(file.to_owned()), text: read_text(file, FILE_BYTES_MAX)? })
    }

    /// No file: every fault is then the command line's or a default's.
    #[must_use]
    pub fn empty() -> Self {
        Self { file: None, text: String::new() }
    }

    /// A text under a name, for tests and embedded examples.
    pub fn named(file: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        Self { file: Some(file.into()), text: text.into() }
    }

    /// The file's name, if there is a file.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Deserialises the whole text.
    ///
    /// # Errors
    /// The first fault, with line and key.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        toml::from_str(&self.text).map_err(|error| {
            let start = error.span().map(|span| span.start);
            let line = start.map(|at| self.line_at(at));
            let key = start.and_then(|at| self.key_at(at)).unwrap_or_default();
            let text = error.message().trim().replace('\n', ", ");
            ConfigError::one(self.file.clone(), line, key, text)
        })
    }

    /// Gives each fault its line. A key that is not in the file itself gets the line of the closest table that
    /// is; one that is nowhere in it (a default, the command line) gets none.
    #[must_use]
    pub fn errors(&self, faults: Vec<Fault>) -> ConfigError {
        let located = faults.into_iter().map(|fault| {
            let line = self.line_of(&fault.key);
            Located { file: self.file.clone(), line, key: fault.key, text: fault.text }
        });
        ConfigError { faults: located.collect() }
    }

    fn line_at(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().iter().take(offset);
        1 + before.filter(|byte| **byte == b'\n').count()
    }

    fn line_of(&self, path: &str) -> Option<usize> {
        let document = DeTable::parse(&self.text).ok()?;
        let mut table = document.get_ref();
        let mut line = None;
        for step in path.split('.') {
            let (name, index) = match step.strip_suffix(']').and_then(|step| step.split_once('[')) {
                Some((name, index)) => (name, index.parse::<usize>().ok()),
                None => (step, None),
            };
            let Some((key, mut value)) = table.iter().find(|(key, _)| key.get_ref() == name) else {
                break;
            };
            line = Some(self.line_at(key.span().start));
            if let (DeValue::Array(items), Some(index)) = (value.get_ref(), index) {
                let Some(item) = items.get(index) else { break };
                line = Some(self.line_at(item.span().start));
                value = item;
            }
            let DeValue::Table(inner) = value.get_ref() else { break };
            table = inner;
        }
        line
    }

    fn key_at(&self, offset: usize) -> Option<String> {
        let document = DeTable::parse(&self.text).ok()?;
        deepest(document.get_ref(), offset)
    }
}

/// The path of the innermost key whose name or value spans `offset`. Tables under a `[header]` span only that
/// header, so the search descends into every table whatever its own span.
fn deepest(table: &DeTable<'_>, offset: usize) -> Option<String> {
    table.iter().find_map(|(key, value)| {
        let name = key.get_ref();
        if key.span().contains(&offset) {
            return Some(name.to_string());
        }
        let inner = match value.get_ref() {
            DeValue::Table(inner) => deepest(inner, offset).map(|rest| format!("{name}.{rest}")),
            DeValue::Array(items) => items.iter().enumerate().find_map(|(index, item)| {
                let DeValue::Table(inner) = item.get_ref() else { return None };
                let here = || item.span().contains(&offset).then(|| format!("{name}[{index}]"));
                deepest(inner, offset).map(|rest| format!("{name}[{index}].{rest}")).or_else(here)
            }),
            _ => None,
        };
        inner.or_else(|| value.span().contains(&offset).then(|| name.to_string()))
    })
}
