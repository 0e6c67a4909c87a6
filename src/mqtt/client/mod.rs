//! A client's state on this connection, and what its packets mean to the broker. Part of `mqtt`.
//!
//! - `limits` what is refused because a limit is reached
//! - `opening` CONNECT to CONNACK; `authentication` what AUTH carries
//! - `answers` acknowledgements and last words, with reasons
//! - `publishing` its own messages
//! - `rate` how fast it may send
//! - `receiving` subscriptions and the messages it gets
//! - `taking_over` a session that another connection has

mod answers;
mod authentication;
mod limits;
mod opening;
mod publishing;
mod rate;
mod receiving;
mod taking_over;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use ahash::AHashMap;

use crate::auth::Principal;
use crate::broker::connect::{Closing, SessionHandle};
use crate::broker::consumer::{CloseReason as BrokerClose, Completer, Encodings, Outcome, Waiter};
use crate::broker::publish::Publisher;
use crate::broker::publish::crowd::Brake;
use crate::broker::replay::Replay;
use crate::broker::sessions::pull::Acknowledged;
use crate::config::sections::MqttSection;
use crate::metrics::{CloseReason, ErrorKind, Protocol};
use crate::mqtt::codec::PINGRESP;
use crate::mqtt::codec::Version;
use crate::mqtt::codec::connect::Connect;
use crate::mqtt::codec::fixed_header::PacketType;
use crate::mqtt::connection::{Event, Flow, InboundWindow};
use crate::mqtt::error::ProtocolError;
use crate::mqtt::link::Link;
use crate::mqtt::reason::ReasonCode;
use crate::mqtt::replies::{Replies, Reply};
use crate::mqtt::service::Shared;
use crate::net::touched;
use crate::server::admission::UserPlace;
use crate::server::driver::{Ended, Verdict};
use crate::server::timer::Timed;

use self::answers::Answer;
use self::authentication::Exchange;
use self::rate::Pace;
use self::taking_over::Summons;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// No CONNECT yet.
    Idle,
    /// Its password is being verified.
    Authenticating,
    /// It is to prove who it is (MQTT5-4.12).
    Exchanging,
    /// Its session's record is on the way.
    Opening,
    /// CONNACK was sent.
    Connected,
    /// It is over.
    Ended,
}

/// Where an inbound QoS 2 exchange stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inbound {
    /// PUBREC waits for its record.
    Submitted,
    /// PUBREC was sent.
    Received,
    /// PUBCOMP waits for its record.
    Releasing,
}

/// Answers owed beyond which a client is not read: its packets may be a tenth of what we keep of them.
const OWED_MAX: usize = 64 * 1024;
/// Replays of retained messages that may wait for their turn; a client that subscribes on without taking any ends.
const REPLAYS_MAX: usize = 64 * 1024;
/// How often the wheel has a longer silence looked at, ms: of a client that is gone it keeps nothing for longer.
const WATCH_MS: u64 = 600_000;

/// A session and what serves it.
struct Serving {
    handle: SessionHandle,
    publisher: Publisher,
    inbound: AHashMap<u16, Inbound>,
    replays: VecDeque<Replay>,
    /// Durable positions acknowledged in this read batch.
    settled: Vec<u64>,
    encodings: Encodings,
    /// An acknowledgement opened the window, or something was queued.
    pull: bool,
    closing: Closing,
    present: bool,
    /// What it publishes finds queues nearly full.
    brake: Brake,
}

/// One client.
pub struct Client {
    shared: Shared,
    limits: MqttSection,
    link: Arc<Link>,
    window: InboundWindow,
    peer: SocketAddr,
    stage: Stage,
    version: Version,
    connect: Option<Box<Connect>>,
    /// CONNACK with success was sent.
    welcomed: bool,
    principal: Option<Principal>,
    /// Enhanced authentication under way.
    exchange: Option<Box<Exchange>>,
    summons: Summons,
    serving: Option<Box<Serving>>,
    replies: Replies,
    /// Milliseconds without a packet after which the client is gone; `None` is never [MQTT-3.1.2-22].
    patience_ms: Option<u64>,
    heard_ms: u64,
    /// Not read because the journal or the queues are full, or too many answers are owed, or a message is held.
    paused: bool,
    /// A message that the disk does not take now is tried again then.
    held_until_ms: Option<u64>,
    /// When the wheel next has its silence looked at: what is on the wheel is not put there again.
    watched_ms: u64,
    /// When it has the end of its latest pause looked at.
    looked_at_ms: u64,
    deadline_ms: u64,
    ended_by: Option<CloseReason>,
    /// What the client did, if that is why; it is still to be told.
    breach: Option<ProtocolError>,
    /// It was told why the connection ends, or need not be.
    is_told: bool,
    received_bytes: u64,
    /// Among the connections of its user.
    place: Option<UserPlace>,
    /// Its address is too fast.
    turned_away: bool,
    /// How fast it may send; `None` as fast as it can.
    pace: Option<Box<Pace>>,
    /// Packets received, but for PUBLISH.
    control_received: u64,
}

