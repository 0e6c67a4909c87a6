//! The data representations of MQTT 5 (MQTT5-1.5): integers, strings, binary data. Part of `mqtt::codec`.

use crate::mqtt::error::ProtocolError;

/// The largest value of a Variable Byte Integer, and so of a Remaining Length.
pub const VARINT_MAX: u32 = 268_435_455;

const SHORT: ProtocolError = ProtocolError::malformed("packet ends within a field");

/// Reads fields from the front of a slice.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What is not yet read.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether everything is read.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// Malformed when there are fewer, as for all that follow.
    #[inline]
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], ProtocolError> {
        let (head, rest) = self.rest.split_at_checked(count).ok_or(SHORT)?;
        self.rest = rest;
        Ok(head)
    }

    /// One byte.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, ProtocolError> {
        let (&byte, rest) = self.rest.split_first().ok_or(SHORT)?;
        self.rest = rest;
        Ok(byte)
    }

    /// A Two Byte Integer.
    #[inline]
    pub fn u16(&mut self) -> Result<u16, ProtocolError> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(SHORT)?;
        self.rest = rest;
        Ok(u16::from_be_bytes(*head))
    }

    /// A Four Byte Integer.
    #[inline]
    pub fn u32(&mut self) -> Result<u32, ProtocolError> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(SHORT)?;
        self.rest = rest;
        Ok(u32::from_be_bytes(*head))
    }

    /// A Variable Byte Integer.
    ///
    /// # Errors
    /// Malformed also for a fifth byte, and for more bytes than the value needs [MQTT-1.5.5-1].
    #[inline]
    pub fn varint(&mut self) -> Result<u32, ProtocolError> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.u8()?;
            value |= u32::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(ProtocolError::malformed("variable byte integer is padded"));
                }
                return Ok(value);
            }
        }
        Err(ProtocolError::malformed("variable byte integer has a fifth byte"))
    }

    /// Binary Data: a Two Byte length and as many bytes.
    #[inline]
    pub fn binary(&mut self) -> Result<&'a [u8], ProtocolError> {
        let length = self.u16()?;
        self.bytes(usize::from(length))
    }

    /// A UTF-8 Encoded String.
    ///
    /// # Errors
    /// Malformed also when it is not UTF-8 or contains U+0000 [MQTT-1.5.4-1] [MQTT-1.5.4-2].
    #[inline]
    pub fn string(&mut self) -> Result<&'a str, ProtocolError> {
        text(self.binary()?)
    }
}

/// Checks that `bytes` may be a UTF-8 Encoded String.
///
/// # Errors
/// Malformed when they are not UTF-8 or contain U+0000.
#[inline]
pub fn text(bytes: &[u8]) -> Result<&str, ProtocolError> {
    if bytes.contains(&0) {
        return Err(ProtocolError::malformed("string contains U+0000"));
    }
    std::str::from_utf8(bytes).map_err(|_| ProtocolError::malformed("string is not UTF-8"))
}

/// A value cannot be written: a string beyond 65,535 bytes or a packet beyond 268,435,455.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("value is too long for an MQTT packet")]
pub struct TooLong;

/// Appends a Variable Byte Integer.
///
/// # Errors
/// `value` is above [`VARINT_MAX`].
#[inline]
pub fn put_varint(out: &mut Vec<u8>, value: usize) -> Result<(), TooLong> {
    if value > VARINT_MAX as usize {
        return Err(TooLong);
    }
    let mut left = value;
    while left > 0x7F {
        out.push((left & 0x7F) as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
    Ok(())
}

/// How many bytes [`put_varint`] appends.
#[must_use]
#[inline]
pub const fn varint_len(value: usize) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

/// Appends Binary Data or a UTF-8 Encoded String.
///
/// # Errors
/// `bytes` are more than 65,535.
#[inline]
pub fn put_binary(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), TooLong> {
    let length = u16::try_from(bytes.len()).map_err(|_| TooLong)?;
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
    Ok(())
}

/// Appends a whole packet: `header`, the Remaining Length, then `body`.
///
/// # Errors
/// `body` is longer than [`VARINT_MAX`]; nothing is appended then.
pub fn put_packet(out: &mut Vec<u8>, header: u8, body: &[u8]) -> Result<(), TooLong> {
    if body.len() > VARINT_MAX as usize {
        return Err(TooLong);
    }
    out.push(header);
    put_varint(out, body.len())?;
    out.extend_from_slice(body);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Reader, TooLong, VARINT_MAX, put_varint, text, varint_len};

    /// [MQTT5-1.5.5-1]
    #[test]
    fn variable_byte_integers_survive_and_are_minimal() {
        for value in [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, VARINT_MAX as usize] {
            let mut out = Vec::new();
            put_varint(&mut out, value).unwrap();
            assert_eq!(out.len(), varint_len(value));
            assert_eq!(Reader::new(&out).varint().unwrap() as usize, value);
            assert!(Reader::new(&out[..out.len() - 1]).varint().is_err());
        }
        assert_eq!(put_varint(&mut Vec::new(), VARINT_MAX as usize + 1), Err(TooLong));
        assert!(Reader::new(&[0x80, 0x00]).varint().is_err());
        assert!(Reader::new(&[0x80, 0x80, 0x80, 0x80, 0x01]).varint().is_err());
    }

    /// [MQTT-1.5.3-1] [MQTT-1.5.3-2] [MQTT-1.5.3-3] [MQTT5-1.5.4-1] [MQTT5-1.5.4-2] [MQTT5-1.5.4-3]
    #[test]
    fn strings_are_utf8_without_nul() {
        assert!(text(b"a\0b").is_err());
        assert!(text(b"\xED\xA0\x80").is_err());
        assert_eq!(text("\u{FEFF}x".as_bytes()), Ok("\u{FEFF}x"));
    }
}
