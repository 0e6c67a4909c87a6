//! MQTT 3.1.1 and 5.0.
//!
//! - [`codec`] bytes to packets and back; pure
//! - [`connection`] one connection's protocol rules, sans-I/O: bytes in, borrowed events out
//! - `inbound` how much a client may send, `goodbye` how it is refused or disconnected: parts of [`connection`]
//! - [`error`] what a peer did wrong
//! - [`reason`] reason codes of MQTT 5 and their MQTT 3.1.1 counterparts
//! - [`service`] a connection as the server drives it; [`client`] what its packets mean to the broker
//! - [`sys`] what the broker says of itself under `$SYS`
//! - `play` clients that do anything against a whole broker, for tests and fuzzing
//! - [`link`] the broker's handle on a connection; [`replies`] answers in order
//! - [`aliases`] topic aliases towards a client; [`explanation`] reason strings

pub mod aliases;
pub mod client;
pub mod codec;
pub mod connection;
pub mod error;
pub mod explanation;
mod goodbye;
mod inbound;
pub mod link;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod play;
pub mod reason;
pub mod replies;
pub mod service;
pub mod sys;
