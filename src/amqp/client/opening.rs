//! From the protocol header to the open vhost: identity, limits, rights. Part of `amqp::client`.

use std::sync::Arc;

use ahash::AHashMap;

use crate::amqp::codec::handshake::{StartOk, TuneOk};
use crate::amqp::codec::method_id::MethodId;
use crate::amqp::codec::reply::{self, Reply};
use crate::amqp::connection::Flow;
use crate::amqp::error::{Fault, ReplyCode};
use crate::amqp::greeting::{ClientTraits, server_properties};
use crate::amqp::heart::Heart;
use crate::amqp::login::{self, Credentials, MECHANISMS};
use crate::amqp::owing::Owing;
use crate::auth::Principal;
use crate::auth::authenticator::AuthError;
use crate::auth::checks::Applicant;
use crate::broker::consumer::Encodings;
use crate::broker::publish::Publisher;
use crate::broker::publish::crowd::Brake;
use crate::broker::sessions::registry::NOBODY;
use crate::metrics::{CloseReason, ErrorKind, Limit, LocalCounters, Protocol};
use crate::model::field_table::FieldTable;
use crate::server::admission::Holder;

use super::{Client, Serving, Stage};

impl Client {
    pub(super) fn greet(&self) {
        let properties = server_properties(&self.limits, &self.shared.cluster_name);
        let server_properties = FieldTable::stored(&properties);
        self.send(0, Reply::Start { server_properties, mechanisms: MECHANISMS });
    }

    pub(super) fn log_in(&mut self, start_ok: &StartOk<'_>, now_ms: u64) {
        let offered = ClientTraits::read(start_ok.client_properties.as_bytes())
            .map_err(|error| error.to_string())
            .and_then(|traits| {
                self.traits = traits;
                login::credentials(start_ok.mechanism, start_ok.response.0)
                    .map_err(|error| error.to_string())
            });
        let Credentials { user, password } = match offered {
            Ok(credentials) => credentials,
            Err(error) => {
                tracing::debug!(peer = %self.peer, error, "an AMQP login was not understood");
                self.count_error(ErrorKind::Protocol);
                self.fall_silent(CloseReason::ProtocolError, now_ms);
                return;
            }
        };
        self.mechanism = if start_ok.mechanism == "AMQPLAIN" { "AMQPLAIN" } else { "PLAIN" };
        self.login = user.as_str().into();
        if !self.shared.users.is_in_time(&user, now_ms) {
            return self.refuse_at(
                Limit::ConnectionRatePerUser,
                MethodId::CONNECTION_START_OK,
                now_ms,
            );
        }
        self.stage = Stage::Authenticating;
        let live = Arc::clone(&self.shared.config.live());
        let applicant = || Arc::clone(&self.link) as Arc<dyn Applicant>;
        let address = self.peer.ip();
        let verdict =
            live.authenticator.log_in_offered(&user, &password, address, now_ms, applicant);
        if let Some(verdict) = verdict {
            self.authenticated(verdict, now_ms);
        }
    }

    pub(super) fn authenticated(&mut self, verdict: Result<Principal, AuthError>, now_ms: u64) {
        if self.stage != Stage::Authenticating {
            return;
        }
        match verdict {
            Ok(principal) => {
                self.principal = Some(principal);
                self.stage = Stage::Tuning;
                let reply = Reply::Tune {
                    channels_max: self.limits.channels_max,
                    frame_bytes_max: self.limits.frame_bytes_max,
                    heartbeat_s: self.limits.heartbeat_s,
                };
                self.send(0, reply);
            }
            Err(error) => self.refuse_login(error, now_ms),
        }
    }

