//! The last bytes to a client: why it is refused or disconnected. Part of `mqtt`.

use crate::mqtt::codec::connack::{self, ConnAck};
use crate::mqtt::codec::session_end;
use crate::mqtt::connection::Connection;
use crate::mqtt::error::ProtocolError;
use crate::mqtt::explanation;
use crate::mqtt::reason::ReasonCode;

impl Connection {
    /// Appends what `error` is answered with before the connection is closed. MQTT 5: CONNACK with the reason
    /// before the client is accepted, DISCONNECT after. MQTT 3.1.1: CONNACK where it has a return code for the
    /// reason, else nothing. Nothing also for what is not MQTT.
    pub fn error_reply(&self, error: &ProtocolError, out: &mut Vec<u8>) {
        let Some(version) = self.version() else { return };
        if self.is_accepted() {
            self.say_goodbye(error.reason, Some(error.text), out);
        } else {
            let fits = error.text.len() + 16 <= self.peer_packet_bytes_max();
            let refusal =
                ConnAck { reason_string: fits.then_some(error.text), ..ConnAck::new(error.reason) };
            // Our texts fit, always; if one did not, closing alone would say enough.
            connack::encode(out, version, &refusal).unwrap_or_default();
        }
    }

    /// Appends the last word to a client that did nothing wrong: a DISCONNECT, or, before it is accepted, a CONNACK
    /// that has it come back later [MQTT-3.2.0-1]. MQTT 3.1.1: that CONNACK, else nothing. The owner closes.
    pub fn farewell(&self, reason: ReasonCode, out: &mut Vec<u8>) {
        if self.is_accepted() {
            self.say_goodbye(reason, Some(explanation::of_disconnect(reason)), out);
        } else if reason != ReasonCode::SessionTakenOver {
            let text = explanation::of_disconnect(reason);
            self.error_reply(&ProtocolError::new(ReasonCode::ServerUnavailable, text), out);
        }
    }

    /// Appends a server's DISCONNECT with `reason`; nothing for MQTT 3.1.1. The owner closes.
    pub fn say_goodbye(&self, reason: ReasonCode, text: Option<&str>, out: &mut Vec<u8>) {
        let Some(version) = self.version() else { return };
        let bytes_max = self.peer_packet_bytes_max();
        // As above.
        session_end::encode(out, version, reason, text, bytes_max).unwrap_or_default();
    }
}
