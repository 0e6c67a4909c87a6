//! The Kafka protocol: clients produce to and fetch from logs as they would from Kafka itself.
//!
//! - [`codec`] the wire formats; pure
//! - [`error_code`] what the broker's errors become

pub mod codec;
pub mod error_code;
