//! Zstandard frames (RFC 8878). Part of `batch/inflate`.
//!
//! A frame says how far back it refers, up to 128 MiB with the highest levels, and most that say so hold far less. So
//! no window is larger here than 32 MiB ([`WINDOW_EXPONENT_MAX`]): a frame that refers further back indeed is refused.

use std::io::{Chain, Read};

use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use crate::broker::logs::batch::inflate::{InflateFault, read};

const MAGIC: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();
/// The largest exponent of a window descriptor: a window is 2^(10 + exponent) bytes and some eighths of that.
const WINDOW_EXPONENT_MAX: u8 = 15;
/// That of the largest window that zstd's own decoder takes, 128 MiB.
const WINDOW_EXPONENT_KNOWN: u8 = 17;
/// The longest content size whose frame may be one segment, which is kept whole.
const SEGMENT_BYTES_MAX: u64 = 128 << 20;
/// The bytes at a frame's front that may be altered here: magic, descriptor, window.
const FRONT_BYTES: usize = 6;

/// The frames of a compressed batch, one after the other.
pub(super) struct ZstdFrames<'a> {
    rest: &'a [u8],
    decoder: FrameDecoder,
    frame: Option<Frame>,
}

/// The frame that is being read.
#[derive(Clone, Copy)]
struct Frame {
    /// Those that have not come yet.
    content_left: Option<u64>,
}

impl<'a> ZstdFrames<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(SEGMENT_BYTES_MAX);
        Self { rest: bytes, decoder, frame: None }
    }

    /// Reads into `out` and gives back how many bytes; 0 at the end.
    pub(super) fn read(&mut self, out: &mut [u8], left: u64) -> Result<usize, InflateFault> {
        loop {
            let frame = match self.frame {
                Some(frame) => frame,
                None if self.rest.is_empty() => return Ok(0),
                None => self.begin(left)?,
            };
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                let decoded = self.decoder.decode_blocks(&mut self.rest, one);
                decoded.map_err(|_| InflateFault::Malformed)?;
            }
            let filled = read(&mut self.decoder, out)?;
            let content_left = match frame.content_left {
                None => None,
                Some(left) => Some(left.checked_sub(filled as u64).ok_or(InflateFault::Malformed)?),
            };
            self.frame = Some(Frame { content_left });
            if filled > 0 {
                return Ok(filled);
            }
            self.end(content_left)?;
        }
    }

    /// Reads a frame's head.
    fn begin(&mut self, left: u64) -> Result<Frame, InflateFault> {
        let mut front = [0; FRONT_BYTES];
        let (bytes, behind) =
            self.rest.split_at_checked(FRONT_BYTES).ok_or(InflateFault::Malformed)?;
        front.copy_from_slice(bytes);
        let [magic @ .., descriptor, window] = &mut front;
        // Bit 3 is reserved.
        if *magic != MAGIC || *descriptor & (1 << 3) != 0 {
            return Err(InflateFault::Malformed);
        }
        let single_segment = *descriptor & (1 << 5) != 0;
        let has_content_size = single_segment || *descriptor >> 6 != 0;
        if !single_segment && *window >> 3 >= WINDOW_EXPONENT_MAX {
            if *window >> 3 > WINDOW_EXPONENT_KNOWN {
                return Err(InflateFault::Malformed);
            }
            *window = WINDOW_EXPONENT_MAX << 3;
        }
        let mut source: Chain<&[u8], &[u8]> = front.as_slice().chain(behind);
        // Room for the window is taken here, as memory that is not touched before it is used.
        self.decoder.reset(&mut source).map_err(|_| InflateFault::Malformed)?;
        let (unread, behind) = source.into_inner();
        // Less than the whole front is a frame that holds nothing: no client sends one.
        if !unread.is_empty() {
            return Err(InflateFault::Malformed);
        }
        self.rest = behind;
        let content_left = has_content_size.then(|| self.decoder.content_size());
        if content_left.is_some_and(|content| content > left) {
            return Err(InflateFault::TooLarge);
        }
        let frame = Frame { content_left };
        self.frame = Some(frame);
        Ok(frame)
    }

    /// Checks what the frame said of its content.
    fn end(&mut self, content_left: Option<u64>) -> Result<(), InflateFault> {
        let said = self.decoder.get_checksum_from_data();
        let same = said.is_none() || said == self.decoder.get_calculated_checksum();
        if !same || content_left.is_some_and(|left| left > 0) {
            return Err(InflateFault::Malformed);
        }
        self.frame = None;
        Ok(())
    }
}
