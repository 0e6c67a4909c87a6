//! What a producer's batch must fulfil before it is journaled. Part of `broker/logs/batch`.
//!
//! The records themselves are not decompressed: a log keeps a producer's bytes, and checking 61 of them and
//! one CRC is what that costs. A client that compresses rubbish finds rubbish; nobody else is harmed.

use thiserror::Error;

use crate::broker::logs::batch::header::{ATTRIBUTES_AT, BatchHeader, attributes};

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
}

/// An old message's shortest length, as the field at byte 8 counts it: CRC, magic, attributes, two lengths.
const OLD_MESSAGE_BYTES_MIN: i32 = 14;

/// Checks that `bytes` is exactly one valid batch of at most `bytes_max` bytes.
pub fn check(bytes: &[u8], bytes_max: usize) -> Result<BatchHeader, BatchFault> {
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
    // Only the log stamps records, and nothing happened before 1970 but −1, "no time".
    if header.is_append_time() || header.max_timestamp < -1 {
        return Err(BatchFault::Invalid);
    }
    let sequenced = header.producer_id >= 0;
    if sequenced && (header.base_sequence < 0 || header.producer_epoch < 0) {
        return Err(BatchFault::Invalid);
    }
    Ok(())
}
