//! Compresses batches as clients do, with the C libraries that they use where there are any.

use bytes::{BufMut, BytesMut};
use kafka_protocol::compression::{Compressor, Gzip, Lz4, Snappy, Zstd};

use crate::broker::logs::batch::header::{
    BatchHeader, HEADER_BYTES, PREFIX_BYTES, attributes, renew_crc,
};

/// Every way to compress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    Gzip,
    /// In snappy-java's framing.
    FramedSnappy,
    /// As librdkafka does.
    RawSnappy,
    Lz4,
    Zstd,
}

pub(crate) const PACKINGS: [Packing; 5] =
    [Packing::Gzip, Packing::FramedSnappy, Packing::RawSnappy, Packing::Lz4, Packing::Zstd];

impl Packing {
    /// The number in a batch's attributes.
    pub(crate) fn bits(self) -> i16 {
        match self {
            Self::Gzip => 1,
            Self::FramedSnappy | Self::RawSnappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// `bytes` compressed.
    pub(crate) fn pack(self, bytes: &[u8]) -> Vec<u8> {
        let mut out = BytesMut::new();
        let fill = |into: &mut BytesMut| {
            into.put_slice(bytes);
            Ok(())
        };
        match self {
            Self::Gzip => Gzip::compress(&mut out, |into| {
                into.put_slice(bytes);
                Ok(())
            }),
            Self::FramedSnappy => Snappy::compress(&mut out, fill),
            Self::RawSnappy => return snap::raw::Encoder::new().compress_vec(bytes).unwrap(),
            Self::Lz4 => Lz4::compress(&mut out, fill),
            Self::Zstd => Zstd::compress(&mut out, fill),
        }
        .unwrap();
        out.to_vec()
    }

    /// The uncompressed `batch` with compressed records.
    pub(crate) fn batch(self, batch: &[u8]) -> Vec<u8> {
        with_records(batch, self.bits(), &self.pack(&batch[HEADER_BYTES..]))
    }
}

/// `batch` with other records and codec, and a right length and CRC.
pub(crate) fn with_records(batch: &[u8], codec: i16, records: &[u8]) -> Vec<u8> {
    let mut made = batch[..HEADER_BYTES].to_vec();
    made.extend_from_slice(records);
    let length = i32::try_from(made.len() - PREFIX_BYTES).unwrap();
    made[8..12].copy_from_slice(&length.to_be_bytes());
    let flags = BatchHeader::read(batch).unwrap().attributes & !attributes::CODEC | codec;
    made[21..23].copy_from_slice(&flags.to_be_bytes());
    renew_crc(&mut made);
    made
}
