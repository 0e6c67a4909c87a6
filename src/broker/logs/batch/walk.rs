//! Goes over the records of a batch without keeping any, as Kafka's `LogValidator` does. Part of `broker/logs/batch`;
//! pure.
//!
//! Every length is followed, every count compared: the fields of a record fill it, offsets count up from the batch's,
//! there are as many records as the header says and nothing stands behind them. Compressed records are unpacked a
//! piece at a time, see [`super::inflate`]. What passes can be read by whoever reads batches.

use thiserror::Error;

use crate::broker::logs::batch::header::BatchHeader;
use crate::broker::logs::batch::inflate::{InflateFault, Inflater};
use crate::broker::logs::batch::varint;

/// What is wrong with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RecordFlaw {
    /// The records end before it does.
    #[error("the records end before this one does")]
    Cut,
    /// A number takes more bytes or is larger than it may.
    #[error("a number is longer than its type")]
    LongNumber,
    /// A length is negative where there is no null.
    #[error("a length is negative")]
    NegativeLength,
    /// Its fields take more or fewer bytes than it says.
    #[error("its fields do not take the bytes that it says")]
    Length,
    /// The count of its headers is negative, or more than it has room for.
    #[error("it cannot hold as many headers as it says")]
    HeaderCount,
    /// Its offset is not the one behind the record before it.
    #[error("its offset does not follow that of the record before it")]
    Offset,
    /// Its timestamp is too far from the broker's time, see [`super::check::Checks`].
    #[error("its timestamp is out of range")]
    Timestamp,
    /// The block that it should come out of is not what the codec makes.
    #[error("the compressed block is malformed")]
    Compression,
    /// There are bytes behind the last record. Its index is that of the record that would begin there.
    #[error("there are bytes behind the last record")]
    Leftover,
}

/// Where a walk ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// At the record of this index.
    At(i32, RecordFlaw),
    /// The records unpack to too much.
    TooLarge,
}

/// Which timestamps pass; −1, "no time", always does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) oldest_ms: i64,
    pub(super) newest_ms: i64,
}

/// Goes over uncompressed records and gives back their highest timestamp, −1 if none is higher.
pub(super) fn plain(records: &[u8], header: &BatchHeader, times: Times) -> Result<i64, Stop> {
    walk(&mut Plain { rest: records, length: records.len() as u64 }, header, times)
}

/// Goes over compressed records and gives back their highest timestamp, −1 if none is higher.
pub(super) fn packed(
    inflater: Inflater<'_>,
    header: &BatchHeader,
    times: Times,
) -> Result<i64, Stop> {
    walk(&mut Packed { inflater, position: 0, before: 0 }, header, times)
}

fn walk<S: Source>(source: &mut S, header: &BatchHeader, times: Times) -> Result<i64, Stop> {
    let mut highest = -1;
    for index in 0..header.record_count {
        let delta = record(source, index).map_err(|ends| ends.at(index))?;
        let timestamp = header.base_timestamp.wrapping_add(delta);
        if (timestamp < times.oldest_ms || timestamp > times.newest_ms) && timestamp != -1 {
            return Err(Stop::At(index, RecordFlaw::Timestamp));
        }
        highest = highest.max(timestamp);
    }
    match source.is_done() {
        Ok(true) => Ok(highest),
        Ok(false) => Err(Stop::At(header.record_count, RecordFlaw::Leftover)),
        Err(ends) => Err(ends.at(header.record_count.saturating_sub(1))),
    }
}

/// Goes over one record and gives back its timestamp, counted from the batch's.
#[inline(always)]
fn record<S: Source>(source: &mut S, index: i32) -> Result<i64, Ends> {
    let length = size(source.int()?)?;
    let end = source.position() + length;
    source.skip(1)?;
    let time_delta = source.long()?;
    if source.int()? != index {
        return Err(Ends::Flaw(RecordFlaw::Offset));
    }
    nullable(source)?;
    nullable(source)?;
    let headers = source.int()?;
    if headers != 0 {
        walk_headers(source, headers, end)?;
    }
    if source.position() == end { Ok(time_delta) } else { Err(Ends::Flaw(RecordFlaw::Length)) }
}

fn walk_headers<S: Source>(source: &mut S, count: i32, end: u64) -> Result<(), Ends> {
    let room = end.saturating_sub(source.position());
    // Each takes two lengths.
    if u64::try_from(count).map_or(true, |count| count * 2 > room) {
        return Err(Ends::Flaw(RecordFlaw::HeaderCount));
    }
    for _ in 0..count {
        let key = size(source.int()?)?;
        source.skip(key)?;
        nullable(source)?;
    }
    Ok(())
}

#[inline(always)]
fn nullable<S: Source>(source: &mut S) -> Result<(), Ends> {
    match source.int()? {
        -1 => Ok(()),
        length => source.skip(size(length)?),
    }
}

