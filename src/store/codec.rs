//! Bounded reading and writing of our own binary formats. Part of `store`.
//!
//! Integers are little endian. A `varint` is unsigned LEB128: seven bits a byte, low bits first, at most
//! ten bytes. `bytes` and `str` are a varint length and that many bytes. Reading never allocates for a
//! length or count that the bytes at hand cannot hold.

/// Why bytes do not decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The bytes end inside a value.
    #[error("truncated: {wanted} bytes wanted at byte {at}, {left} left")]
    Truncated {
        /// Where the value begins.
        at: usize,
        /// How long it is.
        wanted: usize,
        /// How many bytes there are.
        left: usize,
    },
    /// A varint is longer than ten bytes or exceeds its type.
    #[error("varint out of range at byte {at}")]
    Varint {
        /// Where it begins.
        at: usize,
    },
    /// A string is not UTF-8.
    #[error("not UTF-8 at byte {at}")]
    Utf8 {
        /// Where the string's bytes begin.
        at: usize,
    },
    /// Bytes follow where the value must end.
    #[error("{left} bytes too many at byte {at}")]
    Trailing {
        /// Where the value ended.
        at: usize,
        /// How many bytes follow.
        left: usize,
    },
    /// Written by a newer build.
    #[error("format version {found}; this build reads up to {known}")]
    Version {
        /// Version found.
        found: u8,
        /// Newest version known.
        known: u8,
    },
    /// A value outside its set.
    #[error("{what} has no value {found} (byte {at})")]
    Value {
        /// Name of the field.
        what: &'static str,
        /// What was read.
        found: u64,
        /// Where.
        at: usize,
    },
}

/// Appends values to a buffer.
#[derive(Debug)]
pub struct Writer<'a>(pub &'a mut Vec<u8>);

impl Writer<'_> {
    /// Appends one byte.
    pub fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    /// Appends 0 or 1.
    pub fn bool(&mut self, value: bool) {
        self.0.push(u8::from(value));
    }

    /// Appends two bytes.
    pub fn u16(&mut self, value: u16) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Appends four bytes.
    pub fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Appends eight bytes.
    pub fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Appends four bytes, two's complement.
    pub fn i32(&mut self, value: i32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Appends eight bytes, two's complement.
    pub fn i64(&mut self, value: i64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Appends one to ten bytes.
    pub fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value as u8 & 0x7f) | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// Appends a count or length as a varint.
    pub fn count(&mut self, value: usize) {
        self.varint(value as u64);
    }

    /// Appends a varint length and the bytes.
    pub fn bytes(&mut self, value: &[u8]) {
        self.count(value.len());
        self.0.extend_from_slice(value);
    }

    /// Appends a varint length and the string's bytes.
    pub fn str(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }

    /// Appends bytes without a length.
    pub fn raw(&mut self, value: &[u8]) {
        self.0.extend_from_slice(value);
    }

    /// Appends a presence byte, and the value when there is one.
    pub fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.bool(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }
}

