//! Checkpointed metadata in redb. Part of `store`.
//!
//! One file a table; each says its key, its row and their bytes. Keys are byte strings in big endian, so that
//! they sort as their values do, and begin with the shard. Rows begin with a format version; rows that belong to
//! the broker (sessions, pages, sets, retained) are opaque here and carry a version of their own.
//!
//! - [`db`] the database: start-up reads, one value by key, and the one commit that makes a checkpoint current
//! - [`renewed`] its file, and another one after a sync that failed
//! - [`snapshot`] all of it at one moment, for backups
//! - [`meta`] format and checkpoint position
//! - [`sessions`], [`queue_pages`], [`sets`], [`retained`] the broker's own rows; [`page_sums`] what pages come to
//! - [`declared`] queues that clients declare
//! - [`bodies`] body segments, [`body_pages`] who refers to them, [`logs`], [`partitions`] partition logs
//! - [`exchanges`], [`bindings`] the durable topology
//! - [`groups`], [`offsets`] consumer groups
//! - [`view`] many rows by their keys

pub mod bindings;
pub mod bodies;
pub mod body_pages;
pub mod db;
pub mod declared;
pub mod exchanges;
pub mod groups;
pub mod logs;
pub mod meta;
pub mod offsets;
pub mod on_disk;
pub mod page_sums;
pub mod partitions;
pub mod queue_pages;
mod renewed;
pub mod retained;
pub mod sessions;
pub mod sets;
pub mod snapshot;
#[cfg(test)]
mod tests;
pub mod view;

use bytes::Bytes;

use crate::store::codec::CodecError;

/// What a table holds and how it lies in the file.
pub trait Table {
    /// Name in the database.
    const NAME: &'static str;
    /// What a row is found by.
    type Key: std::fmt::Debug;
    /// What is found.
    type Row: Row;

    /// Appends the key's bytes.
    fn encode_key(key: &Self::Key, out: &mut Vec<u8>);
    /// Reads a key; all bytes must be used.
    fn decode_key(bytes: &[u8]) -> Result<Self::Key, CodecError>;
}

/// What is found in a table, and its bytes.
pub trait Row: Sized {
    /// Appends the row's bytes.
    fn encode(&self, out: &mut Vec<u8>);
    /// Reads a row; all bytes must be used.
    fn decode(bytes: &[u8]) -> Result<Self, CodecError>;
}

/// A row that is the broker's own affair.
impl Row for Bytes {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        Ok(Self::copy_from_slice(bytes))
    }
}

/// What a checkpoint changes in one table. Deletes come before puts.
pub struct Changes<T: Table> {
    /// Rows to write, new or not.
    pub puts: Vec<(T::Key, T::Row)>,
    /// Rows to remove; those that are missing are no error.
    pub deletes: Vec<T::Key>,
}

impl<T: Table> Changes<T> {
    /// Writes a row.
    pub fn put(&mut self, key: T::Key, row: T::Row) {
        self.puts.push((key, row));
    }

    /// Removes a row.
    pub fn delete(&mut self, key: T::Key) {
        self.deletes.push(key);
    }
}

impl<T: Table> Default for Changes<T> {
    fn default() -> Self {
        Self { puts: Vec::new(), deletes: Vec::new() }
    }
}

impl<T: Table> std::fmt::Debug for Changes<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} puts, {} deletes", T::NAME, self.puts.len(), self.deletes.len())
    }
}

/// A checkpoint's metadata, made current as one.
#[derive(Debug)]
pub struct CheckpointWrite {
    /// Where replay begins from now on.
    pub checkpoint: meta::CheckpointRow,
    /// Sessions.
    pub sessions: Changes<sessions::Sessions>,
    /// Declared queues.
    pub declared: Changes<declared::Declared>,
    /// Pages of long queues.
    pub queue_pages: Changes<queue_pages::QueuePages>,
    /// What they come to.
    pub page_sums: Changes<page_sums::PageSums>,
    /// Interned destination sets.
    pub sets: Changes<sets::Sets>,
    /// Body segments.
    pub bodies: Changes<bodies::Bodies>,
    /// Pages that refer to them.
    pub body_pages: Changes<body_pages::BodyPages>,
    /// Logs.
    pub logs: Changes<logs::Logs>,
    /// Their partitions.
    pub partitions: Changes<partitions::Partitions>,
    /// Retained messages.
    pub retained: Changes<retained::Retained>,
    /// Durable exchanges.
    pub exchanges: Changes<exchanges::Exchanges>,
    /// Durable bindings.
    pub bindings: Changes<bindings::Bindings>,
    /// Memberships of consumer groups.
    pub groups: Changes<groups::Groups>,
    /// Their committed offsets.
    pub offsets: Changes<offsets::Offsets>,
}

impl CheckpointWrite {
    /// A checkpoint that changes nothing but the position.
    #[must_use]
    pub fn new(checkpoint: meta::CheckpointRow) -> Self {
        Self {
            checkpoint,
            sessions: Changes::default(),
            declared: Changes::default(),
            queue_pages: Changes::default(),
            page_sums: Changes::default(),
            sets: Changes::default(),
            bodies: Changes::default(),
            body_pages: Changes::default(),
            logs: Changes::default(),
            partitions: Changes::default(),
            retained: Changes::default(),
            exchanges: Changes::default(),
            bindings: Changes::default(),
            groups: Changes::default(),
            offsets: Changes::default(),
        }
    }
}

/// Appends a name behind its length as u16. No protocol has longer ones; of one that is, the rest is left out.
fn write_name(name: &str, out: &mut Vec<u8>) {
    let mut length = name.len().min(usize::from(u16::MAX));
    while !name.is_char_boundary(length) {
        length -= 1;
    }
    out.extend_from_slice(&(length as u16).to_be_bytes());
    out.extend_from_slice(name.as_bytes().get(..length).unwrap_or_default());
}

/// Takes big-endian values off a key.
struct KeyReader<'a>(&'a [u8]);

impl<'a> KeyReader<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let Some((taken, rest)) = self.0.split_first_chunk::<N>() else {
            return Err(CodecError::Truncated { at: 0, wanted: N, left: self.0.len() });
        };
        self.0 = rest;
        Ok(*taken)
    }

    fn u16(&mut self) -> Result<u16, CodecError> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, CodecError> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, CodecError> {
        self.array().map(u64::from_be_bytes)
    }

    fn text(&mut self, length: usize) -> Result<&'a str, CodecError> {
        let Some((taken, rest)) = self.0.split_at_checked(length) else {
            return Err(CodecError::Truncated { at: 0, wanted: length, left: self.0.len() });
        };
        self.0 = rest;
        std::str::from_utf8(taken).map_err(|_| CodecError::Utf8 { at: 0 })
    }

    /// A name behind its length.
    fn name(&mut self) -> Result<&'a str, CodecError> {
        let length = self.u16()?;
        self.text(length.into())
    }

    fn finish(self) -> Result<(), CodecError> {
        match self.0.len() {
            0 => Ok(()),
            left => Err(CodecError::Trailing { at: 0, left }),
        }
    }
}
