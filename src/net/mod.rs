//! Bytes on wires: no protocol, no broker. Imports nothing of this crate.
//!
//! - [`outbound`] the buffer a connection's peers write into, and who flushes it
//! - [`stream`] plain TCP and TLS as one stream
//! - [`tls`] the server's side of TLS from files, replaceable while the broker runs
//! - [`dev_certs`] certificates for the first start, so that TLS works before anybody has thought of it
//! - [`touched`] connections written to and not yet flushed

pub mod dev_certs;
pub mod outbound;
pub mod stream;
pub mod tls;
pub mod touched;
