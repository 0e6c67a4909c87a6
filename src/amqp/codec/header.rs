//! The content header (AMQP 4.2.6.1): class, weight, body size, property block. Part of `amqp::codec`.
//!
//! The property block, flags and fields, is cut out as it came: `model::content` reads it.

use crate::amqp::codec::method_id::CLASS_BASIC;

/// What stands in front of the property block.
pub const HEADER_BYTES: usize = 12;

/// A property block without properties.
pub const NO_PROPERTIES: [u8; 2] = [0, 0];

/// A content header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentHeader<'a> {
    /// The class of the method it belongs to.
    pub class: u16,
    /// Always 0.
    pub weight: u16,
    /// How many bytes the body frames will bring.
    pub body_bytes: u64,
    /// Flags and fields, unchecked.
    pub properties: &'a [u8],
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

#[cfg(test)]
mod tests {
    use super::ContentHeader;

    #[test]
    fn a_header_is_read() {
        let bytes = [0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0x10, 0, 2];
        let header = ContentHeader::read(&bytes).unwrap();
        assert!(header.is_basic());
        assert_eq!((header.body_bytes, header.properties), (258, &[0x10, 0, 2][..]));
        assert_eq!(ContentHeader::read(&bytes[..11]), None);
    }
}
