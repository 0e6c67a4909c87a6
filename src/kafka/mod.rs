//! The Kafka protocol: clients produce to and fetch from logs as they would from Kafka itself.
//!
//! - [`codec`] the wire formats; pure
//! - [`connection`] requests cut out of bytes; pure
//! - [`handlers`] what each request does
//! - [`service`] a connection's task; [`outbound`] its answers
//! - [`error_code`] what the broker's errors become

pub mod codec;
pub mod connection;
pub mod error_code;
mod handlers;
mod outbound;
pub mod service;

#[cfg(test)]
mod tests;
