//! The arguments of `exchange.…`, from the client. Part of `amqp::codec`.

use crate::amqp::codec::wire::{Reader, WireError};
use crate::model::field_table::FieldTable;

/// `exchange.declare`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExchangeDeclare<'a> {
    /// The name.
    pub exchange: &'a str,
    /// `direct`, `fanout`, `topic`, `headers`.
    pub kind: &'a str,
    /// Only ask whether it exists.
    pub passive: bool,
    /// It survives a restart.
    pub durable: bool,
    /// It goes with its last binding.
    pub auto_delete: bool,
    /// Clients may not publish to it.
    pub internal: bool,
    /// No answer is wanted.
    pub no_wait: bool,
    /// Such as `alternate-exchange`.
    pub arguments: FieldTable<'a>,
}

/// `exchange.delete`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExchangeDelete<'a> {
    /// The name.
    pub exchange: &'a str,
    /// Only without bindings.
    pub if_unused: bool,
    /// No answer is wanted.
    pub no_wait: bool,
}

/// `exchange.bind` and `exchange.unbind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExchangeBind<'a> {
    /// The exchange that gets messages.
    pub destination: &'a str,
    /// The exchange that gives them.
    pub source: &'a str,
    /// The binding key.
    pub routing_key: &'a str,
    /// No answer is wanted.
    pub no_wait: bool,
    /// What a headers exchange matches on.
    pub arguments: FieldTable<'a>,
}

impl<'a> ExchangeDeclare<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        reader.u16()?;
        let (exchange, kind) = (reader.short_str()?, reader.short_str()?);
        let flags = reader.flags()?;
        Ok(Self {
            exchange,
            kind,
            passive: flags.at(0),
            durable: flags.at(1),
            auto_delete: flags.at(2),
            internal: flags.at(3),
            no_wait: flags.at(4),
            arguments: reader.table()?,
        })
    }
}

impl<'a> ExchangeDelete<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        reader.u16()?;
        let exchange = reader.short_str()?;
        let flags = reader.flags()?;
        Ok(Self { exchange, if_unused: flags.at(0), no_wait: flags.at(1) })
    }
}

impl<'a> ExchangeBind<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        reader.u16()?;
        Ok(Self {
            destination: reader.short_str()?,
            source: reader.short_str()?,
            routing_key: reader.short_str()?,
            no_wait: reader.flags()?.at(0),
            arguments: reader.table()?,
        })
    }
}
