//! The primitive types of the Kafka protocol, read and written under bounds. Part of `kafka/codec`.
//!
//! From version to version a message is *plain* or *flexible* (KIP-482). The reader and the writer know
//! which, so that a message's code names its fields once:
//!
//! | type | plain | flexible |
//! |---|---|---|
//! | string | `i16` length, bytes; −1 is null | `uvarint` length + 1, bytes; 0 is null |
//! | bytes | `i32` length, bytes; −1 is null | `uvarint` length + 1, bytes; 0 is null |
//! | array | `i32` count, elements; −1 is null | `uvarint` count + 1, elements; 0 is null |
//! | end of a structure | nothing | `uvarint` count of tagged fields, each tag, size, bytes |
//!
//! Nothing is allocated for a length or a count that the remaining bytes cannot hold, and one message
//! never makes more than [`ELEMENTS_MAX`] array elements whatever its size: a byte on the wire may stand
//! for a structure of a hundred in memory.

use bytes::Bytes;
use thiserror::Error;

/// The array elements that one request may carry in all its arrays together.
pub const ELEMENTS_MAX: usize = 100_000;
/// The longest string, in bytes.
const STRING_BYTES_MAX: usize = 32_767;

/// The tagged fields that one structure may carry; today's schemas define at most four.
const TAGS_MAX: u32 = 64;

/// From this size a byte field is sent from where it lies instead of being copied.
const SHARE_FROM_BYTES: usize = 2048;

/// Bytes that are not what the protocol says they must be. Always the peer's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The message ends within a field.
    #[error("the message ends within a field")]
    Truncated,
    /// A length is negative where null is not allowed, or a varint exceeds its type.
    #[error("a length or number lies outside its range")]
    OutOfRange,
    /// A string is not UTF-8.
    #[error("a string is not UTF-8")]
    NotUtf8,
    /// A null stands where the field must have a value.
    #[error("a field that must have a value is null")]
    Null,
    /// More array elements than [`ELEMENTS_MAX`], or more tagged fields than any schema has.
    #[error("too many elements in one message")]
    TooMany,
}

/// Reads one message front to back; every method fails rather than reads past the end.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    input: &'a [u8],
    flexible: bool,
    elements_left: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the front of `input`, whose strings and arrays are compact if `flexible`.
    #[must_use]
    pub fn new(input: &'a [u8], flexible: bool) -> Self {
        Self { input, flexible, elements_left: ELEMENTS_MAX }
    }

    /// What was not read yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.input
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (head, tail) = self.input.split_at_checked(count).ok_or(DecodeError::Truncated)?;
        self.input = tail;
        Ok(head)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, tail) = self.input.split_first_chunk::<N>().ok_or(DecodeError::Truncated)?;
        self.input = tail;
        Ok(*head)
    }

    /// One signed byte.
    pub fn i8(&mut self) -> Result<i8, DecodeError> {
        Ok(i8::from_be_bytes(self.fixed()?))
    }

    /// A big-endian 16-bit number.
    pub fn i16(&mut self) -> Result<i16, DecodeError> {
        Ok(i16::from_be_bytes(self.fixed()?))
    }

    /// A big-endian 32-bit number.
    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        Ok(i32::from_be_bytes(self.fixed()?))
    }

    /// A big-endian 64-bit number.
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from_be_bytes(self.fixed()?))
    }

    /// One byte; anything but zero is true.
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        Ok(self.i8()? != 0)
    }

    /// Sixteen bytes.
    pub fn uuid(&mut self) -> Result<[u8; 16], DecodeError> {
        self.fixed()
    }

    /// An unsigned 32-bit number in groups of seven bits, lowest first.
    pub fn uvarint(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0_u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.fixed()?;
            let bits = u32::from(byte & 0x7f);
            if shift == 28 && bits > 0x0f {
                return Err(DecodeError::OutOfRange);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::OutOfRange)
    }

    /// The length in front of a compact field: `None` is null.
    fn compact_length(&mut self) -> Result<Option<usize>, DecodeError> {
        let raw = self.uvarint()?;
        match raw.checked_sub(1) {
            None => Ok(None),
            Some(length) => Ok(Some(usize::try_from(length).map_err(|_| DecodeError::OutOfRange)?)),
        }
    }

    fn wide_length(&mut self) -> Result<Option<usize>, DecodeError> {
        if self.flexible {
            return self.compact_length();
        }
        plain_length(self.i32()?)
    }

    /// A string or null.
    pub fn nullable_string(&mut self) -> Result<Option<&'a str>, DecodeError> {
        let length =
            if self.flexible { self.compact_length()? } else { plain_length(self.i16()?.into())? };
        let Some(length) = length else { return Ok(None) };
        // The compact form could say more; no string has more, here as in Kafka.
        if length > STRING_BYTES_MAX {
            return Err(DecodeError::OutOfRange);
        }
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes).map(Some).map_err(|_| DecodeError::NotUtf8)
    }

    /// A string.
    pub fn string(&mut self) -> Result<&'a str, DecodeError> {
        self.nullable_string()?.ok_or(DecodeError::Null)
    }

    /// A string in the plain form whatever the message's: request headers stay with it (KIP-511).
    pub fn plain_nullable_string(&mut self) -> Result<Option<&'a str>, DecodeError> {
        let flexible = std::mem::replace(&mut self.flexible, false);
        let read = self.nullable_string();
        self.flexible = flexible;
        read
    }

    /// Bytes or null, borrowed from the message.
    pub fn nullable_bytes(&mut self) -> Result<Option<&'a [u8]>, DecodeError> {
        match self.wide_length()? {
            None => Ok(None),
            Some(length) => self.take(length).map(Some),
        }
    }

    /// Bytes that must not be null, borrowed from the message.
    pub fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        self.nullable_bytes()?.ok_or(DecodeError::Null)
    }

    /// The elements of an array, or `None` for null. Each element takes a byte at least, so a count beyond
    /// the remaining bytes fails before anything is allocated.
    pub fn nullable_array<T>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<Vec<T>>, DecodeError> {
        let Some(count) = self.wide_length()? else { return Ok(None) };
        if count > self.input.len() {
            return Err(DecodeError::Truncated);
        }
        self.elements_left = self.elements_left.checked_sub(count).ok_or(DecodeError::TooMany)?;
        let mut elements = Vec::with_capacity(count.min(64));
        for _ in 0..count {
            elements.push(element(self)?);
        }
        Ok(Some(elements))
    }

    /// The elements of an array that must not be null.
    pub fn array<T>(
        &mut self,
        element: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        self.nullable_array(element)?.ok_or(DecodeError::Null)
    }

    /// Skips the tagged fields at the end of a structure. None that we serve needs one.
    pub fn end(&mut self) -> Result<(), DecodeError> {
        if !self.flexible {
            return Ok(());
        }
        let count = self.uvarint()?;
        if count > TAGS_MAX {
            return Err(DecodeError::TooMany);
        }
        for _ in 0..count {
            self.uvarint()?;
            let size = usize::try_from(self.uvarint()?).map_err(|_| DecodeError::OutOfRange)?;
            self.take(size)?;
        }
        Ok(())
    }
}

