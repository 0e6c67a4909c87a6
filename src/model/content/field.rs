//! The fields of a content block: order, flags, encodings (AMQP 0-9-1, class `basic`). Part of `model/content`;
//! pure.

/// A field of the block, in the order of the flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ContentField {
    /// Short string: MIME type of the body.
    ContentType,
    /// Short string.
    ContentEncoding,
    /// Table.
    Headers,
    /// One octet: 2 is persistent, anything else is not.
    DeliveryMode,
    /// One octet.
    Priority,
    /// Short string.
    CorrelationId,
    /// Short string: usually a queue's name.
    ReplyTo,
    /// Short string: milliseconds in decimal, see [`expiration_ms`](super::expiration_ms).
    Expiration,
    /// Short string.
    MessageId,
    /// Seconds since the Unix epoch.
    Timestamp,
    /// Short string.
    Type,
    /// Short string: the login of the publisher, checked by the broker.
    UserId,
    /// Short string.
    AppId,
    /// Short string, deprecated.
    ClusterId,
}

/// How a field is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    ShortString,
    Table,
    Octet,
    Timestamp,
}

impl ContentField {
    /// All of them in their order.
    pub const ALL: [Self; 14] = [
        Self::ContentType,
        Self::ContentEncoding,
        Self::Headers,
        Self::DeliveryMode,
        Self::Priority,
        Self::CorrelationId,
        Self::ReplyTo,
        Self::Expiration,
        Self::MessageId,
        Self::Timestamp,
        Self::Type,
        Self::UserId,
        Self::AppId,
        Self::ClusterId,
    ];

    pub(super) const fn flag(self) -> u16 {
        0x8000 >> self as u16
    }

    pub(super) const fn encoding(self) -> Encoding {
        match self {
            Self::Headers => Encoding::Table,
            Self::DeliveryMode | Self::Priority => Encoding::Octet,
            Self::Timestamp => Encoding::Timestamp,
            Self::ContentType
            | Self::ContentEncoding
            | Self::CorrelationId
            | Self::ReplyTo
            | Self::Expiration
            | Self::MessageId
            | Self::Type
            | Self::UserId
            | Self::AppId
            | Self::ClusterId => Encoding::ShortString,
        }
    }
}
