//! The property block of a message, read (the encoding: `model::message`, MQTT5-2.2.2). Part of `model`; pure.

use crate::model::message::PropertyId;

/// One property, borrowed from the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Property<'a> {
    /// Whether the payload says it is UTF-8.
    PayloadFormat(bool),
    /// What the payload is.
    ContentType(&'a str),
    /// Where an answer is expected.
    ResponseTopic(&'a str),
    /// What the answer must carry.
    CorrelationData(&'a [u8]),
    /// A name and a value of the publisher's own.
    User(&'a str, &'a str),
}

/// The properties of `block` in their order. Blocks are checked where they enter the broker; one that breaks
/// off or holds an identifier unknown here ends at that place.
pub fn properties(block: &[u8]) -> impl Iterator<Item = Property<'_>> {
    let mut rest = block;
    std::iter::from_fn(move || next(&mut rest))
}

/// The first user property called `name`.
#[must_use]
pub fn user_property<'a>(block: &'a [u8], name: &str) -> Option<&'a str> {
    properties(block).find_map(|property| match property {
        Property::User(own, value) if own == name => Some(value),
        Property::User(..)
        | Property::PayloadFormat(_)
        | Property::ContentType(_)
        | Property::ResponseTopic(_)
        | Property::CorrelationData(_) => None,
    })
}

fn next<'a>(rest: &mut &'a [u8]) -> Option<Property<'a>> {
    const PAYLOAD_FORMAT: u8 = PropertyId::PayloadFormat as u8;
    const CONTENT_TYPE: u8 = PropertyId::ContentType as u8;
    const RESPONSE_TOPIC: u8 = PropertyId::ResponseTopic as u8;
    const CORRELATION_DATA: u8 = PropertyId::CorrelationData as u8;
    const USER: u8 = PropertyId::UserProperty as u8;
    Some(match take(rest, 1)?.first()? {
        &PAYLOAD_FORMAT => Property::PayloadFormat(take(rest, 1)? == [1]),
        &CONTENT_TYPE => Property::ContentType(text(rest)?),
        &RESPONSE_TOPIC => Property::ResponseTopic(text(rest)?),
        &CORRELATION_DATA => Property::CorrelationData(binary(rest)?),
        &USER => Property::User(text(rest)?, text(rest)?),
        _ => return None,
    })
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(count)?;
    *rest = left;
    Some(taken)
}

fn binary<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = take(rest, 2)?.first_chunk::<2>()?;
    take(rest, u16::from_be_bytes(*length).into())
}

fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(binary(rest)?).ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::{Property, properties, user_property};

    /// A block of these properties.
    pub(crate) fn block(properties: &[Property<'_>]) -> Vec<u8> {
        let mut out = Vec::new();
        let field = |out: &mut Vec<u8>, bytes: &[u8]| {
            out.extend(u16::try_from(bytes.len()).unwrap().to_be_bytes());
            out.extend(bytes);
        };
        for property in properties {
            match property {
                Property::PayloadFormat(utf8) => out.extend([0x01, u8::from(*utf8)]),
                Property::ContentType(value) => {
                    out.push(0x03);
                    field(&mut out, value.as_bytes());
                }
                Property::ResponseTopic(value) => {
                    out.push(0x08);
                    field(&mut out, value.as_bytes());
                }
                Property::CorrelationData(value) => {
                    out.push(0x09);
                    field(&mut out, value);
                }
                Property::User(name, value) => {
                    out.push(0x26);
                    field(&mut out, name.as_bytes());
                    field(&mut out, value.as_bytes());
                }
            }
        }
        out
    }

    #[test]
    fn a_block_is_read_in_its_order_with_duplicates() {
        let all = [
            Property::User("a", "1"),
            Property::PayloadFormat(true),
            Property::ContentType("text/plain"),
            Property::User("a", "2"),
            Property::ResponseTopic("r"),
            Property::CorrelationData(&[0, 255]),
            Property::User("", ""),
        ];
        let block = block(&all);
        assert_eq!(properties(&block).collect::<Vec<_>>(), all);
        assert_eq!((user_property(&block, "a"), user_property(&block, "b")), (Some("1"), None));
    }

    proptest! {
        #[test]
        fn broken_blocks_end_and_never_panic(block in prop::collection::vec(any::<u8>(), 0..64)) {
            prop_assert!(properties(&block).count() <= block.len());
        }
    }
}