impl Client {
    /// A client that must send CONNECT by `deadline_ms`.
    #[must_use]
    pub fn new(
        shared: Shared,
        limits: MqttSection,
        link: Arc<Link>,
        window: InboundWindow,
        peer: SocketAddr,
        deadline_ms: u64,
    ) -> Self {
        let pace = Pace::new(&limits, 0);
        Self {
            shared,
            limits,
            link,
            window,
            peer,
            stage: Stage::Idle,
            version: Version::V5,
            connect: None,
            welcomed: false,
            principal: None,
            exchange: None,
            summons: Summons::None,
            serving: None,
            replies: Replies::default(),
            patience_ms: None,
            heard_ms: 0,
            paused: false,
            held_until_ms: None,
            watched_ms: deadline_ms,
            looked_at_ms: 0,
            deadline_ms,
            ended_by: None,
            breach: None,
            is_told: false,
            received_bytes: 0,
            place: None,
            turned_away: false,
            pace,
            control_received: 0,
        }
    }

    /// How far it has come.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Whether CONNACK with success was sent.
    #[must_use]
    pub fn is_welcomed(&self) -> bool {
        self.welcomed
    }

    /// Its link.
    #[must_use]
    pub fn link(&self) -> &Arc<Link> {
        &self.link
    }

    fn client_id(&self) -> &str {
        self.serving.as_ref().map_or("", |serving| &serving.handle.session.key.client_id)
    }

    /// Ends the connection once what waits is written.
    pub fn end(&mut self, why: CloseReason) {
        self.ended_by.get_or_insert(why);
        self.stage = Stage::Ended;
    }

    /// Counts a violation.
    pub fn count_error(&self, kind: ErrorKind) {
        let errors = &self.shared.broker.metrics.connections.protocol_errors;
        errors.of(Protocol::Mqtt, kind).inc();
    }

    /// Tells the operator of a violation.
    pub fn log_refusal(&self, error: &ProtocolError) {
        let client_id = self.client_id();
        tracing::debug!(peer = %self.peer, client_id, %error, "an MQTT client broke the protocol");
    }

    /// Bytes arrived.
    pub fn begin_batch(&mut self, now_ms: u64) {
        self.heard_ms = now_ms;
    }

    /// So many bytes of them were packets, and are done with.
    pub fn used(&mut self, bytes: usize, now_ms: u64) {
        self.received_bytes += bytes as u64;
        self.charge_rest(bytes as u64, now_ms);
    }

    /// All packets that arrived together were handled.
    pub fn end_batch(&mut self, now_ms: u64) {
        if self.stage != Stage::Connected {
            return;
        }
        self.serve_queue(now_ms);
        let Some(serving) = &mut self.serving else { return };
        let broker = &self.shared.broker;
        broker.submit_settled(&serving.handle, &mut serving.settled);
        let counters = &mut serving.publisher.counters;
        counters.received_bytes += std::mem::take(&mut self.received_bytes);
        counters.control_received += std::mem::take(&mut self.control_received);
        let (sent_bytes, answers) = self.link.outbound.take_sent();
        counters.sent_bytes += sent_bytes;
        counters.control_sent += answers;
        counters.flush_into(&broker.metrics);
    }

    /// Handles one packet.
    pub fn handle(&mut self, event: Event<'_>, now_ms: u64) -> Flow {
        self.control_received += u64::from(!matches!(event, Event::Publish(_)));
        match event {
            Event::Publish(publish) => {
                if self.pace.is_some() && self.charge(&publish, now_ms) {
                    return Flow::Stop;
                }
                if self.publish(&publish, now_ms) == publishing::Taken::Later {
                    self.uncharge(&publish);
                    return Flow::Hold;
                }
                touched::relieve();
                if touched::is_congested() || (self.pace.is_some() && self.owes_time(now_ms)) {
                    // The rest waits with this connection until its subscribers have room, or its rate has.
                    return Flow::Stop;
                }
            }
            Event::PubAck(ack) => self.settled(ack, Acknowledged::Received),
            Event::PubRec(ack) => self.received(ack),
            Event::PubRel(ack) => self.released(ack),
            Event::PubComp(ack) => self.settled(ack, Acknowledged::Completed),
            Event::Subscribe(subscribe) => self.subscribe(subscribe, now_ms),
            Event::Unsubscribe(unsubscribe) => self.unsubscribe(unsubscribe),
            Event::PingReq => self.link.outbound.push_reply(|out| out.extend(PINGRESP)),
            Event::Disconnect(disconnect) => {
                if let Some(serving) = &mut self.serving {
                    // Any other reason leaves the will in force [MQTT-3.14.4-3].
                    serving.closing = Closing {
                        discard_will: disconnect.reason == ReasonCode::Success,
                        expiry_s: disconnect.session_expiry_s,
                    };
                }
                self.say_farewell();
                self.end(CloseReason::Client);
            }
            Event::Connect(connect) => {
                let aliases = connect.topic_alias_max.min(self.limits.topic_alias_max_out);
                self.link.offer_aliases(aliases);
                self.connect(connect, now_ms);
                return Flow::Stop;
            }
            Event::Auth(auth) => return self.exchange(&auth, now_ms),
        }
        if self.stage == Stage::Connected { Flow::Continue } else { Flow::Stop }
    }

