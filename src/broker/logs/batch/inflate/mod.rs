//! Unpacks the records of compressed batches, a piece at a time and within bounds. Part of `broker/logs/batch`; pure.
//!
//! | codec | what clients send | piece |
//! |---|---|---|
//! | 1 gzip | RFC 1952, one member or several | 64 KiB |
//! | 2 snappy | one raw block (librdkafka), or blocks in the framing of snappy-java | a block |
//! | 3 lz4 | one LZ4 frame of independent blocks | a block, at most 4 MiB |
//! | 4 zstd | RFC 8878 frames, no dictionary | 64 KiB, over a window of at most 128 MiB |
//!
//! What Kafka's consumers refuse is refused here, so that nobody can store a batch that stops them: whatever a
//! format carries to check itself is checked, and nothing may stand behind the last frame.
//!
//! A **bomb** ends at a limit ([`bytes_max`]) that grows with what was sent, before the memory for it is taken.
//!
//! - [`snappy`], [`lz4`], [`zstd`] the formats; gzip needs no more than its crate

mod lz4;
mod snappy;
mod zstd;

use std::cell::Cell;
use std::io::{ErrorKind, Read};

use flate2::bufread::MultiGzDecoder;
use thiserror::Error;

use crate::broker::logs::batch::inflate::lz4::Lz4Blocks;
use crate::broker::logs::batch::inflate::snappy::SnappyBlocks;
use crate::broker::logs::batch::inflate::zstd::ZstdFrames;

/// The most that any batch may unpack to.
pub const INFLATED_BYTES_MAX: u64 = 128 << 20;
/// What even the smallest batch may unpack to: a record of zeros as large as a client can be told to send shrinks to
/// less than a kilobyte.
const INFLATED_BYTES_FREE: u64 = 16 << 20;
/// How many bytes each compressed byte may stand for beyond that: a little more than the 1,032 of deflate, so that it is
/// zstd alone that is bounded by it.
const INFLATED_RATIO: u64 = 1040;
/// A piece, where the format does not say.
const PIECE_BYTES: usize = 64 << 10;
/// A buffer that is kept for a thread's next batch is not larger: the largest block of an LZ4 frame.
const KEPT_BYTES_MAX: usize = 4 << 20;

thread_local! {
    /// The buffer of the last batch that this thread unpacked.
    static KEPT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// How records are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// 1.
    Gzip,
    /// 2.
    Snappy,
    /// 3.
    Lz4,
    /// 4.
    Zstd,
}

impl Codec {
    /// The codec of a number in a batch's attributes; `None` for 0, which is none, and for unknown ones.
    #[must_use]
    pub fn from_bits(bits: i16) -> Option<Self> {
        Some(match bits {
            1 => Self::Gzip,
            2 => Self::Snappy,
            3 => Self::Lz4,
            4 => Self::Zstd,
            _ => return None,
        })
    }
}

/// Why bytes cannot be unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InflateFault {
    /// They are not what the codec makes.
    #[error("the compressed block is malformed")]
    Malformed,
    /// They unpack to more than is allowed.
    #[error("the compressed block unpacks to too much")]
    TooLarge,
}

/// What `compressed` bytes may unpack to where `cap` is the most for any batch.
#[must_use]
pub fn bytes_max(compressed: usize, cap: u64) -> u64 {
    let grown = (compressed as u64).saturating_mul(INFLATED_RATIO);
    grown.max(INFLATED_BYTES_FREE).min(cap)
}

/// Unpacks all of `bytes`.
///
/// # Errors
/// See [`InflateFault`]; too much is more than `bytes_max`.
pub fn inflate(codec: Codec, bytes: &[u8], bytes_max: u64) -> Result<Vec<u8>, InflateFault> {
    let mut inflater = Inflater::new(codec, bytes, bytes_max);
    let mut all = Vec::new();
    while inflater.advance()? {
        all.extend_from_slice(inflater.piece());
    }
    Ok(all)
}

/// Unpacks bytes a piece at a time.
pub struct Inflater<'a> {
    format: Format<'a>,
    buffer: Vec<u8>,
    filled: usize,
    left: u64,
}

enum Format<'a> {
    Gzip(MultiGzDecoder<&'a [u8]>),
    Snappy(SnappyBlocks<'a>),
    Lz4(Lz4Blocks<'a>),
    Zstd(ZstdFrames<'a>),
}

impl<'a> Inflater<'a> {
    /// Begins with `bytes`, which may unpack to `bytes_max`.
    #[must_use]
    pub fn new(codec: Codec, bytes: &'a [u8], bytes_max: u64) -> Self {
        let format = match codec {
            Codec::Gzip => Format::Gzip(MultiGzDecoder::new(bytes)),
            Codec::Snappy => Format::Snappy(SnappyBlocks::new(bytes)),
            Codec::Lz4 => Format::Lz4(Lz4Blocks::new(bytes)),
            Codec::Zstd => Format::Zstd(ZstdFrames::new(bytes)),
        };
        Self { format, buffer: KEPT.take(), filled: 0, left: bytes_max }
    }

    /// Unpacks the next piece; false at the end.
    ///
    /// # Errors
    /// See [`InflateFault`].
    pub fn advance(&mut self) -> Result<bool, InflateFault> {
        let Self { format, buffer, left, .. } = self;
        self.filled = match format {
            Format::Gzip(decoder) => read(decoder, room(buffer, PIECE_BYTES)?)?,
            Format::Zstd(frames) => frames.read(room(buffer, PIECE_BYTES)?)?,
            Format::Snappy(blocks) => blocks.next(buffer, *left)?,
            Format::Lz4(blocks) => blocks.next(buffer, *left)?,
        };
        self.left = self.left.checked_sub(self.filled as u64).ok_or(InflateFault::TooLarge)?;
        Ok(self.filled > 0)
    }

    /// What the last [`Self::advance`] unpacked.
    #[must_use]
    #[inline]
    pub fn piece(&self) -> &[u8] {
        self.buffer.get(..self.filled).unwrap_or_default()
    }
}

impl Drop for Inflater<'_> {
    fn drop(&mut self) {
        if self.buffer.len() <= KEPT_BYTES_MAX {
            KEPT.set(std::mem::take(&mut self.buffer));
        }
    }
}

/// The first `bytes` of `buffer`, which grows to that. It is not cleared: what is read is what was written.
fn room(buffer: &mut Vec<u8>, bytes: usize) -> Result<&mut [u8], InflateFault> {
    if buffer.len() < bytes {
        buffer.resize(bytes, 0);
    }
    buffer.get_mut(..bytes).ok_or(InflateFault::TooLarge)
}

fn read(from: &mut impl Read, into: &mut [u8]) -> Result<usize, InflateFault> {
    loop {
        match from.read(into) {
            Ok(count) => return Ok(count),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Err(InflateFault::Malformed),
        }
    }
}

#[cfg(test)]
mod tests;
