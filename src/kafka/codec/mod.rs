//! Kafka's wire formats, ours and bounded. Pure; part of `kafka`.
//!
//! - [`primitives`] the types that messages are made of
//! - [`api`] which requests are served, at which versions
//! - [`header`] what stands in front of requests and responses
//! - [`messages`] one file per request
//!
//! The record batch, v2, is the log's own format and lives in [`crate::broker::logs::batch`].

pub mod api;
pub mod header;
pub mod messages;
pub mod primitives;

#[cfg(test)]
mod tests;
