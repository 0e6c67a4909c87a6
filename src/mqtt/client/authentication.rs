//! Enhanced authentication (MQTT5-4.12): SCRAM-SHA-256 between CONNECT and CONNACK, and again on a live connection
//! while everything else goes on. Part of `mqtt::client`.
//!
//! The server's last message goes into CONNACK's Authentication Data, or into the AUTH that ends a re-authentication,
//! so that the client can be sure of the broker, too.

use std::sync::Arc;

use crate::auth::Principal;
use crate::auth::scram::MECHANISM;
use crate::auth::scram::exchange::{ScramError, ServerExchange, fresh_nonce};
use crate::metrics::{CloseReason, Limit, Protocol};
use crate::mqtt::codec::auth::{self, Auth};
use crate::mqtt::codec::connack::ConnAck;
use crate::mqtt::connection::Flow;
use crate::mqtt::error::ProtocolError;
use crate::mqtt::reason::ReasonCode;

use super::{Client, Stage};

/// An exchange that has begun.
pub(super) struct Exchange {
    step: Step,
    /// CONNECT's user name, which must be the one that is proven.
    username: Option<String>,
    /// When patience with the client ends.
    deadline_ms: u64,
}

enum Step {
    /// The client's first message is to come.
    First,
    /// Its proof is to come.
    Proof(Box<ServerExchange>),
    /// The broker's own proof waits for CONNACK.
    Proven(Vec<u8>),
}

impl Exchange {
    /// The broker's proof, once the client has given its own.
    pub(super) fn own_proof(&self) -> Option<&[u8]> {
        match &self.step {
            Step::Proven(proof) => Some(proof),
            Step::First | Step::Proof(_) => None,
        }
    }
}

impl Client {
    /// Begins what a CONNECT with an Authentication Method asks for.
    pub(super) fn begin_exchange(&mut self, username: Option<String>, now_ms: u64) {
        let Some(connect) = &mut self.connect else { return };
        let data = connect.auth_data.take();
        let offered = connect.auth_method.as_deref() == Some(MECHANISM)
            && self.shared.config.live().authenticator.offers_scram();
        if !offered {
            self.refuse(
                ReasonCode::BadAuthenticationMethod,
                "the authentication method is not offered",
            );
            return;
        }
        self.stage = Stage::Exchanging;
        let deadline_ms = self.deadline_ms;
        self.exchange = Some(Box::new(Exchange { step: Step::First, username, deadline_ms }));
        self.take_step(data.as_deref(), now_ms);
    }

    /// AUTH: the next step, or the first of a re-authentication.
    pub(super) fn exchange(&mut self, auth: &Auth<'_>, now_ms: u64) -> Flow {
        let before = self.stage;
        if auth.reason == ReasonCode::ReAuthenticate {
            if self.exchange.is_some() {
                self.breach(ProtocolError::protocol("re-authentication within another one"));
                return Flow::Stop;
            }
            let deadline_ms = now_ms + self.limits.connect_timeout_ms;
            let step = Step::First;
            self.exchange = Some(Box::new(Exchange { step, username: None, deadline_ms }));
            self.schedule(deadline_ms);
        } else if self.exchange.is_none() {
            self.breach(ProtocolError::protocol("AUTH that continues nothing"));
            return Flow::Stop;
        }
        self.take_step(auth.data, now_ms);
        // A step that brought CONNACK, or the end, changes what may follow.
        if self.stage == before { Flow::Continue } else { Flow::Stop }
    }

    /// Whether a re-authentication has taken too long; then the connection is ended.
    pub(super) fn exchange_is_late(&mut self, now_ms: u64) -> bool {
        let late = self.stage == Stage::Connected
            && self.exchange.as_ref().is_some_and(|exchange| exchange.deadline_ms <= now_ms);
        if late && self.paused {
            // What it may have said was not read.
            let deadline_ms = now_ms + self.limits.connect_timeout_ms;
            if let Some(exchange) = &mut self.exchange {
                exchange.deadline_ms = deadline_ms;
            }
            self.schedule(deadline_ms);
            return false;
        }
        if late {
            self.fail(ReasonCode::NotAuthorized, "re-authentication took too long", None);
        }
        late
    }

    fn take_step(&mut self, data: Option<&[u8]>, now_ms: u64) {
        let Some(exchange) = &mut self.exchange else { return };
        match (std::mem::replace(&mut exchange.step, Step::First), data) {
            // A client that said nothing yet is asked to.
            (Step::First, None) => self.send_auth(ReasonCode::ContinueAuthentication, None),
            (Step::First, Some(data)) => self.answer_first(data, now_ms),
            (Step::Proof(server), data) => {
                self.judge_proof(*server, data.unwrap_or_default(), now_ms);
            }
            (Step::Proven(_), _) => {
                self.fail(ReasonCode::ProtocolError, "AUTH after the end of the exchange", None)
            }
        }
    }

    fn answer_first(&mut self, data: &[u8], now_ms: u64) {
        let live = Arc::clone(&self.shared.config.live());
        let Some(nonce) = fresh_nonce() else {
            self.fail(ReasonCode::ServerUnavailable, "there is no randomness", None);
            return;
        };
        match live.authenticator.begin_scram(data, &nonce) {
            Ok((server, _)) if !self.is_login_in_time(server.user(), now_ms) => {
                let reason = ReasonCode::ConnectionRateExceeded;
                self.end_at(Limit::ConnectionRatePerUser, reason, now_ms);
            }
            Ok((server, _))
                if live.authenticator.is_held_back(server.user(), self.peer.ip(), now_ms) =>
            {
                self.hold_back();
            }
            Ok((server, answer)) => {
                if let Some(exchange) = &mut self.exchange {
                    exchange.step = Step::Proof(Box::new(server));
                }
                self.send_auth(ReasonCode::ContinueAuthentication, Some(&answer));
            }
            Err(error) => self.fail_scram(error),
        }
    }

