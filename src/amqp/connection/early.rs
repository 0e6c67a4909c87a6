//! A connection that is not open, or not any more: header, login, tuning, and the way out. Part of
//! `amqp::connection`.
//!
//! A peer that has not logged in is told nothing about what it did wrong, as RabbitMQ does: whoever guesses
//! learns nothing and pays for a new connection.

use crate::amqp::codec::frame::{FRAME_BYTES_MIN, Frame, FrameKind};
use crate::amqp::codec::handshake::TuneOk;
use crate::amqp::codec::method::{self, ARGUMENTS_AT, ClientMethod, ConnectionMethod};
use crate::amqp::codec::method_id::MethodId;
use crate::amqp::codec::{PROTOCOL_HEADER, PROTOCOL_HEADER_0_9};
use crate::amqp::error::{Fault, ReplyCode};

use super::event::{Event, Flow, Limits, Violation};
use super::{Connection, State, Step, faults, next_frame};

impl Connection {
    /// The first eight bytes. A peer of another protocol is turned away at its first wrong byte.
    #[cold]
    pub(super) fn protocol_header(
        &mut self,
        rest: &[u8],
        handle: &mut impl FnMut(Event<'_>) -> Flow,
    ) -> Step {
        let length = PROTOCOL_HEADER.len();
        let seen = rest.get(..length).unwrap_or(rest);
        if !PROTOCOL_HEADER.starts_with(seen) && !PROTOCOL_HEADER_0_9.starts_with(seen) {
            return Step { used: 0, outcome: Err(Violation::ProtocolHeader) };
        }
        if seen.len() < length {
            return Step::INCOMPLETE;
        }
        self.state = State::Starting;
        Step::new(length, handle(Event::ProtocolHeader))
    }

    /// A frame before `connection.open` is answered, or after a close was sent.
    #[cold]
    pub(super) fn early(
        &mut self,
        rest: &[u8],
        handle: &mut impl FnMut(Event<'_>) -> Flow,
    ) -> Step {
        let frame = match next_frame(rest, self.payload_bytes_max) {
            Ok(frame) => frame,
            Err(None) => return Step::INCOMPLETE,
            Err(Some(Violation::Lost(fault))) => {
                return Step { used: 0, outcome: Err(self.untrusted(fault, Violation::Lost)) };
            }
            Err(Some(violation)) => return Step { used: 0, outcome: Err(violation) },
        };
        let outcome = if self.state == State::Closing {
            Ok(self.closing(&frame, handle))
        } else {
            self.handshake(&frame, handle).map_err(|fault| self.untrusted(fault, Violation::Close))
        };
        Step { used: frame.total_len, outcome }
    }

    /// What `fault` is for a peer that may not be trusted yet: between `tune-ok` and `open` it is.
    fn untrusted(&self, fault: Fault, trusted: impl FnOnce(Fault) -> Violation) -> Violation {
        if self.state == State::Opening {
            trusted(fault)
        } else {
            Violation::Silent(fault.reply_text().into())
        }
    }

    fn handshake(
        &mut self,
        frame: &Frame<'_>,
        handle: &mut impl FnMut(Event<'_>) -> Flow,
    ) -> Result<Flow, Fault> {
        if frame.channel != 0 {
            return Err(faults::unexpected_frame(frame));
        }
        match frame.kind {
            FrameKind::Heartbeat if frame.payload.is_empty() => {
                return Ok(handle(Event::Heartbeat));
            }
            FrameKind::Heartbeat => return Err(faults::unknown_frame(frame)),
            FrameKind::Header | FrameKind::Body => return Err(faults::unexpected_frame(frame)),
            FrameKind::Method => {}
        }
        let id = method::id(frame.payload).ok_or_else(|| faults::unknown_frame(frame))?;
        let arguments = frame.payload.get(ARGUMENTS_AT..).unwrap_or_default();
        let read =
            method::read(id, arguments).map_err(|error| faults::bad_method(&error, arguments))?;
        let ClientMethod::Connection(method) = read else {
            return Err(faults::unexpected_method(id, self.state_name()));
        };
        match (self.state, method) {
            (State::Starting, ConnectionMethod::StartOk(start_ok)) => {
                self.state = State::Securing;
                Ok(handle(Event::StartOk(start_ok)))
            }
            (State::Tuning, ConnectionMethod::TuneOk(tune_ok)) => {
                check_tune(&tune_ok, &self.limits)?;
                self.tuned = tune_ok;
                // A payload as long as a whole frame may be is forgiven: peers forget the overhead.
                self.payload_bytes_max = tune_ok.frame_bytes_max as usize;
                self.state = State::Opening;
                Ok(handle(Event::TuneOk(tune_ok)))
            }
            (State::Opening, ConnectionMethod::Open(virtual_host)) => {
                self.state = State::Admitting;
                Ok(handle(Event::Open(virtual_host)))
            }
            // RabbitMQ does not answer a peer that gives up in the middle of the handshake. It costs nothing.
            (_, ConnectionMethod::Close(close)) => {
                self.state = State::Closed;
                Ok(handle(Event::ConnectionClose(close)))
            }
            _ => Err(faults::unexpected_method(id, self.state_name())),
        }
    }

    /// After `connection.close` was sent.
    fn closing(&mut self, frame: &Frame<'_>, handle: &mut impl FnMut(Event<'_>) -> Flow) -> Flow {
        if frame.channel != 0 || frame.kind != FrameKind::Method {
            return Flow::Continue;
        }
        match method::id(frame.payload) {
            Some(MethodId::CONNECTION_CLOSE_OK) => {
                self.state = State::Closed;
                handle(Event::ConnectionCloseOk)
            }
            Some(id @ MethodId::CONNECTION_CLOSE) => {
                let arguments = frame.payload.get(ARGUMENTS_AT..).unwrap_or_default();
                match method::read(id, arguments) {
                    Ok(ClientMethod::Connection(ConnectionMethod::Close(close))) => {
                        handle(Event::ConnectionClose(close))
                    }
                    _ => Flow::Continue,
                }
            }
            _ => Flow::Continue,
        }
    }

    const fn state_name(&self) -> &'static str {
        match self.state {
            State::Header | State::Starting => "starting",
            State::Securing => "securing",
            State::Tuning => "tuning",
            State::Opening | State::Admitting => "opening",
            State::Running => "running",
            State::Closing => "closing",
            State::Closed => "closed",
        }
    }
}

/// Holds what the peer agreed to against what was offered. Zero means no limit, and there always is one.
fn check_tune(tune_ok: &TuneOk, limits: &Limits) -> Result<(), Fault> {
    check_between("frame_max", tune_ok.frame_bytes_max, FRAME_BYTES_MIN, limits.frame_bytes_max)?;
    check_between("channel_max", tune_ok.channels_max.into(), 1, limits.channels_max.into())
}

fn check_between(name: &str, value: u32, min: u32, max: u32) -> Result<(), Fault> {
    let complaint = if value == 0 || value > max {
        format!("negotiated {name} = {value} is higher than the maximum allowed value ({max})")
    } else if value < min {
        format!("negotiated {name} = {value} is lower than the minimum allowed value ({min})")
    } else {
        return Ok(());
    };
    Err(Fault::new(ReplyCode::NotAllowed, complaint).at(MethodId::CONNECTION_TUNE_OK))
}
