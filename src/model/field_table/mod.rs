//! AMQP field tables as raw bytes: arguments, client properties, headers. Part of `model`; pure.
//!
//! A table is a sequence of `(name, type, value)` in the encoding that RabbitMQ and its clients speak, which
//! is not that of the AMQP 0-9-1 paper (errata 3): `s` is a 16-bit integer, `l` and `L` are both signed.
//! Bytes are checked **once**, whole, where they enter the broker ([`FieldTable::check`]: depth, entries and
//! size bounded, nothing allocated); from then on tables are read lazily out of the bytes they came in and
//! travel byte for byte. Names may repeat, the first counts; order is the sender's.
//!
//! - [`value`] one value, and what it can be asked
//! - `read` one entry or value off the front of raw bytes
//! - [`compare`] when two values are the same: headers exchange, declare arguments
//! - [`display`] a value in the words of RabbitMQ's error texts
//! - [`mod@write`] tables built from nothing

pub mod compare;
pub mod display;
mod read;
pub mod value;
pub mod write;

#[cfg(test)]
pub(crate) mod tests;

use std::fmt;

pub use value::FieldValue;

/// What a table may hold at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Tables and arrays inside each other, the outermost counted.
    pub depth: u8,
    /// Entries and elements in all of them together.
    pub entries: usize,
    /// Bytes of the outermost one, without its length.
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { depth: 32, entries: 16_384, bytes: 131_072 }
    }
}

/// Why bytes are not a table; always the peer's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// An entry or value breaks off where its table or array ends.
    #[error("table breaks off in an entry")]
    Truncated,
    /// A type octet that neither the errata nor RabbitMQ know.
    #[error("unknown field type 0x{0:02x}")]
    UnknownType(u8),
    /// The name of an entry is not UTF-8.
    #[error("field name is not UTF-8")]
    NameNotUtf8,
    /// More than [`Limits::depth`].
    #[error("tables are nested too deeply")]
    TooDeep,
    /// More than [`Limits::entries`].
    #[error("table has too many entries")]
    TooManyEntries,
    /// More than [`Limits::bytes`].
    #[error("table is too long")]
    TooLong,
}

/// The bytes of a table, without the length in front of them.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct FieldTable<'a> {
    bytes: &'a [u8],
}

/// The bytes of an array, without the length in front of them.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct FieldArray<'a> {
    bytes: &'a [u8],
}

impl<'a> FieldTable<'a> {
    /// Checks `bytes` whole, nested tables and arrays included.
    ///
    /// # Errors
    /// See [`TableError`]; takes time in proportion to `bytes` at most, and less when a limit is passed.
    pub fn check(bytes: &'a [u8], limits: Limits) -> Result<Self, TableError> {
        if bytes.len() > limits.bytes {
            return Err(TableError::TooLong);
        }
        let mut entries = limits.entries;
        check_table(bytes, limits.depth, &mut entries)?;
        Ok(Self { bytes })
    }

    /// A table whose bytes were checked when they entered the broker. What was not ends, when read, at the
    /// first fault.
    #[must_use]
    pub fn stored(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The raw bytes.
    #[must_use]
    pub fn as_bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.bytes.is_empty()
    }

    /// The entries in the sender's order.
    #[must_use]
    pub fn iter(self) -> Entries<'a> {
        Entries { rest: self.bytes }
    }

    /// The value of the first entry called `name`.
    #[must_use]
    pub fn get(self, name: &str) -> Option<FieldValue<'a>> {
        self.iter().find_map(|(own, value)| (own == name).then_some(value))
    }

    /// Appends the entries for which `keep` holds to `out`, byte for byte.
    pub fn retain(self, mut keep: impl FnMut(&str, &FieldValue<'a>) -> bool, out: &mut Vec<u8>) {
        let mut entries = self.iter();
        loop {
            let before = entries.rest;
            let Some((name, value)) = entries.next() else { return };
            if keep(name, &value) {
                out.extend_from_slice(
                    before.get(..before.len() - entries.rest.len()).unwrap_or(before),
                );
            }
        }
    }
}

impl<'a> FieldArray<'a> {
    /// The raw bytes.
    #[must_use]
    pub fn as_bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// Whether there is no element.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.bytes.is_empty()
    }

    /// The elements in the sender's order.
    #[must_use]
    pub fn iter(self) -> Elements<'a> {
        Elements { rest: self.bytes }
    }
}

/// See [`FieldTable::iter`].
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Entries<'a> {
    type Item = (&'a str, FieldValue<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        read::entry(&mut self.rest).ok()
    }
}

/// See [`FieldArray::iter`].
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Elements<'a> {
    type Item = FieldValue<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        read::value(&mut self.rest).ok()
    }
}

impl<'a> IntoIterator for FieldTable<'a> {
    type Item = (&'a str, FieldValue<'a>);
    type IntoIter = Entries<'a>;

    fn into_iter(self) -> Entries<'a> {
        self.iter()
    }
}

impl<'a> IntoIterator for FieldArray<'a> {
    type Item = FieldValue<'a>;
    type IntoIter = Elements<'a>;

    fn into_iter(self) -> Elements<'a> {
        self.iter()
    }
}

impl fmt::Debug for FieldTable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&FieldValue::Table(*self), f)
    }
}

impl fmt::Debug for FieldArray<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&FieldValue::Array(*self), f)
    }
}

fn check_table(mut rest: &[u8], depth: u8, entries: &mut usize) -> Result<(), TableError> {
    let depth = depth.checked_sub(1).ok_or(TableError::TooDeep)?;
    while !rest.is_empty() {
        let (_, value) = read::entry(&mut rest)?;
        check_value(value, depth, entries)?;
    }
    Ok(())
}

fn check_value(value: FieldValue<'_>, depth: u8, entries: &mut usize) -> Result<(), TableError> {
    *entries = entries.checked_sub(1).ok_or(TableError::TooManyEntries)?;
    match value {
        FieldValue::Table(table) => check_table(table.bytes, depth, entries),
        FieldValue::Array(FieldArray { bytes: mut rest }) => {
            let depth = depth.checked_sub(1).ok_or(TableError::TooDeep)?;
            while !rest.is_empty() {
                check_value(read::value(&mut rest)?, depth, entries)?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}
