//! What a server sends with a body: deliveries, answers to `basic.get`, returned messages. Part of `amqp::codec`.
//!
//! Method, header and body frames are appended in one pass; the property block goes out as it was stored, the
//! body in pieces of the peer's `frame_max`. A property block cannot be cut: one that was published under a
//! larger `frame_max` than its consumer's goes out in a frame larger than agreed, as RabbitMQ sends it.

use crate::amqp::codec::frame::{FRAME_END, FrameKind, OVERHEAD_BYTES, put_frame, put_head};
use crate::amqp::codec::header::{HEADER_BYTES, NO_PROPERTIES};
use crate::amqp::codec::method_id::{CLASS_BASIC, MethodId};
use crate::amqp::codec::reply::put_id;
use crate::amqp::codec::wire::{put_short_str, short_str_len};
use crate::amqp::error::ReplyCode;

/// A message as the other world sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content<'a> {
    /// Flags and fields; empty for none.
    pub properties: &'a [u8],
    /// The body.
    pub body: &'a [u8],
}

/// `basic.deliver`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deliver<'a> {
    /// The consumer.
    pub consumer_tag: &'a str,
    /// Counted from 1 on each channel.
    pub delivery_tag: u64,
    /// It was delivered before, to whomever.
    pub redelivered: bool,
    /// Where it was published.
    pub exchange: &'a str,
    /// The routing key it was published with.
    pub routing_key: &'a str,
}

/// `basic.get-ok`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GetOk<'a> {
    /// Counted from 1 on each channel.
    pub delivery_tag: u64,
    /// It was delivered before, to whomever.
    pub redelivered: bool,
    /// Where it was published.
    pub exchange: &'a str,
    /// The routing key it was published with.
    pub routing_key: &'a str,
    /// Messages that are still ready.
    pub message_count: u32,
}

/// `basic.return`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Return<'a> {
    /// Why it comes back.
    pub code: ReplyCode,
    /// Where it was published.
    pub exchange: &'a str,
    /// The routing key it was published with.
    pub routing_key: &'a str,
}

impl Deliver<'_> {
    /// Appends the delivery of `content` to a peer whose `frame_max` is `frame_bytes_max`.
    #[inline]
    pub fn put(
        &self,
        channel: u16,
        content: &Content<'_>,
        frame_bytes_max: u32,
        out: &mut Vec<u8>,
    ) {
        let names = short_str_len(self.consumer_tag)
            + short_str_len(self.exchange)
            + short_str_len(self.routing_key);
        out.reserve(OVERHEAD_BYTES + 4 + 9 + names + content.frames_len(frame_bytes_max));
        put_method(out, channel, MethodId::BASIC_DELIVER, |out| {
            put_short_str(out, self.consumer_tag);
            out.extend_from_slice(&self.delivery_tag.to_be_bytes());
            out.push(u8::from(self.redelivered));
            put_short_str(out, self.exchange);
            put_short_str(out, self.routing_key);
        });
        content.put(out, channel, frame_bytes_max);
    }
}

impl GetOk<'_> {
    /// Appends `content` as the answer to `basic.get`.
    pub fn put(
        &self,
        channel: u16,
        content: &Content<'_>,
        frame_bytes_max: u32,
        out: &mut Vec<u8>,
    ) {
        put_method(out, channel, MethodId::BASIC_GET_OK, |out| {
            out.extend_from_slice(&self.delivery_tag.to_be_bytes());
            out.push(u8::from(self.redelivered));
            put_short_str(out, self.exchange);
            put_short_str(out, self.routing_key);
            out.extend_from_slice(&self.message_count.to_be_bytes());
        });
        content.put(out, channel, frame_bytes_max);
    }
}

impl Return<'_> {
    /// Appends `content` as a message that comes back.
    pub fn put(
        &self,
        channel: u16,
        content: &Content<'_>,
        frame_bytes_max: u32,
        out: &mut Vec<u8>,
    ) {
        put_method(out, channel, MethodId::BASIC_RETURN, |out| {
            out.extend_from_slice(&self.code.number().to_be_bytes());
            put_short_str(out, self.code.name());
            put_short_str(out, self.exchange);
            put_short_str(out, self.routing_key);
        });
        content.put(out, channel, frame_bytes_max);
    }
}

impl Content<'_> {
    /// Length of header and body frames.
    #[inline]
    fn frames_len(&self, frame_bytes_max: u32) -> usize {
        let bodies = self.body.len().div_ceil(body_bytes_max(frame_bytes_max));
        OVERHEAD_BYTES * (1 + bodies)
            + HEADER_BYTES
            + self.properties.len().max(NO_PROPERTIES.len())
            + self.body.len()
    }

    /// Appends header and body frames. An empty body has no frame (AMQP 4.2.6.2).
    #[inline]
    fn put(&self, out: &mut Vec<u8>, channel: u16, frame_bytes_max: u32) {
        let properties = if self.properties.is_empty() { &NO_PROPERTIES } else { self.properties };
        put_head(out, FrameKind::Header, channel, HEADER_BYTES + properties.len());
        let [c0, c1] = CLASS_BASIC.to_be_bytes();
        out.extend_from_slice(&[c0, c1, 0, 0]);
        out.extend_from_slice(&(self.body.len() as u64).to_be_bytes());
        out.extend_from_slice(properties);
        out.push(FRAME_END);
        for part in self.body.chunks(body_bytes_max(frame_bytes_max)) {
            put_head(out, FrameKind::Body, channel, part.len());
            out.extend_from_slice(part);
            out.push(FRAME_END);
        }
    }
}

/// What one body frame may carry, at least 1.
#[inline]
const fn body_bytes_max(frame_bytes_max: u32) -> usize {
    let bytes = (frame_bytes_max as usize).saturating_sub(OVERHEAD_BYTES);
    if bytes == 0 { 1 } else { bytes }
}

/// Appends a method frame whose arguments `write` appends.
#[inline]
fn put_method(out: &mut Vec<u8>, channel: u16, id: MethodId, write: impl FnOnce(&mut Vec<u8>)) {
    put_frame(out, FrameKind::Method, channel, |out| {
        put_id(out, id);
        write(out);
    });
}
