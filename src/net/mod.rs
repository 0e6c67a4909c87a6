//! Bytes on wires: no protocol, no broker.
//!
//! - [`outbound`] the buffer a connection's peers write into, and who flushes it
//! - [`stream`] plain TCP and TLS as one stream
//! - [`tls`] certificates and rustls set-up
//! - [`touched`] connections written to and not yet flushed

pub mod outbound;
pub mod stream;
pub mod touched;
