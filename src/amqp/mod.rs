//! AMQP 0-9-1 as RabbitMQ's clients speak it: exchanges, queues, consumers, confirms.
//!
//! - [`codec`] the wire formats; pure
//! - [`connection`] one connection's protocol rules over bytes; pure
//! - [`error`] reply codes and what a peer is told
//! - [`octets`] bytes as RabbitMQ's error texts show them

pub mod codec;
pub mod connection;
pub mod error;
pub mod octets;
