//! SUBSCRIBE and UNSUBSCRIBE (MQTT5-3.8, MQTT5-3.10): checked strictly here, then modelled by `mqttbytes`
//! where that is possible. Part of `mqtt::codec`.

use crate::model::qos::QoS;
use crate::model::topic::{TopicError, TopicFilter};
use crate::mqtt::codec::properties::{self, Properties};
use crate::mqtt::codec::publish::packet_id;
use crate::mqtt::codec::wire::Reader;
use crate::mqtt::codec::{Version, v4, v5};
use crate::mqtt::error::ProtocolError;
use crate::mqtt::reason::ReasonCode;
use std::num::NonZeroU16;

/// When a new subscription is sent the retained messages (MQTT5-3.8.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum RetainHandling {
    /// At every SUBSCRIBE; the only way of MQTT 3.1.1.
    #[default]
    Always = 0,
    /// If the subscription did not exist.
    IfNew = 1,
    /// Not at all.
    Never = 2,
}

/// One filter of a SUBSCRIBE with its options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribeFilter {
    /// The filter; an invalid one is answered for itself in SUBACK, the others of the packet hold.
    pub filter: Result<TopicFilter, TopicError>,
    /// The most the client wants.
    pub qos: QoS,
    /// Not the client's own messages; never with a shared filter [MQTT-3.8.3-4].
    pub no_local: bool,
    /// Keep the publisher's retain flag.
    pub retain_as_published: bool,
    /// When retained messages are sent.
    pub retain_handling: RetainHandling,
}

impl SubscribeFilter {
    pub(super) fn new(
        filter: &str,
        qos: QoS,
        no_local: bool,
        retain_as_published: bool,
        retain_handling: RetainHandling,
    ) -> Self {
        let filter = TopicFilter::parse(filter);
        Self { filter, qos, no_local, retain_as_published, retain_handling }
    }
}

/// SUBSCRIBE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// For the SUBACK.
    pub packet_id: NonZeroU16,
    /// At least one, in the order of the SUBACK's codes.
    pub filters: Vec<SubscribeFilter>,
    /// For all filters of the packet, 1 to 268,435,455; MQTT 5 only.
    pub subscription_id: Option<u32>,
}

/// UNSUBSCRIBE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsubscribe {
    /// For the UNSUBACK.
    pub packet_id: NonZeroU16,
    /// At least one, in the order of the UNSUBACK's codes.
    pub filters: Vec<Result<TopicFilter, TopicError>>,
}

/// Parses the body of a SUBSCRIBE with at most `filters_max` filters.
///
/// # Errors
/// Malformed for broken fields and reserved bits; protocol error without a filter [MQTT-3.8.3-2], for QoS 3, for
/// retain handling 3, for no-local on a shared filter; quota exceeded above `filters_max`.
pub fn decode_subscribe(
    version: Version,
    filters_max: usize,
    body: &[u8],
) -> Result<Subscribe, ProtocolError> {
    let mut reader = Reader::new(body);
    let packet_id = packet_id(&mut reader)?;
    if version == Version::V5 {
        Properties::take(&mut reader, properties::SUBSCRIBE)?.finish()?;
    }
    let mut left = filters_max;
    if reader.is_empty() {
        return Err(ProtocolError::protocol("SUBSCRIBE without a filter [MQTT-3.8.3-2]"));
    }
    while !reader.is_empty() {
        left = left.checked_sub(1).ok_or(TOO_MANY)?;
        let filter = reader.string()?;
        check_options(version, filter, reader.u8()?)?;
    }
    let (filters, subscription_id) = match version {
        Version::V311 => (v4::subscribe(body)?, None),
        Version::V5 => v5::subscribe(body)?,
    };
    Ok(Subscribe { packet_id, filters, subscription_id })
}

/// Parses the body of an UNSUBSCRIBE with at most `filters_max` filters.
///
/// # Errors
/// As for [`decode_subscribe`]; the filter list may not be empty [MQTT-3.10.3-2].
pub fn decode_unsubscribe(
    version: Version,
    filters_max: usize,
    body: &[u8],
) -> Result<Unsubscribe, ProtocolError> {
    let mut reader = Reader::new(body);
    let packet_id = packet_id(&mut reader)?;
    if version == Version::V5 {
        Properties::take(&mut reader, properties::UNSUBSCRIBE)?.finish()?;
    }
    if reader.is_empty() {
        return Err(ProtocolError::protocol("UNSUBSCRIBE without a filter [MQTT-3.10.3-2]"));
    }
    let mut filters = Vec::new();
    while !reader.is_empty() {
        if filters.len() == filters_max {
            return Err(TOO_MANY);
        }
        filters.push(TopicFilter::parse(reader.string()?));
    }
    if version == Version::V311 {
        filters = v4::unsubscribe(body)?.iter().map(|text| TopicFilter::parse(text)).collect();
    }
    Ok(Unsubscribe { packet_id, filters })
}

const TOO_MANY: ProtocolError =
    ProtocolError::new(ReasonCode::QuotaExceeded, "too many topic filters in one packet");

fn check_options(version: Version, filter: &str, options: u8) -> Result<(), ProtocolError> {
    let reserved = match version {
        Version::V311 => 0b1111_1100,
        Version::V5 => 0b1100_0000,
    };
    if options & reserved != 0 {
        return Err(ProtocolError::malformed("reserved subscription option is set [MQTT-3.8.3-5]"));
    }
    if options & 0b11 == 3 {
        // MQTT 3.1.1 has it closed as malformed [MQTT-3.8.3-4], MQTT 5 calls it a protocol error (3.8.3.1).
        return Err(match version {
            Version::V311 => ProtocolError::malformed("subscription with QoS 3 [MQTT-3.8.3-4]"),
            Version::V5 => ProtocolError::protocol("subscription with QoS 3"),
        });
    }
    if options >> 4 == 3 {
        return Err(ProtocolError::protocol("retain handling is 3"));
    }
    if options & 0b100 != 0 && filter.starts_with("$share/") {
        return Err(ProtocolError::protocol("no-local on a shared filter [MQTT-3.8.3-4]"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{decode_subscribe, decode_unsubscribe};
    use crate::mqtt::codec::Version;
    use crate::mqtt::reason::ReasonCode;

    #[test]
    fn too_many_filters_in_one_packet_exceed_the_quota() {
        let subscribe = [&[0, 1][..], &b"\0\x01a\0".repeat(3)].concat();
        let unsubscribe = [&[0, 1][..], &b"\0\x01a".repeat(3)].concat();
        assert!(decode_subscribe(Version::V311, 3, &subscribe).is_ok());
        assert!(decode_unsubscribe(Version::V311, 3, &unsubscribe).is_ok());
        let error = decode_subscribe(Version::V311, 2, &subscribe).unwrap_err();
        assert_eq!(error.reason, ReasonCode::QuotaExceeded);
        let error = decode_unsubscribe(Version::V311, 2, &unsubscribe).unwrap_err();
        assert_eq!(error.reason, ReasonCode::QuotaExceeded);
    }
}
