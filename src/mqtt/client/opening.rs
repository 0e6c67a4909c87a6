//! CONNECT to CONNACK: identity, session, limits. Part of `mqtt::client`.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::Arc;

use ahash::AHashMap;

use crate::auth::Principal;
use crate::auth::acl::Action;
use crate::auth::authenticator::{AuthError, Offer};
use crate::auth::checks::Applicant;
use crate::broker::connect::{Closing, Opened, Opening};
use crate::broker::consumer::{Consumer, Encodings, Outcome};
use crate::broker::message::{Message, Publisher as Author};
use crate::broker::publish::Publisher;
use crate::broker::publish::crowd::Brake;
use crate::broker::sessions::session::NEVER_EXPIRES_S;
use crate::config::response_information;
use crate::metrics::{CloseReason, Limit, LocalCounters, Protocol};
use crate::model::message::Publication;
use crate::model::topic::is_system;
use crate::mqtt::codec::Version;
use crate::mqtt::codec::connack::{self, ConnAck};
use crate::mqtt::codec::connect::{Connect, Will};
use crate::mqtt::link::Subscriber;
use crate::mqtt::reason::ReasonCode;
use crate::mqtt::replies::Reply;

use super::{Client, Inbound, Serving, Stage};

impl Client {
    pub(super) fn connect(&mut self, connect: Box<Connect>, now_ms: u64) {
        self.version = connect.version;
        self.shared.broker.metrics.mqtt.connects.inc();
        let packet_max = connect.packet_bytes_max.map_or(usize::MAX, |max| max as usize);
        self.link.introduce(connect.version, packet_max);
        let has_method = connect.auth_method.is_some();
        self.connect = Some(connect);
        if let Some((limit, reason)) = self.limit_of_connect(now_ms) {
            self.end_at(limit, reason, now_ms);
            return;
        }
        let Some(connect) = &mut self.connect else { return };
        let (username, password) = (connect.username.take(), connect.password.take());
        if has_method {
            self.begin_exchange(username, now_ms);
            return;
        }
        self.stage = Stage::Authenticating;
        let live = Arc::clone(&self.shared.config.live());
        let offer = Offer {
            user: username.as_deref(),
            password: password.as_deref(),
            address: self.peer.ip(),
        };
        let applicant = || Arc::clone(&self.link) as Arc<dyn Applicant>;
        if let Some(verdict) = live.authenticator.log_in(&offer, now_ms, applicant) {
            self.authenticated(verdict, now_ms);
        }
    }

    pub(super) fn authenticated(&mut self, verdict: Result<Principal, AuthError>, now_ms: u64) {
        if self.stage != Stage::Authenticating {
            return;
        }
        let principal = match verdict {
            Ok(principal) => principal,
            Err(error) => return self.refuse_login(error),
        };
        self.principal = Some(principal.clone());
        let Some(connect) = self.connect.as_deref() else { return };
        let mut client_id = connect.client_id.clone();
        if client_id.is_empty() {
            match assigned_client_id() {
                Some(assigned) => client_id = assigned,
                None => {
                    return self.refuse(ReasonCode::ServerUnavailable, "there is no randomness");
                }
            }
        }
        if !self.take_place(&principal, &client_id) {
            let reason = ReasonCode::QuotaExceeded;
            return self.end_at(Limit::ConnectionsPerUser, reason, now_ms);
        }
        let Some(connect) = self.connect.as_deref() else { return };
        if let Some(will) = &connect.will
            && !self.may_leave(&principal, &client_id, will)
        {
            self.refuse(ReasonCode::NotAuthorized, "the will's topic may not be published to");
            return;
        }
        // Nobody is asked to leave for a CONNECT that is refused (MQTT5-3.1.4).
        if self.awaits_predecessor(&principal, now_ms) {
            return;
        }
        let Some(connect) = self.connect.as_deref() else { return };
        let will = connect.will.as_ref().map(|will| {
            let author = Author { client_id: &client_id, username: principal.login() };
            (will.delay_s, encode_will(will, author, now_ms))
        });
        let expiry_s = match connect.version {
            Version::V5 => connect.session_expiry_s.unwrap_or(0),
            Version::V311 if connect.clean_start => 0,
            Version::V311 => NEVER_EXPIRES_S,
        };
        let opening = Opening {
            client_id: &client_id,
            clean_start: connect.clean_start,
            expiry_s,
            receive_max: connect.receive_max.min(self.limits.inflight_max),
            will,
        };
        match self.shared.broker.open(&principal, opening, self.waiter(), now_ms) {
            Ok(opened) => self.serve(principal, opened, now_ms),
            Err(error) => {
                tracing::warn!(client_id, %error, "a session could not be opened");
                self.refuse(ReasonCode::ServerUnavailable, "the session cannot be opened now");
            }
        }
    }

