//! One AMQP connection as the server's loop drives it: engine in front, client behind. Part of `amqp`.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::amqp::client::{Client, Stage};
use crate::amqp::connection::{Connection, Limits};
use crate::amqp::link::Link;
use crate::broker::Broker;
use crate::config::live::Bundle;
use crate::metrics::Protocol as Label;
use crate::net::outbound::{CLOSE, Outbound, TIMER};
use crate::server::admission::Users;
use crate::server::driver::{Ended, Protocol, Verdict};
use crate::server::timer::{Timed, Wheel};

/// Unfinished messages of one connection, in largest ones: channels may interleave their contents.
const UNFINISHED_MESSAGES_MAX: usize = 2;

/// What every AMQP connection of a broker shares.
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
    /// What the server properties call the data that is served.
    pub cluster_name: Arc<str>,
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
        let amqp = Arc::clone(&shared.config.live().amqp);
        let engine = Connection::new(Limits {
            frame_bytes_max: amqp.frame_bytes_max,
            channels_max: amqp.channels_max,
            heartbeat_s: amqp.heartbeat_s,
            message_bytes_max: amqp.message_bytes_max,
            unfinished_bytes_max: amqp.message_bytes_max.saturating_mul(UNFINISHED_MESSAGES_MAX),
        });
        let link = Link::new(outbound);
        let deadline_ms = now_ms + amqp.login_timeout_ms;
        let timed: Arc<dyn Timed> = link.clone();
        shared.wheel.schedule(deadline_ms, Arc::downgrade(&timed));
        let metrics = &shared.broker.metrics.connections;
        metrics.open.of(Label::Amqp).inc();
        metrics.opened.of(Label::Amqp).inc();
        let client = Client::new(shared.clone(), amqp, link, peer, deadline_ms);
        Self { engine, client }
    }

    /// Follows the client's stage with the engine: a login or vhost that was granted opens the way for more.
    fn verdict(&mut self, now_ms: u64) -> Verdict {
        match self.client.stage() {
            Stage::Tuning => {
                self.engine.accept();
                Verdict::Continue
            }
            Stage::Running => {
                self.engine.open();
                self.client.pause_or_continue(now_ms)
            }
            Stage::Greeting => Verdict::Continue,
            Stage::Authenticating => Verdict::Pause,
            Stage::Silent => {
                self.engine.abandon();
                Verdict::Continue
            }
            Stage::Ended => {
                self.engine.abandon();
                Verdict::Close
            }
        }
    }
}

impl Protocol for Service {
    fn receive(&mut self, input: &[u8], now_ms: u64) -> (usize, Verdict) {
        if self.client.must_wait(now_ms) {
            return (0, Verdict::Pause);
        }
        self.client.begin_batch(input.len(), now_ms);
        let mut used = 0;
        loop {
            let before = self.client.stage();
            let client = &mut self.client;
            let rest = input.get(used..).unwrap_or_default();
            let (more, outcome) =
                self.engine.receive(rest, &mut |event| client.handle(event, now_ms));
            used += more;
            if let Err(violation) = outcome {
                self.client.violated(&violation, now_ms);
            }
            // What came behind a login or vhost that was granted at once is still to be parsed.
            let verdict = self.verdict(now_ms);
            let opened = before != self.client.stage();
            if !opened || verdict != Verdict::Continue {
                self.client.end_batch(now_ms);
                return (used, verdict);
            }
        }
    }

    fn wake(&mut self, signals: u32, now_ms: u64) -> Verdict {
        if signals & TIMER != 0 {
            self.client.look_at_clock(now_ms);
        }
        self.client.take_inbox(now_ms);
        if signals & CLOSE != 0 {
            self.client.say_goodbye();
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