#[inline(always)]
fn size(length: i32) -> Result<u64, Ends> {
    u64::try_from(length).map_err(|_| Ends::Flaw(RecordFlaw::NegativeLength))
}

/// Why a record cannot be gone over.
#[derive(Clone, Copy)]
enum Ends {
    Flaw(RecordFlaw),
    TooLarge,
}

impl Ends {
    #[cold]
    fn at(self, index: i32) -> Stop {
        match self {
            Self::Flaw(flaw) => Stop::At(index, flaw),
            Self::TooLarge => Stop::TooLarge,
        }
    }
}

impl From<InflateFault> for Ends {
    fn from(fault: InflateFault) -> Self {
        match fault {
            InflateFault::Malformed => Self::Flaw(RecordFlaw::Compression),
            InflateFault::TooLarge => Self::TooLarge,
        }
    }
}

/// Bytes in order.
trait Source {
    /// The next byte.
    fn byte(&mut self) -> Result<u8, Ends>;

    /// Leaves `count` bytes out.
    fn skip(&mut self, count: u64) -> Result<(), Ends>;

    /// How many bytes were taken.
    fn position(&self) -> u64;

    /// Whether there are no more.
    fn is_done(&mut self) -> Result<bool, Ends>;

    /// A `varint`: at most five bytes.
    #[inline(always)]
    fn int(&mut self) -> Result<i32, Ends> {
        let byte = self.byte()?;
        if byte < 0x80 {
            return Ok(i32::from(byte >> 1) ^ -i32::from(byte & 1));
        }
        let long = self.rest_of_number(byte, 5)?;
        i32::try_from(long).map_err(|_| Ends::Flaw(RecordFlaw::LongNumber))
    }

    /// A `varlong`: at most ten bytes.
    #[inline(always)]
    fn long(&mut self) -> Result<i64, Ends> {
        let byte = self.byte()?;
        if byte < 0x80 {
            return Ok(i64::from(byte >> 1) ^ -i64::from(byte & 1));
        }
        self.rest_of_number(byte, 10)
    }

    /// A number of at most `bytes_max` bytes that begins with `first`.
    #[inline]
    fn rest_of_number(&mut self, first: u8, bytes_max: u32) -> Result<i64, Ends> {
        let mut value = u64::from(first & 0x7f);
        for group in 1..bytes_max {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte holds the last bit of 64.
            if group == 9 && bits > 1 {
                break;
            }
            value |= bits << (7 * group);
            if byte < 0x80 {
                return Ok(varint::unzigzag(value));
            }
        }
        Err(Ends::Flaw(RecordFlaw::LongNumber))
    }
}

struct Plain<'a> {
    rest: &'a [u8],
    length: u64,
}

impl Source for Plain<'_> {
    #[inline(always)]
    fn byte(&mut self) -> Result<u8, Ends> {
        let (byte, rest) = self.rest.split_first().ok_or(Ends::Flaw(RecordFlaw::Cut))?;
        self.rest = rest;
        Ok(*byte)
    }

    #[inline(always)]
    fn skip(&mut self, count: u64) -> Result<(), Ends> {
        let rest = usize::try_from(count).ok().and_then(|count| self.rest.get(count..));
        self.rest = rest.ok_or(Ends::Flaw(RecordFlaw::Cut))?;
        Ok(())
    }

    #[inline(always)]
    fn position(&self) -> u64 {
        self.length - self.rest.len() as u64
    }

    fn is_done(&mut self) -> Result<bool, Ends> {
        Ok(self.rest.is_empty())
    }
}

struct Packed<'a> {
    inflater: Inflater<'a>,
    /// Within the piece.
    position: usize,
    /// Bytes of the pieces before it.
    before: u64,
}

impl Packed<'_> {
    #[cold]
    fn next_piece(&mut self) -> Result<bool, Ends> {
        self.before += self.inflater.piece().len() as u64;
        self.position = 0;
        Ok(self.inflater.advance()?)
    }
}

impl Source for Packed<'_> {
    #[inline]
    fn byte(&mut self) -> Result<u8, Ends> {
        loop {
            if let Some(byte) = self.inflater.piece().get(self.position) {
                self.position += 1;
                return Ok(*byte);
            }
            if !self.next_piece()? {
                return Err(Ends::Flaw(RecordFlaw::Cut));
            }
        }
    }

    #[inline]
    fn skip(&mut self, count: u64) -> Result<(), Ends> {
        let mut left = count;
        loop {
            let here = (self.inflater.piece().len() - self.position) as u64;
            if left <= here {
                self.position += left as usize;
                return Ok(());
            }
            left -= here;
            if !self.next_piece()? {
                return Err(Ends::Flaw(RecordFlaw::Cut));
            }
        }
    }

    #[inline]
    fn position(&self) -> u64 {
        self.before + self.position as u64
    }

    fn is_done(&mut self) -> Result<bool, Ends> {
        Ok(self.position == self.inflater.piece().len() && !self.next_piece()?)
    }
}