    /// A client that can take it is told; others get silence, so that guessing costs time.
    fn refuse_login(&mut self, error: AuthError, now_ms: u64) {
        self.shared.broker.metrics.connections.auth_failures.of(Protocol::Amqp).inc();
        tracing::info!(peer = %self.peer, login = &*self.login, %error, "an AMQP login was refused");
        if matches!(error, AuthError::Busy | AuthError::TooManyFailures) {
            // Not the client's fault, or over soon: a code after which clients come back.
            let fault = Fault::new(ReplyCode::ConnectionForced, error.to_string());
            self.link.outbound.push_reply(|out| reply::put_close(&fault, 0, out));
            self.end(CloseReason::Limit);
        } else if self.traits.authentication_failure_close {
            let text = format!(
                "Login was refused using authentication mechanism {}. For details see the broker logfile.",
                self.mechanism
            );
            let fault = Fault::new(ReplyCode::AccessRefused, text);
            self.link.outbound.push_reply(|out| reply::put_close(&fault, 0, out));
            self.end(CloseReason::NotAuthorized);
        } else {
            self.fall_silent(CloseReason::NotAuthorized, now_ms);
        }
    }

    pub(super) fn tune(&mut self, tune_ok: &TuneOk, now_ms: u64) {
        self.frame_bytes_max = tune_ok.frame_bytes_max;
        self.heart = Heart::new(tune_ok.heartbeat_s, now_ms);
        if let Some(next_ms) = self.heart.next_ms() {
            self.schedule(next_ms);
        }
    }

    /// Ends the connection because `limit` is reached for its user.
    fn refuse_at(&mut self, limit: Limit, method: MethodId, now_ms: u64) {
        let user = &*self.login;
        if let Some(left_out) = self.shared.broker.metrics.limits.refuse(limit, now_ms) {
            tracing::warn!(peer = %self.peer, user, left_out,
                "an AMQP client was refused: {} is reached", limit.key());
        }
        let text = format!("access refused for user '{user}': connection limit is reached");
        let fault = Fault::new(ReplyCode::NotAllowed, text).at(method);
        self.link.outbound.push_reply(|out| reply::put_close(&fault, 0, out));
        self.end(CloseReason::Limit);
    }

    /// Takes a place among the user's connections; false when there is none left.
    fn take_place(&mut self) -> bool {
        let Some(principal) = self.principal.as_ref().filter(|it| !it.anonymous) else {
            return true;
        };
        self.place = self.shared.users.enter(&principal.name, Holder::Peer(self.peer));
        self.place.is_some()
    }

    pub(super) fn open(&mut self, vhost: &str, now_ms: u64) -> Flow {
        let Some(principal) = &self.principal else { return Flow::Stop };
        // A user lives in one vhost, and only those that are configured exist.
        if *principal.vhost != *vhost {
            let fault = Fault::new(ReplyCode::NotAllowed, format!("vhost {vhost} not found"))
                .at(MethodId::CONNECTION_OPEN);
            tracing::debug!(peer = %self.peer, login = &*self.login, %fault, "refused");
            self.link.outbound.push_reply(|out| reply::put_close(&fault, 0, out));
            self.end(CloseReason::NotAuthorized);
            return Flow::CloseConnection;
        }
        if !self.take_place() {
            self.refuse_at(Limit::ConnectionsPerUser, MethodId::CONNECTION_OPEN, now_ms);
            return Flow::CloseConnection;
        }
        let Some(principal) = &self.principal else { return Flow::Stop };
        let broker = &self.shared.broker;
        let counters = LocalCounters::new(Protocol::Amqp);
        let publisher = Publisher::new(broker, principal.clone(), "".into(), NOBODY, counters);
        self.serving = Some(Box::new(Serving {
            id: broker.next_connection_id(),
            publisher,
            frame_bytes_max: self.frame_bytes_max,
            channels: AHashMap::new(),
            openings: 0,
            owing: Owing::default(),
            answer: None,
            catching_up: false,
            encodings: Encodings::default(),
            settled: Vec::new(),
            relieved: Vec::new(),
            due: Vec::new(),
            lent: Vec::new(),
            telling: Vec::new(),
            brake: Brake::default(),
            unconfirmed: false,
        }));
        self.stage = Stage::Running;
        self.send(0, Reply::OpenOk);
        tracing::debug!(peer = %self.peer, login = &*self.login, "an AMQP client came");
        Flow::Stop
    }
}
