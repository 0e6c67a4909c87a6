//! Bytes on wires, in no protocol's words. Imports nothing of this crate.
//!
//! - [`tls`] the server's side of TLS from files, replaceable while the broker runs
//! - [`dev_certs`] certificates for the first start, so that TLS works before anybody has thought of it

pub mod dev_certs;
pub mod tls;
