//! Reply codes and what a peer is told when something is wrong. Part of `amqp`.
//!
//! The code alone decides how far an error reaches: the codes of the 500s, 320 and 402 end the connection, the
//! others the channel (AMQP 1.2, as RabbitMQ divides them). A reply text is the code's name and an explanation,
//! `NOT_FOUND - no queue 'x' in vhost '/'`, because clients match on parts of it.

use std::borrow::Cow;

use crate::amqp::codec::method_id::MethodId;

/// The longest reply text: a short string.
pub const REPLY_TEXT_BYTES_MAX: usize = 255;
const CUT: &str = "...";

/// How far an error reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// `channel.close`: the other channels go on.
    Channel,
    /// `connection.close`.
    Connection,
}

/// Why a channel or connection is closed or a message comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum ReplyCode {
    /// Nothing is wrong.
    Success = 200,
    /// The message is too large.
    ContentTooLarge = 311,
    /// `basic.return`: no queue matched a mandatory message.
    NoRoute = 312,
    /// `basic.return`: no consumer could take an immediate message.
    NoConsumers = 313,
    /// The broker shuts down or an operator closed the connection.
    ConnectionForced = 320,
    /// The virtual host is unknown; RabbitMQ says [`Self::NotAllowed`] instead.
    InvalidPath = 402,
    /// No permission, or a name that clients may not touch.
    AccessRefused = 403,
    /// No such queue or exchange.
    NotFound = 404,
    /// The queue belongs to another connection.
    ResourceLocked = 405,
    /// Something exists with other properties, or is not in the state that the method needs.
    PreconditionFailed = 406,
    /// A frame cannot be decoded.
    FrameError = 501,
    /// A frame has illegal values.
    SyntaxError = 502,
    /// The method is not one that a client may send.
    CommandInvalid = 503,
    /// The channel is not open, or open already.
    ChannelError = 504,
    /// A frame that may not stand here.
    UnexpectedFrame = 505,
    /// A limit of the broker is reached.
    ResourceError = 506,
    /// Not allowed, whoever asks.
    NotAllowed = 530,
    /// Known, but not offered.
    NotImplemented = 540,
    /// The broker's own fault.
    InternalError = 541,
}

impl ReplyCode {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// The name that begins the reply text.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "OK",
            Self::ContentTooLarge => "CONTENT_TOO_LARGE",
            Self::NoRoute => "NO_ROUTE",
            Self::NoConsumers => "NO_CONSUMERS",
            Self::ConnectionForced => "CONNECTION_FORCED",
            Self::InvalidPath => "INVALID_PATH",
            Self::AccessRefused => "ACCESS_REFUSED",
            Self::NotFound => "NOT_FOUND",
            Self::ResourceLocked => "RESOURCE_LOCKED",
            Self::PreconditionFailed => "PRECONDITION_FAILED",
            Self::FrameError => "FRAME_ERROR",
            Self::SyntaxError => "SYNTAX_ERROR",
            Self::CommandInvalid => "COMMAND_INVALID",
            Self::ChannelError => "CHANNEL_ERROR",
            Self::UnexpectedFrame => "UNEXPECTED_FRAME",
            Self::ResourceError => "RESOURCE_ERROR",
            Self::NotAllowed => "NOT_ALLOWED",
            Self::NotImplemented => "NOT_IMPLEMENTED",
            Self::InternalError => "INTERNAL_ERROR",
        }
    }

    /// How far an error with this code reaches when it arises on a channel; on channel 0 it is always the
    /// connection.
    #[must_use]
    pub const fn scope(self) -> Scope {
        match self {
            Self::Success
            | Self::ContentTooLarge
            | Self::NoRoute
            | Self::NoConsumers
            | Self::AccessRefused
            | Self::NotFound
            | Self::ResourceLocked
            | Self::PreconditionFailed => Scope::Channel,
            Self::ConnectionForced
            | Self::InvalidPath
            | Self::FrameError
            | Self::SyntaxError
            | Self::CommandInvalid
            | Self::ChannelError
            | Self::UnexpectedFrame
            | Self::ResourceError
            | Self::NotAllowed
            | Self::NotImplemented
            | Self::InternalError => Scope::Connection,
        }
    }
}

/// Something a peer did or asked for that closes its channel or its connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} - {explanation}", .code.name())]
pub struct Fault {
    /// The code, which decides how far it reaches.
    pub code: ReplyCode,
    /// What the reply text says behind the code's name.
    pub explanation: Cow<'static, str>,
    /// The method it happened in; [`MethodId::NONE`] where a frame was wrong before any method was known.
    pub method: MethodId,
}

impl Fault {
    /// A fault of no particular method.
    #[must_use]
    pub fn new(code: ReplyCode, explanation: impl Into<Cow<'static, str>>) -> Self {
        Self { code, explanation: explanation.into(), method: MethodId::NONE }
    }

    /// The same fault, seen in `method`.
    #[must_use]
    pub fn at(self, method: MethodId) -> Self {
        Self { method, ..self }
    }

    /// How far it reaches.
    #[must_use]
    pub const fn scope(&self) -> Scope {
        self.code.scope()
    }

    /// The reply text: name and explanation, cut to what a short string holds.
    #[must_use]
    pub fn reply_text(&self) -> String {
        let mut text = self.to_string();
        if text.len() > REPLY_TEXT_BYTES_MAX {
            let mut end = REPLY_TEXT_BYTES_MAX - CUT.len();
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.truncate(end);
            text.push_str(CUT);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::{Fault, REPLY_TEXT_BYTES_MAX, ReplyCode, Scope};

    #[test]
    fn a_reply_text_is_the_name_and_the_explanation() {
        let fault = Fault::new(ReplyCode::NotFound, "no queue 'x' in vhost '/'");
        assert_eq!(fault.reply_text(), "NOT_FOUND - no queue 'x' in vhost '/'");
        assert_eq!(fault.scope(), Scope::Channel);
        assert_eq!(ReplyCode::NotImplemented.number(), 540);
        assert_eq!(ReplyCode::ConnectionForced.scope(), Scope::Connection);
    }

    #[test]
    fn a_long_reply_text_is_cut_between_characters() {
        for pad in 0..4 {
            let long = format!("{}{}", "x".repeat(pad), "é€".repeat(100));
            let text = Fault::new(ReplyCode::NotFound, long).reply_text();
            assert!(text.len() <= REPLY_TEXT_BYTES_MAX && text.len() > REPLY_TEXT_BYTES_MAX - 4);
            assert!(text.ends_with("..."));
        }
    }
}
