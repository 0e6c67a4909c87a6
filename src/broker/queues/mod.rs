//! Queues: what holds messages until each is acknowledged.
//!
//! One structure serves MQTT sessions today and AMQP queues later. Part of `broker`.
//!
//! - [`entry`] one message's place and state
//! - [`page`] a run of positions, shared with a checkpoint while it is written
//! - [`queue`] positions from head to tail

pub mod entry;
pub mod page;
pub mod queue;

#[cfg(test)]
mod tests;
