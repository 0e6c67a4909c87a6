//! The Kafka protocol: clients produce to and fetch from logs as they would from Kafka itself.
//!
//! - [`codec`] the wire formats; pure
//! - [`connection`] requests cut out of bytes; pure
//! - [`handlers`] what each request does
//! - [`service`] a connection's task; [`outbound`] its answers; [`shared`] what it shares with others, of which
//!   [`budget`] is memory
//! - [`error_code`] what the broker's errors become

pub mod budget;
pub mod codec;
pub mod connection;
pub mod error_code;
mod handlers;
mod outbound;
pub mod service;
pub mod shared;

#[cfg(test)]
mod tests;
