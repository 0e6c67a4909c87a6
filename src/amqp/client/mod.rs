//! A client's state on this connection, and what its methods mean to the broker. Part of `amqp`.
//!
//! - `opening` from the protocol header to the open vhost
//! - `channel` what a channel keeps; `working` its methods, each in its own file:
//! - `topology` exchanges, queues, bindings
//! - `publishing` its messages and their confirms
//! - `consuming` consumers, get, prefetch; `settling` acknowledgements and returns
//! - `watching` clocks: login, heartbeats, back-pressure
//! - `leaving` channels and connections that end

mod channel;
mod consuming;
mod leaving;
mod opening;
mod publishing;
mod settling;
#[cfg(test)]
mod tests;
mod topology;
mod watching;
mod working;

use std::net::SocketAddr;
use std::sync::Arc;

use ahash::AHashMap;

use crate::amqp::codec::reply::{self, Reply};
use crate::amqp::connection::{Event, Flow, Violation};
use crate::amqp::error::{Fault, Scope};
use crate::amqp::greeting::ClientTraits;
use crate::amqp::heart::Heart;
use crate::amqp::ledger::Held;
use crate::amqp::link::Link;
use crate::amqp::owing::{Owed, Owing};
use crate::amqp::service::Shared;
use crate::auth::Principal;
use crate::broker::consumer::{Encodings, Outcome};
use crate::broker::declared::queue::DeclaredQueue;
use crate::broker::publish::Publisher;
use crate::broker::publish::crowd::Brake;
use crate::config::amqp::AmqpSection;
use crate::metrics::{CloseReason, ErrorKind, Protocol};
use crate::model::ids::ConnectionId;
use crate::net::touched;
use crate::server::admission::UserPlace;

use channel::Channel;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It has not offered credentials.
    Greeting,
    /// Its password is being verified.
    Authenticating,
    /// It has logged in and has not opened a vhost.
    Tuning,
    /// Its vhost is open.
    Running,
    /// It did something that is answered with silence first.
    Silent,
    /// It is over.
    Ended,
}

/// A connection whose vhost is open.
struct Serving {
    id: ConnectionId,
    publisher: Publisher,
    frame_bytes_max: u32,
    channels: AHashMap<u16, Box<Channel>>,
    /// Channels opened so far.
    openings: u32,
    owing: Owing,
    /// The frame that leaves when what is owed is paid; nothing is parsed before.
    answer: Option<Vec<u8>>,
    /// A method waits until what was published before it is in its queue; nothing is parsed before.
    catching_up: bool,
    encodings: Encodings,
    /// Deliveries settled in this read batch.
    settled: Vec<Held>,
    /// Channels that acknowledged something in it.
    relieved: Vec<u16>,
    /// Queues to be dispatched at its end.
    due: Vec<Arc<DeclaredQueue>>,
    /// The same, on behalf of others' consumers: it published what is in them.
    lent: Vec<Arc<DeclaredQueue>>,
    /// Channels with confirms to be told at its end.
    telling: Vec<u16>,
    /// What it publishes finds queues nearly full.
    brake: Brake,
    /// A channel had as many publishes unconfirmed as it may have.
    unconfirmed: bool,
}

/// One client.
pub struct Client {
    shared: Shared,
    limits: Arc<AmqpSection>,
    link: Arc<Link>,
    peer: SocketAddr,
    stage: Stage,
    traits: ClientTraits,
    mechanism: &'static str,
    /// The name it logged in with.
    login: Arc<str>,
    principal: Option<Principal>,
    serving: Option<Box<Serving>>,
    frame_bytes_max: u32,
    heart: Heart,
    /// By then the vhost is open, or the silence over.
    deadline_ms: u64,
    /// It published since it was last let read on.
    publishing: bool,
    /// Not read since then, because the journal is full.
    paused_ms: Option<u64>,
    /// Not read because queues are nearly full, or too much is owed to it.
    is_slowed: bool,
    /// Until then the wheel has it, to be looked at again.
    look_ms: u64,
    /// It was told so.
    told_blocked: bool,
    /// It publishes what is to be kept, and asks for no confirms.
    trusts: bool,
    /// It is woken when the disk takes messages again.
    awaits_disk: bool,
    /// Bytes left since its heart last looked.
    sent: bool,
    ended_by: Option<CloseReason>,
    received_bytes: u64,
    /// Among the connections of its user.
    place: Option<UserPlace>,
}

