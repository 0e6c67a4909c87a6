//! What the engine tells its owner, and is told. Part of `amqp::connection`.

use std::borrow::Cow;

use crate::amqp::codec::PROTOCOL_HEADER;
use crate::amqp::codec::basic::PublishHead;
use crate::amqp::codec::frame::FRAME_BYTES_MIN;
use crate::amqp::codec::handshake::{Close, StartOk, TuneOk, UpdateSecret};
use crate::amqp::codec::method::Method;
use crate::amqp::codec::reply::{self, Reply};
use crate::amqp::error::Fault;
use crate::model::content::Properties;

/// What frames mean, borrowed from the read buffer and the connection. Numbers are channels.
#[derive(Debug)]
pub enum Event<'a> {
    /// The peer speaks AMQP 0-9-1: send [`Reply::Start`].
    ProtocolHeader,
    /// A login. Answer [`Flow::Stop`]; once it is granted send [`Limits::tune`] and call
    /// [`Connection::accept`](super::Connection::accept).
    StartOk(StartOk<'a>),
    /// What the peer agreed to, within what was offered.
    TuneOk(TuneOk),
    /// The virtual host. Answer [`Flow::Stop`]; once it is granted send [`Reply::OpenOk`] and call
    /// [`Connection::open`](super::Connection::open).
    Open(&'a str),
    /// A renewed token: answer with [`Reply::UpdateSecretOk`].
    UpdateSecret(UpdateSecret<'a>),
    /// The peer ends the connection: answer with [`Reply::CloseOk`]. What follows is ignored.
    ConnectionClose(Close<'a>),
    /// The peer has seen the close that was sent to it: nothing is left to say.
    ConnectionCloseOk,
    /// Nothing; any bytes at all show that the peer lives.
    Heartbeat,
    /// A channel is opened: answer with [`Reply::ChannelOpenOk`].
    ChannelOpen(u16),
    /// The peer ends a channel: answer with [`Reply::ChannelCloseOk`]. Its number is free again. It may be a
    /// channel that was being closed from this side, with nothing left to clean up; its number is then free only
    /// after [`Self::ChannelCloseOk`].
    ChannelClose(u16, Close<'a>),
    /// The peer has seen the close of a channel. Its number is free again.
    ChannelCloseOk(u16),
    /// The engine refuses something on a channel: send `channel.close` with the fault and clean up, as for a
    /// fault of one's own.
    ChannelFault(u16, Fault),
    /// A whole message.
    Publish(u16, Published<'a>),
    /// Anything else on an open channel.
    Method(u16, Method<'a>),
}

/// A message with its content.
#[derive(Clone, Copy, Debug)]
pub struct Published<'a> {
    /// Where it goes.
    pub head: PublishHead<'a>,
    /// The property block, checked whole.
    pub properties: Properties<'a>,
    /// The body.
    pub body: &'a [u8],
}

/// What the owner makes of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    Continue,
    /// Go on later: the rest of the bytes is left.
    Stop,
    /// Nothing was done: go on later, with the same method once more. An answer to [`Event::Method`] only.
    Again,
    /// `channel.close` has been sent on the event's channel: what comes on it is ignored until the peer has seen
    /// that.
    CloseChannel,
    /// `connection.close` has been sent: all but its answer is ignored.
    CloseConnection,
}

/// What a connection may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest frame in bytes that is offered, at least 4,096. Before tune-ok, frames are shorter.
    pub frame_bytes_max: u32,
    /// Channels that may be open at the same time, at least 1.
    pub channels_max: u16,
    /// Seconds between heartbeats that are proposed; 0 for none.
    pub heartbeat_s: u16,
    /// The longest body in bytes.
    pub message_bytes_max: usize,
    /// Bytes of messages that are only partly received, of all channels together. One message of
    /// `message_bytes_max` always has room.
    pub unfinished_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_bytes_max: 131_072,
            channels_max: 2047,
            heartbeat_s: 60,
            message_bytes_max: 16 * 1024 * 1024,
            unfinished_bytes_max: 32 * 1024 * 1024,
        }
    }
}

impl Limits {
    /// The offer, as a method.
    #[must_use]
    pub const fn tune(&self) -> Reply<'static> {
        Reply::Tune {
            channels_max: self.channels_max,
            frame_bytes_max: self.frame_bytes_max,
            heartbeat_s: self.heartbeat_s,
        }
    }

    /// The same, with the values that cannot be served raised to those that can.
    pub(super) fn sound(self) -> Self {
        let frame_bytes_max = self.frame_bytes_max.max(FRAME_BYTES_MIN);
        // A head of names and a property block belong to a message, too.
        let one_message =
            self.message_bytes_max.saturating_add(frame_bytes_max as usize).saturating_add(1024);
        Self {
            frame_bytes_max,
            channels_max: self.channels_max.max(1),
            unfinished_bytes_max: self.unfinished_bytes_max.max(one_message),
            ..self
        }
    }
}

/// Why a connection cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The first bytes are not those of this protocol: the peer is told which it is, then left.
    #[error("client did not start with the protocol header of AMQP 0-9-1")]
    ProtocolHeader,
    /// Nothing is said to a peer that is not yet trusted; RabbitMQ waits three seconds, then leaves it.
    #[error("{0}")]
    Silent(Cow<'static, str>),
    /// The peer is told; then its close-ok is waited for, a while.
    #[error("{0}")]
    Close(Fault),
    /// The same, but where its next frame begins is not known any more: it is told, then left.
    #[error("{0}")]
    Lost(Fault),
}

impl Violation {
    /// Appends what the peer is told.
    pub fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::ProtocolHeader => out.extend_from_slice(&PROTOCOL_HEADER),
            Self::Silent(_) => {}
            Self::Close(fault) | Self::Lost(fault) => reply::put_close(fault, 0, out),
        }
    }

    /// Whether the peer's close-ok is worth waiting for: [`Event::ConnectionCloseOk`] will tell.
    #[must_use]
    pub const fn awaits_close_ok(&self) -> bool {
        matches!(self, Self::Close(_))
    }
}
