//! What a client is refused because a limit is reached: its reason code, its counter, a line in the log. Part of
//! `mqtt::client`.

use std::sync::Arc;

use crate::auth::Principal;
use crate::metrics::{CloseReason, Limit};
use crate::mqtt::error::ProtocolError;
use crate::mqtt::reason::ReasonCode;
use crate::server::admission::Holder;

use super::Client;

/// Of a client identifier, in a line of the log: one that is refused may be long.
const SHOWN_CHARS: usize = 64;

/// What the client is told of it, where there is room for words.
fn words(limit: Limit) -> &'static str {
    match limit {
        Limit::Connections => "too many connections",
        Limit::ConnectionsPerAddress => "too many connections from this address",
        Limit::ConnectionRatePerAddress => "connections from this address come too fast",
        Limit::ConnectionsPerUser => "too many connections of this user",
        Limit::ConnectionRatePerUser => "logins of this user come too fast",
        Limit::PacketBytes => "packet too large",
        Limit::ClientIdBytes => "client identifier too long",
        Limit::TopicLevels => "topic of too many levels",
        Limit::Subscriptions => "too many subscriptions",
        Limit::ReceiveMax => "too many unacknowledged messages",
        Limit::MessageRate => "messages come too fast",
        Limit::ByteRate => "bytes come too fast",
        Limit::RetainedMessages => "too many retained messages",
        Limit::RetainedBytes => "too many bytes of retained messages",
    }
}

impl Client {
    /// It came faster than its address may: its CONNECT is refused.
    pub fn turn_away(&mut self) {
        self.turned_away = true;
    }

    /// Counts a refusal at `limit` and tells the operator of it.
    pub fn note_limit(&self, limit: Limit, now_ms: u64) {
        let Some(left_out) = self.shared.broker.metrics.limits.refuse(limit, now_ms) else {
            return;
        };
        let user = self.principal.as_ref().map_or("", Principal::login);
        let asked = self.connect.as_ref().map_or("", |connect| connect.client_id.as_str());
        let known = if self.serving.is_some() { self.client_id() } else { asked };
        let client_id: String = known.chars().take(SHOWN_CHARS).collect();
        tracing::warn!(peer = %self.peer, client_id, user, left_out,
            "an MQTT client was refused: {} is reached", limit.key());
    }

    /// Ends the connection because `limit` is reached; the client is told `reason`, before it is accepted in CONNACK.
    pub(super) fn end_at(&mut self, limit: Limit, reason: ReasonCode, now_ms: u64) {
        self.note_limit(limit, now_ms);
        self.breach = Some(ProtocolError::new(reason, words(limit)));
        self.end(CloseReason::Limit);
    }

    /// What of a CONNECT is beyond a limit, before anybody asks who sent it.
    pub(super) fn limit_of_connect(&self, now_ms: u64) -> Option<(Limit, ReasonCode)> {
        let connect = self.connect.as_deref()?;
        if self.turned_away {
            return Some((Limit::ConnectionRatePerAddress, ReasonCode::ConnectionRateExceeded));
        }
        if connect.client_id.len() > self.limits.client_id_bytes_max {
            return Some((Limit::ClientIdBytes, ReasonCode::ClientIdentifierNotValid));
        }
        let deep = |topic: &str| topic.split('/').count() > self.limits.topic_levels_max;
        if connect.will.as_ref().is_some_and(|will| deep(&will.topic)) {
            return Some((Limit::TopicLevels, ReasonCode::TopicNameInvalid));
        }
        let username = connect.username.as_deref()?;
        let in_time = self.shared.users.is_in_time(username, now_ms);
        (!in_time).then_some((Limit::ConnectionRatePerUser, ReasonCode::ConnectionRateExceeded))
    }

    /// Takes a place among the user's connections; false when there is none left.
    pub(super) fn take_place(&mut self, principal: &Principal, client_id: &str) -> bool {
        if principal.anonymous {
            return true;
        }
        let holder = Holder::Client(Arc::from(client_id));
        self.place = self.shared.users.enter(&principal.name, holder);
        self.place.is_some()
    }
}
