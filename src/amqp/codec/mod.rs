//! AMQP 0-9-1 on the wire: frames and methods to values and back. Pure; input never panics and reserves nothing
//! for a length it announces.
//!
//! - [`wire`] integers, strings, flags, tables
//! - [`frame`] finds one frame in a stream
//! - [`method_id`] class and method numbers
//! - [`method`] which method a client sent; its arguments in [`handshake`], [`exchange`], [`queue`], [`basic`]
//! - [`header`] the content header
//! - [`reply`] what a server sends without a body
//! - [`content`] what it sends with one: deliveries, returned messages

pub mod basic;
pub mod content;
pub mod exchange;
pub mod frame;
pub mod handshake;
pub mod header;
pub mod method;
pub mod method_id;
pub mod queue;
pub mod reply;
#[cfg(test)]
mod tests;
pub mod wire;

/// What a client of this protocol sends first (AMQP 4.2.2), and what one that speaks another is answered.
pub const PROTOCOL_HEADER: [u8; 8] = *b"AMQP\x00\x00\x09\x01";

/// The header of AMQP 0-9, which differs from 0-9-1 in nothing that matters; RabbitMQ takes it, too.
pub const PROTOCOL_HEADER_0_9: [u8; 8] = *b"AMQP\x01\x01\x00\x09";
