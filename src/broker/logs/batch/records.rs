//! Reads the records of batches: uncompressed ones in place, others out of what they unpack to. Part of
//! `broker/logs/batch`.

use std::borrow::Cow;

use thiserror::Error;

use crate::broker::logs::batch::header::{BatchHeader, HEADER_BYTES};
use crate::broker::logs::batch::inflate::{
    Codec, INFLATED_BYTES_MAX, InflateFault, bytes_max, inflate,
};
use crate::broker::logs::batch::varint;

/// One record, borrowed from its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its place in the partition.
    pub offset: i64,
    /// Milliseconds since 1970.
    pub timestamp_ms: i64,
    /// What most producers choose the partition by.
    pub key: Option<&'a [u8]>,
    /// The payload.
    pub value: Option<&'a [u8]>,
    headers: Headers<'a>,
}

impl<'a> Record<'a> {
    /// The headers, in order, repeats kept.
    #[must_use]
    pub fn headers(&self) -> Headers<'a> {
        self.headers
    }
}

/// Records that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RecordFault {
    /// The batch is shorter than its header says.
    #[error("the batch is cut short")]
    Truncated,
    /// The records are compressed.
    #[error("the records are compressed")]
    Compressed,
    /// A record's lengths contradict each other.
    #[error("a record's lengths contradict each other")]
    Malformed,
    /// The compressed records cannot be unpacked.
    #[error(transparent)]
    Inflate(#[from] InflateFault),
}

/// A batch whose records can be read, whatever its codec.
#[derive(Clone, Debug)]
pub struct Opened<'a> {
    header: BatchHeader,
    records: Cow<'a, [u8]>,
}

impl<'a> Opened<'a> {
    /// Opens the batch at the front of `bytes`. A compressed one is unpacked as a whole.
    ///
    /// # Errors
    /// If it is cut, has an unknown codec, cannot be unpacked or unpacks to more than producers may send.
    pub fn new(bytes: &'a [u8]) -> Result<Self, RecordFault> {
        let (header, records) = parts(bytes)?;
        let records = match (header.codec(), Codec::from_bits(header.codec())) {
            (0, _) => Cow::Borrowed(records),
            (_, Some(codec)) => {
                let most = bytes_max(records.len(), INFLATED_BYTES_MAX);
                Cow::Owned(inflate(codec, records, most)?)
            }
            (_, None) => return Err(RecordFault::Compressed),
        };
        Ok(Self { header, records })
    }

    /// The same, with records of its own.
    #[must_use]
    pub fn into_owned(self) -> Opened<'static> {
        Opened { header: self.header, records: Cow::Owned(self.records.into_owned()) }
    }

    /// Bytes of its records, unpacked.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.records.len()
    }

    /// Its header.
    #[must_use]
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// Its records, in order.
    #[must_use]
    pub fn records(&self) -> Records<'_> {
        Records { input: &self.records, header: self.header, left: self.header.record_count }
    }
}

fn parts(bytes: &[u8]) -> Result<(BatchHeader, &[u8]), RecordFault> {
    let header = BatchHeader::read(bytes).ok_or(RecordFault::Truncated)?;
    let total = header.total_bytes().ok_or(RecordFault::Malformed)?;
    let records = bytes.get(HEADER_BYTES..total).ok_or(RecordFault::Truncated)?;
    Ok((header, records))
}

/// The records of the uncompressed batch at the front of `bytes`; see [`Opened`] for any batch.
///
/// # Errors
/// If it is cut, or compressed.
pub fn records(bytes: &[u8]) -> Result<Records<'_>, RecordFault> {
    let (header, input) = parts(bytes)?;
    if header.codec() != 0 {
        return Err(RecordFault::Compressed);
    }
    Ok(Records { input, header, left: header.record_count })
}

/// The batches of `bytes`, one after the other; a last one that is cut short is left out.
pub fn batches(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let total = BatchHeader::read(rest)?.total_bytes()?;
        let (batch, tail) = rest.split_at_checked(total)?;
        rest = tail;
        Some(batch)
    })
}

/// Iterates over a batch's records; ends after the first fault.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    input: &'a [u8],
    header: BatchHeader,
    left: i32,
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordFault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left <= 0 {
            return None;
        }
        self.left -= 1;
        let record = record(&mut self.input, &self.header);
        if record.is_none() {
            self.left = 0;
        }
        Some(record.ok_or(RecordFault::Malformed))
    }
}

fn record<'a>(input: &mut &'a [u8], header: &BatchHeader) -> Option<Record<'a>> {
    let length = usize::try_from(varint::take(input)?).ok()?;
    let (mut body, rest) = input.split_at_checked(length)?;
    *input = rest;
    body = body.get(1..)?;
    let time_delta = varint::take(&mut body)?;
    let offset_delta = varint::take(&mut body)?;
    let key = nullable(&mut body)?;
    let value = nullable(&mut body)?;
    let count = usize::try_from(varint::take(&mut body)?).ok()?;
    let headers = Headers { input: body, left: count };
    let timestamp_ms = if header.is_append_time() {
        header.max_timestamp
    } else {
        header.base_timestamp.wrapping_add(time_delta)
    };
    Some(Record {
        offset: header.base_offset.wrapping_add(offset_delta),
        timestamp_ms,
        key,
        value,
        headers,
    })
}

fn nullable<'a>(input: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let length = varint::take(input)?;
    if length == -1 {
        return Some(None);
    }
    let (field, rest) = input.split_at_checked(usize::try_from(length).ok()?)?;
    *input = rest;
    Some(Some(field))
}

/// Iterates over a record's headers: key and value, as bytes (Kafka does not enforce UTF-8). Ends early where
/// the record is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers<'a> {
    input: &'a [u8],
    left: usize,
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let key = nullable(&mut self.input)??;
        let value = nullable(&mut self.input)?;
        Some((key, value))
    }
}
