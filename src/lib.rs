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
//! - [`mqtt`], [`amqp`], [`kafka`] one folder a protocol, of one shape.
//! - [`bridge`] routes between topics, exchanges and logs.
//! - [`admin`] HTTP: metrics and health.
//! - [`config`], [`app`] the configuration bundle and the composition root.
//! - [`cli`] the command line, which starts it.

pub mod admin;
pub mod amqp;
pub mod app;
pub mod auth;
pub mod bridge;
pub mod broker;
pub mod cli;
pub mod config;
pub mod kafka;
pub mod metrics;
pub mod model;
pub mod mqtt;
pub mod net;
pub mod server;
pub mod store;
