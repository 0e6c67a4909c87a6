//! One LZ4 frame. Part of `batch/inflate`.
//!
//! | bytes | field |
//! |---|---|
//! | 4 | magic, little-endian 0x184D2204 |
//! | 1 | bits 7–6 version 1, 5 blocks are independent, 4 block checksums, 3 content size, 2 content checksum, 1–0 zero |
//! | 1 | bits 6–4 largest block: 4 is 64 KiB, each further one four times that, to 7; the others zero |
//! | 0 or 8 | content size |
//! | 1 | second byte of the xxHash32 of these, magic apart |
//! | … | blocks: length (bit 31: stored as it is), bytes, checksum if there are any |
//! | 4 | zero: the end |
//! | 0 or 4 | content checksum |
//!
//! The Java client reads no blocks that lean on earlier ones and no dictionaries; so they are refused here too.

use std::hash::Hasher;

use twox_hash::XxHash32;

use crate::broker::logs::batch::inflate::{InflateFault, room};

const MAGIC: u32 = 0x184D_2204;
const STORED: u32 = 1 << 31;
/// No byte of a block stands for more.
const RATIO_MAX: usize = 255;

/// The blocks of a compressed batch.
pub(super) struct Lz4Blocks<'a> {
    rest: &'a [u8],
    state: State,
}

enum State {
    Before,
    Blocks(Frame),
    After,
}

/// What the frame's head says.
struct Frame {
    block_bytes_max: usize,
    block_checksums: bool,
    /// Those that have not come yet.
    content_left: Option<u64>,
    content_hash: Option<XxHash32>,
}

impl<'a> Lz4Blocks<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, state: State::Before }
    }

    /// Unpacks the next block into `buffer` and gives back its bytes; 0 at the end.
    pub(super) fn next(&mut self, buffer: &mut Vec<u8>, left: u64) -> Result<usize, InflateFault> {
        if let State::Before = self.state {
            let frame = head(&mut self.rest).ok_or(InflateFault::Malformed)?;
            self.state = State::Blocks(frame);
        }
        let State::Blocks(frame) = &mut self.state else { return Ok(0) };
        loop {
            let length = number(&mut self.rest).ok_or(InflateFault::Malformed)?;
            if length == 0 {
                frame.end(&mut self.rest).ok_or(InflateFault::Malformed)?;
                self.state = State::After;
                return Ok(0);
            }
            let filled = frame.block(&mut self.rest, length, buffer, left)?;
            if filled > 0 {
                return Ok(filled);
            }
        }
    }
}

impl Frame {
    fn block(
        &mut self,
        rest: &mut &[u8],
        length: u32,
        buffer: &mut Vec<u8>,
        left: u64,
    ) -> Result<usize, InflateFault> {
        let block = self.take_block(rest, length & !STORED).ok_or(InflateFault::Malformed)?;
        let filled = if length & STORED != 0 {
            room(buffer, block.len())?.copy_from_slice(block);
            block.len()
        } else {
            let most = self.block_bytes_max.min(block.len().saturating_mul(RATIO_MAX));
            let most = most.min(usize::try_from(left).unwrap_or(usize::MAX));
            let out = room(buffer, most)?;
            match lz4_flex::block::decompress_into(block, out) {
                Ok(filled) => filled,
                Err(_) if (most as u64) == left => return Err(InflateFault::TooLarge),
                Err(_) => return Err(InflateFault::Malformed),
            }
        };
        let out = buffer.get(..filled).unwrap_or_default();
        if let Some(expected) = &mut self.content_left {
            *expected = expected.checked_sub(filled as u64).ok_or(InflateFault::Malformed)?;
        }
        if let Some(hash) = &mut self.content_hash {
            hash.write(out);
        }
        Ok(filled)
    }

    fn take_block<'a>(&self, rest: &mut &'a [u8], length: u32) -> Option<&'a [u8]> {
        let length = usize::try_from(length).ok()?;
        if length > self.block_bytes_max {
            return None;
        }
        let (block, tail) = rest.split_at_checked(length)?;
        *rest = tail;
        if self.block_checksums && number(rest)? != XxHash32::oneshot(0, block) {
            return None;
        }
        Some(block)
    }

    /// Checks what stands behind the last block.
    fn end(&self, rest: &mut &[u8]) -> Option<()> {
        if let Some(hash) = &self.content_hash
            && number(rest)? != hash.finish_32()
        {
            return None;
        }
        let whole = rest.is_empty() && self.content_left.is_none_or(|left| left == 0);
        whole.then_some(())
    }
}

fn head(rest: &mut &[u8]) -> Option<Frame> {
    if number(rest)? != MAGIC {
        return None;
    }
    let described = *rest;
    let [flags, sizes] = take::<2>(rest)?;
    let set = |bit: u8| flags & (1 << bit) != 0;
    let supported = flags >> 6 == 1 && set(5) && flags & 0b11 == 0;
    if !supported || sizes & 0b1000_1111 != 0 {
        return None;
    }
    let block_bytes_max = match sizes >> 4 {
        size @ 4..=7 => 1 << (8 + 2 * size),
        _ => return None,
    };
    let content_left = if set(3) { Some(u64::from_le_bytes(take(rest)?)) } else { None };
    let described = described.get(..described.len() - rest.len())?;
    let [checksum] = take::<1>(rest)?;
    if checksum != XxHash32::oneshot(0, described).to_le_bytes()[1] {
        return None;
    }
    let content_hash = set(2).then(|| XxHash32::with_seed(0));
    Some(Frame { block_bytes_max, block_checksums: set(4), content_left, content_hash })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*taken)
}

fn number(rest: &mut &[u8]) -> Option<u32> {
    take(rest).map(u32::from_le_bytes)
}
