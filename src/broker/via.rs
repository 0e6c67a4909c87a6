//! The address a message is delivered under where a route changed it. Part of `broker`.
//!
//! Without one, a message published to a topic appears behind exchanges as `amq.topic` with the mapped key,
//! and a message published to an exchange appears in the topic tree under the mapped routing key (design §4).

use crate::store::codec::{CodecError, Reader, Writer};

/// An address that takes the place of the message's own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Via {
    /// An exchange and a routing key.
    Exchange {
        /// Name of the exchange.
        exchange: Box<str>,
        /// Routing key.
        key: Box<str>,
    },
    /// A topic name.
    Topic(Box<str>),
}

impl Via {
    /// Bytes of memory that it takes, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let names = match self {
            Self::Exchange { exchange, key } => exchange.len() + key.len(),
            Self::Topic(topic) => topic.len(),
        };
        16 + size_of::<Self>() + names
    }

    /// Appends the address.
    pub fn encode(&self, w: &mut Writer<'_>) {
        match self {
            Self::Exchange { exchange, key } => {
                w.u8(1);
                w.str(exchange);
                w.str(key);
            }
            Self::Topic(topic) => {
                w.u8(2);
                w.str(topic);
            }
        }
    }

    /// Reads an address.
    ///
    /// # Errors
    /// [`CodecError`] naming what does not fit.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, CodecError> {
        let at = r.position();
        match r.u8()? {
            1 => Ok(Self::Exchange { exchange: r.str()?.into(), key: r.str()?.into() }),
            2 => Ok(Self::Topic(r.str()?.into())),
            found => Err(CodecError::Value { what: "address", found: u64::from(found), at }),
        }
    }
}
