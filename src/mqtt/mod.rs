//! MQTT 3.1.1 and 5.0.
//!
//! - [`codec`] bytes to packets and back; pure
//! - [`connection`] one connection's protocol rules, sans-I/O: bytes in, borrowed events out
//! - [`error`] what a peer did wrong
//! - [`reason`] reason codes of MQTT 5 and their MQTT 3.1.1 counterparts

pub mod codec;
pub mod connection;
pub mod error;
pub mod reason;
