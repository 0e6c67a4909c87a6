//! The arguments of `queue.…`, from the client. Part of `amqp::codec`.

use crate::amqp::codec::wire::{Reader, WireError};
use crate::model::field_table::FieldTable;

/// `queue.declare`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueDeclare<'a> {
    /// The name; empty for one that the server chooses.
    pub queue: &'a str,
    /// Only ask whether it exists.
    pub passive: bool,
    /// It survives a restart.
    pub durable: bool,
    /// It belongs to this connection and ends with it.
    pub exclusive: bool,
    /// It goes with its last consumer.
    pub auto_delete: bool,
    /// No answer is wanted.
    pub no_wait: bool,
    /// `x-…`.
    pub arguments: FieldTable<'a>,
}

/// `queue.bind`, and `queue.unbind`, which always waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueBind<'a> {
    /// The queue; empty for the one declared last on the channel.
    pub queue: &'a str,
    /// The exchange.
    pub exchange: &'a str,
    /// The binding key.
    pub routing_key: &'a str,
    /// No answer is wanted.
    pub no_wait: bool,
    /// What a headers exchange matches on.
    pub arguments: FieldTable<'a>,
}

/// `queue.purge`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueuePurge<'a> {
    /// The queue; empty for the one declared last on the channel.
    pub queue: &'a str,
    /// No answer is wanted.
    pub no_wait: bool,
}

/// `queue.delete`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueDelete<'a> {
    /// The queue; empty for the one declared last on the channel.
    pub queue: &'a str,
    /// Only without consumers.
    pub if_unused: bool,
    /// Only without messages.
    pub if_empty: bool,
    /// No answer is wanted.
    pub no_wait: bool,
}

impl<'a> QueueDeclare<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        reader.u16()?;
        let queue = reader.short_str()?;
        let flags = reader.flags()?;
        Ok(Self {
            queue,
            passive: flags.at(0),
            durable: flags.at(1),
            exclusive: flags.at(2),
            auto_delete: flags.at(3),
            no_wait: flags.at(4),
            arguments: reader.table()?,
        })
    }
}

impl<'a> QueueBind<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        reader.u16()?;
        Ok(Self {
            queue: reader.short_str()?,
            exchange: reader.short_str()?,
            routing_key: reader.short_str()?,
            no_wait: reader.flags()?.at(0),
            arguments: reader.table()?,
        })
    }

    pub(super) fn read_unbind(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        reader.u16()?;
        Ok(Self {
            queue: reader.short_str()?,
            exchange: reader.short_str()?,
            routing_key: reader.short_str()?,
            no_wait: false,
            arguments: reader.table()?,
        })
    }
}

impl<'a> QueuePurge<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        reader.u16()?;
        Ok(Self { queue: reader.short_str()?, no_wait: reader.flags()?.at(0) })
    }
}

impl<'a> QueueDelete<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        reader.u16()?;
        let queue = reader.short_str()?;
        let flags = reader.flags()?;
        Ok(Self { queue, if_unused: flags.at(0), if_empty: flags.at(1), no_wait: flags.at(2) })
    }
}
