//! A view of a batch's first 61 bytes, and the fields that the broker sets in place. Part of
//! `broker/logs/batch`, whose head has the layout.

/// The bytes in front of the records.
pub const HEADER_BYTES: usize = 61;
/// The bytes that the batch length does not count: base offset and the length itself.
pub const PREFIX_BYTES: usize = 12;

const LEADER_EPOCH_AT: usize = 12;
const CRC_AT: usize = 17;
pub(super) const ATTRIBUTES_AT: usize = 21;
const MAX_TIMESTAMP_AT: usize = 35;

/// Bits of the attributes.
pub mod attributes {
    /// Which compression codec, 0 for none.
    pub const CODEC: i16 = 0b111;
    /// The log stamps the records.
    pub const APPEND_TIME: i16 = 1 << 3;
    /// Part of a transaction.
    pub const TRANSACTIONAL: i16 = 1 << 4;
    /// A transaction's marker, the broker's own.
    pub const CONTROL: i16 = 1 << 5;
}

/// The header's fields, as they are on the wire; nothing is checked here but that there are 61 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Bytes after this field.
    pub batch_length: i32,
    /// Who led the partition when the batch was appended.
    pub leader_epoch: i32,
    /// Format version.
    pub magic: i8,
    /// Over everything from the attributes on.
    pub crc: u32,
    /// See [`attributes`].
    pub attributes: i16,
    /// The last record's offset less the first's.
    pub last_offset_delta: i32,
    /// What the records' timestamps are counted from, ms since 1970.
    pub base_timestamp: i64,
    /// The highest timestamp of a record, or when it was appended; ms since 1970.
    pub max_timestamp: i64,
    /// −1 without idempotence.
    pub producer_id: i64,
    /// −1 without idempotence.
    pub producer_epoch: i16,
    /// Of the first record; −1 without idempotence.
    pub base_sequence: i32,
    /// How many records.
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads the header at the front of `batch`; `None` if there are not 61 bytes.
    #[must_use]
    pub fn read(batch: &[u8]) -> Option<Self> {
        let bytes = batch.first_chunk::<HEADER_BYTES>()?;
        Some(Self {
            base_offset: i64::from_be_bytes(part(bytes, 0)),
            batch_length: i32::from_be_bytes(part(bytes, 8)),
            leader_epoch: i32::from_be_bytes(part(bytes, LEADER_EPOCH_AT)),
            magic: i8::from_be_bytes(part(bytes, 16)),
            crc: u32::from_be_bytes(part(bytes, CRC_AT)),
            attributes: i16::from_be_bytes(part(bytes, ATTRIBUTES_AT)),
            last_offset_delta: i32::from_be_bytes(part(bytes, 23)),
            base_timestamp: i64::from_be_bytes(part(bytes, 27)),
            max_timestamp: i64::from_be_bytes(part(bytes, MAX_TIMESTAMP_AT)),
            producer_id: i64::from_be_bytes(part(bytes, 43)),
            producer_epoch: i16::from_be_bytes(part(bytes, 51)),
            base_sequence: i32::from_be_bytes(part(bytes, 53)),
            record_count: i32::from_be_bytes(part(bytes, 57)),
        })
    }

    /// The bytes of the whole batch, or `None` if its length is less than a header's.
    #[must_use]
    pub fn total_bytes(&self) -> Option<usize> {
        let total = usize::try_from(self.batch_length).ok()?.checked_add(PREFIX_BYTES)?;
        (total >= HEADER_BYTES).then_some(total)
    }

    /// Offset of the last record.
    #[must_use]
    pub fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(self.last_offset_delta.into())
    }

    /// The compression codec: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
    #[must_use]
    pub fn codec(&self) -> i16 {
        self.attributes & attributes::CODEC
    }

    /// Whether all records carry the time of their append.
    #[must_use]
    pub fn is_append_time(&self) -> bool {
        self.attributes & attributes::APPEND_TIME != 0
    }

    /// Sequence of the last record; sequences wrap from 2^31 − 1 to 0.
    #[must_use]
    pub fn last_sequence(&self) -> i32 {
        sequence_after(self.base_sequence, self.last_offset_delta)
    }
}

/// The sequence that lies `count` behind `sequence`.
#[must_use]
pub fn sequence_after(sequence: i32, count: i32) -> i32 {
    let sum = i64::from(sequence) + i64::from(count);
    i32::try_from(sum.rem_euclid(1 << 31)).unwrap_or(0)
}

/// `at` is a constant below `HEADER_BYTES - N` at every call.
fn part<const N: usize>(bytes: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|tail| tail.first_chunk::<N>()).copied().unwrap_or([0; N])
}

/// Sets the fields that are the broker's. Does nothing to less than a header.
pub fn patch(batch: &mut [u8], base_offset: i64, leader_epoch: i32) {
    write(batch, 0, &base_offset.to_be_bytes());
    write(batch, LEADER_EPOCH_AT, &leader_epoch.to_be_bytes());
}

/// Stamps all records with `append_ms` in the header `head`, and renews its CRC over it and the `records`.
pub fn stamp(head: &mut [u8; HEADER_BYTES], records: &[u8], append_ms: i64) {
    let attributes = i16::from_be_bytes(part(head, ATTRIBUTES_AT)) | attributes::APPEND_TIME;
    write(head, ATTRIBUTES_AT, &attributes.to_be_bytes());
    write(head, MAX_TIMESTAMP_AT, &append_ms.to_be_bytes());
    let crc = crc32c::crc32c(head.get(ATTRIBUTES_AT..).unwrap_or_default());
    write(head, CRC_AT, &crc32c::crc32c_append(crc, records).to_be_bytes());
}

/// Says what the highest timestamp is indeed and renews the CRC.
pub(super) fn correct_max_timestamp(batch: &mut [u8], max_timestamp: i64) {
    write(batch, MAX_TIMESTAMP_AT, &max_timestamp.to_be_bytes());
    renew_crc(batch);
}

/// Writes the CRC that the batch's bytes ask for.
pub(in crate::broker::logs) fn renew_crc(batch: &mut [u8]) {
    let crc = crc32c::crc32c(batch.get(ATTRIBUTES_AT..).unwrap_or_default());
    write(batch, CRC_AT, &crc.to_be_bytes());
}

fn write(batch: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = batch.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::sequence_after;

    #[test]
    fn sequences_wrap_to_zero() {
        assert_eq!(sequence_after(i32::MAX, 1), 0);
        assert_eq!(sequence_after(i32::MAX - 1, 3), 1);
        assert_eq!(sequence_after(5, 0), 5);
    }
}
