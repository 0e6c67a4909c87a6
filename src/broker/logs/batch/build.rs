//! Makes uncompressed batches of messages, for routes. Part of `broker/logs/batch`.

use crate::broker::logs::batch::header::{self, HEADER_BYTES, PREFIX_BYTES};
use crate::broker::logs::batch::varint;

/// One message to put into a batch.
#[derive(Clone, Copy, Debug)]
pub struct NewRecord<'a> {
    /// Milliseconds since 1970.
    pub timestamp_ms: i64,
    /// Decides the partition for most producers, and what compaction keeps.
    pub key: Option<&'a [u8]>,
    /// The payload.
    pub value: Option<&'a [u8]>,
    /// In order, repeats kept.
    pub headers: &'a [(&'a str, &'a [u8])],
}

/// A batch that is being filled. Empty until the first record.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    bytes: Vec<u8>,
    count: i32,
    base_timestamp: i64,
    max_timestamp: i64,
}

impl BatchBuilder {
    /// Appends `record`.
    pub fn push(&mut self, record: &NewRecord<'_>) {
        if self.count == 0 {
            self.bytes.resize(HEADER_BYTES, 0);
            self.base_timestamp = record.timestamp_ms;
            self.max_timestamp = record.timestamp_ms;
        }
        self.max_timestamp = self.max_timestamp.max(record.timestamp_ms);
        let time_delta = record.timestamp_ms.wrapping_sub(self.base_timestamp);
        let offset_delta = i64::from(self.count);
        let length = 1
            + varint::size(time_delta)
            + varint::size(offset_delta)
            + nullable_size(record.key)
            + nullable_size(record.value)
            + varint::size(signed(record.headers.len()))
            + record.headers.iter().map(header_size).sum::<usize>();
        let out = &mut self.bytes;
        varint::put(out, signed(length));
        out.push(0);
        varint::put(out, time_delta);
        varint::put(out, offset_delta);
        put_nullable(out, record.key);
        put_nullable(out, record.value);
        varint::put(out, signed(record.headers.len()));
        for (key, value) in record.headers {
            put_nullable(out, Some(key.as_bytes()));
            put_nullable(out, Some(value));
        }
        self.count += 1;
    }

    /// The records so far.
    #[must_use]
    pub fn count(&self) -> usize {
        usize::try_from(self.count).unwrap_or(0)
    }

    /// The bytes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is no record yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The finished batch at offset 0, or `None` without records. The builder begins anew.
    pub fn finish(&mut self) -> Option<Vec<u8>> {
        let Self { mut bytes, count, base_timestamp, max_timestamp } = std::mem::take(self);
        if count == 0 {
            return None;
        }
        let length = i32::try_from(bytes.len() - PREFIX_BYTES).ok()?;
        let mut head = Vec::with_capacity(HEADER_BYTES);
        head.extend_from_slice(&0_i64.to_be_bytes());
        head.extend_from_slice(&length.to_be_bytes());
        head.extend_from_slice(&0_i32.to_be_bytes());
        head.push(2);
        head.extend_from_slice(&0_u32.to_be_bytes());
        head.extend_from_slice(&0_i16.to_be_bytes());
        head.extend_from_slice(&(count - 1).to_be_bytes());
        head.extend_from_slice(&base_timestamp.to_be_bytes());
        head.extend_from_slice(&max_timestamp.to_be_bytes());
        head.extend_from_slice(&(-1_i64).to_be_bytes());
        head.extend_from_slice(&(-1_i16).to_be_bytes());
        head.extend_from_slice(&(-1_i32).to_be_bytes());
        head.extend_from_slice(&count.to_be_bytes());
        bytes.splice(..HEADER_BYTES, head);
        header::renew_crc(&mut bytes);
        Some(bytes)
    }
}

/// Lengths fit: a `Vec` has at most `isize::MAX` bytes.
fn signed(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

fn nullable_size(field: Option<&[u8]>) -> usize {
    field.map_or(1, |bytes| varint::size(signed(bytes.len())) + bytes.len())
}

fn header_size((key, value): &(&str, &[u8])) -> usize {
    nullable_size(Some(key.as_bytes())) + nullable_size(Some(value))
}

fn put_nullable(out: &mut Vec<u8>, field: Option<&[u8]>) {
    match field {
        None => varint::put(out, -1),
        Some(bytes) => {
            varint::put(out, signed(bytes.len()));
            out.extend_from_slice(bytes);
        }
    }
}