    /// Whether one more login as `user` is within that name's rate. Who said it in CONNECT was counted there, and who is
    /// connected does not log in.
    fn is_login_in_time(&self, user: &str, now_ms: u64) -> bool {
        let said = self.exchange.as_ref().and_then(|exchange| exchange.username.as_deref());
        self.stage == Stage::Connected
            || said == Some(user)
            || self.shared.users.is_in_time(user, now_ms)
    }

    fn hold_back(&mut self) {
        let text = "too many failed logins, wait a minute";
        self.fail(ReasonCode::ConnectionRateExceeded, text, None);
    }

    fn judge_proof(&mut self, server: ServerExchange, data: &[u8], now_ms: u64) {
        let user = server.user().to_owned();
        let live = Arc::clone(&self.shared.config.live());
        // Asked once more: any number of exchanges may have begun before the first of them failed.
        if live.authenticator.is_held_back(&user, self.peer.ip(), now_ms) {
            self.hold_back();
            return;
        }
        match server.finish(data) {
            Ok(proof) => self.proven(&user, proof, now_ms),
            Err(error) => {
                if error == ScramError::Proof {
                    live.authenticator.count_failure(&user, self.peer.ip(), now_ms);
                }
                self.fail_scram(error);
            }
        }
    }

    fn proven(&mut self, user: &str, proof: Vec<u8>, now_ms: u64) {
        if self.stage == Stage::Connected {
            let is_same = |known: &Principal| !known.anonymous && *known.name == *user;
            if !self.principal.as_ref().is_some_and(is_same) {
                self.fail(ReasonCode::NotAuthorized, "re-authentication as another user", None);
                return;
            }
            self.exchange = None;
            self.send_auth(ReasonCode::Success, Some(&proof));
            tracing::debug!(peer = %self.peer, user, "an MQTT client has authenticated again");
            return;
        }
        let Some(exchange) = &mut self.exchange else { return };
        if exchange.username.as_deref().is_some_and(|said| said != user) {
            let text = "the user name of CONNECT is not the one that was proven";
            self.fail(ReasonCode::BadUserNameOrPassword, text, None);
            return;
        }
        exchange.step = Step::Proven(proof);
        self.stage = Stage::Authenticating;
        self.authenticated(Ok(Principal::named(user)), now_ms);
    }

    fn fail_scram(&mut self, error: ScramError) {
        let (reason, text) = match error {
            ScramError::Proof => (ReasonCode::BadUserNameOrPassword, "bad user name or password"),
            ScramError::Name => (ReasonCode::BadUserNameOrPassword, "the user name cannot be read"),
            ScramError::Malformed(text) => (ReasonCode::NotAuthorized, text),
            ScramError::ChannelBinding => {
                (ReasonCode::NotAuthorized, "channel binding is not offered")
            }
            ScramError::BindingChanged => {
                (ReasonCode::NotAuthorized, "the channel binding is not the one announced")
            }
            ScramError::Extension => {
                (ReasonCode::NotAuthorized, "SCRAM extensions are not offered")
            }
            ScramError::ActingForOthers => {
                (ReasonCode::NotAuthorized, "acting for another user is not offered")
            }
            ScramError::Nonce => {
                (ReasonCode::NotAuthorized, "the nonce is not the one of this exchange")
            }
        };
        self.fail(reason, text, Some(error.server_error()));
    }

    /// Ends an exchange and the connection: CONNACK before it was accepted, DISCONNECT after [MQTT-4.12.0-4]
    /// [MQTT-4.12.1-2]. `data` is the mechanism's own word, which only CONNACK carries.
    fn fail(&mut self, reason: ReasonCode, text: &'static str, data: Option<&'static str>) {
        self.shared.broker.metrics.connections.auth_failures.of(Protocol::Mqtt).inc();
        tracing::info!(peer = %self.peer, text, "an MQTT authentication failed");
        self.exchange = None;
        if self.stage == Stage::Connected {
            // DISCONNECT has no code for a wrong password (MQTT5-3.14.2.1).
            self.breach = Some(ProtocolError::new(ReasonCode::NotAuthorized, text));
            self.end(CloseReason::NotAuthorized);
            return;
        }
        self.refuse_with(&ConnAck {
            reason_string: Some(text),
            auth_method: data.map(|_| MECHANISM),
            auth_data: data.map(str::as_bytes),
            ..ConnAck::new(reason)
        });
    }

    /// A server's AUTH; one that is longer than the client takes cannot be sent [MQTT-3.1.2-24].
    fn send_auth(&mut self, reason: ReasonCode, data: Option<&[u8]>) {
        let mut packet = Vec::new();
        let encoded = auth::encode(&mut packet, &Auth { reason, method: MECHANISM, data });
        if encoded.is_err() || packet.len() > self.link.packet_bytes_max() {
            self.end(CloseReason::ProtocolError);
            return;
        }
        self.link.outbound.push_reply(|out| out.extend_from_slice(&packet));
    }
}
