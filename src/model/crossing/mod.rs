//! What of a message's metadata becomes what in the other world: MQTT property blocks (`model::message`) ↔ AMQP
//! content blocks (`model::content`). Part of `model`; pure.
//!
//! | MQTT | AMQP |
//! |---|---|
//! | QoS 0 / 1, 2 | `delivery-mode` 1 / 2 |
//! | content type | `content-type`; over 255 bytes the header `mqtt-content-type` |
//! | correlation data | `correlation-id` when it is text of at most 255 bytes, else the header `x-correlation-id` (byte array) |
//! | response topic | header `x-reply-to-topic`, as a routing key; where it has none, header `mqtt-response-topic` as it is |
//! | message expiry | `expiration`, what remains in milliseconds |
//! | payload format UTF-8 | header `mqtt-payload-format` = `utf-8` |
//! | retain flag as published, will | headers `mqtt-retain`, `mqtt-will` = true |
//! | client identifier, when asked for | header `mqtt-client-id` |
//! | user properties | headers, long strings, in order; of a repeated name the first |
//! | all user properties in order | header `mqtt-user-properties`: array of arrays of name and value; only when the headers alone would not bring them back |
//! | user properties `amqp-message-id`, `-type`, `-app-id`, `-priority`, `-timestamp`, `-content-encoding`, `-reply-to`, `-user-id`, `-cluster-id` | the properties of these names |
//! | user property `amqp-header-N` | header N that begins with `amqp-` or `mqtt-`, or is one of the two `x-` above and holds no such thing |
//! | user property N | header `mqtt-user-N` for N that begins with `mqtt-` or `amqp-`, or is one of those two |
//! | user property `amqp-base64-N` | header or property N whose bytes are no text for MQTT |
//!
//! Headers that are no strings become text: numbers and booleans as they are written, nested tables and arrays as
//! JSON, void as nothing. Text for MQTT is UTF-8 without control characters and noncharacters, which
//! MQTT5-1.5.4 lets a receiver refuse: such a header must not cost a subscriber its connection.
//! A reader in AMQP may change, add or remove headers and send the message on: a pair of
//! `mqtt-user-properties` counts only while its header still has the value that the array says.
//!
//! `amqp-user-id` becomes `user-id` only for the publisher's own login, for consumers may trust that property.
//!
//! - [`to_content`], [`to_topic`] one direction each
//! - [`block`] property blocks, written as far as they fit
//! - [`names`] which user property is which header or property
//! - [`text`] header values as text

pub mod block;
pub mod names;
pub mod text;
pub mod to_content;
pub mod to_topic;

#[cfg(test)]
mod tests;

pub use to_content::{TopicMetadata, topic_to_content};
pub use to_topic::{ContentMetadata, content_to_topic};

/// The Message Expiry Interval for what remains of a message's life: rounded up, so that a message that is
/// still alive never says 0.
#[must_use]
pub fn expiry_s(remaining_ms: u64) -> u32 {
    u32::try_from(remaining_ms.div_ceil(1_000).max(1)).unwrap_or(u32::MAX)
}
