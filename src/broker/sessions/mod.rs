//! Sessions: who subscribes, what waits for them, and what their connection is doing.
//!
//! - [`subscription`] one subscription's options
//! - [`session`] a session: durable state, queue, window, link to its connection
//! - [`deliver`] synchronous delivery of what is not durable
//! - [`pull`] what a connection's task takes from its queue
//! - `trim` what goes of a session that holds too much
//! - [`row`] the durable part as a checkpoint keeps it
//! - [`registry`] all sessions, by key and by id

pub mod deliver;
pub mod pull;
pub mod registry;
pub mod row;
pub mod session;
pub mod subscription;
mod trim;

#[cfg(test)]
mod tests;
