//! Queues: what holds messages until each is acknowledged.
//!
//! One structure serves MQTT sessions and declared queues. Part of `broker`.
//!
//! - [`entry`] one message's place and state
//! - [`meter`] memory that bodies take
//! - [`page`] a run of positions, shared with a checkpoint while it is written
//! - [`queue`] positions from head to tail

pub mod entry;
pub mod meter;
pub mod page;
pub mod queue;

#[cfg(test)]
mod tests;
