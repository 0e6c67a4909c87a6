//! Frames (AMQP 4.2.3): type, channel, size, payload, end octet. Part of `amqp::codec`.
//!
//! A frame is judged by its first seven bytes, before anything of its payload is waited for.

use thiserror::Error;

/// The octet that ends a frame.
pub const FRAME_END: u8 = 0xCE;
/// What stands in front of a payload.
pub const HEAD_BYTES: usize = 7;
/// What a frame has beside its payload; `frame_max` counts it.
pub const OVERHEAD_BYTES: usize = HEAD_BYTES + 1;
/// The smallest `frame_max` that a peer may ask for (AMQP 4.2.3).
pub const FRAME_BYTES_MIN: u32 = 4096;

/// A heartbeat, whole.
pub const HEARTBEAT: [u8; OVERHEAD_BYTES] = [8, 0, 0, 0, 0, 0, 0, FRAME_END];

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    /// A method.
    Method = 1,
    /// The header of a content.
    Header = 2,
    /// A part of a content's body.
    Body = 3,
    /// Nothing.
    Heartbeat = 8,
}

impl FrameKind {
    /// The kind that a frame's first byte names.
    #[must_use]
    #[inline]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Method,
            2 => Self::Header,
            3 => Self::Body,
            8 => Self::Heartbeat,
            _ => return None,
        })
    }
}

/// One whole frame at the front of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it holds.
    pub kind: FrameKind,
    /// The channel; 0 is the connection.
    pub channel: u16,
    /// What stands between its head and its end.
    pub payload: &'a [u8],
    /// Its length with head and end.
    pub total_len: usize,
}

/// Bytes that are no frame. The peer's next frame cannot be found any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError<'a> {
    /// The first byte names no kind of frame.
    #[error("type {0} is no frame")]
    Kind(u8),
    /// The payload is longer than agreed.
    #[error("frame of {bytes} bytes exceeds the maximum")]
    TooLarge {
        /// The first byte.
        kind: FrameKind,
        /// The announced size.
        bytes: u32,
    },
    /// The end octet is another.
    #[error("frame ends with {end}")]
    End {
        /// The first byte.
        kind: FrameKind,
        /// The payload.
        payload: &'a [u8],
        /// What stands in the place of the end octet.
        end: u8,
    },
}

/// The frame at the front of `buf`; `None` when more bytes are needed.
///
/// # Errors
/// As soon as the bytes seen so far cannot become a frame whose payload has at most `payload_bytes_max` bytes.
#[inline]
pub fn frame(buf: &[u8], payload_bytes_max: usize) -> Result<Option<Frame<'_>>, FrameError<'_>> {
    let Some(&first) = buf.first() else { return Ok(None) };
    let kind = FrameKind::from_byte(first).ok_or(FrameError::Kind(first))?;
    let Some((head, rest)) = buf.split_first_chunk::<HEAD_BYTES>() else { return Ok(None) };
    let [_, c0, c1, s0, s1, s2, s3] = *head;
    let bytes = u32::from_be_bytes([s0, s1, s2, s3]);
    let length = bytes as usize;
    if length > payload_bytes_max {
        return Err(FrameError::TooLarge { kind, bytes });
    }
    let Some((payload, rest)) = rest.split_at_checked(length) else { return Ok(None) };
    match rest.first() {
        None => Ok(None),
        Some(&FRAME_END) => Ok(Some(Frame {
            kind,
            channel: u16::from_be_bytes([c0, c1]),
            payload,
            total_len: length + OVERHEAD_BYTES,
        })),
        Some(&end) => Err(FrameError::End { kind, payload, end }),
    }
}

/// Appends a frame's head.
#[inline]
pub fn put_head(out: &mut Vec<u8>, kind: FrameKind, channel: u16, payload_bytes: usize) {
    let [c0, c1] = channel.to_be_bytes();
    let [s0, s1, s2, s3] = (payload_bytes as u32).to_be_bytes();
    out.extend_from_slice(&[kind as u8, c0, c1, s0, s1, s2, s3]);
}

/// Appends a frame whose payload `write` appends.
#[inline]
pub fn put_frame(
    out: &mut Vec<u8>,
    kind: FrameKind,
    channel: u16,
    write: impl FnOnce(&mut Vec<u8>),
) {
    let start = out.len();
    put_head(out, kind, channel, 0);
    write(out);
    let payload_bytes = (out.len() - start - HEAD_BYTES) as u32;
    if let Some(size) = out.get_mut(start + 3..start + HEAD_BYTES) {
        size.copy_from_slice(&payload_bytes.to_be_bytes());
    }
    out.push(FRAME_END);
}

#[cfg(test)]
mod tests {
    use super::{FRAME_END, Frame, FrameError, FrameKind, HEARTBEAT, frame, put_frame};

    fn three(payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        put_frame(&mut out, FrameKind::Body, 258, |out| out.extend_from_slice(payload));
        out
    }

    #[test]
    fn a_frame_is_found_only_when_whole() {
        let mut bytes = three(b"abc");
        bytes.push(1);
        for end in 0..11 {
            assert_eq!(frame(&bytes[..end], 100), Ok(None));
        }
        let found = Frame { kind: FrameKind::Body, channel: 258, payload: b"abc", total_len: 11 };
        assert_eq!(frame(&bytes, 100), Ok(Some(found)));
        assert_eq!(frame(&HEARTBEAT, 0).unwrap().unwrap().kind, FrameKind::Heartbeat);
    }

    #[test]
    fn a_frame_is_judged_by_its_head() {
        let bytes = three(b"abcd");
        let too_large = FrameError::TooLarge { kind: FrameKind::Body, bytes: 4 };
        assert_eq!(frame(&bytes[..7], 3), Err(too_large));
        assert_eq!(frame(&[3, 0, 0, 255, 255, 255, 255], 3).ok(), None);
        assert_eq!(frame(b"G", 3), Err(FrameError::Kind(b'G')));
    }

    #[test]
    fn a_wrong_end_is_seen() {
        let mut bytes = three(b"abc");
        assert_eq!(bytes.pop(), Some(FRAME_END));
        bytes.push(7);
        let end = FrameError::End { kind: FrameKind::Body, payload: b"abc", end: 7 };
        assert_eq!(frame(&bytes, 3), Err(end));
    }
}
