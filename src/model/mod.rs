//! The nouns every other module speaks in. Pure: no I/O, no clock, nothing of this crate imported.
//!
//! - [`ids`] newtypes for every identifier
//! - [`qos`] the three delivery promises
//! - [`topic`] MQTT topic names and filters
//! - [`message`] what is sent, and its property block
//! - [`property`] a property block, read

pub mod ids;
pub mod message;
pub mod property;
pub mod qos;
pub mod topic;
