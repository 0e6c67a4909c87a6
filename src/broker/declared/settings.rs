//! What a declaration says of a queue. Part of `broker::declared`.

use crate::model::ids::ConnectionId;

use super::arguments::{ArgumentError, Arguments};

/// A queue's declaration; it does not change while the queue lives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueSettings {
    /// Whether the declaration and persistent messages go through the journal. Never with `exclusive`.
    pub durable: bool,
    /// The only connection that may use it; it goes with that connection.
    pub exclusive: Option<ConnectionId>,
    /// Deleted with its last consumer.
    pub auto_delete: bool,
    /// Field table as declared, for equivalence and the journal.
    pub table: Box<[u8]>,
    /// What the table says.
    pub arguments: Arguments,
    /// It belongs to a share group of MQTT: its name is the group's filter, and no exchange leads to it.
    pub share: bool,
}

impl QueueSettings {
    /// Reads the field table `table` (without its length) of a declaration.
    ///
    /// # Errors
    /// An argument that is not supported, or not as it must be.
    pub fn new(
        durable: bool,
        exclusive: Option<ConnectionId>,
        auto_delete: bool,
        table: &[u8],
    ) -> Result<Self, ArgumentError> {
        let arguments = Arguments::parse(table)?;
        let durable = durable && exclusive.is_none();
        let share = false;
        Ok(Self { durable, exclusive, auto_delete, table: table.into(), arguments, share })
    }

    /// The settings of a share group's queue.
    #[must_use]
    pub fn share(durable: bool) -> Self {
        Self { durable, share: true, ..Self::default() }
    }

    /// The settings of a durable queue as journaled. They were checked when it was declared; an argument that this
    /// build does not take means nothing.
    #[must_use]
    pub fn restored(auto_delete: bool, table: &[u8]) -> Self {
        Self::new(true, None, auto_delete, table).unwrap_or_else(|error| {
            tracing::warn!(%error, "an argument of a durable queue is ignored");
            let (table, arguments) = (table.into(), Arguments::default());
            Self { durable: true, exclusive: None, auto_delete, table, arguments, share: false }
        })
    }
}
