//! The data representations of AMQP 0-9-1 (AMQP 4.2.5): integers, strings, flags. Part of `amqp::codec`.
//!
//! Tables stay the bytes they are, but are checked whole as they are read: depth and entries are bounded before
//! anybody walks into one.

use thiserror::Error;

use crate::model::field_table::{FieldTable, Limits, TableError};

/// The longest short string.
pub const SHORT_STRING_BYTES_MAX: usize = 255;

/// Bytes that are not what the protocol says they must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WireError {
    /// They end within a field, or go on behind the last one.
    #[error("the arguments are too short or too long")]
    Length,
    /// A short string is not UTF-8.
    #[error("a short string is not UTF-8")]
    NotUtf8,
    /// A table is none.
    #[error(transparent)]
    Table(#[from] TableError),
}

/// How deep and how large tables may be; the frame bounds their bytes.
#[must_use]
pub fn table_limits() -> Limits {
    Limits { bytes: usize::MAX, ..Limits::default() }
}

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

    /// Ends the reading.
    ///
    /// # Errors
    /// Something is left.
    #[inline]
    pub const fn end(&self) -> Result<(), WireError> {
        if self.rest.is_empty() { Ok(()) } else { Err(WireError::Length) }
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// There are fewer, as for all that follow.
    #[inline]
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let (head, rest) = self.rest.split_at_checked(count).ok_or(WireError::Length)?;
        self.rest = rest;
        Ok(head)
    }

    #[inline]
    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(WireError::Length)?;
        self.rest = rest;
        Ok(*head)
    }

    /// An octet.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, WireError> {
        let [byte] = self.fixed()?;
        Ok(byte)
    }

    /// A short.
    #[inline]
    pub fn u16(&mut self) -> Result<u16, WireError> {
        Ok(u16::from_be_bytes(self.fixed()?))
    }

    /// A long.
    #[inline]
    pub fn u32(&mut self) -> Result<u32, WireError> {
        Ok(u32::from_be_bytes(self.fixed()?))
    }

    /// A long long.
    #[inline]
    pub fn u64(&mut self) -> Result<u64, WireError> {
        Ok(u64::from_be_bytes(self.fixed()?))
    }

    /// The octet that holds up to eight flags, the first in its lowest bit.
    #[inline]
    pub fn flags(&mut self) -> Result<Flags, WireError> {
        self.u8().map(Flags)
    }

    /// A short string, whatever its bytes.
    #[inline]
    pub fn short_bytes(&mut self) -> Result<&'a [u8], WireError> {
        let length = self.u8()?;
        self.bytes(usize::from(length))
    }

    /// A short string.
    ///
    /// # Errors
    /// It is not UTF-8.
    #[inline]
    pub fn short_str(&mut self) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.short_bytes()?).map_err(|_| WireError::NotUtf8)
    }

    /// A long string.
    #[inline]
    pub fn long_bytes(&mut self) -> Result<&'a [u8], WireError> {
        let length = self.u32()?;
        self.bytes(usize::try_from(length).map_err(|_| WireError::Length)?)
    }

    /// A table.
    ///
    /// # Errors
    /// It is malformed or exceeds [`table_limits`].
    pub fn table(&mut self) -> Result<FieldTable<'a>, WireError> {
        Ok(FieldTable::check(self.long_bytes()?, table_limits())?)
    }
}

/// Flags of a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// The flag at `index`, counted from 0.
    #[must_use]
    #[inline]
    pub const fn at(self, index: u8) -> bool {
        self.0 >> index & 1 == 1
    }
}

/// Appends a short string. What exceeds 255 bytes is cut off between two characters: names never do, they came
/// as short strings; explanations of our own may.
#[inline]
pub fn put_short_str(out: &mut Vec<u8>, text: &str) {
    let mut end = text.len().min(SHORT_STRING_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    out.push(end as u8);
    out.extend_from_slice(text.as_bytes().get(..end).unwrap_or_default());
}

/// How many bytes [`put_short_str`] appends at most.
#[must_use]
#[inline]
pub const fn short_str_len(text: &str) -> usize {
    1 + text.len()
}

/// Appends a long string or a table. Its length is the caller's to bound: all that is written fits a frame.
#[inline]
pub fn put_long_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let bytes = bytes.get(..u32::MAX as usize).unwrap_or(bytes);
    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::{Flags, Reader, WireError, put_long_bytes, put_short_str};

    #[test]
    fn strings_survive() {
        let mut out = Vec::new();
        put_short_str(&mut out, "é");
        put_long_bytes(&mut out, b"\xFF");
        let mut reader = Reader::new(&out);
        assert_eq!(reader.short_str(), Ok("é"));
        assert_eq!(reader.end(), Err(WireError::Length));
        assert_eq!(reader.long_bytes(), Ok(&b"\xFF"[..]));
        assert_eq!(reader.end(), Ok(()));
        assert_eq!(Reader::new(b"\x01\xFF").short_str(), Err(WireError::NotUtf8));
        assert_eq!(Reader::new(b"\x02a").short_str(), Err(WireError::Length));
    }

    #[test]
    fn a_short_string_is_cut_between_characters() {
        let mut out = Vec::new();
        put_short_str(&mut out, &format!("x{}", "é".repeat(200)));
        assert_eq!(out.len(), 256);
        out.clear();
        put_short_str(&mut out, &"é".repeat(200));
        assert_eq!(out[0], 254);
        assert_eq!(out.len(), 255);
    }

    #[test]
    fn the_first_flag_is_the_lowest_bit() {
        let flags = Flags(0b0000_0101);
        assert_eq!([flags.at(0), flags.at(1), flags.at(2)], [true, false, true]);
    }
}
