//! The faults that the engine finds, in RabbitMQ's words. Part of `amqp::connection`.

use crate::amqp::codec::frame::{Frame, FrameError, OVERHEAD_BYTES};
use crate::amqp::codec::method::{MethodError, MethodFault};
use crate::amqp::codec::method_id::{CLASS_BASIC, MethodId};
use crate::amqp::codec::wire::WireError;
use crate::amqp::error::{Fault, ReplyCode};
use crate::amqp::octets::{Numbers, Snippet};
use crate::model::content::ContentError;

/// Bytes that are no frame.
#[cold]
pub(super) fn bad_frame(error: &FrameError<'_>, payload_bytes_max: usize) -> Fault {
    let text = match *error {
        FrameError::Kind(kind) => format!("{}: unknown_frame", Snippet { kind, payload: &[] }),
        FrameError::TooLarge { kind, bytes } => format!(
            "{}: {{frame_too_large,{bytes},{}}}",
            Snippet { kind: kind as u8, payload: &[] },
            payload_bytes_max.saturating_sub(OVERHEAD_BYTES)
        ),
        FrameError::End { kind, payload, end } => {
            format!("{}: {{invalid_frame_end_marker,{end}}}", Snippet { kind: kind as u8, payload })
        }
    };
    Fault::new(ReplyCode::FrameError, text)
}

/// A frame that is too short for its kind, or a heartbeat that is not empty.
#[cold]
pub(super) fn unknown_frame(frame: &Frame<'_>) -> Fault {
    Fault::new(ReplyCode::FrameError, format!("{}: unknown_frame", snippet(frame)))
}

/// A frame that may not stand on this channel at all.
#[cold]
pub(super) fn unexpected_frame(frame: &Frame<'_>) -> Fault {
    Fault::new(ReplyCode::UnexpectedFrame, snippet(frame).to_string())
}

/// A method that cannot be understood; `arguments` are what it has.
#[cold]
pub(super) fn bad_method(error: &MethodError, arguments: &[u8]) -> Fault {
    let fault = match error.fault {
        MethodFault::Arguments(WireError::NotUtf8) => {
            // RabbitMQ names no method here.
            return Fault::new(ReplyCode::FrameError, "Malformed UTF-8 in shortstr");
        }
        // RabbitMQ takes the fault upon itself (541), or goes as deep as the table does.
        MethodFault::Arguments(WireError::Table(error)) => {
            Fault::new(ReplyCode::SyntaxError, error.to_string())
        }
        MethodFault::Arguments(WireError::Length) => {
            Fault::new(ReplyCode::FrameError, format!("cannot decode {}", Numbers(arguments)))
        }
        MethodFault::ServerOnly => unimplemented(),
        // RabbitMQ closes the socket without a word here.
        MethodFault::Unknown => Fault::new(
            ReplyCode::CommandInvalid,
            format!("unknown method {} of class {}", error.method.method, error.method.class),
        ),
    };
    fault.at(error.method)
}

/// A method that clients do not send, or not on this channel.
#[cold]
pub(super) fn unimplemented() -> Fault {
    Fault::new(ReplyCode::CommandInvalid, "unimplemented method")
}

/// A method on channel 0 at the wrong time.
#[cold]
pub(super) fn unexpected_method(method: MethodId, state: &'static str) -> Fault {
    let text = format!("unexpected method in connection state {state}");
    Fault::new(ReplyCode::ChannelError, text).at(method)
}

/// Something on a channel that is not open.
#[cold]
pub(super) fn channel_not_open(method: MethodId) -> Fault {
    Fault::new(ReplyCode::ChannelError, "expected 'channel.open'").at(method)
}

/// `channel.open` on an open channel.
#[cold]
pub(super) fn second_open() -> Fault {
    Fault::new(ReplyCode::ChannelError, "second 'channel.open' seen").at(MethodId::CHANNEL_OPEN)
}

/// One channel too many.
#[cold]
pub(super) fn too_many_channels(open: usize, channels_max: u16) -> Fault {
    let text = format!(
        "number of channels opened ({open}) has reached the negotiated channel_max ({channels_max})"
    );
    Fault::new(ReplyCode::NotAllowed, text)
}

/// A header or body where a method must stand.
#[cold]
pub(super) fn expected_method() -> Fault {
    let text = "expected method frame, got non method frame instead";
    Fault::new(ReplyCode::UnexpectedFrame, text)
}

/// Anything else where the header of a message must stand.
#[cold]
pub(super) fn expected_header() -> Fault {
    let text = format!(
        "expected content header for class {CLASS_BASIC}, got non content header frame instead"
    );
    Fault::new(ReplyCode::UnexpectedFrame, text).at(MethodId::BASIC_PUBLISH)
}

/// A header of another class.
#[cold]
pub(super) fn expected_class(class: u16) -> Fault {
    let text = format!(
        "expected content header for class {CLASS_BASIC}, got one for class {class} instead"
    );
    Fault::new(ReplyCode::UnexpectedFrame, text).at(MethodId::BASIC_PUBLISH)
}

/// Anything else where a body must stand.
#[cold]
pub(super) fn expected_body() -> Fault {
    let text = "expected content body, got non content body frame instead";
    Fault::new(ReplyCode::UnexpectedFrame, text).at(MethodId::BASIC_PUBLISH)
}

/// More body than announced. RabbitMQ 3.10 swallows it for ever; later ones answer so.
#[cold]
pub(super) fn body_overrun() -> Fault {
    let text = "content body frame exceeds remaining content size";
    Fault::new(ReplyCode::FrameError, text).at(MethodId::BASIC_PUBLISH)
}

/// A property block that cannot be read. RabbitMQ takes the fault upon itself (541).
#[cold]
pub(super) fn bad_properties(error: ContentError) -> Fault {
    Fault::new(ReplyCode::SyntaxError, error.to_string()).at(MethodId::BASIC_PUBLISH)
}

/// A body that is announced to be too long.
#[cold]
pub(super) fn message_too_large(body_bytes: u64, message_bytes_max: usize) -> Fault {
    let text =
        format!("message size {body_bytes} is larger than configured max size {message_bytes_max}");
    Fault::new(ReplyCode::PreconditionFailed, text).at(MethodId::BASIC_PUBLISH)
}

/// Too much of messages that nobody finishes.
#[cold]
pub(super) fn too_much_unfinished(unfinished_bytes_max: usize) -> Fault {
    let text = format!(
        "messages that are not completely received exceed {unfinished_bytes_max} bytes on this connection"
    );
    Fault::new(ReplyCode::ResourceError, text).at(MethodId::BASIC_PUBLISH)
}

const fn snippet<'a>(frame: &Frame<'a>) -> Snippet<'a> {
    Snippet { kind: frame.kind as u8, payload: frame.payload }
}
