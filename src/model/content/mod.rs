//! The properties of an AMQP message as raw bytes (AMQP 4.2.6.1, class `basic`). Part of `model`; pure.
//!
//! A **content block** is what stands in a content header after the body size: one word of flags, then the
//! fields that the flags name, in the order of the flags. A message keeps it as it came and it is delivered
//! as the very same bytes; [`Properties`] finds the fields in it without copying, [`edit::Editor`] makes a
//! new block with some of them changed.
//!
//! - [`field`] the fields there are
//! - [`expiration`] what the field of that name says
//! - [`edit`] a block with fields replaced, removed or added

pub mod edit;
pub mod expiration;
pub mod field;

#[cfg(test)]
mod tests;

pub use expiration::{EXPIRATION_MS_MAX, ExpirationError, expiration_ms};
pub use field::ContentField;
use field::Encoding;

use crate::model::field_table::{FieldTable, Limits, TableError};

/// Bits of the flag word that name no field: one unused, one that announces another word of flags.
const FLAGS_UNKNOWN: u16 = 0b11;

/// Why a content block is refused; always the peer's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// Fewer than two bytes, or a field breaks off.
    #[error("content properties break off")]
    Truncated,
    /// The flags announce a second word of flags, which class `basic` does not have.
    #[error("content properties have a continued flag word")]
    Continued,
    /// A flag that names no property.
    #[error("content properties have an unknown flag")]
    UnknownFlag,
    /// Bytes behind the last field.
    #[error("content properties are followed by other bytes")]
    Trailing,
    /// The headers are no valid table.
    #[error("headers: {0}")]
    Headers(#[from] TableError),
}

/// Where the fields of a content block are.
#[derive(Clone, Copy, Debug)]
pub struct Properties<'a> {
    block: &'a [u8],
    flags: u16,
    /// Where each field ends in `block`; it begins where the one before it ends, the first at 2.
    ends: [u32; ContentField::ALL.len()],
}

impl Default for Properties<'_> {
    /// The block without a field.
    fn default() -> Self {
        Self { block: &[0, 0], flags: 0, ends: [2; ContentField::ALL.len()] }
    }
}

impl<'a> Properties<'a> {
    /// Finds the fields of `block` and checks all of it, headers included.
    ///
    /// # Errors
    /// See [`ContentError`].
    pub fn scan(block: &'a [u8], limits: Limits) -> Result<Self, ContentError> {
        let found = Self::find(block)?;
        if let Some(table) = found.raw_headers() {
            FieldTable::check(table, limits)?;
        }
        Ok(found)
    }

    /// The fields of a block that was scanned when it entered the broker. One that was not, and is not valid,
    /// reads as the empty block.
    #[must_use]
    pub fn stored(block: &'a [u8]) -> Self {
        Self::find(block).unwrap_or_default()
    }

    fn find(block: &'a [u8]) -> Result<Self, ContentError> {
        let flags = flags(block).ok_or(ContentError::Truncated)?;
        if flags & 1 != 0 {
            return Err(ContentError::Continued);
        }
        if flags & FLAGS_UNKNOWN != 0 {
            return Err(ContentError::UnknownFlag);
        }
        let mut ends = [0; ContentField::ALL.len()];
        let mut end = 2;
        for (field, place) in ContentField::ALL.into_iter().zip(&mut ends) {
            if flags & field.flag() != 0 {
                end = field_end(block, end, field).ok_or(ContentError::Truncated)?;
            }
            *place = u32::try_from(end).map_err(|_| TableError::TooLong)?;
        }
        if end != block.len() {
            return Err(ContentError::Trailing);
        }
        Ok(Self { block, flags, ends })
    }

