//! Frames of an open connection. Part of `amqp::connection`.

use crate::amqp::codec::basic::PublishHead;
use crate::amqp::codec::frame::{self, Frame, FrameKind};
use crate::amqp::codec::header::ContentHeader;
use crate::amqp::codec::method::{
    self, ARGUMENTS_AT, ChannelMethod, ClientMethod, ConnectionMethod, MethodFault,
};
use crate::amqp::codec::method_id::MethodId;
use crate::amqp::codec::wire::table_limits;
use crate::amqp::error::Fault;
use crate::model::content::Properties;

use super::assembly::Assembly;
use super::channels::Channel;
use super::event::{Event, Flow, Published, Violation};
use super::{Connection, State, Step, faults, next_frame};

impl Connection {
    /// One frame, or a message of several that lie side by side.
    #[inline]
    pub(super) fn running(
        &mut self,
        rest: &[u8],
        handle: &mut impl FnMut(Event<'_>) -> Flow,
    ) -> Step {
        let frame = match next_frame(rest, self.payload_bytes_max) {
            Ok(frame) => frame,
            Err(None) => return Step::INCOMPLETE,
            Err(Some(violation)) => return Step { used: 0, outcome: Err(violation) },
        };
        if frame.channel == 0 {
            let outcome = self.control(&frame, handle).map_err(Violation::Close);
            return Step { used: frame.total_len, outcome };
        }
        let number = frame.channel;
        let (used, outcome) = match (self.channels.find(number), frame.kind) {
            (Some(Channel::Open(None)), FrameKind::Method) => self.method(&frame, rest, handle),
            (Some(Channel::Open(Some(assembly))), kind) => {
                let outcome = match kind {
                    FrameKind::Header if assembly.awaits_header() => {
                        self.content_header(number, &frame, handle)
                    }
                    FrameKind::Body if !assembly.awaits_header() => {
                        self.content_body(number, frame.payload, handle)
                    }
                    FrameKind::Heartbeat => Err(stray_heartbeat(&frame)),
                    _ if assembly.awaits_header() => Err(faults::expected_header()),
                    _ => Err(faults::expected_body()),
                };
                (frame.total_len, outcome)
            }
            (Some(Channel::Closing), _) => (frame.total_len, self.closing_channel(&frame, handle)),
            (_, FrameKind::Heartbeat) => (frame.total_len, Err(stray_heartbeat(&frame))),
            (_, FrameKind::Header | FrameKind::Body) => {
                (frame.total_len, Err(stray_content(&frame)))
            }
            (None, FrameKind::Method) => (frame.total_len, self.free_channel(&frame, handle)),
        };
        if matches!(outcome, Ok(Flow::CloseChannel)) {
            self.channels.close(number);
        }
        Step { used, outcome: outcome.map_err(Violation::Close) }
    }

    /// A method on an open channel; a publish whose content lies behind it is taken with it.
    #[inline]
    fn method(
        &mut self,
        frame: &Frame<'_>,
        rest: &[u8],
        handle: &mut impl FnMut(Event<'_>) -> Flow,
    ) -> (usize, Result<Flow, Fault>) {
        let (id, arguments) = match split_method(frame) {
            Ok(split) => split,
            Err(fault) => return (frame.total_len, Err(fault)),
        };
        let method = match method::read(id, arguments) {
            Ok(method) => method,
            Err(error) => {
                return (frame.total_len, Err(faults::bad_method(&error, arguments)));
            }
        };
        let number = frame.channel;
        let outcome = match method {
            ClientMethod::Publish(head) => {
                let behind = rest.get(frame.total_len..).unwrap_or_default();
                return match self.whole_content(number, head, behind) {
                    Some((published, content_len)) => {
                        let flow = handle(Event::Publish(number, published));
                        (frame.total_len + content_len, Ok(flow))
                    }
                    None => (frame.total_len, self.begin_content(number, &head)),
                };
            }
            ClientMethod::Work(method) => match handle(Event::Method(number, method)) {
                Flow::Again => return (0, Ok(Flow::Again)),
                flow => Ok(flow),
            },
            ClientMethod::Channel(ChannelMethod::Close(close)) => {
                self.channels.free(number);
                Ok(handle(Event::ChannelClose(number, close)))
            }
            ClientMethod::Channel(ChannelMethod::Open) => Err(faults::second_open()),
            ClientMethod::Channel(ChannelMethod::CloseOk) | ClientMethod::Connection(_) => {
                Err(faults::unimplemented().at(id))
            }
        };
        (frame.total_len, outcome)
    }

    /// The content of a publish, if it lies whole and sound in one header and at most one body frame at the front
    /// of `behind`, with its length. Whatever is wrong with it is found frame by frame.
    #[inline]
    fn whole_content<'a>(
        &self,
        number: u16,
        head: PublishHead<'a>,
        behind: &'a [u8],
    ) -> Option<(Published<'a>, usize)> {
        let of_kind = |bytes: &'a [u8], kind: FrameKind| {
            let frame = frame::frame(bytes, self.payload_bytes_max).ok()??;
            (frame.channel == number && frame.kind == kind).then_some(frame)
        };
        let first = of_kind(behind, FrameKind::Header)?;
        let header = ContentHeader::read(first.payload)?;
        if !header.is_basic() || header.body_bytes > self.limits.message_bytes_max as u64 {
            return None;
        }
        let properties = Properties::scan(header.properties, table_limits()).ok()?;
        if header.body_bytes == 0 {
            return Some((Published { head, properties, body: &[] }, first.total_len));
        }
        let second = of_kind(behind.get(first.total_len..)?, FrameKind::Body)?;
        if second.payload.len() as u64 != header.body_bytes {
            return None;
        }
        let published = Published { head, properties, body: second.payload };
        Some((published, first.total_len + second.total_len))
    }

