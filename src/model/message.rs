//! What is sent, in no protocol's words. Part of `model`.
//!
//! A **property block** is a sequence of `(id: u8, value)` in the encoding of MQTT 5 properties
//! (MQTT5-2.2.2), without the length prefix and only with the identifiers of [`PropertyId`]. So an MQTT 5
//! publisher's properties travel to an MQTT 5 subscriber as the bytes they came in, order and repetition of
//! user properties kept; identifiers from 0x80 up are left for what other protocols carry.

/// Identifiers that may stand in a property block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PropertyId {
    /// One byte: 1 when the payload is UTF-8.
    PayloadFormat = 0x01,
    /// UTF-8 string.
    ContentType = 0x03,
    /// UTF-8 string: a topic name.
    ResponseTopic = 0x08,
    /// Binary data.
    CorrelationData = 0x09,
    /// UTF-8 string pair, repeatable.
    UserProperty = 0x26,
}

/// A message on its way to the router, borrowed from the read buffer.
#[derive(Clone, Copy, Debug)]
pub struct Publication<'a> {
    /// Valid topic name: non-empty UTF-8, no NUL, no wildcard.
    pub topic: &'a str,
    /// Application data.
    pub payload: &'a [u8],
    /// Property block, see the module's head; message expiry is not in it.
    pub properties: &'a [u8],
    /// The publisher's promise.
    pub qos: super::qos::QoS,
    /// The retain flag as published.
    pub retain: bool,
    /// Message Expiry Interval in seconds, as published.
    pub expiry_s: Option<u32>,
}