/// Takes values off the front of a slice; what it returns borrows from that slice.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    whole: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads `bytes` from their beginning.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { whole: bytes, at: 0 }
    }

    /// Bytes read so far.
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }

    /// What has not been read.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.whole.get(self.at..).unwrap_or_default()
    }

    /// True when everything has been read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.at >= self.whole.len()
    }

    /// Requires that everything has been read.
    pub fn finish(self) -> Result<(), CodecError> {
        match self.rest().len() {
            0 => Ok(()),
            left => Err(CodecError::Trailing { at: self.at, left }),
        }
    }

    /// Takes `count` bytes.
    pub fn raw(&mut self, count: usize) -> Result<&'a [u8], CodecError> {
        let rest = self.rest();
        let Some(taken) = rest.get(..count) else {
            return Err(CodecError::Truncated { at: self.at, wanted: count, left: rest.len() });
        };
        self.at += count;
        Ok(taken)
    }

    /// Takes `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let rest = self.rest();
        let Some(taken) = rest.first_chunk::<N>() else {
            return Err(CodecError::Truncated { at: self.at, wanted: N, left: rest.len() });
        };
        self.at += N;
        Ok(*taken)
    }

    /// Takes one byte.
    pub fn u8(&mut self) -> Result<u8, CodecError> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Takes a byte that must be 0 or 1.
    pub fn bool(&mut self) -> Result<bool, CodecError> {
        let at = self.at;
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(CodecError::Value { what: "flag", found: other.into(), at }),
        }
    }

    /// Takes two bytes.
    pub fn u16(&mut self) -> Result<u16, CodecError> {
        self.array().map(u16::from_le_bytes)
    }

    /// Takes four bytes.
    pub fn u32(&mut self) -> Result<u32, CodecError> {
        self.array().map(u32::from_le_bytes)
    }

    /// Takes eight bytes.
    pub fn u64(&mut self) -> Result<u64, CodecError> {
        self.array().map(u64::from_le_bytes)
    }

    /// Takes four bytes, two's complement.
    pub fn i32(&mut self) -> Result<i32, CodecError> {
        self.array().map(i32::from_le_bytes)
    }

    /// Takes eight bytes, two's complement.
    pub fn i64(&mut self) -> Result<i64, CodecError> {
        self.array().map(i64::from_le_bytes)
    }

    /// Takes a varint of at most 64 bits.
    pub fn varint(&mut self) -> Result<u64, CodecError> {
        let at = self.at;
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit only.
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(CodecError::Varint { at })
    }

    /// Takes a varint that must fit 32 bits.
    pub fn varint_u32(&mut self) -> Result<u32, CodecError> {
        let at = self.at;
        u32::try_from(self.varint()?).map_err(|_| CodecError::Varint { at })
    }

    /// Takes a length-prefixed run of bytes.
    pub fn bytes(&mut self) -> Result<&'a [u8], CodecError> {
        let at = self.at;
        let length = usize::try_from(self.varint()?).map_err(|_| CodecError::Varint { at })?;
        self.raw(length)
    }

    /// Takes a length-prefixed string.
    pub fn str(&mut self) -> Result<&'a str, CodecError> {
        let bytes = self.bytes()?;
        let at = self.at - bytes.len();
        std::str::from_utf8(bytes).map_err(|_| CodecError::Utf8 { at })
    }

    /// Takes a count of items that need at least `item_bytes_min` bytes each; a count that the remaining
    /// bytes cannot hold is an error, so the result is safe as a capacity.
    pub fn count(&mut self, item_bytes_min: usize) -> Result<usize, CodecError> {
        let at = self.at;
        let count = usize::try_from(self.varint()?).map_err(|_| CodecError::Varint { at })?;
        let left = self.rest().len();
        match count.checked_mul(item_bytes_min.max(1)) {
            Some(wanted) if wanted <= left => Ok(count),
            wanted => Err(CodecError::Truncated { at, wanted: wanted.unwrap_or(usize::MAX), left }),
        }
    }

    /// Takes a presence byte, and a value when it says so.
    pub fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, CodecError>,
    ) -> Result<Option<T>, CodecError> {
        if self.bool()? { read(self).map(Some) } else { Ok(None) }
    }

    /// Takes a version byte between 1 and `known`.
    pub fn version(&mut self, known: u8) -> Result<u8, CodecError> {
        let at = self.at;
        match self.u8()? {
            0 => Err(CodecError::Value { what: "format version", found: 0, at }),
            found if found > known => Err(CodecError::Version { found, known }),
            found => Ok(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::store::codec::{CodecError, Reader, Writer};

    #[test]
    fn a_count_beyond_the_remaining_bytes_is_refused() {
        let mut bytes = Vec::new();
        Writer(&mut bytes).varint(u64::MAX);
        assert!(Reader::new(&bytes).count(1).is_err());
        let mut bytes = Vec::new();
        Writer(&mut bytes).varint(3);
        bytes.extend_from_slice(&[0; 5]);
        assert!(matches!(
            Reader::new(&bytes).count(2),
            Err(CodecError::Truncated { wanted: 6, left: 5, .. })
        ));
    }

    #[test]
    fn a_varint_of_more_than_64_bits_is_refused() {
        assert!(Reader::new(&[0xff; 11]).varint().is_err());
        let mut over = [0xff; 10];
        over[9] = 0x02;
        assert!(Reader::new(&over).varint().is_err());
    }

    proptest! {
        #[test]
        fn values_come_back_as_written(
            a: u8, b: u16, c: u32, d: u64, e: i32, f: i64, v: u64, s: String, o: Option<u32>,
            bytes: Vec<u8>,
        ) {
            let mut out = Vec::new();
            let mut writer = Writer(&mut out);
            writer.u8(a);
            writer.u16(b);
            writer.u32(c);
            writer.u64(d);
            writer.i32(e);
            writer.i64(f);
            writer.varint(v);
            writer.str(&s);
            writer.bytes(&bytes);
            writer.option(o, |w, value| w.u32(value));
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.u8()?, a);
            prop_assert_eq!(reader.u16()?, b);
            prop_assert_eq!(reader.u32()?, c);
            prop_assert_eq!(reader.u64()?, d);
            prop_assert_eq!(reader.i32()?, e);
            prop_assert_eq!(reader.i64()?, f);
            prop_assert_eq!(reader.varint()?, v);
            prop_assert_eq!(reader.str()?, s);
            prop_assert_eq!(reader.bytes()?, &bytes[..]);
            prop_assert_eq!(reader.option(Reader::u32)?, o);
            reader.finish()?;
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let mut reader = Reader::new(&bytes);
            while reader.str().is_ok() && reader.bytes().is_ok() && reader.count(3).is_ok() {}
        }
    }
}
