//! The content header (AMQP 4.2.6.1): class, weight, body size, property block. Part of `amqp::codec`.
//!
//! The property block, flags and fields, is kept as it came: it is stored so and sent so to consumers. Only its
//! outline is checked here, so that whoever reads it later meets no block that ends within a field.

use thiserror::Error;

use crate::amqp::codec::method_id::CLASS_BASIC;
use crate::amqp::codec::wire::{Reader, WireError};

/// What stands in front of the property block.
pub const HEADER_BYTES: usize = 12;

/// A property block without properties.
pub const NO_PROPERTIES: [u8; 2] = [0, 0];

/// The lowest bit of the flags: more flags follow. No property of the basic class needs it.
const CONTINUED: u16 = 1;
/// The bit below the last property's, which means nothing.
const UNUSED: u16 = 2;

/// A content header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentHeader<'a> {
    /// The class of the method it belongs to.
    pub class: u16,
    /// Always 0.
    pub weight: u16,
    /// How many bytes the body frames will bring.
    pub body_bytes: u64,
    /// Flags and fields.
    pub properties: &'a [u8],
}

/// A property block that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PropertiesError {
    /// It ends within a field, or goes on behind the last one.
    #[error("content properties are truncated or too long")]
    Length,
    /// Its flags name properties that do not exist.
    #[error("content property flags are continued or undefined")]
    Flags,
}

impl From<WireError> for PropertiesError {
    fn from(_: WireError) -> Self {
        Self::Length
    }
}

impl<'a> ContentHeader<'a> {
    /// Reads the payload of a header frame; `None` where it is too short for one.
    #[must_use]
    #[inline]
    pub fn read(payload: &'a [u8]) -> Option<Self> {
        let (head, properties) = payload.split_first_chunk::<HEADER_BYTES>()?;
        let [c0, c1, w0, w1, size @ ..] = *head;
        Some(Self {
            class: u16::from_be_bytes([c0, c1]),
            weight: u16::from_be_bytes([w0, w1]),
            body_bytes: u64::from_be_bytes(size),
            properties,
        })
    }

    /// Whether it is one of a message.
    #[must_use]
    #[inline]
    pub const fn is_basic(&self) -> bool {
        self.class == CLASS_BASIC && self.weight == 0
    }
}

/// How a property is laid out.
#[derive(Clone, Copy)]
enum Field {
    ShortString,
    Table,
    Octet,
    Timestamp,
}

/// The properties in the order of their flags, from bit 15 down: content-type, content-encoding, headers,
/// delivery-mode, priority, correlation-id, reply-to, expiration, message-id, timestamp, type, user-id, app-id,
/// cluster-id.
const FIELDS: [Field; 14] = [
    Field::ShortString,
    Field::ShortString,
    Field::Table,
    Field::Octet,
    Field::Octet,
    Field::ShortString,
    Field::ShortString,
    Field::ShortString,
    Field::ShortString,
    Field::Timestamp,
    Field::ShortString,
    Field::ShortString,
    Field::ShortString,
    Field::ShortString,
];

/// Checks the outline of a property block: every field that its flags name is there, and nothing else. What is
/// inside a table is not looked at.
///
/// # Errors
/// It is not so.
#[inline]
pub fn check_properties(block: &[u8]) -> Result<(), PropertiesError> {
    let mut reader = Reader::new(block);
    let flags = reader.u16()?;
    if flags & (CONTINUED | UNUSED) != 0 {
        return Err(PropertiesError::Flags);
    }
    let mut left = flags;
    while left != 0 {
        let index = left.leading_zeros();
        left &= !(0x8000 >> index);
        match FIELDS.get(index as usize) {
            Some(Field::ShortString) => reader.short_bytes()?,
            Some(Field::Table) => reader.long_bytes()?,
            Some(Field::Octet) => reader.bytes(1)?,
            Some(Field::Timestamp) => reader.bytes(8)?,
            None => return Err(PropertiesError::Flags),
        };
    }
    reader.end()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{ContentHeader, NO_PROPERTIES, PropertiesError, check_properties};

    #[test]
    fn a_header_is_read() {
        let bytes = [0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0x10, 0, 2];
        let header = ContentHeader::read(&bytes).unwrap();
        assert!(header.is_basic());
        assert_eq!((header.body_bytes, header.properties), (258, &[0x10, 0, 2][..]));
        assert_eq!(ContentHeader::read(&bytes[..11]), None);
    }

    #[test]
    fn a_property_block_has_what_its_flags_name() {
        assert_eq!(check_properties(&NO_PROPERTIES), Ok(()));
        // Content type, headers, delivery mode, timestamp.
        let block =
            [&[0b1011_0000, 0b0100_0000, 1, b'x', 0, 0, 0, 3, 1, b'a', b'V', 2][..], &[0; 8]]
                .concat();
        assert_eq!(check_properties(&block), Ok(()));
        for end in 0..block.len() {
            assert_eq!(check_properties(&block[..end]), Err(PropertiesError::Length));
        }
        assert_eq!(check_properties(&[0, 0, 0]), Err(PropertiesError::Length));
    }

    #[test]
    fn flags_of_no_property_are_refused() {
        assert_eq!(check_properties(&[0, 1, 0, 0]), Err(PropertiesError::Flags));
        assert_eq!(check_properties(&[0, 2]), Err(PropertiesError::Flags));
    }
}