impl Client {
    /// A client that must open a vhost by `deadline_ms`.
    #[must_use]
    pub fn new(
        shared: Shared,
        limits: Arc<AmqpSection>,
        link: Arc<Link>,
        peer: SocketAddr,
        deadline_ms: u64,
    ) -> Self {
        Self {
            shared,
            limits,
            link,
            peer,
            stage: Stage::Greeting,
            traits: ClientTraits::default(),
            mechanism: "",
            login: "".into(),
            principal: None,
            serving: None,
            frame_bytes_max: 0,
            heart: Heart::default(),
            deadline_ms,
            publishing: false,
            paused_ms: None,
            is_slowed: false,
            look_ms: 0,
            told_blocked: false,
            trusts: false,
            awaits_disk: false,
            sent: false,
            ended_by: None,
            received_bytes: 0,
            place: None,
        }
    }

    /// How far it has come.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Its link.
    #[must_use]
    pub fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// Ends the connection once what waits is written.
    fn end(&mut self, why: CloseReason) {
        self.ended_by.get_or_insert(why);
        self.stage = Stage::Ended;
    }

    /// Bytes arrived.
    pub fn begin_batch(&mut self, bytes: usize, now_ms: u64) {
        self.heart.hear(now_ms);
        self.received_bytes += bytes as u64;
    }

    /// All frames that arrived together were handled: what they made possible happens now.
    pub fn end_batch(&mut self, now_ms: u64) {
        self.settle_gathered();
        if self.stage == Stage::Running {
            self.relieve();
            self.dispatch_due(now_ms);
            self.tell_confirms();
        } else if let Some(serving) = &mut self.serving {
            serving.lent.drain(..).for_each(|queue| queue.call());
        }
        let sent_bytes = self.link.outbound.take_sent_bytes();
        self.sent |= sent_bytes > 0;
        let Some(serving) = &mut self.serving else { return };
        let counters = &mut serving.publisher.counters;
        counters.received_bytes += std::mem::take(&mut self.received_bytes);
        counters.sent_bytes += sent_bytes;
        counters.flush_into(&self.shared.broker.metrics);
    }

    /// Handles one event of the engine.
    pub fn handle(&mut self, event: Event<'_>, now_ms: u64) -> Flow {
        match event {
            Event::Publish(number, published) => {
                if self.serving.as_ref().is_some_and(|serving| !serving.settled.is_empty()) {
                    // As behind any answer: what was acknowledged before a confirmed message stays so.
                    self.settle_gathered();
                }
                if let Err(fault) = self.publish(number, &published, now_ms) {
                    return self.fail(number, fault, now_ms);
                }
                touched::relieve();
                if touched::is_congested() {
                    // The rest waits with this connection until those it wrote to have room.
                    return Flow::Stop;
                }
            }
            Event::Method(number, method) => {
                return self
                    .work(number, method, now_ms)
                    .unwrap_or_else(|fault| self.fail(number, fault.at(method.id()), now_ms));
            }
            Event::Heartbeat | Event::ChannelCloseOk(_) => {}
            Event::ProtocolHeader => self.greet(),
            Event::StartOk(start_ok) => {
                self.log_in(&start_ok, now_ms);
                return Flow::Stop;
            }
            Event::TuneOk(tune_ok) => self.tune(&tune_ok, now_ms),
            Event::Open(vhost) => return self.open(vhost, now_ms),
            // Passwords are asked for at the beginning only, so a new one changes nothing.
            Event::UpdateSecret(_) => self.send(0, Reply::UpdateSecretOk),
            Event::ConnectionClose(_) => {
                self.leave(now_ms);
                self.send(0, Reply::CloseOk);
                self.end(CloseReason::Client);
                return Flow::Stop;
            }
            Event::ConnectionCloseOk => self.end(CloseReason::Client),
            Event::ChannelOpen(number) => self.open_channel(number),
            Event::ChannelClose(number, _) => {
                self.close_channel(number, now_ms);
                self.send(number, Reply::ChannelCloseOk);
            }
            Event::ChannelFault(number, fault) => {
                self.close_channel(number, now_ms);
                self.link.outbound.push_reply(|out| reply::put_close(&fault, number, out));
            }
        }
        Flow::Continue
    }

