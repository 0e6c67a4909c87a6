//! Snappy as Kafka's clients send it. Part of `batch/inflate`.
//!
//! librdkafka sends one raw block. The Java client sends snappy-java's framing: 16 bytes of header, then blocks, each
//! behind its length. Both are told apart by the first byte, which in a raw block would begin a length of which the
//! rest does not fit.

use snap::raw::{Decoder, decompress_len};

use crate::broker::logs::batch::inflate::{InflateFault, room};

const MAGIC: &[u8] = b"\x82SNAPPY\0";
/// Magic, version, and the lowest version that can read it.
const HEADER_BYTES: usize = 16;
/// No element of the format stands for more: three bytes can copy 64.
const RATIO_MAX: u64 = 22;

/// The blocks of a compressed batch.
pub(super) struct SnappyBlocks<'a> {
    rest: &'a [u8],
    framed: bool,
    decoder: Decoder,
}

impl<'a> SnappyBlocks<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let framed = bytes.starts_with(MAGIC);
        // A header that is cut leaves nothing, and a batch without records is refused by who reads them.
        let rest = if framed { bytes.get(HEADER_BYTES..).unwrap_or_default() } else { bytes };
        Self { rest, framed, decoder: Decoder::new() }
    }

    /// Unpacks the next block into `buffer` and gives back its bytes; 0 at the end.
    pub(super) fn next(&mut self, buffer: &mut Vec<u8>, left: u64) -> Result<usize, InflateFault> {
        if self.rest.is_empty() {
            return Ok(0);
        }
        let block = self.block().ok_or(InflateFault::Malformed)?;
        let length = decompress_len(block).map_err(|_| InflateFault::Malformed)?;
        if length as u64 > left {
            return Err(InflateFault::TooLarge);
        }
        if length == 0 || length as u64 > block.len() as u64 * RATIO_MAX {
            return Err(InflateFault::Malformed);
        }
        let out = room(buffer, length)?;
        self.decoder.decompress(block, out).map_err(|_| InflateFault::Malformed)
    }

    fn block(&mut self) -> Option<&'a [u8]> {
        if !self.framed {
            return Some(std::mem::take(&mut self.rest));
        }
        let (length, rest) = self.rest.split_first_chunk::<4>()?;
        let length = usize::try_from(i32::from_be_bytes(*length)).ok()?;
        let (block, rest) = rest.split_at_checked(length)?;
        self.rest = rest;
        Some(block)
    }
}