    /// The bytes it was read from.
    #[must_use]
    pub fn block(&self) -> &'a [u8] {
        self.block
    }

    /// Whether `field` is there.
    #[must_use]
    pub fn has(&self, field: ContentField) -> bool {
        self.flags & field.flag() != 0
    }

    /// The bytes of a field that is a short string, without its length.
    #[must_use]
    pub fn short_string(&self, field: ContentField) -> Option<&'a [u8]> {
        (field.encoding() == Encoding::ShortString).then(|| self.raw(field)?.get(1..))?
    }

    /// The same, when it is UTF-8.
    #[must_use]
    pub fn text(&self, field: ContentField) -> Option<&'a str> {
        std::str::from_utf8(self.short_string(field)?).ok()
    }

    /// MIME type of the body.
    #[must_use]
    pub fn content_type(&self) -> Option<&'a [u8]> {
        self.short_string(ContentField::ContentType)
    }

    /// Content encoding.
    #[must_use]
    pub fn content_encoding(&self) -> Option<&'a [u8]> {
        self.short_string(ContentField::ContentEncoding)
    }

    /// The headers; an empty table is a table.
    #[must_use]
    pub fn headers(&self) -> Option<FieldTable<'a>> {
        self.raw_headers().map(FieldTable::stored)
    }

    /// Delivery mode, 2 is persistent.
    #[must_use]
    pub fn delivery_mode(&self) -> Option<u8> {
        self.raw(ContentField::DeliveryMode)?.first().copied()
    }

    /// Priority.
    #[must_use]
    pub fn priority(&self) -> Option<u8> {
        self.raw(ContentField::Priority)?.first().copied()
    }

    /// Correlation id.
    #[must_use]
    pub fn correlation_id(&self) -> Option<&'a [u8]> {
        self.short_string(ContentField::CorrelationId)
    }

    /// Where an answer is expected.
    #[must_use]
    pub fn reply_to(&self) -> Option<&'a [u8]> {
        self.short_string(ContentField::ReplyTo)
    }

    /// Expiration as sent, see [`expiration_ms`].
    #[must_use]
    pub fn expiration(&self) -> Option<&'a [u8]> {
        self.short_string(ContentField::Expiration)
    }

    /// Message id.
    #[must_use]
    pub fn message_id(&self) -> Option<&'a [u8]> {
        self.short_string(ContentField::MessageId)
    }

    /// Timestamp: seconds since the Unix epoch, by the publisher's clock.
    #[must_use]
    pub fn timestamp(&self) -> Option<u64> {
        self.raw(ContentField::Timestamp)?.first_chunk().copied().map(u64::from_be_bytes)
    }

    /// Type of the message.
    #[must_use]
    pub fn type_(&self) -> Option<&'a [u8]> {
        self.short_string(ContentField::Type)
    }

    /// The publisher's login, as it says.
    #[must_use]
    pub fn user_id(&self) -> Option<&'a [u8]> {
        self.short_string(ContentField::UserId)
    }

    /// Name of the publishing application.
    #[must_use]
    pub fn app_id(&self) -> Option<&'a [u8]> {
        self.short_string(ContentField::AppId)
    }

    /// Cluster id, deprecated.
    #[must_use]
    pub fn cluster_id(&self) -> Option<&'a [u8]> {
        self.short_string(ContentField::ClusterId)
    }

    /// The encoded field, lengths included.
    fn raw(&self, field: ContentField) -> Option<&'a [u8]> {
        if !self.has(field) {
            return None;
        }
        let index = field as usize;
        let start = match index.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 2,
        };
        self.block.get(start as usize..*self.ends.get(index)? as usize)
    }

    fn raw_headers(&self) -> Option<&'a [u8]> {
        self.raw(ContentField::Headers)?.get(4..)
    }
}

/// The delivery mode of `block`, which need not have been scanned: what every publish is asked first.
#[must_use]
pub fn delivery_mode(block: &[u8]) -> Option<u8> {
    let flags = flags(block)?;
    if flags & ContentField::DeliveryMode.flag() == 0 {
        return None;
    }
    let mut at = 2;
    for field in [ContentField::ContentType, ContentField::ContentEncoding, ContentField::Headers] {
        if flags & field.flag() != 0 {
            at = field_end(block, at, field)?;
        }
    }
    block.get(at).copied()
}

fn flags(block: &[u8]) -> Option<u16> {
    block.first_chunk().copied().map(u16::from_be_bytes)
}

/// Where `field` ends that begins at `at`.
fn field_end(block: &[u8], at: usize, field: ContentField) -> Option<usize> {
    let rest = block.get(at..)?;
    let length = match field.encoding() {
        Encoding::ShortString => 1 + usize::from(*rest.first()?),
        Encoding::Table => {
            let length = u32::from_be_bytes(*rest.first_chunk()?);
            usize::try_from(length).ok()?.checked_add(4)?
        }
        Encoding::Octet => 1,
        Encoding::Timestamp => 8,
    };
    (length <= rest.len()).then_some(at + length)
}
