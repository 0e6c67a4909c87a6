//! Rialto: one broker for MQTT, AMQP 0-9-1 and the Kafka protocol over one durable journal.
//!
//! Read `docs/architecture.md` first. The modules, bottom up; imports point down this list only:
//!
//! - [`model`] the nouns: messages, topics, filters, identifiers. Pure.
//! - [`metrics`] every counter and gauge, resolved once.
//! - [`auth`] principals, passwords, access rules.
//! - [`net`] TCP and TLS as one stream, outbound buffers.
//! - [`server`] listeners, connection loop, timer wheel; knows no protocol.
//! - [`store`] what survives a restart: journal, bodies, partition files, redb tables.
//! - [`broker`] the domain in no protocol's words.
//! - [`mqtt`], [`kafka`] one folder a protocol, of one shape.
//! - [`bridge`] routes between topics, exchanges and logs.
//! - [`admin`] HTTP: metrics and health.
//! - [`config`], [`app`] the configuration bundle and the composition root.

pub mod auth;
pub mod broker;
pub mod kafka;
pub mod model;
pub mod store;
