//! Whether something is declared again as it was. Part of `broker::exchanges`.
//!
//! As RabbitMQ does it: properties first, then the arguments that its type knows, numbers by value; what no type
//! knows may differ.

use crate::model::field_table::compare::equivalent;
use crate::model::field_table::{FieldTable, FieldValue};

use super::super::declared::settings::QueueSettings;
use super::error::{Entity, TopologyError};
use super::live::ExchangeSettings;

/// The argument that names an alternate exchange.
pub const ALTERNATE: &str = "alternate-exchange";

/// The arguments of a queue that must be the same.
const QUEUE_ARGUMENTS: [&str; 13] = [
    "x-expires",
    "x-message-ttl",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-max-length",
    "x-max-length-bytes",
    "x-max-priority",
    "x-overflow",
    "x-queue-mode",
    "x-queue-version",
    "x-single-active-consumer",
    "x-queue-type",
    "x-queue-master-locator",
];

/// What is compared, for the error.
struct Subject<'a> {
    what: Entity,
    vhost: &'a str,
    name: &'a str,
}

impl Subject<'_> {
    fn differs(&self, field: &str, received: String, current: String) -> TopologyError {
        TopologyError::Inequivalent {
            what: self.what,
            name: self.name.to_owned(),
            vhost: self.vhost.to_owned(),
            field: field.to_owned(),
            received,
            current,
        }
    }

    fn same(&self, field: &str, received: &str, current: &str) -> Result<(), TopologyError> {
        if received == current {
            return Ok(());
        }
        Err(self.differs(field, format!("'{received}'"), format!("'{current}'")))
    }

    fn same_flag(&self, field: &str, received: bool, current: bool) -> Result<(), TopologyError> {
        let text = |flag| if flag { "true" } else { "false" };
        self.same(field, text(received), text(current))
    }

    fn same_argument(
        &self,
        field: &str,
        received: FieldTable<'_>,
        current: FieldTable<'_>,
    ) -> Result<(), TopologyError> {
        let typed = |value: Option<FieldValue<'_>>| match value {
            None => "none".to_owned(),
            Some(value) => format!("the value '{value}' of type '{}'", value.type_name()),
        };
        match (received.get(field), current.get(field)) {
            (None, None) => Ok(()),
            (Some(new), Some(old)) if equivalent(&new, &old) => Ok(()),
            (Some(new), Some(old)) => {
                Err(self.differs(field, format!("'{new}'"), format!("'{old}'")))
            }
            // The type that a queue has when it does not say.
            (Some(kind), None) | (None, Some(kind))
                if field == "x-queue-type" && kind.as_bytes() == Some(b"classic") =>
            {
                Ok(())
            }
            (new, old) => Err(self.differs(field, typed(new), typed(old))),
        }
    }
}

/// Whether the exchange `name` is declared again as it is.
///
/// # Errors
/// [`TopologyError::Inequivalent`] with the first difference.
pub fn exchange(
    vhost: &str,
    name: &str,
    received: &ExchangeSettings,
    current: &ExchangeSettings,
) -> Result<(), TopologyError> {
    let subject = Subject { what: Entity::Exchange, vhost, name };
    subject.same("type", received.kind.name(), current.kind.name())?;
    subject.same_flag("durable", received.durable, current.durable)?;
    subject.same_flag("auto_delete", received.auto_delete, current.auto_delete)?;
    subject.same_flag("internal", received.internal, current.internal)?;
    let tables = (FieldTable::stored(&received.arguments), FieldTable::stored(&current.arguments));
    subject.same_argument(ALTERNATE, tables.0, tables.1)
}

/// Whether the queue `name` is declared again as it is; whose it is was looked at before.
///
/// # Errors
/// [`TopologyError::Inequivalent`] with the first difference.
pub fn queue(
    vhost: &str,
    name: &str,
    (durable, auto_delete, arguments): (bool, bool, &[u8]),
    current: &QueueSettings,
) -> Result<(), TopologyError> {
    let subject = Subject { what: Entity::Queue, vhost, name };
    subject.same_flag("durable", durable, current.durable)?;
    subject.same_flag("auto_delete", auto_delete, current.auto_delete)?;
    let (received, current) = (FieldTable::stored(arguments), FieldTable::stored(&current.table));
    QUEUE_ARGUMENTS.iter().try_for_each(|field| subject.same_argument(field, received, current))
}
