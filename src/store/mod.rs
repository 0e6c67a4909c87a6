//! What survives a restart. Knows bytes, files and tables; what they mean is `broker`'s business.
//!
//! - [`journal`] the write-ahead log of everything durable: one order, one group commit
//! - [`bodies`] checkpointed message bodies, written once, shared by reference
//! - [`scratch`] bodies that no memory is left for, forgotten at a restart
//! - [`partition`] files of the partition logs: record batches byte for byte
//! - [`tables`] checkpointed metadata in redb, one file a table
//! - [`verify`] what is wrong with it, [`backup`] a copy of it
//! - [`codec`] bounded reading and writing of our own formats
//! - [`disk`] the seam to the file system, [`lock`] one process a data directory, [`error`] failures
//!
//! Nothing outside this folder holds a path, a file handle or calls fsync. Every format is drawn in
//! `docs/storage.md`.

pub mod backup;
pub mod bodies;
pub mod codec;
pub mod disk;
pub mod error;
pub mod journal;
pub mod lock;
pub mod partition;
pub mod scratch;
pub mod tables;
pub mod verify;

pub use crate::store::lock::{DirLock, lock_dir, lock_to_look};
