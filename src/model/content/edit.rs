//! A content block with some fields replaced, removed or added; all others stay byte for byte. Part of
//! `model/content`; pure.
//!
//! Used where the broker must change what a publisher sent: direct reply-to rewrites `reply-to`, `BCC` leaves
//! the headers, dead-lettering takes the expiration away; and to build a block from nothing, which is the
//! empty one edited.

use std::borrow::Cow;

use crate::model::content::field::Encoding;
use crate::model::content::{ContentField, Properties};
use crate::model::field_table::FieldValue;

/// The most bytes a short string may have.
pub const SHORT_STRING_BYTES_MAX: usize = 255;

/// Why a field was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// Longer than [`SHORT_STRING_BYTES_MAX`].
    #[error("short string is longer than 255 bytes")]
    TooLong,
    /// The field is no short string.
    #[error("property is no short string")]
    NotAShortString,
}

/// Changes to a block; nothing is copied before [`Self::write`].
#[derive(Clone, Debug, Default)]
pub struct Editor<'a> {
    original: Properties<'a>,
    changes: [Change<'a>; ContentField::ALL.len()],
}

#[derive(Clone, Debug, Default)]
enum Change<'a> {
    #[default]
    Keep,
    Remove,
    /// A short string or table without its length.
    Bytes(Cow<'a, [u8]>),
    Octet(u8),
    Timestamp(u64),
}

impl<'a> Editor<'a> {
    /// Starts from a block; [`Editor::default`] starts from the empty one.
    #[must_use]
    pub fn new(original: Properties<'a>) -> Self {
        Self { original, ..Self::default() }
    }

    /// Removes a field, if it is there.
    pub fn remove(&mut self, field: ContentField) -> &mut Self {
        self.change(field, Change::Remove)
    }

    /// Puts a short string.
    ///
    /// # Errors
    /// See [`EditError`]; the field stays as it was.
    pub fn short_string(
        &mut self,
        field: ContentField,
        value: impl Into<Cow<'a, [u8]>>,
    ) -> Result<&mut Self, EditError> {
        let value = value.into();
        if field.encoding() != Encoding::ShortString {
            return Err(EditError::NotAShortString);
        }
        if value.len() > SHORT_STRING_BYTES_MAX {
            return Err(EditError::TooLong);
        }
        Ok(self.change(field, Change::Bytes(value)))
    }

    /// Puts the headers: the bytes of a valid table without its length, at most 4 GiB.
    pub fn headers(&mut self, table: impl Into<Cow<'a, [u8]>>) -> &mut Self {
        self.change(ContentField::Headers, Change::Bytes(table.into()))
    }

    /// Keeps those of the original's headers for which `keep` holds. Without headers nothing changes; when
    /// none is left the table is empty, not absent.
    pub fn retain_headers(&mut self, keep: impl FnMut(&str, &FieldValue<'a>) -> bool) -> &mut Self {
        let Some(headers) = self.original.headers() else { return self };
        let mut left = Vec::with_capacity(headers.as_bytes().len());
        headers.retain(keep, &mut left);
        self.headers(left)
    }

    /// Puts the delivery mode.
    pub fn delivery_mode(&mut self, mode: u8) -> &mut Self {
        self.change(ContentField::DeliveryMode, Change::Octet(mode))
    }

    /// Puts the priority.
    pub fn priority(&mut self, priority: u8) -> &mut Self {
        self.change(ContentField::Priority, Change::Octet(priority))
    }

    /// Puts the timestamp, in seconds since the Unix epoch.
    pub fn timestamp(&mut self, seconds: u64) -> &mut Self {
        self.change(ContentField::Timestamp, Change::Timestamp(seconds))
    }

    /// Whether the new block will hold `field`.
    #[must_use]
    pub fn has(&self, field: ContentField) -> bool {
        match self.changes.get(field as usize) {
            Some(Change::Remove) => false,
            Some(Change::Bytes(_) | Change::Octet(_) | Change::Timestamp(_)) => true,
            Some(Change::Keep) | None => self.original.has(field),
        }
    }

    /// How many bytes [`Self::write`] appends.
    #[must_use]
    pub fn len(&self) -> usize {
        let fields =
            ContentField::ALL.iter().zip(&self.changes).map(|(field, change)| match change {
                Change::Keep => self.original.raw(*field).map_or(0, <[u8]>::len),
                Change::Remove => 0,
                Change::Bytes(bytes) => {
                    bytes.len() + if *field == ContentField::Headers { 4 } else { 1 }
                }
                Change::Octet(_) => 1,
                Change::Timestamp(_) => 8,
            });
        2 + fields.sum::<usize>()
    }

    /// Whether the new block holds no field.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !ContentField::ALL.iter().any(|field| self.has(*field))
    }

    /// Appends the new block to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let flags = ContentField::ALL.iter().filter(|field| self.has(**field));
        let flags = flags.fold(0, |flags, field| flags | field.flag());
        out.extend_from_slice(&flags.to_be_bytes());
        for (field, change) in ContentField::ALL.into_iter().zip(&self.changes) {
            match change {
                Change::Keep => out.extend_from_slice(self.original.raw(field).unwrap_or_default()),
                Change::Remove => {}
                Change::Bytes(bytes) => put_bytes(field, bytes, out),
                Change::Octet(octet) => out.push(*octet),
                Change::Timestamp(seconds) => out.extend_from_slice(&seconds.to_be_bytes()),
            }
        }
    }

    fn change(&mut self, field: ContentField, change: Change<'a>) -> &mut Self {
        if let Some(place) = self.changes.get_mut(field as usize) {
            *place = change;
        }
        self
    }
}

/// Lengths were checked when the change was made, so saturating changes nothing.
fn put_bytes(field: ContentField, bytes: &[u8], out: &mut Vec<u8>) {
    if field == ContentField::Headers {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_be_bytes());
    } else {
        out.push(u8::try_from(bytes.len()).unwrap_or(u8::MAX));
    }
    out.extend_from_slice(bytes);
}
