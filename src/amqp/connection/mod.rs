//! One connection's protocol rules, without I/O: bytes in, borrowed events out. Part of `amqp`.
//!
//! The owner feeds what it read to [`Connection::receive`], which calls back once for each method or whole
//! message while it parses, so that nothing is queued between engine and broker, and a message that arrived in
//! one piece is handed over where it lies. What the engine alone can see is checked here: frames, their order,
//! the handshake, which channels are open, sizes. What needs queues and exchanges is the owner's, who writes all
//! answers, closes included, and tells by [`Flow`] that it did.
//!
//! - `event` events, answers, limits, violations
//! - `early` from the protocol header to `connection.open`
//! - `running` frames of an open connection; `assembly` messages in pieces; `channels` which are open
//!
//! Codes and texts of faults are RabbitMQ's (3.10) where it has one.

mod assembly;
mod channels;
mod early;
mod event;
mod faults;
mod running;
#[cfg(test)]
mod tests;

pub use event::{Event, Flow, Limits, Published, Violation};

use crate::amqp::codec::frame::{self, Frame};
use crate::amqp::codec::handshake::TuneOk;

use channels::Channels;

/// The longest payload before tune-ok: logins are short (RabbitMQ allows the same).
const EARLY_PAYLOAD_BYTES_MAX: usize = 8192;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The protocol header comes first.
    Header,
    /// `start-ok` comes next.
    Starting,
    /// The owner judges the login.
    Securing,
    /// `tune-ok` comes next.
    Tuning,
    /// `open` comes next.
    Opening,
    /// The owner judges the virtual host.
    Admitting,
    /// Everything is allowed.
    Running,
    /// `connection.close` was sent: only its answer counts.
    Closing,
    /// Nothing counts.
    Closed,
}

/// The engine of one connection.
#[derive(Debug)]
pub struct Connection {
    state: State,
    limits: Limits,
    /// What both sides agreed to.
    tuned: TuneOk,
    /// The longest payload that is received now.
    payload_bytes_max: usize,
    channels: Channels,
}

/// What became of the bytes at the front.
struct Step {
    /// How many are done with; 0 when more must come first.
    used: usize,
    /// Whether to go on.
    outcome: Result<Flow, Violation>,
}

impl Step {
    const INCOMPLETE: Self = Self { used: 0, outcome: Ok(Flow::Continue) };

    const fn new(used: usize, flow: Flow) -> Self {
        Self { used, outcome: Ok(flow) }
    }
}

impl Connection {
    /// A connection from which nothing has been received.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let limits = limits.sound();
        Self {
            state: State::Header,
            tuned: TuneOk {
                channels_max: limits.channels_max,
                frame_bytes_max: frame::FRAME_BYTES_MIN,
                heartbeat_s: limits.heartbeat_s,
            },
            limits,
            payload_bytes_max: EARLY_PAYLOAD_BYTES_MAX,
            channels: Channels::default(),
        }
    }

    /// What is offered and allowed.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What both sides agreed to; before tune-ok what is certain to be taken.
    #[must_use]
    pub const fn tuned(&self) -> &TuneOk {
        &self.tuned
    }

    /// Whether [`Self::open`] has been called and neither side has said close.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.state == State::Running
    }

    /// The login is granted and `connection.tune` is being sent.
    pub fn accept(&mut self) {
        if self.state == State::Securing {
            self.state = State::Tuning;
        }
    }

    /// The virtual host is granted and `connection.open-ok` is being sent.
    pub fn open(&mut self) {
        if self.state == State::Admitting {
            self.state = State::Running;
        }
    }

    /// `channel.close` is being sent, not from within an event of that channel, where [`Flow::CloseChannel`]
    /// says the same. Without effect on a channel that is not open.
    pub fn close_channel(&mut self, channel: u16) {
        self.channels.close(channel);
    }

    /// `connection.close` is being sent, not from within an event, where [`Flow::CloseConnection`] says the same.
    pub fn close(&mut self) {
        if self.state != State::Closed {
            self.state = State::Closing;
            self.channels.clear();
        }
    }

    /// Nothing is received any more; further bytes are consumed and dropped.
    pub fn abandon(&mut self) {
        self.state = State::Closed;
        self.channels.clear();
    }

    /// Parses all complete frames of `input` and calls `handle` with what they mean, until it says stop. Returns
    /// how many bytes are done with; the rest, an incomplete frame or what was stopped before, is to be given
    /// again with what follows it. The rest never exceeds a frame, unless `handle` stopped.
    ///
    /// Between [`Event::StartOk`] and [`Self::accept`], and between [`Event::Open`] and [`Self::open`], nothing
    /// is consumed.
    ///
    /// # Errors
    /// The first violation, beside what was consumed up to and with it. Send what it
    /// [puts](Violation::put). If it [awaits close-ok](Violation::awaits_close_ok), go on receiving, at first the
    /// rest; else all further bytes are dropped, and the connection is to be ended.
    pub fn receive(
        &mut self,
        input: &[u8],
        handle: &mut impl FnMut(Event<'_>) -> Flow,
    ) -> (usize, Result<(), Violation>) {
        let mut used = 0;
        while let Some(rest) = input.get(used..).filter(|rest| !rest.is_empty()) {
            let step = match self.state {
                State::Running => self.running(rest, handle),
                State::Securing | State::Admitting => break,
                State::Closed => return (input.len(), Ok(())),
                State::Header => self.protocol_header(rest, handle),
                State::Starting | State::Tuning | State::Opening | State::Closing => {
                    self.early(rest, handle)
                }
            };
            used += step.used;
            match step.outcome {
                Ok(_) if step.used == 0 => break,
                Ok(Flow::Continue | Flow::CloseChannel) => {}
                Ok(Flow::CloseConnection) => self.close(),
                Ok(Flow::Stop | Flow::Again) => break,
                Err(violation) => {
                    if violation.awaits_close_ok() {
                        self.close();
                    } else {
                        self.abandon();
                        used = input.len();
                    }
                    return (used, Err(violation));
                }
            }
        }
        (used, Ok(()))
    }
}

/// The whole frame at the front of `rest`, or why there is none.
#[inline]
fn next_frame(rest: &[u8], payload_bytes_max: usize) -> Result<Frame<'_>, Option<Violation>> {
    match frame::frame(rest, payload_bytes_max) {
        Ok(Some(frame)) => Ok(frame),
        Ok(None) => Err(None),
        Err(error) => Err(Some(Violation::Lost(faults::bad_frame(&error, payload_bytes_max)))),
    }
}
