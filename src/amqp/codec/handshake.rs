//! The arguments of the methods that open and close connections and channels, from the client. Part of
//! `amqp::codec`.

use std::fmt::{self, Debug, Formatter};

use crate::amqp::codec::method_id::MethodId;
use crate::amqp::codec::wire::{Reader, WireError};
use crate::model::field_table::FieldTable;

/// Bytes that hold a password or token: no log shows them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret<'a>(pub &'a [u8]);

impl Debug for Secret<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} secret bytes", self.0.len())
    }
}

/// `connection.start-ok`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartOk<'a> {
    /// Product, version, capabilities, as the client says them.
    pub client_properties: FieldTable<'a>,
    /// The SASL mechanism.
    pub mechanism: &'a str,
    /// Its first response.
    pub response: Secret<'a>,
    /// The language of texts.
    pub locale: &'a str,
}

/// `connection.tune-ok`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TuneOk {
    /// Channels that may be open at the same time.
    pub channels_max: u16,
    /// The longest frame in bytes, with its head and end.
    pub frame_bytes_max: u32,
    /// Seconds between heartbeats; 0 for none.
    pub heartbeat_s: u16,
}

/// `connection.update-secret`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpdateSecret<'a> {
    /// The new token or password.
    pub new_secret: Secret<'a>,
    /// Why, for the log.
    pub reason: &'a str,
}

/// `connection.close` and `channel.close`, as a peer says them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close<'a> {
    /// Why, as a number; 200 when nothing is wrong.
    pub code: u16,
    /// Why, in words.
    pub text: &'a str,
    /// The method that was wrong, if one was.
    pub method: MethodId,
}

impl<'a> StartOk<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self {
            client_properties: reader.table()?,
            mechanism: reader.short_str()?,
            response: Secret(reader.long_bytes()?),
            locale: reader.short_str()?,
        })
    }
}

impl TuneOk {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            channels_max: reader.u16()?,
            frame_bytes_max: reader.u32()?,
            heartbeat_s: reader.u16()?,
        })
    }
}

impl<'a> UpdateSecret<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self { new_secret: Secret(reader.long_bytes()?), reason: reader.short_str()? })
    }
}

impl<'a> Close<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self {
            code: reader.u16()?,
            text: reader.short_str()?,
            method: MethodId { class: reader.u16()?, method: reader.u16()? },
        })
    }
}

/// The virtual host of `connection.open`; two fields that no longer mean anything follow it.
pub(super) fn read_open<'a>(reader: &mut Reader<'a>) -> Result<&'a str, WireError> {
    let virtual_host = reader.short_str()?;
    reader.short_str()?;
    reader.flags()?;
    Ok(virtual_host)
}