    fn refuse_login(&mut self, error: AuthError) {
        self.shared.broker.metrics.connections.auth_failures.of(Protocol::Mqtt).inc();
        let (reason, text) = match error {
            AuthError::CredentialsRequired => {
                (ReasonCode::NotAuthorized, "credentials are required")
            }
            AuthError::BadCredentials => {
                (ReasonCode::BadUserNameOrPassword, "bad user name or password")
            }
            AuthError::Busy => (ReasonCode::ServerBusy, "too many logins wait, try again"),
            AuthError::TooManyFailures => {
                (ReasonCode::ConnectionRateExceeded, "too many failed logins, wait a minute")
            }
        };
        // Those come in crowds, and `/metrics` counts them.
        if matches!(error, AuthError::Busy | AuthError::TooManyFailures) {
            tracing::debug!(peer = %self.peer, %error, "an MQTT login was refused");
        } else {
            tracing::info!(peer = %self.peer, %error, "an MQTT login was refused");
        }
        self.refuse(reason, text);
    }

    fn may_leave(&self, principal: &Principal, client_id: &str, will: &Will) -> bool {
        let live = self.shared.config.live();
        let vhost = &principal.vhost;
        !is_system(&will.topic)
            && live.acl.allows(principal, client_id, Action::Publish, vhost, &will.topic).allowed
    }

    fn serve(&mut self, principal: Principal, opened: Opened, now_ms: u64) {
        let session = &opened.handle.session;
        let mut publisher = Publisher::new(
            &self.shared.broker,
            principal,
            Arc::clone(&session.key.client_id),
            session.id,
            LocalCounters::new(Protocol::Mqtt),
        );
        publisher.can_be_told = self.version == Version::V5;
        self.serving = Some(Box::new(Serving {
            handle: opened.handle,
            publisher,
            inbound: AHashMap::new(),
            replays: VecDeque::new(),
            settled: Vec::new(),
            encodings: Encodings::default(),
            pull: true,
            closing: Closing::default(),
            present: false,
            brake: Brake::default(),
        }));
        if let Some(connect) = &mut self.connect
            && opened.expiry_s != connect.session_expiry_s.unwrap_or(0)
        {
            connect.session_expiry_s = Some(opened.expiry_s);
        }
        self.stage = Stage::Opening;
        if opened.waits {
            self.replies.owe(Reply::Open);
        } else {
            self.opened(&Outcome::Done, now_ms);
        }
    }

    /// The session's record is durable and applied, or needs not be.
    pub(super) fn opened(&mut self, outcome: &Outcome, now_ms: u64) {
        let (Some(serving), Some(connect)) = (&mut self.serving, &self.connect) else { return };
        let broker = &self.shared.broker;
        let present = matches!(outcome, Outcome::Opened { present: true });
        let stale = *outcome == Outcome::Stale && serving.handle.session.durable;
        let consumer: Arc<dyn Consumer> = Arc::new(Subscriber(Arc::clone(&self.link)));
        let window = connect.receive_max.min(self.limits.inflight_max);
        serving.present = present;
        if stale {
            self.end(CloseReason::TakenOver);
            return;
        }
        // CONNACK is in the buffer before anybody can deliver [MQTT-3.2.0-1].
        let inbound = broker.inbound_ids(&serving.handle);
        serving.inbound.extend(inbound.into_iter().map(|id| (id, Inbound::Received)));
        serving.replays = broker.unfinished_replays(&serving.handle).into();
        let handle = serving.handle.clone();
        if !self.send_connack(present) {
            self.end(CloseReason::ProtocolError);
            return;
        }
        self.welcomed = true;
        if !self.shared.broker.attach(&handle, consumer, window) {
            self.end(CloseReason::TakenOver);
            return;
        }
        self.stage = Stage::Connected;
        self.heard_ms = now_ms;
        if let Some(patience_ms) = self.patience_ms {
            self.watch(now_ms + patience_ms, now_ms);
        }
        tracing::debug!(peer = %self.peer, client_id = self.client_id(), present, "an MQTT client came");
    }

