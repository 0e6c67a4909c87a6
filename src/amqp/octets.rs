//! Bytes as RabbitMQ's error texts show them: `<<1,2,3>>`, or `<<"abc">>` where they are text. Part of `amqp`.
//!
//! Operators and tests of clients search logs for these texts, so a peer's bad bytes are shown in the same
//! shape. Only as much is rendered as a reply text can hold.

use std::fmt::{self, Display, Formatter, Write};

/// More bytes never fit into a reply text.
const SHOWN_BYTES_MAX: usize = 256;
/// How much of a frame's payload is shown.
const SNIPPET_BYTES: usize = 16;

/// Bytes as a list of numbers.
#[derive(Clone, Copy, Debug)]
pub struct Numbers<'a>(pub &'a [u8]);

impl Display for Numbers<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("<<")?;
        for (index, byte) in self.0.iter().take(SHOWN_BYTES_MAX).enumerate() {
            if index > 0 {
                f.write_char(',')?;
            }
            write!(f, "{byte}")?;
        }
        f.write_str(">>")
    }
}

/// Bytes as text where all are printable, else as numbers.
#[derive(Clone, Copy, Debug)]
pub struct Octets<'a>(pub &'a [u8]);

impl Display for Octets<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() || !self.0.iter().all(|byte| matches!(byte, b' '..=b'~')) {
            return Numbers(self.0).fmt(f);
        }
        f.write_str("<<\"")?;
        for &byte in self.0.iter().take(SHOWN_BYTES_MAX) {
            if matches!(byte, b'"' | b'\\') {
                f.write_char('\\')?;
            }
            f.write_char(char::from(byte))?;
        }
        f.write_str("\">>")
    }
}

/// A frame by its type and the front of its payload: `type 8, all octets = <<>>`.
#[derive(Clone, Copy, Debug)]
pub struct Snippet<'a> {
    /// The frame's first byte.
    pub kind: u8,
    /// Its payload.
    pub payload: &'a [u8],
}

impl Display for Snippet<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { kind, payload } = self;
        match payload.get(..SNIPPET_BYTES) {
            Some(front) if payload.len() > SNIPPET_BYTES => {
                write!(f, "type {kind}, first {SNIPPET_BYTES} octets = {}", Octets(front))
            }
            _ => write!(f, "type {kind}, all octets = {}", Octets(payload)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Numbers, Octets, Snippet};

    #[test]
    fn bytes_are_shown_as_erlang_shows_them() {
        assert_eq!(Numbers(b"ab").to_string(), "<<97,98>>");
        assert_eq!(Octets(b"a\"b").to_string(), "<<\"a\\\"b\">>");
        assert_eq!(Octets(&[0, 255]).to_string(), "<<0,255>>");
        assert_eq!(Octets(b"").to_string(), "<<>>");
    }

    #[test]
    fn only_the_front_of_a_long_payload_is_shown() {
        assert_eq!(
            Snippet { kind: 3, payload: &[b'x'; 17] }.to_string(),
            "type 3, first 16 octets = <<\"xxxxxxxxxxxxxxxx\">>"
        );
        assert_eq!(
            Snippet { kind: 3, payload: &[b'x'; 16] }.to_string(),
            "type 3, all octets = <<\"xxxxxxxxxxxxxxxx\">>"
        );
    }
}
