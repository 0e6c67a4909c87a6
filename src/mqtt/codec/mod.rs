//! MQTT control packets: bytes to values and back. Pure, and strict: what the specification forbids is an
//! error with the reason code it asks for. Input never panics.
//!
//! - [`fixed_header`] finds one packet in a stream
//! - [`wire`] integers, strings and binary data
//! - [`properties`] the properties of MQTT 5: which, where, how often
//! - [`publish`] the hot packet, parsed in place; [`ack`] PUBACK, PUBREC, PUBREL, PUBCOMP
//! - [`connect`] CONNECT; [`connack`] its answer
//! - [`subscribe`] SUBSCRIBE and UNSUBSCRIBE; [`suback`] their answers
//! - [`session_end`] DISCONNECT; [`auth`] AUTH
//! - `v4`, `v5` the crate `mqttbytes`, named in these two files only

pub mod ack;
pub mod auth;
pub mod connack;
pub mod connect;
pub mod fixed_header;
pub mod properties;
pub mod publish;
pub mod session_end;
pub mod suback;
pub mod subscribe;
#[cfg(test)]
mod tests;
mod v4;
mod v5;
pub mod wire;

/// The protocol a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// MQTT 3.1.1, protocol level 4.
    V311,
    /// MQTT 5.0, protocol level 5.
    V5,
}

/// The answer to PINGREQ, whole.
pub const PINGRESP: [u8; 2] = [0xD0, 0];