    fn waiter(&self) -> Waiter {
        let completer: Arc<dyn Completer> = self.link.clone();
        Waiter::Connection(completer, self.replies.next_token())
    }

    /// Sends `reply` now, or behind those that are owed.
    fn reply(&mut self, reply: Reply) {
        if self.replies.is_empty() {
            self.send(reply);
        } else {
            self.replies.owe_ready(reply);
        }
    }

    fn send(&mut self, reply: Reply) {
        match reply {
            Reply::Open => {}
            Reply::PubAck(id, reason) => self.send_ack(PacketType::PubAck, id, reason),
            Reply::PubRec(id, reason) => {
                if let Some(serving) = &mut self.serving {
                    if reason.is_failure() {
                        serving.inbound.remove(&id.get());
                    } else if let Some(state) = serving.inbound.get_mut(&id.get()) {
                        *state = Inbound::Received;
                    }
                }
                self.send_ack(PacketType::PubRec, id, reason);
            }
            Reply::PubRel(id) => self.send_ack(PacketType::PubRel, id, ReasonCode::Success),
            Reply::PubComp(id) => {
                let known = self
                    .serving
                    .as_mut()
                    .is_some_and(|serving| serving.inbound.remove(&id.get()).is_some());
                let reason = if known || self.version == Version::V311 {
                    ReasonCode::Success
                } else {
                    ReasonCode::PacketIdentifierNotFound
                };
                self.send_ack(PacketType::PubComp, id, reason);
            }
            Reply::SubAck(id, reasons, replays) => {
                self.send_reasons(Answer::SubAck, id, &reasons);
                if let Some(serving) = &mut self.serving {
                    serving.replays.extend(replays);
                    serving.pull = true;
                    if serving.replays.len() > REPLAYS_MAX {
                        self.end(CloseReason::Limit);
                    }
                }
            }
            Reply::UnsubAck(id, reasons) => self.send_reasons(Answer::UnsubAck, id, &reasons),
        }
    }

    /// Reads what the applier and others left.
    pub fn take_inbox(&mut self, now_ms: u64) {
        let inbox = self.link.take_inbox();
        if let Some(verdict) = inbox.login {
            self.authenticated(verdict, now_ms);
        }
        self.look_for_session(inbox.is_free, now_ms);
        if let Some(reason) = inbox.close {
            self.end(match reason {
                BrokerClose::TakenOver => CloseReason::TakenOver,
                BrokerClose::ShuttingDown => CloseReason::Shutdown,
            });
            return;
        }
        for (token, outcome) in inbox.outcomes {
            self.replies.resolve(token, outcome);
        }
        while let Some((reply, outcome)) = self.replies.pop() {
            if self.stage == Stage::Ended {
                return;
            }
            match (reply, outcome) {
                (Reply::Open, outcome) => self.opened(&outcome, now_ms),
                // The session is another connection's by now: this one is being closed, unacknowledged.
                (_, Outcome::Stale) => self.end(CloseReason::TakenOver),
                // MQTT 3.1.1 can only acknowledge what is not carried out [MQTT-3.3.5-2].
                (reply, Outcome::Rejected) if self.version == Version::V5 => {
                    self.send(reply.refused());
                }
                (reply, _) => self.send(reply),
            }
        }
        if let Some(serving) = &mut self.serving {
            serving.pull = true;
        }
    }

    /// Whether nothing came for too long; else the next look is scheduled.
    pub fn is_overdue(&mut self, now_ms: u64) -> bool {
        if self.held_until_ms.is_some_and(|until_ms| until_ms <= now_ms) {
            self.held_until_ms = None;
        }
        if self.exchange_is_late(now_ms) {
            return false;
        }
        let deadline_ms = match self.stage {
            Stage::Ended => return false,
            Stage::Idle | Stage::Authenticating | Stage::Exchanging => self.deadline_ms,
            Stage::Opening | Stage::Connected => {
                let Some(patience_ms) = self.patience_ms else { return false };
                self.heard_ms + patience_ms
            }
        };
        if deadline_ms > now_ms {
            self.watch(deadline_ms, now_ms);
            return false;
        }
        let unread = self.paused || self.link.outbound.is_moving();
        if unread {
            // What it may have said was not read.
            self.heard_ms = now_ms;
            self.watch(now_ms + self.patience_ms.unwrap_or_default(), now_ms);
        }
        !unread
    }

