//! What a producer's batch must fulfil before it is journaled. Part of `broker/logs/batch`; pure.
//!
//! Everything is checked that Kafka checks: the header, the CRC, and every record ([`super::walk`]), compressed or
//! not, so that nothing is stored which stops those who read it. As Kafka does, a header that says another highest
//! timestamp than the records have is corrected, for lookups by time go by it.

use std::borrow::Cow;

use thiserror::Error;

use crate::broker::logs::batch::header::{
    self, ATTRIBUTES_AT, BatchHeader, HEADER_BYTES, attributes,
};
use crate::broker::logs::batch::inflate::{Codec, INFLATED_BYTES_MAX, Inflater, bytes_max};
use crate::broker::logs::batch::walk::{self, RecordFlaw, Stop, Times};

/// How far a batch is looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checks {
    /// Uncompressed records are gone over.
    pub records: bool,
    /// Compressed records are unpacked and gone over.
    pub compressed: bool,
    /// The most that a batch may unpack to, see [`bytes_max`].
    pub inflated_bytes_max: u64,
    /// `message.timestamp.before.max.ms`: the lowest timestamp of a record, ms since 1970.
    pub oldest_ms: i64,
    /// `message.timestamp.after.max.ms`: the highest one.
    pub newest_ms: i64,
}

impl Default for Checks {
    fn default() -> Self {
        Self {
            records: true,
            compressed: true,
            inflated_bytes_max: INFLATED_BYTES_MAX,
            oldest_ms: i64::MIN,
            newest_ms: i64::MAX,
        }
    }
}

/// A batch that passed.
#[derive(Clone, Debug)]
pub struct Checked<'a> {
    /// Its header.
    pub header: BatchHeader,
    /// Its bytes: the producer's, or a copy with the highest timestamp that its records have.
    pub bytes: Cow<'a, [u8]>,
}

/// Why a batch is refused. Always the producer's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BatchFault {
    /// Shorter or longer than its header says, or the CRC is another.
    #[error("the batch is cut, has bytes behind it, or fails its CRC")]
    Corrupt,
    /// A message set of a format older than v2.
    #[error("the message format is not v2")]
    OldFormat,
    /// Counts, offsets or sequences that contradict each other, or flags that a client may not set.
    #[error("the batch header contradicts itself")]
    Invalid,
    /// No records at all, or more than one batch.
    #[error("a partition takes exactly one batch with at least one record a request")]
    NotOne,
    /// A codec that does not exist.
    #[error("unknown compression codec")]
    UnknownCodec,
    /// Part of a transaction. They are not served.
    #[error("transactions are not supported")]
    Transactional,
    /// More bytes than the log takes in one batch.
    #[error("the batch exceeds max.message.bytes")]
    TooLarge,
    /// Its compressed records stand for more than is unpacked for a batch of its size.
    #[error("the batch unpacks to too much")]
    Inflated,
    /// A record is malformed, or refused.
    #[error("record {index}: {flaw}")]
    Record {
        /// Which, from 0.
        index: i32,
        /// Why.
        flaw: RecordFlaw,
    },
}

impl From<Stop> for BatchFault {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::At(index, flaw) => Self::Record { index, flaw },
            Stop::TooLarge => Self::Inflated,
        }
    }
}

/// An old message's shortest length, as the field at byte 8 counts it: CRC, magic, attributes, two lengths.
const OLD_MESSAGE_BYTES_MIN: i32 = 14;

/// Checks that `bytes` is exactly one valid batch of at most `bytes_max` bytes.
///
/// # Errors
/// See [`BatchFault`].
pub fn check<'a>(
    bytes: &'a [u8],
    bytes_max: usize,
    checks: &Checks,
) -> Result<Checked<'a>, BatchFault> {
    let mut header = check_outside(bytes, bytes_max)?;
    let mut bytes = Cow::Borrowed(bytes);
    match check_records(&bytes, &header, checks)? {
        Some(highest) if highest != header.max_timestamp => {
            header::correct_max_timestamp(bytes.to_mut(), highest);
            header = BatchHeader::read(&bytes).ok_or(BatchFault::Corrupt)?;
        }
        Some(_) => {}
        // Nothing happened before 1970 but −1, "no time".
        None if header.max_timestamp < -1 => return Err(BatchFault::Invalid),
        None => {}
    }
    Ok(Checked { header, bytes })
}

/// Goes over the records, and gives back their highest timestamp; `None` if `checks` leave them out.
fn check_records(
    bytes: &[u8],
    header: &BatchHeader,
    checks: &Checks,
) -> Result<Option<i64>, BatchFault> {
    let records = bytes.get(HEADER_BYTES..).unwrap_or_default();
    let times = Times { oldest_ms: checks.oldest_ms, newest_ms: checks.newest_ms };
    Ok(match Codec::from_bits(header.codec()) {
        None if checks.records => Some(walk::plain(records, header, times)?),
        Some(codec) if checks.compressed => {
            let most = bytes_max(records.len(), checks.inflated_bytes_max);
            let inflater = Inflater::new(codec, records, most);
            Some(walk::packed(inflater, header, times)?)
        }
        _ => None,
    })
}

/// Checks everything but the records.
fn check_outside(bytes: &[u8], bytes_max: usize) -> Result<BatchHeader, BatchFault> {
    if bytes.is_empty() {
        return Err(BatchFault::NotOne);
    }
    // Every format has its magic at byte 16, so an old one is told from a corrupt one.
    match bytes.get(16) {
        None => return Err(BatchFault::Corrupt),
        Some(2) => {}
        Some(0 | 1) => {
            let length = bytes.get(8..).and_then(|tail| tail.first_chunk());
            let length = length.map_or(0, |length| i32::from_be_bytes(*length));
            // Zeros are no message of any format.
            let is_message = length >= OLD_MESSAGE_BYTES_MIN;
            return Err(if is_message { BatchFault::OldFormat } else { BatchFault::Corrupt });
        }
        Some(_) => return Err(BatchFault::Invalid),
    }
    let header = BatchHeader::read(bytes).ok_or(BatchFault::Corrupt)?;
    let total = header.total_bytes().ok_or(BatchFault::Corrupt)?;
    if bytes.len() < total {
        return Err(BatchFault::Corrupt);
    }
    if total > bytes_max {
        return Err(BatchFault::TooLarge);
    }
    if bytes.len() > total {
        return Err(BatchFault::NotOne);
    }
    check_fields(&header)?;
    let crc = crc32c::crc32c(bytes.get(ATTRIBUTES_AT..).unwrap_or_default());
    if crc == header.crc { Ok(header) } else { Err(BatchFault::Corrupt) }
}

fn check_fields(header: &BatchHeader) -> Result<(), BatchFault> {
    if header.record_count < 1 {
        return Err(BatchFault::NotOne);
    }
    if header.last_offset_delta != header.record_count - 1 {
        return Err(BatchFault::Invalid);
    }
    if header.attributes & attributes::CONTROL != 0 {
        return Err(BatchFault::Invalid);
    }
    if header.codec() > 4 {
        return Err(BatchFault::UnknownCodec);
    }
    if header.attributes & attributes::TRANSACTIONAL != 0 {
        return Err(BatchFault::Transactional);
    }
    // Only the log stamps records.
    if header.is_append_time() {
        return Err(BatchFault::Invalid);
    }
    let sequenced = header.producer_id >= 0;
    if sequenced && (header.base_sequence < 0 || header.producer_epoch < 0) {
        return Err(BatchFault::Invalid);
    }
    Ok(())
}
