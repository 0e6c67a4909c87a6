//! Queues: what holds messages until each is acknowledged.
//!
//! One structure serves MQTT sessions and declared queues. Part of `broker`.
//!
//! - [`entry`] one message's place and state
//! - [`ended`] what is left to do for a queue that is over
//! - [`meter`] memory that bodies take
//! - [`page`] a run of positions, shared with a checkpoint while it is written
//! - [`queue`] positions from head to tail; [`paged`] those whose pages are on disk only

pub mod ended;
pub mod entry;
pub mod meter;
pub mod page;
pub mod paged;
pub mod queue;

#[cfg(test)]
mod tests;
