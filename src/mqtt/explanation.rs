//! Reason strings: what a code means here, for a person who reads a client's log. Part of `mqtt`.
//!
//! MQTT 5 only, and beside CONNACK and DISCONNECT only for clients that did not decline them [MQTT-3.1.2-29]. Codes
//! that are no failures need no words.

use std::fmt::Write;

use crate::mqtt::codec::fixed_header::PacketType;
use crate::mqtt::reason::ReasonCode;

/// Filters named in one SUBACK or UNSUBACK: the codes themselves are all there.
const FILTERS_NAMED_MAX: usize = 8;

/// The reason string of a PUBACK, PUBREC, PUBREL or PUBCOMP.
#[must_use]
pub const fn of_acknowledgement(kind: PacketType, reason: ReasonCode) -> Option<&'static str> {
    if !reason.is_failure() {
        return None;
    }
    Some(match (kind, reason) {
        (_, ReasonCode::NotAuthorized) => "the access rules do not let this client publish there",
        (_, ReasonCode::QuotaExceeded) => {
            "not stored: no room for the message, or the disk refuses"
        }
        (_, ReasonCode::TopicNameInvalid) => "the topic name is not accepted",
        (PacketType::PubRel, ReasonCode::PacketIdentifierNotFound) => {
            "no message of this identifier is under way to the client"
        }
        (_, ReasonCode::PacketIdentifierNotFound) => {
            "no message of this identifier waits for its release"
        }
        (_, other) => other.name(),
    })
}

/// The reason string of a DISCONNECT that no protocol error explains.
#[must_use]
pub const fn of_disconnect(reason: ReasonCode) -> &'static str {
    match reason {
        ReasonCode::SessionTakenOver => "another connection uses this client identifier",
        ReasonCode::ServerShuttingDown => "the broker is stopping",
        ReasonCode::KeepAliveTimeout => "nothing came for one and a half keep alives",
        ReasonCode::QuotaExceeded => "a limit of the broker is reached",
        ReasonCode::PacketTooLarge => "an answer exceeds the client's maximum packet size",
        ReasonCode::ImplementationSpecificError => "the broker's disk refuses; try again later",
        other => other.name(),
    }
}

/// The reason string of a SUBACK or UNSUBACK: which filters failed, counted from 1, and why.
#[must_use]
pub fn of_filters(reasons: &[ReasonCode]) -> Option<String> {
    let mut text = String::new();
    let failed = reasons.iter().enumerate().filter(|(_, reason)| reason.is_failure());
    for (count, (place, reason)) in failed.enumerate() {
        if count == FILTERS_NAMED_MAX {
            text.push_str("; and others");
            break;
        }
        let separator = if count == 0 { "" } else { "; " };
        // Writing to a string does not fail.
        write!(text, "{separator}filter {}: {}", place + 1, reason.name()).ok()?;
    }
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::{of_acknowledgement, of_filters};
    use crate::mqtt::codec::fixed_header::PacketType;
    use crate::mqtt::reason::ReasonCode;

    #[test]
    fn only_failures_are_explained() {
        for &reason in ReasonCode::ALL {
            let explained = of_acknowledgement(PacketType::PubAck, reason).is_some();
            assert_eq!(explained, reason.is_failure(), "{reason:?}");
        }
        assert_eq!(of_filters(&[ReasonCode::Success, ReasonCode::GrantedQos2]), None);
    }

    #[test]
    fn failing_filters_are_named_by_their_place() {
        let reasons = [ReasonCode::NotAuthorized, ReasonCode::Success, ReasonCode::QuotaExceeded];
        let text = of_filters(&reasons).unwrap();
        assert_eq!(text, "filter 1: not authorized; filter 3: quota exceeded");
        let many = of_filters(&[ReasonCode::QuotaExceeded; 5000]).unwrap();
        assert!(many.ends_with("; and others") && many.len() < 300, "{many}");
    }
}