fn plain_length(length: i32) -> Result<Option<usize>, DecodeError> {
    if length == -1 {
        return Ok(None);
    }
    usize::try_from(length).map(Some).map_err(|_| DecodeError::OutOfRange)
}

/// A response on its way out: pieces to write one after the other, large ones shared with the log's cache.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    /// The pieces, the 4-byte length prefix first.
    pub pieces: Vec<Bytes>,
}

impl Frame {
    /// The bytes of all pieces.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    /// Whether there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }
}

/// Writes one response: frame length, header, body.
#[derive(Debug)]
pub struct Writer {
    done: Vec<Bytes>,
    done_bytes: usize,
    buffer: Vec<u8>,
    flexible: bool,
}

impl Writer {
    /// A writer at the front of a frame, whose strings and arrays are compact if `flexible`.
    #[must_use]
    pub fn new(flexible: bool) -> Self {
        Self { done: Vec::new(), done_bytes: 0, buffer: vec![0; 4], flexible }
    }

    /// Whether the message is flexible.
    #[must_use]
    pub fn is_flexible(&self) -> bool {
        self.flexible
    }

    /// One signed byte.
    pub fn i8(&mut self, value: i8) {
        self.buffer.extend_from_slice(&value.to_be_bytes());
    }

    /// A big-endian 16-bit number.
    pub fn i16(&mut self, value: i16) {
        self.buffer.extend_from_slice(&value.to_be_bytes());
    }

    /// A big-endian 32-bit number.
    pub fn i32(&mut self, value: i32) {
        self.buffer.extend_from_slice(&value.to_be_bytes());
    }

    /// A big-endian 64-bit number.
    pub fn i64(&mut self, value: i64) {
        self.buffer.extend_from_slice(&value.to_be_bytes());
    }

    /// One byte, 0 or 1.
    pub fn bool(&mut self, value: bool) {
        self.buffer.push(value.into());
    }

    /// Sixteen bytes.
    pub fn uuid(&mut self, value: &[u8; 16]) {
        self.buffer.extend_from_slice(value);
    }

