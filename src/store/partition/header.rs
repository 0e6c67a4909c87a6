//! The head of a record batch, as far as files need it. Part of `store::partition`.

/// Bytes of a v2 batch before its records.
pub const BATCH_HEADER_BYTES: usize = 61;
/// Bytes before what the batch's own length counts.
const LENGTH_OVERHEAD: u64 = 12;

/// What a file needs to know of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchInfo {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Offset of the last record.
    pub last_offset: i64,
    /// Latest timestamp of a record, milliseconds since the Unix epoch; -1 for none.
    pub max_timestamp: i64,
    /// Length in bytes, header included.
    pub bytes: u64,
}

impl BatchInfo {
    /// Reads the head of a v2 batch; `None` when it cannot be one. Checks no checksum.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let header = bytes.first_chunk::<BATCH_HEADER_BYTES>()?;
        let base_offset = i64::from_be_bytes(*header.first_chunk()?);
        let length = i32::from_be_bytes(*header[8..].first_chunk()?);
        let magic = header[16];
        let last_delta = i32::from_be_bytes(*header[23..].first_chunk()?);
        let max_timestamp = i64::from_be_bytes(*header[35..].first_chunk()?);
        let bytes = u64::try_from(length).ok()? + LENGTH_OVERHEAD;
        if magic != 2 || bytes < BATCH_HEADER_BYTES as u64 || base_offset < 0 || last_delta < 0 {
            return None;
        }
        let last_offset = base_offset.checked_add(last_delta.into())?;
        Some(Self { base_offset, last_offset, max_timestamp, bytes })
    }
}
