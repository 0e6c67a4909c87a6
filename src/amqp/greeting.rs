//! What the broker says about itself in `connection.start`, and what it hears from the client in return. Part of
//! `amqp`; pure.

use crate::config::amqp::AmqpSection;
use crate::model::field_table::write::{TableWriter, WriteError};
use crate::model::field_table::{FieldTable, FieldValue, Limits, TableError};

/// What this broker does beyond AMQP 0-9-1: true, all of it.
const CAPABILITIES: [&str; 9] = [
    "publisher_confirms",
    "exchange_exchange_bindings",
    "basic.nack",
    "consumer_cancel_notify",
    "connection.blocked",
    "consumer_priorities",
    "authentication_failure_close",
    "per_consumer_qos",
    "direct_reply_to",
];

/// Bounds of client properties, which come before anybody is authenticated.
const CLIENT_LIMITS: Limits = Limits { depth: 8, entries: 256, bytes: 8192 };

/// The server properties, a field table without its length.
#[must_use]
pub fn server_properties(config: &AmqpSection, cluster_name: &str) -> Vec<u8> {
    let version =
        if config.version.is_empty() { env!("CARGO_PKG_VERSION") } else { &config.version };
    let mut out = Vec::with_capacity(512);
    let mut table = TableWriter::new(&mut out);
    let mut write = || -> Result<(), WriteError> {
        table.table("capabilities", |table| {
            CAPABILITIES.iter().try_for_each(|name| table.put(name, FieldValue::Bool(true)))
        })?;
        table.string("cluster_name", cluster_name)?;
        table.string("copyright", "Copyright (c) the authors of Rialto")?;
        table.string("information", "Licensed under the Apache License, Version 2.0")?;
        table.string("platform", concat!("Rust, ", env!("CARGO_PKG_NAME")))?;
        table.string("product", &config.product)?;
        table.string("version", version)
    };
    // Names and values are short: the configuration's were checked.
    write().unwrap_or_default();
    out
}

/// What a client can take and is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientTraits {
    /// `basic.cancel` from the server when a queue is gone.
    pub consumer_cancel_notify: bool,
    /// `connection.blocked` and `connection.unblocked`.
    pub blocked: bool,
    /// `connection.close` after a failed login.
    pub authentication_failure_close: bool,
    /// It changes the prefetch of running consumers by `basic.qos` without `global`, as the specification has it
    /// and RabbitMQ has not: py-amqp, towards any product but RabbitMQ.
    pub paper_qos: bool,
}

impl ClientTraits {
    /// Reads client properties.
    ///
    /// # Errors
    /// They are no table within bounds.
    pub fn read(properties: &[u8]) -> Result<Self, TableError> {
        let table = FieldTable::check(properties, CLIENT_LIMITS)?;
        let capabilities = table.get("capabilities").and_then(|value| value.as_table());
        let can =
            |name| capabilities.and_then(|table| table.get(name)?.as_bool()).unwrap_or_default();
        let product = table.get("product").and_then(|value| value.as_str());
        Ok(Self {
            consumer_cancel_notify: can("consumer_cancel_notify"),
            blocked: can("connection.blocked"),
            authentication_failure_close: can("authentication_failure_close"),
            paper_qos: product == Some("py-amqp"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{CAPABILITIES, ClientTraits, server_properties};
    use crate::config::amqp::AmqpSection;
    use crate::model::field_table::write::TableWriter;
    use crate::model::field_table::{FieldTable, FieldValue, Limits};

    #[test]
    fn the_announced_product_is_the_operators_to_choose() {
        let mut config = AmqpSection::default();
        let bytes = server_properties(&config, "c");
        let table = FieldTable::check(&bytes, Limits::default()).unwrap();
        let text = |name| table.get(name).and_then(|value| value.as_str());
        assert_eq!(text("product"), Some("Rialto"));
        assert_eq!(text("version"), Some(env!("CARGO_PKG_VERSION")));
        let capabilities = table.get("capabilities").unwrap().as_table().unwrap();
        assert_eq!(capabilities.iter().count(), CAPABILITIES.len());
        config.product = "RabbitMQ".to_owned();
        config.version = "3.13.7".to_owned();
        let bytes = server_properties(&config, "c");
        let table = FieldTable::check(&bytes, Limits::default()).unwrap();
        assert_eq!(table.get("version").unwrap().as_str(), Some("3.13.7"));
    }

    #[test]
    fn a_clients_traits_are_read_and_bounded() {
        let mut bytes = Vec::new();
        let mut table = TableWriter::new(&mut bytes);
        table.string("product", "py-amqp").unwrap();
        let capable = |table: &mut TableWriter<'_>| {
            table.put("connection.blocked", FieldValue::Bool(true))?;
            table.put("consumer_cancel_notify", FieldValue::Bool(false))
        };
        table.table("capabilities", capable).unwrap();
        let traits = ClientTraits::read(&bytes).unwrap();
        assert!(traits.blocked && traits.paper_qos && !traits.consumer_cancel_notify);
        assert_eq!(ClientTraits::read(b"").unwrap(), ClientTraits::default());
        assert!(ClientTraits::read(&[0; 9000]).is_err());
    }
}