    /// A publish whose content is still on its way.
    #[cold]
    fn begin_content(&mut self, number: u16, head: &PublishHead<'_>) -> Result<Flow, Fault> {
        self.keep(number, Box::new(Assembly::new(head)))?;
        Ok(Flow::Continue)
    }

    #[cold]
    fn content_header(
        &mut self,
        number: u16,
        frame: &Frame<'_>,
        handle: &mut impl FnMut(Event<'_>) -> Flow,
    ) -> Result<Flow, Fault> {
        let header =
            ContentHeader::read(frame.payload).ok_or_else(|| faults::unknown_frame(frame))?;
        if header.weight != 0 {
            return Err(faults::expected_header());
        }
        if !header.is_basic() {
            return Err(faults::expected_class(header.class));
        }
        let properties =
            Properties::scan(header.properties, table_limits()).map_err(faults::bad_properties)?;
        let Some(mut assembly) = self.channels.take(number) else { return Ok(Flow::Continue) };
        let message_bytes_max = self.limits.message_bytes_max;
        let bytes = match usize::try_from(header.body_bytes) {
            Ok(bytes) if bytes <= message_bytes_max => bytes,
            _ => {
                // Its bodies are ignored like all else on a channel that is closing.
                self.channels.close(number);
                let fault = faults::message_too_large(header.body_bytes, message_bytes_max);
                return Ok(handle(Event::ChannelFault(number, fault)));
            }
        };
        if bytes == 0 {
            let published = Published { head: assembly.head(), properties, body: &[] };
            return Ok(handle(Event::Publish(number, published)));
        }
        assembly.begin_body(properties.block(), bytes);
        self.keep(number, assembly)?;
        Ok(Flow::Continue)
    }

    fn content_body(
        &mut self,
        number: u16,
        part: &[u8],
        handle: &mut impl FnMut(Event<'_>) -> Flow,
    ) -> Result<Flow, Fault> {
        let Some(mut assembly) = self.channels.take(number) else { return Ok(Flow::Continue) };
        let missing = assembly.missing_bytes();
        if part.len() > missing {
            return Err(faults::body_overrun());
        }
        if part.len() < missing {
            assembly.push(part);
            self.keep(number, assembly)?;
            return Ok(Flow::Continue);
        }
        let whole = assembly.is_untouched();
        if !whole {
            assembly.push(part);
        }
        Ok(handle(Event::Publish(number, assembly.published(whole.then_some(part)))))
    }

    /// Keeps an unfinished message within the budget.
    fn keep(&mut self, number: u16, assembly: Box<Assembly>) -> Result<(), Fault> {
        let unfinished_bytes_max = self.limits.unfinished_bytes_max;
        let bytes = self.channels.unfinished_bytes().saturating_add(assembly.kept_bytes());
        if bytes > unfinished_bytes_max {
            return Err(faults::too_much_unfinished(unfinished_bytes_max));
        }
        self.channels.keep(number, assembly);
        Ok(())
    }

    /// A method on a channel that is not open.
    #[cold]
    fn free_channel(
        &mut self,
        frame: &Frame<'_>,
        handle: &mut impl FnMut(Event<'_>) -> Flow,
    ) -> Result<Flow, Fault> {
        let (id, arguments) = split_method(frame)?;
        match method::read(id, arguments) {
            Ok(ClientMethod::Channel(ChannelMethod::Open)) => {
                let (open, channels_max) = (self.channels.count(), self.tuned.channels_max);
                if open >= usize::from(channels_max) {
                    return Err(faults::too_many_channels(open, channels_max));
                }
                self.channels.open(frame.channel);
                Ok(handle(Event::ChannelOpen(frame.channel)))
            }
            Ok(_) => Err(faults::channel_not_open(id)),
            Err(error) if error.fault == MethodFault::ServerOnly => {
                Err(faults::channel_not_open(id))
            }
            Err(error) => Err(faults::bad_method(&error, arguments)),
        }
    }

    /// A frame on a channel that this side has closed.
    #[cold]
    fn closing_channel(
        &mut self,
        frame: &Frame<'_>,
        handle: &mut impl FnMut(Event<'_>) -> Flow,
    ) -> Result<Flow, Fault> {
        let number = frame.channel;
        let (id, arguments) = match frame.kind {
            FrameKind::Method => split_method(frame)?,
            FrameKind::Heartbeat => return Err(stray_heartbeat(frame)),
            FrameKind::Header | FrameKind::Body => return Ok(Flow::Continue),
        };
        match id {
            MethodId::CHANNEL_CLOSE_OK => {
                self.channels.free(number);
                Ok(handle(Event::ChannelCloseOk(number)))
            }
            MethodId::CHANNEL_CLOSE => match method::read(id, arguments) {
                Ok(ClientMethod::Channel(ChannelMethod::Close(close))) => {
                    Ok(handle(Event::ChannelClose(number, close)))
                }
                Ok(_) => Ok(Flow::Continue),
                Err(error) => Err(faults::bad_method(&error, arguments)),
            },
            _ => Ok(Flow::Continue),
        }
    }

    /// A frame on channel 0.
    #[cold]
    fn control(
        &mut self,
        frame: &Frame<'_>,
        handle: &mut impl FnMut(Event<'_>) -> Flow,
    ) -> Result<Flow, Fault> {
        match frame.kind {
            FrameKind::Heartbeat if frame.payload.is_empty() => {
                return Ok(handle(Event::Heartbeat));
            }
            FrameKind::Heartbeat => return Err(faults::unknown_frame(frame)),
            FrameKind::Header if ContentHeader::read(frame.payload).is_none() => {
                return Err(faults::unknown_frame(frame));
            }
            FrameKind::Header | FrameKind::Body => return Err(faults::unexpected_frame(frame)),
            FrameKind::Method => {}
        }
        let (id, arguments) = split_method(frame)?;
        match method::read(id, arguments) {
            Ok(ClientMethod::Connection(ConnectionMethod::Close(close))) => {
                self.state = State::Closed;
                self.channels.clear();
                Ok(handle(Event::ConnectionClose(close)))
            }
            Ok(ClientMethod::Connection(ConnectionMethod::UpdateSecret(update))) => {
                Ok(handle(Event::UpdateSecret(update)))
            }
            Ok(_) => Err(faults::unexpected_method(id, "running")),
            Err(error) if error.fault == MethodFault::ServerOnly => {
                Err(faults::unexpected_method(id, "running"))
            }
            Err(error) => Err(faults::bad_method(&error, arguments)),
        }
    }
}

/// The numbers of a method and its arguments.
#[inline]
fn split_method<'a>(frame: &Frame<'a>) -> Result<(MethodId, &'a [u8]), Fault> {
    match (method::id(frame.payload), frame.payload.get(ARGUMENTS_AT..)) {
        (Some(id), Some(arguments)) => Ok((id, arguments)),
        _ => Err(faults::unknown_frame(frame)),
    }
}

/// A heartbeat on a channel.
#[cold]
fn stray_heartbeat(frame: &Frame<'_>) -> Fault {
    if frame.payload.is_empty() {
        faults::unexpected_frame(frame)
    } else {
        faults::unknown_frame(frame)
    }
}

/// A header or body where none may stand.
#[cold]
fn stray_content(frame: &Frame<'_>) -> Fault {
    if frame.kind == FrameKind::Header && ContentHeader::read(frame.payload).is_none() {
        faults::unknown_frame(frame)
    } else {
        faults::expected_method()
    }
}