    /// Tells the client what it did wrong and closes what that reaches.
    fn fail(&mut self, number: u16, fault: Fault, now_ms: u64) -> Flow {
        tracing::debug!(peer = %self.peer, login = &*self.login, number, %fault, "refused");
        if fault.scope() == Scope::Channel {
            self.close_channel(number, now_ms);
            self.link.outbound.push_reply(|out| reply::put_close(&fault, number, out));
            return Flow::CloseChannel;
        }
        self.tell_confirms();
        self.link.outbound.push_reply(|out| reply::put_close(&fault, 0, out));
        self.count_error(ErrorKind::Protocol);
        self.end(CloseReason::ProtocolError);
        Flow::CloseConnection
    }

    /// The engine found a violation.
    pub fn violated(&mut self, violation: &Violation, now_ms: u64) {
        self.count_error(match violation {
            Violation::ProtocolHeader => ErrorKind::Unsupported,
            Violation::Lost(_) => ErrorKind::Malformed,
            Violation::Silent(_) | Violation::Close(_) => ErrorKind::Protocol,
        });
        let (peer, login) = (self.peer, &*self.login);
        tracing::debug!(%peer, login, %violation, "an AMQP client broke the protocol");
        self.tell_confirms();
        self.link.outbound.push_reply(|out| violation.put(out));
        if matches!(violation, Violation::Silent(_)) && self.stage == Stage::Greeting {
            self.fall_silent(CloseReason::ProtocolError, now_ms);
        } else {
            self.end(CloseReason::ProtocolError);
        }
    }

    fn count_error(&self, kind: ErrorKind) {
        let errors = &self.shared.broker.metrics.connections.protocol_errors;
        errors.of(Protocol::Amqp, kind).inc();
    }

    fn send(&self, channel: u16, reply: Reply<'_>) {
        self.link.outbound.push_reply(|out| reply.put(channel, out));
    }

    /// Reads what the applier and others left.
    pub fn take_inbox(&mut self, now_ms: u64) {
        let inbox = self.link.take_inbox();
        if let Some(verdict) = inbox.login {
            self.authenticated(verdict, now_ms);
        }
        let Some(serving) = &mut self.serving else {
            inbox.lent.iter().for_each(|queue| queue.call());
            return;
        };
        serving.lent.extend(inbox.lent);
        for (token, outcome) in inbox.outcomes {
            serving.owing.resolve(token, outcome == Outcome::Done);
        }
        while let Some((owed, done)) = serving.owing.pop() {
            match owed {
                Owed::Confirm { channel, opening, number } => {
                    serving.confirm(channel, opening, number, done);
                }
                Owed::Nothing => {}
                Owed::Turn => serving.catching_up = false,
                Owed::Answer => {
                    if let Some(frame) = serving.answer.take() {
                        self.link.outbound.push_reply(|out| out.extend_from_slice(&frame));
                    }
                }
            }
        }
        for (number, id) in inbox.ready {
            let taker = serving.channels.get(&number).and_then(|channel| channel.taker(id));
            if let Some(taker) = taker {
                taker.answer();
                serving.due.push(Arc::clone(&taker.queue));
            }
        }
        for (number, id) in inbox.cancelled {
            self.cancel_by_broker(number, id);
        }
    }
}
