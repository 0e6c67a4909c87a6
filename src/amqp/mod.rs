//! AMQP 0-9-1 as RabbitMQ's clients speak it: exchanges, queues, consumers, confirms.
//!
//! - [`codec`] the wire formats; pure
//! - [`connection`] one connection's protocol rules over bytes; pure
//! - [`error`] reply codes and what a peer is told; [`octets`] bytes as RabbitMQ's error texts show them
//! - [`service`] a connection as the server drives it; [`client`] what its methods mean to the broker
//! - [`link`] what other threads hold of a connection; [`consumer`] its consumers as queues see them
//! - [`ledger`] deliveries that are out, and credit; [`confirms`] publishes to be confirmed; [`owing`] what waits
//!   for a record; [`heart`] heartbeats
//! - [`greeting`], [`login`] who we are and who the client is
//! - [`outgoing`], [`prepared`] messages to and from clients; [`refusal`] the broker's errors as reply codes

pub mod client;
pub mod codec;
pub mod confirms;
pub mod connection;
pub mod consumer;
pub mod error;
pub mod greeting;
pub mod heart;
pub mod ledger;
pub mod link;
pub mod login;
pub mod octets;
pub mod outgoing;
pub mod owing;
pub mod prepared;
pub mod refusal;
pub mod service;
