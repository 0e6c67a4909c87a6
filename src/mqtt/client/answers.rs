//! Answers with reasons: words for those who want them, nothing longer than the client takes. Part of `mqtt::client`.

use std::num::NonZeroU16;

use crate::metrics::{CloseReason, ErrorKind};
use crate::mqtt::codec::Version;
use crate::mqtt::codec::ack::{self, Ack};
use crate::mqtt::codec::fixed_header::PacketType;
use crate::mqtt::codec::suback;
use crate::mqtt::error::ProtocolError;
use crate::mqtt::explanation;
use crate::mqtt::reason::ReasonCode;

use super::Client;

/// Which of the two answers to a list of filters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    SubAck,
    UnsubAck,
}

impl Client {
    /// Whether reason strings may stand in packets other than CONNACK and DISCONNECT [MQTT-3.1.2-29].
    fn wants_words(&self) -> bool {
        self.version == Version::V5
            && self.connect.as_ref().is_some_and(|connect| connect.request_problem_information)
    }

    /// Sends PUBACK, PUBREC, PUBREL or PUBCOMP.
    pub(super) fn send_ack(&self, kind: PacketType, packet_id: NonZeroU16, reason: ReasonCode) {
        let ends = matches!(kind, PacketType::PubAck | PacketType::PubComp)
            || (kind == PacketType::PubRec && reason.is_failure());
        if ends {
            self.window.done();
        }
        let (version, ack) = (self.version, Ack { packet_id, reason });
        let words = explanation::of_acknowledgement(kind, reason).filter(|_| self.wants_words());
        let outbound = &self.link.outbound;
        let Some(words) = words else {
            return outbound.push_reply(|out| ack::encode(out, version, kind, ack));
        };
        let bytes_max = self.link.packet_bytes_max();
        outbound.push_reply(|out| {
            // Our own texts are short.
            ack::encode_explained(out, kind, ack, words, bytes_max).unwrap_or_default();
        });
    }

    /// Sends SUBACK or UNSUBACK. A client whose maximum packet size does not even take the codes is disconnected: it may
    /// not be sent the packet [MQTT-3.1.2-24], and would wait for it for ever.
    pub(super) fn send_reasons(&mut self, answer: Answer, id: NonZeroU16, reasons: &[ReasonCode]) {
        let version = self.version;
        let words = if self.wants_words() { explanation::of_filters(reasons) } else { None };
        let encode = |out: &mut Vec<u8>, words: Option<&str>| {
            let encoded = match answer {
                Answer::SubAck => suback::encode_suback(out, version, id, reasons, words),
                Answer::UnsubAck => suback::encode_unsuback(out, version, id, reasons, words),
            };
            // One code a filter of a packet that arrived: it fits.
            encoded.unwrap_or_default();
        };
        let bytes_max = self.link.packet_bytes_max();
        let mut packet = Vec::new();
        encode(&mut packet, words.as_deref());
        if packet.len() > bytes_max {
            packet.clear();
            encode(&mut packet, None);
        }
        if packet.len() > bytes_max {
            self.breach(ProtocolError::new(
                ReasonCode::PacketTooLarge,
                "the answer exceeds the client's maximum packet size",
            ));
            return;
        }
        self.link.outbound.push_reply(|out| out.extend_from_slice(&packet));
    }

    /// Ends a connection whose packet, well-formed, does not fit what is under way.
    pub(super) fn breach(&mut self, error: ProtocolError) {
        let kind = match error.reason {
            ReasonCode::PacketTooLarge => ErrorKind::TooLarge,
            _ => ErrorKind::Protocol,
        };
        self.count_error(kind);
        self.log_refusal(&error);
        self.breach = Some(error);
        self.end(CloseReason::ProtocolError);
    }

    /// The breach that ended the connection, for the client to be told; given once.
    pub fn take_breach(&mut self) -> Option<ProtocolError> {
        self.breach.take()
    }

    /// Why the connection ends through no fault of the client's, for it to be told; given once.
    pub fn take_farewell(&mut self) -> Option<ReasonCode> {
        if std::mem::replace(&mut self.is_told, true) {
            return None;
        }
        match self.ended_by? {
            CloseReason::TakenOver => Some(ReasonCode::SessionTakenOver),
            CloseReason::Shutdown => Some(ReasonCode::ServerShuttingDown),
            CloseReason::KeepAlive => Some(ReasonCode::KeepAliveTimeout),
            CloseReason::Limit => Some(ReasonCode::QuotaExceeded),
            CloseReason::Broker => Some(ReasonCode::ImplementationSpecificError),
            CloseReason::Client
            | CloseReason::Lost
            | CloseReason::ConnectTimeout
            | CloseReason::ProtocolError
            | CloseReason::NotAuthorized
            | CloseReason::SlowConsumer
            | CloseReason::Tls => None,
        }
    }
}
