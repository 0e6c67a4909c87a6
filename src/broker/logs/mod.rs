//! Logs: messages kept by offset, log → partitions → segments (design §2, §3).
//!
//! - [`batch`] the format: Kafka's record batch v2, checked, patched, built and read
//! - [`stored`] segments on disk
//! - [`name`] which names a log may have
//! - [`settings`] what can be set on a log
//! - [`producers`] sequences of idempotent producers; [`producer_ids`] their numbers
//! - [`partition`] the state of one partition; [`lookup`] finds offsets by time in it
//! - [`carried`] what of a message a record carries, and under which names; [`released`] the way back
//! - [`files`] the segments beneath a partition, as it sees them; [`frozen`] what checkpoints keep of logs
//! - [`waiters`] who waits for appends; woken once a sync
//! - [`gather`] the routes' messages of one sync, one batch a partition
//! - [`log`] a log and the table of all logs
//! - [`registry`] the logs of a broker: the applied table, names being created, files
//! - [`retention`] how long records stay
//! - [`verbs`] what protocols ask of logs, and the errors they get; [`admin`] what administrators ask
//!
//! Only the applier changes state here, in the journal's order; any thread reads. Nothing here asks a clock.

pub mod admin;
pub mod batch;
pub mod carried;
pub mod files;
pub mod frozen;
pub mod gather;
pub mod log;
pub mod lookup;
pub mod name;
pub mod partition;
pub mod producer_ids;
pub mod producers;
pub mod registry;
pub mod released;
pub mod retention;
pub mod settings;
pub mod stored;
pub mod verbs;
pub mod waiters;

#[cfg(test)]
mod tests;
