//! One MQTT connection as the server's loop drives it: engine in front, client behind. Part of `mqtt`.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::broker::Broker;
use crate::config::live::Bundle;
use crate::metrics::{CloseReason, ErrorKind, Limit, Protocol as Label};
use crate::mqtt::client::{Client, Stage};
use crate::mqtt::connection::{Connection, Limits};
use crate::mqtt::error::ProtocolError;
use crate::mqtt::link::Link;
use crate::mqtt::reason::ReasonCode;
use crate::net::outbound::{CLOSE, Outbound, TIMER};
use crate::server::admission::Users;
use crate::server::driver::{Ended, Protocol, Verdict};
use crate::server::timer::{Timed, Wheel};

/// Longest CONNECT: identifiers, credentials and a will, before anybody is authenticated.
const CONNECT_BYTES_MAX: usize = 256 << 10;
/// Most filters in one SUBSCRIBE.
const FILTERS_MAX: usize = 4096;

/// What every MQTT connection of a broker shares.
#[derive(Clone)]
pub struct Shared {
    /// The broker.
    pub broker: Arc<Broker>,
    /// The configuration; a connection keeps the limits it began with.
    pub config: Arc<Bundle>,
    /// Deadlines.
    pub wheel: Arc<Wheel>,
    /// Connections by user, of all protocols.
    pub users: Arc<Users>,
}

/// One connection.
pub struct Service {
    engine: Connection,
    client: Client,
}

impl Service {
    /// A connection from `peer` that has said nothing yet.
    #[must_use]
    pub fn new(shared: &Shared, outbound: Arc<Outbound>, peer: SocketAddr, now_ms: u64) -> Self {
        let mqtt = shared.config.live().mqtt.clone();
        let limits = Limits {
            packet_bytes_max: mqtt.packet_bytes_max,
            connect_bytes_max: CONNECT_BYTES_MAX.min(mqtt.packet_bytes_max),
            topic_alias_max: mqtt.topic_alias_max,
            receive_max: mqtt.receive_max,
            filters_max: FILTERS_MAX,
        };
        let engine = Connection::new(limits);
        let link = Link::new(outbound);
        let timeout_ms = mqtt.connect_timeout_ms;
        let timed: Arc<dyn Timed> = link.clone();
        shared.wheel.schedule(now_ms + timeout_ms, Arc::downgrade(&timed));
        let metrics = &shared.broker.metrics.connections;
        metrics.open.of(Label::Mqtt).inc();
        metrics.opened.of(Label::Mqtt).inc();
        let inbound = engine.inbound();
        let client = Client::new(shared.clone(), mqtt, link, inbound, peer, now_ms + timeout_ms);
        Self { engine, client }
    }

    /// The same, whose CONNECT is refused because its address is too fast.
    #[must_use]
    pub fn turned_away(mut self) -> Self {
        self.client.turn_away();
        self
    }

    fn refuse(&mut self, error: &ProtocolError, now_ms: u64) -> Verdict {
        let kind = match error.reason {
            ReasonCode::MalformedPacket => ErrorKind::Malformed,
            ReasonCode::PacketTooLarge => ErrorKind::TooLarge,
            ReasonCode::ReceiveMaximumExceeded => ErrorKind::Overrun,
            ReasonCode::UnsupportedProtocolVersion => ErrorKind::Unsupported,
            _ => ErrorKind::Protocol,
        };
        self.client.count_error(kind);
        match error.reason {
            ReasonCode::PacketTooLarge => self.client.note_limit(Limit::PacketBytes, now_ms),
            ReasonCode::ReceiveMaximumExceeded => self.client.note_limit(Limit::ReceiveMax, now_ms),
            _ => {}
        }
        self.client.log_refusal(error);
        let engine = &self.engine;
        self.client.link().outbound.push_reply(|out| engine.error_reply(error, out));
        self.client.end(CloseReason::ProtocolError);
        self.client.leave(now_ms);
        Verdict::Close
    }

    /// Tells a client whose connection ends on our side why, once.
    fn say_last_word(&mut self) {
        let breach = self.client.take_breach();
        let farewell = self.client.take_farewell();
        let engine = &self.engine;
        self.client.link().outbound.push_reply(|out| match (breach, farewell) {
            (Some(error), _) => engine.error_reply(&error, out),
            (None, Some(reason)) => engine.farewell(reason, out),
            (None, None) => {}
        });
    }

    /// Follows the client's stage with the engine: a CONNECT that was accepted opens the way for more.
    fn verdict(&mut self, now_ms: u64) -> Verdict {
        if self.client.is_welcomed() {
            // Also if something ended it in the same turn: a second CONNACK may not tell it so.
            self.engine.accept();
        }
        match self.client.stage() {
            Stage::Connected => self.client.pause_or_continue(now_ms),
            Stage::Idle | Stage::Exchanging => Verdict::Continue,
            Stage::Authenticating | Stage::Opening => Verdict::Pause,
            Stage::Ended => {
                self.say_last_word();
                self.engine.close();
                self.client.leave(now_ms);
                Verdict::Close
            }
        }
    }
}

impl Protocol for Service {
    fn receive(&mut self, input: &[u8], now_ms: u64) -> (usize, Verdict) {
        self.client.begin_batch(now_ms);
        let mut used = 0;
        loop {
            let before = self.client.stage();
            let client = &mut self.client;
            let rest = input.get(used..).unwrap_or_default();
            match self.engine.receive(rest, &mut |event| client.handle(event, now_ms)) {
                Ok(more) => {
                    used += more;
                    self.client.used(more, now_ms);
                }
                Err(error) => {
                    self.client.end_batch(now_ms);
                    return (input.len(), self.refuse(&error, now_ms));
                }
            }
            let verdict = self.verdict(now_ms);
            // What came behind a CONNECT or AUTH that was answered at once is still to be parsed.
            let opened = before != self.client.stage();
            if !opened || verdict != Verdict::Continue {
                self.client.end_batch(now_ms);
                // What it was to be sent may have turned out not to be readable.
                let is_over = verdict != Verdict::Close && self.client.stage() == Stage::Ended;
                return (used, if is_over { self.verdict(now_ms) } else { verdict });
            }
        }
    }

    fn wake(&mut self, signals: u32, now_ms: u64) -> Verdict {
        if signals & TIMER != 0 && self.client.is_overdue(now_ms) {
            self.client.time_out();
        }
        self.client.take_inbox(now_ms);
        if signals & CLOSE != 0 && self.client.stage() != Stage::Ended {
            // Nobody left a reason with it: all connections are to end, those without a session as well.
            self.client.end(CloseReason::Shutdown);
        }
        self.client.end_batch(now_ms);
        self.verdict(now_ms)
    }

    fn ended(&mut self, why: Ended, now_ms: u64) {
        self.client.ended(why, now_ms);
    }

    fn outbound(&self) -> &Arc<Outbound> {
        &self.client.link().outbound
    }
}