    /// Has [`Self::is_overdue`] asked by `deadline_ms`, unless it is before anyway: then that schedules the next.
    fn watch(&mut self, deadline_ms: u64, now_ms: u64) {
        let look_ms = deadline_ms.min(now_ms.saturating_add(WATCH_MS));
        if self.watched_ms <= now_ms || self.watched_ms > look_ms {
            self.watched_ms = look_ms;
            self.schedule(look_ms);
        }
    }

    fn schedule(&self, deadline_ms: u64) {
        let timed: Arc<dyn Timed> = self.link.clone();
        self.shared.wheel.schedule(deadline_ms, Arc::downgrade(&timed));
    }

    /// Ends an overdue connection.
    pub fn time_out(&mut self) {
        let why = match self.stage {
            Stage::Idle | Stage::Exchanging => CloseReason::ConnectTimeout,
            Stage::Authenticating => {
                self.end(CloseReason::ConnectTimeout);
                return self.refuse(ReasonCode::ServerBusy, "too many logins wait, try again");
            }
            Stage::Opening | Stage::Connected | Stage::Ended => CloseReason::KeepAlive,
        };
        self.end(why);
    }

    /// When to look again at a client that publishes into queues without room.
    fn look_again_ms(&mut self, now_ms: u64) -> Option<u64> {
        let serving = self.serving.as_mut()?;
        let broker = &self.shared.broker;
        let acknowledges = || serving.handle.session.inner.lock().in_flight > 0;
        serving.brake.holds(broker, &mut serving.publisher, acknowledges, now_ms)
    }

    /// Not read while the journal is full, while a message is held for a disk that refuses, or while it has more
    /// answers to come than it should: the outcomes that bring those wake it. With pauses, or not, while queues are.
    pub fn pause_or_continue(&mut self, now_ms: u64) -> Verdict {
        if self.held_until_ms.is_some() {
            self.paused = true;
            return Verdict::Pause;
        }
        if self.replies.len() >= OWED_MAX {
            self.paused = true;
            return Verdict::Pause;
        }
        if self.paced_until_ms(now_ms).is_some() {
            self.paused = true;
            return Verdict::Pause;
        }
        if let Some(at_ms) = self.look_again_ms(now_ms) {
            self.paused = true;
            if std::mem::replace(&mut self.looked_at_ms, at_ms) != at_ms {
                self.schedule(at_ms);
            }
            return Verdict::Pause;
        }
        self.paused = self.shared.broker.is_full();
        if self.paused {
            let link: Arc<dyn Completer> = self.link.clone();
            self.shared.broker.wake_when_room(link);
            self.paused = self.shared.broker.is_full();
        }
        if self.paused { Verdict::Pause } else { Verdict::Continue }
    }

    /// The connection is over.
    pub fn ended(&mut self, why: Ended, now_ms: u64) {
        let reason = match (why, self.ended_by) {
            (_, Some(reason)) => reason,
            (Ended::Dropped, None) => CloseReason::Shutdown,
            (Ended::ByProtocol | Ended::ByPeer, None) => CloseReason::Lost,
        };
        let broker = Arc::clone(&self.shared.broker);
        broker.metrics.connections.open.of(Protocol::Mqtt).dec();
        broker.metrics.connections.closed.of(Protocol::Mqtt, reason).inc();
        self.leave(now_ms);
        tracing::debug!(peer = %self.peer, ?reason, "an MQTT connection ended");
    }

    /// What DISCONNECT says holds at once, for will and expiry: the client may come back before this connection's task
    /// is through with it [MQTT-3.14.4-3].
    fn say_farewell(&self) {
        if let Some(serving) = &self.serving {
            self.shared.broker.say_farewell(&serving.handle, serving.closing);
        }
    }

    /// Gives the session back, if that is not done: whoever waits for it need not wait until all is written.
    pub fn leave(&mut self, now_ms: u64) {
        self.place = None;
        let Some(mut serving) = self.serving.take() else { return };
        let broker = &self.shared.broker;
        broker.submit_settled(&serving.handle, &mut serving.settled);
        serving.publisher.counters.flush_into(&broker.metrics);
        broker.close(&serving.handle, serving.closing, now_ms);
        let client_id = &*serving.handle.session.key.client_id;
        tracing::debug!(peer = %self.peer, client_id, "an MQTT client left");
    }
}
