//! The nouns every other module speaks in. Pure: no I/O, no clock, nothing of this crate imported.
//!
//! - [`ids`] newtypes for every identifier
//! - [`qos`] the three delivery promises
//! - [`topic`] MQTT topic names and filters
//! - [`routing_key`] topics as AMQP routing keys and back
//! - [`message`] what is sent, and its property block
//! - [`property`] a property block, read
//! - [`field_table`] AMQP tables: arguments and headers
//! - [`content`] AMQP's property block, read and edited
//! - [`turns`] how a queue spreads messages over its consumers
//! - [`crossing`] what of a message's metadata becomes what in the other world

pub mod content;
pub mod crossing;
pub mod field_table;
pub mod ids;
pub mod message;
pub mod property;
pub mod qos;
pub mod routing_key;
pub mod topic;
pub mod turns;