    /// Says that all is well; false when the client takes no packet of that length [MQTT-3.1.2-24].
    fn send_connack(&mut self, present: bool) -> bool {
        let (Some(serving), Some(connect)) = (&self.serving, &self.connect) else { return false };
        let asked_s = connect.keep_alive_s;
        let limit_s = self.limits.keep_alive_s_max;
        let lowered =
            self.version == Version::V5 && limit_s > 0 && (asked_s == 0 || asked_s > limit_s);
        let keep_alive_s = if lowered { limit_s } else { asked_s };
        // One and a half times the keep alive [MQTT-3.1.2-22].
        self.patience_ms = (keep_alive_s > 0).then_some(u64::from(keep_alive_s) * 1500);
        let client_id = &serving.handle.session.key.client_id;
        let response_information = self.response_information(connect, client_id);
        let connack = ConnAck {
            // MQTT 3.1 has no such flag: the byte is reserved there.
            session_present: present && !connect.mqtt31,
            session_expiry_s: connect.session_expiry_s,
            receive_max: Some(self.limits.receive_max),
            packet_bytes_max: u32::try_from(self.limits.packet_bytes_max).ok(),
            assigned_client_id: connect.client_id.is_empty().then_some(&**client_id),
            topic_alias_max: Some(self.limits.topic_alias_max),
            server_keep_alive_s: lowered.then_some(limit_s),
            response_information: response_information.as_deref(),
            auth_method: connect.auth_method.as_deref(),
            auth_data: self.exchange.as_ref().and_then(|exchange| exchange.own_proof()),
            ..ConnAck::new(ReasonCode::Success)
        };
        let sent = self.put_connack(&connack)
            || self.put_connack(&ConnAck { response_information: None, ..connack });
        self.exchange = None;
        sent
    }

    /// What the client may build its response topics from (MQTT5-3.2.2.3.15), if it asked and may subscribe there.
    fn response_information(&self, connect: &Connect, client_id: &str) -> Option<String> {
        if !connect.request_response_information {
            return None;
        }
        let principal = self.principal.as_ref()?;
        let live = self.shared.config.live();
        let template = &live.mqtt.response_information;
        let information = response_information::expand(template, client_id, principal.login())?;
        let filter = response_information::filter(&information);
        let vhost = &principal.vhost;
        let allowed =
            live.acl.allows(principal, client_id, Action::Subscribe, vhost, &filter).allowed;
        allowed.then_some(information)
    }

    /// Answers CONNECT with a failure and ends.
    pub(super) fn refuse(&mut self, reason: ReasonCode, text: &str) {
        self.refuse_with(&ConnAck { reason_string: Some(text), ..ConnAck::new(reason) });
    }

    /// Answers CONNECT with a failure, whose text is left out where it is not wanted or does not fit
    /// [MQTT-3.2.2-19], and ends.
    pub(super) fn refuse_with(&mut self, connack: &ConnAck<'_>) {
        let bare = ConnAck { reason_string: None, ..*connack };
        let told = self.wants_reasons() && self.put_connack(connack);
        // To who takes not even that, the end of the connection says it.
        if !told && !self.put_connack(&bare) {
            tracing::debug!(peer = %self.peer, "a refusal was longer than the client takes");
        }
        self.end(CloseReason::NotAuthorized);
    }

    /// False, and nothing is sent, when it is longer than the client takes or than a packet can be.
    fn put_connack(&self, connack: &ConnAck<'_>) -> bool {
        let mut packet = Vec::new();
        let encoded = connack::encode(&mut packet, self.version, connack);
        let fits = encoded.is_ok() && packet.len() <= self.link.packet_bytes_max();
        if fits {
            self.link.outbound.push_reply(|out| out.extend_from_slice(&packet));
        }
        fits
    }

    /// Whether the client wants texts beside reason codes [MQTT-3.1.2-29]; in CONNACK and DISCONNECT it could be given
    /// them anyway, and has no use for them.
    fn wants_reasons(&self) -> bool {
        self.connect.as_ref().is_none_or(|connect| connect.request_problem_information)
    }
}

fn encode_will(will: &Will, author: Author<'_>, now_ms: u64) -> Vec<u8> {
    let publication = Publication {
        topic: &will.topic,
        payload: &will.payload,
        properties: &will.properties,
        qos: will.qos,
        retain: will.retain,
        expiry_s: will.expiry_s,
    };
    let mut message = Message::accepted(&publication, author, now_ms);
    message.will = true;
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    bytes
}

/// An identifier for a client that has none (MQTT5-3.1.3.1).
fn assigned_client_id() -> Option<String> {
    let mut random = [0u8; 16];
    getrandom::fill(&mut random).ok()?;
    let mut id = String::from("auto-");
    for byte in random {
        write!(id, "{byte:02x}").ok()?;
    }
    Some(id)
}