    /// An unsigned number in groups of seven bits, lowest first.
    pub fn uvarint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.buffer.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.buffer.push(value as u8);
    }

    /// Lengths of what we send are bounded far below 2^31 by the limits on requests and fetches.
    fn wide_length(&mut self, length: Option<usize>) {
        if self.flexible {
            self.uvarint(length.map_or(0, |n| u32::try_from(n + 1).unwrap_or(u32::MAX)));
        } else {
            self.i32(length.map_or(-1, |n| i32::try_from(n).unwrap_or(i32::MAX)));
        }
    }

    /// A string or null. One longer than the plain form can carry (32,767 bytes) is cut at a character's
    /// border; names are shorter, only explanations could be.
    pub fn nullable_string(&mut self, value: Option<&str>) {
        let value = value.map(|text| {
            let mut end = text.len().min(STRING_BYTES_MAX);
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.get(..end).unwrap_or_default()
        });
        let length = value.map(str::len);
        if self.flexible {
            self.wide_length(length);
        } else {
            self.i16(length.map_or(-1, |n| i16::try_from(n).unwrap_or(i16::MAX)));
        }
        self.buffer.extend_from_slice(value.unwrap_or_default().as_bytes());
    }

    /// A string.
    pub fn string(&mut self, value: &str) {
        self.nullable_string(Some(value));
    }

    /// Bytes, shared rather than copied when large.
    pub fn bytes(&mut self, value: &Bytes) {
        self.wide_length(Some(value.len()));
        if value.len() < SHARE_FROM_BYTES {
            self.buffer.extend_from_slice(value);
            return;
        }
        self.settle();
        self.done_bytes += value.len();
        self.done.push(value.clone());
    }

    /// An array of as many elements as `elements` has.
    pub fn array<T>(&mut self, elements: &[T], mut element: impl FnMut(&mut Self, &T)) {
        self.wide_length(Some(elements.len()));
        for item in elements {
            element(self, item);
        }
    }

    /// Ends a structure: no tagged fields.
    pub fn end(&mut self) {
        if self.flexible {
            self.buffer.push(0);
        }
    }

    fn settle(&mut self) {
        self.done_bytes += self.buffer.len();
        self.done.push(Bytes::from(std::mem::take(&mut self.buffer)));
    }

    /// The finished frame, its length filled in.
    #[must_use]
    pub fn finish(mut self) -> Frame {
        let body = self.done_bytes + self.buffer.len() - 4;
        let length = u32::try_from(body).unwrap_or(u32::MAX).to_be_bytes();
        if self.done.is_empty() {
            self.buffer.splice(..4, length);
            return Frame { pieces: vec![Bytes::from(self.buffer)] };
        }
        if !self.buffer.is_empty() {
            self.settle();
        }
        if let Some(first) = self.done.first_mut() {
            let mut head = first.to_vec();
            head.splice(..4, length);
            *first = Bytes::from(head);
        }
        Frame { pieces: self.done }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_beyond_the_remaining_bytes_allocates_nothing() {
        let mut reader = Reader::new(&[0x7f, 0xff, 0xff, 0xff, 1, 2], false);
        assert_eq!(reader.array(Reader::i8), Err(DecodeError::Truncated));
    }

    #[test]
    fn elements_are_bounded_across_nested_arrays() {
        let mut input = Vec::new();
        for _ in 0..3 {
            input.extend_from_slice(&40_000_i32.to_be_bytes());
            input.extend_from_slice(&[0; 40_000]);
        }
        let mut reader = Reader::new(&input, false);
        assert!(reader.array(Reader::i8).is_ok());
        assert!(reader.array(Reader::i8).is_ok());
        assert_eq!(reader.array(Reader::i8), Err(DecodeError::TooMany));
    }

    #[test]
    fn uvarint_accepts_32_bits_and_no_more() {
        let largest = [0xff, 0xff, 0xff, 0xff, 0x0f];
        assert_eq!(Reader::new(&largest, true).uvarint(), Ok(u32::MAX));
        let beyond = [0xff, 0xff, 0xff, 0xff, 0x1f];
        assert_eq!(Reader::new(&beyond, true).uvarint(), Err(DecodeError::OutOfRange));
        let endless = [0x80; 6];
        assert_eq!(Reader::new(&endless, true).uvarint(), Err(DecodeError::OutOfRange));
    }

    #[test]
    fn the_frame_length_counts_shared_pieces() {
        let mut writer = Writer::new(true);
        writer.i32(7);
        writer.bytes(&Bytes::from(vec![9; 5000]));
        writer.end();
        let frame = writer.finish();
        let flat: Vec<u8> = frame.pieces.iter().flatten().copied().collect();
        assert_eq!(flat.len(), frame.len());
        let announced = u32::from_be_bytes([flat[0], flat[1], flat[2], flat[3]]);
        assert_eq!(announced as usize, flat.len() - 4);
        assert!(frame.pieces.len() > 1);
    }

    #[test]
    fn no_string_is_longer_for_being_compact() {
        for (length, taken) in [(32_767_usize, true), (32_768, false)] {
            let head = [((length + 1) & 0x7f) as u8 | 0x80, ((length + 1) >> 7) as u8 | 0x80, 2];
            let input = [&head[..], &vec![b'x'; length]].concat();
            assert_eq!(Reader::new(&input, true).string().is_ok(), taken, "{length}");
        }
    }

    #[test]
    fn long_text_is_cut_at_a_character() {
        let mut writer = Writer::new(false);
        writer.string(&"é".repeat(20_000));
        let frame = writer.finish();
        let mut reader = Reader::new(&frame.pieces[0][4..], false);
        assert_eq!(reader.string().map(str::len), Ok(32_766));
    }
}
